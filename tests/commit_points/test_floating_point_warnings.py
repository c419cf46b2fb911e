"""NumPy's warnings of floating-point errors from compiled code: the same as in plain Python, under every filter."""

from __future__ import annotations

import copy
import linecache
import warnings

import numpy as np
import pytest

import janusjit as jj

SMALL, LARGE = 8, 5000

def pure(x, y):
    exponentials = np.exp(y)
    return 1.0 / (exponentials + 1.0) * np.log(x - 0.1)


def descend(parameters, gradient):
    parameters -= 0.5 * gradient


def decay(parameters, gradient):
    parameters -= 0.5 * (gradient + 0.25 * parameters)


def adam(w, g, m, v):
    m *= 0.9
    m += 0.1 * g
    v *= 0.999
    v += 0.001 * g * g
    w -= 0.001 * m / (np.sqrt(v) + 1e-8)


def computed_first(parameters, gradient):
    exponentials = np.exp(gradient)
    parameters -= 0.5 * exponentials
    parameters *= 2.0
    return exponentials.sum()


def whole_loop(parameters, gradient):
    for _ in range(4):
        parameters -= 0.5 * np.exp(gradient)
        gradient = gradient * 1.5
    return gradient


def ignored_inside(parameters, x):
    with np.errstate(divide="ignore", over="ignore"):
        weights = 1.0 / (x - 0.1) + np.exp(x)
    parameters += weights
    return np.log(x - 0.1)


def with_a_gradient(parameters, x):
    parameters -= 0.1 * jj.grad(lambda w: np.exp(w * x).sum())(parameters)
    return np.exp(x)


#: what makes an error, by function: the value of one element of the second argument
PROGRAMS = {
    pure: 1000.0,
    descend: 1.7e308,
    decay: 1.7e308,
    adam: 1e200,
    computed_first: 1000.0,
    whole_loop: 300.0,
    ignored_inside: 0.1,
    with_a_gradient: 1e5,
}


def arguments(function, size, bad):
    count = function.__code__.co_argcount
    arrays = [np.linspace(0.2, 1.0, size) + number for number in range(count)]
    if function in (descend, decay):
        arrays[0] = np.full(size, -1.7e308)
    if bad:
        arrays[1][3] = PROGRAMS[function]
    return arrays


def run(function, plain, size, action, per_call):
    """Return, for each of some calls, the warnings, the exception, the result and the arrays afterwards."""
    globals().pop("__warningregistry__", None)
    seen = []
    with warnings.catch_warnings(record=True) as outer:
        warnings.simplefilter(action)
        for number in range(12):
            given = arguments(plain, size, number in (4, 5, 6, 9, 10))
            with warnings.catch_warnings(record=True) if per_call else nothing(outer) as recorded:
                if per_call:
                    warnings.simplefilter(action)
                before, result, exception = len(recorded), None, None
                try:
                    result = function(*given)
                except RuntimeWarning as raised:
                    exception = str(raised)
                told = [(w.category, str(w.message), w.filename, w.lineno) for w in recorded[before:]]
            seen.append((told, exception, copy.deepcopy(result), given))
    return seen


class nothing:  # noqa: N801 - used like a function
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *exception):
        return None


#: size, filter, whether it is set for each call anew
SETTINGS = [(LARGE, "default", False), (LARGE, "default", True), (LARGE, "error", False), (SMALL, "always", False)]
OTHERS = [(size, action, True) for size in (SMALL, LARGE) for action in ("ignore", "once", "module", "error")]
CASES = [
    *((plain, *setting) for plain in PROGRAMS for setting in SETTINGS),
    *((plain, *setting) for plain in (pure, adam) for setting in OTHERS),
]


@pytest.mark.parametrize(("plain", "size", "action", "per_call"), CASES)
def test_warnings_are_those_of_plain_python(plain, size, action, per_call):
    function = jj.jit(background=False)(plain)
    found, wanted = (run(one, plain, size, action, per_call) for one in (function, plain))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine[:2] == theirs[:2]
        for one, other in zip((mine[2], *mine[3]), (theirs[2], *theirs[3]), strict=True):
            if other is not None:
                np.testing.assert_allclose(one, other, rtol=1e-12)
    assert function.stats.graph_calls == 10
    assert function.stats.deopts <= 5


def settled(plain, *given):
    function = jj.jit(background=False)(plain)
    for _ in range(4):
        function(*copy.deepcopy(given))
    assert function.stats.graph_calls == 2
    return function


def test_errors_that_keep_coming_do_not_keep_calls_from_compiled_code():
    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    x = np.linspace(-1000.0, 1000.0, 100)
    function = settled(sigmoid, np.linspace(-1.0, 1.0, 100))
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("default")
        for _ in range(20):
            np.testing.assert_allclose(function(x), sigmoid(x), rtol=1e-14)
    assert [str(warning.message) for warning in recorded] == ["overflow encountered in exp"]
    assert function.stats.deopts == 4 and function.stats.graph_calls > 14
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        for _ in range(3):
            function(x)
    assert len(recorded) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="overflow encountered in exp"):
            function(x)


