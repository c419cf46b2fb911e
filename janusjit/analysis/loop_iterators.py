"""What a loop holds of a generator of Python's.

Owns `LoopIterator`, which stands in a frame state for the one reference that a ``for`` statement has to its iterator,
and `holds_generator`, which tells what it stands for: generators, and what draws from one.
Invariant: compiled code and the runtime may refer to it as they like; the generator goes when the loop is left, as it
does when Python drops the iterator of a ``for`` statement.
"""

from __future__ import annotations

import gc
import itertools
import operator
from collections.abc import Iterable, Iterator
from types import (
    BuiltinMethodType,
    FunctionType,
    GeneratorType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

#: iterators that refer to others
COMBINATIONS = frozenset(
    (
        *(enumerate, zip, map, filter, itertools.chain, itertools.islice, itertools.takewhile, itertools.dropwhile),
        *(itertools.accumulate, itertools.starmap, itertools.filterfalse, itertools.compress, itertools.zip_longest),
        *(itertools.groupby, itertools.cycle, itertools.product),
    )
)
#: types of objects that are generators, or may refer to one
GENERATING = COMBINATIONS | {GeneratorType}
#: types of methods of generators
_METHODS = frozenset({BuiltinMethodType, MethodWrapperType})
#: how many objects are looked at in search of a generator
SEARCHED = 1000
#: what a loop draws from now
_generator = operator.attrgetter("generator")


class LoopIterator(SimpleNamespace):
    """A loop's reference to a generator; to an empty iterator once the loop has been left."""

    generator: Iterator[Any]

    def __iter__(self) -> Turns:
        return self.after(())

    def after(self, turns: Iterable[Any]) -> Turns:
        """Return an iterator for the rest of the loop, with some turns in front; the loop is left when it goes."""
        rest = Turns(turns, map(next, map(_generator, itertools.repeat(self))))
        rest.loop = self
        return rest

    def leave(self) -> None:
        """Drop the generator."""
        self.generator = iter(())


class Turns(itertools.chain[Any]):
    """What a ``for`` statement in generated code draws from.

    It refers to the loop only, which may be taken over, and left, elsewhere. It is C code: no traceback shows it.
    """

    loop: LoopIterator | None = None  # until it is known: what makes it may be interrupted

    def __del__(self) -> None:
        if self.loop is not None:
            self.loop.leave()


def draws(value: Any) -> bool:
    """Whether an object is a generator, of a type that may refer to one, or a method of such an object."""
    return type(value) in GENERATING or (type(value) in _METHODS and type(value.__self__) in GENERATING)


def may_hold_generator(value: Any) -> bool:
    """Whether an object is a generator, or of a type that may refer to one."""
    return type(value) in GENERATING


def holds_generator(value: Any) -> bool:
    """Whether an object is a generator, or an iterator that draws from one."""
    if type(value) is GeneratorType:
        return True
    return (type(value) in COMBINATIONS or type(value) is tuple) and any(map(holds_generator, gc.get_referents(value)))


def reaches_generator(value: Any, otherwise: bool) -> bool:
    """Whether a generator can be reached from an object; ``otherwise`` is the answer where that takes long to find."""
    waiting, seen = [value], {id(value)}
    while waiting:
        found = waiting.pop()
        if type(found) is GeneratorType:
            return True
        if len(seen) > SEARCHED:
            return otherwise
        referred = found.__closure__ or () if isinstance(found, FunctionType) else gc.get_referents(found)
        for item in referred:
            if id(item) not in seen and gc.is_tracked(item) and not isinstance(item, type | ModuleType):
                seen.add(id(item))
                waiting.append(item)
    return False


#: types of objects that refer to nothing that could be dropped with them
_PLAIN = frozenset({bool, float, int, str, type(None), np.ndarray, np.float64})


class Kept(SimpleNamespace):
    """An object on its way to a variable, which is to be the only one that refers to it: a generator, or a holder."""

    generator: Any

    def take(self) -> Any:
        """Hand the generator over."""
        return self.__dict__.pop("generator")


def keep(value: Any) -> Any:
    """Return what is to be passed to a resume function for a variable; the function calls `taken`."""
    return value if type(value) in _PLAIN else Kept(generator=value)


def taken(value: Any) -> Any:
    """Return the value of a variable of a resume function."""
    return value.take() if type(value) is Kept else value


def iter_of_loop(source: Any) -> Any:
    """Return the iterator of a loop in generated code, which keeps it in a variable as well."""
    iterator = source if type(source) is LoopIterator else iter(source)
    return LoopIterator(generator=iterator) if holds_generator(iterator) else iterator


def turns(iterator: Any) -> Any:
    """Return what a ``for`` statement in generated code draws from, where Python has the iterator already.

    The statement asks for an iterator once more, and the iterator of a class of the user's is not to hear of that.
    """
    if type(iterator) is LoopIterator or type(getattr(type(iterator), "__iter__", None)) is WrapperDescriptorType:
        return iterator
    return map(next, itertools.repeat(iterator))


def leave_loops(values: Iterable[Any]) -> None:
    """Leave the loops whose iterators are among values that stand in the order of a frame state, innermost first."""
    for value in reversed(tuple(values)):
        if type(value) is LoopIterator:
            value.leave()
