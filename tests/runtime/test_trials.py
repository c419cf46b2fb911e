"""Whether graphs pay is found out by timing both ways; what the clock says is given here: nothing depends on it."""

import pickle
import threading
import time
import types

import numpy as np
import pytest

import janusjit as jj
from janusjit import config
from janusjit.backend.llvm import threads
from janusjit.config import available_threads
from janusjit.runtime import building, replacement
from janusjit.runtime import trial as trial_module
from janusjit.runtime.cache import SETTLED
from janusjit.runtime.statistics import Tally
from janusjit.runtime.trial import (
    FIRST_REVIEW,
    LACK_SECONDS,
    LONG_SECONDS,
    LULL_SECONDS,
    LULLS,
    MIXED_CALLS,
    PLAIN_CALLS,
    PLAIN_SHORT_CALLS,
    REST_SECONDS,
    SETTLED_CALLS,
    SETTLED_LONG_CALLS,
    UNEVEN_SECONDS,
    UNSETTLED_CALLS,
    Trial,
)
from tests.commit_points.programs import Host

LONG, SHORT = 10 * LONG_SECONDS, LONG_SECONDS / 10


def after(graph, compiled=(), estimate=None):
    trial = Trial()
    for number, seconds in enumerate(graph):
        assert trial.verdict is None and not trial.wants_plain
        trial.ran_graph(seconds, number in compiled, estimate)
    return trial


def test_a_clear_gain_over_the_estimate_needs_no_trial():
    trial = after([0.1 * SHORT] * SETTLED_CALLS, estimate=SHORT)
    assert trial.verdict is True and not trial.wants_plain


def test_an_estimate_that_a_compiler_beside_it_has_doubled_does_not_decide():
    trial = after([0.4 * SHORT] * SETTLED_CALLS, estimate=SHORT)
    assert trial.verdict is None and trial.wants_plain
    while trial.verdict is None:
        if trial.wants_plain:
            trial.ran_plain(0.15 * SHORT)
        else:
            trial.ran_graph(0.4 * SHORT, False, SHORT)
    assert trial.verdict is False


def test_the_estimate_of_a_very_short_call_is_not_relied_on():
    trial = after([0.01 * SHORT] * SETTLED_CALLS, estimate=0.1 * SHORT)
    assert trial.verdict is None and trial.wants_plain


@pytest.mark.parametrize(
    ("seconds", "calls", "compiled"),
    [(SHORT, SETTLED_CALLS, ()), (LONG, SETTLED_LONG_CALLS, ()), (LONG, SETTLED_LONG_CALLS + 2, (0, 1))],
)
def test_calls_in_plain_python_begin_when_the_graphs_have_settled(seconds, calls, compiled):
    trial = after([seconds] * calls, compiled, estimate=seconds)
    assert trial.wants_plain and trial.verdict is None


def test_what_always_compiles_is_judged_with_its_compilation():
    trial = after([LONG] * UNSETTLED_CALLS, range(UNSETTLED_CALLS))
    assert trial.wants_plain
    trial.ran_plain(0.1 * LONG)
    assert trial.verdict is False


def test_both_ways_alternate_and_medians_decide():
    trial = after([LONG] * SETTLED_LONG_CALLS)
    for seconds in (0.8 * LONG, 0.9 * LONG):
        trial.ran_plain(seconds)
        assert not trial.wants_plain and trial.verdict is None
        trial.ran_graph(LONG, False, None)
        assert trial.wants_plain
    trial.ran_plain(100 * LONG)
    assert trial.verdict is False and "in plain Python" in trial.text


@pytest.mark.parametrize(("plain", "verdict"), [(3 * LONG + 0.05, True), (LONG / 3, False)])
def test_one_call_decides_a_clear_case(plain, verdict):
    trial = after([LONG] * SETTLED_LONG_CALLS)
    trial.ran_plain(plain)
    assert trial.verdict is verdict and not trial.wants_plain


def test_one_slow_call_may_have_been_interrupted():
    trial = after([LONG] * SETTLED_LONG_CALLS)
    trial.ran_plain(3 * LONG)
    assert trial.verdict is None
    trial.ran_graph(LONG, False, None)
    trial.ran_plain(0.4 * LONG)
    assert trial.verdict is False


