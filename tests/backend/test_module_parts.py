"""Modules that are compiled in parts, by several threads, are the modules they were."""

import ctypes
import gc
import re
import threading

import llvmlite.binding as llvm
import numpy as np
import pytest

import janusjit as jj
from janusjit import pacing
from janusjit.backend.llvm import engine, machine_code, module_parts
from janusjit.errors import CompileError
from janusjit.pacing import paced

SOURCE = """
@"seen" = global i64 0
@"hidden" = internal global i64 7
@"table" = internal constant [2 x ptr] [ptr @"double", ptr @"triple"]
define i64 @"entry"(i64 %"x") noinline optnone
{
entry:
  store i64 %"x", ptr @"seen"
  %"a" = call i64 @"double"(i64 %"x")
  %"b" = call i64 @"sum"(i64 %"a")
  ret i64 %"b"
}
declare i64 @"labs"(i64 %"x")
define internal i64 @"one"(i64 %"x") alwaysinline
{
  %"r" = call i64 @"labs"(i64 %"x")
  ret i64 %"r"
}
define internal i64 @"double"(i64 %"x") noinline
{
  %"y" = call i64 @"one"(i64 %"x")
  %"r" = add i64 %"y", %"y"
  ret i64 %"r"
}
define internal i64 @"triple"(i64 %"x") noinline
{
  %"r" = mul i64 %"x", 3
  ret i64 %"r"
}
define internal i64 @"sum"(i64 %"x") noinline
{
  %"seen" = load i64, ptr @"seen"
  %"hidden" = load i64, ptr @"hidden"
  %"at" = getelementptr [2 x ptr], ptr @"table", i64 0, i64 1
  %"f" = load ptr, ptr %"at"
  %"a" = call i64 %"f"(i64 %"x")
  %"b" = add i64 %"a", %"seen"
  %"c" = add i64 %"b", %"hidden"
  ret i64 %"c"
}
define internal i64 @"alone"(i64 %"x") noinline
{
  %"r" = call i64 @"one"(i64 %"x")
  ret i64 %"r"
}
"""


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module_parts, "LINES_A_PART", 1)


def code_of(text):
    with engine._compilers(text, 2) as compilers:
        return machine_code.object_codes(compilers)


def test_the_parts_together_are_the_module(small_parts):
    parts = module_parts.parts_of(SOURCE)
    defined = [{f.name for f in llvm.parse_assembly(part.text).functions if not f.is_declaration} for part in parts]
    assert [part.is_cold for part in parts] == [True, False, False]
    # what a table refers to stays together, and what is inlined everywhere keeps nothing together
    assert defined[0] == {"entry"}
    assert sorted(defined[1:], key=len) == [{"alone", "one"}, {"double", "triple", "sum", "one"}]
    loaded = engine.load(SOURCE)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.function_address("entry"))
    assert [call(x) for x in (-5, 2)] == [3 * 2 * abs(x) + x + 7 for x in (-5, 2)]
    assert ctypes.c_int64.from_address(loaded.global_address("seen")).value == 2
    assert "alone:" in loaded.assembly and loaded.llvm_ir.count("define i64 @entry") == 1 and loaded.times.total > 0


def test_vector_code_is_a_part_of_its_own_and_goes_through_no_passes():
    source = SOURCE.replace('@"double"', f'@"{module_parts.HANDWRITTEN}double"')
    parts = module_parts.parts_of(source)
    assert [(part.is_cold, part.is_handwritten) for part in parts] == [(True, False), (False, True), (False, False)]
    only = llvm.parse_assembly(parts[1].text)
    assert [f.name for f in only.functions if not f.is_declaration] == ["one", f"{module_parts.HANDWRITTEN}double"]
    loaded = engine.load(source)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.function_address("entry"))
    assert [call(x) for x in (-5, 2)] == [3 * 2 * abs(x) + x + 7 for x in (-5, 2)]
    assert "shl" not in loaded.llvm_ir and "shl" in engine.load(SOURCE).llvm_ir


def test_a_short_module_is_one_part():
    source = SOURCE.replace("optnone", "")
    assert [part.text for part in module_parts.parts_of(source)] == [source]


