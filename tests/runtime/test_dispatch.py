"""Dispatch: what runs where, and what is counted, call by call."""

from __future__ import annotations

import contextlib
import copy
import inspect
import pickle
import sys
import threading
import time

import numpy as np
import pytest

from janusjit.errors import CaptureFailure, DegradedWarning, GuardError
from janusjit.ir.guards import InGraphGuard
from janusjit.runtime.call import Options
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.events import Evicted, FellBack, GuardFailed, Profiled, Specialized, Stream, Suspended
from janusjit.runtime.function_lifecycle import FunctionLifecycle
from janusjit.runtime.switch import disable, enable
from janusjit.spans import Span
from tests.runtime.tiny_compiler import TinyCompiler


def jit(function, compiler=None, **options):
    compiler = compiler or TinyCompiler()
    stream = Stream()
    jitted = JitFunction(function, Options(**options), compiler, stream)
    return jitted, compiler, stream


def double(x, scale=2.0):
    """Double."""
    return x * scale


def counts(jitted):
    stats = jitted.stats
    assert stats.calls == stats.graph_calls + stats.eager_calls
    return stats.calls, stats.profiled_calls, stats.graph_calls, stats.eager_calls, stats.deopts, stats.specializations


def kinds(stream):
    return [type(event) for event in stream.events()]


def test_warm_up_then_graph():
    jitted, compiler, stream = jit(double)
    x = np.ones(3)
    for call in range(1, 31):
        np.testing.assert_array_equal(jitted(x), 2 * x)
        assert jitted.stats.calls == call
    assert counts(jitted) == (30, 2, 28, 2, 0, 1)
    assert compiler.captures == compiler.compiles == 1
    assert compiler.twin_calls == 2
    assert kinds(stream) == [Profiled, Profiled, Specialized]


def test_keywords_and_defaults_reach_the_same_graph():
    jitted, _, _ = jit(double)
    x = np.ones(3)
    for _ in range(12):
        jitted(x)
        jitted(x=x, scale=3.0)
        jitted(x, scale=3.0)
    assert counts(jitted) == (36, 2, 34, 2, 0, 1)


def test_changed_defaults_are_seen():
    def scaled(x, scale=2.0, *, shift=0.0):
        return x * scale + shift

    jitted, _, _ = jit(scaled)
    for _ in range(12):
        assert jitted(1.0) == 2.0
    scaled.__defaults__ = (5.0,)
    scaled.__kwdefaults__["shift"] = 1.0
    assert jitted(1.0) == 6.0


def test_a_short_batch_settles_at_two_specializations():
    jitted, compiler, stream = jit(double)
    for size in [32] * 12 + [17] + [32, 32, 17, 32, 9, 32, 25]:
        np.testing.assert_array_equal(jitted(np.ones(size)), np.full(size, 2.0))
    assert counts(jitted) == (20, 2, 18, 2, 1, 2)
    assert compiler.compiles == 2
    (failed,) = [event for event in stream.events() if isinstance(event, GuardFailed)]
    assert (failed.stage, failed.action, failed.resumed, failed.call) == ("entry", "relaxed", "graph", 13)
    (difference,) = failed.differences
    assert (difference.expression, difference.expected, difference.actual) == ("x.shape[0]", "32", "17")
    assert difference.code == failed.cause.code == "array.shape"
    assert str(difference.assumption) == "user.py:10:5"
    assert failed.history.pattern == "short last batch"
    assert failed.call_site.file == __file__


def test_another_dtype_makes_a_further_specialization():
    jitted, _, stream = jit(double)
    for dtype in ["f8"] * 4 + ["f4"] * 4 + ["f8"] * 4:
        assert jitted(np.ones(2, dtype)).dtype == np.dtype(dtype)
    assert counts(jitted) == (12, 2, 10, 2, 1, 2)
    (failed,) = [event for event in stream.events() if isinstance(event, GuardFailed)]
    assert (failed.cause.code, failed.action) == ("array.dtype", "specialized")


