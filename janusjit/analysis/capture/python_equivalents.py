"""Functions of the standard library as Python code.

Owns `EQUIVALENTS`: the Python that capture follows in place of a C function. Invariant: each equivalent is what the
library reference gives as such: it draws from its iterables in the same order and at the same time.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any


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
    pools = [tuple(pool) for pool in iterables] * repeat
    results: list[Any] = [()]
    for pool in pools:
        results = [(*before, element) for before in results for element in pool]
    yield from results


def _combinations(iterable: Iterable[Any], r: int) -> Iterator[Any]:
    pool = tuple(iterable)
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


#: what capture follows, by the function it stands for
EQUIVALENTS: dict[Any, Any] = {
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
}
