"""Graphs without computation: the entry function around an empty body."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from janusjit.backend.kernels import PlanNotes
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.entry import EntryEmitter
from janusjit.backend.llvm.entry_builtin import Compiled, link
from janusjit.backend.llvm.values import ArrayValue
from janusjit.ir.boxes import Box, ConstantBox, Effect, ExitRecipe
from janusjit.ir.graph import Graph, GraphInput, Node, Value
from janusjit.ir.guards import ArrayLayout, EntryGuard, GuardSet, InGraphGuard, ScalarTypeIs
from janusjit.ir.places import ArgumentPlace, Place
from janusjit.ir.types import DTYPES, TensorType


def arguments(count: int) -> list[ArgumentPlace]:
    return [ArgumentPlace(index, f"a{index}") for index in range(count)]


def array_input(place: Place, guard: ArrayLayout) -> GraphInput:
    return GraphInput(place, Value(TensorType(guard.dtype, guard.shape)), "array", guard.layout)


def scalar_input(place: Place, kind: str) -> GraphInput:
    dtype = {"int": "i64", "float": "f64", "bool": "bool"}.get(kind, kind.removeprefix("numpy."))
    assert dtype in DTYPES
    return GraphInput(place, Value(TensorType(dtype)), kind)


def entry_graph(
    parameter_count: int,
    guards: Sequence[EntryGuard] = (),
    result: Box | None = None,
    effects: Sequence[Effect] = (),
    in_graph: Sequence[InGraphGuard] = (),
) -> Graph:
    """Return a graph whose inputs are what its guards vouch for, and whose operands are its inputs."""
    graph = Graph("entry_only", tuple(f"a{i}" for i in range(parameter_count)))
    graph.guards = GuardSet(list(guards), list(in_graph))
    for guard in guards:
        if isinstance(guard, ArrayLayout):
            graph.inputs.append(array_input(guard.place, guard))
        elif isinstance(guard, ScalarTypeIs):
            graph.inputs.append(scalar_input(guard.place, guard.kind))
    recipe = ExitRecipe(result or ConstantBox("passed"), tuple(effects))
    graph.body.nodes.append(Node("exit", tuple(i.value for i in graph.inputs), attributes={"recipe": recipe}))
    return graph


def compile_entry(graph: Graph, in_place: bool = True) -> Compiled:
    """Compile a graph whose only node is its exit; not ``in_place``: the operands count as other memory's values."""
    started = time.perf_counter()
    module = engine.create_module(graph.name)
    emitter = EntryEmitter(module, graph, Compiled.DEOPTIMIZED)
    emitter.emit_prologue()
    (exit_node,) = graph.body.nodes
    operands = emitter.inputs
    if not in_place:
        operands = [replace(o, input_index=None) if isinstance(o, ArrayValue) else o for o in operands]
    emitter.emit_exit(emitter.builder, exit_node.attributes["recipe"], operands)
    emitter.finish()
    return link(emitter, PlanNotes("nothing", ()), started)


def outcome(compiled: Compiled, *values: Any) -> tuple[Any, int]:
    """Call and return the result and which guard failed."""
    result = compiled.entry(*values)
    return result, compiled.status.failed
