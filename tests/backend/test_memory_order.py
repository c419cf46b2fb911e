"""The order of axes in the memory of results: NumPy's, where the program tells which that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture.numpy_memory import axis_order, c_strides, in_common_order
from janusjit.backend.layout import ordered
from janusjit.ir.dims import symbol
from janusjit.ir.types import TensorType

PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: x.T + 1,
    "copied first": lambda x: x.T.copy() + 1,
    "of three dimensions": lambda x: ((x[:, :, None] * np.arange(3.0)).transpose(1, 2, 0) * 2, x.T[:, None, :] * 3),
    "operands that agree": lambda x: (x.T * x.T, np.zeros_like(x.T), x.T.astype(np.float32)),
    "operands that disagree": lambda x: x.T + np.ascontiguousarray(x.T),
    "with a row": lambda x: x.T + x[:, 0],
    "of a result": lambda x: np.abs((x + 1).T),
    "a view of it too": lambda x: (lambda y: (y, y[1:], y.T))(x.T + 1),
    "twice": lambda x: (lambda y: {"a": y, "b": [y]})(x.T - 1),
    "a view of a result": lambda x: (x * 2).T,
    "a flat copy of it too": lambda x: (lambda y: (y, y[1:], y.flatten()))(x.T + 1),
    "written in part": lambda x: written_in_part(x.T * 2),
    "of einsum": lambda x: (lambda y: (y, y[1:, ::2], y.T, y[None]))(np.einsum("ij,jk->ki", x, x.T)),
    "an array without gaps of a part": lambda x: x[:, 1:].T * 2,
}


def written_in_part(made: Any) -> Any:
    made[0] += 1.0
    made[:, 1] = made.sum()
    return made, made[1:], made[::-1, 1:3].T


def assert_laid_out_alike(got: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(got, expected)
        steps = [[s for dim, s in zip(one.shape, one.strides, strict=True) if dim != 1] for one in (got, expected)]
        assert steps[0] == steps[1] and got.dtype == expected.dtype
        flags = ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA", "WRITEABLE")
        assert [got.flags[flag] for flag in flags] == [expected.flags[flag] for flag in flags]
    else:
        assert type(got) is type(expected) and len(got) == len(expected)
        parts = expected if isinstance(expected, dict) else range(len(expected))
        for part in parts:
            assert_laid_out_alike(got[part], expected[part])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_laid_out_as_by_numpy(name: str, order: Any) -> None:
    program = PROGRAMS[name]
    if order == "F" and name.startswith("an array"):
        pytest.skip("of a part of such an array, which axis steps further is not followed")
    jitted = jj.jit(lambda x: program(x), background=False)
    x = np.asarray(np.random.default_rng(0).standard_normal((5, 7)), order=order)
    for _ in range(5):
        assert_laid_out_alike(jitted(x), program(x))
    assert jitted.stats.graph_calls == 3 and jitted.stats.host_calls == 0 and jitted.stats.deopts == 0


def test_sizes_that_vary() -> None:
    def program(x: Any) -> Any:
        return x.T + 1, x.T * x.T[:, :1], x[:, None].T * 2

    jitted = jj.jit(program, background=False)
    for rows, columns in [(5, 7)] * 4 + [(6, 8), (9, 9), (70, 3), (4, 4)]:
        x = np.random.default_rng(rows).standard_normal((rows, columns))
        assert_laid_out_alike(jitted(x), program(x))
    assert jitted.stats.graph_calls == 6 and jitted.stats.host_calls == 0


def test_what_is_wanted_in_c_order_inside_is_in_c_order() -> None:
    def program(x: Any) -> Any:
        y = x.T + 1
        flat = y.reshape(-1)
        z = x.T * 2
        z[0] = 3
        return y, flat.sum(), z, flat[:3].copy()

    jitted = jj.jit(program, background=False)
    x = np.random.default_rng(0).standard_normal((5, 7))
    for _ in range(5):
        for got, expected in zip(jitted(x), program(x), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-14)
    assert jitted.stats.graph_calls == 3 and jitted.stats.deopts == 0


def test_orders_of_symbolic_sizes() -> None:
    n, m = symbol("n"), symbol("m")
    c = c_strides((n, m))
    f = tuple(reversed(c_strides((m, n))))
    assert axis_order((n, m), c) == () and axis_order((n, m), f) == (1, 0)
    assert in_common_order((n, m), [((n, m), f), ((n, m), f)]) == f
    assert in_common_order((n, m), [((n, m), f), ((n, m), c)]) == c
    assert axis_order((n, m), (n, m)) == ()  # which of them steps further is not known
    assert axis_order((2, 3, 4), (1, 2, 6)) == (2, 1, 0)
    assert ordered(TensorType("f32", (n, m)), (1, 0)).strides == (4, 4 * n)


def test_python_finds_them_laid_out_as_by_numpy() -> None:
    """In the middle of a function too: what it makes of them there shares their memory, or does not."""

    def program(x: Any, kept: dict[str, Any]) -> Any:
        made = x.T * 2
        made[0] += 1.0
        kept["made"], kept["part"] = made, made[1:]
        text = format(made.flags.f_contiguous)
        flat = made.ravel()
        flat[0] = 9.0
        return text, made, flat

    jitted = jj.jit(program, background=False)
    for number in range(5):
        x = np.arange(6.0).reshape(2, 3) + number
        kept: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        got, expected = jitted(x, kept[0]), program(x, kept[1])
        assert got[0] == expected[0] == "True"
        assert_laid_out_alike((*got[1:], kept[0]), (*expected[1:], kept[1]))
        assert kept[0]["made"] is got[1] and kept[0]["part"].base is got[1]
    assert jitted.stats.graph_calls == 3 and jitted.stats.host_calls > 0
