"""Making and copying objects: what classes, and dataclasses, say of it."""

from __future__ import annotations

import abc
import copy
import dataclasses

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


def both(function, host=False):
    """Compare a function of an array and a number in plain Python and under `@jit`."""

    def arguments(number):
        return np.arange(4.0) + number, number

    jitted = jj.jit(function, warmup=2, background=False)
    assert not run_side_by_side(Side(function, arguments), Side(jitted, arguments), 8)
    assert jitted.stats.graph_calls > 0, (jitted.stats, jitted.reason)
    assert (jitted.stats.host_calls > 0) == host
    return jitted


@dataclasses.dataclass
class Base:
    a: int = 1


@dataclasses.dataclass(init=False)
class WithoutInit(Base):
    b: int = 2


class WithLatePostInit(Base):
    def __post_init__(self):
        self.a = 99


@dataclasses.dataclass
class WithUnset:
    x: float
    y: int = dataclasses.field(init=False, default=7)
    z: list = dataclasses.field(init=False, default_factory=list)


@dataclasses.dataclass(slots=True)
class Slotted:
    x: float
    y: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Doubling:
    a: float = 1.0

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value * 2)


class Shifted:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner=None):
        return 5.0 if instance is None else getattr(instance, self.name)

    def __set__(self, instance, value):
        setattr(instance, self.name, value + 100)


@dataclasses.dataclass
class WithDescriptor:
    w: float = Shifted()


def test_a_dataclass_sets_what_its_own_init_sets():
    both(lambda x, n: (WithoutInit(n), WithoutInit(n).b, WithLatePostInit(n), WithUnset(x), Slotted(n), x * 2.0))


def test_a_dataclass_sets_its_fields_as_its_class_says():
    both(lambda x, n: (Doubling(n), Doubling(), WithDescriptor(n), WithDescriptor(), x * 2.0))


@pytest.mark.parametrize("made", [lambda: WithoutInit(1, 2), lambda: Base(1, a=2), lambda: WithUnset()])
def test_what_an_init_does_not_take_is_refused(made):
    def program(x, n):
        try:
            return made(), x * 2.0
        except TypeError:
            return "refused", x * 2.0

    both(program)


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self): ...


class Returning:
    def __init__(self, value):
        self.value = value
        return value


@pytest.mark.parametrize("class_", [Abstract, lambda: Returning(3), lambda: Returning(None).value])
def test_objects_that_cannot_be_made(class_):
    def program(x, n):
        try:
            return class_(), x * 2.0
        except TypeError:
            return "refused", x * 2.0

    both(program)


class Copied:
    def __init__(self, v):
        self.v = v

    def __copy__(self):
        return Copied(("copy", self.v))

    def __deepcopy__(self, memo):
        return Copied(("deepcopy", self.v))


class Restored:
    def __init__(self, v):
        self.v = v

    def __setstate__(self, state):
        self.v = ("restored", state["v"])


class Reduced:
    def __init__(self, v):
        self.v = v

    def __reduce__(self):
        return Reduced, ("reduced",)


@pytest.mark.parametrize("class_", [Copied, Restored, Reduced])
def test_classes_say_how_their_instances_are_copied(class_):
    both(lambda x, n: (copy.copy(class_(n)).v, copy.deepcopy(class_(n)).v, x * 2.0), host=True)


def test_plain_objects_are_copied_in_the_graph():
    both(lambda x, n: (copy.copy(Base(n)), copy.deepcopy(WithUnset(x)), x * 2.0))
