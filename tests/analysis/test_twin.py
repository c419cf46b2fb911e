"""The twin does what the original does, and its profile says what happened."""

import functools

import numpy as np
import pytest

from janusjit.analysis.core import Assert, For, If, LoadAttribute, While
from janusjit.analysis.source import SourceError, load
from janusjit.analysis.twin import is_user_code, make_twin
from janusjit.analysis.walk import walk
from janusjit.profiler.profile import Profile


def site(function, kind, text=None):
    """Return the site of the first instruction of a kind in a function, or the one with a source text."""
    found = [item for item in walk(load(function).body) if isinstance(item, kind)]
    return next(item.site for item in found if text is None or item.span.text == text)


def profiled(function, *calls):
    profile = Profile()
    twin = make_twin(function, profile)
    for arguments in calls:
        assert repr(twin(*arguments)) == repr(function(*arguments))
    return profile


def branching(x, n):
    if n > 2:
        x = x + 1
    y = 1 if n else 0
    z = n and y
    while n > 0 and x is not None:
        n -= 1
    assert n <= 0, "done"
    for k in range(3):
        if k == 1:
            break
    return x, y, z


def test_branches_and_trips():
    profile = profiled(branching, (1.0, 1), (1.0, 5), (1.0, 0), (1.0, 2))
    code = branching.__code__

    def counts(kind, text=None):
        seen = profile.branch(code, site(branching, kind, text))
        return seen.true, seen.false

    assert profile.calls(code) == 4
    assert counts(If, "n > 2") == (1, 3)
    assert counts(If, "n") == (3, 1)
    assert counts(While) == (8, 4)
    assert counts(Assert) == (4, 0)
    assert counts(If, "k == 1") == (4, 4)
    assert profile.trips(code, site(branching, While)).minimum == 0
    assert profile.trips(code, site(branching, While)).maximum == 5
    assert profile.trips(code, site(branching, For)).constant == 2


def leaves(xs, limit):
    for i in range(100):
        for x in xs:
            if x + i > limit:
                return i
    return None


def test_trips_of_loops_left_by_return():
    profile = profiled(leaves, ([1, 2], 5))
    loops = [item.site for item in walk(load(leaves).body) if isinstance(item, For)]
    outer = profile.trips(leaves.__code__, loops[1])
    inner = profile.trips(leaves.__code__, loops[0])
    totals = sorted([(outer.loops, outer.total), (inner.loops, inner.total)])
    assert totals == [(1, 5), (5, 10)]


class Layer:
    scale = 2

    def __init__(self, n):
        self.w = np.ones((n, n))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return np.maximum(x @ self.w, 0) if self.calls > 1 else x

    def __call__(self, x):
        return self.forward(x) * self.scale

    def __repr__(self):
        return f"Layer({self.calls})"


def helper(x, k=2):
    return x * k if k > 1 else x


def calls_others(layer, x):
    inner = lambda v: helper(v, 1)
    other = Layer(2)
    x = layer(x) + helper(x) + inner(x) + functools.partial(helper, k=0)(x)
    return x, other, len(x), np.sum(x), sum(helper(v) for v in range(3))


def test_callees_are_profiled():
    layer = Layer(2)
    profile = Profile()
    twin = make_twin(calls_others, profile)
    expected = calls_others(Layer(2), np.ones(2))
    found = twin(layer, np.ones(2))
    assert repr(found) == repr(expected)
    assert type(found[1]) is Layer
    names = {code.co_qualname: profile.calls(code) for code in profile.recorder.codes()}
    assert names["helper"] == 6
    assert names["Layer.__init__"] == 1
    assert names["Layer.__call__"] == 1
    assert names["Layer.forward"] == 1
    assert names["calls_others.<locals>.<lambda>"] == 1
    assert names["calls_others.<locals>.<genexpr>"] == 1
    assert profile.branch(helper.__code__, site(helper, If)).evidence == "true 4 of 6"


def test_closures_share_a_twin():
    def make(k):
        def step(x):
            if x > k:
                return k
            return x

        return step

    def runs(steps, x):
        return [step(x) for step in steps]

    steps = [make(k) for k in range(4)]
    profile = profiled(runs, (steps, 2))
    code = steps[0].__code__
    assert profile.calls(code) == 4


def test_library_code_is_not_profiled():
    def function(x):
        return np.mean(x), np.linalg.norm(x), functools.reduce(lambda a, b: a + b, [1, 2])

    profile = profiled(function, (np.ones(3),))
    assert {code.co_filename for code in profile.recorder.codes()} == {__file__}


