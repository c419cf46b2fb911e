"""Finding the loop that a recursion is.

Owns `keep_recursion`, which decides where a recursion is kept in the graph. Invariants: the loop is found by a fixed
point, as other loops are: of what each site of the recursion keeps and of what lives outside it; a recursion that finds
none, or has done what only Python can do, is followed in another way, as if nothing had been tried.
"""

from __future__ import annotations

from types import CodeType
from typing import Any

from janusjit.analysis.capture.calls import RECURSION
from janusjit.analysis.capture.control import bind_results, site_key
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.merge import Arm, Merger
from janusjit.analysis.capture.recursion import SITE_LIMIT, Again, Recursion, cells_of, references
from janusjit.analysis.capture.recursion_slots import Slots
from janusjit.analysis.capture.recursion_tape import is_settled, may_be_outside, settle
from janusjit.analysis.capture.run_time_objects import pool_of
from janusjit.analysis.capture.signals import PoisonUsed, Unmergeable
from janusjit.analysis.capture.state import Frame, GraphLoopEntry, State
from janusjit.analysis.capture.values import AbstractValue
from janusjit.analysis.core import Block, FunctionCore, Parameters
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Node, Region, Value

_FIXED_POINT_LIMIT = 16
#: captures in which a recursion cannot be kept before it is not tried any more: another call may show more of its data
_ATTEMPTS = 3
#: tapes of recursions are told by numbers from here on; gradients take those after what there is
_FIRST_TAPE = 1_000_000


def keep_recursion(
    machine: Machine,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: CodeType | None,
    bound: dict[str, AbstractValue],
    cells: dict[str, AbstractValue],
    settled: bool = True,
) -> AbstractValue | None:
    """Keep the recursion that a call begins in the graph, and return its result; None if that is not done.

    With ``settled``, the result has to be of one kind.
    """
    hosts = machine.hosts
    wanted = hosts.outlined and core in hosts.recursive and len(hosts.followed.get(core, ())) < _ATTEMPTS
    plain = core.kind == "function" and not core.cells and core.name != "__init__"
    if not wanted or not plain or machine.nested or machine.recursion is not None or machine.gradients.sources:
        return None
    region, size, state = machine.region, len(machine.region.nodes), machine.state.fork()
    span, site = machine.span, machine.site
    try:
        result = _kept(machine, core, namespace, code, bound, cells)
        if settled and not is_settled([result]):
            raise machine.unsupported("python.recursion", f"{core.name}()", "it returns objects of several kinds")
        return result
    except (CaptureFailure, PoisonUsed, Unmergeable) as failure:
        if isinstance(failure, PoisonUsed) and failure.fork[0] == "branch":
            raise
        del region.nodes[size:]
        machine.region, machine.state, machine.span, machine.site = region, state, span, site
        hosts.followed.setdefault(core, []).append(str(failure))
        return None
    finally:
        machine.recursion = None


def _kept(
    machine: Machine,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: CodeType | None,
    bound: dict[str, AbstractValue],
    cells: dict[str, AbstractValue],
) -> AbstractValue:
    outer, size, begin = machine.region, len(machine.region.nodes), machine.state
    slots, mark = Slots(machine), len(machine.births)
    recursion = Recursion(machine, frozenset(machine.hosts.recursive), slots, _unused_tape(machine))
    begin.frames.append(_driver(core, recursion))
    recursion.base = len(begin.frames)
    machine.recursion = recursion
    arguments = [*bound.values(), *references(cells)]
    key = site_key(machine, "recursion")
    header: State | None = None
    parameters: tuple[Value, ...] = ()
    shape: list[Any] | None = None
    for _ in range(_FIXED_POINT_LIMIT * SITE_LIMIT):
        del outer.nodes[size:]
        machine.region, machine.state = outer, begin.fork()
        recursion.changed = False
        version = pool_of(machine).version
        try:
            entry = recursion.entry(core, namespace, code, list(bound), cells_of(cells))
            walked = frozenset(position for known, position in machine.hosts.walked if known is core)
            recursion.header_of(entry, arguments, walked)
            entered = machine.state
            region = machine.recorded.nested(outer, len(machine.births))
            region.parameters = parameters
            for index, value in enumerate(parameters):
                value.definition, value.index = region, index
                machine.births[value] = len(machine.births)
            recursion.turn_of(entered if header is None else header, region)
        except Again:
            header, parameters, shape = None, (), None
            continue
        if recursion.changed or pool_of(machine).version != version:
            header, parameters, shape = None, (), None
            continue
        machine.region = outer
        back = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "continue"]
        merger = Merger(machine, [Arm(outer, entered), *back], key)
        merged = merger.merge()
        found: list[Any] = [(slot.location, slot.result.type) for slot in merger.slots]
        found += merger.poisoned + merger.kinds
        if shape is not None and found == shape:
            machine.hosts.walked |= {(core, position) for position in recursion.walked(entry)}
            return _emitted(recursion, region, merger, key, mark)
        header, parameters, shape = merged, tuple(slot.result for slot in merger.slots), found
    raise slots.failure("what it keeps does not settle")


def _emitted(recursion: Recursion, region: Region, header: Merger, key: Any, mark: int) -> AbstractValue:
    """Append the loop, and return the result of the recursion."""
    machine = recursion.machine
    span = machine.span
    initial = tuple(slot.values[0] for slot in header.slots)
    back = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "continue"]
    for position, arm in enumerate(back, start=1):
        values = tuple(slot.values[position] for slot in header.slots)
        arm.region.nodes.append(Node("continue", values, span=span))
    exits = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "break"]
    if not exits:
        raise recursion.slots.failure("it has no way out")
    node = Node("loop", initial, (), {}, span, (region,))
    leaving = Merger(machine, exits, key, mark=mark)
    merged = leaving.merge()
    for position, arm in enumerate(exits):
        values = tuple(slot.values[position] for slot in leaving.slots)
        arm.region.nodes.append(Node("break", values, span=span))
    bind_results(machine, node, leaving)
    machine.append(node)
    machine.state = merged
    (result,) = recursion.pop(recursion.results)
    assert recursion.results.slots is not None
    if any(map(may_be_outside, recursion.results.slots)):
        raise recursion.slots.failure("it may return an array that it has not made")
    merged.frames.pop()
    return result


def _unused_tape(machine: Machine) -> int:
    """Return the number of a tape that no other recursion of the graph has."""
    machine.recursions += 1
    return _FIRST_TAPE + machine.recursions * 2 * SITE_LIMIT


def _driver(core: FunctionCore, recursion: Recursion) -> Frame:
    """Return the frame below a recursion, in which nothing but the recursion is run."""
    name = f"{core.name}.recursion"
    own = FunctionCore(name, name, Parameters(), Block(), "function", frozenset(), (), [], core.span)
    entry = GraphLoopEntry(Block(), instruction=None, loop=recursion)  # type: ignore[arg-type]
    return Frame(own, {}, None, {}, {}, [entry])


def keep_from_the_start(machine: Machine) -> None:
    """Keep the recursion of the function that is captured in the graph, if it is one."""
    frames = machine.state.frames
    if len(frames) != 1 or frames[0].blocks[-1].index or frames[0].core not in machine.hosts.recursive:
        return
    frame = frames.pop()
    bound = dict(frame.locals)
    result = keep_recursion(machine, frame.core, frame.namespace, frame.code, bound, frame.cells, settled=False)
    machine.state.frames.append(frame)
    if result is not None:
        settle(machine, [result], lambda values: machine.finish_frame(values[0]))


RECURSION.append(keep_recursion)
