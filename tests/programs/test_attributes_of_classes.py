"""What stands in classes, read through instances, ``super()`` and named tuples: methods, descriptors, operators."""

# ruff: noqa: RUF012 - the programs are written as people write them

from __future__ import annotations

import functools
import logging
from collections import namedtuple
from typing import NamedTuple

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


def jitted(function):
    return jj.jit(background=False)(function)


class Shifted:
    """A descriptor that is no data descriptor."""

    def __get__(self, instance, owner=None):
        return 7.0 if instance is None else instance.scale


class Bound:
    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner=None):
        return functools.partial(self.function, instance)


class OfClass(property):
    def __get__(self, instance, owner=None):
        return self.fget(owner)


class Base:
    table = [1.0, 2.0]
    rate = 0.5
    shifted = Shifted()

    def __init__(self):
        self.scale = 3.0

    @jitted
    def step(self, x, factor=0.5):
        return type(self).__name__, x * 2, factor

    @Bound
    def bound(self, x):
        return x * self.scale

    @OfClass
    def doubled(self):
        return self.rate * 2

    partial = functools.partialmethod(lambda self, a, b: self.scale + a * b, 2.0)

    @classmethod
    def build(cls, *arguments):
        return cls(*arguments)

    def helper(self):
        return type(self).__name__

    def __add__(self, other):
        return "base"

    def __lt__(self, other):
        return "base is less"


class Derived(Base):
    table = rate = shifted = partial = None

    def bound(self):
        return None

    def step(self, x, factor=0.25):
        return super().step(x, factor)

    def read(self, x):
        return super().table[1] * x, super().rate * x, super().shifted * x

    def descriptors(self, x):
        return super().bound(x), super().partial(3.0) * x, super().doubled * x, Derived.__mro__[1].doubled

    def inherited(self, x):
        try:
            return super().__eq__(self), hasattr(super(), "__hash__"), hasattr(super(), "missing"), x + 1
        except AttributeError:
            return "wrong"

    @classmethod
    def build(cls, *arguments):
        return super().build(*arguments), super().helper(super().build(*arguments))

    def made(self, x):
        return type(self.build()[0]).__name__, self.build()[1], x + 1

    def __radd__(self, other):
        return "derived"

    def __gt__(self, other):
        return "derived is greater"


class Rootless:
    def __init__(self, a, **rest):
        super().__init__(**rest)
        self.a = a


class Failure(ValueError):
    def __init__(self, text, last):
        super().__init__(text + "!")
        self.last = last


class Vector(NamedTuple):
    x: float
    y: float

    @property
    def total(self):
        return self.x + self.y

    @jitted
    def scaled(self, factor=2.0):
        return self.x * factor

    @classmethod
    def alike(cls, value):
        return cls(value, value)

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y) if isinstance(other, Vector) else NotImplemented

    def __mul__(self, factor):
        return Vector(self.x * factor, self.y * factor)

    __rmul__ = __mul__

    def __neg__(self):
        return Vector(-self.x, -self.y)

    def __call__(self, value):
        return self.x * value

    rate = 3


class Odd(namedtuple("Odd", "u v")):
    __slots__ = ()

    def __new__(cls, u, v=7.0):
        return super().__new__(cls, u * 2, v)

    @property
    def u(self):
        return 50.0

    def __len__(self):
        return 99

    def __getitem__(self, index):
        return 5.0


class Called:
    def __call__(self, *arguments):
        return len(arguments)


class Special:
    __call__ = Called()
    __add__ = staticmethod(lambda other: ("static", other))
    __getitem__ = jitted(lambda self, index: index * 2)

    def own(self):
        return 1


def through_super(derived, x):
    return derived.step(x, 3.0), derived.step(x), derived.read(x)


def descriptors_through_super(derived, x):
    return derived.descriptors(x), derived.inherited(x), derived.made(x)


def subclass_first(derived, x):
    return Base() + derived, Base() < derived, derived + derived, x + 1


