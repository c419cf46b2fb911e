"""Memory layout of arrays as eager NumPy has it.

Owns the strides of views, whether a reshape shares memory, and what else depends on strides. Invariant: where the
layout eager would have is not known, the answer is ``unknown``, never a guess.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, BuiltinMethod
from janusjit.errors import CaptureFailure
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Node, Value
from janusjit.ops import OPS
from janusjit.ops.indexing import NewAxis, PathStep, Range
from janusjit.ops.registry import Elementwise
from janusjit.ops.type_rules import at_least

#: the strides of the results of operations that lay them out in a way of their own, given those of their inputs; filled
#: by `janusjit.analysis.capture.numpy_layouts`
LAYOUTS: dict[str, Callable[[Node, list[tuple[tuple[Dim, ...], Strides]]], Strides]] = {}
#: what depends on the memory order of arrays: Python's to run where compiled code has that of eager NumPy, and where
#: that is not known, the function is Python's as a whole
ORDER_ASKED, ORDER_UNKNOWN = "array.order", "array.unknown_order"
#: elements from one position of an axis to the next; None where that is not known
Stride = Dim | None
Strides = tuple[Stride, ...]

#: ops whose results are in C order whatever the order of their inputs
_C_RESULTS = frozenset(
    {"full", "constant_array", "eye", "arange", "diag", "convolution", "convolution_by_input", "convolution_by_kernel"}
)
#: ops that give a view, or, where a reshape cannot, a copy in C order
_VIEWS = frozenset({"transpose", "reshape", "view"})
#: ops whose results eager lays out in an order that is not followed
_ANY_RESULTS = frozenset({"if", "loop", "gather"})


def c_strides(shape: Sequence[Dim]) -> Strides:
    """Return the strides of a C-ordered array."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def strides(machine: Machine, array: ArrayValue) -> Strides:
    """Return the strides of an array in eager NumPy."""
    storage: Storage = machine.state.at(array.storage)
    shape: tuple[Dim, ...] = storage.version.type.shape
    if array.storage < 0:
        order = machine.externals.layout(array.storage)
        found = dense(shape, order) if order else (None,) * len(shape)
    else:
        found = of_new_array(machine, storage.version)
    for step in array.path:
        shape, found = _step(shape, found, step)
    return found


def order_is_known(machine: Machine, value: AbstractValue) -> bool:
    """Whether compiled code lays an array, or the owner of a method, out in memory as eager NumPy does."""
    owner = machine.resolve(value.owner if isinstance(value, BuiltinMethod) else value)
    return not isinstance(owner, ArrayValue) or owner.storage < 0 or None not in strides(machine, owner)


def order_asked(machine: Machine, value: AbstractValue, construct: str) -> CaptureFailure:
    """Return the failure of what depends on how an array lies in memory, which Python looks at where that is known."""
    if order_is_known(machine, value):
        return machine.unsupported(ORDER_ASKED, construct, "only C order has a rule")
    return machine.unsupported(ORDER_UNKNOWN, construct, "the memory order that eager NumPy has is not known")


def first_copy(shape: tuple[Dim, ...], path: Sequence[PathStep]) -> int | None:
    """Return which step of a path is the first reshape that copies an array in C order; None if none does."""
    given = c_strides(shape)
    for number, step in enumerate(path):
        if step.op == "reshape" and not isinstance(reshaped(shape, given, dict(step.attributes)["shape"]), tuple):
            return number
        shape, given = _step(shape, given, step)
    return None


def _step(shape: tuple[Dim, ...], given: Strides, step: PathStep) -> tuple[tuple[Dim, ...], Strides]:
    attributes = dict(step.attributes)
    if step.op == "transpose":
        axes = attributes["axes"]
        return tuple(shape[axis] for axis in axes), tuple(given[axis] for axis in axes)
    if step.op == "reshape":
        target = attributes["shape"]
        made = reshaped(shape, given, target)
        if made == "copy":
            return target, c_strides(target)
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