@pytest.mark.parametrize(
    ("profiled", "plain", "certain"), [(0.4, [], None), (0.6, [], 0.6), (0.4, [0.1, 0.2, 9.0], 0.2)]
)
def test_short_profiled_calls_tell_nothing_for_certain(profiled, plain, certain):
    tally = Tally(profiled=[(profiled, 0)], plain_timings=plain)
    assert tally.clear_eager_seconds == certain


@pytest.fixture
def time_of_day(monkeypatch):
    """A time_of_day that is set by hand."""
    hand = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(trial_module.time, "perf_counter", lambda: hand.seconds)
    return hand


def test_graphs_on_threads_are_judged_once_those_of_libraries_have_come_to_rest(time_of_day):
    trial = Trial()
    for _ in range(100):
        trial.ran_graph(5 * SHORT, False, None, had_threads=True)
    assert not trial.wants_plain
    time_of_day.seconds += REST_SECONDS
    for _ in range(1 + SETTLED_CALLS):  # the first is after a lull
        assert not trial.wants_plain
        trial.ran_graph(SHORT, False, None, had_threads=True)
    assert trial.wants_plain and trial.graph_seconds == SHORT
    trial.ran_plain(9 * SHORT)  # its threads had to wake up
    for _ in range(PLAIN_SHORT_CALLS):
        assert trial.wants_plain and trial.verdict is None
        trial.ran_plain(0.9 * SHORT)
    assert trial.verdict is False


def test_graphs_that_never_get_their_threads_are_judged_without(time_of_day):
    trial = Trial()
    time_of_day.seconds += REST_SECONDS
    for _ in range(int(LACK_SECONDS / LONG) - 1):
        trial.ran_graph(LONG, False, None, had_threads=False)
        time_of_day.seconds += LONG
    time_of_day.seconds += REST_SECONDS
    for _ in range(1 + SETTLED_CALLS):
        assert not trial.wants_plain
        trial.ran_graph(LONG, False, None, had_threads=False)
    for _ in range(1 + PLAIN_SHORT_CALLS):
        assert trial.wants_plain
        trial.ran_plain(1.1 * LONG)
    assert trial.verdict is True


def at_rest(time_of_day, seconds):
    """Return a trial of graphs on threads, after a first call and the rest that follows."""
    trial = Trial()
    trial.ran_graph(seconds, False, None, had_threads=True)
    time_of_day.seconds += REST_SECONDS
    return trial


def test_graphs_on_threads_are_judged_once_their_calls_are_even(time_of_day):
    trial = at_rest(time_of_day, SHORT)
    for _ in range(SETTLED_CALLS):
        trial.ran_graph(SHORT, False, None, had_threads=True)
        trial.ran_graph(2 * SHORT, False, None, had_threads=True)
    assert not trial.wants_plain
    for _ in range(2):  # more than half of the last ones
        assert not trial.wants_plain
        trial.ran_graph(SHORT, False, None, had_threads=True)
    assert trial.wants_plain and trial.graph_seconds == SHORT


def test_two_calls_decide_a_clear_case_on_threads(time_of_day):
    trial = at_rest(time_of_day, LONG / 5)
    while not trial.wants_plain:
        trial.ran_graph(LONG / 5, False, None, had_threads=True)
    trial.ran_plain(3 * LONG)  # 30 ms may be an interruption
    assert trial.verdict is None
    trial.ran_plain(3 * LONG)
    assert trial.verdict is True


def test_short_calls_decide_nothing_at_once_however_clear(time_of_day):
    """There may be short and shorter ones, and a single one may be interrupted."""
    trial = at_rest(time_of_day, SHORT)
    while not trial.wants_plain:
        trial.ran_graph(SHORT, False, None, had_threads=True)
    for seconds in (100 * SHORT, 100 * SHORT, 12 * SHORT, 12 * SHORT):
        assert trial.verdict is None
        trial.ran_plain(max(seconds, 0.021))
    assert trial.verdict is True


