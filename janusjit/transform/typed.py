"""The tools of the representation, given the op registry.

Owns the functions that inject `janusjit.ops.registry.OPS` where `janusjit.ir` wants to know of operations. Invariant:
type rules are only ever asked here, so builder, parser and verifier agree about every node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from janusjit.ir import parse, verify
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import Graph
from janusjit.ir.types import BOOL, INT, TensorType
from janusjit.ops import OPS
from janusjit.ops.indexing import NewAxis, Operand, PathStep, Pick, Range
from janusjit.ops.type_rules import TypeRuleError

RECORDS: dict[str, Any] = {class_.__name__: class_ for class_ in (NewAxis, Operand, PathStep, Pick, Range)}


def infer(op: str, inputs: tuple[TensorType, ...], attributes: Mapping[str, Any]) -> tuple[TensorType, ...]:
    """Return the result types of an operation without regions.

    Raises
    ------
    TypeRuleError
        The operation is unknown, or not defined for these inputs and attributes.
    """
    if op in OPS:
        return OPS[op].infer(inputs, attributes)
    if op in ("dim", "tape_new", "tape_push"):
        return (INT,)
    if op == "succeeded":
        return (BOOL,)
    if op == "tape_pop":
        raise TypeRuleError("the results of tape_pop are those of a push elsewhere, and have to be given")
    if op in verify.STRUCTURAL and op not in verify.REGION_COUNT:
        return ()
    raise TypeRuleError(f"there is no operation {op}")


def may_fail(op: str, inputs: tuple[TensorType, ...], attributes: Mapping[str, Any]) -> bool:
    """Return whether a node of the operation must carry a guard."""
    return OPS[op].may_fail(inputs, attributes)


def graph_builder(graph: Graph) -> GraphBuilder:
    """Return a builder that infers result types."""
    return GraphBuilder(graph, infer)


def parse_graph(text: str, namespace: Mapping[str, Any] | None = None) -> Graph:
    """Return the graph a text describes; result types may be left out (see `janusjit.ir.parse.parse_graph`)."""
    return parse.parse_graph(text, {**RECORDS, **(namespace or {})}, infer)


def verify_graph(graph: Graph) -> None:
    """Check a graph, types and fallible nodes included.

    Raises
    ------
    VerificationError
        For the first invariant found broken.
    """
    verify.verify(graph, infer, may_fail)