def test_methods_bind():
    layer = Layer(2)
    profile = Profile()
    twin = make_twin(layer.forward, profile)
    assert twin(np.ones(2)).tolist() == [1, 1]
    assert twin.__self__ is layer
    assert profile.calls(Layer.forward.__code__) == 1


def test_what_has_no_source_is_called_as_it_is():
    names = {}
    exec("def hidden(x): return x + 1", names)
    hidden = names["hidden"]

    def function(x):
        return hidden(x)

    profile = profiled(function, (1,))
    assert profile.calls(hidden.__code__) == 0
    with pytest.raises(SourceError):
        make_twin(hidden, profile)


def test_bad_constructors_raise_what_they_raise():
    class Returns:
        def __init__(self, fail):
            if fail:
                raise ValueError("no")
            return 5

    class Abstract(metaclass=__import__("abc").ABCMeta):
        def __init__(self):
            pass

        @__import__("abc").abstractmethod
        def missing(self): ...

    def function(fail):
        return Returns(fail)

    def abstract():
        return Abstract()

    for made, arguments in ((function, (True,)), (function, (False,)), (function, ()), (abstract, ())):
        with pytest.raises((TypeError, ValueError)) as expected:
            made(*arguments)
        with pytest.raises(type(expected.value)) as found:
            make_twin(made, Profile())(*arguments)
        assert str(found.value) == str(expected.value)


class Profiled:
    __janusjit_profiled_through__ = True

    def __init__(self, function):
        self.__wrapped__ = function

    def __call__(self, *args):
        raise AssertionError("called itself")


def test_jitted_callees_are_profiled_through():
    inner = Profiled(helper)

    def function(x):
        return inner(x)

    profile = Profile()
    assert make_twin(function, profile)(3) == 6
    assert profile.calls(helper.__code__) == 1


class Number:
    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        if isinstance(other, Number):
            return Number(self.value + other.value)
        return NotImplemented if isinstance(other, str) else Number(self.value + other)

    def __radd__(self, other):
        return Number(other + self.value) if other else NotImplemented

    def __iadd__(self, other):
        self.value += 1 if other is None else 2
        return self

    def __lt__(self, other):
        return self.value < other.value if isinstance(other, Number) else NotImplemented

    def __neg__(self):
        return Number(-self.value if self.value else 0)

    def __getitem__(self, key):
        return self.value if key else 0

    def __repr__(self):
        return f"Number({self.value})"

    @property
    def positive(self):
        return bool(self.value > 0)

    @positive.setter
    def positive(self, value):
        self.value = abs(self.value) if value else 0


class Special(Number):
    def __radd__(self, other):
        return ("special", other)


def operates(a, b):
    c = a + b
    d = -a
    a += None
    e = a[0], a[1], a.positive
    a.positive = False
    return c, d, e, a, a < b


def combined(a, b):
    return a + b


def test_operators_and_properties_are_profiled():
    profile = Profile()
    assert repr(make_twin(operates, profile)(Number(1), Number(2))) == repr(operates(Number(1), Number(2)))
    names = {code.co_qualname: profile.calls(code) for code in profile.recorder.codes()}
    assert names.pop("Number.__init__") == 2
    assert names == {
        "operates": 1,
        "Number.__add__": 1,
        "Number.__neg__": 1,
        "Number.__iadd__": 1,
        "Number.__getitem__": 2,
        "Number.positive": 1,
        "Number.__lt__": 1,
    }
    assert site(operates, LoadAttribute, "a.positive") is not None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Number(1), 2),
        (2, Number(1)),
        (0, Number(1)),
        (Number(1), "s"),
        ("s", Number(1)),
        (Number(1), Special(2)),
        (Special(1), Number(2)),
        (np.ones(2), Number(1)),
        (Number(1), np.ones(2)),
        (None, Number(0)),
    ],
    ids=repr,
)
def test_operator_dispatch(a, b):
    try:
        expected = repr(combined(a, b))
    except TypeError as error:
        expected = str(error)
    try:
        found = repr(make_twin(combined, Profile())(a, b))
    except TypeError as error:
        found = str(error)
    assert found == expected


@pytest.mark.parametrize(
    ("file", "users"),
    [
        (__file__, True),
        ("/usr/src/app/train.py", True),
        ("<stdin>", True),
        ("<doctest train[0]>", True),
        (np.__file__, False),
        (functools.__file__, False),
        (make_twin.__code__.co_filename, False),
        ("<frozen os>", False),
        ("/somewhere/else/site-packages/library/__init__.py", False),
    ],
)
def test_whose_code_it_is(file, users):
    assert is_user_code(compile("0", file, "eval")) is users
