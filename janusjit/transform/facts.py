"""What passes ask of nodes and graphs before they change them.

Owns the predicates. Invariant: each errs on the side of leaving a node alone.
"""

from __future__ import annotations

import struct
from typing import Any

from janusjit.ir.boxes import ArrayBox, ViewBox
from janusjit.ir.dims import Symbol
from janusjit.ir.floating_point import FLAGS_CODE, warned_errors, watched_errors
from janusjit.ir.graph import Graph, Node, Region, Value, walk
from janusjit.ir.guards import InGraphGuard, WarningFilters
from janusjit.ir.types import TensorType
from janusjit.ir.verify import recipe_parts
from janusjit.ops import OPS
from janusjit.ops.floating_point import possible_errors
from janusjit.ops.registry import Elementwise, ObjectRead, View
from janusjit.pacing import pause
from janusjit.spans import BackwardSpan, NotedSpan

#: families of ops whose floating-point results are made of their inputs without arithmetic
_WITHOUT_ARITHMETIC = frozenset({"creation", "views", "updates", "gather", "join", "logic", "objects"})
#: ops on integers that raise a floating-point flag, for a zero divisor
_DIVISIONS = frozenset({"floor_divide", "remainder", "fmod", "reciprocal"})
#: ops on floats that raise none
_SILENT = frozenset({"negative", "positive", "absolute", "sign", "copysign", "where", "unfold", "window_max"})


def is_operation(node: Node) -> bool:
    """Return whether the node is a declared op, not control flow or binding."""
    pause()
    return node.op in OPS


def is_view(node: Node) -> bool:
    """Return whether the node addresses the memory of its first input."""
    return is_operation(node) and isinstance(OPS[node.op].lowering, View)


def is_elementwise(node: Node) -> bool:
    """Return whether each element of the result depends on one element of each input."""
    return is_operation(node) and isinstance(OPS[node.op].lowering, Elementwise)


def is_pure(node: Node) -> bool:
    """Return whether the node can be dropped, merged or moved: it cannot fail and binds no dimension."""
    if not is_operation(node):
        return node.op == "dim"
    return node.guard is None and "symbol" not in node.attributes and not is_stateful(node) and not reads_object(node)


def reads_object(node: Node) -> bool:
    """Return whether the node reads a Python object, which it can only where it stands."""
    return is_operation(node) and isinstance(OPS[node.op].lowering, ObjectRead)


def is_stateful(node: Node) -> bool:
    """Return whether the node has an effect or an identity, and so happens exactly where and as often as it stands."""
    return is_operation(node) and OPS[node.op].stateful


def may_warn(node: Node) -> bool:
    """Return whether NumPy may warn of what the node does (invalid value, division by zero, overflow)."""
    if node.op == "cast":
        return _is_narrowed(node.inputs[0].type, node.results[0].type)
    with_floats = any(value.type.is_float for value in (*node.inputs, *node.results))
    return is_operation(node) and op_may_warn(node.op, with_floats)


def op_may_warn(op: str, with_floats: bool) -> bool:
    """Return whether NumPy may warn of what an operation does, on floats or on integers."""
    if OPS[op].family in _WITHOUT_ARITHMETIC or op in _SILENT:
        return False
    return with_floats or op in ("floor_divide", "remainder", "fmod", "divide", "power", "reciprocal")


def _is_narrowed(source: TensorType, target: TensorType) -> bool:
    """Return whether floats become integers, or floats of fewer digits."""
    if not source.is_float or target.dtype == "bool":
        return False
    return not target.is_float or target.numpy_dtype.itemsize < source.numpy_dtype.itemsize


def promises_warnings(graph: Graph) -> bool:
    """Return whether the graph deoptimizes where NumPy would warn, so that a warning must not get lost."""
    return flags_guard(graph) is not None


def promises_mere_warnings(graph: Graph) -> bool:
    """Return whether warnings, where they are given, are no exceptions."""
    return any(isinstance(guard, WarningFilters) and not guard.raising for guard in graph.guards.entry)


def only_warns(graph: Graph) -> bool:
    """Return whether NumPy warns of all errors that it is to act on, and warnings are no exceptions."""
    guard = flags_guard(graph)
    only_warned = guard is not None and watched_errors(guard) == warned_errors(guard)
    return only_warned and promises_mere_warnings(graph)


def flags_guard(graph: Graph) -> InGraphGuard | None:
    """Return the guard by which a graph makes that promise."""
    return next((guard for guard in graph.guards.in_graph if guard.code == FLAGS_CODE), None)


def errors_watched(graph: Graph) -> tuple[str, ...]:
    """Return the floating-point errors of which a graph promises that plain Python acts on them."""
    guard = flags_guard(graph)
    if guard is None:
        return ()
    possible = frozenset().union(*map(errors_of, graph.walk()))
    return tuple(name for name in watched_errors(guard) if name in possible)


def errors_of(node: Node) -> frozenset[str]:
    """Return the floating-point errors, by NumPy's names, that plain Python may act on where it does the node."""
    if isinstance(node.span, BackwardSpan) or not may_warn(node):
        return frozenset()
    possible = frozenset(possible_errors(node.op))
    return possible - node.span.ignored if isinstance(node.span, NotedSpan) else possible


def may_raise(node: Node, error: str) -> bool:
    """Return whether compiled code of the node may raise the flag of an error, whatever NumPy makes of it."""
    if not is_operation(node):
        return False
    if not any(value.type.is_float for value in (*node.inputs, *node.results)):
        return error == "divide" and node.op in _DIVISIONS
    if OPS[node.op].family == "logic" or may_warn(node):
        return error in possible_errors(node.op) or error == "invalid"  # as of comparisons with NaN
    return False


def bound_symbols(region: Region) -> set[Symbol]:
    """Return the symbols that nodes of a region (nested ones included) bind."""
    found = (node.attributes.get("symbol") for node in walk(region))
    return {symbol for symbol in found if isinstance(symbol, Symbol)}


def pinned_nodes(graph: Graph) -> set[Node]:
    """Return the nodes that define bases of returned views, and the view operations between base and view.

    A `ViewBox` relies on them: a rewrite may change what they compute from, but not what they are.
    """
    pinned: set[Node] = set()
    for node in graph.walk():
        if node.op != "exit":
            continue
        for part in recipe_parts(node.attributes["recipe"]):
            if isinstance(part, ViewBox):
                pinned |= _chain(node, part)
    return pinned


def _chain(leaving: Node, box: ViewBox) -> set[Node]:
    base = leaving.inputs[box.base.operand] if isinstance(box.base, ArrayBox) else None
    chain: set[Node] = set()
    value: Value | None = leaving.inputs[box.operand]
    while value is not None and value is not base and value.node is not None and is_view(value.node):
        chain.add(value.node)
        value = value.node.inputs[0]
    if base is not None and base.node is not None:
        chain.add(base.node)
    return chain


def constant_of(value: Value) -> Any:
    """Return the Python number a 0-d constant stands for, or None if the value is not a constant."""
    node = value.node
    return node.attributes["value"] if node is not None and node.op == "constant" else None


def exact_key(item: Any) -> Any:
    """Return a key under which attribute values are equal only if they are the same: 0.0, -0.0, 0 and False differ."""
    if type(item) is float:
        return (float, struct.pack("d", item))
    if type(item) in (bool, int):
        return (type(item), item)
    if type(item) is tuple:
        return tuple(map(exact_key, item))
    return item
