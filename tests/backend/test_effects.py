"""Compiled exits commit the effects their recipes describe, in order, all or none."""

from __future__ import annotations

import gc
import sys
import types
from typing import Any

import numpy as np
import pytest

from janusjit.ir.boxes import (
    ArrayBox,
    CallBox,
    CallFunction,
    ConstantBox,
    DeleteAttribute,
    DeleteGlobal,
    DeleteItem,
    DictBox,
    Effect,
    ListAppend,
    PlaceBox,
    ReplaceContents,
    ScalarBox,
    SequenceBox,
    SetAttribute,
    SetCell,
    SetGlobal,
    SetItem,
    WriteArray,
)
from janusjit.ir.guards import ArrayLayout, EntryGuard, ScalarTypeIs, TypeIs
from janusjit.ir.places import AttributePlace
from tests.backend.entry_only import Compiled, arguments, compile_entry, entry_graph

A, B, C = arguments(3)
INT = ScalarTypeIs(place=B, kind="int")
VALUE = ScalarBox(0, "int")


def committed(effects: list[Effect], *values: Any, guards: tuple[EntryGuard, ...] = ()) -> Compiled:
    native = compile_entry(entry_graph(len(values), guards, ConstantBox("done"), effects))
    assert native.entry(*values) == "done"
    return native


class Plain:
    pass


class Slotted:
    __slots__ = ("value",)


@pytest.mark.parametrize("owner", [Plain(), Slotted(), types.ModuleType("module"), Plain])
def test_attributes(owner: Any) -> None:
    native = committed([SetAttribute(PlaceBox(A), "value", VALUE)], owner, 5000, guards=(INT,))
    assert owner.value == 5000
    assert native.entry(owner, 6000) == "done"
    assert owner.value == 6000
    committed([DeleteAttribute(PlaceBox(A), "value")], owner)
    assert not hasattr(owner, "value")


def test_items() -> None:
    mapping: dict[str, Any] = {"old": 1}
    committed(
        [SetItem(PlaceBox(A), ConstantBox("new"), VALUE), DeleteItem(PlaceBox(A), ConstantBox("old"))],
        mapping,
        7000,
        guards=(INT,),
    )
    assert mapping == {"new": 7000}
    listed = [1, 2, 3]
    committed([SetItem(PlaceBox(A), ConstantBox(1), VALUE)], listed, 7000, guards=(INT,))
    assert listed == [1, 7000, 3]


def test_lists_and_sets() -> None:
    listed = [1, 2]
    committed([ListAppend(PlaceBox(A), VALUE), ListAppend(PlaceBox(A), ConstantBox("x"))], listed, 7000, guards=(INT,))
    assert listed == [1, 2, 7000, "x"]
    committed([ReplaceContents(PlaceBox(A), (VALUE, PlaceBox(A)))], listed, 8000, guards=(INT,))
    assert listed[0] == 8000 and listed[1] is listed and len(listed) == 2
    del listed[:]
    members = {1, 2}
    committed([ReplaceContents(PlaceBox(A), (VALUE, ConstantBox(2)))], members, 8000, guards=(INT,))
    assert members == {8000, 2}


def test_globals_and_cells() -> None:
    namespace = {"old": 1}
    committed([SetGlobal(namespace, "new", VALUE), DeleteGlobal(namespace, "old")], None, 7000, guards=(INT,))
    assert namespace == {"new": 7000}
    cell = types.CellType()
    committed([SetCell(cell, VALUE)], None, 7000, guards=(INT,))
    assert cell.cell_contents == 7000


def test_effects_run_in_order_and_share_objects() -> None:
    guard = ArrayLayout(place=B, dtype="f64", shape=(2,))
    shared = ArrayBox(0, key=1)
    log: list[Any] = []
    holder = Plain()
    committed(
        [
            SetAttribute(PlaceBox(A), "first", shared),
            CallFunction(ConstantBox(lambda **named: log.append((holder.first, named))), (), (("now", shared),)),
            SetAttribute(PlaceBox(A), "second", SequenceBox(list, (shared,))),
            CallFunction(ConstantBox(log.append), (DictBox(()),)),
        ],
        holder,
        np.ones(2),
        guards=(guard,),
    )
    assert log == [(holder.first, {"now": holder.first}), {}]
    assert holder.second[0] is holder.first is log[0][0]


def test_print(capsys: pytest.CaptureFixture[str]) -> None:
    call = CallFunction(
        ConstantBox(print), (ConstantBox("x ="), VALUE), (("sep", ConstantBox("")), ("end", ConstantBox(";")))
    )
    native = committed([call], None, 42, guards=(INT,))
    native.entry(None, 43)
    assert capsys.readouterr().out == "x =42;x =43;"


