"""Compiled exits make the Python objects their recipes describe, and lose or leak none."""

from __future__ import annotations

import collections
import gc
import math
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janusjit.ir.boxes import (
    ArrayBox,
    Box,
    CallBox,
    ConstantBox,
    DictBox,
    EitherBox,
    ObjectBox,
    PlaceBox,
    ScalarBox,
    SequenceBox,
    SetItem,
    ViewBox,
)
from janusjit.ir.guards import ArrayLayout, EntryGuard, ScalarTypeIs, TypeIs
from janusjit.ir.places import AttributePlace, ItemPlace
from janusjit.ir.types import DTYPES
from tests.backend.entry_only import Compiled, arguments, compile_entry, entry_graph, outcome

A, B, C = arguments(3)
ARRAY = ArrayLayout(place=A, dtype="f64", shape=(2, 3))


def boxed(result: Box, guards: tuple[EntryGuard, ...], *values: Any) -> Any:
    """Compile, call, and check that no call leaks a reference to its arguments."""
    native = compile_entry(entry_graph(len(values), guards, result))
    made = native.entry(*values)
    gc.collect()
    before = [sys.getrefcount(value) for value in values]
    for _ in range(50):
        native.entry(*values)
    gc.collect()
    assert all(abs(sys.getrefcount(v) - count) < 10 for v, count in zip(values, before, strict=True))
    assert native.status.hits == 51
    return made


SCALARS = {"int": st.integers(-(2**63), 2**63 - 1), "float": st.floats(), "bool": st.booleans()}
KINDS = [*SCALARS, *(f"numpy.{name}" for name in DTYPES)]
IDENTITY = {
    kind: compile_entry(entry_graph(1, [ScalarTypeIs(place=A, kind=kind)], ScalarBox(0, kind))) for kind in KINDS
}


@given(st.data())
def test_scalars_come_back_as_they_were(data: st.DataObject) -> None:
    for kind, native in IDENTITY.items():
        if kind in SCALARS:
            value = data.draw(SCALARS[kind])
        else:
            dtype = DTYPES[kind.removeprefix("numpy.")]
            raw = data.draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
            value = np.frombuffer(bytes([raw[0] & 1]) if kind == "numpy.bool" else raw, dtype)[0]
        result = native.entry(value)
        assert type(result) is type(value)
        if isinstance(value, (float, np.floating)):
            assert np.array(result).tobytes() == np.array(value).tobytes() or (math.isnan(value) and math.isnan(result))
        else:
            assert result == value


def test_a_scalar_may_change_its_kind() -> None:
    assert boxed(ScalarBox(0, "int"), (ScalarTypeIs(place=A, kind="numpy.u64"),), np.uint64(2**64 - 1)) == 2**64 - 1
    assert boxed(ScalarBox(0, "int"), (ScalarTypeIs(place=A, kind="numpy.i8"),), np.int8(-3)) == -3
    assert boxed(ScalarBox(0, "int"), (ScalarTypeIs(place=A, kind="numpy.u8"),), np.uint8(253)) == 253
    assert boxed(ScalarBox(0, "float"), (ScalarTypeIs(place=A, kind="numpy.f32"),), np.float32(0.1)) == np.float32(0.1)


def test_one_of_several_kinds_is_made() -> None:
    guards = (ScalarTypeIs(place=A, kind="int"), ScalarTypeIs(place=B, kind="float"))
    constant = object()
    options = (
        *((0, ConstantBox(constant)), (3, ScalarBox(1, "float")), (-1, ScalarBox(1, "numpy.f64"))),
        *((4, ScalarBox(2, "bool")), (5, ScalarBox(0, "int"))),
    )
    result = SequenceBox(tuple, (ScalarBox(1, "float"), EitherBox(0, options), SequenceBox(list, ())))
    before = sys.getrefcount(constant)
    expected = {0: constant, 3: 2.5, -1: np.float64(2.5), 4: True, 5: 5}
    for which, item in expected.items():
        made = boxed(result, (*guards, ScalarTypeIs(place=C, kind="bool")), which, 2.5, True)
        assert made == (2.5, item, []) and type(made[1]) is type(item)
        del made
    assert sys.getrefcount(constant) - before < 60  # what holds the compiled entries' constants, not one for each call