def layout(machine: Machine, value: Value) -> Strides:
    """Return the strides that eager NumPy has in an array of a value's history."""
    found = machine.layouts
    pending = [value]
    while pending:
        item = pending[-1]
        if item not in found:
            missing = [source for source in _sources(item) if source not in found]
            if missing:
                pending.extend(missing)
                continue
            found[item] = _layout(machine, item)
        pending.pop()
    return found[value]


def _sources(value: Value) -> tuple[Value, ...]:
    """Return the values whose layouts that of a value depends on."""
    node = value.node
    if node is not None and node.op in LAYOUTS:
        return node.inputs
    if node is None or _one_axis(value.type.shape) or node.op in _C_RESULTS or node.op in _ANY_RESULTS:
        return ()
    if node.op in _VIEWS or node.op.startswith("update"):
        return node.inputs[:1]
    return node.inputs


def _layout(machine: Machine, value: Value) -> Strides:
    node, shape = value.node, value.type.shape
    unknown: Strides = (None,) * len(shape)
    if node is None:
        layouts = {given.value: given.layout for given in machine.graph.inputs}
        return dense(shape, layouts.get(value))
    sources = [(source.type.shape, machine.layouts[source]) for source in _sources(value)]
    if node.op in LAYOUTS:
        return LAYOUTS[node.op](node, sources)
    if node.op in _VIEWS and sources:
        return _step(*sources[0], PathStep.of(node.op, **node.attributes))[1]
    if node.op.startswith("update") and sources:
        return sources[0][1]
    if node.op in _ANY_RESULTS or (node.op == "take" and node.attributes["axis"]):
        return c_strides(shape) if _one_axis(shape) else unknown
    if all(c_ordered(*source) for source in sources):
        return c_strides(shape)
    return in_common_order(shape, sources) if isinstance(OPS[node.op].lowering, Elementwise) else unknown


def _one_axis(shape: Sequence[Dim]) -> bool:
    return sum(dim != 1 for dim in shape) <= 1


def c_ordered(shape: Sequence[Dim], given: Strides) -> bool:
    """Whether axes are known to stand in C order, gaps or not: so does what is computed from them."""
    steps = [stride for dim, stride in zip(shape, given, strict=True) if dim != 1]
    if len(steps) <= 1 or tuple(given) == c_strides(shape):
        return True
    if not all(isinstance(step, int) for step in steps):
        return False
    return all(outer == 0 or inner == 0 or abs(outer) >= abs(inner) for outer, inner in itertools.pairwise(steps))  # type: ignore[arg-type]


def in_common_order(shape: tuple[Dim, ...], sources: Sequence[tuple[tuple[Dim, ...], Strides]]) -> Strides:
    """Return the strides of a new array whose axes NumPy's iterator puts in the order of its operands' (``"K"``)."""
    return iterated(shape, [_aligned(shape, steps_of(*source)) for source in sources])


def of_taken(given: Strides, shape: Sequence[Dim], axis: int, index: Sequence[Dim]) -> Strides:
    """Return the strides of what an index array picks along one axis: it steps furthest, the others as they did."""
    others, steps = (*shape[:axis], *shape[axis + 1 :]), (*given[:axis], *given[axis + 1 :])
    unknown: Strides = (None,) * (len(others) + len(index))
    if any(step == 0 and dim != 1 for dim, step in zip(others, steps, strict=True)):
        return unknown
    inner = iterated(others, [steps_of(others, steps)])
    if None in inner:
        return unknown
    outer = tuple(product((stride, *others)) for stride in c_strides(index) if stride is not None)
    return (*inner[:axis], *outer, *inner[axis:])


def _aligned(shape: Sequence[Dim], steps: list[Dim] | None) -> list[Dim] | None:
    return None if steps is None else [*[0] * (len(shape) - len(steps)), *steps]


def steps_of(dims: Sequence[Dim], given: Strides) -> list[Dim] | None:
    """Return how far an array steps along each axis, 0 where it does not; None if that is not known."""
    steps: list[Dim] = []
    for dim, step in zip(dims, given, strict=True):
        if step is None:
            return None
        steps.append(0 if dim == 1 else abs(step) if isinstance(step, int) else step)
    return steps


