"""Graphs over arrays and scalars, compiled and interpreted side by side, for the tests of the lowering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.ir.boxes import ArrayBox, Box, Effect, ExitRecipe, ScalarBox, SequenceBox, WriteArray
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Graph, Region, Value
from janusjit.ir.guards import ArrayLayout, InGraphGuard, ScalarTypeIs
from janusjit.ir.places import ArgumentPlace
from janusjit.ir.types import TensorType, dtype_name
from janusjit.ir.verify import verify
from janusjit.ops import OPS
from janusjit.ops.indexing import PathStep, Pick, Range


def infer(op: str, types: tuple[TensorType, ...], attributes: Mapping[str, Any]) -> tuple[TensorType, ...]:
    """The registry's type rules, for the builder."""
    return OPS[op].infer(types, attributes)


class Program:
    """A graph under construction whose parameters are arrays and scalars.

    ``program.add(x, y)`` emits the op ``add`` and returns its result; numbers become constants of ``x``'s dtype.
    """

    def __init__(self, name: str = "program") -> None:
        self.graph = Graph(name)
        self.builder = GraphBuilder(self.graph, infer)
        self.effects: list[Effect] = []

    def input(self, example: Any, shape: tuple[Dim, ...] | None = None, writeable: bool = False) -> Value:
        """Add a parameter like ``example``."""
        index = len(self.graph.parameters)
        name = f"x{index}"
        self.graph.parameters += (name,)
        place = ArgumentPlace(index, name)
        if isinstance(example, np.ndarray):
            type_ = TensorType(dtype_name(example.dtype) or "", shape or example.shape)
            flags = example.flags
            layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "any"
            self.graph.guards.entry.append(ArrayLayout(place, type_.dtype, type_.shape, layout, writeable))
            return self.builder.add_input(place, type_, layout=layout)
        kind = type(example).__name__
        kind = kind if kind in ("int", "float", "bool") else f"numpy.{dtype_name(np.asarray(example).dtype)}"
        self.graph.guards.entry.append(ScalarTypeIs(place, kind))
        return self.builder.add_input(place, TensorType(dtype_name(np.asarray(example).dtype) or ""), kind)

    def constant(self, value: Any, dtype: str = "f64") -> Value:
        return self.builder.emit("constant", (), {"value": value, "dtype": dtype}).result

    def emit(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        """Emit an op, with a guard if it can fail."""
        dtype = next((v.type.dtype for v in inputs if isinstance(v, Value)), "f64")
        values = tuple(v if isinstance(v, Value) else self.constant(v, dtype) for v in inputs)
        fallible = OPS[op].may_fail(tuple(v.type for v in values), attributes)
        guard = InGraphGuard(code="value", subject=op, expected="defined") if fallible else None
        results = self.builder.emit(op, values, attributes, guard=guard).results
        return results[0] if len(results) == 1 else results

    def __getattr__(self, op: str) -> Callable[..., Value]:
        return lambda *inputs, **attributes: self.emit(op, *inputs, **attributes)

    def reduce(self, op: str, x: Value, *axes: int, keepdims: bool = False) -> Value:
        return self.emit(op, x, axes=axes or tuple(range(x.type.rank)), keepdims=keepdims)

    def guard(self, condition: Value) -> None:
        self.builder.guard(condition, InGraphGuard(code="branch", subject="?", expected="True"))

    def region(self, body: Callable[..., None], *types: TensorType) -> Region:
        with self.builder.nested(types) as region:
            body(*region.parameters)
        return region

    def branch(self, condition: Value, then: Callable[[], None], otherwise: Callable[[], None]) -> tuple[Value, ...]:
        return self.builder.branch(condition, self.region(then), self.region(otherwise)).results

    def loop(
        self, carried: Sequence[Value], body: Callable[..., None], results: Sequence[TensorType]
    ) -> tuple[Value, ...]:
        region = self.region(body, *[value.type for value in carried])
        return self.builder.loop(carried, region, results).results

    def end(self, op: str, *values: Value) -> None:
        self.builder.terminate(op, values)

    def finish(self, *values: Value, writes: Mapping[int, Value] | None = None) -> Graph:
        """End with the tuple of ``values``; ``writes`` are final versions of array parameters."""
        boxes: list[Box] = [
            ArrayBox(n, n) if v.type.rank else ScalarBox(n, f"numpy.{v.type.dtype}") for n, v in enumerate(values)
        ]
        operands = list(values)
        effects = []
        for index, value in (writes or {}).items():
            effects.append(WriteArray(self.graph.inputs[index].place, len(operands)))
            operands.append(value)
        self.builder.exit(operands, ExitRecipe(SequenceBox(tuple, tuple(boxes)), tuple(effects)))
        verify(self.graph)
        return self.graph


def path(*index: Pick | Range, extras: int = 0) -> tuple[PathStep, ...]:
    """A path of one basic index."""
    return (PathStep.of("view", extras, index=index),)


def run_both(graph: Graph, *arguments: Any) -> tuple[Any, Any, list[Any], list[Any], Compiled]:
    """Run compiled and interpreted, each on copies; return both results, both sets of arguments, and the code."""
    compiled = compile_graph(graph)
    mine, theirs = ([np.copy(a, order="K") if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2))
    mine, theirs = ([_like(a, given) for a, given in zip(arrays, arguments, strict=True)] for arrays in (mine, theirs))
    got = compiled.entry(*mine)
    try:
        with np.errstate(all="ignore"):
            wanted = interpret(graph, theirs)
    except DeoptimizationSignal:
        wanted = Compiled.DEOPTIMIZED
    return got, wanted, mine, theirs, compiled


def _like(copy: Any, given: Any) -> Any:
    """Lay a copy of an array out as ``given`` is, strides and all."""
    if not isinstance(given, np.ndarray) or copy.strides == given.strides:
        return copy
    whole = np.empty([2 * n for n in given.shape], given.dtype)
    view = whole[tuple(slice(None, None, 2) for _ in given.shape)]
    view[...] = given
    return view


def check(graph: Graph, *arguments: Any, ulp: int = 0) -> Compiled:
    """Assert that compiled code gives what the interpreter gives, bit for bit unless ``ulp`` is given."""
    got, wanted, mine, theirs, compiled = run_both(graph, *arguments)
    same(got, wanted, ulp)
    same(mine, theirs, ulp)
    return compiled


def same(got: Any, wanted: Any, ulp: int = 0) -> None:
    """Assert equality in type, dtype, shape and bits (NaN equals NaN)."""
    assert type(got) is type(wanted), (got, wanted)
    if isinstance(wanted, (tuple, list)):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            same(one, other, ulp)
    elif isinstance(wanted, (np.ndarray, np.generic)):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        if ulp and wanted.dtype.kind == "f":
            np.testing.assert_array_max_ulp(got, wanted, ulp)
        else:
            np.testing.assert_array_equal(got, wanted)
            if wanted.dtype.kind == "f":
                number = ~np.isnan(wanted)
                np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(wanted)[number])
    else:
        assert got is wanted or got == wanted
