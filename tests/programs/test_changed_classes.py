"""Classes that change after functions which use them have been compiled."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import janusjit as jj


def classes() -> SimpleNamespace:
    """Return classes of its own for each test."""

    class Meta(type):
        meta = 1.0

        @property
        def computed(cls) -> float:
            return cls.plain * 1.5

        def method_of_class(cls, x):
            return x * 1.0

    class Base(metaclass=Meta):
        rate = 2.0
        plain = 3.0

        def method(self, x):
            return x * 2

        @staticmethod
        def static(x):
            return x * 2

        @classmethod
        def of_class(cls, x):
            return x * cls.rate

        @property
        def value(self):
            return 2.0

    class Middle(Base):
        pass

    class Leaf(Middle):
        def method(self, x):
            return super().method(x)

        def static_of_super(self, x):
            return super().static(x)

        def class_method_of_super(self, x):
            return super().of_class(x)

        @property
        def value(self):
            return super().value

        def rate_of_super(self):
            return super().rate

        def asks(self):
            return super().more(1.0) if hasattr(super(), "more") else 0.0

    return SimpleNamespace(Meta=Meta, Base=Base, Middle=Middle, Leaf=Leaf)


Function = Callable[[SimpleNamespace], Callable[..., Any]]


def stores(k: SimpleNamespace) -> Callable[..., Any]:
    def function(o, x):
        o.stored = x
        return o.stored

    return function


def seven(*arguments: Any) -> Any:
    """Stand for any method: seven times the last argument."""
    return arguments[-1] * 7


def doubled(self: Any, name: str, value: Any) -> None:
    object.__setattr__(self, name, value * 2)


def made(cls: type) -> Any:
    instance = object.__new__(cls)
    instance.rate = 11.0
    return instance


CASES: dict[str, tuple[Function, Callable[[SimpleNamespace], None]]] = {
    "a method that super finds": (
        lambda k: lambda o, x: o.method(x),
        lambda k: setattr(k.Base, "method", seven),
    ),
    "a method that comes to stand before what super found": (
        lambda k: lambda o, x: o.method(x),
        lambda k: setattr(k.Middle, "method", seven),
    ),
    "a static method that super finds": (
        lambda k: lambda o, x: o.static_of_super(x),
        lambda k: setattr(k.Base, "static", staticmethod(seven)),
    ),
    "a class method that super finds": (
        lambda k: lambda o, x: o.class_method_of_super(x),
        lambda k: setattr(k.Base, "of_class", classmethod(seven)),
    ),
    "a property that super finds": (
        lambda k: lambda o, x: o.value * x,
        lambda k: setattr(k.Base, "value", property(lambda self: 7.0)),
    ),
    "a number that super finds": (
        lambda k: lambda o, x: o.rate_of_super() * x,
        lambda k: setattr(k.Middle, "rate", 7.0),
    ),
    "what super did not find": (
        lambda k: lambda o, x: o.asks() * x,
        lambda k: setattr(k.Base, "more", seven),
    ),
    "the bases behind super": (
        lambda k: lambda o, x: o.method(x),
        lambda k: setattr(k.Middle, "__bases__", (k.Meta("Other", (), {"method": seven}),)),
    ),
    "a static method": (
        lambda k: lambda o, x: k.Leaf.static(x),
        lambda k: setattr(k.Base, "static", staticmethod(seven)),
    ),
    "a class method that is hidden": (
        lambda k: lambda o, x: k.Leaf.of_class(x),
        lambda k: setattr(k.Middle, "of_class", classmethod(seven)),
    ),
    "a number that is hidden": (
        lambda k: lambda o, x: k.Leaf.rate * x,
        lambda k: setattr(k.Middle, "rate", 7.0),
    ),
    "a number of the object's class": (
        lambda k: lambda o, x: type(o).rate * x,
        lambda k: setattr(k.Middle, "rate", 7.0),
    ),
    "a function that is hidden": (
        lambda k: lambda o, x: k.Middle.method(o, x),
        lambda k: setattr(k.Middle, "method", seven),
    ),
    "an attribute that comes": (
        lambda k: lambda o, x: x * getattr(k.Middle, "more", 1.0),
        lambda k: setattr(k.Middle, "more", 7.0),
    ),
    "a number of the metaclass": (
        lambda k: lambda o, x: k.Base.meta * x,
        lambda k: setattr(k.Meta, "meta", 7.0),
    ),
    "a number that hides one of the metaclass": (
        lambda k: lambda o, x: k.Middle.meta * x,
        lambda k: setattr(k.Base, "meta", 7.0),
    ),
    "a method of the metaclass": (
        lambda k: lambda o, x: k.Base.method_of_class(x),
        lambda k: setattr(k.Meta, "method_of_class", seven),
    ),
    "a property of the metaclass": (
        lambda k: lambda o, x: k.Base.computed * x,
        lambda k: setattr(k.Base, "plain", 7.0),
    ),
    "a property of the metaclass that hides a number": (
        lambda k: lambda o, x: k.Base.rate * x,
        lambda k: setattr(k.Meta, "rate", property(lambda cls: 7.0)),
    ),
    "what belongs to a class": (
        lambda k: lambda o, x: x * 2 if isinstance(o, k.Base) else x * 3,
        lambda k: setattr(k.Meta, "__instancecheck__", lambda cls, instance: False),
    ),
    "a constructor": (
        lambda k: lambda o, x: x * k.Leaf().rate,
        lambda k: setattr(k.Base, "__init__", lambda self: setattr(self, "rate", 9.0)),
    ),
    "a number of the class of an object made inside": (
        lambda k: lambda o, x: x * k.Leaf().rate,
        lambda k: setattr(k.Middle, "rate", 9.0),
    ),
    "what makes instances": (
        lambda k: lambda o, x: x * k.Leaf().rate,
        lambda k: setattr(k.Base, "__new__", staticmethod(made)),
    ),
    "what calls a class": (
        lambda k: lambda o, x: x * k.Leaf().rate,
        lambda k: setattr(k.Meta, "__call__", lambda cls: SimpleNamespace(rate=13.0)),
    ),
    "how attributes are set": (stores, lambda k: setattr(k.Base, "__setattr__", doubled)),
    "how attributes are read": (
        lambda k: lambda o, x: o.rate * x,
        lambda k: setattr(k.Base, "__getattribute__", lambda self, name: 17.0),
    ),
    "an attribute of a function": (
        lambda k: lambda o, x: k.Base.method.factor * x if hasattr(k.Base.method, "factor") else x,
        lambda k: setattr(k.Base.method, "factor", 7.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_changed_class_is_seen(case: str) -> None:
    make, change = CASES[case]
    known = classes()
    plain = make(known)
    compiled = jj.jit(background=False)(make(known))
    instance, x = known.Leaf(), np.arange(1.0, 4.0)
    for _ in range(6):
        np.testing.assert_array_equal(compiled(instance, x), plain(instance, x))
    before = compiled.stats.graph_calls
    assert before == 4
    old = plain(instance, x)
    change(known)
    assert not np.array_equal(plain(instance, x), old)
    for _ in range(6):
        np.testing.assert_array_equal(compiled(instance, x), plain(instance, x))
    assert compiled.stats.calls == 12


def test_a_class_attribute_that_is_set_all_the_time_is_read() -> None:
    class Settings:
        rate = 1.0

    @jj.jit(background=False)
    def step(x):
        return x * Settings.rate

    for number in range(20):
        Settings.rate = 0.5 * number
        np.testing.assert_array_equal(step(np.ones(3)), np.full(3, 0.5 * number))
    assert step.stats.graph_calls == 18 and step.stats.specializations == 1


def test_unions_of_classes_are_asked_in_the_graph() -> None:
    @jj.jit(background=False)
    def step(x, scale):
        return x * 2 if isinstance(scale, int | float) and issubclass(float, int | float) else x

    for _ in range(5):
        np.testing.assert_array_equal(step(np.ones(3), 2.0), np.full(3, 2.0))
    assert step.stats.graph_calls == 3 and step.stats.host_calls == 0


def descriptors() -> SimpleNamespace:
    """Return a class with a descriptor that says how its attribute is read and written."""

    class Doubled:
        def __get__(self, owner, type_=None):
            return owner.held * 2

        def __set__(self, owner, value):
            owner.held = value + 1

    class Owner:
        value = Doubled()

    return SimpleNamespace(descriptor=Doubled, owner=Owner)


@pytest.mark.parametrize(
    ("method", "other"),
    [
        ("__get__", lambda self, owner, type_=None: -owner.held),
        ("__set__", lambda self, owner, value: setattr(owner, "held", value * 10)),
    ],
)
def test_methods_of_descriptors_are_replaced(method: str, other: Callable[..., Any]) -> None:
    known = [descriptors(), descriptors()]
    owners = [one.owner() for one in known]

    def step(owner, x):
        owner.value = x.sum()
        owner.value += 1.0
        return owner.value * x

    compiled = jj.jit(step, background=False)
    for number in range(10):
        if number == 5:
            for one in known:
                setattr(one.descriptor, method, other)
        x = np.ones(3) * number
        np.testing.assert_array_equal(compiled(owners[0], x), step(owners[1], x))
        assert owners[0].held == owners[1].held
    assert compiled.stats.graph_calls >= 7 and compiled.stats.deopts == 1 and compiled.stats.host_calls == 0


def test_kinds_of_properties_and_methods_that_are_read_in_another_way() -> None:
    class Hundredfold(property):
        def __get__(self, owner, type_=None):
            return owner.held * 100.0

        def __set__(self, owner, value):
            owner.held = value - 1.0

    class Bound(staticmethod):
        def __get__(self, owner, type_=None):
            return lambda x: x + 1.0

    class OfClass(classmethod):
        def __get__(self, owner, type_=None):
            return lambda x: x + 2.0

    class Same(property):
        pass

    class Base:
        def __init__(self, held):
            self.held = held

        @Hundredfold
        def value(self):
            return self.held

        @Same
        def same(self):
            return self.held * 3.0

        bound = Bound(lambda x: x)
        of_class = OfClass(lambda cls, x: x)

    class Owner(Base):
        def through_super(self):
            return super().value, super().bound(1.0), super().same

    def step(x):
        owner = Owner(x)
        read = (owner.value, owner.bound(x), owner.of_class(x), Owner.bound(x), owner.same, owner.through_super())
        owner.value = x
        return *read[:-1], *read[-1], owner.held

    compiled = jj.jit(step, background=False)
    for number in range(6):
        for got, expected in zip(compiled(np.ones(2) * number), step(np.ones(2) * number), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert compiled.stats.graph_calls == 4