def iterated(shape: Sequence[Dim], operands: Sequence[Sequence[Dim] | None]) -> Strides:
    """Return the strides of a new array that NumPy's iterator makes for operands with such steps along its axes.

    Axes that the operands have and the array has not, since they are summed over, come last.
    """
    order = _iteration_order(len(shape), operands)
    if order is None:
        return c_strides(shape) if _one_axis(shape) else (None,) * len(shape)
    made: list[Stride] = [0] * len(shape)
    together: Dim = 1
    for axis in (axis for axis in order if axis < len(shape)):
        made[axis] = together
        together = product((together, shape[axis]))
    return tuple(made)


def _iteration_order(rank: int, operands: Sequence[Sequence[Dim] | None]) -> list[int] | None:
    """Return the axes as NumPy's iterator puts them, from the one that steps least; None where that is not known."""
    known = [steps for steps in operands if steps is not None]
    if len(known) < len(operands):
        return None
    order: list[int] = []
    for axis in reversed(range(max([rank, *map(len, known)]))):
        place = len(order)
        for position in reversed(range(len(order))):
            pairs = [(s[axis], s[order[position]]) for s in known if s[axis] != 0 and s[order[position]] != 0]
            further = [_steps_as_far(outer, inner) for outer, inner in pairs]
            if any(further):
                break  # where operands disagree, C order wins
            if None in further:
                return None
            if pairs:
                place = position
        order.insert(place, axis)
    return order


def _steps_as_far(one: Dim, other: Dim) -> bool | None:
    """Whether a step is as long as another, or longer; None where that is not known."""
    if isinstance(one, int) and isinstance(other, int):
        return one >= other
    if _is_multiple(one, other):
        return True
    return False if _is_multiple(other, one) else None


def _is_multiple(one: Dim, other: Dim) -> bool:
    """Whether a step is known to be a positive multiple of another: they are products, and one has all its factors."""
    (atoms, factor), (part, least) = _factors(one), _factors(other)
    left = list(atoms)
    for atom in part:
        if atom not in left:
            return False
        left.remove(atom)
    return 0 < least <= factor


def _factors(step: Dim) -> tuple[tuple[object, ...], int]:
    """Return what a step is a product of: dimensions, and a number, which is 0 if it is no product."""
    if isinstance(step, int):
        return (), step
    return step.terms[0] if len(step.terms) == 1 else ((), 0)


def axis_order(shape: tuple[Dim, ...], given: Strides) -> tuple[int, ...]:
    """Return the axes of an array from the one that steps furthest, or none where that is C order or not known."""
    order = None if c_ordered(shape, given) else _iteration_order(len(shape), [steps_of(shape, given)])
    outside_in = tuple(reversed(order or ()))
    return () if outside_in == tuple(range(len(shape))) else outside_in


def laid_out(machine: Machine, made: AbstractValue, order: AbstractValue, like: Value | None = None) -> AbstractValue:
    """Return a new array, noting that it is in C order if that is what was asked for, or laid out like another."""
    if isinstance(made, ArrayValue):
        version: Value = machine.state.at(made.storage).version
        if machine.constant(order, "order") == "C":
            machine.layouts[version] = c_strides(version.type.shape)
        elif like is not None and like.type.rank == version.type.rank:
            same = like.type.shape == version.type.shape
            machine.layouts[version] = of_new_array(machine, like) if same else (None,) * like.type.rank
    return made


def dense(shape: tuple[Dim, ...], order: str | None) -> Strides:
    """Return the strides of an array in C or Fortran order; of any other, that they are not known."""
    if order == "F":
        return tuple(reversed(c_strides(shape[::-1])))
    if order is None and _one_axis(shape):
        return c_strides(shape)
    return c_strides(shape) if order == "C" else tuple(0 if dim == 1 else None for dim in shape)


def of_new_array(machine: Machine, value: Value) -> Strides:
    """Return the strides of the memory that eager NumPy allocates for a value."""
    shape = value.type.shape
    found = layout(machine, value)
    if c_ordered(shape, found):
        return c_strides(shape)
    return in_common_order(shape, [(shape, found)])
