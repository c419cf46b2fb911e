"""Kernels that take next to nothing of a call are translated quickly, the others with care."""

import re

import numpy as np
import pytest

import janusjit as jj


def compiled(program, *arguments):
    """Return a program's specialization, of which all settled calls have been right."""
    jitted = jj.jit(background=False)(program)
    for _ in range(4):
        for found, expected in zip(jitted(*arguments), program(*arguments), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)
    assert jitted.stats.graph_calls == 2 and jitted.stats.deopts == 0 and not jitted.stats.host_calls
    return jitted.specializations[0]


def quick_and_other(specialization):
    """Return the names of kernels that are translated quickly, and of the others."""
    source = specialization.compiled.code.source
    found = re.findall(r'^define [^@]*@"?((?:fused|matmul)[.\w]*)"?\((.*)', source, re.M)
    quick = {name for name, rest in found if " optnone" in rest}
    return quick, {name for name, _ in found} - quick


X = np.linspace(-3, 3, 300_000).reshape(1000, 300)
FEW = np.linspace(-1, 1, 7)


def test_kernels_of_a_few_numbers_beside_large_ones_are_translated_quickly():
    def program(x, few):
        return np.maximum(x * 2.0, x * x - 1.0), few - few.mean(), few[::-1] * 3.0

    quick, others = quick_and_other(compiled(program, X, FEW))
    assert len(quick) == 3 and len(others) == 1


def test_all_kernels_of_a_short_call_are_compiled_with_care():
    quick, others = quick_and_other(compiled(lambda few: (few - few.mean(), few[::-1] * 3.0), FEW))
    assert not quick and len(others) == 3


def test_a_kernel_that_also_does_large_arrays_is_compiled_with_care():
    quick, others = quick_and_other(compiled(lambda x, few: (np.exp(x) * 2.0 + x, np.exp(few) * 2.0 + few), X, FEW))
    assert not quick and len(others) == 1


def test_kernels_in_loops_are_compiled_with_care():
    def program(x, few):
        for _ in range(len(x)):
            few = np.sort(few) * 0.5 + few[::-1]
        return np.exp(x) * 2.0 + x, few

    quick, others = quick_and_other(compiled(program, X, FEW))
    assert not quick and len(others) >= 2


@pytest.mark.parametrize("rows", [3, 300])
def test_functions_that_only_call_a_product_are_translated_quickly_if_that_is_not_long(rows):
    a, b = np.linspace(-1, 1, rows * 40).reshape(rows, 40), np.linspace(-2, 1, 40 * 24).reshape(40, 24)
    specialization = compiled(lambda a, b: (a @ b, a.sum()), a, b)
    assert any("register tiles" in kernel.text for kernel in specialization.kernels)
    quick, _ = quick_and_other(specialization)
    assert {name for name in quick if name.startswith("matmul")} == ({"matmul.0"} if rows == 300 else set())