def test_code_does_not_depend_on_how_many_threads_make_it(small_parts, monkeypatch):
    names = set()
    optimize = machine_code.PartCompiler.optimize
    both = threading.Barrier(2, timeout=60)

    def watched(self):
        if threads == 2 and len(names) < 2:
            names.add(threading.current_thread().name)
            both.wait()  # neither goes on before the other has a part as well
        optimize(self)

    monkeypatch.setattr(machine_code.PartCompiler, "optimize", watched)
    made = []
    for threads in (1, 2):
        monkeypatch.setattr(machine_code, "_thread_count", lambda parts: threads)  # noqa: B023
        made.append(code_of(SOURCE))
    assert made[0] == made[1] and len(made[0]) == 3 and len(names) == 2
    assert machine_code.unpacked(machine_code.packed(made[0])) == made[0]


def test_one_thread_of_two_compiles_beside_the_program(monkeypatch):
    monkeypatch.setattr(machine_code.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    assert machine_code._thread_count(5) == 2 and machine_code._thread_count(1) == 1
    with paced():
        assert pacing.is_paced() and machine_code._thread_count(5) == 1
    assert not pacing.is_paced()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_in_any_thread_is_the_callers(small_parts, monkeypatch, threads):
    def fail(self):
        raise CompileError("backend.llvm", "no")

    monkeypatch.setattr(machine_code, "_thread_count", lambda parts: threads)
    monkeypatch.setattr(machine_code.PartCompiler, "optimize", fail)
    with pytest.raises(CompileError, match="no"):
        code_of(SOURCE)
    gc.collect()
    assert not machine_code._CONTEXTS


def test_a_program_in_parts_gives_what_it_gives_in_one(small_parts):
    def step(w, x, names):
        h = np.tanh(x @ w)
        total = np.exp(h - h.max(axis=1, keepdims=True)).sum(axis=1)
        w -= 0.1 * (x.T @ h)
        return (h * 2.0).sum(axis=0), total, sum(names)

    results = []
    for _ in range(2):
        jitted = jj.jit(step, background=False)
        w, x = np.linspace(-1.0, 1.0, 35).reshape(7, 5), np.linspace(0.0, 2.0, 84).reshape(12, 7)
        for _ in range(4):
            found = jitted(w, x, [1, 2, 3 << 40])
        assert jitted.stats.graph_calls == 2
        results.append([w, *found])
        module_parts.LINES_A_PART = 100_000  # the fixture puts it back
    expected = np.linspace(-1.0, 1.0, 35).reshape(7, 5)
    for _ in range(4):
        plain = step(expected, x, [1, 2, 3 << 40])
    for one, other, eager in zip(*results, [expected, *plain], strict=True):
        assert type(one) is type(other) is type(eager)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, eager, rtol=1e-13)


def test_loops_of_any_part_call_the_vector_versions_of_functions(small_parts):
    def step(x, y, z):
        return np.sin(x) ** 1.5, np.sin(x @ y), np.arctan2(y, z).sum(axis=1)

    jitted = jj.jit(step, background=False)
    x, y, z = (np.linspace(0.1, 3.0, 4096).reshape(64, 64) + shift for shift in (0.0, 0.5, 1.0))
    for _ in range(4):
        found = jitted(x, y, z)
    assert jitted.stats.graph_calls == 2
    for one, plain in zip(found, step(x, y, z), strict=True):
        np.testing.assert_allclose(one, plain, rtol=1e-12, atol=1e-12)
    text = jitted.specializations[0].llvm_ir
    assert text.count("source_filename") > 2
    for name in ("sin", "pow", "arctan2"):
        assert re.search(rf"call <\d+ x double> @janusjit_handwritten\.{name}_f64_v\d+", text), name


@pytest.mark.skipif(not engine.has_masked_lanes(), reason="rows are copied by loops that LLVM is to find vectors for")
@pytest.mark.parametrize(("images", "stride"), [(3, 1), (16, 1), (3, 2)])
def test_convolutions_whose_windows_are_one_step_apart_go_through_no_passes(monkeypatch, images, stride):
    compiled: list[module_parts.Part] = []

    def noted(text):
        parts = module_parts.parts_of(text)
        compiled.extend(parts)
        return parts

    monkeypatch.setattr(engine, "parts_of", noted)

    def loss(x, w):
        return (jj.nn.conv2d(x, w, padding=1, stride=stride) ** 2).sum()

    def program(x, w):
        return jj.grad(loss, argnums=(0, 1))(x, w)

    jitted = jj.jit(background=False)(program)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(images, 4, 13, 13)), rng.normal(size=(6, 4, 3, 3))
    for _ in range(4):
        found = jitted(x, w)
    for one, other in zip(found, program(x, w), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)
    assert jitted.stats.graph_calls >= 1 and jitted.stats.deopts == 0
    passes = [part for part in compiled if "convolution" in part.text and not (part.is_cold or part.is_handwritten)]
    assert bool(passes) == (stride != 1)