def test_all_differences_are_listed():
    def add(x, y, n):
        return x + y + n

    jitted, _, stream = jit(add)
    for _ in range(3):
        jitted(np.ones(3), np.ones(3), 1)
    jitted(np.ones((2, 3)), np.ones(3, "f4"), 1.5)
    (failed,) = [event for event in stream.events() if isinstance(event, GuardFailed)]
    assert [d.code for d in failed.differences] == ["array.rank", "array.dtype", "python.scalar"]
    assert [d.expression for d in failed.differences] == ["x.ndim", "y.dtype", "n"]


def positive_guard(relaxation=None, code="branch"):
    return InGraphGuard(code, "x.sum() > 0", "true", span=Span("user.py", 3, 8), relaxation=relaxation)


def test_a_guard_broken_inside_runs_python_once_and_is_relaxed():
    runs = []

    def record(x):
        runs.append(float(x.sum()))
        return x

    compiler = TinyCompiler(inside=((positive_guard(("branch", 1)), lambda args: args[0].sum() < 0),))
    jitted, _, stream = jit(record, compiler)
    values = [1.0] * 5 + [-1.0] + [1.0, -1.0] * 3
    for value in values:
        jitted(np.array([value]))
    assert runs == values  # each call's work is done exactly once
    assert counts(jitted) == (12, 2, 10, 2, 1, 1)
    assert compiler.twin_calls == 3  # the twin saw the direction the profile had not
    types = kinds(stream)
    assert types[types.index(GuardFailed) :] == [GuardFailed, Evicted, Specialized]
    failed = stream.events()[types.index(GuardFailed)]
    assert (failed.stage, failed.action, failed.resumed) == ("graph", "relaxed", "python")
    assert (failed.differences[0].expected, failed.differences[0].actual) == ("true", "false")


def test_an_assumption_capture_cannot_give_up_is_kept():
    def refuse(arguments, relaxations):
        if ("branch", 1) in relaxations:
            return CaptureFailure("capture.join", "supportable", Span("user.py", 1, 1), "if", "sides differ")
        return None

    compiler = TinyCompiler(((positive_guard(("branch", 1)), lambda args: args[0].sum() < 0),), refuse)
    jitted, _, _ = jit(lambda x: x + 1, compiler)
    for value in [1.0] * 5 + [-1.0, 1.0, -1.0, 1.0, 1.0]:
        assert jitted(np.array([value])) == value + 1
    assert counts(jitted) == (10, 2, 8, 2, 2, 1)
    assert compiler.compiles == 2


def test_exceptions_are_eagers_own():
    def invert(x):
        if x.sum() < 0:
            raise ValueError("negative")
        return 1 / x

    compiler = TinyCompiler(inside=((positive_guard(code="python.exception"), lambda args: args[0].sum() < 0),))
    jitted, _, stream = jit(invert, compiler, policy="raise")
    for _ in range(4):
        jitted(np.ones(2))
    with pytest.raises(ValueError, match="negative") as caught:
        jitted(-np.ones(2))
    assert caught.traceback[-1].name == "invert"
    jitted(np.ones(2))
    assert counts(jitted) == (6, 2, 4, 2, 1, 1)
    failed = next(event for event in stream.events() if isinstance(event, GuardFailed))
    assert failed.differences[0].actual == "raised ValueError"


def test_a_specialization_that_is_always_left_is_given_up():
    compiler = TinyCompiler(inside=((positive_guard(code="index.bounds"), lambda args: True),))
    jitted, _, _ = jit(double, compiler)
    for _ in range(20):
        jitted(1.0)
    stats = jitted.stats
    assert stats.calls == 20
    assert stats.deopts == 8
    assert stats.eager_calls == 12
    assert jitted.reason is not None
    assert compiler.compiles == 1


def cannot(code="capture.yield", category="fundamental"):
    reason = "a generator keeps its frame"
    return CaptureFailure(code, category, Span("user.py", 7, 5), "yield", reason, "return a list")