def test_short_calls_that_differ_take_more_timings_and_their_mean_decides():
    """Graphs seem twice as fast in the first ones, which have got shorter arguments."""
    trial = after([SHORT] * SETTLED_CALLS)
    for seconds in [4 * SHORT] * 3 + [0.9 * SHORT] * (MIXED_CALLS - 3):
        assert trial.verdict is None
        while not trial.wants_plain:
            trial.ran_graph(3 * SHORT, False, None)
        trial.ran_plain(seconds)
    assert trial.verdict is False and not trial.wants_plain


def test_short_calls_that_are_apart_take_few_but_for_one_that_was_interrupted():
    trial = after([SHORT] * (SETTLED_CALLS - 1) + [100 * SHORT])
    for count in range(4):
        assert trial.verdict is None, count
        while not trial.wants_plain:
            trial.ran_graph(SHORT, False, None)
        trial.ran_plain(3 * SHORT)
    assert trial.verdict is True


def test_graphs_on_threads_that_are_never_even_are_judged_as_they_are(time_of_day):
    trial = at_rest(time_of_day, SHORT)
    calls = 0
    while not trial.wants_plain:
        trial.ran_graph(SHORT if calls % 2 else 2 * SHORT, False, None, had_threads=True)
        calls += 1
    assert calls == pytest.approx(UNEVEN_SECONDS / (1.5 * SHORT), abs=2) and trial.graph_seconds == 1.5 * SHORT


def test_the_first_call_after_a_lull_is_not_timed(time_of_day):
    """Calls come in blocks: the first of each finds its data gone from the caches."""
    trial = after([LONG] * (SETTLED_LONG_CALLS - 1))
    time_of_day.seconds += LULL_SECONDS + 3 * LONG
    trial.ran_graph(2 * LONG, False, None)
    assert not trial.wants_plain
    trial.ran_graph(LONG, False, None)
    assert trial.wants_plain and trial.graph_seconds == LONG
    time_of_day.seconds += LULL_SECONDS + LONG
    trial.ran_plain(0.1 * LONG)
    assert trial.wants_plain and trial.verdict is None
    trial.ran_plain(LONG / 3)
    assert trial.verdict is False


def test_all_calls_are_timed_where_lulls_are_the_rule(time_of_day):
    trial = Trial()
    for _ in range(LULLS + SETTLED_LONG_CALLS):
        assert not trial.wants_plain
        trial.ran_graph(LONG, False, None)
        time_of_day.seconds += LULL_SECONDS + 2 * LONG
    assert trial.wants_plain
    trial.ran_plain(LONG / 3)
    assert trial.verdict is False


def test_a_trial_that_takes_many_calls_is_repeated_after_so_many_more(time_of_day):
    trial = Trial()
    calls = 5000
    for _ in range(calls - SETTLED_CALLS - 1):  # one more is after a lull
        trial.ran_graph(1.1 * SHORT, False, None, had_threads=True)
    time_of_day.seconds += REST_SECONDS
    while not trial.wants_plain:
        trial.ran_graph(1.1 * SHORT, False, None, had_threads=True)
    while trial.wants_plain:
        trial.ran_plain(SHORT)
    assert trial.verdict is False
    assert trial.repeat_after(1) == pytest.approx(32 * calls * 0.1)


def test_it_matters_little_in_a_long_call_that_threads_wake_up(time_of_day):
    trial = Trial()
    for _ in range(1 + SETTLED_LONG_CALLS):
        assert not trial.wants_plain
        trial.ran_graph(1.0, False, None, had_threads=True)
        time_of_day.seconds += 1.0
    trial.ran_plain(3.0)
    assert trial.verdict is True


# ---------------------------------------------------------------------- of functions


def test_a_slow_first_call_does_not_speak_for_the_graphs():
    """What a profiled call takes may be other programs' time: here it is a wait in the warm-up."""
    waits = [0.1] * 4

    def program(x):
        if waits:
            time.sleep(waits.pop())
        return np.exp(-x * 2.0) + x

    with config.override(trials=True):
        step = jj.jit(background=False)(program)
        run(step, program, 30)
    assert step.stats.eager_calls > step.stats.profiled_calls


