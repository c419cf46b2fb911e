"""What captures of one function found out about where Python is needed.

Owns `HostSites`. Invariant: it only grows, so that capturing again with what an attempt found out comes to an end.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from janusjit.analysis.continuation import CommitPoint
from janusjit.analysis.core import FunctionCore, Instruction
from janusjit.errors import CaptureFailure


@dataclass(slots=True)
class HostSites:
    """What captures of one function found out about where Python is needed; shared by its continuations.

    Attributes
    ----------
    instructions : dict
        Each instruction that Python runs, and the failure that says why.
    making : dict
        The instructions that make a generator which has something to do when it is dropped, and whether it is what they
        return.
    loops : set
        The loops whose turns are separate regions.
    points : dict
        The commit points made so far, by key.
    forks : dict
        The loop behind each name under which unmergeable variables are remembered.
    made : dict
        Instructions and blocks that stand in no source: what a commit point in the middle of a statement goes on with.
        By the statement and what they are for, so that a place is one place however often it is captured.
    commits_turns : bool
        Whether a guard that fails in a long loop may leave the turns before real.
    recursive : set of FunctionCore
        The functions that called themselves.
    walked : set
        The arguments of recursive functions that have been found to be gone through: function and position.
    followed : dict
        The recursive functions that could not be kept in the graph as recursions, and why each time.
    met : dict
        The kinds of what objects hold that are met at run time, by class and attribute.
    memory_limit : int or None
        How many bytes of intermediate arrays a graph should need at a time.
    growing : set of str
        Places of lists that a call appends to, and whose lengths it asks for: each call finds another length.
    deadline : float
        When capture has to stop, as `time.perf_counter` tells time.
    threads : int
        How many threads a graph may run on.
    measured : bool
        Whether a graph times its kernels.
    outlined : bool
        Whether recursive calls run in code of their own, rather than being unfolded for the data at hand.
    """

    instructions: dict[Instruction, CaptureFailure] = field(default_factory=dict)
    making: dict[Instruction, bool] = field(default_factory=dict)
    loops: set[Instruction] = field(default_factory=set)
    points: dict[Hashable, CommitPoint] = field(default_factory=dict)
    forks: dict[Any, Instruction] = field(default_factory=dict)
    made: dict[tuple[Instruction, str], Any] = field(default_factory=dict)
    commits_turns: bool = False
    recursive: set[FunctionCore] = field(default_factory=set)
    walked: set[tuple[FunctionCore, int]] = field(default_factory=set)
    followed: dict[FunctionCore, list[str]] = field(default_factory=dict)
    met: dict[Any, set[Any]] = field(default_factory=dict)
    growing: set[str] = field(default_factory=set)
    outlined: bool = False
    memory_limit: int | None = None
    deadline: float = math.inf
    threads: int = 1
    measured: bool = False
