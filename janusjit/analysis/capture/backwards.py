"""``reversed``.

Owns its model. Invariant: what can be changed meanwhile is looked at when an item is drawn, as Python does, and not
when the iterator is made.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import PACKED, view
from janusjit.analysis.capture.calls import invoke, models
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import GROWN_ITERATOR, guard_structure, iterator_over, over_dict
from janusjit.analysis.capture.python_types import special_method
from janusjit.analysis.capture.state import (
    DictObject,
    GeneratorObject,
    GrownList,
    IteratorObject,
    ListObject,
    SetObject,
)
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    DictView,
    Known,
    RangeValue,
    Reference,
    TupleValue,
    concrete,
    known,
    lift,
)
from janusjit.analysis.frame_values import Backwards, BackwardsList
from janusjit.ops.indexing import PathStep, Range


@models(reversed)
def _model_reversed(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    value = arguments[0]
    if isinstance(value, RangeValue) and (found := _of_range(machine, value)) is not None:
        return found
    method = special_method(machine, value, "__reversed__")
    if method is not None:
        return invoke(machine, method, (), ())
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, IteratorObject | GeneratorObject | SetObject):
        raise machine.python_error(TypeError, "object is not reversible")
    if isinstance(value, DictView):
        return _over_dict(machine, value)
    if isinstance(value, Reference) and isinstance(item, DictObject):
        return _over_dict(machine, DictView(value, "keys"))
    if isinstance(item, GrownList) and (made := GROWN_ITERATOR[0](machine, value, backwards=True)) is not None:
        return made
    if isinstance(item, ListObject) and PACKED[0](machine, value, numbers=True) is None:
        return _over_list(machine, value, item)
    if isinstance(value, ArrayValue) and value.type.shape:
        return _over_rows(machine, value)
    kind = BackwardsList if isinstance(item, ListObject) else Backwards
    return iterator_over(machine, TupleValue(tuple(reversed(draw_all(machine, value))), kind))


def _of_range(machine: Machine, value: RangeValue) -> AbstractValue | None:
    if known(value):
        return iterator_over(machine, lift(concrete(value)[::-1]))
    if not (isinstance(value.step, Known) and value.step.value == 1):
        return None
    last = numbers.binary(machine, "-", value.stop, Known(1))
    stop = numbers.binary(machine, "-", value.start, Known(1))
    return iterator_over(machine, RangeValue(last, stop, Known(-1)))


def _over_dict(machine: Machine, value: DictView) -> AbstractValue:
    item: DictObject = machine.heap(value.owner)
    if item.type_ is collections.OrderedDict:
        raise machine.unsupported("python.builtin", "reversed", "an ordered dict has iterators of its own")
    made = over_dict(machine, value)
    machine.heap(made).backwards = len(item.items)
    return made


def _over_list(machine: Machine, value: AbstractValue, item: ListObject) -> AbstractValue:
    guard_structure(machine, item)
    changes = None if item.type_ is list else Known(item.changes)
    count = len(item.items)
    return machine.state.allocate(
        IteratorObject(sources=(value,), function=changes, maker=machine.blamed(), backwards=count)
    )


def _over_rows(machine: Machine, value: ArrayValue) -> AbstractValue:
    """Return an iterator over the rows of a view of an array, whose last one comes first."""
    first, *rest = value.type.shape
    whole = (Range(first - 1, first, -1), *(Range(0, size) for size in rest))
    turned = view(machine, value, PathStep.of("view", index=whole))
    made = IteratorObject(kind="rows", sources=(turned,), backwards=0)
    return machine.state.allocate(made)
