"""Compiled entries: calling convention, status, lifetime, call overhead, floating-point flags."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from janusjit.backend.kernels import PlanNotes
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.entry import EntryEmitter
from janusjit.backend.llvm.entry_builtin import link
from janusjit.backend.llvm.entry_frame import IN_GRAPH
from janusjit.backend.llvm.python_api import F64
from janusjit.backend.llvm.values import I1, Operand, Scalar
from janusjit.ir.boxes import CallFunction, ConstantBox, PlaceBox, ScalarBox, SequenceBox
from janusjit.ir.dims import symbol
from janusjit.ir.graph import Graph, Node
from janusjit.ir.guards import ArrayLayout, InGraphGuard, ScalarTypeIs, TypeIs
from janusjit.ir.places import ItemPlace
from janusjit.ir.types import TensorType
from tests.backend.entry_only import Compiled, arguments, compile_entry, entry_graph, outcome

A, B, C = arguments(3)
Body = Callable[[EntryEmitter], list[Operand]]


def compile_with(graph: Graph, body: Body) -> Compiled:
    """Compile a graph whose exit's operands are what ``body`` emits."""
    emitter = EntryEmitter(engine.create_module(graph.name), graph, Compiled.DEOPTIMIZED)
    emitter.emit_prologue()
    operands = body(emitter)
    if emitter.checks_flags:
        operands = [emitter.pinned(emitter.builder, o) if isinstance(o, Scalar) else o for o in operands]
        flags = emitter.emit_flags(emitter.builder)
        with emitter.builder.if_then(emitter.builder.icmp_signed("!=", flags, ir.Constant(flags.type, 0))):
            emitter.emit_witness(emitter.builder, flags, -1, ir.Constant(ir.IntType(64), 0), lambda: None)
    emitter.emit_exit(emitter.builder, graph.body.terminator.attributes["recipe"], operands)
    emitter.finish()
    return link(emitter, PlanNotes("by hand", ()), time.perf_counter())


def test_the_entry_is_a_builtin_that_takes_exactly_its_parameters() -> None:
    native = compile_entry(entry_graph(2, (), PlaceBox(B)))
    assert type(native.entry) is type(len)
    assert native.entry.__name__ == "entry_only"
    assert native.entry(1, 2) == 2
    assert native.entry(1) is Compiled.DEOPTIMIZED
    assert native.entry(1, 2, 3) is Compiled.DEOPTIMIZED
    with pytest.raises(TypeError):
        native.entry(1, b=2)
    assert repr(Compiled.DEOPTIMIZED) == "<deoptimized>"


def test_status_counts_hits_and_names_the_guard() -> None:
    native = compile_entry(entry_graph(2, (TypeIs(place=A, type_=int), TypeIs(place=B, type_=str)), PlaceBox(A)))
    assert (native.status.hits, native.status.failed) == (0, -1)
    assert outcome(native, 1, "x") == (1, -1)
    assert outcome(native, 1, 2) == (Compiled.DEOPTIMIZED, 1)
    assert outcome(native, "x", 2) == (Compiled.DEOPTIMIZED, 0)
    assert outcome(native, 3, "y") == (3, -1)
    assert native.status.hits == 2


def test_code_lives_as_long_as_its_entry_and_no_longer() -> None:
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    native = compile_entry(entry_graph(0, (), ConstantBox(marker)))
    entry = native.entry
    del native
    gc.collect()
    assert entry() is marker
    del marker
    gc.collect()
    assert gone() is not None
    del entry
    gc.collect()
    assert gone() is None


def test_code_outlives_an_entry_that_is_dropped_while_it_runs() -> None:
    box: list[Any] = []

    def drop() -> None:
        box.clear()
        gc.collect()

    native = compile_entry(entry_graph(0, (), ConstantBox("done"), [CallFunction(ConstantBox(drop), ())]))
    box.append(native.entry)
    del native
    assert box[0]() == "done"