def test_what_cannot_be_captured_stays_in_python_and_says_why():
    compiler = TinyCompiler(refuse=lambda arguments, relaxations: cannot())
    jitted, _, stream = jit(double, compiler)
    for _ in range(10):
        assert jitted(2.0) == 4.0
    assert counts(jitted) == (10, 2, 0, 10, 0, 0)
    assert compiler.captures == 1
    (event,) = [event for event in stream.events() if isinstance(event, FellBack)]
    assert event.cause.code == "capture.yield"
    assert event.cause.category == "fundamental"
    assert "user.py:7:5: yield: a generator keeps its frame" in event.cause.text
    assert event.hint.edit == "return a list"


def nanoseconds(function, argument):
    """Return what a call takes at best: short batches, so that one of them is not interrupted on a busy machine."""
    best = float("inf")
    for _ in range(300):
        start = time.perf_counter_ns()
        for _ in range(200):
            function(argument)
        best = min(best, (time.perf_counter_ns() - start) / 200)
    return best


def test_plain_calls_cost_less_than_a_microsecond():
    def nothing(x):
        return x

    jitted, _, _ = jit(nothing, TinyCompiler(refuse=lambda arguments, relaxations: cannot()))
    for _ in range(3):
        jitted(1)
    assert nanoseconds(jitted, 1) - nanoseconds(nothing, 1) < 1_000


def test_settled_dispatch_costs_less_than_a_microsecond():
    jitted, _, _ = jit(double)
    for _ in range(12):
        jitted(1.0, 1.0)
    jitted._arity = 1
    jitted._lifecycle.entries = (len,)  # stands for the native entry: a builtin
    assert nanoseconds(jitted, ()) - nanoseconds(len, ()) < 1_000


def test_a_failed_respecialization_backs_off():
    def refuse(arguments, relaxations):
        return cannot() if isinstance(arguments[0], str) else None

    compiler = TinyCompiler(refuse=refuse)
    jitted, _, stream = jit(lambda x: x, compiler)
    for _ in range(3):
        jitted(1)
    for _ in range(100):
        jitted("text")
        jitted(1)
    assert compiler.captures < 10
    stats = jitted.stats
    assert stats.calls == 203
    assert stats.graph_calls + stats.eager_calls == 203
    assert stats.graph_calls >= 101
    assert "backed_off" in [event.kind for event in stream.events()]


def test_eight_specializations_and_no_thrashing():
    jitted, compiler, stream = jit(lambda x: x)
    for rank in [*range(1, 12)] * 30:
        jitted(np.ones((1,) * rank))
    assert len(jitted.specializations) == 8
    assert compiler.compiles < 20
    evictions = [event for event in stream.events() if isinstance(event, Evicted)]
    assert evictions
    assert {event.cause.code for event in evictions} == {"environment.limit"}
    assert counts(jitted)[0] == 330


def test_calls_that_miss_among_others_that_hit_are_mostly_pythons_at_once(monkeypatch):
    jitted, compiler, _ = jit(lambda x: x)
    looked, missed = [], FunctionLifecycle._missed
    monkeypatch.setattr(FunctionLifecycle, "_missed", lambda self, call: looked.append(1) or missed(self, call))
    for rank in [*range(1, 12)] * 300:
        assert jitted(np.ones((1,) * rank)).ndim == rank
    stats = jitted.stats
    assert stats.graph_calls + stats.eager_calls == stats.calls == 3300 and stats.graph_calls > 1500
    assert compiler.compiles < 20 and len(looked) < stats.eager_calls / 4


def test_the_least_recently_hit_is_evicted():
    jitted, _, stream = jit(lambda x: x)
    for rank in [1, 1, *(rank for rank in range(1, 9) for _ in range(2)), 1, 9]:
        jitted(np.ones((1,) * rank))
    (evicted,) = [event for event in stream.events() if isinstance(event, Evicted)]
    assert evicted.specialization == 2  # number 1 was hit again, so rank 2 is the oldest
    assert [s.number for s in jitted.specializations][:2] == [9, 1]


def test_specializations_that_nothing_hits_are_put_off():
    jitted, compiler, _ = jit(lambda x: x)
    for rank in [1, 1, *range(1, 31)]:
        jitted(np.ones((1,) * rank))
    assert compiler.compiles <= 9
    assert jitted.stats.calls == 32