def test_a_turn_is_not_made_twice_on_account_of_a_warning():
    def train(x, turns):
        total = np.zeros(20_000)
        for turn in range(turns):
            total = total + np.exp(x * turn)
        return total

    function = settled(train, np.linspace(0.0, 0.1, 20_000), 70)
    bad = np.linspace(0.0, 20.0, 20_000)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("default")
        expected = train(bad, 70)
    with warnings.catch_warnings(record=True) as mine:
        warnings.simplefilter("default")
        found = function(bad, 70)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert [(str(w.message), w.lineno) for w in mine] == [(str(w.message), w.lineno) for w in theirs] != []
    assert function.stats.deopts == 0 and function.stats.graph_calls == 3


def test_filters_may_change_between_calls():
    function = settled(descend, *arguments(descend, LARGE, False))
    for action in ("error", "default", "error", "ignore", "always"):
        outcomes = []
        for one in (function, descend):
            globals().pop("__warningregistry__", None)
            given = arguments(descend, LARGE, True)
            with warnings.catch_warnings(record=True) as recorded:
                warnings.simplefilter(action)
                try:
                    one(*given)
                except RuntimeWarning as raised:
                    outcomes.append([str(raised)])
                else:
                    outcomes.append([str(warning.message) for warning in recorded])
                outcomes[-1] += [array.tolist() for array in given]
        assert outcomes[0] == outcomes[1]
    assert function.stats.specializations == 2


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("mode", ["raise", "call", "log", "print", "warn", "ignore"])
def test_modes_of_numpy(mode, size, capfd):
    plain = computed_first

    def outcome(function, handler):
        for number in range(8):
            given = arguments(plain, size, number in (5, 6))
            try:
                function(*given)
            except FloatingPointError as raised:
                handler.append(str(raised))
            handler.append([np.round(array, 9).tolist() for array in given])
        handler.append(capfd.readouterr())
        return handler

    class Log:
        def __init__(self):
            self.lines = []

        def write(self, line):
            self.lines.append(line)

    function = jj.jit(background=False)(plain)
    outcomes = []
    for one in (function, plain):
        calls, log = [], Log()
        handler = log if mode == "log" else lambda words, flags, calls=calls: calls.append((words, flags))
        with np.errstate(over=mode, call=handler), warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            outcomes.append([outcome(one, []), calls, log.lines, [str(warning.message) for warning in recorded]])
    assert outcomes[0] == outcomes[1]
    assert function.stats.graph_calls == 6 and function.stats.deopts <= 2


def logarithm(x):
    return eval("np.log(x)")


def test_python_goes_on_inside_errstate():
    def divide(x):
        with np.errstate(divide="ignore"):
            y = 1.0 / x
            z = logarithm(x)
        return y - z

    function = jj.jit(background=False)(divide)
    for _ in range(8):
        function(np.array([1.0, 2.0]))
    assert function.stats.graph_calls > 0 and function.stats.host_calls > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            function(np.array([0.0, 1.0]))


def test_a_mode_that_begins_inside_is_numpys():
    def divide(x):
        with np.errstate(divide="warn"):
            return 1.0 / x

    with np.errstate(divide="ignore"):
        function = jj.jit(background=False)(divide)
        for number in range(6):
            with warnings.catch_warnings(record=True) as recorded:
                warnings.simplefilter("always")
                function(np.array([float(number < 4), 1.0]))
            assert len(recorded) == (number >= 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x // 0,
        lambda x: x % np.int64(0),
        lambda x: np.int64(3) // np.int64(0) + x,
        lambda x: np.full(4, 3) // 0 + x,
        lambda x: np.log(0.0) + x,
        lambda x: np.exp(1000.0) * x,
        lambda x: np.arctanh(1.0) + x,
        lambda x: np.float32(1e40) + x,
        lambda x: np.array([1e40]).astype("float32") + x,
    ],
)
def test_errors_of_constants_are_told_of(function):
    jitted = jj.jit(function, warmup=2, background=False)
    for _ in range(6):
        with warnings.catch_warnings(record=True) as expected:
            warnings.simplefilter("always")
            function(np.arange(4))
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            jitted(np.arange(4))
        assert [str(warning.message) for warning in found] == [str(warning.message) for warning in expected]
        assert expected
    assert jitted.stats.graph_calls > 0


def test_a_program_without_a_name_is_warned():
    source = "def function(x):\n    total = np.sum(x, axis=0)\n    x -= total\n"
    namespace = {"np": np}
    exec(compile(source, "<nameless>", "exec"), namespace)
    linecache.cache["<nameless>"] = (len(source), None, source.splitlines(True), "<nameless>")
    function = settled(namespace["function"], np.ones((LARGE, 2)))
    x = np.ones((LARGE, 2))
    x[7, 1] = np.inf
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        function(x)
    assert [(str(one.message), one.lineno) for one in recorded] == [("invalid value encountered in subtract", 3)]
    assert function.stats.graph_calls == 3
