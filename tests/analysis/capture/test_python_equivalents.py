"""The standard library's iterators, followed as Python code."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import janusjit as jj


def drawn_when_made(function, x, *arguments):
    """Add to a list after the iterator over it was made: `itertools` has copied the list by then."""
    numbers = [1, 2]
    iterator = function(numbers, *arguments)
    numbers.append(3)
    return [x * sum(found) for found in iterator]


PROGRAMS = [
    lambda x: [a * b for a, b in itertools.product(range(2), [x, x + 1.0])],
    lambda x: sum(itertools.chain([x], (x * 2.0, x * 3.0))),
    lambda x: list(itertools.chain.from_iterable([[x], [x + 1.0]])),
    lambda x: [a for a, _ in zip(itertools.count(2, 3), range(4))] + [x],
    lambda x: [x * k for k in itertools.repeat(2.0, 3)],
    lambda x: [x * k for k in itertools.islice(range(10), 1, 8, 3)],
    lambda x: list(itertools.islice(iter([x, 1, 2, 3]), 2)),
    lambda x: list(itertools.accumulate([x, x, x])),
    lambda x: [*itertools.accumulate([1, 2, 3], lambda a, b: a * b, initial=2), x],
    lambda x: list(itertools.starmap(lambda a, b: a * b, [(x, 2.0), (x, 3.0)])),
    lambda x: [x * k for k in itertools.takewhile(lambda k: k < 3, range(6))],
    lambda x: [x * k for k in itertools.dropwhile(lambda k: k < 3, range(6))],
    lambda x: [b - a for a, b in itertools.pairwise([x, x * 2.0, x * 5.0])],
    lambda x: [a * b for a, b in itertools.combinations([x, x + 1.0, x + 2.0], 2)],
    lambda x: [x * k for k, _ in zip(itertools.cycle([1, 2]), range(5))],
    lambda x: [a - b for a, b in itertools.permutations([x, x * 2.0, x * 5.0], 2)],
    lambda x: [x, *itertools.permutations(range(3)), *itertools.permutations([1], 2), *itertools.permutations([])],
    lambda x: [a * b for a, b in itertools.zip_longest([x, x, x], [2.0], fillvalue=3.0)],
    lambda x: [x, *itertools.zip_longest([1], iter([2, 3]), []), *itertools.zip_longest()],
    lambda x: list(itertools.compress([x, x + 1.0, x + 2.0], [1, 0, True])),
    lambda x: [x * k for k in itertools.filterfalse(lambda k: k % 2, range(5))],
    lambda x: [x, *itertools.filterfalse(None, [0, 1, 2])],
    lambda x: math.prod([x, x, 2.0], start=3) * math.prod(x.shape),
    lambda x: [x, *itertools.product([1, 2], [], [3]), *itertools.product(), *itertools.product([1, 2], repeat=3)],
    lambda x: x * sum(next(itertools.permutations(range(30)))) + sum(next(itertools.product(range(30), repeat=30))),
    lambda x: [x, *itertools.permutations(range(4), 3), *itertools.permutations(range(4), 0)],
    lambda x: drawn_when_made(itertools.permutations, x, 2),
    lambda x: drawn_when_made(itertools.combinations, x, 2),
    lambda x: drawn_when_made(itertools.product, x),
]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_equivalent(number):
    function = PROGRAMS[number]
    step = jj.jit(background=False)(function)
    for count in range(5):
        x = np.arange(3.0) + count
        found, wanted = step(x), function(x)
        assert type(found) is type(wanted)
        np.testing.assert_equal(found, wanted)
    assert step.stats.graph_calls == 3 and step.stats.host_calls == 0


def skipping(limit):
    """Yield from inside a loop that ends by ``break`` in a loop that goes on."""
    wanted, position, numbers = 1, 0, iter(range(10))
    while wanted < limit:
        for number in numbers:
            position += 1
            if position > wanted:
                yield number
                break
        else:
            return
        wanted += 3


def test_a_generator_yields_out_of_a_loop_that_breaks():
    step = jj.jit(background=False)(lambda x: [x * number for number in skipping(8)])
    for _ in range(5):
        found = step(np.ones(1))
    np.testing.assert_array_equal(found, [[1.0], [4.0], [7.0]])
    assert step.stats.graph_calls == 3


class Computed:
    def __get__(self, owner, type_):
        return 3.0 if owner is None else 4.0


class Holder:
    value = Computed()


def test_a_descriptor_on_a_class_computes():
    step = jj.jit(background=False)(lambda x: x * Holder.value)
    for _ in range(5):
        assert step(2.0) == 6.0
    assert step.stats.graph_calls == 3


MIXED = [9, 1, 17, 8, 0]


def built_by_add():
    made = set()
    for item in MIXED:
        made.add(item)
    return list(made)


def emptied():
    made = set(MIXED)
    made.discard(17)
    made.add(25)
    return list(made)


def added_to_outside(outside):
    outside.add(33)
    outside.discard(1)
    return len(outside)


@pytest.mark.parametrize(
    "make",
    [
        lambda: list(set(MIXED)),
        lambda: [k for k in {9, 1, 17, 8, 0}],  # noqa: C416 - the order is what is tested
        lambda: list({k for k in MIXED}),  # noqa: C416
        lambda: list(set(MIXED) | {24, 16}),
        lambda: list(set(MIXED) & {0, 8, 17, 40, 48}),
        lambda: list(set(MIXED).copy()),
        lambda: sum({0.1 * k for k in MIXED}),
        lambda: set(MIXED),
        lambda: set(MIXED) | {24, 16, 32},
        built_by_add,
        emptied,
    ],
)
def test_sets_give_their_items_in_pythons_order(make):
    step = jj.jit(background=False)(lambda x: (x * 2.0, make()))
    for _ in range(5):
        _, found = step(np.ones(2))
    wanted = make()
    assert found == wanted
    if isinstance(wanted, set):
        assert list(found) == list(wanted)


def test_an_outside_set_keeps_pythons_order():
    step = jj.jit(background=False)(lambda s, x: (added_to_outside(s), x * 2.0))
    for _ in range(5):
        mine, theirs = set(MIXED), set(MIXED)
        step(mine, np.ones(2))
        added_to_outside(theirs)
        assert list(mine) == list(theirs)
    assert step.stats.graph_calls == 3
