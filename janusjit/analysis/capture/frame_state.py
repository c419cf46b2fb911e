"""Frame states: abstract values as arguments of a continuation, and back.

Owns `FrameStateWriter`, which takes the live variables of the machine's frames apart, and `FrameStateReader`, which
puts them together from a continuation's arguments. Invariant: an object that two variables share stays one object: only
what a single variable holds is taken apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from janusjit.analysis.capture.arrays import PACKED, sequence_items
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import guard_structure, over_dict, over_numbers
from janusjit.analysis.capture.remembered import field_names
from janusjit.analysis.capture.selection import are_selectable
from janusjit.analysis.capture.state import GeneratorObject, HeapObject, IteratorObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    BuiltinMethod,
    DictView,
    FunctionValue,
    Known,
    MethodValue,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    SuperValue,
    TupleValue,
)
from janusjit.analysis.continuation import PLAIN, Composite, Plain, Recipe
from janusjit.analysis.frame_values import SHORT_SEQUENCE, Same

Parts = tuple[Recipe, list[AbstractValue]]

_WITH_FIELDS = (AbstractValue, HeapObject)
#: what is not looked into for references to heap objects
_WITHOUT_REFERENCES = (Known, Scalar, Unread, GeneratorObject)


class FrameStateWriter:
    """Takes values apart.

    Parameters
    ----------
    machine : Machine
        The machine, stopped at a commit point.
    live : list of AbstractValue
        Everything that is live, to see what is shared.
    """

    def __init__(self, machine: Machine, live: list[AbstractValue]) -> None:
        self.machine = machine
        self._holders = Counter[int]()
        self._seen: set[int] = set()
        for value in live:
            self._count(value)

    def _count(self, value: Any) -> None:
        """Count from how many places each heap object can be reached."""
        kind = type(value)  # isinstance would ask objects of the user's for their class
        if kind is Reference:
            self._holders[value.index] += 1
            if value.index not in self._seen:
                self._seen.add(value.index)
                self._count(self.machine.state.at(value.index))
        elif issubclass(kind, _WITH_FIELDS):
            if not issubclass(kind, _WITHOUT_REFERENCES):
                for name in field_names(value):
                    if name != "given":  # a list's items before a loop, which ``base`` has as well
                        self._count(getattr(value, name))
        elif issubclass(kind, (tuple, list, dict)):
            for item in value.values() if issubclass(kind, dict) else value:
                if not issubclass(type(item), _WITHOUT_REFERENCES):  # long lists hold little else
                    self._count(item)

    def take_apart(self, value: AbstractValue) -> Parts:
        """Return the recipe of a value and the values it is made of."""
        if isinstance(value, Unread):  # nobody has looked at it: passed on as it is
            return PLAIN, [value]
        value = self.machine.settle(value)
        for kind, taker in _TAKERS.items():
            if isinstance(value, kind):
                found = taker(self, value)
                if found is not None:
                    return found
        return PLAIN, [value]

    def composite(self, kind: str, fixed: tuple[Any, ...], *values: AbstractValue) -> Parts:
        """Return a composite of values that are taken apart in turn."""
        parts = [self.take_apart(value) for value in values]
        flat = [item for _, items in parts for item in items]
        return Composite(kind, fixed, tuple(recipe for recipe, _ in parts)), flat

    def is_shared(self, reference: Reference) -> bool:
        """Whether more than one place holds an object."""
        return self._holders[reference.index] > 1


def _take_reference(writer: FrameStateWriter, value: Reference) -> Parts | None:
    item = writer.machine.heap(value)
    if not isinstance(item, IteratorObject) or item.place is not None or writer.is_shared(value):
        return None
    return _take_iterator(writer, item)


def _take_iterator(writer: FrameStateWriter, item: IteratorObject) -> Parts | None:
    sources = item.sources
    if item.backwards is not None:
        return _take_backwards(writer, item)
    if item.kind == "range":
        return _take_range(writer, item)
    if item.kind == "objects":
        return writer.composite("objects", (), sources[0], item.position)
    if item.kind == "rows":
        return writer.composite("rows", (), sources[0], item.position)
    if item.kind == "numbers":
        return writer.composite("items", (), sources[1], item.position)
    if item.kind == "sequence":
        return _take_sequence(writer, item)
    if item.kind == "zip":
        return writer.composite("zip", (item.strict,), *sources)
    if item.kind in ("map", "filter"):
        assert item.function is not None
        return writer.composite(item.kind, (), item.function, *sources)
    if item.kind == "enumerate":
        return _take_enumerate(writer, item)
    return None


def _take_range(writer: FrameStateWriter, item: IteratorObject) -> Parts:
    """Take a range apart; what is known of it is fixed, but for the position in a long one."""
    (source,) = item.sources
    assert isinstance(source, RangeValue)
    parts = (source.start, source.stop, source.step, item.position)
    fixed: list[Any] = [part.value if isinstance(part, Known) else None for part in parts]
    if None in fixed or len(range(*fixed[:3])) - fixed[3] > SHORT_SEQUENCE:
        fixed[3] = None
    given = (part for part, known in zip(parts, fixed, strict=True) if known is None)
    return writer.composite("range", tuple(fixed), *given)


def _take_enumerate(writer: FrameStateWriter, item: IteratorObject) -> Parts:
    start = item.function or Known(0)
    recipe, values = writer.take_apart(item.sources[0])
    in_step = isinstance(recipe, Composite) and None not in recipe.fixed and recipe.kind in ("range", "sequence")
    if in_step and isinstance(start, Known) and isinstance(item.position, Known):
        return Composite("enumerate", (start.value, item.position.value), (recipe,)), values
    return Composite("enumerate", (None, None), (PLAIN, PLAIN, recipe)), [start, item.position, *values]


def _take_sequence(writer: FrameStateWriter, item: IteratorObject) -> Parts | None:
    (source,) = item.sources
    if isinstance(source, DictView):
        assert isinstance(item.function, Known)
        if not isinstance(item.position, Known):
            return writer.composite("dict", (source.kind, len(item.function.value), None), source.owner, item.position)
        return writer.composite("dict", (source.kind, len(item.function.value), item.position.value), source.owner)
    if not isinstance(item.position, Known):
        return None if item.function is not None else writer.composite("items", (), source, item.position)
    held = writer.machine.heap(source).items if isinstance(source, Reference) else source.items  # type: ignore[attr-defined]
    if len(held) - item.position.value > SHORT_SEQUENCE:
        return None
    return writer.composite("sequence", (item.position.value,), source)


def backwards_parts(item: IteratorObject, position: int | None) -> tuple[Any, ...]:
    """Return the kind of the recipe for what ``reversed`` has made, what is fixed, and the values it is made of."""
    source = item.sources[0]
    at = (item.position,) if position is None else ()
    if item.kind == "rows":
        return "rows_backwards", (), source, item.position
    if isinstance(source, DictView):
        return "backwards", (source.kind, item.backwards, position), source.owner, *at
    return "backwards", (None, item.backwards, position), source, *at


def _take_backwards(writer: FrameStateWriter, item: IteratorObject) -> Parts | None:
    if item.kind == "rows" or not isinstance(item.position, Known):
        return writer.composite(*backwards_parts(item, None))
    if item.backwards is not None and item.backwards - item.position.value > SHORT_SEQUENCE:
        return None
    return writer.composite(*backwards_parts(item, item.position.value))


def _take_method(writer: FrameStateWriter, value: MethodValue) -> Parts:
    return writer.composite("method", (), value.owner, value.function)


def _take_tuple(writer: FrameStateWriter, value: TupleValue) -> Parts | None:
    if value.place is not None:
        return None
    recipe, values = writer.composite("tuple", (Same(value.type_),), *value.items)
    assert isinstance(recipe, Composite)
    return None if all(isinstance(part, Plain) for part in recipe.parts) else (recipe, values)


def _take_function(writer: FrameStateWriter, value: FunctionValue) -> Parts:
    fixed = (
        Same(value.core),
        Same(value.namespace),
        Same(value.code),
        tuple(name for name, _ in value.cells),
        len(value.defaults),
        tuple(name for name, _ in value.keyword_defaults),
    )
    cells = [cell for _, cell in value.cells]
    named = [default for _, default in value.keyword_defaults]
    parts = [value, *cells, *value.defaults, *named]
    return Composite("function", fixed, (PLAIN,) * len(parts)), parts


_TAKERS: dict[type, Callable[[FrameStateWriter, Any], Parts | None]] = {
    Reference: _take_reference,
    MethodValue: _take_method,
    BuiltinMethod: lambda writer, value: writer.composite("builtin_method", (value.name,), value.owner),
    DictView: lambda writer, value: writer.composite("dict_view", (value.kind,), value.owner),
    SuperValue: lambda writer, value: writer.composite("super", (), Known(value.type_), value.owner),
    RangeValue: lambda writer, value: writer.composite("range_object", (), value.start, value.stop, value.step),
    SliceValue: lambda writer, value: writer.composite("slice", (), value.start, value.stop, value.step),
    TupleValue: _take_tuple,
    FunctionValue: _take_function,
}


class FrameStateReader:
    """Puts values together.

    Parameters
    ----------
    machine : Machine
        The machine.
    argument : callable
        Returns the next argument as an abstract value; with True, as what is only passed on (its place).
    cell : callable
        Returns the next argument, a cell object, as the heap object of its contents.
    """

    def __init__(
        self,
        machine: Machine,
        argument: Callable[[], AbstractValue],
        passed: Callable[[], AbstractValue],
        cell: Callable[[str], Reference],
    ) -> None:
        self.machine = machine
        self.argument = argument
        self.passed = passed
        self.cell = cell

    def put_together(self, recipe: Recipe) -> AbstractValue:
        """Return the abstract value a recipe stands for."""
        if isinstance(recipe, Plain):
            return self.argument()
        if recipe.kind == "function":
            return self._function(recipe)
        if recipe.kind == "passed":
            return self.passed()
        parts = [self.put_together(part) for part in recipe.parts]
        return _ASSEMBLE[recipe.kind](self.machine, recipe.fixed, iter(parts))

    def _function(self, recipe: Composite) -> AbstractValue:
        fixed: Any = recipe.fixed
        core, namespace, code, names, defaults, keywords = fixed
        made = self.passed()
        cells = tuple((name, self.cell(name)) for name in names)
        positional = tuple(self.argument() for _ in range(defaults))
        named = tuple((name, self.argument()) for name in keywords)
        return FunctionValue(core.value, namespace.value, cells, positional, named, code.value, made=made)


def _iterator(machine: Machine, kind: str, sources: tuple[AbstractValue, ...], **others: Any) -> AbstractValue:
    return machine.state.allocate(IteratorObject(kind=kind, sources=sources, **others))


def _given(fixed: Any, parts: Iterator[AbstractValue]) -> list[AbstractValue]:
    """Return what is fixed as known values, and for each None the next part."""
    return [next(parts) if known is None else Known(known) for known in fixed]


def _range(machine: Machine, fixed: Any, parts: Iterator[AbstractValue]) -> AbstractValue:
    start, stop, step, position = _given(fixed, parts)
    return _iterator(machine, "range", (RangeValue(start, stop, step),), position=position)


def _sequence(machine: Machine, source: AbstractValue, position: int) -> AbstractValue:
    """Go on with an iterator over a tuple or list: it ends where the list ends by now."""
    if isinstance(source, Reference):
        guard_structure(machine, machine.heap(source))
    return _iterator(machine, "sequence", (source,), position=Known(position))


def _dict(machine: Machine, fixed: Any, parts: Iterator[AbstractValue]) -> AbstractValue:
    """Go on with an iterator over a dict; Python raises what it does where that has another size by now."""
    kind, size, position = fixed
    view = DictView(_reference(next(parts)), kind)
    at = next(parts) if position is None else Known(position)
    if len(machine.heap(view.owner).items) != size:
        raise machine.unsupported("python.size", "for", "the dict is changed while it is gone through")
    return over_dict(machine, view, at)


def _backwards(machine: Machine, fixed: Any, parts: Iterator[AbstractValue]) -> AbstractValue:
    kind, size, position = fixed
    source = _reference(next(parts))
    at = next(parts) if position is None else Known(position)
    item = machine.heap(source)
    guard_structure(machine, item)
    if len(item.items) != size:
        raise machine.unsupported("python.size", "for", "what is gone through backwards is changed meanwhile")
    if kind is not None:
        made = over_dict(machine, DictView(source, kind), at)
        machine.heap(made).backwards = size
        return made
    changes = None if item.type_ is list else Known(item.changes)
    return _iterator(machine, "sequence", (source,), position=at, function=changes, backwards=size)


def _items(machine: Machine, source: AbstractValue, position: AbstractValue) -> AbstractValue:
    """Go on with an iterator over a list of numbers whose length varies: numbers still, or whatever they are by now."""
    together = PACKED[0](machine, source, numbers=True)
    if together is not None:
        return over_numbers(machine, _reference(source), together, position)
    items = sequence_items(machine, source)
    if isinstance(position, Scalar) and items is not None and are_selectable(machine, items):
        return _iterator(machine, "sequence", (source,), position=position)
    return _sequence(machine, source, machine.constant(position, "a position"))


def _enumerate(machine: Machine, fixed: Any, parts: Iterator[AbstractValue]) -> AbstractValue:
    start, position = _given(fixed, parts)
    return _iterator(machine, "enumerate", tuple(parts), function=start, position=position)


_ASSEMBLE: dict[str, Callable[[Machine, Any, Iterator[AbstractValue]], AbstractValue]] = {
    "range": _range,
    "sequence": lambda m, fixed, parts: _sequence(m, next(parts), fixed[0]),
    "dict": _dict,
    "objects": lambda m, fixed, parts: _iterator(m, "objects", (next(parts),), position=next(parts)),
    "rows": lambda m, fixed, parts: _iterator(m, "rows", (next(parts),), position=next(parts)),
    "rows_backwards": lambda m, fixed, parts: _iterator(
        m, "rows", (next(parts),), position=next(parts), backwards=0
    ),
    "backwards": _backwards,
    "items": lambda m, fixed, parts: _items(m, next(parts), next(parts)),
    "zip": lambda m, fixed, parts: _iterator(m, "zip", tuple(parts), strict=fixed[0]),
    "map": lambda m, fixed, parts: _iterator(m, "map", function=next(parts), sources=tuple(parts)),
    "filter": lambda m, fixed, parts: _iterator(m, "filter", function=next(parts), sources=tuple(parts)),
    "enumerate": _enumerate,
    "method": lambda m, fixed, parts: MethodValue(next(parts), next(parts)),
    "builtin_method": lambda m, fixed, parts: BuiltinMethod(next(parts), fixed[0]),
    "dict_view": lambda m, fixed, parts: DictView(_reference(next(parts)), fixed[0]),
    "super": lambda m, fixed, parts: SuperValue(m.constant(next(parts), "super()"), next(parts)),
    "range_object": lambda m, fixed, parts: RangeValue(next(parts), next(parts), next(parts)),
    "slice": lambda m, fixed, parts: SliceValue(next(parts), next(parts), next(parts)),
    "tuple": lambda m, fixed, parts: TupleValue(tuple(parts), fixed[0].value),
}


def _reference(value: AbstractValue) -> Reference:
    assert isinstance(value, Reference)
    return value