@pytest.fixture
def clock(monkeypatch):
    """How long calls seem to take in plain Python; those with graphs take one second."""
    ran_graph, ran_plain, has_changed = Trial.ran_graph, Trial.ran_plain, Trial.has_changed
    times = {"plain": 1.0}
    monkeypatch.setattr(Trial, "ran_graph", lambda self, _, compiled, *__: ran_graph(self, 1.0, compiled, None))
    monkeypatch.setattr(Trial, "ran_plain", lambda self, _: ran_plain(self, times["plain"]))
    monkeypatch.setattr(Trial, "has_changed", lambda self, _: has_changed(self, times["plain"]))
    with config.override(trials=True):
        yield times


def fragmented(host):
    def program(x):
        for _ in range(3):
            x = x + host.total(x)
        return x

    return program


def whole(_):
    def program(x):
        y = x * 2.0
        return np.exp(-y) + x

    return program


def run(step, function, calls):
    for _ in range(calls):
        np.testing.assert_array_equal(step(np.ones(3)), function(np.ones(3)))


@pytest.mark.parametrize("make", [fragmented, whole])
def test_a_function_that_gains_stays_in_its_graphs(clock, make):
    clock["plain"] = 1.2
    function = make(Host())
    step = jj.jit(background=False)(function)
    run(step, function, 30)
    assert step.reason is None and step.stats.eager_calls == step.stats.profiled_calls + PLAIN_CALLS
    assert step.stats.graph_calls == 30 - step.stats.eager_calls


@pytest.mark.parametrize(("make", "code"), [(fragmented, "cost.fragmented"), (whole, "cost.slower")])
def test_a_function_that_does_not_gain_stays_in_python(clock, make, code):
    clock["plain"] = 0.1
    function = make(Host())
    step = jj.jit(background=False)(function)
    run(step, function, 30)
    assert step.reason.code == code and step.reason.category == "cost"
    graphs = step.stats.graph_calls
    assert 0 < graphs < 10
    run(step, function, 4)
    assert step.stats.graph_calls == graphs and step.stats.calls == 34


@pytest.fixture
def go_on(monkeypatch):
    """An event that all compilations wait for."""
    found, compile_ = threading.Event(), building.Builder._compile
    monkeypatch.setattr(building.Builder, "_compile", lambda *given: found.wait(60) and compile_(*given))
    yield found
    found.set()


def test_what_is_compiled_when_the_trial_is_lost_is_not_run(clock, go_on):
    clock["plain"] = 0.1
    function = whole(None)
    step = jj.jit(background=True)(function)
    go_on.set()
    while not step.stats.specializations:
        run(step, function, 1)
        assert step.wait(60) and step.stats.calls < 20
    go_on.clear()
    with config.override(trials=False):
        run(step, function, SETTLED + 1)
        np.testing.assert_array_equal(step(np.ones((2, 2))), function(np.ones((2, 2))))
    step._lifecycle._settle()
    run(step, function, 30)
    assert step.reason.code == "cost.slower" and step.stats.specializations == 1
    go_on.set()
    assert step.wait(60) and step.stats.specializations == 2
    graphs, calls = step.stats.graph_calls, step.stats.calls
    for shape in (3, (2, 2)):
        for _ in range(5):
            np.testing.assert_array_equal(step(np.ones(shape)), function(np.ones(shape)))
    assert step.stats.graph_calls == graphs > SETTLED and step.stats.calls == calls + 10


def test_calls_that_graphs_do_not_serve_count_against_them(clock):
    clock["plain"] = 100.0
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 20)
    life = step._lifecycle
    assert step.reason is None and life.trial.verdict is True and life._slow_calls == 0
    with life._compiling.take():
        for _ in range(3):
            np.testing.assert_array_equal(step(np.ones((2, 2))), function(np.ones((2, 2))))
    assert life._slow_calls == 1 and 0.0 < life._slow_seconds < 0.01, "the others were not looked at"
    for _ in range(63):
        life._account(0.0)
    assert step.reason is None
    for _ in range(64):
        life._account(0.1)
    assert step.reason.code == "cost.slower" and "did not serve" in step.reason.text
    graphs, calls = step.stats.graph_calls, step.stats.calls
    run(step, function, 5)
    assert step.stats.graph_calls == graphs > 0 and step.stats.calls == calls + 5


