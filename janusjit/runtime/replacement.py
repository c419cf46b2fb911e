"""On-stack replacement: taking over a running loop.

Owns `OnStackReplacement`, which decides when a loop that runs in a twin is hot, and goes on from its back edge in
compiled code. Invariant: what is taken over is a frame state like any other, so a guard that fails behind it finds its
way back to Python through the same commit points.
"""

from __future__ import annotations

import functools
import operator
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CellType
from typing import Any

from janusjit.analysis.capture.liveness import live_at_header
from janusjit.analysis.continuation import PLAIN, BlockStep, Continuation, FrameShape, LoopStep, Step, TryStep
from janusjit.analysis.core import Block, For, FunctionCore, If, Instruction, Local, Try, While, With
from janusjit.analysis.frame_values import decompose
from janusjit.analysis.loop_iterators import LoopIterator, may_hold_generator
from janusjit.runtime.python_frames import runs_frame

#: trips of a loop in a twin before it can be taken over: the profile has to know it
MINIMUM_TRIPS = 8
#: a loop is hot if what is left of it would take this long in Python; where nobody knows, if it has run half as long
HOT_SECONDS = 0.05
#: how many loops that were taken over may be under way in one another: each takes a part of the stack
MOST_NESTED = 16
#: after so many entries in one call, Python is to go through twice as many turns before each further one, for so long
FREE_ENTRIES, MOST_DOUBLED = 4, 6

Cells = dict[str, CellType]
GoOn = Callable[[Continuation, list[Any]], Any]


class OnStackReplacement:
    """Takes over the frames of one function's twins.

    Parameters
    ----------
    begin : callable
        Makes of a continuation and a frame state, a list that it clears, what stands for the rest of the frame.
    go_on : callable
        Runs that to the end of the frame.
    closure : tuple of CellType
        The cells of the function itself, which are the same at every call.

    Attributes
    ----------
    waits : callable
        Says whether the profile is still to learn something before loops can be taken over.
    entries : int
        How many times a running loop was taken over.
    """

    def __init__(self, begin: GoOn, go_on: GoOn, closure: tuple[CellType, ...]) -> None:
        self._begin = begin
        self._go_on = go_on
        self._fixed = frozenset(map(id, closure))
        self.waits: Callable[[], bool] = lambda: False
        self.entries = 0
        self._under_way = _UnderWay()

    def is_hot(self, core: FunctionCore, site: int, trips: int, began: float, iterator: Any) -> bool:
        """Whether what is left of a loop is worth compiling."""
        way = self._under_way
        least = MINIMUM_TRIPS << min(max(way.entries - FREE_ENTRIES, 0), MOST_DOUBLED)
        if trips < least or way.nested >= MOST_NESTED or self.waits():
            return False
        elapsed = time.perf_counter() - began
        left = -1 if iterator is None else operator.length_hint(iterator, -1)
        return elapsed > HOT_SECONDS / 2 if left < 0 else left * elapsed / trips > HOT_SECONDS

    def replace(
        self, core: FunctionCore, site: int, variables: dict[str, Any], cells: Cells, names: dict[str, Any]
    ) -> Callable[[], Any]:
        """Return what runs the rest of a frame, whose loop at ``site`` is due for another turn."""
        loop, steps = _loops(core)[site]
        private = {
            step.instruction.iterator.name
            for step in steps
            if isinstance(step, LoopStep)
            and isinstance(step.instruction, For)
            and isinstance(step.instruction.iterator, Local)
            and variables.get(f".private_{step.instruction.site}")
        }
        described, arguments, shown = [], [], []
        kept = {name for name, value in variables.items() if may_hold_generator(value) and not name.startswith(".")}
        for name in sorted((live_at_header(core, loop) | kept - core.cells) & variables.keys()):
            recipe, values = decompose(variables[name]) if name in private else (PLAIN, [variables[name]])
            described.append((name, recipe))
            arguments += values
            shown += [name] * len(values)
        held = tuple((name, cell if id(cell) in self._fixed else None) for name, cell in sorted(cells.items()))
        for name, known in held:
            if known is None:
                arguments.append(cells[name])
                shown.append(name)
        shape = FrameShape(core, names, core.code, steps, tuple(described), held)
        self.entries += 1
        continuation = Continuation((shape,), (), tuple(shown), loop.span)
        return functools.partial(self._enter, continuation, arguments)

    def _enter(self, continuation: Continuation, arguments: list[Any]) -> Any:
        """Run the rest of a frame, or let who runs the frame do so, where Python does nothing else with its result.

        A frame whose loop draws from a generator stays until its end: the loop is left with it.
        """
        way = self._under_way
        way.entries += 1
        drawing = any(type(value) is LoopIterator or may_hold_generator(value) for value in arguments)
        if way.nested and not drawing and runs_frame(sys._getframe(1).f_back):
            return self._begin(continuation, arguments)
        way.nested += 1
        try:
            return self._go_on(continuation, arguments)
        finally:
            way.nested -= 1
            if not way.nested:
                way.entries = 0


class _UnderWay(threading.local):
    """In each thread: how many loops that were taken over are under way, and how many times one was in this call."""

    nested = 0
    entries = 0


_PATHS: dict[int, tuple[FunctionCore, dict[int, tuple[Instruction, tuple[Step, ...]]]]] = {}


def _loops(core: FunctionCore) -> dict[int, tuple[Instruction, tuple[Step, ...]]]:
    """Return each loop of a function, by site, with the steps that lead to its next turn."""
    found = _PATHS.get(id(core))
    if found is None:
        paths = {loop.site: (loop, steps) for loop, steps in _paths(core.body, ())}
        found = _PATHS[id(core)] = (core, paths)
    return found[1]


def _paths(block: Block, outer: tuple[Step, ...]) -> Iterator[tuple[Instruction, tuple[Step, ...]]]:
    for position, instruction in enumerate(block.instructions):
        here = (*outer, BlockStep(block, position + 1))
        if isinstance(instruction, If):
            yield from _paths(instruction.then, here)
            yield from _paths(instruction.orelse, here)
        elif isinstance(instruction, For | While):
            yield instruction, (*here, LoopStep(instruction))
            yield from _paths(instruction.body, (*here, LoopStep(instruction)))
            yield from _paths(instruction.orelse, here)
        elif isinstance(instruction, With | Try):
            yield from _paths(instruction.body, (*here, TryStep(instruction, "body")))


