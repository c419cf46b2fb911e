"""Lists that grow in loops of the graph.

Owns `give_buffers` and `give_again`, which let the turns of a loop append to an array that is large enough for all of
them. Invariant: a list is a `GrownList` only if the loop does nothing but append numbers of one kind to it, floats of
Python's and NumPy's, or arrays of one type that nobody writes; what else is done to one finds no rule, so that the loop
is captured in another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from janusjit.analysis.capture.arrays import bind_dim, constant, new_array, read, scalar_value, view, write
from janusjit.analysis.capture.iteration import length_of
from janusjit.analysis.capture.listed import ARRAYS, in_c_order, listed_in, may_be_listed, refused
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.packed import BUFFER_DTYPES, MIXED
from janusjit.analysis.capture.sameness import number_kind
from janusjit.analysis.capture.signals import Unmergeable
from janusjit.analysis.capture.state import GraphLoopEntry, GrownList, IteratorObject, Listed, ListObject, State
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    EitherValue,
    Known,
    Reference,
    Scalar,
)
from janusjit.analysis.core import For, Instruction
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Region, Value
from janusjit.ir.types import DTYPES, INT, TensorType
from janusjit.ops.indexing import Operand, PathStep, Pick, Range

#: so many items a loop may append to be given a buffer for them
ROOM = 1 << 17
#: bytes that the buffer of a list of arrays may have
ROOM_OF_ARRAYS = 1 << 24
#: what one turn appends: the most items, and their kinds; of arrays, the type
Growth = tuple[Dim, frozenset[str | TensorType]]
_NOTHING: Growth = (0, frozenset())


def give_buffers(
    machine: Machine, instruction: Instruction, entry: State, turns: Sequence[State], outer: Region, mark: int
) -> dict[int, Growth]:
    """Give the lists that a loop's turns append numbers to a buffer, and say what for.

    Nothing, and none is given, if there are none, or one that cannot be given a buffer.

    Parameters
    ----------
    machine : Machine
        The machine.
    instruction : Instruction
        The loop.
    entry : State
        The state before the loop; its lists are changed.
    turns : sequence of State
        The states in which turns end.
    outer : Region
        Where the loop will stand.
    mark : int
        The number of values there were before the loop: how large a buffer is has to be known by then.
    """
    growths: dict[int, Growth] = {}
    outgrown = False
    for index in sorted({index for state in turns for index in state.heap}):
        if index >= 0 and not all(index in state.heap for state in (entry, *turns)):
            continue  # made in the turn, or no longer reached behind one
        before = entry.at(index)
        if not isinstance(before, ListObject | GrownList):
            continue
        more = _outgrown(instruction, before, [state.at(index) for state in turns])
        if more is not None:
            growths[index], outgrown = more, True
            continue
        found = [_growth(machine, state, before, state.at(index)) for state in turns]
        if all(growth == _NOTHING for growth in found):
            continue
        together = _together(found)
        sized = together is not None and any(_is_sized_since(machine, dim, mark) for dim in _sizes(together))
        if together is None or sized or not _may_have_buffer(machine, entry, before, together[1]):
            growths.clear()
            break
        growths[index] = together
    given = bool(growths) and _give(machine, instruction, entry, growths, outer)
    if outgrown and not given:
        raise Unmergeable("a list outgrows its buffer")
    return growths if given else {}


def give_again(
    machine: Machine, instruction: Instruction, entry: State, growths: Mapping[int, Growth], outer: Region
) -> bool:
    """Give lists buffers for what the loop, when it was met before, appended; False if one cannot have it."""
    for index, growth in growths.items():
        before = entry.at(index)
        if any(_is_sized_since(machine, dim, 0) for dim in _sizes(growth)):
            return False  # by a size that another capture of what is around the loop has found
        if not isinstance(before, ListObject | GrownList) or not _may_have_buffer(machine, entry, before, growth[1]):
            return False
    return _give(machine, instruction, entry, growths, outer)


def _give(
    machine: Machine, instruction: Instruction, entry: State, growths: Mapping[int, Growth], outer: Region
) -> bool:
    inner = machine.state, machine.region
    machine.state, machine.region = entry, outer
    try:
        trips = _trips(machine, instruction)
        if trips is None:
            return False
        needs = [(trips * most, _most_items(machine, kind)) for most, (kind,) in growths.values()]
        if not _have_room(machine, instruction, needs):
            return False
        for index, (most, (kind,)) in growths.items():
            before = entry.at(index)
            if isinstance(before, GrownList) and before.filling is instruction:
                assert before.given is not None
                before = before.given
            give = _list_of_arrays if isinstance(kind, TensorType) else _list_of_numbers
            made = entry.heap[index] = give(machine, instruction, before, trips * most, kind)  # type: ignore[arg-type]
            made.given, made.each = before, most
            if isinstance(kind, TensorType):
                _move_items(machine, index, made)
        return True
    finally:
        machine.state, machine.region = inner


def _outgrown(instruction: Instruction, before: ListObject | GrownList, after: Sequence[Any]) -> Growth | None:
    """Return what a turn appends that appends more than its list has room for; the first look may not have seen all."""
    if not isinstance(before, GrownList) or before.filling is not instruction:
        return None
    most = max((item.turn for item in after if isinstance(item, GrownList)), default=0)
    if not isinstance(before.each, int) or most <= before.each:
        return None
    kind = before.kind if before.kind != ARRAYS else TensorType(before.buffer.type.dtype, before.buffer.type.shape[1:])
    return most, frozenset((kind,))


def turn_begins(state: State, instruction: Instruction) -> State:
    """Note that a turn of a loop has appended nothing yet."""
    for item in state.heap.values():
        if isinstance(item, GrownList) and item.filling is instruction:
            item.turn = 0
    return state


def _list_of_numbers(machine: Machine, loop: Instruction, before: Any, room: Dim, kind: str) -> GrownList:
    zero = constant(machine, False if kind == "bool" else 0, BUFFER_DTYPES[kind])
    buffer, count = machine.emit("full", zero, shape=(room,)), constant(machine, 0, "i64")
    which = None
    if kind == MIXED:
        which = machine.emit("full", constant(machine, False, "bool"), shape=(room,))
    return GrownList(before.place, True, before, kind, buffer, count, [], loop, which, loop=loop)


def _list_of_arrays(machine: Machine, loop: Instruction, before: Any, room: Dim, type_: TensorType) -> GrownList:
    zero = constant(machine, False if type_.dtype == "bool" else 0, type_.dtype)
    buffer = machine.emit("full", zero, shape=(room + len(_own_items(before)), *type_.shape))
    return GrownList(before.place, True, before, ARRAYS, buffer, constant(machine, 0, "i64"), [], loop, loop=loop)


def _move_items(machine: Machine, index: int, item: GrownList) -> None:
    """Put the arrays that a list has been given since the call began into its buffer, as the loop does."""
    if isinstance(item.base, ListObject):
        own = _own_items(item.base)
        item.base = item.base.copy()
        del item.base.items[len(item.base.items) - len(own) :]
        for value in own:
            append(machine, Reference(index), item, value)


def _own_items(before: ListObject | GrownList) -> list[AbstractValue]:
    if isinstance(before, GrownList):
        return []
    return before.items[len(before.original) :] if before.place is not None else before.items


def _have_room(machine: Machine, instruction: Instruction, needs: Sequence[tuple[Dim, int]]) -> bool:
    """Whether buffers are of moderate size: a loop that is left early pays for all the turns it might have made.

    Of each list, how many items it may be given is compared with how many are moderate.
    """
    key = _key(instruction)
    if key in machine.relaxations:
        return False
    for size, most in needs:
        if isinstance(size, int):
            if size > most:
                return False
            continue
        sample = machine.sample_dim(size)
        if sample is not None and sample > most:
            return False
        actual = machine.emit("dim", types=(INT,), dim=size)
        holds = machine.emit("less_equal", actual, constant(machine, most, "i64"))
        guard = machine.guard("trip_count", "the loop", f"at most {most} items appended", relaxation=key)
        machine.require(holds, guard)
    return True


def _key(loop: Instruction) -> Any:
    """Return the name under which it is remembered that a loop appends too much for a buffer."""
    return ("grows", loop.span.file, loop.span.line, loop.span.column, loop.site)


def _most_items(machine: Machine, kind: str | TensorType) -> int:
    """Return for how many items of a kind a buffer is of moderate size; arrays in it are copied once more."""
    if not isinstance(kind, TensorType):
        return ROOM
    size = DTYPES[kind.dtype].itemsize
    for dim in kind.shape:
        found = dim if isinstance(dim, int) else machine.sample_dim(dim)
        size *= ROOM_OF_ARRAYS if found is None else max(found, 1)
    return min(ROOM, ROOM_OF_ARRAYS // size)


def _sizes(growth: Growth) -> list[Dim]:
    return [growth[0], *(dim for kind in growth[1] if isinstance(kind, TensorType) for dim in kind.shape)]


def _is_sized_since(machine: Machine, dim: Dim, mark: int) -> bool:
    return isinstance(dim, DimExpr) and any(machine.symbol_births.get(used, -1) >= mark for used in dim.symbols())


def _growth(machine: Machine, state: State, before: Any, after: Any) -> Growth | None:
    """Return what has been appended to a list; None if anything else was done to it, or it has no buffer."""
    if isinstance(after, GrownList) and not (isinstance(before, GrownList) and after.identity == before.identity):
        if after.kind == ARRAYS:
            return None  # by a loop in the loop
        inside = _growth(machine, state, before, after.base)
        grown = (after.buffer.type.shape[0], _kinds_in(after.kind))
        return None if inside is None else _sum(machine, state, inside, grown, after)
    if type(after) is not type(before):
        return None
    old, new = (item.later if isinstance(item, GrownList) else item.items for item in (before, after))
    if isinstance(before, GrownList) and before.filling is None and after.count is not before.count:
        return None
    if len(new) < len(old) or any(a is not b for a, b in zip(old, new, strict=False)):
        return None
    return _appended(machine, state, new[len(old) :])


def _appended(machine: Machine, state: State, items: Sequence[AbstractValue]) -> Growth | None:
    if items and isinstance(items[0], ArrayValue):
        different = len({item.storage for item in items if isinstance(item, ArrayValue)}) == len(items)
        listed = different and all(may_be_listed(machine, state, item) for item in items)
        return (len(items), frozenset(item.type for item in items)) if listed else None  # type: ignore[attr-defined]
    either = [[option for _, option in item.options] if isinstance(item, EitherValue) else [item] for item in items]
    kinds = [number_kind(option) for options in either for option in options]
    if any(kind is None or kind[0] not in BUFFER_DTYPES for kind in kinds):
        return None
    return len(items), frozenset(kind[0] for kind in kinds if kind is not None)


def _kinds_in(kind: str) -> frozenset[str | TensorType]:
    """Return the kinds of the numbers in a buffer of a kind."""
    return frozenset(("float", "numpy.f64") if kind == MIXED else (kind,))


def _sum(machine: Machine, state: State, first: Growth, second: Growth, grown: GrownList) -> Growth | None:
    later = _appended(machine, state, grown.later)
    if later is None:
        return None
    return first[0] + second[0] + later[0], first[1] | second[1] | later[1]


def _together(found: Sequence[Growth | None]) -> Growth | None:
    """Return what turns append at most; None if that is not known, or not numbers of one kind."""
    growths = [growth for growth in found if growth is not None]
    kinds: frozenset[str | TensorType] = frozenset().union(*(kinds for _, kinds in growths))
    if kinds == _kinds_in(MIXED):
        kinds = frozenset((MIXED,))
    if len(growths) < len(found) or len(kinds) != 1:
        return None
    counts = [count for count, _ in growths]
    known_counts = [count for count in counts if isinstance(count, int)]
    most: Dim = max(known_counts) if len(known_counts) == len(counts) else 0
    if len(known_counts) < len(counts):
        for count in counts:
            most = most + count
    return most, kinds


def _may_have_buffer(
    machine: Machine, entry: State, before: ListObject | GrownList, kinds: frozenset[str | TensorType]
) -> bool:
    """Whether paths need not keep track of what a list holds, if it is given a buffer for items of these kinds."""
    (kind,) = kinds
    if not isinstance(kind, TensorType):
        return _holds_numbers(before) and not (isinstance(before, GrownList) and before.kind == ARRAYS)
    if isinstance(before, GrownList):
        return before.kind == ARRAYS and not before.later
    if before.type_ is not list or (before.place is not None and not before.intact):
        return False
    own = _own_items(before)
    different = len({item.storage for item in own if isinstance(item, ArrayValue)}) == len(own)
    return different and all(may_be_listed(machine, entry, item) and item.type == kind for item in own)  # type: ignore[attr-defined]


def _holds_numbers(item: ListObject | GrownList) -> bool:
    """Whether a list holds nothing that paths, or loops, would have to keep track of but numbers."""
    if isinstance(item, GrownList):
        return True
    if item.type_ is not list or (item.place is not None and not item.intact):
        return False
    own = item.items[len(item.original) :] if item.place is not None else item.items
    return all(isinstance(value, EitherValue) or number_kind(value) is not None for value in own)


def _trips(machine: Machine, instruction: Instruction) -> Dim | None:
    """Return how many turns of a loop there may be; None where only running it tells."""
    reference = machine.get(instruction.iterator) if isinstance(instruction, For) else None
    return _remaining(machine, reference)


def _remaining(machine: Machine, reference: AbstractValue | None) -> Dim | None:
    iterator = machine.heap(reference) if isinstance(reference, Reference) else None
    if not isinstance(iterator, IteratorObject):
        return None
    if iterator.kind in ("enumerate", "zip", "map"):
        found = [_remaining(machine, source) for source in iterator.sources]
        return next((dim for dim in found if dim is not None), None)
    total = length_of(machine, iterator)
    if isinstance(total, Known):
        position = iterator.position
        return int(total.value) - (int(position.value) if isinstance(position, Known) else 0)
    if not isinstance(total, Scalar):
        return None
    return machine.dims.get(total.value) or bind_dim(machine, total.value, "a trip count")


def append(machine: Machine, owner: Reference, item: GrownList, value: AbstractValue) -> None:
    """``list.append``: into the buffer while the loop that it is for is captured, else behind it."""
    if item.filling is None:
        item.later.append(value)
        return
    value = machine.resolve(value)
    if item.kind == ARRAYS:
        _append_array(machine, owner, item, value)
        return
    kind = number_kind(value)
    if kind is None or kind[0] not in _kinds_in(item.kind):
        raise machine.unsupported("python.loop", "append", "a loop appends values of several kinds to a list")
    number = scalar_value(machine, value)
    assert number is not None
    _take_room(machine, item)
    item.buffer = _filled(machine, item.buffer, item.count, number)
    if item.of_numpy is not None:
        of_numpy = constant(machine, kind[0] == "numpy.f64", "bool")
        item.of_numpy = _filled(machine, item.of_numpy, item.count, of_numpy)
    # no more than the buffer's size, which is an int64: it cannot overflow
    item.count = machine.emit("add", item.count, constant(machine, 1, "i64"))


def _take_room(machine: Machine, item: GrownList) -> None:
    """Count an item; guard that there is room for it where another loop in the loop appends it, or a way out of it."""
    item.turn += 1
    entries = (entry for frame in machine.state.frames for entry in frame.blocks if isinstance(entry, GraphLoopEntry))
    inside = [entry.instruction for entry in entries][-1:] == [item.loop]
    if inside and isinstance(item.each, int) and item.turn <= item.each:
        return
    room = item.buffer.type.shape[0]
    size = constant(machine, room, "i64") if isinstance(room, int) else machine.emit("dim", types=(INT,), dim=room)
    assert item.loop is not None
    key = _key(item.loop)
    guard = machine.guard("trip_count", "the loop", "no more items appended than its first turn has", relaxation=key)
    machine.require(machine.emit("less", item.count, size), guard)


def _append_array(machine: Machine, owner: Reference, item: GrownList, value: AbstractValue) -> None:
    known_whole = isinstance(value, ArrayValue) and not value.path
    listed = Listed(owner.index, item.identity, item.loop, item.count if known_whole else None)
    alone = isinstance(value, ArrayValue) and may_be_listed(machine, machine.state, value)
    if not alone or not _is_row(machine, item, value):  # type: ignore[arg-type]
        raise refused(machine, listed, "append", "a loop appends arrays to a list that other names may refer to")
    assert isinstance(value, ArrayValue)
    _take_room(machine, item)
    item.buffer = _filled(machine, item.buffer, item.count, read(machine, value))
    listed_in(machine, value, listed)
    item.count = machine.emit("add", item.count, constant(machine, 1, "i64"))


def _is_row(machine: Machine, item: GrownList, array: ArrayValue) -> bool:
    wanted = TensorType(item.buffer.type.dtype, item.buffer.type.shape[1:])
    return array.type == wanted and in_c_order(machine, array)


def _filled(machine: Machine, buffer: Value, position: Value, number: Value) -> Value:
    """Return a buffer with a number at a position; it is large enough, so there is nothing to check."""
    array = new_array(machine, buffer)
    whole = (Range(0, size) for size in buffer.type.shape[1:])
    place = PathStep.of("view", 1, index=(Pick(Operand(0)), *whole))
    write(machine, view(machine, array, place, (position,)), number)
    version: Value = machine.state.at(array.storage).version
    return version


def loop_is_over(state: State, instruction: Instruction) -> None:
    """Note that a loop's buffers are as full as they get."""
    for item in state.heap.values():
        if isinstance(item, GrownList) and item.filling is instruction:
            item.filling = None