def test_constants_and_places_are_the_very_objects() -> None:
    constant = object()
    assert boxed(ConstantBox(constant), ()) is constant
    argument = object()
    assert boxed(PlaceBox(A), (), argument) is argument
    inner = object()
    assert boxed(PlaceBox(ItemPlace(A, 1)), (TypeIs(place=A, type_=list),), [0, inner]) is inner
    assert boxed(PlaceBox(AttributePlace(A, "real")), (), 2.5) == 2.5


def test_a_place_with_nothing_there_deoptimizes() -> None:
    native = compile_entry(entry_graph(1, (TypeIs(place=A, type_=list),), PlaceBox(ItemPlace(A, 1))))
    result, failed = outcome(native, [0])
    assert result is Compiled.DEOPTIMIZED
    assert failed < -1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["C", "F", "any"])
def test_array_boxes_own_a_copy(dtype: str, layout: str) -> None:
    source = np.arange(24).reshape(4, 6).astype(DTYPES[dtype])
    source = {"C": source, "F": np.asfortranarray(source), "any": source[::-1, ::2]}[layout]
    made = boxed(ArrayBox(0), (ArrayLayout(place=A, dtype=dtype, shape=source.shape, layout=layout),), source)
    assert made.dtype is DTYPES[dtype]
    assert np.array_equal(made, source)
    assert made.flags.owndata and made.flags.c_contiguous and made.flags.writeable and made.base is None
    assert not np.may_share_memory(made, source)
    assert sys.getrefcount(made) == 2


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1)])
def test_arrays_of_odd_shapes(shape: tuple[int, ...]) -> None:
    made = boxed(ArrayBox(0), (ArrayLayout(place=A, dtype="f64", shape=shape),), np.full(shape, 7.0))
    assert made.shape == shape
    assert type(made) is np.ndarray
    assert np.array_equal(made, np.full(shape, 7.0))


def test_a_scalar_operand_becomes_a_0d_array() -> None:
    made = boxed(ArrayBox(0), (ScalarTypeIs(place=A, kind="float"),), 2.5)
    assert type(made) is np.ndarray and made.shape == () and made.dtype == np.float64 and made[()] == 2.5


def test_views_keep_their_base() -> None:
    source = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    view = boxed(ViewBox(0, PlaceBox(A)), (ARRAY,), source)
    assert view is not source and view.base is source
    assert view.strides == source.strides and view.flags.writeable
    view[0, 0] = 9
    assert source[0, 0] == 9
    source.flags.writeable = False
    assert not boxed(ViewBox(0, PlaceBox(A)), (ARRAY,), source).flags.writeable
    both = boxed(SequenceBox(tuple, (ViewBox(0, ArrayBox(0, key=1)), ArrayBox(0, key=1))), (ARRAY,), source)
    assert both[0].base is both[1]
    assert np.array_equal(both[0], source) and np.shares_memory(*both)
    assert not np.may_share_memory(both[0], source)


def test_a_view_of_a_view_refers_to_the_owner() -> None:
    owner = np.arange(12.0)
    assert boxed(ViewBox(0, PlaceBox(A)), (ARRAY,), owner[6:].reshape(2, 3)).base is owner


@pytest.mark.parametrize("type_", [tuple, list, set, frozenset])
def test_sequences(type_: type) -> None:
    items = (ConstantBox("a"), ScalarBox(0, "int"), ConstantBox(None), PlaceBox(B))
    guards = (ScalarTypeIs(place=A, kind="int"),)
    assert boxed(SequenceBox(type_, items), guards, 5000, "b") == type_(["a", 5000, None, "b"])
    assert type(boxed(SequenceBox(type_, ()), guards, 5000, 6000)) is type_
    assert boxed(SequenceBox(type_, ()), guards, 5000, 6000) == type_()


