"""The public names, on the real compiler."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import janusjit as jj


def scaled(x, w, rate=0.5):
    """Scale."""
    y = x * w + 1.0
    return y * rate


@jj.jit
def module_step(weights, gradient, rate):
    weights -= rate * gradient
    return weights.sum()


class Layer:
    def __init__(self, weight):
        self.weight = weight
        self.calls = 0

    @jj.jit
    def forward(self, x):
        self.calls += 1
        return x * self.weight

    @jj.jit
    @staticmethod
    def double(x):
        return x + x

    @jj.jit
    @classmethod
    def name(cls, x):
        return x + 1.0


def test_results_state_and_counters():
    step = jj.jit(scaled)
    x, w = np.arange(6.0).reshape(2, 3), np.full((2, 3), 2.0)
    for call in range(1, 21):
        np.testing.assert_array_equal(step(x, w), scaled(x, w))
        assert step.stats.calls == call
    stats = step.stats
    assert (stats.profiled_calls, stats.graph_calls, stats.eager_calls) == (2, 18, 2)
    assert (stats.deopts, stats.host_calls, stats.specializations) == (0, 0, 1)
    assert stats.compile_seconds > 0
    assert isinstance(stats.saved_seconds, float)


def test_in_place_updates_are_seen_and_a_changed_rate_needs_no_specialization():
    weights, expected = np.ones(4), np.ones(4)
    before = module_step.stats.specializations
    for call in range(1, 21):
        rate = 0.1 / call
        expected -= rate * np.arange(4.0)
        total = module_step(weights, np.arange(4.0), rate)
        np.testing.assert_array_equal(weights, expected)
        assert type(total) is np.float64
    assert module_step.stats.specializations == before + 1


def test_a_specialization_can_be_looked_at():
    step = jj.jit(scaled)
    for _ in range(5):
        step(np.ones(8), np.ones(8))
    (specialization,) = step.specializations
    assert "multiply" in specialization.graph
    assert specialization.hits == 3
    assert "define" in specialization.llvm_ir
    assert ".globl" in specialization.asm or "ret" in specialization.asm
    expressions = [guard.expression for guard in specialization.guards]
    assert {"x", "w", "rate"} <= set(expressions)
    assert all(guard.code and guard.expected for guard in specialization.guards)


def test_explain_then_report():
    step = jj.jit(scaled)
    for _ in range(5):
        step(np.ones(8), np.ones(8))
    explanation = step.explain(np.ones(8, "f4"), np.ones(8))
    assert [(d.code, d.expression) for d in explanation.failing] == [("array.dtype", "x.dtype")]
    assert not explanation
    assert step.stats.calls == 5
    step(np.ones(8, "f4"), np.ones(8))
    (function,) = step.report().functions
    assert function.counted.calls == 6
    (row,) = function.rows
    assert (row.code, row.expected, row.got) == ("array.dtype", "float64", ("float32",))
    assert row.where.file == __file__
    assert row.call_site.file == __file__
    assert any(f.function.name.endswith("scaled") for f in jj.report().functions)


def test_on_event_and_save_events(tmp_path):
    seen = []
    end = jj.on_event(seen.append)
    step = jj.jit(scaled)
    for _ in range(4):
        step(np.ones(3), np.ones(3))
    end()
    step(np.ones((3, 1)), np.ones(3))
    assert [event.kind for event in seen] == ["profiled", "profiled", "specialized"]
    path = tmp_path / "run.jsonl"
    jj.save_events(path)
    kinds = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert kinds[0] == "started"
    assert {"profiled", "specialized", "guard_failed", "counted"} <= set(kinds)


def test_methods_static_methods_and_class_methods():
    layer = Layer(np.full(3, 2.0))
    for call in range(1, 9):
        np.testing.assert_array_equal(layer.forward(np.ones(3)), np.full(3, 2.0))
        assert layer.calls == call
        np.testing.assert_array_equal(Layer.double(np.ones(3)), np.full(3, 2.0))
        np.testing.assert_array_equal(Layer.name(np.ones(3)), np.full(3, 2.0))
    assert Layer.forward.stats.graph_calls == 6
    assert layer.forward.stats == Layer.forward.stats
    layer.weight = np.full(3, 5.0)  # what is read from outside is read at each call
    np.testing.assert_array_equal(layer.forward(np.ones(3)), np.full(3, 5.0))


def test_names_that_a_class_statement_knows():
    class Base:
        @jj.jit(background=False)
        def __new__(cls, value):
            return object.__new__(cls)

        @jj.jit(background=False)
        def __init__(self, value):
            self.value = value * 2.0

        @jj.jit(background=False)
        def __init_subclass__(cls, **keywords):
            cls.keywords = keywords

        @jj.jit(background=False)
        def __class_getitem__(cls, item):
            return cls, item * 2

    for number in range(6):
        Derived = type("Derived", (Base,), {}, number=number)
        assert Derived.keywords == {"number": number} and Derived[number] == (Derived, 2 * number)
        made = Derived(3.0)
        assert made.value == 6.0 and type(made) is Derived and type(made.__new__(Base, 1)) is Base
    assert type(vars(Base)["__new__"]) is staticmethod and type(vars(Base)["__init_subclass__"]) is classmethod
    assert vars(Base)["__class_getitem__"].__func__.stats.graph_calls == 4


def test_defaults_and_code_can_be_set():
    @jj.jit(background=False)
    def scaled(x, factor=2.0, *, shift=1.0):
        return x * factor + shift

    def check(expected):
        for _ in range(5):
            np.testing.assert_array_equal(scaled(np.ones(2)), np.full(2, expected))

    check(3.0)
    scaled.__defaults__ = (5.0,)
    check(6.0)
    scaled.__kwdefaults__ = {"shift": 2.0}
    check(7.0)
    assert scaled.__wrapped__.__defaults__ == (5.0,) and scaled.stats.graph_calls == 13
    scaled.__code__ = (lambda x, factor=2.0, *, shift=1.0: x - factor - shift).__code__
    check(-6.0)
    assert scaled.__builtins__ is scaled.__wrapped__.__builtins__


def test_pickle_and_copies():
    assert copy.deepcopy([module_step])[0] is module_step
    sys.modules.setdefault(__name__, sys.modules[module_step.__module__])
    assert pickle.loads(pickle.dumps(module_step)) is module_step


def test_jit_of_a_jitted_function_starts_afresh():
    again = jj.jit(module_step)
    assert again is not module_step
    assert again.__wrapped__ is module_step.__wrapped__


@pytest.mark.parametrize("target", [np.sin, 3, Layer])
def test_only_python_functions(target):
    with pytest.raises(TypeError, match="Python function"):
        jj.jit(target)


def test_options_without_meaning_are_refused():
    with pytest.raises(jj.ConfigurationError, match="warmup"):
        jj.jit(warmup=0)
    with pytest.raises(jj.ConfigurationError, match="policy"):
        jj.jit(policy="hope")
    with pytest.raises(TypeError, match="no parameter 'speed'"):
        jj.jit(static="speed")(scaled)


def test_static_parameters_are_constants():
    @jj.jit(static=("rate",))
    def shaped(x, rate):
        return x * rate

    for rate in [2.0] * 6 + [3.0] * 3:
        np.testing.assert_array_equal(shaped(np.ones(2), rate), np.full(2, rate))
    assert shaped.stats.specializations == 2
    assert shaped.stats.deopts == 1


def test_many_threads_give_one_truth():
    step = jj.jit(scaled)
    x = np.arange(100.0)
    expected = scaled(x, x)
    wrong = []

    def work():
        for _ in range(300):
            if not np.array_equal(step(x, x), expected):
                wrong.append(1)

    for _ in range(2):  # while the first thread compiles, the others go on in Python
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert step.stats.calls == 2400
    assert step.stats.graph_calls > 1200
    assert step.stats.specializations == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_after_a_fork():
    step = jj.jit(scaled)
    x = np.ones(3)
    for _ in range(5):
        step(x, x)
    child = os.fork()
    if child == 0:
        good = np.array_equal(step(x, x), scaled(x, x)) and np.array_equal(step(x[:2], x[:2]), scaled(x[:2], x[:2]))
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


PROGRAM = """
    import numpy as np, janusjit as jj
    @jj.jit
    def step(x):
        return x * 2.0
    for _ in range(6):
        step(np.ones(3))
    print(step.stats.graph_calls, step.stats.eager_calls)
