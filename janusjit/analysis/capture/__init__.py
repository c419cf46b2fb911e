"""Capture: abstract interpretation of Core, which gives the graph of a call.

Owns `capture`. Invariant: a graph is complete or there is none: everything the function does to what lives outside is
in its exits, everything it relies on is in its guards.
"""

from __future__ import annotations

import traceback
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture import (
    attributes,
    backwards,
    builtin_functions,
    calls,
    collection_types,
    construction,
    container_methods,
    containers,
    control,
    exceptions,
    exits,
    generators,
    gradient_modes,
    gradients,
    hosts,
    imports,
    intrinsics,
    kinds,
    loops,
    math_functions,
    numpy_models,
    object_functions,
    operators,
    recursion_loop,
    set_algebra,
    statements,
    strings,
    sums,
    tapes,
    variables,
)
from janusjit.analysis.capture.attribute_tables import tell_tables_apart
from janusjit.analysis.capture.calls import function_cells
from janusjit.analysis.capture.effort import too_large
from janusjit.analysis.capture.externals import Externals
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.run_time_objects import check_writes
from janusjit.analysis.capture.signals import GrowthSeen, PoisonUsed, PythonRaise, Terminated, Unmergeable
from janusjit.analysis.capture.suspension import enter_continuation
from janusjit.analysis.continuation import Continuation
from janusjit.analysis.core import FunctionCore
from janusjit.analysis.snapshot import Snapshot
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import OUTLINED, Relaxations

if TYPE_CHECKING:
    from janusjit.profiler.profile import Profile

__all__ = ["HostSites", "capture", "capture_continuation"]

#: attempts at one capture: each failed join decides one branch
_ATTEMPTS = 24
#: the modules that register capture rules
RULES = (
    attributes,
    backwards,
    builtin_functions,
    calls,
    collection_types,
    construction,
    container_methods,
    containers,
    control,
    exceptions,
    exits,
    generators,
    gradient_modes,
    gradients,
    hosts,
    imports,
    intrinsics,
    kinds,
    loops,
    math_functions,
    numpy_models,
    object_functions,
    operators,
    recursion_loop,
    set_algebra,
    statements,
    strings,
    sums,
    tapes,
    variables,
)