def test_dicts_keep_their_order() -> None:
    items = ((ConstantBox("z"), ScalarBox(0, "int")), (ConstantBox("a"), SequenceBox(list, (PlaceBox(A),))))
    made = boxed(DictBox(items), (ScalarTypeIs(place=A, kind="int"),), 12345)
    assert list(made.items()) == [("z", 12345), ("a", [12345])]


class Plain:
    def __init__(self) -> None:
        raise AssertionError("__init__ must not run")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AssertionError("__setattr__ must not run")


class Slotted:
    __slots__ = ("left", "right")


class WithNew:
    def __new__(cls) -> WithNew:
        made = super().__new__(cls)
        object.__setattr__(made, "new_ran", True)
        return made


@pytest.mark.parametrize("type_", [Plain, Slotted, WithNew])
def test_objects(type_: type) -> None:
    guards = (ScalarTypeIs(place=A, kind="float"),)
    made = boxed(ObjectBox(type_, (("left", ScalarBox(0, "float")), ("right", ConstantBox("r")))), guards, 1.5)
    assert type(made) is type_
    assert (made.left, made.right) == (1.5, "r")
    assert hasattr(made, "new_ran") == (type_ is WithNew)


def test_calls() -> None:
    Point = collections.namedtuple("Point", "x y")
    guards = (ScalarTypeIs(place=A, kind="int"),)
    assert boxed(CallBox(Point, (ScalarBox(0, "int"), ConstantBox("y"))), guards, 4) == Point(4, "y")
    assert boxed(CallBox(slice, (ConstantBox(None), ScalarBox(0, "int"))), guards, 4) == slice(None, 4)


def test_one_key_is_one_object() -> None:
    shared = ArrayBox(0, key=7)
    recipe = SequenceBox(tuple, (shared, ArrayBox(0, key=7), ArrayBox(0), SequenceBox(list, (shared,), key=8), shared))
    first, second, other, inner, last = boxed(recipe, (ARRAY,), np.ones((2, 3)))
    assert first is second is last is inner[0]
    assert other is not first


def test_what_is_made_is_freed_with_its_holder() -> None:
    class Target:
        pass

    inner = SequenceBox(list, (ArrayBox(0, key=1),))
    box = ObjectBox(Target, (("items", DictBox(((ConstantBox("k"), inner),))), ("array", ArrayBox(0, key=1))))
    made = boxed(box, (ARRAY,), np.ones((2, 3)))
    assert made.array is made.items["k"][0]
    gone = weakref.ref(made.array)
    del made
    assert gone() is None


def test_a_failure_while_boxing_deoptimizes_before_any_effect() -> None:
    def fail() -> None:
        raise ValueError

    target: dict[str, Any] = {}
    array = np.ones((2, 3))
    box = SequenceBox(tuple, (ArrayBox(0), SequenceBox(list, (PlaceBox(A),)), CallBox(fail, ())))
    effect = SetItem(PlaceBox(B), ConstantBox("x"), ConstantBox(1))
    native = compile_entry(entry_graph(2, (ARRAY,), box, (effect,)))
    before = sys.getrefcount(array)
    for _ in range(100):
        assert native.entry(array, target) is Compiled.DEOPTIMIZED
    assert native.status.failed < -1 and native.status.hits == 0
    assert sys.getrefcount(array) == before
    assert target == {}


def test_huge_results_deoptimize_when_there_is_no_memory() -> None:
    base = np.zeros(1)
    huge = np.lib.stride_tricks.as_strided(base, (2**40, 2**10), (0, 0))
    native = compile_entry(
        entry_graph(1, (ArrayLayout(place=A, dtype="f64", shape=huge.shape, layout="any"),), ArrayBox(0))
    )
    assert native.entry(huge) is Compiled.DEOPTIMIZED
    assert native.status.failed < -1