def test_calls_are_spared_a_search_that_finds_nothing():
    jitted, compiler, _ = jit(lambda x: x)
    ranks, plain = [*range(1, 17)] * 40, 0
    for number, rank in enumerate(ranks):
        jitted(np.ones((1,) * rank, dtype="fidb"[number % 4]))
        plain += jitted._lifecycle.plain
    assert compiler.compiles < 20
    assert jitted.stats.calls == len(ranks)
    assert plain > len(ranks) // 2
    for _ in range(1000):  # once calls are alike, they get their specialization
        jitted(np.ones(3))
    assert jitted.specializations[0].hits > 20


def test_policy_warn():
    jitted, _, _ = jit(double, TinyCompiler(refuse=lambda arguments, relaxations: cannot()), policy="warn")
    jitted(1.0)
    jitted(1.0)
    with pytest.warns(DegradedWarning, match="yield") as caught:
        jitted(1.0)
    assert caught[0].filename == __file__
    jitted(1.0)


def test_policy_raise_refuses_plain_python_before_anything_ran():
    runs = []
    compiler = TinyCompiler(inside=((positive_guard(("branch", 1)), lambda args: args[0] < 0),))
    jitted, _, _ = jit(lambda x: runs.append(x), compiler, policy="raise")
    for _ in range(3):
        jitted(1.0)
    with pytest.raises(GuardError) as caught:
        jitted(-1.0)
    assert runs == [1.0] * 3
    assert caught.value.code == "branch"
    assert caught.value.report["outcome"] == "raised"

    refused, _, _ = jit(double, TinyCompiler(refuse=lambda arguments, relaxations: cannot()), policy="raise")
    refused(1.0)
    refused(1.0)
    for _ in range(2):
        with pytest.raises(GuardError, match="yield"):
            refused(1.0)


def test_background_compilation_lets_python_go_on():
    release = threading.Event()
    compiler = TinyCompiler(on_compile=lambda: release.wait(10))
    jitted, _, _ = jit(double, compiler, background=True)
    for _ in range(6):
        assert jitted(1.0) == 2.0
    assert counts(jitted)[:4] == (6, 2, 0, 6)
    release.set()
    deadline = time.monotonic() + 10
    while not jitted.specializations and time.monotonic() < deadline:
        time.sleep(0.001)
    jitted(1.0)
    assert counts(jitted) == (7, 2, 1, 6, 0, 1)


def test_another_thread_never_waits_for_a_compilation():
    started, release = threading.Event(), threading.Event()

    def slow():
        started.set()
        release.wait(10)

    jitted, _, _ = jit(double, TinyCompiler(on_compile=slow))
    jitted(1.0)
    jitted(1.0)
    thread = threading.Thread(target=jitted, args=(1.0,))
    thread.start()
    started.wait(10)
    assert jitted(3.0) == 6.0
    assert jitted.stats.eager_calls == 3
    release.set()
    thread.join()
    assert jitted.stats.graph_calls == 1


def test_disable_and_enable():
    jitted, _, stream = jit(double)
    for _ in range(12):
        jitted(1.0)
    with disable():
        assert jitted(1.0) == 2.0
        with enable():
            jitted(1.0)
        jitted(1.0)
    assert counts(jitted) == (15, 2, 11, 4, 0, 1)
    (event,) = [event for event in stream.events() if isinstance(event, Suspended)]
    assert event.cause.code == "environment.disabled"


def test_disable_belongs_to_the_thread():
    jitted, _, _ = jit(double)
    for _ in range(12):
        jitted(1.0)
    with disable():
        thread = threading.Thread(target=jitted, args=(1.0,))
        thread.start()
        thread.join()
    assert jitted.stats.graph_calls == 11


def test_a_tracer_makes_it_eager_and_is_said():
    jitted, _, stream = jit(double)
    for _ in range(12):
        jitted(1.0)
    lines = []

    def tracer(frame, event, argument):
        if frame.f_code is double.__code__:
            lines.append(frame.f_lineno)
        return tracer

    previous = sys.gettrace()
    sys.settrace(tracer)
    try:
        jitted(1.0)
    finally:
        sys.settrace(previous)
    assert lines
    assert jitted.stats.eager_calls == 3
    assert stream.events()[-1].cause.code == "environment.tracer"


