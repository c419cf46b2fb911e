"""Each cause, triggered by a short program on the real compiler: the right code, expression, expected, got and line."""

from __future__ import annotations

import inspect
import types

import numpy as np
import pytest

import janusjit as jj

RATE = 0.5
MODE = "fast"


def scale(x):
    return x * 2.0


def shape_rank_dtype(x, y):
    return x + y


def branch(x):
    if x.sum() > 0.0:
        return x * 2.0
    return x - 1.0


def python_branch(x, flag):
    if flag:
        return x * 2.0
    return x - 1.0


def global_value(x):
    if MODE == "fast":
        return x * RATE
    return x


def global_function(x):
    return scale(x) + 1.0


def list_length(values):
    total = values[0] * 1.0
    for value in values[1:]:
        total = total + value
    return total


def dict_keys(table):
    return sum(table[name] for name in table)


def attribute(owner):
    return owner.activation(owner.weight)


def lookup(x, index):
    return x[index] * 2.0


def overlap(x, y):
    x += 1.0
    return x * y


def size_of_loop(x, count):
    for _ in range(count):
        x = x * 1.5
    return x


def divide(x, y):
    return x / y


def make_closure():
    factor = "double"

    def closure(x):
        return x * 2.0 if factor == "double" else x

    def change():
        nonlocal factor
        factor = "keep"

    return closure, change


def settle(function, *arguments, calls=6):
    step = jj.jit(function)
    for _ in range(calls):
        step(*arguments)
    assert step.stats.graph_calls >= 3, step.reason
    assert step.stats.deopts == 0
    return step


def only_row(step):
    (function,) = step.report().functions
    (row,) = (row for row in function.rows if not row.reason)
    return row


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def check(row, code, expression, expected, got, where=None):
    assert (row.code, row.expression, row.expected, row.got[0]) == (code, expression, expected, got)
    assert row.count == 1
    if where is not None:
        assert (row.where.file, row.where.line) == (__file__, where)
    assert row.call_site.file == __file__


X = np.arange(1.0, 7.0)


@pytest.mark.parametrize(
    ("other", "code", "expression", "expected", "got"),
    [
        (np.arange(1.0, 5.0), "array.shape", "x.shape[0]", "6", "4"),
        (np.ones((6, 6)), "array.rank", "x.ndim", "1", "2"),
        (np.ones(6, "f4"), "array.dtype", "x.dtype", "float64", "float32"),
        (np.ones(12)[::2], "array.layout", "x.strides", "C-contiguous", "strided"),
        (3.0, "python.type", "x", "ndarray", "3.0"),
        (np.arange(6.0).astype(">f8"), "array.dtype", "x.dtype", "float64", ">f8"),
    ],
)
def test_arrays(other, code, expression, expected, got):
    step = settle(scale, X)
    np.testing.assert_array_equal(step(other), scale(other))
    check(only_row(step), code, expression, expected, got, line_of(scale, "def"))


def test_simultaneous_causes_are_all_listed():
    step = settle(shape_rank_dtype, X, X + 1.0)
    step(np.ones((2, 6)), np.ones(6, "f4"))
    row = only_row(step)
    assert {(row.code, row.expression), *((d.code, d.expression) for d in row.also)} == {
        ("array.rank", "x.ndim"),
        ("array.dtype", "y.dtype"),
    }


def test_branch_on_data():
    step = settle(branch, X)
    np.testing.assert_array_equal(step(-X), branch(-X))
    row = only_row(step)
    assert row.code == "branch"
    assert "x.sum() > 0.0" in row.expression
    assert row.where.line == line_of(branch, "if x.sum()")
    assert row.history.count == 1
    for _ in range(4):
        step(-X)
        step(X)
    assert step.stats.deopts == 1  # both directions are in the graph now


def test_branch_on_a_python_value():
    step = settle(python_branch, X, True)
    np.testing.assert_array_equal(step(X, False), python_branch(X, False))
    check(only_row(step), "python.identity", "flag", "True", "False")


def test_kind_of_a_number():
    step = settle(shape_rank_dtype, X, 2.0)
    step(X, 2)
    row = only_row(step)
    assert (row.code, row.expression, row.expected) == ("python.scalar", "y", "float")
    assert "int" in row.got[0]


def test_global_value(monkeypatch):
    step = settle(global_value, X)
    monkeypatch.setattr("builtins.len", len)  # nothing to do with it
    monkeypatch.setitem(global_value.__globals__, "MODE", "slow")
    np.testing.assert_array_equal(step(X), X)
    check(only_row(step), "python.global", "MODE", "'fast'", "'slow'", line_of(global_value, "MODE =="))