"""


def write_program(tmp_path, code=PROGRAM):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(code))
    return f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"


def test_the_environment_switches_it_off(tmp_path):
    program = write_program(tmp_path)
    assert run(program).stdout == "4 2\n"
    assert run(program, JANUSJIT_DISABLE="1").stdout == "0 6\n"


def test_log_dump_and_events(tmp_path):
    program = write_program(tmp_path)
    events = tmp_path / "run.jsonl"
    dump = tmp_path / "dump"
    result = run(program, JANUSJIT_LOG="compile", JANUSJIT_DUMP=str(dump), JANUSJIT_EVENTS=str(events))
    assert result.stdout == "4 2\n"
    assert "janusjit.compile" in result.stderr
    suffixes = {"".join(path.suffixes[-2:]) if path.suffix == ".ir" else path.suffix for path in dump.iterdir()}
    assert {".core", ".ll", ".s", ".plan"} <= suffixes
    assert any(suffix.endswith(".ir") for suffix in suffixes)
    kinds = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert kinds == ["started", "profiled", "profiled", "specialized", "counted"]
    report = subprocess.run(
        [sys.executable, "-m", "janusjit", "report", str(events)], capture_output=True, text=True, check=True
    )
    assert "6 calls = 4 graph + 2 eager (2 profiled)" in report.stdout


def test_the_log_of_a_program_is_its_own(tmp_path):
    program = write_program(
        tmp_path,
        """
        import logging
        import numpy as np
        import janusjit as jj
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        @jj.jit(background=False)
        def step(x):
            return np.tanh(x) * 2.0 + np.tanh(x)
        for _ in range(6):
            step(np.ones(3))
        logging.info("%d graph calls", step.stats.graph_calls)
        """,
    )
    assert run(program).stderr == "4 graph calls\n"
    assert "changes" in run(program, JANUSJIT_LOG="pass").stderr


def test_nothing_degrades_quietly(tmp_path):
    program = write_program(
        tmp_path,
        """
        import janusjit as jj
        @jj.jit
        def numbers(n):
            yield n
        for _ in range(4):
            list(numbers(3))
        """,
    )
    result = run(program, JANUSJIT_QUIET="0")
    assert "ran in plain Python" in result.stderr
    assert "program.py" in result.stderr
    assert run(program, JANUSJIT_QUIET="1").stderr == ""


def test_code_without_source_runs_and_says_why():
    program = f"""
    source = {textwrap.dedent(PROGRAM)!r}
    exec(compile(source, '<generated>', 'exec'))
    """
    result = run(program, JANUSJIT_QUIET="0")
    assert result.stdout == "0 6\n"
    assert "source" in result.stderr


def test_the_reference_backend_gives_the_same(tmp_path):
    assert run(write_program(tmp_path), JANUSJIT_BACKEND="reference").stdout == "4 2\n"


def test_background_compilation_on_the_real_compiler():
    step = jj.jit(background=True)(scaled)
    x = np.arange(50.0)
    expected = scaled(x, x)
    deadline = time.monotonic() + 60
    while not step.stats.graph_calls and time.monotonic() < deadline:
        np.testing.assert_array_equal(step(x, x), expected)
    stats = step.stats
    assert stats.graph_calls >= 1
    assert stats.eager_calls > stats.profiled_calls  # Python went on meanwhile
    assert stats.calls == stats.graph_calls + stats.eager_calls


def test_policies_on_the_real_compiler():
    def signed(x):
        return x * 2.0 if x.sum() > 0.0 else x - 1.0

    strict, warning = jj.jit(policy="raise")(signed), jj.jit(policy="warn")(signed)
    for _ in range(5):
        strict(np.ones(3))
        warning(np.ones(3))
    with pytest.raises(jj.GuardError) as refused:
        strict(-np.ones(3))
    assert refused.value.code == "branch"
    assert "x.sum() > 0.0" in refused.value.report["cause"]["text"]
    with pytest.warns(jj.DegradedWarning, match="deoptimized once"):
        np.testing.assert_array_equal(warning(-np.ones(3)), -2.0 * np.ones(3))


def test_relaxed_rewrites_are_asked_for_by_name():
    def chained(x):
        return np.exp(np.log(x)) * 1.0

    exact, relaxed = jj.jit(chained), jj.jit(exact=False)(chained)
    x = np.linspace(0.5, 2.0, 7)
    for _ in range(4):
        np.testing.assert_allclose(exact(x), chained(x), rtol=1e-15)
        np.testing.assert_allclose(relaxed(x), chained(x), rtol=1e-14)
    assert "= exp(" in exact.specializations[0].graph
    assert "= exp(" not in relaxed.specializations[0].graph


def test_types_are_those_of_the_function(tmp_path):
    pytest.importorskip("mypy")
    path = tmp_path / "typed.py"
    path.write_text(
        textwrap.dedent(
            """
            import numpy as np
            import janusjit as jj

            @jj.jit
            def step(x: np.ndarray, rate: float = 0.1) -> float:
                return float(x.sum()) * rate

            @jj.jit(warmup=3)
            def other(n: int) -> int:
                return n + 1

            class Layer:
                @jj.jit
                def forward(self, x: float) -> float:
                    return x * 2.0

            reveal_type(step(np.ones(3), rate=0.5))
            reveal_type(other(1))
            reveal_type(Layer().forward(1.0))
            reveal_type(step.stats.deopts)
            step("text")
            """
        )
    )
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = result.stdout
    assert found.count('Revealed type is "builtins.float"') + found.count('Revealed type is "float"') == 2
    assert found.count('Revealed type is "builtins.int"') + found.count('Revealed type is "int"') == 2
    assert 'Argument 1 to "__call__" of "JitFunction" has incompatible type "str"' in found
