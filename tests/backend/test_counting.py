"""Loops count such that passes see it, and the choice of instructions does not look into it."""

import re

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.machine_code import PartCompiler
from janusjit.backend.llvm.module_parts import Part, parts_of

HIDDEN = "call i64 @\"llvm.expect.i64\""


def compiled_parts(program, *arguments):
    """Return the parts of a program's module, of which all settled calls have been right."""
    jitted = jj.jit(background=False)(program)
    for _ in range(4):
        np.testing.assert_allclose(jitted(*arguments), program(*arguments), rtol=1e-12)
    assert jitted.stats.graph_calls == 2 and jitted.stats.deopts == 0
    return parts_of(jitted.specializations[0].compiled.code.source)


def optimized(part: Part) -> str:
    """Return a part's IR as it is when instructions are chosen."""
    compiler = PartCompiler(part, 2, engine.MACHINES)
    try:
        compiler.optimize()
        return str(compiler.module)
    finally:
        compiler.close()


@pytest.mark.skipif(not engine.has_masked_lanes(), reason="elementwise loops are scalar ones that LLVM vectorises")
def test_loops_of_vector_code_are_not_seen_to_step():
    x = np.linspace(-1, 1, 300).reshape(15, 20)
    parts = [part for part in compiled_parts(lambda x, y: np.exp(x) @ y, x, x.T.copy()) if part.is_handwritten]
    before, after = "".join(part.text for part in parts), "".join(map(optimized, parts))
    loops = len(re.findall(r" = phi +i64 ", before))
    assert loops >= 2 and before.count(HIDDEN) == loops and after.count("call i64 @llvm.expect.i64") == loops


def test_loops_that_go_through_passes_are_vectorised_as_ever():
    x = np.linspace(-1, 1, 4000)
    parts = compiled_parts(lambda x: np.sort(x)[::-3] * 2.0 + x[::3], x[:3999])
    passed = [part for part in parts if not (part.is_handwritten or part.is_cold) and HIDDEN in part.text]
    assert passed
    for part in passed:
        text = optimized(part)
        assert "llvm.expect" not in text and "x double>" in text


@pytest.mark.parametrize(
    ("program", "needs_passes"),
    [
        (lambda x: np.argmin(x, axis=1), False),
        (lambda x: np.argmax(x, axis=0), False),
        (lambda x: np.argmin(x[:, ::2], axis=1), True),
        (lambda x: np.argmax(x[:, :5], axis=1), True),
        (lambda x: np.arange(len(x)) + 0 * x.sum(axis=1), False),
        (lambda x: np.full(x.shape, x[0, 0]), False),
        (lambda x: np.triu(x), True),
        (lambda x: np.repeat(x, 3, axis=1), True),
    ],
    ids=["argmin", "columns", "steps", "short", "arange", "full", "triu", "repeat"],
)
def test_positions_and_sequences_are_vector_code(program, needs_passes):
    x = np.random.default_rng(0).normal(size=(37, 20))
    x[3, 4] = x[5, 6] = x[3, 9] = np.nan
    parts = [part for part in compiled_parts(program, x) if not part.is_cold]
    assert any(not part.is_handwritten for part in parts) == needs_passes


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "i2"])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 16, 83])
def test_sequences_of_any_length_and_type_are_those_of_numpy(dtype, length):
    def program(x, start):
        return np.arange(start, start + 3 * len(x), 3, dtype=x.dtype), np.full((3, len(x)), start, x.dtype)

    jitted = jj.jit(background=False)(program)
    x = np.zeros(length, dtype)
    for number in range(4):
        for found, expected in zip(jitted(x, number), program(x, number), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
    assert jitted.stats.graph_calls == 2 and jitted.stats.host_calls == 0


def test_what_is_done_once_is_no_loop():
    """A product whose columns are in one tile: its rows are gone through, and the depth."""
    x = np.linspace(-1, 1, 40 * 30).reshape(40, 30)
    parts = [part for part in compiled_parts(lambda x, y: x @ y, x, x[:8].T.copy()) if part.is_handwritten]
    text = "".join(part.text for part in parts)
    (tiles,) = re.findall(r'^define [^@]*@"janusjit_handwritten\.tiles.*?^}', text, re.DOTALL | re.MULTILINE)
    assert len(re.findall(r" = phi +i64 ", tiles)) == 2
    assert "40.8.30" in tiles


def test_batches_of_products_need_no_passes():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4, 20, 30)), rng.normal(size=(3, 4, 30, 16))
    parts = [part for part in compiled_parts(lambda x, y: x @ y, x, y) if not part.is_cold]
    assert parts and all(part.is_handwritten for part in parts)


def test_vector_code_gets_no_passes_for_what_it_calls():
    text = """
define internal void @"product"(ptr %"x") "janusjit-vectors" noinline
{
  call void @"after"(ptr %"x")
  ret void
}
define internal void @"after"(ptr %"x") noinline
{
  store i64 1, ptr %"x"
  ret void
}
define void @"entry"(ptr %"x") noinline optnone
{
  call void @"product"(ptr %"x")
  ret void
}
"""
    kinds = {re.search(r'^define [^@]*@"(\w+)"', part.text, re.MULTILINE)[1]: part for part in parts_of(text)}
    assert [kinds[name].is_handwritten for name in ("product", "after", "entry")] == [True, False, False]
    assert 'declare void @"after"' in kinds["product"].text and 'define void @"after"' in kinds["after"].text