def test_an_entry_may_be_entered_again_from_its_own_effects() -> None:
    depth: list[int] = []

    def again(value: int) -> None:
        depth.append(value)
        if value:
            native.entry(value - 1)

    effects = [CallFunction(ConstantBox(again), (ScalarBox(0, "int"),))]
    native = compile_entry(entry_graph(1, (ScalarTypeIs(place=A, kind="int"),), ScalarBox(0, "int"), effects))
    assert native.entry(3) == 3
    assert depth == [3, 2, 1, 0]


def test_places_with_a_shared_prefix_are_read_once() -> None:
    class Owner:
        reads = 0

        def __getattr__(self, name: str) -> Any:
            Owner.reads += 1
            return [np.zeros(2), 5]

    from janusjit.ir.places import AttributePlace

    items = AttributePlace(A, "items")
    guards = (
        TypeIs(place=items, type_=list),
        ArrayLayout(place=ItemPlace(items, 0), dtype="f64", shape=(2,)),
        ScalarTypeIs(place=ItemPlace(AttributePlace(A, "items"), 1), kind="int"),
    )
    native = compile_entry(entry_graph(1, guards, ScalarBox(1, "int")))
    assert native.entry(Owner()) == 5
    assert Owner.reads == 1


def test_failing_calls_leak_nothing() -> None:
    items = [np.zeros(2), [np.zeros(3)], 5]
    guards = (
        TypeIs(place=A, type_=list),
        ArrayLayout(place=ItemPlace(A, 0), dtype="f64", shape=(2,)),
        TypeIs(place=ItemPlace(A, 1), type_=list),
        ArrayLayout(place=ItemPlace(ItemPlace(A, 1), 0), dtype="f64", shape=(2,)),
    )
    native = compile_entry(entry_graph(1, guards, PlaceBox(ItemPlace(A, 0))))
    counts = [sys.getrefcount(o) for o in (items, *items[:2], items[1][0])]
    for _ in range(100):
        assert outcome(native, items) == (Compiled.DEOPTIMIZED, 3)
    assert [sys.getrefcount(o) for o in (items, *items[:2], items[1][0])] == counts


def test_twelve_guarded_arrays_take_well_under_a_microsecond() -> None:
    places = arguments(12)
    guards = [ArrayLayout(place=p, dtype="f32", shape=(symbol("n"), 32)) for p in places]
    native = compile_entry(entry_graph(12, guards, ConstantBox(None)))
    values = [np.zeros((64, 32), "f4") for _ in places]
    entry = native.entry
    best = min(_seconds(entry, values) for _ in range(20))
    assert native.status.failed == -1
    assert best < 1e-6


def _seconds(entry: Callable[..., Any], values: list[Any], calls: int = 2000) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        entry(*values)
    return (time.perf_counter() - started) / calls


# -- what a body asks for ---------------------------------------------------------------------------------------------


def _fill(emitter: EntryEmitter, value: float) -> Operand:
    """Emit a fresh array of two elements, each ``value``."""
    from janusjit.backend.llvm.values import ArrayValue, offset_pointer, store

    builder = emitter.builder
    owner, data = emitter.allocate_array(builder, TensorType("f64", (2,)), [2])
    for offset in (0, 8):
        store(builder, Scalar("f64", F64(value)), offset_pointer(builder, data, offset))
    return ArrayValue("f64", data, (2,), (8,), owner=owner)


def test_a_body_computes_into_fresh_arrays() -> None:
    from janusjit.ir.boxes import ArrayBox

    graph = entry_graph(0, (), SequenceBox(tuple, (ArrayBox(0, key=1), ArrayBox(1), ArrayBox(0, key=1))))
    graph.body.nodes[0].inputs = ()
    native = compile_with(graph, lambda emitter: [_fill(emitter, 1.5), _fill(emitter, 2.5)])
    first, second, again = native.entry()
    assert first is again and first is not native.entry()[0]
    assert first.tolist() == [1.5, 1.5] and second.tolist() == [2.5, 2.5]
    del again
    assert sys.getrefcount(first) == sys.getrefcount(second) == 2


