"""Binding agrees with Python's own for every kind of signature."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janusjit.runtime.binding import Binder

FUNCTIONS = [
    lambda: None,
    lambda a: None,
    lambda a, b=2: None,
    lambda a, /, b, c=3: None,
    lambda a=1, /, *, b=2: None,
    lambda *args: None,
    lambda a, *args, b, **others: None,
    lambda **others: None,
    lambda a, /, b=2, *args, c, d=4, **others: None,
    lambda self, args=(): None,
]
VALUES = st.integers(0, 9)


@given(
    st.sampled_from(FUNCTIONS),
    st.lists(VALUES, max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "self", "args"]), VALUES, max_size=3),
)
def test_binds_as_python_does(function, args, kwargs):
    signature = inspect.signature(function)
    binder = Binder(function)
    try:
        expected = signature.bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            binder(args, kwargs)
        return
    expected.apply_defaults()
    assert binder(args, kwargs) == tuple(expected.arguments.values())
    assert binder.names == tuple(signature.parameters)


def test_arity_says_which_calls_need_no_binding():
    assert [Binder(function).arity for function in FUNCTIONS] == [0, 1, 2, 3, -1, -1, -1, -1, -1, 2]