def capture(
    function: types.FunctionType,
    core: FunctionCore,
    profile: Profile,
    arguments: Sequence[Any],
    relaxations: Relaxations,
    sites: HostSites | None = None,
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
        The call's arguments in parameter order, defaults filled in. Nothing of the call is executed. If this is a
        `Snapshot`, the program may go on, and `OutsideSnapshot` is raised where something else can have changed.
    relaxations : Relaxations
        The assumptions that failed before and are not made again.
    sites : HostSites, optional
        The instructions that Python has to run, as far as earlier captures know; they are added to. Without it, a
        function is captured as a whole or not at all.

    Returns
    -------
    Graph

    Raises
    ------
    CaptureFailure
        If the function must stay in Python, with the reason.
    """
    names = _parameter_names(core)

    def begin(machine: Machine) -> None:
        bound = {name: machine.externals.argument(i, name, arguments[i]) for i, name in enumerate(names)}
        machine.enter(core, function.__globals__, function.__code__, bound, function_cells(machine, function), None)

    snapshot = arguments if isinstance(arguments, Snapshot) else None
    return _captured(core, names, begin, profile, relaxations, sites, snapshot)


def capture_continuation(
    continuation: Continuation,
    profile: Profile,
    arguments: Sequence[Any],
    relaxations: Relaxations,
    sites: HostSites,
) -> Graph:
    """Return the graph of what is left of a call, specialised on a frame state.

    Parameters
    ----------
    continuation : Continuation
        Where the call goes on.
    profile, relaxations, sites
        As for `capture`.
    arguments : sequence
        The outcome of the host call, and the frame state.

    Raises
    ------
    CaptureFailure
        If the rest of the call must run in Python, with the reason.
    """
    core = continuation.frames[-1].core
    names = tuple(f"{name}@{number}" for number, name in enumerate(continuation.names))

    def begin(machine: Machine) -> None:
        for shape in continuation.frames:
            machine.refuse_frame_reader(shape.core)
            machine.externals.note_namespace(shape.core.span.file, shape.namespace)
        enter_continuation(machine, continuation, names, arguments)

    return _captured(core, names, begin, profile, relaxations, sites)


def _captured(
    core: FunctionCore,
    names: tuple[str, ...],
    begin: Callable[[Machine], None],
    profile: Profile,
    relaxations: Relaxations,
    sites: HostSites | None,
    snapshot: Snapshot | None = None,
) -> Graph:
    """Capture again and again, until the joins and the host calls that a graph needs are known."""
    decisions: dict[Any, str] = {}
    known = HostSites() if sites is None else sites
    known.outlined |= OUTLINED in relaxations and sites is not None
    joins = 0
    while joins < _ATTEMPTS:
        try:
            return _attempt(core, names, begin, profile, relaxations, decisions, known, snapshot)
        except GrowthSeen:
            continue
        except PoisonUsed as used:
            joins += 1
            decision = decisions.get(used.fork)
            if decision != "guard" and used.fork[0] in ("branch", "trips"):
                decisions[used.fork] = "guard" if decision == "split" else "split"
                continue
            failure = CaptureFailure(
                "python.join", "supportable", core.span, core.name, f"control paths cannot be joined: {used.reason}"
            )
            failure.instruction = known.forks.get(used.fork)
            if sites is None or not hosts.leave_to_python(sites, failure):
                raise failure from used
        except CaptureFailure as failure:
            _let_go(failure)
            if sites is None or not hosts.leave_to_python(sites, failure):
                raise
    limit = CaptureFailure(
        "limit.joins", "supportable", core.span, core.name, "too many branches leave values of different kinds"
    )
    if sites is not None and hosts.leave_to_python(sites, limit):
        return _captured(core, names, begin, profile, relaxations, sites, snapshot)
    raise limit


def _let_go(failure: BaseException) -> None:
    """Forget the frames a failure went through: they hold the call's arguments, and the failure is kept."""
    pending, seen = [failure], set()
    while pending:
        error = pending.pop()
        seen.add(id(error))  # causes may form rings
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        pending += [one for one in (error.__cause__, error.__context__) if one is not None and id(one) not in seen]


def _attempt(
    core: FunctionCore,
    names: tuple[str, ...],
    begin: Callable[[Machine], None],
    profile: Profile,
    relaxations: Relaxations,
    decisions: dict[Any, str],
    sites: HostSites,
    snapshot: Snapshot | None,
) -> Graph:
    graph = Graph(
        core.qualified_name,
        names,
        span=core.span,
        memory_limit=sites.memory_limit,
        threads=sites.threads,
        measured=sites.measured,
    )
    machine = Machine.__new__(Machine)
    externals = Externals(graph, relaxations, lambda: machine.span, snapshot)
    machine.__init__(graph, externals, profile, relaxations, decisions, sites)  # type: ignore[misc]
    try:
        return _followed(machine, graph, core, begin)
    finally:
        vars(machine).clear()  # which is part of a ring, and refers to the call's arguments


def _followed(machine: Machine, graph: Graph, core: FunctionCore, begin: Callable[[Machine], None]) -> Graph:
    """Return a graph once the machine has followed all paths from where ``begin`` puts it."""
    externals = machine.externals
    externals.assume_error_modes(core.span)
    begin(machine)
    try:
        recursion_loop.keep_from_the_start(machine)
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
        raise too_large(machine, "limit.recursion", "it is nested too deeply to capture") from error
    last = graph.body.terminator
    if last.op == "fail":
        raise CaptureFailure("python.exception", "user", last.span, last.guard.subject, "the call always raises")
    check_writes(machine)
    growing = (externals.grown & externals.lengths_assumed) - machine.hosts.growing
    if growing:
        machine.hosts.growing |= growing
        raise GrowthSeen
    externals.close(sorted(machine.written), core.span)
    tell_tables_apart(externals, machine.written, core.span)
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
    """Drop in-graph guards of attempts that were given up; the one of the floating-point flags has no node."""
    flags = [guard for guard in graph.guards.in_graph if guard.code == "fp.flags"]
    carried = dict.fromkeys(node.guard for node in graph.walk() if node.guard is not None)
    graph.guards.in_graph = [*flags, *carried]