def test_a_call_that_raises_propagates_after_what_came_before() -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise ValueError("closed file")

    mapping: dict[str, Any] = {}
    effects: list[Effect] = [
        SetItem(PlaceBox(A), ConstantBox("before"), VALUE),
        CallFunction(ConstantBox(print), (VALUE,), (("file", ConstantBox(Closed())),)),
        SetItem(PlaceBox(A), ConstantBox("after"), VALUE),
    ]
    native = compile_entry(entry_graph(2, (INT,), ConstantBox(None), effects))
    before = sys.getrefcount(mapping)
    for _ in range(20):
        with pytest.raises(ValueError, match="closed file"):
            native.entry(mapping, 9)
    assert mapping == {"before": 9}
    assert sys.getrefcount(mapping) == before
    first = compile_entry(entry_graph(2, (INT,), ConstantBox(None), effects[1:]))
    with pytest.raises(ValueError, match="closed file"):
        first.entry(mapping, 9)


def test_a_first_effect_that_cannot_be_done_deoptimizes() -> None:
    native = compile_entry(entry_graph(1, (), ConstantBox(None), [SetAttribute(PlaceBox(A), "x", ConstantBox(1))]))
    assert native.entry(object()) is Compiled.DEOPTIMIZED
    assert native.entry(Plain()) is None


def test_nothing_is_committed_when_a_later_object_cannot_be_made() -> None:
    def fail() -> None:
        raise MemoryError

    mapping: dict[str, Any] = {}
    effects = [
        SetItem(PlaceBox(A), ConstantBox("x"), ConstantBox(1)),
        SetItem(PlaceBox(A), ConstantBox("y"), CallBox(fail, ())),
    ]
    native = compile_entry(entry_graph(1, (), ConstantBox(None), effects))
    assert native.entry(mapping) is Compiled.DEOPTIMIZED
    assert mapping == {}


@pytest.mark.parametrize("target", [np.zeros((3, 4)), np.zeros((4, 3)).T, np.zeros((6, 8))[::-2, ::2]])
def test_write_array_copies_what_was_not_done_in_place(target: np.ndarray) -> None:
    guards = (
        ArrayLayout(place=B, dtype="f64", shape=(3, 4), layout="any"),
        ArrayLayout(place=A, dtype="f64", shape=(3, 4), layout="any", writeable=True),
    )
    source = np.arange(12.0).reshape(4, 3).T
    native = compile_entry(entry_graph(2, guards, PlaceBox(A), [WriteArray(A, 0)]), in_place=False)
    assert native.entry(target, source) is target
    assert np.array_equal(target, source)


def test_an_old_value_that_is_still_returned_survives_its_replacement() -> None:
    holder = Plain()
    place = AttributePlace(A, "value")
    guards = (TypeIs(place=A, type_=Plain), TypeIs(place=place, type_=list))
    effects = [SetAttribute(PlaceBox(A), "value", SequenceBox(list, ()))]
    native = compile_entry(entry_graph(1, guards, PlaceBox(place), effects))
    for _ in range(100):
        holder.value = ["unique", object()]
        old = native.entry(holder)
        assert old[0] == "unique" and holder.value == []
        assert sys.getrefcount(old) == 2


def test_effects_leak_nothing() -> None:
    holder, namespace, cell, listed = Plain(), {}, types.CellType(), []
    array = np.zeros(4)
    fresh = ArrayBox(0, key=1)
    effects = [
        SetAttribute(PlaceBox(A), "value", fresh),
        SetGlobal(namespace, "value", fresh),
        SetCell(cell, fresh),
        ReplaceContents(ConstantBox(listed), (fresh,)),
    ]
    native = compile_entry(entry_graph(2, (ArrayLayout(place=B, dtype="f64", shape=(4,)),), fresh, effects))
    for _ in range(10):
        made = native.entry(holder, array)
        assert made is holder.value is namespace["value"] is cell.cell_contents is listed[0]
    gc.collect()
    assert sys.getrefcount(made) == 6
    del holder.value, namespace["value"], cell.cell_contents, listed[0]
    assert sys.getrefcount(made) == 2
    assert sys.getrefcount(array) == 2


def test_arrays_that_swap_their_values_are_both_read_first() -> None:
    guards = tuple(ArrayLayout(place=p, dtype="f64", shape=(3,), writeable=True) for p in (A, B))
    native = compile_entry(entry_graph(2, guards, ConstantBox(None), [WriteArray(A, 1), WriteArray(B, 0)]))
    left, right = np.arange(3.0), np.full(3, 9.0)
    assert native.entry(left, right) is None
    assert left.tolist() == [9, 9, 9] and right.tolist() == [0, 1, 2]


def test_zero_dimensional_arrays_are_written() -> None:
    guards = (ArrayLayout(place=A, dtype="f64", shape=(), writeable=True), ScalarTypeIs(place=B, kind="float"))
    native = compile_entry(entry_graph(2, guards, ConstantBox(None), [WriteArray(A, 1)]))
    array = np.array(1.0)
    native.entry(array, 2.5)
    assert array == 2.5