def test_global_number_needs_no_guard(monkeypatch):
    step = settle(global_value, X)
    monkeypatch.setitem(global_value.__globals__, "RATE", 4.0)
    np.testing.assert_array_equal(step(X), X * 4.0)
    assert step.stats.deopts == 0


def test_global_function(monkeypatch):
    step = settle(global_function, X)
    monkeypatch.setitem(global_function.__globals__, "scale", lambda x: x * 3.0)
    np.testing.assert_array_equal(step(X), X * 3.0 + 1.0)
    row = only_row(step)
    assert (row.code, row.expression) == ("python.global", "scale")
    assert row.where.line == line_of(global_function, "scale(x)")


def test_closure():
    closure, change = make_closure()
    step = settle(closure, X)
    change()
    np.testing.assert_array_equal(step(X), X)
    row = only_row(step)
    assert (row.code, row.expression, row.expected, row.got) == ("python.closure", "factor", "'double'", ("'keep'",))


def test_length_of_a_list():
    step = settle(list_length, [X, X])
    np.testing.assert_array_equal(step([X, X, X]), 3 * X)
    check(only_row(step), "python.size", "len(values)", "2", "3")


def test_keys_of_a_dict():
    step = settle(dict_keys, {"a": X, "b": X})
    np.testing.assert_array_equal(step({"a": X, "c": X}), 2 * X)
    row = only_row(step)
    assert row.code in ("python.keys", "python.presence", "python.size")
    assert "table" in row.expression


def test_attribute():
    owner = types.SimpleNamespace()
    del owner

    class Layer:
        def __init__(self):
            self.activation, self.weight = np.tanh, X

    layer = Layer()
    step = settle(attribute, layer)
    layer.activation = np.exp
    np.testing.assert_allclose(step(layer), np.exp(X), rtol=1e-15)
    row = only_row(step)
    assert (row.code, row.expression) == ("python.attribute", "owner.activation")
    assert row.where.line == line_of(attribute, "owner.activation")


def test_index_out_of_bounds_is_python_s_to_raise():
    step = settle(lookup, X, 2)
    with pytest.raises(IndexError, match="out of bounds"):
        step(X, 60)
    row = only_row(step)
    assert row.code == "index.bounds"
    assert row.got == ("raised IndexError",)
    assert row.where.line == line_of(lookup, "x[index]")
    assert step(X, 3) == 8.0
    assert step.stats.specializations == 1


def test_overlapping_arrays():
    step = settle(overlap, X.copy(), X)
    base = np.arange(8.0)
    expected = overlap(base[:6].copy(), base[2:8].copy())
    shared = base.copy()
    with_python = overlap(shared[:6], shared[2:8])
    np.testing.assert_array_equal(step(base[:6], base[2:8]), with_python)
    np.testing.assert_array_equal(base, shared)
    assert not np.array_equal(expected, with_python)
    row = next(row for function in step.report().functions for row in function.rows if not row.reason)
    assert row.code == "array.aliasing"


def test_error_state():
    step = settle(divide, X, X)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        step(X, np.zeros(6))
    (function,) = step.report().functions
    assert {row.code for row in function.rows} == {"environment.errstate", "fp.flags"}


def test_what_is_unsupported_names_the_line():
    def unsupported(x):
        values = x * 1.0
        yield values

    step = jj.jit(unsupported)
    for _ in range(4):
        list(step(X))
    (function,) = step.report().functions
    (row,) = function.rows
    assert row.reason
    assert row.category in ("supportable", "fundamental")
    assert row.where.file == __file__
    assert line_of(unsupported, "def") <= row.where.line <= line_of(unsupported, "yield")


def test_a_varying_trip_count_settles():
    step = settle(size_of_loop, X, 3)
    for count in (4, 5, 9, 2, 0, 7):
        np.testing.assert_array_equal(step(X, count), size_of_loop(X, count))
    assert step.stats.specializations <= 2
    assert step.stats.deopts <= 2


def test_every_code_is_documented():
    from pathlib import Path

    from janusjit.ir import guards

    text = (Path(__file__).parent.parent.parent / "docs" / "report.md").read_text()
    codes = {kind.code for kind in vars(guards).values() if isinstance(kind, type) and getattr(kind, "code", "")}
    assert len(codes) > 10
    missing = [code for code in codes if isinstance(code, str) and f"`{code}`" not in text]
    assert not missing
