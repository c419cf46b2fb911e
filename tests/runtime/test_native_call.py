"""Calls in machine code do what calls in Python do."""

from __future__ import annotations

import ctypes
import inspect
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.api import Jitted
from janusjit.backend.llvm import jitted_calls
from janusjit.backend.llvm.python_api_layout import vectorcall_of
from janusjit.runtime import dispatch, native_call
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.switch import SWITCHED

X, Y = np.arange(3.0), np.ones(3)


def add(x: Any, y: Any = 2.0) -> Any:
    return x * 2.0 + y


def settled(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a jitted function whose next call of this kind is settled."""
    step = jj.jit(function, background=False, warmup=1)
    for _ in range(12):
        step(*arguments)
    assert step.stats.graph_calls >= 8 and step._lifecycle.entries
    return step


def test_the_method_is_in_machine_code_once_something_is_compiled() -> None:
    step = settled(add, X, Y)
    assert isinstance(JitFunction.__call__, types.MethodDescriptorType) and dispatch.NATIVE_CALL
    before = step.stats.graph_calls
    np.testing.assert_array_equal(step(X, Y), add(X, Y))
    np.testing.assert_array_equal(step.__call__(X, Y), add(X, Y))
    assert step.stats.graph_calls == before + 2
    assert callable(step) and inspect.signature(step) == inspect.signature(add)


def test_cpython_calls_the_machine_code_without_a_look_at_methods() -> None:
    before = jj.jit(add, background=False)
    step = settled(add, X, Y)
    after = jj.jit(add, background=False)
    assert {vectorcall_of(one) for one in (before, step, after)} == {jitted_calls.address()}
    graph_calls, count = step.stats.graph_calls, sys.getrefcount(step)
    for call in (lambda: step(X, Y), lambda: step(*(X, Y)), lambda: step(X, y=Y), lambda: next(map(step, [X], [Y]))):
        np.testing.assert_array_equal(call(), add(X, Y))
    assert step.stats.graph_calls == graph_calls + 4 and abs(sys.getrefcount(step) - count) < 5


def test_a_type_that_says_how_its_instances_are_called_has_its_way() -> None:
    settled(add, X, Y)
    example = jj.jit(add, background=False)

    class Noisy(Jitted[Any, Any]):
        def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
            return "called", super().__call__(*args, **kwargs)

    class Quiet(Jitted[Any, Any]):
        pass

    noisy, quiet = (type_(add, example._options, example._compiler) for type_ in (Noisy, Quiet))
    assert vectorcall_of(noisy) == 0 and vectorcall_of(quiet) == jitted_calls.address()
    for _ in range(12):
        assert noisy(X, Y)[0] == "called"
        np.testing.assert_array_equal(noisy(X, Y)[1], quiet(X, Y))
    assert noisy.stats.graph_calls >= 8 and quiet.stats.graph_calls >= 8


def test_types_unlike_what_is_expected_have_no_room() -> None:
    class Sized(tuple):  # type: ignore[type-arg]
        __slots__ = ()

    size = Sized.__basicsize__
    native_call.make_room(Sized)
    assert Sized.__basicsize__ == size and Sized not in native_call._ROOMS


@pytest.mark.parametrize("call", [lambda f: f(X, y=Y), lambda f: f(x=X, y=Y), lambda f: f(y=Y, x=X), lambda f: f(X)])
def test_other_ways_to_pass_arguments(call: Callable[..., Any]) -> None:
    step = settled(add, X, Y)
    before = step.stats.graph_calls + step.stats.eager_calls
    np.testing.assert_array_equal(call(step), call(add))
    assert step.stats.graph_calls + step.stats.eager_calls == before + 1


@pytest.mark.parametrize("arguments", [(), (X, Y, X), (X, Y, X, Y)])
def test_wrong_arguments_raise_what_python_raises(arguments: tuple[Any, ...]) -> None:
    step = settled(add, X, Y)
    with pytest.raises(TypeError) as expected:
        add(*arguments)
    with pytest.raises(TypeError) as found:
        step(*arguments)
    assert str(found.value) == str(expected.value)
    with pytest.raises(TypeError, match="unexpected keyword"):
        step(X, z=Y)


def test_keyword_only_and_many_arguments() -> None:
    def named(x: Any, *, y: Any) -> Any:
        return x - y

    step = jj.jit(named, background=False, warmup=1)
    for _ in range(8):
        np.testing.assert_array_equal(step(X, y=Y), X - Y)
    assert step.stats.graph_calls >= 4

    names = [f"x{number}" for number in range(60)]
    space: dict[str, Any] = {}
    exec(f"def many({', '.join(names)}): pass", space)
    with pytest.raises(TypeError):
        step(*range(60))

    def twelve(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: Any, k: Any, m: Any) -> Any:
        return a + b + c + d + e + f + g + h + i + j + k + m

    total = jj.jit(twelve, background=False)
    for _ in range(8):
        np.testing.assert_array_equal(total(*[X] * 12), X * 12)
    assert total.stats.graph_calls >= 4


def test_a_refused_call_is_made_by_another_entry_or_by_python() -> None:
    step = settled(add, X, Y)
    deopts = step.stats.deopts
    for size in (3, 5, 3, 7, 5):
        x = np.arange(float(size))
        np.testing.assert_array_equal(step(x, np.ones(size)), add(x, np.ones(size)))
    assert step("ab" if False else X, 1.0) is not None
    assert step.stats.deopts > deopts and step.stats.specializations >= 2
    with pytest.raises(TypeError):
        step("ab", Y)


def test_switched_off_and_traced_calls_are_plain() -> None:
    step = settled(add, X, Y)
    before = step.stats.graph_calls
    with jj.disable():
        np.testing.assert_array_equal(step(X, Y), add(X, Y))
        with jj.enable():
            step(X, Y)
    assert step.stats.graph_calls == before + 1 and SWITCHED.value
    tracer = sys.gettrace()
    sys.settrace(lambda frame, event, argument: None)
    try:
        step(X, Y)
    finally:
        sys.settrace(tracer)
    assert step.stats.graph_calls == before + 1
    if sys.version_info >= (3, 12):
        sys.monitoring.use_tool_id(sys.monitoring.DEBUGGER_ID, "a debugger")
        try:
            step(X, Y)
        finally:
            sys.monitoring.free_tool_id(sys.monitoring.DEBUGGER_ID)
        assert step.stats.graph_calls == before + 1
    step(X, Y)
    assert step.stats.graph_calls == before + 2


def test_flags_from_before_the_call_are_cleared_and_those_of_the_call_seen() -> None:
    c_library = ctypes.CDLL(None)

    def divide(x: Any, y: Any) -> Any:
        return x / y

    step = settled(divide, X, Y)
    before, deopts = step.stats.graph_calls, step.stats.deopts
    for flags in (0x3F, 0, 0x20):
        c_library.feclearexcept(0x3F)
        c_library.feraiseexcept(flags)
        np.testing.assert_array_equal(step(X, Y), X / Y)
    assert (step.stats.graph_calls, step.stats.deopts) == (before + 3, deopts)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        step(Y, X)


def test_replaced_code_is_noticed() -> None:
    def double(x: Any) -> Any:
        return x * 2.0

    def triple(x: Any) -> Any:
        return x * 3.0

    step = settled(double, X)
    double.__code__ = triple.__code__
    np.testing.assert_array_equal(step(X), X * 3.0)


def test_methods_and_functions_left_to_python() -> None:
    class Model:
        def __init__(self) -> None:
            self.scale = 2.0

        @jj.jit(background=False, warmup=1)
        def scaled(self, x: Any) -> Any:
            return x * self.scale

    model = Model()
    for _ in range(8):
        np.testing.assert_array_equal(model.scaled(X), X * 2.0)
    model.scale = 3.0
    for _ in range(8):
        np.testing.assert_array_equal(model.scaled(X), X * 3.0)
    assert Model.scaled.stats.graph_calls >= 8
    plain = jj.jit(lambda: eval("1 + 1"), background=False, warmup=1)
    assert [plain() for _ in range(6)] == [2] * 6


def test_no_reference_is_lost_or_kept() -> None:
    step = settled(add, X, Y)
    x, y, longer = np.arange(3.0), np.ones(3), np.arange(4.0)
    calls: list[Callable[[], Any]] = [
        lambda: step(x, y),
        lambda: step(x, y=y),
        lambda: step(longer, longer),
    ]
    for call in calls:
        for _ in range(10):
            call()
    entries = step._lifecycle.entries
    watched = [x, y, longer, step, entries, add, step._lifecycle, sys.gettrace]
    before = [sys.getrefcount(one) for one in watched]
    for _ in range(200):
        for call in calls:
            call()
    assert max(abs(sys.getrefcount(one) - count) for one, count in zip(watched, before, strict=True)) < 20


def test_attributes_are_looked_for_by_the_names_that_programs_have() -> None:
    class Model:
        def __init__(self) -> None:
            self.weight_of_the_first_layer = np.ones(3)

    def scaled(model: Any, x: Any) -> Any:
        return model.weight_of_the_first_layer * x

    model = Model()
    step = settled(scaled, model, X)
    names = [value for value in step.specializations[0].compiled.objects if type(value) is str]
    assert "weight_of_the_first_layer" in names and all(sys.intern(name) is name for name in names)
    before = step.stats.graph_calls
    np.testing.assert_array_equal(step(model, X), X)
    assert step.stats.graph_calls == before + 1


def test_entries_under_way_are_counted() -> None:
    depths: list[int] = []

    class Out:
        def write(self, text: str) -> None:
            depths.append(jitted_calls.depth())
            if "2.0" in text:
                raise ValueError("two")

    def told(x: Any, out: Any) -> Any:
        print(x * 2.0, file=out)
        return x * 3.0

    step = settled(told, 0.0, Out())
    before = step.stats.graph_calls
    with pytest.raises(ValueError, match="two"):
        step(1.0, Out())
    assert step(2.0, Out()) == 6.0 and step.stats.graph_calls > before
    inside = settled(add, X, Y)
    with pytest.raises(TypeError):
        inside("ab", Y)
    assert jitted_calls.depth() == 0 and max(depths) <= 1


def test_deep_recursion_ends_as_pythons() -> None:
    def down(n: Any) -> Any:
        return step(n + 1)

    step = jj.jit(down, background=False, warmup=1)
    with pytest.raises(RecursionError):
        step(0)


def test_threads_call_while_specializations_change() -> None:
    step = settled(add, X, Y)
    failures: list[BaseException] = []

    def work(size: int) -> None:
        x, y = np.arange(float(size)), np.ones(size)
        try:
            for _ in range(600):
                np.testing.assert_array_equal(step(x, y), x * 2.0 + y)
        except BaseException as failure:  # noqa: BLE001 - looked at below
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert step.stats.graph_calls >= 600  # the others ran in Python while it was compiled


def test_functions_left_to_python_are_called_and_counted() -> None:
    settled(add, X, Y)  # so that calls go through machine code

    def odd(x: Any, y: Any = 1) -> Any:
        locals()
        return [x, y][y]

    step = jj.jit(odd, background=False, warmup=1)
    for _ in range(4):
        step(1)
    assert step.reason is not None and step._lifecycle.plain
    before = step.stats.eager_calls
    assert [step(5), step(5, 0), step(x=5, y=0), step(7, y=1)] == [1, 5, 5, 1]
    with pytest.raises(IndexError):
        step(1, 2)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        step()
    assert (step.stats.eager_calls, step.stats.graph_calls) == (before + 6, 0)
    argument, lifecycle, counts = object(), step._lifecycle, []
    for _ in range(2):
        counts.append([sys.getrefcount(one) for one in (argument, step, odd, lifecycle, lifecycle.tally)])
        for _ in range(300):
            step(argument, 0)
    assert max(abs(one - other) for one, other in zip(*counts, strict=True)) < 5
    step._lifecycle.review_at = step._lifecycle.tally.plain_calls + 2
    before = step.stats.eager_calls
    assert [step(5, 0) for _ in range(5)] == [5] * 5
    assert step.stats.eager_calls >= before + 2


WHEN = """
import sys
import types
import numpy as np
import janusjit as jj
from janusjit.backend.llvm import jitted_calls
from janusjit.runtime.dispatch import JitFunction

def double(x):
    return x * 2.0

background = sys.argv[1] == "background"
step = jj.jit(double, background=background, warmup=1)
x = np.arange(3.0)
while not step.stats.graph_calls:
    there = jitted_calls.is_there()
    assert step(x).tolist() == [0.0, 2.0, 4.0]
    jj.wait()
assert there == background, there
for _ in range(12):
    assert step(x).tolist() == [0.0, 2.0, 4.0]
assert jitted_calls.is_there() and isinstance(JitFunction.__call__, types.MethodDescriptorType)
assert step.stats.graph_calls >= 8 and step.stats.deopts == 0
"""


@pytest.mark.parametrize("mode", ["background", "at once"])
def test_a_first_call_that_waits_for_its_code_does_not_wait_for_that_of_calls(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "program.py"
    path.write_text(WHEN)
    subprocess.run([sys.executable, str(path), mode], check=True, timeout=120)
