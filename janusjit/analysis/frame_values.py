"""Values of a frame state, taken apart and put together again.

Owns `assemble`, which makes the Python object a `Composite` stands for, and `decompose`, which takes live iterators of
loops apart. Invariant: they are inverse to each other, and to what capture does with these recipes on abstract values.
"""

from __future__ import annotations

import builtins
import collections
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import numpy as np

from janusjit.analysis.continuation import PLAIN, Composite, Plain, Recipe

#: a list or tuple with at most this many items left is gone through by position, one continuation an item
SHORT_SEQUENCE = 16


class Unbound:
    """Itself, not an instance: stands for a local variable that is not bound."""


@dataclass(slots=True)
class Raised:
    """How a ``try`` that Python runs as a whole has ended if by an exception, and the locals it has bound before."""

    error: BaseException
    bound: Any


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """An object that is compared by identity."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def assemble(recipe: Recipe, arguments: Iterator[Any]) -> Any:
    """Return the object a recipe stands for, its arguments drawn from an iterator."""
    if isinstance(recipe, Plain):
        return next(arguments)
    parts = [assemble(part, arguments) for part in recipe.parts]
    return _ASSEMBLE[recipe.kind](recipe.fixed, parts)


def make(kind: str, fixed: Sequence[Any], *parts: Any) -> Any:
    """Return the object a composite of plain parts stands for."""
    return _ASSEMBLE[kind](fixed, list(parts))


def _given(fixed: Sequence[Any], parts: Iterator[Any]) -> list[Any]:
    """Return what is fixed, and for each None the next part."""
    return [next(parts) if known is None else known for known in fixed]


def _range_at(fixed: Sequence[Any], parts: list[Any]) -> Iterator[int]:
    """Return an iterator over ``range(start, stop, step)`` that has given ``position`` items."""
    start, stop, step, position = _given(fixed, iter(parts))
    return iter(range(start + position * step, stop, step))


def _numbers(kind: str, array: Any, count: int | None = None) -> list[Any]:
    """Return the elements of an array, or the first of them, as a list of numbers of a kind."""
    found = array if count is None else array[:count]
    return list(found) if kind.startswith("numpy.") else found.tolist()


def _arrays(array: Any, count: int) -> list[Any]:
    """Return the first rows of an array as arrays of their own."""
    return [row.copy() for row in array[:count]]


def _mixed_numbers(array: Any, of_numpy: Any, count: int) -> list[Any]:
    """Return the first elements of an array as a list of numbers, some NumPy's and the others Python's."""
    found = array[:count]
    return [one if is_numpy else other for one, other, is_numpy in zip(found, found.tolist(), of_numpy, strict=False)]


class Backwards(tuple[Any, ...]):
    """The items of a sequence, last first: ``reversed(sequence)`` gives them."""

    __slots__ = ()
    _fields = ()

    @classmethod
    def _make(cls, items: Iterable[Any]) -> Backwards:
        return cls(items)

    def __reversed__(self) -> Any:
        """Return what ``reversed`` would, of a sequence with these items."""
        return reversed(tuple(self[::-1]))


class BackwardsList(Backwards):
    """The items of a list, last first."""

    __slots__ = ()

    def __reversed__(self) -> Any:
        """Return what ``reversed(list)`` would."""
        return reversed(list(self[::-1]))


def _backwards_at(fixed: Sequence[Any], parts: list[Any]) -> Iterator[Any]:
    """Return ``reversed(source)``, or that of a view of a dict, as it was made of so many items, after some of them."""
    kind, size, _ = fixed
    rest = iter(parts)
    owner = next(rest)
    position = next(rest, fixed[2])
    if kind is not None and len(owner) != size:
        return _changed_size()
    made: Any = reversed(owner if kind is None else getattr(owner, kind)())
    if kind is None and not isinstance(owner, collections.deque):
        following = size - 1 - position
        made.__setstate__(following if following < len(owner) else -1)
    else:
        next(itertools.islice(made, position, position), None)
    return made  # type: ignore[no-any-return]


def rows_backwards_at(turned: Any, position: int) -> Iterator[Any]:
    """Return ``reversed(rows)`` after some of them, given a view in which the last row is the first."""
    rows = turned[::-1]
    made: Any = reversed(rows)
    made.__setstate__(len(turned) - 1 - position)
    return made  # type: ignore[no-any-return]


def sequence_at(source: Any, position: int) -> Iterator[Any]:
    """Return ``iter(source)`` as it is after ``position`` items; of a `Backwards`, its ``reversed``."""
    if isinstance(source, Backwards):
        backwards: Iterator[Any] = reversed(source)
        next(itertools.islice(backwards, position, position), None)
        return backwards
    made: Any = iter(source)
    if isinstance(source, collections.deque):
        next(itertools.islice(made, position, position), None)
    else:
        made.__setstate__(position)
    return made  # type: ignore[no-any-return]


def _dict_at(fixed: Sequence[Any], parts: list[Any]) -> Iterator[Any]:
    """Return an iterator over a dict's keys, values or items, of which there were so many, after some of them."""
    kind, size, _ = fixed
    rest = iter(parts)
    owner = next(rest)
    position = next(rest, fixed[2])
    if len(owner) != size:
        return _changed_size()
    made: Iterator[Any] = iter(getattr(owner, kind)())
    next(itertools.islice(made, position, position), None)
    return made