def test_what_an_estimate_has_decided_can_be_looked_at_again():
    trial = Trial()
    for _ in range(8):
        trial.ran_graph(1e-3, False, 1.0)
    assert trial.verdict is True and not trial.wants_plain
    assert trial.plain_seconds == 1.0 and "1e+06 µs in plain Python" in trial.text
    assert not trial.has_changed(3.0) and trial.has_changed(5.0)
    assert trial.repeat_after(1) == 32.0
    trial.lost_seconds = 20.0
    assert trial.repeat_after(1) == 32.0 * 20.0 and trial.repeat_after(3) == 128.0 * 20.0


def test_calls_that_leave_their_graph_tell_nothing_of_those_that_do_not():
    """They take long in Python, where they raise and handle what the others do not: nothing that graphs save."""

    def solved(matrix, right):
        try:
            return np.linalg.solve(matrix, right)
        except np.linalg.LinAlgError:
            time.sleep(0.001)
            return right

    step = jj.jit(background=False)(solved)
    for number in range(40):
        matrix = np.eye(3) * (number % 4 > 0)
        np.testing.assert_array_equal(step(matrix, np.ones(3)), solved(matrix, np.ones(3)))
    tally = step._lifecycle.tally
    assert step.stats.deopts == 9 and step.stats.graph_calls == 38
    assert tally.rerun_seconds > 0.005
    assert tally.eager_seconds < 0.001 and not tally.plain_timings


def test_calls_whose_graphs_have_lost_by_estimate_go_on_in_python(clock):
    clock["plain"] = 100.0
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 20)
    life = step._lifecycle
    life.trial._plain.clear()
    life.trial._estimate = 100.0
    for _ in range(128):
        life._account(0.1)
    assert step.reason.code == "cost.slower"
    assert life.trial.lost_seconds > 5.0
    run(step, function, 100)
    assert step.reason is not None and step.stats.calls == 120


def test_what_takes_long_in_python_is_not_lost_by_graphs(clock, monkeypatch):
    clock["plain"] = 100.0
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 20)
    life = step._lifecycle
    monkeypatch.setattr(life, "function", lambda x: time.sleep(0.02) or function(x))
    with life._compiling.take():
        np.testing.assert_array_equal(step(np.ones((2, 2))), function(np.ones((2, 2))))
    assert step.stats.graph_calls > 0 and life._slow_calls == 1 and life._slow_seconds < 0.015


def test_under_a_policy_that_refuses_python_there_is_no_trial(clock):
    clock["plain"] = 0.1
    function = whole(None)
    step = jj.jit(background=False, policy="raise")(function)
    run(step, function, 30)
    assert step.reason is None and step.stats.graph_calls == 30 - step.stats.profiled_calls


def test_a_function_whose_work_has_grown_is_tried_again(clock):
    clock["plain"] = 0.1
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 20)
    graphs = step.stats.graph_calls
    assert step.reason.code == "cost.slower"
    run(step, function, 3 * FIRST_REVIEW)
    assert step.stats.graph_calls == graphs, "the work is the same"
    clock["plain"] = 100.0
    run(step, function, 8 * FIRST_REVIEW)
    assert step.reason is None and step.stats.graph_calls > graphs
    assert step.stats.calls == 20 + 11 * FIRST_REVIEW
    (report,) = (part for part in jj.report().functions if str(part.function) == step.identity)
    assert report.plain is None
    assert "cost.changed" in {row.code for row in report.rows}


def test_a_trial_that_was_lost_is_repeated(clock):
    """The machine may have been busy with something else."""
    clock["plain"] = 0.8
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 20)
    assert step.reason.code == "cost.slower"
    run(step, function, 7 * FIRST_REVIEW + 10)
    graphs = step.stats.graph_calls
    assert step.reason.code == "cost.slower", "lost again"
    clock["plain"] = 1.2
    run(step, function, 6 * FIRST_REVIEW)
    assert step.stats.graph_calls == graphs, "the next one is later"
    run(step, function, 10 * FIRST_REVIEW)
    assert step.reason is None and step.stats.graph_calls > graphs
    (report,) = (part for part in jj.report().functions if str(part.function) == step.identity)
    assert [row.count for row in report.rows if row.code == "cost.again"] == [2]