def test_a_failing_body_releases_its_arrays() -> None:
    graph = entry_graph(1, (ScalarTypeIs(place=A, kind="bool"),), ConstantBox("made"))

    def body(emitter: EntryEmitter) -> list[Operand]:
        _fill(emitter, 1.0)
        builder = emitter.builder
        (flag,) = emitter.inputs
        assert isinstance(flag, Scalar) and flag.value.type == I1
        with builder.if_then(flag.value):
            emitter.emit_fail(builder, 3)
        _fill(emitter, 2.0)
        return emitter.inputs

    native = compile_with(graph, body)
    assert outcome(native, False) == ("made", -1)
    assert outcome(native, True) == (Compiled.DEOPTIMIZED, IN_GRAPH + 3)
    for flag in (True, False):
        gc.collect()
        before = _allocated_arrays(native.entry, flag, 10)
        assert abs(_allocated_arrays(native.entry, flag, 1000) - before) < 5


def _allocated_arrays(entry: Callable[..., Any], flag: bool, calls: int) -> int:
    """Return by how many memory blocks ``calls`` calls changed what Python has allocated."""
    before = sys.getallocatedblocks()
    for _ in range(calls):
        entry(flag)
    return sys.getallocatedblocks() - before


# -- floating-point flags ---------------------------------------------------------------------------------------------

FLAGS = InGraphGuard(code="fp.flags", subject="the whole call", expected="no floating-point exception")


def _operation(name: str) -> Body:
    def body(emitter: EntryEmitter) -> list[Operand]:
        left, right = emitter.inputs
        assert isinstance(left, Scalar) and isinstance(right, Scalar)
        return [Scalar("f64", getattr(emitter.builder, name)(left.value, right.value)), right]

    return body


@pytest.mark.parametrize(
    ("operation", "left", "right", "flagged"),
    [
        ("fdiv", 1.0, 2.0, False),
        ("fdiv", 1.0, 0.0, True),
        ("fdiv", 0.0, 0.0, True),
        ("fmul", 1e200, 1e200, True),
        ("fmul", 1e-200, 1e-200, False),
        ("fmul", float("inf"), 2.0, False),
        ("fmul", float("nan"), 2.0, False),
        ("fsub", float("inf"), float("inf"), True),
    ],
)
def test_floating_point_exceptions_fail_their_guard(operation: str, left: float, right: float, flagged: bool) -> None:
    guards = (ScalarTypeIs(place=A, kind="float"), ScalarTypeIs(place=B, kind="float"))
    graph = entry_graph(2, guards, ScalarBox(0, "float"), in_graph=[FLAGS])
    left_value, right_value = (given.value for given in graph.inputs)
    graph.body.nodes.insert(0, Node("divide", (left_value, right_value), (TensorType("f64"),)))
    native = compile_with(graph, _operation(operation))
    np.float64(1.0) / np.float64(3.0)
    for _ in range(2):
        result, failed = outcome(native, left, right)
        assert failed == (IN_GRAPH if flagged else -1)
        assert (result is Compiled.DEOPTIMIZED) == flagged
    without = compile_with(entry_graph(2, guards, ScalarBox(0, "float")), _operation(operation))
    assert without.entry(left, right) is not Compiled.DEOPTIMIZED


def test_threads_call_one_entry_at_once() -> None:
    guards = (ScalarTypeIs(place=A, kind="int"),)
    effects = [CallFunction(ConstantBox(time.sleep), (ConstantBox(0),))]
    native = compile_entry(entry_graph(1, guards, ScalarBox(0, "int"), effects))
    wrong: list[int] = []

    def run(start: int) -> None:
        wrong.extend(v for v in range(start, start + 500) if native.entry(v) != v)

    threads = [threading.Thread(target=run, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert native.status.hits == 2000
