"""Effects at joins of control paths.

Owns `merge_effects`, `check_attribute_order` and `bounds_of`. Invariant: what an effect takes can be seen wherever the
effect may be made, and effects whose order shows are made in the order of every path.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import Unmergeable
from janusjit.analysis.capture.state import DeferredCall, Instance, IteratorObject
from janusjit.analysis.capture.values import AbstractValue, Deferred, Known, Poison, RangeValue
from janusjit.ir.places import MISSING

if TYPE_CHECKING:
    from janusjit.analysis.capture.merge import Merger


def merge_effects(merger: Merger) -> list[DeferredCall]:
    """Return the effects behind a join: those of the paths, which are the same, with what is made on the way out.

    Raises
    ------
    Unmergeable
        If the paths leave different ones, or what one takes cannot be seen behind the join.
    """
    states = merger.states
    first = states[0].effects
    if any(len(state.effects) != len(first) for state in states) or any(
        one is not other for state in states[1:] for one, other in zip(first, state.effects, strict=True)
    ):
        raise Unmergeable("deferred effects differ")
    if merger.mark is None:
        return list(first)
    return [_merged(merger, number, call) for number, call in enumerate(first)]


def _merged(merger: Merger, number: int, call: DeferredCall) -> DeferredCall:
    values = [_value(merger, ("effect", number, place), value) for place, value in enumerate(call.values)]
    if all(one is other for one, other in zip(values, call.values, strict=True)):
        return call
    function, *taken = values
    keywords = zip((name for name, _ in call.keywords), taken[len(call.arguments) :], strict=True)
    return replace(call, function=function, arguments=tuple(taken[: len(call.arguments)]), keywords=tuple(keywords))


def _value(merger: Merger, where: tuple[Any, ...], value: AbstractValue) -> AbstractValue:
    if isinstance(value, Deferred):
        arguments = tuple(_value(merger, (*where, n), argument) for n, argument in enumerate(value.arguments))
        same = all(one is other for one, other in zip(arguments, value.arguments, strict=True))
        return value if same else replace(value, arguments=arguments)
    merged = merger.value(where, [value] * len(merger.states))
    if isinstance(merged, Poison):
        raise Unmergeable("what a deferred effect takes cannot be seen behind the paths")
    return merged


def check_attribute_order(machine: Machine, index: int, merged: Instance, items: list[Instance]) -> None:
    """See that attributes that are new come in one order on all paths, as an object's ``__dict__`` shows it.

    Raises
    ------
    Unmergeable
        If they do not.
    """
    orders = [list(item.attributes if merged.live is None else item.changed) for item in items]
    common = [[name for name in order if all(name in other for other in orders)] for order in orders]
    if all(order == common[0] for order in common):
        return
    if merged.live is not None:
        entry = [machine.externals.read_attribute(merged, index, name) for name in common[0]]
        if not any(isinstance(value, Known) and value.value is MISSING for value in entry):
            return  # attributes that were there keep their places
    raise Unmergeable("attributes are set in another order")


def bounds_of(iterator: IteratorObject) -> list[object]:
    """Return the bounds of the ranges that an iterator goes through: one path may have assumed what they are."""
    ranges = [source for source in iterator.sources if isinstance(source, RangeValue)]
    bounds = [bound for range_ in ranges for bound in (range_.start, range_.stop, range_.step)]
    return [bound.value if isinstance(bound, Known) else id(bound) for bound in bounds]
