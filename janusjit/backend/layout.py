"""Where the elements of an array lie: strides, and what view operations do to them.

Owns `Layout` and the index maps of the view operations. Invariant: strides are in bytes and symbolic like dimensions,
so contiguity is decided when a graph is planned and no compiled code asks for it; what is unknown then (the strides
of an input of any layout) is a symbol of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from janusjit.ir.dims import Dim, Symbol, product, symbol
from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, PathStep, Pick, Start


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape and strides of an array of ``dtype``."""

    dtype: str
    shape: tuple[Dim, ...]
    strides: tuple[Dim, ...]

    @property
    def type(self) -> TensorType:
        """The type of a value so laid out."""
        return TensorType(self.dtype, self.shape)

    @property
    def item_size(self) -> int:
        """Bytes of an element."""
        return int(DTYPES[self.dtype].itemsize)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps, as far as is known."""
        expected = contiguous(self.type).strides
        if 0 in self.shape:
            return True
        return all(d == 1 or s == e for d, s, e in zip(self.shape, self.strides, expected, strict=True))

    def broadcast(self, shape: Sequence[Dim]) -> Layout:
        """Return the layout stretched to ``shape``: stride 0 where a dimension is new or was 1."""
        new = len(shape) - len(self.shape)
        strides: list[Dim] = [0] * new
        for target, dim, stride in zip(shape[new:], self.shape, self.strides, strict=True):
            strides.append(stride if dim == target else 0)
        return Layout(self.dtype, tuple(shape), tuple(strides))


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a view begins behind its base: the sum of ``start * stride`` bytes; operands number extra inputs."""

    terms: tuple[tuple[Start, Dim], ...] = ()


def contiguous(type_: TensorType) -> Layout:
    """Return the C-contiguous layout of a type."""
    strides: list[Dim] = []
    step: Dim = type_.numpy_dtype.itemsize
    for dim in reversed(type_.shape):
        strides.append(step)
        step = step * dim
    return Layout(type_.dtype, type_.shape, tuple(reversed(strides)))


def ordered(type_: TensorType, order: Sequence[int]) -> Layout:
    """Return the layout without gaps whose axes are in an order, from the one that steps furthest; C order if none."""
    if not order:
        return contiguous(type_)
    strides = contiguous(type_.with_shape(tuple(type_.shape[axis] for axis in order))).strides
    return Layout(type_.dtype, type_.shape, tuple(strides[order.index(axis)] for axis in range(type_.rank)))


def fortran(type_: TensorType) -> Layout:
    """Return the Fortran-contiguous layout of a type."""
    reverse = contiguous(type_.with_shape(type_.shape[::-1]))
    return Layout(type_.dtype, type_.shape, reverse.strides[::-1])


def unknown(type_: TensorType, name: str) -> Layout:
    """Return a layout each of whose strides is a symbol of its own, called after ``name``."""
    strides = tuple(symbol(f"{name}.stride{axis}") for axis in range(type_.rank))
    return Layout(type_.dtype, type_.shape, strides)


def stride_symbols(layout: Layout) -> tuple[Symbol, ...]:
    """Return the symbols that `unknown` made the strides of."""
    found = []
    for stride in layout.strides:
        assert not isinstance(stride, int)
        (only,) = stride.symbols()
        found.append(only)
    return tuple(found)


def viewed(layout: Layout, op: str, attributes: Mapping[str, Any]) -> tuple[Layout, Shift] | None:
    """Return the layout a view operation gives and where it begins, or None for a ``reshape`` that has to copy."""
    if op == "view":
        return _indexed(layout, attributes["index"])
    if op == "transpose":
        axes = attributes["axes"]
        shape, strides = (tuple(part[axis] for axis in axes) for part in (layout.shape, layout.strides))
        return Layout(layout.dtype, shape, strides), Shift()
    if op == "broadcast":
        return layout.broadcast(attributes["shape"]), Shift()
    reshaped = _reshaped(layout, attributes["shape"])
    return None if reshaped is None else (reshaped, Shift())


