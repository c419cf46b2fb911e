"""Attributes that come, go and hide one another, and what Python demands of special methods' results."""

from __future__ import annotations

import contextlib
import enum
import types

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


def vector(number):
    return (np.arange(4.0) + number,)


def both(build, arguments=vector, before=None, calls=9, host=False):
    """Compare what ``build()`` makes, a function and what it changes, in plain Python and under `@jit`."""

    def side(function, state):
        return Side(function, arguments, before and (lambda number: before(state, number)), lambda: state)

    plain, (function, state) = side(*build()), build()
    jitted = jj.jit(function, warmup=2, background=False)
    assert not run_side_by_side(plain, side(jitted, state), calls)
    assert jitted.stats.graph_calls > 0, (jitted.stats, jitted.reason)
    assert host is None or (jitted.stats.host_calls > 0) == host
    return jitted


# ---------------------------------------------------------------------- attributes


class Layer:
    rate = 1.0
    __slots__ = ("__dict__", "slot")


@pytest.mark.parametrize("value", [2.0, np.ones(4), None])
def test_an_attribute_comes_to_hide_the_one_of_the_class(value):
    def build():
        layer = Layer()
        return lambda x: (layer.rate, x * 2.0), layer

    def before(layer, number):
        if number == 5:
            layer.rate = value
        if number == 7:
            del layer.rate

    both(build, before=before)


def test_a_property_is_deleted_by_its_own_function():
    class Counted:
        def __init__(self):
            self.own, self.log = 1.0, []

        @property
        def value(self):
            self.log.append("read")
            return self.own

        @value.deleter
        def value(self):
            self.log.append("deleted")
            self.own = 0.0

    def build():
        counted = Counted()

        def step(x):
            counted.own += x.sum()
            del counted.value
            return counted.value

        return step, counted

    both(build)


def test_a_class_says_what_deleting_an_attribute_does():
    class Logged:
        def __init__(self):
            self.log = []

        def __delattr__(self, name):
            self.log.append(name)

    def build():
        logged = Logged()

        def step(x):
            logged.x = x + 1.0
            del logged.x
            return logged.x.sum()

        return step, logged

    both(build)


def test_deleted_attributes_come_back_last():
    class Plain:
        pass

    def build():
        plain = Plain()

        def step(x):
            inside = Plain()
            inside.a, inside.b = x, 1
            del inside.a
            inside.a = x + 1.0
            plain.a, plain.b = x * 2.0, 1
            del plain.a
            plain.a = inside.a
            return inside

        return step, plain

    both(build, host=True)


def test_what_the_class_has_cannot_be_deleted_of_an_instance():
    def build():
        layer = Layer()

        def step(x, remove):
            try:
                if remove:
                    del layer.rate
            except AttributeError:
                return "refused"
            return x * layer.rate

        return step, layer

    both(build, lambda number: (*vector(number), number > 4), host=True)


def test_slots_have_no_room_for_other_attributes():
    class Slotted:
        __slots__ = ("x",)

    def build():
        slotted = Slotted()

        def step(x):
            slotted.x = x * 2.0
            try:
                slotted.y = x
            except AttributeError:
                return slotted.x.sum()

        return step, slotted

    both(build)


def test_attributes_that_raise_attribute_errors_are_not_there():
    class Lacking:
        @property
        def value(self):
            raise AttributeError("inside")

    class Falling(Lacking):
        def __getattr__(self, name):
            return name

    def build():
        lacking, falling = Lacking(), Falling()
        return lambda x: (hasattr(lacking, "value"), getattr(lacking, "value", 3), falling.value, x * 2.0), None

    both(build)


def test_modules_compute_attributes():
    def build():
        module = types.ModuleType("module")
        module.__getattr__ = lambda name: 5.0
        return lambda x: (module.a, x * 2.0), module

    def before(module, number):
        if number == 6:
            module.a = 3.0

    both(build, before=before, calls=10, host=True)


@pytest.mark.parametrize("outside", [False, True])
def test_new_attributes_come_in_the_order_of_the_path(outside):
    class Plain:
        pass

    def build():
        objects = [Plain() for _ in range(20)]

        def step(x, k):
            item = objects[k] if outside else Plain()
            if x[0] > 3.0:
                item.a = 1.0
                item.b = x
            else:
                item.b = x + 1.0
                item.a = 2.0
            return item

        return step, objects

    both(build, lambda number: (np.arange(4.0) + number % 6, number), host=outside)


# ---------------------------------------------------------------------- results of special methods