def _changed_size() -> Iterator[Any]:
    raise RuntimeError("dictionary changed size during iteration")
    yield


def _enumerate_at(fixed: Sequence[Any], parts: list[Any]) -> Iterator[Any]:
    """Return ``enumerate(…, start)`` after ``position`` items; its source has been advanced already."""
    rest = iter(parts)
    start, position = _given(fixed, rest)
    return enumerate(next(rest), start + position)


_ASSEMBLE: dict[str, Callable[[Sequence[Any], list[Any]], Any]] = {
    "range": _range_at,
    "sequence": lambda fixed, parts: sequence_at(parts[0], fixed[0]),
    "dict": _dict_at,
    "rows": lambda fixed, parts: sequence_at(*parts),
    "items": lambda fixed, parts: sequence_at(*parts),
    "backwards": _backwards_at,
    "rows_backwards": lambda fixed, parts: rows_backwards_at(*parts),
    "zip": lambda fixed, parts: zip(*parts, strict=fixed[0]),
    "map": lambda fixed, parts: map(*parts),
    "filter": lambda fixed, parts: filter(*parts),
    "enumerate": _enumerate_at,
    "passed": lambda fixed, parts: parts[0],
    "method": lambda fixed, parts: MethodType(parts[1], parts[0]),
    "builtin_method": lambda fixed, parts: getattr(parts[0], fixed[0]),
    "dict_view": lambda fixed, parts: getattr(parts[0], fixed[0])(),
    "numbers": lambda fixed, parts: _numbers(fixed[0], *parts),
    "arrays": lambda fixed, parts: _arrays(*parts),
    "mixed_numbers": lambda fixed, parts: _mixed_numbers(*parts),
    "joined": lambda fixed, parts: [*itertools.chain(*parts)],
    "flat": lambda fixed, parts: parts[0].flat,
    "super": lambda fixed, parts: super(*parts),
    "range_object": lambda fixed, parts: range(*parts),
    "slice": lambda fixed, parts: slice(*parts),
    "tuple": lambda fixed, parts: tuple(parts) if fixed[0].value is tuple else fixed[0].value._make(parts),
    "function": lambda fixed, parts: parts[0],
}

# ---------------------------------------------------------------------- live iterators

_RANGE_ITERATORS = (type(iter(range(0))), type(iter(range(2**70))))
_SEQUENCE_ITERATORS: tuple[type, ...] = (type(iter([])), type(iter(())))
_ARRAY_ITERATOR = type(iter(np.zeros(1)))


def is_private(source: Any, iterator: Any) -> bool:
    """Whether a loop over ``source`` has ``iterator`` for itself: nobody else can draw from it.

    An iterator that the loop was given counts if it is a ``zip`` or ``enumerate`` that only the loop refers to.
    """
    return iterator is not source or (type(source) in _COMBINATIONS and sys.getrefcount(source) <= _OWN_REFERENCES)


