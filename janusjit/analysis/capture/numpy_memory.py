"""Memory layout of arrays as eager NumPy has it.

Owns the strides of views and whether a reshape shares memory. Invariant: where the layout eager would have is not
known, the answer is ``unknown``, never a guess.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import ArrayValue
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Node, Value
from janusjit.ops.indexing import NewAxis, PathStep, Range
from janusjit.ops.type_rules import at_least

#: elements from one position of an axis to the next; None where that is not known
Stride = Dim | None
Strides = tuple[Stride, ...]

#: ops whose results are in C order whatever the order of their inputs
_C_RESULTS = frozenset({"full", "constant_array", "eye", "arange", "matmul", "compress", "nonzero", "tile", "pad"})
#: ops whose results eager lays out in an order that is not followed
_ANY_RESULTS = frozenset({"if", "loop", "gather"})


def c_strides(shape: Sequence[Dim]) -> Strides:
    """Return the strides of a C-ordered array."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def strides(machine: Machine, array: ArrayValue) -> Strides:
    """Return the strides of an array in eager NumPy."""
    storage: Storage = machine.state.at(array.storage)
    shape: tuple[Dim, ...] = storage.version.type.shape
    found: Strides = (None,) * len(shape)
    if array.storage < 0:
        layout = machine.externals.layout(array.storage)
        if layout == "C":
            found = c_strides(shape)
        elif layout == "F":
            found = tuple(reversed(c_strides(shape[::-1])))
    elif c_ordered(machine, storage.version):
        found = c_strides(shape)
    for step in array.path:
        shape, found = _step(shape, found, step)
    return found


def _step(shape: tuple[Dim, ...], given: Strides, step: PathStep) -> tuple[tuple[Dim, ...], Strides]:
    attributes = dict(step.attributes)
    if step.op == "transpose":
        axes = attributes["axes"]
        return tuple(shape[axis] for axis in axes), tuple(given[axis] for axis in axes)
    if step.op == "reshape":
        target = attributes["shape"]
        made = reshaped(shape, given, target)
        return target, made if isinstance(made, tuple) else (None,) * len(target)
    dims: list[Dim] = []
    result: list[Stride] = []
    axis = 0
    for item in attributes["index"]:
        if isinstance(item, NewAxis):
            dims.append(1)
            result.append(0)
            continue
        stride = given[axis]
        axis += 1
        if isinstance(item, Range):
            dims.append(item.length)
            result.append(None if stride is None else stride * item.step)
    return tuple(dims), tuple(result)


def reshaped(shape: Sequence[Dim], given: Strides, target: Sequence[Dim]) -> Strides | Literal["copy", "unknown"]:
    """Return the strides of a reshape that shares memory, or that it copies, or that this is not known."""
    if product(shape) == 0:
        return c_strides(target)
    old = [(dim, stride) for dim, stride in zip(shape, given, strict=True) if dim != 1]
    if _contiguous(old) is True and (not old or old[-1][1] == 1):
        return c_strides(target)
    new = [dim for dim in target if dim != 1]
    if len(new) == 1 and _contiguous(old) is False:
        return "copy"
    made: list[Stride] = []
    while old and new:
        group, parts = [old.pop(0)], [new.pop(0)]
        while (have := product(dim for dim, _ in group)) != (wanted := product(parts)):
            grow_old = isinstance(have, int) and isinstance(wanted, int) and have < wanted
            source: list[object] = old if grow_old else new  # type: ignore[assignment]
            if not source or not (isinstance(have, int) and isinstance(wanted, int)):
                return "unknown"
            if grow_old:
                group.append(old.pop(0))
            else:
                parts.append(new.pop(0))
        joined = _contiguous(group)
        if joined is not True:
            return "copy" if joined is False else "unknown"
        made.extend(_split(group[-1][1], parts))
    rest = iter(made)
    return tuple(0 if dim == 1 else next(rest) for dim in target)


def _split(stride: Stride, parts: Sequence[Dim]) -> Strides:
    return tuple(None if stride is None else stride * inner for inner in c_strides(parts))  # type: ignore[operator]


def in_c_order(shape: Sequence[Dim], given: Strides) -> bool | None:
    """Whether an array lies in C order without gaps; None where that is not known."""
    if product(shape) == 0:
        return True
    axes = [(dim, stride) for dim, stride in zip(shape, given, strict=True) if dim != 1]
    together = _contiguous(axes)
    if not axes or axes[-1][1] == 1 or together is False:
        return together
    size, step = axes[-1]
    return None if step is None or not at_least(size, 2) else False


def _contiguous(group: Sequence[tuple[Dim, Stride]]) -> bool | None:
    """Whether axes step through memory as one; None where a stride, or whether a dimension is 1, is not known."""
    answer: bool | None = True
    for (size, outer), (dim, inner) in itertools.pairwise(group):
        if outer is not None and inner is not None and outer == inner * dim:
            continue
        if outer is None or inner is None or not (at_least(size, 2) and at_least(dim, 2)):
            answer = None
        else:
            return False
    return answer


def c_ordered(machine: Machine, value: Value) -> bool:
    """Whether eager NumPy is known to have an array of a value's history in C order."""
    pending, seen = [value], {value}
    while pending:
        value = pending.pop()
        if sum(dim != 1 for dim in value.type.shape) <= 1:
            continue
        sources = _layout_sources(machine, value)
        if sources is None:
            return False
        pending.extend(source for source in sources if source not in seen)
        seen.update(sources)
    return True


def _layout_sources(machine: Machine, value: Value) -> tuple[Value, ...] | None:
    """Return the values whose order a value has in eager NumPy; None where it is not followed, or not C."""
    node = value.node
    if node is None:
        layouts = {given.value: given.layout for given in machine.graph.inputs}
        return () if layouts.get(value) == "C" else None
    if node.op in _C_RESULTS:
        return ()
    if node.op in _ANY_RESULTS or (node.op == "take" and node.attributes["axis"]):
        return None
    if node.op == "transpose" and not _keeps_order(node):
        return None
    return node.inputs[:1] if node.op.startswith("update") else node.inputs


def _keeps_order(node: Node) -> bool:
    shape = node.inputs[0].type.shape
    moved = [axis for axis in node.attributes["axes"] if shape[axis] != 1]
    return moved == sorted(moved)
