"""Capture: abstract interpretation of Core, which gives the graph of a call.

Owns `capture`. Invariant: a graph is complete or there is none: everything the function does to what lives outside is
in its exits, everything it relies on is in its guards.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture import (
    attributes,
    builtin_functions,
    calls,
    container_methods,
    containers,
    control,
    exceptions,
    exits,
    generators,
    intrinsics,
    loops,
    math_functions,
    numpy_models,
    object_functions,
    operators,
    statements,
    strings,
)
from janusjit.analysis.capture.calls import function_cells
from janusjit.analysis.capture.externals import Externals
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable
from janusjit.analysis.core import FunctionCore
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import Relaxations

if TYPE_CHECKING:
    from janusjit.profiler.profile import Profile

__all__ = ["capture"]

#: attempts at one capture: each failed join decides one branch
_ATTEMPTS = 24
#: the modules that register capture rules
RULES = (
    attributes,
    builtin_functions,
    calls,
    container_methods,
    containers,
    control,
    exceptions,
    exits,
    generators,
    intrinsics,
    loops,
    math_functions,
    numpy_models,
    object_functions,
    operators,
    statements,
    strings,
)


def capture(
    function: types.FunctionType,
    core: FunctionCore,
    profile: Profile,
    arguments: Sequence[Any],
    relaxations: Relaxations,
) -> Graph:
    """Return the graph of a function, specialised on a call.

    Parameters
    ----------
    function : function
        The Python function.
    core : FunctionCore
        Its Core.
    profile : Profile
        What its profiled runs showed.
    arguments : sequence
        The call's arguments in parameter order, defaults filled in. Nothing of the call is executed.
    relaxations : Relaxations
        The assumptions that failed before and are not made again.

    Returns
    -------
    Graph

    Raises
    ------
    CaptureFailure
        If the function must stay in Python, with the reason.
    """
    decisions: dict[Any, str] = {}
    for _ in range(_ATTEMPTS):
        try:
            return _attempt(function, core, profile, arguments, relaxations, decisions)
        except PoisonUsed as used:
            decision = decisions.get(used.fork)
            if decision == "guard" or used.fork[0] not in ("branch", "trips"):
                raise CaptureFailure(
                    "python.join", "supportable", core.span, core.name, f"control paths cannot be joined: {used.reason}"
                ) from used
            decisions[used.fork] = "guard" if decision == "split" else "split"
    raise CaptureFailure(
        "limit.joins", "supportable", core.span, core.name, "too many branches leave values of different kinds"
    )


def _attempt(
    function: types.FunctionType,
    core: FunctionCore,
    profile: Profile,
    arguments: Sequence[Any],
    relaxations: Relaxations,
    decisions: dict[Any, str],
) -> Graph:
    names = _parameter_names(core)
    graph = Graph(core.qualified_name, names, span=core.span)
    machine = Machine.__new__(Machine)
    externals = Externals(graph, relaxations, relaxations.static, lambda: machine.span)
    machine.__init__(graph, externals, profile, relaxations, decisions)  # type: ignore[misc]
    externals.assume_error_modes(core.span)
    bound = {name: externals.argument(i, name, arguments[i]) for i, name in enumerate(names)}
    machine.enter(core, function.__globals__, function.__code__, bound, function_cells(machine, function), None)
    try:
        machine.run((0, 0))
    except Terminated:
        pass
    except PythonRaise as raised:
        raise machine.unsupported(
            "python.exception", "call", f"the call raises {raised.type_.__name__}", "user"
        ) from raised
    except Unmergeable as difference:
        raise machine.unsupported(
            "python.join", "branch", f"control paths cannot be joined: {difference}"
        ) from difference
    except RecursionError as error:
        raise machine.unsupported("limit.recursion", "function", "it is nested too deeply to capture") from error
    last = graph.body.terminator
    if last.op == "fail":
        raise CaptureFailure("python.exception", "user", last.span, last.guard.subject, "the call always raises")
    externals.close(sorted(machine.written), core.span)
    _prune_guards(graph)
    return graph


def _parameter_names(core: FunctionCore) -> tuple[str, ...]:
    parameters = core.parameters
    return (
        *parameters.positional_only,
        *parameters.positional,
        *((parameters.variadic,) if parameters.variadic else ()),
        *parameters.keyword_only,
        *((parameters.variadic_keyword,) if parameters.variadic_keyword else ()),
    )


def _prune_guards(graph: Graph) -> None:
    """Drop in-graph guards of attempts that were given up."""
    graph.guards.in_graph = [node.guard for node in graph.walk() if node.guard is not None]
