"""The results of operations lie in memory as NumPy lays them out: that says which reshapes of them are views."""

import runpy

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side

RESULTS = """
x @ np.ones((5, 2)) | x @ np.ones((3, 2, 5, 2)) | np.ones((3, 4)) @ x | x.transpose(0, 1, 3, 2) @ x |
np.einsum("abij->baij", x * 1.0) | np.einsum("abij,jk->kabi", x, np.ones((5, 2))) | np.einsum("abij,abij->jb", x, x) |
np.einsum("abij,jk->abik", x, np.ones((5, 2)), optimize=True) | np.einsum("aij->ija", x[0]) |
np.pad(x, 1) | np.pad(x, ((0, 1), (1, 0), (2, 2), (0, 0)), mode="edge") | np.diagonal(x, axis1=0, axis2=1) * 1.0 |
np.choose((x > 9).astype(int), [x, x * 2.0]) | np.tile(x, 1) | np.tile(x, (1, 2, 1, 1)) |
x[np.array([True, False, True])] | x.sum(axis=2) | x.transpose(2, 3, 0, 1).max(axis=1) |
np.tensordot(x, np.ones((5, 2)), 1) | np.nonzero(x > 5)[0] * 1.0
"""
#: of these, eager's order is not followed where operands are not in C order; then the function stays in Python
NOT_FOLLOWED = ("np.tile", "x[", "x.sum", "x.transpose(2, 3", "np.einsum(\"abij,jk->abik\"")
ORDERS = {
    "swapped": "(given.transpose(1, 0, 2, 3) * 1.0).transpose(1, 0, 2, 3)",
    "C": "given + 1.0",
    "F": "given.reshape(5, 4, 2, 3).T",
}


def generated(text, name, tmp_path):
    path = tmp_path / "generated.py"
    path.write_text("import numpy as np\n\n" + text)
    return runpy.run_path(str(path))[name]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("expression", [part.strip() for part in RESULTS.split("|")])
def test_reshapes_of_results_are_views_where_those_of_numpy_are(expression, order, tmp_path):
    text = f"""
def program(given):
    x = {ORDERS[order]}
    made = {expression}
    made.reshape(-1)[:3] = -1.0
    made.T.reshape(-1)[4] = -2.0
    made.ravel()[5] = -3.0
    return made * 1.0
"""
    program = generated(text, "program", tmp_path)
    step = jj.jit(program, background=False)

    def arguments(number):
        return ((np.arange(120.0) + number).reshape(3, 2, 4, 5),)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 4) == []
    assert step.stats.graph_calls == 2 or expression.startswith(NOT_FOLLOWED)


def axes_in_another_order(a, strided):
    turned = np.einsum("ij->ji", a)
    turned += 1.0
    np.einsum("ji", a)[0] = 5.0
    return a, turned, np.einsum("ij", a) is a


def the_diagonal_is_set(a, strided):
    np.einsum("ii->i", a)[:] = 7.0
    made = a * 2.0
    total = np.einsum("ii->i", made).sum()
    return a, made, total


def flat_view_of_a_strided_argument(a, strided):
    flat = strided.reshape(-1)
    flat[0] = 100.0
    return strided.sum(), flat


def flat_view_of_a_strided_argument_is_returned(a, strided):
    return strided.reshape(6, -1)


def raveled(a, strided):
    rows = strided[0, 0]
    rows.ravel()[0] = 100.0
    copied = np.ascontiguousarray(rows)
    copied[1] = 50.0
    return strided, copied


@pytest.mark.parametrize(
    ("program", "host_calls"),
    [
        (axes_in_another_order, 0),
        (the_diagonal_is_set, 2),
        (flat_view_of_a_strided_argument, 2),
        (flat_view_of_a_strided_argument_is_returned, 1),
        (raveled, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_arrays_that_share_memory_with_an_argument(program, host_calls):
    """What is not known is asked of Python, once."""

    def arguments(number):
        apart = np.arange(48.0).reshape(2, 3, 4, 2) + number
        return np.arange(9.0).reshape(3, 3) + number, apart[..., 0]

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 5) == []
    assert step.stats.graph_calls == 3
    assert host_calls is None or step.stats.host_calls <= 3 * host_calls


def test_a_row_of_a_strided_argument():
    """Whether one axis is contiguous is not known either."""

    def program(x):
        x.ravel()[0] = 100.0
        return x * 1.0

    step = jj.jit(program, background=False)

    def arguments(number):
        return (np.arange(16.0 + 2 * number)[:: 1 + (number > 1)][:8],)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 6) == []
    assert step.stats.graph_calls >= 2


def test_what_reshapes_share_depends_on_sizes() -> None:
    """A transposed array of one row or column is viewed, another copied: sizes that vary ask Python which."""

    def turned(x: np.ndarray) -> np.ndarray:
        return x.T.reshape(2, -1)

    step = jj.jit(turned, background=False, warmup=1)
    for rows, columns in [(4, 4), (4, 4), (6, 4), (8, 4), (1, 2), (2, 2), (10, 4), (1, 4), (2, 1), (6, 4)]:
        x = np.arange(float(rows * columns)).reshape(rows, columns)
        got, expected = step(x), turned(x)
        np.testing.assert_array_equal(got, expected)
        assert np.shares_memory(got, x) == np.shares_memory(expected, x)
    assert step.stats.graph_calls >= 5