_COMBINATIONS = (zip, enumerate)


def _references(source: Any, iterator: Any) -> int:
    return sys.getrefcount(source)


def _own_references() -> int:
    """Return how often `is_private` sees an iterator referred to that only a loop's two variables hold."""
    source: Any = zip((), strict=True)
    iterator = iter(source)
    return _references(source, iterator)


_OWN_REFERENCES = _own_references()


def decompose(live: Any) -> tuple[Recipe, list[Any]]:
    """Take a loop's own iterator apart, if there is a recipe for it."""
    kind = type(live)
    taker = _DECOMPOSE.get(kind)
    found = None if taker is None else taker(live)
    return (PLAIN, [live]) if found is None else found


def _reduced(live: Any) -> tuple[Any, tuple[Any, ...], int]:
    function, arguments, *state = live.__reduce__()
    return function, arguments, state[0] if state and state[0] is not None else 0


def _range(live: Any) -> tuple[Recipe, list[Any]] | None:
    function, (source, *_), position = _reduced(live)
    if function is not builtins.iter or type(source) is not range:
        return None
    fixed = (None, None, source.step, None)
    return Composite("range", fixed, (PLAIN,) * 3), [source.start, source.stop, position]


def _sequence(live: Any) -> tuple[Recipe, list[Any]] | None:
    _, (source, *_), position = _reduced(live)
    if type(source) not in (list, tuple) or len(source) - position > SHORT_SEQUENCE or not len(source):
        return None
    return Composite("sequence", (position,), (PLAIN,)), [source]


def _rows(live: Any) -> tuple[Recipe, list[Any]] | None:
    _, (source, *_), position = _reduced(live)
    if type(source) is not np.ndarray:
        return None
    return Composite("rows", (), (PLAIN, PLAIN)), [source, position]


def _zip(live: Any) -> tuple[Recipe, list[Any]] | None:
    reduced = live.__reduce__()
    sources = reduced[1]
    strict = len(reduced) > 2 and bool(reduced[2])
    if any(sys.getrefcount(source) > _ZIPPED_REFERENCES for source in sources):
        return None  # somebody else can draw from it
    parts = [decompose(source) for source in sources]
    if any(part is PLAIN for part, _ in parts):
        return None
    recipe = Composite("zip", (strict,), tuple(part for part, _ in parts))
    return recipe, list(itertools.chain.from_iterable(values for _, values in parts))


def _zipped_references() -> int:
    """Return how often `_zip` sees an iterator referred to that only a ``zip`` holds."""
    live: Any = zip([0], strict=True)
    sources = live.__reduce__()[1]
    return max(sys.getrefcount(source) for source in sources) + (live is None)  # the zip is still there


_ZIPPED_REFERENCES = _zipped_references()


def _enumerated_references() -> int:
    """Return how often `_enumerate` sees an iterator referred to that only an ``enumerate`` holds."""
    live: Any = enumerate([0])
    _, (source, _) = live.__reduce__()
    return sys.getrefcount(source) + (live is None)  # the enumerate is still there


_ENUMERATED_REFERENCES = _enumerated_references()


def _enumerate(live: Any) -> tuple[Recipe, list[Any]] | None:
    _, (source, count) = live.__reduce__()
    if sys.getrefcount(source) > _ENUMERATED_REFERENCES:
        return None  # somebody else can draw from it
    recipe, values = decompose(source)
    if recipe is PLAIN:
        return None
    if isinstance(recipe, Composite) and recipe.kind == "sequence":
        return Composite("enumerate", (0, count), (recipe,)), values
    return Composite("enumerate", (None, None), (PLAIN, PLAIN, recipe)), [count, 0, *values]


_DECOMPOSE: dict[type, Callable[[Any], tuple[Recipe, list[Any]] | None]] = {
    **dict.fromkeys(_RANGE_ITERATORS, _range),
    **dict.fromkeys(_SEQUENCE_ITERATORS, _sequence),
    _ARRAY_ITERATOR: _rows,
    zip: _zip,
    enumerate: _enumerate,
}
