"""Operations on scalars, in registers.

Owns `emit_scalar`, and the constants of a graph. Invariant: a 0-d value never goes to memory on account of an operation
here.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.values import Scalar
from janusjit.backend.plan import VIEW_OPS, lowering_of
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.registry import Checked, Elementwise, Reduce

#: operations that pass a 0-d input on: by its number
_PASSED: dict[str, int] = {**dict.fromkeys(VIEW_OPS, 0), "full": 0, "copy": 0, "update": 1}


def constants(builder: ir.IRBuilder, graph: Graph) -> dict[Value, Scalar]:
    """Return the constants of a graph; they take no code."""
    emitter = LLVMScalarEmitter(builder)
    nodes = (node for node in graph.walk() if node.op == "constant")
    return {node.result: emitter.constant(node.attributes["value"], node.result.type.dtype) for node in nodes}


def is_scalar(node: Node) -> bool:
    """Return whether a node gives one scalar, made of scalars or picked from an array by a view."""
    if len(node.results) != 1 or node.result.type.rank > 0:
        return False
    if node.op in VIEW_OPS:
        return True
    if any(value.type.rank > 0 for value in node.inputs):
        return False
    known = isinstance(lowering_of(node), (Elementwise, Checked, Reduce))
    return known or node.op in _PASSED or node.op == "constant_array"


def emit_scalar(builder: ir.IRBuilder, node: Node, inputs: list[Scalar]) -> tuple[Scalar, ir.Value | None]:
    """Emit an operation whose inputs are scalars; return its result, and whether it is valid if the node can fail."""
    emitter = LLVMScalarEmitter(builder, is_alone=True)
    lowering = lowering_of(node)
    if node.op == "constant_array":
        return emitter.constant(node.attributes["value"].value[()], node.result.type.dtype), None
    if node.op in _PASSED:
        return inputs[_PASSED[node.op]], None
    if isinstance(lowering, Reduce):
        return _reduced(emitter, lowering.kind, inputs[0]), None
    if isinstance(lowering, Checked):
        value, valid = lowering.scalar(emitter, *inputs, **node.attributes)
        return value, valid.value
    assert isinstance(lowering, Elementwise)
    return lowering.scalar(emitter, *emitter.operands_of(node.op, inputs), **node.attributes), None


def _reduced(emitter: LLVMScalarEmitter, kind: str, x: Scalar) -> Scalar:
    """Return the reduction of a 0-d array."""
    if kind in ("any", "all"):
        return emitter.cast(x, "bool")
    if kind == "count_nonzero":
        return emitter.cast(emitter.cast(x, "bool"), "i64")
    if kind in ("argmax", "argmin"):
        return emitter.constant(0, "i64")
    if kind == "sum" and x.dtype[0] == "f":
        return emitter.add(emitter.constant(0.0, x.dtype), x)
    return x