def test_trials_of_what_does_not_gain_take_little_of_the_time(clock):
    clock["plain"] = 0.5
    function = whole(None)
    step = jj.jit(background=False)(function)
    run(step, function, 6000)
    assert 10 <= step.stats.graph_calls <= 6000 // 32
    assert step.reason.code == "cost.slower"


def test_a_call_whose_loop_was_taken_over_tells_nothing_about_plain_python(monkeypatch):
    monkeypatch.setattr(replacement, "HOT_SECONDS", 0.0)

    def train(w, turns):
        for _ in range(turns):
            w = w * 0.5 + 1.0
        return w

    step = jj.jit(background=False)(train)
    np.testing.assert_array_equal(step(np.ones(3), 100), train(np.ones(3), 100))
    assert step.stats.loop_entries == 1 and step.eager_seconds is None
    step(np.ones(3), 2)
    assert step.stats.loop_entries == 1 and step.eager_seconds is not None


def test_a_call_that_waits_for_a_compilation_is_no_measure_of_plain_python():
    function = whole(None)
    step = jj.jit(function)
    run(step, function, step.stats.profiled_calls + 2)
    held = step._lifecycle.tally.plain_timings
    with step._lifecycle._compiling.take():
        before = len(held)
        np.testing.assert_array_equal(step(np.ones(4)), function(np.ones(4)))
        assert len(held) == before
    step.wait()


def test_further_specializations_of_what_follows_a_host_call_are_judged_too():
    def scaled(x, text):
        return x * pickle.loads(text)[0]

    jitted = jj.jit(background=False)(scaled)
    x = np.arange(2000.0).reshape(40, 50)
    for _ in range(60):
        jitted(x, pickle.dumps([2.0]))
    first, calls = jitted._lifecycle.trial, jitted.stats.graph_calls
    assert calls > 0
    jitted._lifecycle.trial.verdict = True
    for _ in range(3):
        jitted(x, pickle.dumps([2]))
    assert jitted.stats.specializations >= 2
    assert jitted._lifecycle.trial is not first


def test_what_a_trial_is_told_of_threads_is_what_kernels_had(monkeypatch):
    if available_threads() < 2 or not threads.are_supported():
        pytest.skip("there is one processor")
    told, ran_graph = [], Trial.ran_graph
    monkeypatch.setattr(Trial, "ran_graph", lambda self, *given: told.append(given[-1]) or ran_graph(self, *given))

    def program(x):
        return np.exp(-np.abs(x)) * np.tanh(x)

    few, many = np.linspace(-1, 1, 10), np.linspace(-1, 1, 3_000_000)
    with config.override(trials=True):
        for x in (few, many):
            step = jj.jit(background=False, threads=2)(program)
            for _ in range(4):
                np.testing.assert_allclose(step(x), program(x), rtol=1e-14)
            assert step.stats.graph_calls > 0
            assert bool(step.specializations[0].divided) is (x is many)
    assert told[0] is None and None not in told[-step.stats.graph_calls :]
    assert any(told[-step.stats.graph_calls :]) or threads.usage().is_held_up


def test_a_call_of_eight_that_takes_long_counts():
    trial = after([SHORT] * (SETTLED_CALLS - 1) + [20 * SHORT])
    graph = 0
    while trial.verdict is None:
        if trial.wants_plain:
            trial.ran_plain(1.3 * SHORT)
        else:
            graph += 1
            trial.ran_graph(SHORT if graph % 8 else 20 * SHORT, False, None)
    assert trial.verdict is False


def test_calls_that_raise_are_timed_too(clock):
    host = Host()

    def program(x, divisor):
        return x + host.fail(divisor)

    step = jj.jit(background=False)(program)
    for number in range(10):
        if number < 4:
            np.testing.assert_array_equal(step(np.ones(3), 2.0), np.full(3, 1.5))
        else:
            with pytest.raises(ZeroDivisionError):
                step(np.ones(3), 0.0)
    life = step._lifecycle
    assert life.trial._graph_calls + len(life.trial._plain) == 10 - step.stats.profiled_calls
    assert life.trial._graph_calls >= 4 and len(host.seen) == 10