def test_replaced_code_is_seen():
    def one(x):
        return x + 1

    jitted, _, stream = jit(one)
    for _ in range(12):
        jitted(1.0)
    one.__code__ = (lambda x: x - 1).__code__
    assert jitted(1.0) == 0.0
    assert stream.events()[-2].cause.code == "environment.code_changed"


def test_recursion_while_profiling_is_part_of_the_call():
    def factorial(n):
        return 1 if n < 2 else n * recursive(n - 1)

    recursive, _, _ = jit(factorial)
    assert recursive(5) == 120
    assert recursive.stats.calls == 1


def test_wrong_arguments_raise_what_python_raises():
    jitted, _, _ = jit(double)
    with pytest.raises(TypeError) as plain:
        double()
    with pytest.raises(TypeError) as ours:
        jitted()
    assert str(ours.value) == str(plain.value)


class Model:
    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        """Multiply."""
        return self.weight * x


Model.forward, _, _ = jit(Model.forward)
module_level, _, _ = jit(double)
module_level.__qualname__ = "module_level"


def test_methods_bind():
    model = Model(3.0)
    for _ in range(5):
        assert model.forward(2.0) == 6.0
    assert Model.forward(model, 1.0) == 3.0
    assert model.forward.stats.graph_calls >= 3
    assert model.forward.__self__ is model


def test_behaves_like_the_function():
    jitted, _, _ = jit(double)
    assert inspect.signature(jitted) == inspect.signature(double)
    assert (jitted.__name__, jitted.__qualname__, jitted.__doc__) == ("double", "double", "Double.")
    assert jitted.__module__ == __name__
    assert jitted.__wrapped__ is double
    assert inspect.unwrap(jitted) is double
    assert copy.copy(jitted) is jitted
    assert copy.deepcopy({"f": jitted})["f"] is jitted


def test_pickles_by_qualified_name(monkeypatch):
    monkeypatch.setitem(sys.modules, module_level.__module__, sys.modules[__name__])
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def test_explain_runs_nothing():
    runs = []

    def record(x):
        runs.append(x)

    jitted, _, _ = jit(record)
    assert "no specialization yet" in str(jitted.explain(np.ones(3)))
    for _ in range(4):
        jitted(np.ones(3))
    before = len(runs)
    assert jitted.explain(np.ones(3)).holds
    explanation = jitted.explain(np.ones(4, "f4"))
    assert not explanation.holds
    assert [d.expression for d in explanation.failing] == ["x.dtype"]
    assert "expected float64, got float32" in str(explanation)
    assert len(runs) == before


def test_counters_and_events_agree():
    jitted, _, stream = jit(double)
    seen = []
    stream.subscribe(seen.append)
    for size in [4] * 5 + [3] * 5:
        jitted(np.ones(size))
    stats = jitted.stats
    events = stream.events()
    assert tuple(seen) == events
    assert stats.profiled_calls == sum(isinstance(e, Profiled) for e in events)
    assert stats.deopts == sum(isinstance(e, GuardFailed) for e in events)
    assert stats.compile_seconds == pytest.approx(sum(e.cost.capture + e.cost.compile for e in events))
    assert all(e.cause.code for e in events)


def test_a_first_call_that_would_raise_does_not_decide():
    def refuse(arguments, relaxations):
        if arguments[0] < 0:
            return CaptureFailure("python.exception", "user", Span("user.py", 1, 1), "call", "it raises ValueError")
        return None

    def root(x):
        if x < 0:
            raise ValueError("negative")
        return x**0.5

    compiler = TinyCompiler(refuse=refuse)
    jitted, _, _ = jit(root, compiler)
    for x in [4.0, 4.0, -1.0]:
        with pytest.raises(ValueError, match="negative") if x < 0 else contextlib.nullcontext():
            jitted(x)
    for _ in range(10):
        assert jitted(4.0) == 2.0
    assert jitted.reason is None
    assert jitted.stats.graph_calls >= 7
