"""Drawing from iterators.

Owns `has_next`, `next_item`, `draw`, `draw_all` and `maker_of`. Invariant: an iterator's position is an abstract value
on the heap, so a loop kept in the graph carries it like any other variable.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import constant, dim_value
from janusjit.analysis.capture.indexing import get_item as get_array_item
from janusjit.analysis.capture.listed import ARRAYS
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.packed import number_at
from janusjit.analysis.capture.protocols import (
    dict_view_items,
    invoke,
    iterator_over,
    length,
    range_length,
    rejected,
    truth,
)
from janusjit.analysis.capture.python_types import special_method
from janusjit.analysis.capture.selection import are_selectable, item_of_turn
from janusjit.analysis.capture.signals import PythonRaise
from janusjit.analysis.capture.state import GeneratorObject, GrownList, IteratorObject, ListObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    DictView,
    HostValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.core import Call, FunctionCore, Instruction
from janusjit.analysis.finalization import is_finalized, stays_in_frame
from janusjit.ir.graph import Value

DRAW_LIMIT = 20_000


def length_of(machine: Machine, iterator: IteratorObject) -> AbstractValue | None:
    """Return how many items an iterator gives in all, or None where that is only found by drawing."""
    source = iterator.sources[0] if iterator.sources else NONE
    if iterator.kind == "sequence":
        return Known(len((_unchanged if isinstance(source, DictView) else _items)(machine, iterator)))
    if iterator.kind == "range":
        assert isinstance(source, RangeValue)
        return range_length(machine, source)
    if iterator.kind == "objects":
        return length(machine, source)
    if iterator.kind in ("rows", "numbers"):
        assert isinstance(source, ArrayValue)
        return dim_value(machine, source.type.shape[0])
    return None


def _items(machine: Machine, iterator: IteratorObject) -> tuple[AbstractValue, ...]:
    (source,) = iterator.sources
    if isinstance(source, DictView):
        return dict_view_items(machine, source, _unchanged(machine, iterator)).items
    if isinstance(source, Reference):
        item = machine.heap(source)
        if isinstance(item, GrownList):
            raise machine.unsupported("python.size", "for", "the list is changed while its items are looked at")
        assert isinstance(item, ListObject)
        if isinstance(iterator.function, Known) and iterator.function.value != item.changes:
            raise machine.python_error(RuntimeError, "deque mutated during iteration")
        if iterator.backwards is None:
            return tuple(item.items)
        if len(item.items) != iterator.backwards:
            raise machine.unsupported("python.size", "for", "the list is changed while it is gone through backwards")
        return tuple(reversed(item.items))
    assert isinstance(source, TupleValue)
    return source.items


def _unchanged(machine: Machine, iterator: IteratorObject) -> tuple[Any, ...]:
    """Return the keys of the dict that an iterator goes over, in its order; where they are others, Python says so."""
    (view,) = iterator.sources
    assert isinstance(view, DictView) and isinstance(iterator.function, Known)
    keys: tuple[Any, ...] = iterator.function.value
    if tuple(machine.heap(view.owner).items) != keys:
        raise machine.unsupported("python.size", "for", "the dict is changed while it is gone through")
    return keys if iterator.backwards is None else keys[::-1]


def has_next(machine: Machine, reference: AbstractValue) -> bool | Value | None:
    """Return whether an iterator has another item; None where only drawing tells (generators, filters)."""
    if isinstance(reference, HostValue):
        raise machine.unsupported("python.iterator", "next", "the iterator is an object capture cannot enter")
    assert isinstance(reference, Reference)
    iterator = machine.heap(reference)
    if not isinstance(iterator, IteratorObject):
        return None
    if iterator.kind in ("enumerate", "map"):
        answers = [has_next(machine, source) for source in iterator.sources]
        return _all(machine, answers)
    if iterator.kind == "zip":
        if iterator.strict:
            return None
        return _all(machine, [has_next(machine, source) for source in iterator.sources])
    total = length_of(machine, iterator)
    if total is None:
        return None
    return truth(machine, numbers.binary(machine, "<", _position(iterator), total))


def _position(iterator: IteratorObject) -> AbstractValue:
    return iterator.position


def _all(machine: Machine, answers: list[bool | Value | None]) -> bool | Value | None:
    if any(answer is None for answer in answers):
        return None
    if any(answer is False for answer in answers) or not answers:
        return False
    result: Value | None = None
    for answer in answers:
        if isinstance(answer, Value):
            result = answer if result is None else machine.emit("logical_and", result, answer)
    return True if result is None else result


def next_item(machine: Machine, reference: AbstractValue) -> AbstractValue:
    """Return the next item of an iterator for which `has_next` holds, and advance it."""
    assert isinstance(reference, Reference)
    iterator: IteratorObject = machine.heap(reference)
    if iterator.kind == "enumerate":
        start = iterator.function or Known(0)
        position = _position(iterator)
        count = numbers.binary(machine, "+", start, position)
        _advance(machine, iterator)
        return TupleValue((count, next_item(machine, iterator.sources[0])))
    if iterator.kind == "zip":
        return TupleValue(tuple(next_item(machine, source) for source in iterator.sources))
    if iterator.kind == "map":
        arguments = [next_item(machine, source) for source in iterator.sources]
        assert iterator.function is not None
        return invoke(machine, iterator.function, *arguments)
    position = _position(iterator)
    _advance(machine, iterator)
    source = iterator.sources[0]
    if iterator.kind == "range":
        assert isinstance(source, RangeValue)
        offset = numbers.binary(machine, "*", position, source.step) if not _is(source.step, 1) else position
        return offset if _is(source.start, 0) else numbers.binary(machine, "+", source.start, offset)
    if iterator.kind == "rows":
        assert isinstance(source, ArrayValue)
        return get_array_item(machine, source, position)
    if iterator.kind == "numbers":
        assert isinstance(source, ArrayValue) and isinstance(iterator.function, Known)
        (kind, count), listed = iterator.function.value, iterator.sources[1]
        if isinstance(listed, Reference) and _is_changed(machine.heap(listed), count):
            raise machine.unsupported("python.size", "for", "the list is changed while its items are looked at")
        if kind == ARRAYS:
            return get_array_item(machine, source, position)
        return number_at(machine, source, position, kind)
    if iterator.kind == "objects":
        raise machine.unsupported("python.object", "for", "items that are found at run time are drawn by a rule")
    if isinstance(source, DictView) and isinstance(position, Known):
        key = _unchanged(machine, iterator)[position.value]
        return dict_view_items(machine, source, (key,)).items[0]
    items = _items(machine, iterator)
    found = item_of_turn(machine, items, position)
    return machine.resolve(items[machine.constant(position, "a position")]) if found is None else found


def items_left(machine: Machine, reference: AbstractValue) -> int:
    """Return how many more items an iterator gives that a loop in the graph can go through; 0 where none or unknown.

    These are iterators over ranges, over arrays' rows, and over items that may be selected from at run time; and what
    ``zip`` and ``enumerate`` make of them.
    """
    iterator = machine.heap(reference) if isinstance(reference, Reference) else None
    if not isinstance(iterator, IteratorObject):
        return 0
    if iterator.kind == "enumerate" or (iterator.kind == "zip" and not iterator.strict):
        return min((items_left(machine, source) for source in iterator.sources), default=0)
    if iterator.kind not in ("range", "rows", "sequence") or not isinstance(iterator.position, Known):
        return 0
    total = length_of(machine, iterator)
    left = int(total.value - iterator.position.value) if isinstance(total, Known) else 0
    if iterator.kind == "sequence" and left > 0:
        # a deque must not change while it is gone through
        followed = iterator.function is None or isinstance(iterator.sources[0], DictView)
        return left if followed and are_selectable(machine, _items(machine, iterator)) else 0
    return left


def _is_changed(item: ListObject | GrownList, count: int) -> bool:
    """Whether a list is appended to that had so many known items when a loop began to go over it."""
    if isinstance(item, GrownList):
        return item.filling is not None or len(item.later) != count
    return len(item.items) != count


def _is(value: AbstractValue, number: int) -> bool:
    return isinstance(value, Known) and value.value == number


def _advance(machine: Machine, iterator: IteratorObject) -> None:
    position = _position(iterator)
    if isinstance(position, Known):
        iterator.position = Known(position.value + 1)
        return
    assert isinstance(position, Scalar)
    # a position stays below a length, which is an int64: it cannot overflow
    following = machine.emit("add", position.value, constant(machine, 1, "i64"))
    iterator.position = Scalar(following, "int")


def draw(machine: Machine, reference: AbstractValue) -> AbstractValue | None:
    """Return the next item of an iterator, or None when it is exhausted.

    Raises
    ------
    CaptureFailure
        If exhaustion depends on run-time data.
    """
    if not isinstance(reference, Reference):
        raise machine.unsupported("python.iterator", "next", "the iterator is an object capture cannot enter")
    iterator = machine.heap(reference)
    if isinstance(iterator, GeneratorObject):
        return RESUME[0](machine, reference, NONE)  # type: ignore[no-any-return]
    if not isinstance(iterator, IteratorObject):
        return _draw_instance(machine, reference)
    if iterator.kind == "filter":
        return _draw_filter(machine, iterator)
    if iterator.kind in ("zip", "enumerate", "map"):
        return _draw_combined(machine, iterator)
    more = has_next(machine, reference)
    if isinstance(more, Value):
        more = _specialized(machine, iterator)
    return next_item(machine, reference) if more else None


#: set by `janusjit.analysis.capture.generators`: resume a generator until it yields
RESUME: list[Any] = []


def _specialized(machine: Machine, iterator: IteratorObject) -> bool:
    total = length_of(machine, iterator)
    assert total is not None
    position = machine.constant(_position(iterator), "a position")
    return bool(position < machine.constant(total, "the number of iterations"))


def _draw_instance(machine: Machine, reference: Reference) -> AbstractValue | None:
    method = special_method(machine, reference, "__next__")
    if method is None:
        raise rejected(machine, "next", "object is not an iterator", (reference, "__next__"))
    try:
        return invoke(machine, method)
    except PythonRaise as raised:
        if raised.type_ is StopIteration:
            return None
        raise


def _draw_filter(machine: Machine, iterator: IteratorObject) -> AbstractValue | None:
    assert iterator.function is not None
    plain = isinstance(iterator.function, Known) and iterator.function.value is None
    while (item := draw(machine, iterator.sources[0])) is not None:
        kept = truth(machine, item if plain else invoke(machine, iterator.function, item))
        if not isinstance(kept, bool):
            raise machine.unsupported("python.filter", "filter", "what is kept depends on run-time values")
        if kept:
            return item
    return None


def _uneven(machine: Machine, iterator: IteratorObject, exhausted: int) -> bool:
    """Whether a strict ``zip`` raises, whose source at a position is the first without another item."""
    return exhausted > 0 or any(draw(machine, source) is not None for source in iterator.sources[1:])


def _draw_combined(machine: Machine, iterator: IteratorObject) -> AbstractValue | None:
    drawn: list[AbstractValue] = []
    for source in iterator.sources:
        item = draw(machine, source)
        if item is None:
            if iterator.strict and _uneven(machine, iterator, len(drawn)):
                raise machine.python_error(ValueError, "zip() arguments have different lengths")
            return None
        drawn.append(item)
    if iterator.kind == "enumerate":
        count = numbers.binary(machine, "+", iterator.function or Known(0), _position(iterator))
        _advance(machine, iterator)
        return TupleValue((count, drawn[0]))
    if iterator.kind == "map":
        assert iterator.function is not None
        return invoke(machine, iterator.function, *drawn)
    return TupleValue(tuple(drawn))


def draw_all(machine: Machine, value: AbstractValue) -> list[AbstractValue]:
    """Return every item of an iterable."""
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        return list(value.items)
    iterator = iterator_over(machine, value)
    items: list[AbstractValue] = []
    while (item := draw(machine, iterator)) is not None:
        items.append(item)
        if len(items) > DRAW_LIMIT:
            raise machine.unsupported("limit.unrolling", "iteration", f"more than {DRAW_LIMIT} items are drawn")
    return items


def maker_of(machine: Machine, core: FunctionCore) -> Instruction | None:
    """Return the instruction that Python runs if the generator being made has to be an object.

    It is noted where the generator may have something to do when it is dropped, and commit points are not where it is.
    """
    maker = machine.blamed()
    if maker is not None and is_finalized(core) and not _is_let_go_in_time(machine):
        machine.hosts.making[maker] = _runs_itself(machine, maker)
    return maker


def _runs_itself(machine: Machine, instruction: Instruction | None) -> bool:
    """Whether an instruction is being executed, and no function that it has called is."""
    return not machine.nested and machine.outermost == (len(machine.state.frames), instruction)


def _is_let_go_in_time(machine: Machine) -> bool:
    """Whether what the call being executed makes is dropped where commit points can be: with a loop or a variable."""
    instruction = None if machine.outermost is None else machine.outermost[1]
    if not _runs_itself(machine, instruction):
        return False
    taking = stays_in_frame(machine.frame.core, instruction) if isinstance(instruction, Call) else None
    return taking is not None and taking.isdisjoint(machine.frame.namespace)
