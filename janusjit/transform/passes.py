"""The pass manager.

Owns `Pass`, the standard order and `optimize`. Invariant: a pass changes a copy the manager owns, never the captured
graph; with ``JANUSJIT_VERIFY=1`` the graph is verified after every pass, and an error names the pass.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from janusjit.config import current
from janusjit.errors import CompileError
from janusjit.ir.builder import clone
from janusjit.ir.graph import Graph
from janusjit.ir.text import format_graph
from janusjit.ir.verify import VerificationError
from janusjit.transform.alike_arms import join_alike_arms
from janusjit.transform.arrangements import move_arrangements
from janusjit.transform.choices import choose_without_branches
from janusjit.transform.common_subexpressions import merge_common_subexpressions
from janusjit.transform.contractions import find_products
from janusjit.transform.convolutions import find_convolutions
from janusjit.transform.copies import skip_copies
from janusjit.transform.dead_code import remove_dead_code
from janusjit.transform.filters import find_filters
from janusjit.transform.fold import fold_constants
from janusjit.transform.guards import hoist_guards
from janusjit.transform.identities import remove_barriers, remove_marks
from janusjit.transform.late_updates import delay_updates
from janusjit.transform.loop_invariants import hoist_loop_invariants
from janusjit.transform.parts_of_windows import find_parts
from janusjit.transform.ranges import decide_by_ranges
from janusjit.transform.rematerialization import rematerialize
from janusjit.transform.rewrite import rewrite, rules_for
from janusjit.transform.rotations import take_turns_together
from janusjit.transform.rules import Rule
from janusjit.transform.small_matrices import compute_small_matrices
from janusjit.transform.turned_operands import turn_operands
from janusjit.transform.typed import verify_graph
from janusjit.transform.windows import find_windows

Dump = Callable[[str, str], object]
"""Receives the name of a stage and the text of the graph after it (``JANUSJIT_DUMP``)."""

_log = logging.getLogger("janusjit.pass")


@dataclass(frozen=True)
class Pass:
    """A named transformation: ``run`` changes the graph it is given and returns how much it changed."""

    name: str
    run: Callable[[Graph], int]


@dataclass
class PassRecord:
    """What one pass did."""

    name: str
    changes: int
    seconds: float


@dataclass
class Optimized:
    """A transformed graph, and what each pass did to it."""

    graph: Graph
    records: list[PassRecord] = field(default_factory=list)


def standard_passes(exact: bool = True) -> tuple[Pass, ...]:
    """Return the passes in their order.

    Parameters
    ----------
    exact : bool
        Only rewrites that keep eager's results (see `janusjit.transform.rules`).
    """
    rules = rules_for(exact)
    return (
        Pass("marks", remove_marks),
        Pass("fold", fold_constants),
        Pass("ranges", decide_by_ranges),
        Pass("common_subexpressions", merge_common_subexpressions),  # so that rules see one value as one
        Pass("alike_arms", join_alike_arms),
        Pass("rewrite", lambda graph: rewrite(graph, rules)),
        Pass("fold_rewritten", fold_constants),
        Pass("windows", find_windows),
        Pass("parts_of_windows", find_parts),
        Pass("filters", find_filters),
        Pass("small_matrices", compute_small_matrices),
        Pass("convolutions", find_convolutions),
        Pass("contractions", find_products),
        Pass("turned_operands", turn_operands),
        Pass("arrangements", lambda graph: _arrange(graph, rules)),
        Pass("loop_invariants", hoist_loop_invariants),
        Pass("common_subexpressions_again", merge_common_subexpressions),
        Pass("barriers", remove_barriers),
        Pass("guards", hoist_guards),
        Pass("copies", skip_copies),
        Pass("dead_code", remove_dead_code),
        Pass("late_updates", delay_updates),
        Pass("choices", choose_without_branches),
        Pass("rotations", take_turns_together),
        Pass("rematerialization", _rematerialize),
    )


def _arrange(graph: Graph, rules: tuple[Rule, ...]) -> int:
    """Move what arranges convolutions, and remove what arranges and arranges back."""
    if not any(node.op.startswith("convolution") for node in graph.walk()):
        return 0
    return move_arrangements(graph) + rewrite(graph, rules)


def _rematerialize(graph: Graph) -> int:
    return 0 if graph.memory_limit is None else rematerialize(graph, graph.memory_limit)


def optimize(graph: Graph, exact: bool = True, dump: Dump | None = None) -> Optimized:
    """Return a transformed copy of ``graph``.

    Parameters
    ----------
    graph : Graph
        A verified graph; it is not changed.
    exact : bool
        Only rewrites that keep eager's results.
    dump : callable, optional
        Receives the text after each pass that changed something.

    Raises
    ------
    CompileError
        With verification on: a pass left an invalid graph.
    """
    return run_passes(graph, standard_passes(exact), dump)


def run_passes(graph: Graph, passes: tuple[Pass, ...], dump: Dump | None = None) -> Optimized:
    """Run passes one after the other on a copy of ``graph`` (see `optimize`)."""
    optimized = Optimized(clone(graph))
    if dump is not None:
        dump("captured", format_graph(optimized.graph))
    for step in passes:
        started = time.perf_counter()
        changes = step.run(optimized.graph)
        optimized.records.append(PassRecord(step.name, changes, time.perf_counter() - started))
        _log.info("%s: %s: %d changes", graph.name, step.name, changes)
        if changes and dump is not None:
            dump(step.name, format_graph(optimized.graph))
        if current().verify:
            _verify(optimized.graph, step)
    return optimized


def _verify(graph: Graph, step: Pass) -> None:
    try:
        verify_graph(graph)
    except VerificationError as error:
        raise CompileError("transform.invalid", f"after pass {step.name}: {error}") from error