def initializers(derived, x):
    try:
        raise Failure("bad", x * 2)
    except Failure as error:
        seen = error.args, error.last, str(error)
    try:
        Rootless(1.0, unknown=3)
    except TypeError:
        return seen, Rootless(2.0).a * x
    return "wrong"


def named_tuple(vector, x):
    try:
        seen = vector.total * x, getattr(vector, "total", -1.0), hasattr(vector, "total"), hasattr(vector, "other")
    except AttributeError:
        return "wrong"
    made = vector.alike(2.0), Vector.alike(3.0), vector.rate, vector.scaled(), vector.scaled(4.0)
    return seen, made, vector + vector, vector * 2.0, 2.0 * vector, -vector, vector(x), vector._replace(x=5.0)


def sum_of_named_tuples(vector, x):
    total = Vector(0.0, 0.0)
    for _ in range(3):
        total += vector
    return total, total.x * x


def odd_tuple(vector, x):
    odd = Odd(1.0)
    a, b = odd
    return len(odd), odd[0] * x, odd.u * x, odd.v, a, b, Odd(2.0, v=3.0)


def special_methods(vector, x):
    special = Special()
    return special(1, 2), special + 5, special[4] * x


@pytest.mark.parametrize(
    ("function", "owner", "host_calls"),
    [
        (through_super, Derived, 0),
        (descriptors_through_super, Derived, None),
        (subclass_first, Derived, 0),
        (initializers, Derived, None),
        (named_tuple, lambda: Vector(1.0, 2.0), 0),
        (sum_of_named_tuples, lambda: Vector(1.0, 2.0), 0),
        (odd_tuple, lambda: None, None),
        (special_methods, lambda: None, None),
    ],
)
def test_as_python_finds_it(function, owner, host_calls):
    def before(number):
        Base.table[1] = 2.0 + number % 3
        Base.rate = 0.5 + number // 7

    step = jj.jit(background=False)(function)
    sides = [Side(side, lambda number: (owner(), np.ones(3) * number), before) for side in (function, step)]
    assert run_side_by_side(*sides, 10) == []
    assert step.reason is None
    assert step.stats.graph_calls >= 7
    if host_calls is not None:
        assert step.stats.host_calls == host_calls


def test_an_attribute_of_the_tuple_itself_hides_that_of_its_class():
    class Pair(namedtuple("Pair", "u v")):
        rate = 3.0

    def scaled(pair, x):
        return pair.rate * pair.u * x

    step = jj.jit(background=False)(scaled)
    pair = Pair(1.0, 2.0)
    for number in range(8):
        if number == 5:
            pair.rate = 9.0
        np.testing.assert_array_equal(step(pair, np.ones(2)), scaled(pair, np.ones(2)))
    assert step.stats.graph_calls >= 3


def test_reversed_sequences_are_gone_through_behind_what_python_does():
    def backwards(_, x):
        rows = [(number, x * number, (x, x)) for number in range(4)]
        for number, row in reversed(list(enumerate(rows))):
            logging.getLogger("programs").debug("row")
            x = x + row[1] * number + row[2][0]
        return x

    step = jj.jit(background=False)(backwards)
    sides = [Side(side, lambda number: (None, np.ones(3) * number)) for side in (backwards, step)]
    assert run_side_by_side(*sides, 8) == []
    assert step.stats.graph_calls == 6
    assert step.stats.host_calls >= 24


def test_a_named_tuple_says_what_reversed_gives():
    class Turned(NamedTuple):
        u: float
        v: float

        def __reversed__(self):
            yield self.u
            yield self.u * 2

    def backwards(turned, x):
        return [x * item for item in reversed(turned)]

    step = jj.jit(background=False)(backwards)
    sides = [Side(side, lambda number: (Turned(1.0, 2.0), np.ones(3) * number)) for side in (backwards, step)]
    assert run_side_by_side(*sides, 8) == []
    assert step.stats.graph_calls == 6
