"""Functions of the standard library as Python code.

Owns `EQUIVALENTS`: the Python that capture follows in place of a C function. Invariant: each equivalent is what the
library reference gives as such: it draws from its iterables in the same order and at the same time.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from janusjit.analysis.capture.numpy_equivalents import NUMPY
from janusjit.analysis.capture.operator_equivalents import OPERATORS


def _chain(*iterables: Iterable[Any]) -> Iterator[Any]:
    for iterable in iterables:
        yield from iterable


def _chain_from(iterables: Iterable[Iterable[Any]]) -> Iterator[Any]:
    for iterable in iterables:
        yield from iterable


def _count(start: Any = 0, step: Any = 1) -> Iterator[Any]:
    number = start
    while True:
        yield number
        number += step


def _repeat(object: Any, times: Any = None) -> Iterator[Any]:  # noqa: A002 - the library's name
    if times is None:
        while True:
            yield object
    else:
        for _ in range(times):
            yield object


def _cycle(iterable: Iterable[Any]) -> Iterator[Any]:
    saved = []
    for element in iterable:
        yield element
        saved.append(element)
    while saved:
        for element in saved:
            yield element


def _islice(iterable: Iterable[Any], *bounds: Any) -> Iterator[Any]:
    limits = slice(*bounds)
    start = 0 if limits.start is None else limits.start
    step = 1 if limits.step is None else limits.step
    iterator = iter(iterable)
    position = 0
    wanted = start
    while limits.stop is None or wanted < limits.stop:
        for element in iterator:
            position += 1
            if position > wanted:
                yield element
                break
        else:
            return
        wanted += step
    if limits.stop is not None:
        while position < limits.stop:
            for _ in iterator:
                position += 1
                break
            else:
                return


def _accumulate(iterable: Iterable[Any], func: Any = None, *, initial: Any = None) -> Iterator[Any]:
    function = operator.add if func is None else func
    iterator = iter(iterable)
    if initial is None:
        for element in iterator:
            total = element
            break
        else:
            return
    else:
        total = initial
    yield total
    for element in iterator:
        total = function(total, element)
        yield total


def _starmap(function: Callable[..., Any], iterable: Iterable[Any]) -> Iterator[Any]:
    for arguments in iterable:
        yield function(*arguments)


def _takewhile(predicate: Callable[[Any], Any], iterable: Iterable[Any]) -> Iterator[Any]:
    for element in iterable:
        if not predicate(element):
            break
        yield element


def _dropwhile(predicate: Callable[[Any], Any], iterable: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(iterable)
    for element in iterator:
        if not predicate(element):
            yield element
            break
    yield from iterator


def _pairwise(iterable: Iterable[Any]) -> Iterator[Any]:
    first = True
    previous = None
    for element in iterable:
        if not first:
            yield previous, element
        first = False
        previous = element


def _product(*iterables: Iterable[Any], repeat: int = 1) -> Iterator[Any]:
    return _products([tuple(pool) for pool in iterables] * repeat)


def _products(pools: list[tuple[Any, ...]]) -> Iterator[Any]:
    for pool in pools:
        if not pool:
            return
    positions = [0] * len(pools)
    yield tuple([pool[0] for pool in pools])
    while True:
        for i in reversed(range(len(pools))):
            positions[i] += 1
            if positions[i] < len(pools[i]):
                break
            positions[i] = 0
        else:
            return
        yield tuple([pool[position] for pool, position in zip(pools, positions, strict=True)])


def _combinations(iterable: Iterable[Any], r: int) -> Iterator[Any]:
    return _chosen(_pool(iterable, r), r)


def _pool(iterable: Iterable[Any], r: int) -> tuple[Any, ...]:
    """Return the elements, drawn when the iterator is made: what is added to the iterable later does not count."""
    pool = tuple(iterable)
    if r < 0:
        raise ValueError("r must be non-negative")
    return pool


def _chosen(pool: tuple[Any, ...], r: int) -> Iterator[Any]:
    count = len(pool)
    if r > count:
        return
    indices = list(range(r))
    yield tuple([pool[i] for i in indices])
    while True:
        for i in reversed(range(r)):
            if indices[i] != i + count - r:
                break
        else:
            return
        indices[i] += 1
        for j in range(i + 1, r):
            indices[j] = indices[j - 1] + 1
        yield tuple([pool[i] for i in indices])


def _permutations(iterable: Iterable[Any], r: Any = None) -> Iterator[Any]:
    pool = tuple(iterable)
    length = len(pool) if r is None else r
    return _ordered(_pool(pool, length), length)


def _ordered(pool: tuple[Any, ...], r: int) -> Iterator[Any]:
    count = len(pool)
    if r > count:
        return
    indices = list(range(count))
    cycles = list(range(count, count - r, -1))
    yield tuple([pool[i] for i in indices[:r]])
    while True:
        for i in reversed(range(r)):
            cycles[i] -= 1
            if cycles[i] > 0:
                other = count - cycles[i]
                indices[i], indices[other] = indices[other], indices[i]
                break
            indices = indices[:i] + indices[i + 1 :] + indices[i : i + 1]
            cycles[i] = count - i
        else:
            return
        yield tuple([pool[i] for i in indices[:r]])


def _zip_longest(*iterables: Iterable[Any], fillvalue: Any = None) -> Iterator[Any]:
    return _longest([iter(iterable) for iterable in iterables], fillvalue)


def _longest(iterators: list[Any], fillvalue: Any) -> Iterator[Any]:
    active = len(iterators)
    while active:
        values = []
        for position, iterator in enumerate(iterators):
            value = fillvalue
            if iterator is not None:
                for drawn in iterator:
                    value = drawn
                    break
                else:
                    active -= 1
                    if active == 0:
                        return
                    iterators[position] = None
            values.append(value)
        yield tuple(values)


def _compress(data: Iterable[Any], selectors: Iterable[Any]) -> Iterator[Any]:
    for element, selected in zip(data, selectors, strict=False):
        if selected:
            yield element


def _filterfalse(predicate: Any, iterable: Iterable[Any]) -> Iterator[Any]:
    for element in iterable:
        if not (element if predicate is None else predicate(element)):
            yield element


def _prod(iterable: Iterable[Any], /, *, start: Any = 1) -> Any:
    total = start
    for element in iterable:
        total = total * element
    return total


def _groupby(iterable: Iterable[Any], key: Any = None) -> Iterator[Any]:
    exhausted = False
    iterator = iter(iterable)
    value: Any = None
    value_key: Any = None

    def group(target: Any) -> Iterator[Any]:
        nonlocal exhausted, value, value_key
        yield value
        for following in iterator:
            value = following
            value_key = value if key is None else key(value)
            if value_key not in {target}:  # found by its hash, so that capture takes it for a constant
                return
            yield value
        exhausted = True

    for first in iterator:
        value = first
        value_key = value if key is None else key(value)
        break
    else:
        return
    while not exhausted:
        target = value_key
        members = group(target)
        yield target, members
        if value_key in {target}:
            for _ in members:
                pass


def _tee(iterable: Iterable[Any], n: int = 2, /) -> Any:
    if n < 0:
        raise ValueError("n must be >= 0")
    source = iter(iterable)
    drawn: list[Any] = []

    def follow() -> Iterator[Any]:
        position = 0
        while True:
            if position == len(drawn):
                for element in source:
                    drawn.append(element)
                    break
                else:
                    return
            yield drawn[position]
            position += 1

    return tuple([follow() for _ in range(n)])


def _combinations_with_replacement(iterable: Iterable[Any], r: int) -> Iterator[Any]:
    return _chosen_again(_pool(iterable, r), r)


def _chosen_again(pool: tuple[Any, ...], r: int) -> Iterator[Any]:
    count = len(pool)
    if not count and r:
        return
    indices = [0] * r
    yield tuple([pool[i] for i in indices])
    while True:
        for i in reversed(range(r)):
            if indices[i] != count - 1:
                break
        else:
            return
        indices[i:] = [indices[i] + 1] * (r - i)
        yield tuple([pool[i] for i in indices])


def _isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> bool:
    if rel_tol < 0.0 or abs_tol < 0.0:
        raise ValueError("tolerances must be non-negative")
    first, second = float(a), float(b)
    if first == second:
        return True
    if math.isinf(first) or math.isinf(second):
        return False
    difference = math.fabs(second - first)
    near = difference <= math.fabs(rel_tol * second) or difference <= math.fabs(rel_tol * first)
    return near or difference <= abs_tol


def _degrees(x: Any, /) -> float:
    return float(x) * (180.0 / math.pi)


def _radians(x: Any, /) -> float:
    return float(x) * (math.pi / 180.0)


#: what capture follows, by the function it stands for
EQUIVALENTS: dict[Any, Any] = {
    **OPERATORS,
    **NUMPY,
    itertools.groupby: _groupby,
    itertools.tee: _tee,
    itertools.combinations_with_replacement: _combinations_with_replacement,
    math.isclose: _isclose,
    math.degrees: _degrees,
    math.radians: _radians,
    itertools.chain: _chain,
    itertools.chain.from_iterable: _chain_from,
    itertools.count: _count,
    itertools.repeat: _repeat,
    itertools.cycle: _cycle,
    itertools.islice: _islice,
    itertools.accumulate: _accumulate,
    itertools.starmap: _starmap,
    itertools.takewhile: _takewhile,
    itertools.dropwhile: _dropwhile,
    itertools.pairwise: _pairwise,
    itertools.product: _product,
    itertools.combinations: _combinations,
    itertools.permutations: _permutations,
    itertools.zip_longest: _zip_longest,
    itertools.compress: _compress,
    itertools.filterfalse: _filterfalse,
    math.prod: _prod,
}
