"""Arrays share memory where eager NumPy's order of memory makes views of them, and are written accordingly."""

import inspect
import re
import runpy

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


def flat_view_of_an_array_in_fortran_order(x, flag):
    made = x.T * 2.0
    flat = made.T.reshape(-1)
    flat += 1.0
    return made


def flat_view_of_an_array_made_like_another(x, flag):
    made = np.zeros_like(x.T)
    flat = made.T.reshape(-1)
    flat += x.sum()
    return made


def copy_in_c_order(x, flag):
    made = x.T.copy()
    flat = made.T.reshape(-1)
    flat += 1.0
    return made, flat


def copy_as_it_lies(x, flag):
    made = np.copy(x.T)
    flat = made.T.ravel()
    flat[flat > 3] = 0.0
    return made


def either_of_two(x, flag):
    made = np.cumsum(x.T, axis=0) * 1.0
    flat = made.T.reshape(-1) if flag > 0 else np.ones(6)
    flat += 1.0
    return made.sum()


def from_turn_to_turn(x, flag):
    made, flat, total = np.zeros((3, 2)), np.zeros(6), 0.0
    for turn in range(60):
        flat += 1.0
        total += made.sum() * (turn + 1)
        made = x.T * 2.0
        flat = made.T.reshape(-1)
    return total, flat


def view_whose_array_is_gone(x, flag):
    def scaled(y):
        return np.sort(y.T * 2.0, axis=0).T.reshape(-1)

    flat = scaled(x)
    flat[flat > 3] = 0.0
    return flat


def part_of_a_flat_view(x, flag):
    made = x.T * 2.0
    rows = made.T.reshape(3, 2)
    rows[1:, 0] = -1.0
    rows[0] *= 3.0
    return made


CASES = [
    (flat_view_of_an_array_in_fortran_order, True),
    (flat_view_of_an_array_made_like_another, True),
    (copy_in_c_order, True),
    (copy_as_it_lies, True),
    (either_of_two, False),
    (from_turn_to_turn, True),
    (view_whose_array_is_gone, True),
    (part_of_a_flat_view, True),
]


@pytest.mark.parametrize(("program", "compiled"), CASES, ids=[program.__name__ for program, _ in CASES])
def test_writes_reach_what_shares_memory(program, compiled):
    step = jj.jit(program, background=False)

    def arguments(number):
        return np.arange(6.0).reshape(2, 3) + number, 1.0 if number % 3 else -1.0

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 10) == []
    assert not compiled or (step.stats.graph_calls >= 7 and step.stats.host_calls == 0)


def test_arrays_that_get_out_share_memory_as_without_jit():
    def program(x):
        made = x.T * 2.0
        return made, made.T.reshape(-1)

    def arguments(number):
        return (np.arange(6.0).reshape(2, 3) + number,)

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 5) == []
    assert step.stats.graph_calls == 0


MAKERS = (
    "{x} * 2.0",
    "np.maximum({x}, 1.0)",
    "np.where({x} > 2, {x}, 0.0)",
    "{x} + np.ones({x}.shape[-1])",
    "np.zeros_like({x})",
    "np.full_like({x}, 3.0)",
    "{x}.copy()",
    "np.copy({x})",
    "{x}.astype(np.float32)",
    "({x} > 2) * {x}",
    "{x}[::-1] - 1.0",
    "np.ascontiguousarray({x})",
    "{x}.sum() * {x}",
    "{x} + {x}.transpose(1, 0, 2).copy().transpose(1, 0, 2)",
)
VIEWS = ("{y}", "{y}.transpose(0, 2, 1)", "{y}.transpose(2, 0, 1)", "{y}.transpose(1, 0, 2)", "{y}.T", "{y}[:, ::2]")
SHAPES = ("-1", "2, -1", "{y}.shape[0], -1", "-1, {y}.shape[-1]", "2, 4, 2, -1", "1, -1")


@pytest.mark.parametrize("seed", range(12))
def test_reshapes_share_memory_exactly_where_those_of_numpy_do(seed, tmp_path):
    rng = np.random.default_rng(seed)
    lines = ["import numpy as np", "def program(x):", "    kept = []"]
    for number in range(4):
        source = rng.choice(VIEWS).format(y="x" if number == 0 else f"a{number - 1}")
        lines += [f"    a{number} = {rng.choice(MAKERS).format(x=source)}"]
        name = rng.choice(VIEWS[:-1]).format(y=f"a{number}")
        lines += [f"    v{number} = {name}", f"    r{number} = v{number}.reshape({rng.choice(SHAPES).format(y=name)})"]
        lines += [f"    r{number} += {number + 1}", f"    kept.append(a{number})"]
    path = tmp_path / "generated.py"
    path.write_text("\n".join([*lines, "    return kept", ""]))
    program = runpy.run_path(str(path))["program"]

    def arguments(number):
        return (np.arange(1024.0).reshape(4, 16, 16) + number,)

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 4) == []
    assert step.stats.graph_calls == 2


GIVES_ITSELF_OR_A_VIEW = """
x.squeeze() | np.squeeze(x, axis=()) | np.expand_dims(x, ()) | np.atleast_2d(x) | x.ravel() | np.real(x) | np.conj(x) |
x.conj() | np.nan_to_num(x, copy=False) | np.moveaxis(x, 0, 0) | x.view() | x.T.T | np.positive(x) | np.roll(x, 0) |
np.rot90(x, 0) | np.rot90(x, 2) | np.flip(x, ()) | np.asarray(x) | np.ascontiguousarray(x) | x[...] |
x.astype(float, copy=False) | x[()] | np.reshape(x, x.shape) | x.reshape(-1) | x.flatten() | np.array(x) |
np.broadcast_to(x, x.shape) | np.broadcast_arrays(x, x)[0] | np.split(x, 1)[0] | np.diagonal(x) | x.__array__() |
np.sum(x, axis=()) | np.rollaxis(x, 0)
"""
LEFT_TO_PYTHON = ("np.expand_dims", "np.broadcast_to", "np.diagonal")


def WHAT(x):  # noqa: N802 - stands for an expression
    return x


def itself_or_a_view(x):
    made = x * 1.5
    turned = x.T * 1.5
    results = [x, made, turned, WHAT(x), WHAT(made), WHAT(turned)]
    made[0] = 7.0
    turned[1] = 8.0
    return results


@pytest.mark.parametrize("expression", [part.strip() for part in GIVES_ITSELF_OR_A_VIEW.split("|")])
def test_an_array_itself_a_view_or_a_copy(expression, tmp_path):
    path = tmp_path / "generated.py"
    text = inspect.getsource(itself_or_a_view)
    for name in ("x", "made", "turned"):
        text = text.replace(f"WHAT({name})", re.sub(r"\bx\b", name, expression))
    path.write_text("import numpy as np\n\n" + text)
    program = runpy.run_path(str(path))["itself_or_a_view"]

    def arguments(number):
        return (np.arange(16.0).reshape(4, 4) + number,)

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 4) == []
    assert step.stats.graph_calls == (0 if expression.startswith(LEFT_TO_PYTHON) else 2)