def follow(layout: Layout, path: Sequence[PathStep]) -> tuple[Layout, Shift] | None:
    """Return the layout at the end of a path of view steps; operands of the shift number all the path's extras."""
    terms: list[tuple[Start, Dim]] = []
    extras = 0
    for step in path:
        step_result = viewed(layout, step.op, dict(step.attributes))
        if step_result is None:
            return None
        layout, shift = step_result
        terms += [(_renumbered(start, extras), stride) for start, stride in shift.terms]
        extras += step.extras
    return layout, Shift(tuple(terms))


def _renumbered(start: Start, extras: int) -> Start:
    return Operand(start.number + extras) if isinstance(start, Operand) else start


def _indexed(layout: Layout, index: Sequence[IndexItem]) -> tuple[Layout, Shift]:
    shape: list[Dim] = []
    strides: list[Dim] = []
    terms: list[tuple[Start, Dim]] = []
    axes = iter(layout.strides)
    for item in index:
        if isinstance(item, NewAxis):
            shape.append(1)
            strides.append(0)
            continue
        stride = next(axes)
        if item.start != 0:
            terms.append((item.start, stride))
        if not isinstance(item, Pick):
            shape.append(item.length)
            strides.append(stride * item.step)
    return Layout(layout.dtype, tuple(shape), tuple(strides)), Shift(tuple(terms))


def _reshaped(layout: Layout, shape: tuple[Dim, ...]) -> Layout | None:
    """Return the layout as ``shape``, or None if no strides address the elements in that order."""
    target = contiguous(TensorType(layout.dtype, shape))
    if layout.is_contiguous or 0 in shape:
        return target
    if not all(isinstance(dim, int) for dim in (*layout.shape, *shape)):
        return _of_dims_known_at_run_time(layout, shape)
    old = [(d, s) for d, s in zip(layout.shape, layout.strides, strict=True) if d != 1]
    strides: list[Dim] = [0] * len(shape)
    axis = 0
    while old:
        first = axis
        group, gathered = [old.pop(0)], shape[axis]
        axis += 1
        while (left := product(d for d, _ in group)) != gathered:
            if left < gathered:  # type: ignore[operator]
                group.append(old.pop(0))
            else:
                gathered, axis = gathered * shape[axis], axis + 1
        if any(s != inner * d for (_, s), (d, inner) in pairwise(group)):
            return None
        step = group[-1][1]
        for position in reversed(range(first, axis)):
            strides[position] = step
            step = step * shape[position]
    return Layout(layout.dtype, shape, tuple(strides))


def _of_dims_known_at_run_time(layout: Layout, shape: tuple[Dim, ...]) -> Layout | None:
    """Return the layout as ``shape``: a dimension known at run time stays as it is, others are divided and joined.

    What the program is told to be a view (`reshaped` of `janusjit.analysis.capture.numpy_memory`) has to be one here.
    """
    old = [(d, s) for d, s in zip(layout.shape, layout.strides, strict=True) if d != 1]
    new = [d for d in shape if d != 1]
    strides: list[Dim] = []
    while old and new:
        group, parts = [old.pop(0)], [new.pop(0)]
        while (have := product(d for d, _ in group)) != (wanted := product(parts)):
            if not (isinstance(have, int) and isinstance(wanted, int)) or not (old if have < wanted else new):
                return None
            if have < wanted:
                group.append(old.pop(0))
            else:
                parts.append(new.pop(0))
        if any(s != inner * d for (_, s), (d, inner) in pairwise(group)):
            return None
        steps: list[Dim] = [group[-1][1]]
        for part in reversed(parts[1:]):
            steps.append(steps[-1] * part)
        strides += reversed(steps)
    if old or new:
        return None
    rest = iter(strides)
    return Layout(layout.dtype, shape, tuple(0 if dim == 1 else next(rest) for dim in shape))