@pytest.mark.parametrize(
    ("name", "given", "use"),
    [
        ("__bool__", 3, lambda item: 1 if item else 2),
        ("__bool__", np.True_, bool),
        ("__len__", -1, len),
        ("__len__", -1, bool),
        ("__len__", 2.5, len),
        ("__len__", True, len),
        ("__len__", 2**70, len),
        ("__str__", None, str),
        ("__repr__", 3, repr),
        ("__iter__", [1.0], lambda item: [value for value in item]),  # noqa: C416 - the loop is what is tested
        ("__float__", 1, float),
        ("__float__", np.float64(2.0), float),
        ("__int__", 2.5, int),
        ("__int__", None, int),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_python_demands_types_of_special_methods(name, given, use):
    item = type("Item", (), {name: lambda self: given})()

    def build():
        def step(x):
            y = x * 2.0
            try:
                return use(item), y
            except (TypeError, ValueError, OverflowError) as error:
                return type(error), str(error), y

        return step, None

    both(build, host=None if name == "__len__" else True)


def test_lengths_known_at_run_time_are_not_negative():
    class Sized:
        def __len__(self):
            return self.size

    def build():
        sized = Sized()

        def step(x, size):
            sized.size = size
            try:
                return len(sized), x * 2.0
            except ValueError as error:
                return str(error)

        return step, sized

    both(build, lambda number: (*vector(number), 5 - number))


def test_an_iterator_needs_an_iter_of_its_own_to_be_gone_through():
    class Iterable:
        def __init__(self, made):
            self.made = made

        def __iter__(self):
            return self.made

    class Drawn:
        def __init__(self):
            self.left = 3

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration
            return self.left

    def build():
        def step(x):
            y = x * 2.0
            try:
                refused = [value for value in Drawn()]  # noqa: C416 - the loop is what is tested
            except TypeError:
                refused = "refused"
            return [value * y for value in Iterable(Drawn())], refused

        return step, None

    both(build)


def test_objects_are_not_asked_for_their_class():
    class Proxy:
        asked = 0

        @property
        def __class__(self):
            type(self).asked += 1
            return np.ndarray

        def __rmul__(self, other):
            return other + 1.0

        __array_ufunc__ = None

    asked = []

    def build():
        Proxy.asked = 0
        proxy = Proxy()
        return lambda x: x * 2.0 * proxy, None

    jitted = both(build, host=True)
    asked.append(Proxy.asked)
    assert asked == [0], jitted.stats


# ---------------------------------------------------------------------- special methods are those of the class


def test_members_of_enumerations_and_classes_do_what_their_classes_say_by_now():
    answers = {"truth": True, "equal": False, "offset": 1}

    class Member(enum.Enum):
        A = 0

        def __bool__(self):
            return answers["truth"]

        def __eq__(self, other):
            return answers["equal"]

        __hash__ = enum.Enum.__hash__

        @property
        def shifted(self):
            return self.value + answers["offset"]

    class Number(enum.IntEnum):
        ONE = 1

        def __add__(self, other):
            return "added", other

    class Meta(type):
        def __bool__(cls):
            return answers["truth"]

        def __eq__(cls, other):
            return answers["equal"]

        __hash__ = type.__hash__

        def __contains__(cls, item):
            return answers["equal"]

    class Class(metaclass=Meta):
        pass

    def build():
        def step(x):
            member = (1 if Member.A else 2), Member.A == Member.A, Member.A in (Member.A,), Member.A.shifted
            class_ = (1 if Class else 2), Class == 3, Class in [3], 3 in Class
            return member, class_, Number.ONE + 2, Number.ONE * 2, x * 2.0

        return step, None

    def before(_, number):
        answers.update(truth=number != 5, equal=number > 6, offset=number // 4)

    both(build, before=before, calls=10)


def test_a_with_statement_asks_the_class():
    class Manager:
        def __enter__(self):
            return "class"

        def __exit__(self, *raised):
            return None

    def build():
        manager = Manager()
        manager.__enter__ = lambda: "instance"
        manager.__exit__ = None

        def step(x):
            with manager as entered:
                y = x * 2.0
            return entered, y

        return step, None

    both(build)


class Asymmetric:
    """Compares with a log of who was asked about whom."""

    def __init__(self, value, log):
        self.value, self.log = value, log

    def __eq__(self, other):
        self.log.append(("==", self.value, other.value))
        return self.value == other.value

    __hash__ = None

    def __lt__(self, other):
        self.log.append(("<", self.value, other.value))
        return self.value < other.value

    def __gt__(self, other):
        self.log.append((">", self.value, other.value))
        return "greater"


@pytest.mark.parametrize(
    "use",
    [
        lambda one, other, last: (one == other, one < other, one > other),
        lambda one, other, last: other in [one, other, last],
        lambda one, other, last: [one, other, last].index(other),
        lambda one, other, last: [one, other] < [one, last],
        lambda one, other, last: sorted([last, other, one])[0].value,
    ],
)
def test_the_left_operand_is_asked_first_and_nobody_once_the_answer_is_known(use):
    def build():
        log = []

        def step(x, value):
            y = x * 2.0
            given = [Asymmetric(number, log) for number in (value, value + 1.0, value + 2.0)]
            return use(*given), len(log), y

        return step, log

    both(build, lambda number: (*vector(number), float(number)), host=None)


def test_reversed_gives_what_the_class_makes():
    class Named:
        def __reversed__(self):
            return "backwards"

    def build():
        return lambda x: (reversed(Named()), x * 2.0), None

    both(build)


def test_what_is_thrown_into_a_generator_is_what_it_catches():
    @contextlib.contextmanager
    def noting(log):
        try:
            yield
        except ValueError as error:
            log.append(error.args)

    def catching():
        try:
            yield 1
        except ValueError as error:
            yield error.args

    def build():
        log = []

        def step(x):
            y = x * 2.0
            with noting(log):
                raise ValueError("value")
            one, other, third = catching(), catching(), catching()
            next(one), next(other), next(third)
            return one.throw(ValueError), other.throw(ValueError("b")), y

        return step, log

    both(build, host=None)
