"""Sliding windows over the last axes of an array: what convolutions and pooling are made of.

Owns ``unfold``, ``fold`` and ``window_max``. Invariant: ``unfold`` and ``fold`` are each other's transpose, so each is
the other's gradient; a window may reach over the border, where there are zeros (for ``window_max``: nothing).

Arrays are ``(batch, channels, *size)``. Along each axis, element ``k`` of the window at output position ``o`` is
element ``o*stride - padding + k*dilation``. Windows are ``(channels, *kernel, batch, *output)``: as a matrix of
``channels*kernel`` rows they are a convolution's right operand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import product
from janusjit.ir.types import TensorType
from janusjit.ops.gradient import Cotangent, Pullback
from janusjit.ops.registry import Attributes, Gradient, Op, Structured, TypeRule, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_dtype, check_rank

Ints = tuple[int, ...]


# ---------------------------------------------------------------------- eager


def _padded(x: Any, widths: tuple[tuple[int, int], ...], value: float) -> Any:
    """Return an array with constant borders along its last axes."""
    if not any(map(any, widths)):
        return x
    lead = x.ndim - len(widths)
    result = np.full((*x.shape[:lead], *(n + b + a for n, (b, a) in zip(x.shape[lead:], widths, strict=True))), value)
    result = result.astype(x.dtype, copy=False)
    inside: Any = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape[lead:], widths, strict=True))
    result[(..., *inside)] = x
    return result


def _borders(size: Ints, output: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the widths of the borders that the windows reach over, along each axis."""
    return tuple(
        (before, max(0, (o - 1) * s + d * (k - 1) + 1 - before - n))
        for n, o, k, s, before, d in zip(size, output, kernel, stride, padding, dilation, strict=True)
    )


def _windows(x: Any, output: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, value: float) -> Any:
    """Return a view ``(batch, channels, *kernel, *output)`` of ``x`` with borders."""
    x = _padded(x, _borders(x.shape[2:], output, kernel, stride, padding, dilation), value)
    steps = x.strides[2:]
    strides = (
        *(t * d for t, d in zip(steps, dilation, strict=True)),
        *(t * s for t, s in zip(steps, stride, strict=True)),
    )
    shape = (*x.shape[:2], *kernel, *output)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:2], *strides), writeable=False)


def eager_unfold(x: Any, output: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the windows of ``x``: ``(channels, *kernel, batch, *output)``."""
    windows = _windows(x, output, kernel, stride, padding, dilation, 0.0)
    return np.ascontiguousarray(np.moveaxis(windows, 0, 1 + len(kernel)))


def eager_fold(y: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the sums of the elements of windows by the places they are of: ``(batch, channels, *size)``."""
    rank = len(kernel)
    output = y.shape[2 + rank :]
    borders = _borders(size, output, kernel, stride, padding, dilation)
    whole = tuple(n + before + after for n, (before, after) in zip(size, borders, strict=True))
    result = np.zeros((y.shape[0], y.shape[1 + rank], *whole), y.dtype)
    for place in np.ndindex(*kernel):
        starts = [k * d for k, d in zip(place, dilation, strict=True)]
        at: Any = tuple(slice(b, b + (o - 1) * s + 1, s) for b, o, s in zip(starts, output, stride, strict=True))
        if 0 not in output:
            result[(slice(None), slice(None), *at)] += y[(slice(None), *place)]
    inside: Any = tuple(slice(before, before + n) for n, (before, _) in zip(size, borders, strict=True))
    return np.ascontiguousarray(np.swapaxes(result, 0, 1)[(..., *inside)])


def eager_window_max(x: Any, output: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the greatest element of each window (NaN if one is), and its index into the flattened last axes."""
    windows = _windows(x, output, kernel, stride, padding, dilation, -np.inf)
    rank = len(kernel)
    flat = np.moveaxis(windows.reshape(*x.shape[:2], math.prod(kernel), *output), 2, -1)
    best = np.argmax(flat, axis=-1)
    if any(padding):  # where all elements are the least number, the first of them counts, and nothing on the border
        there = _windows(np.ones((1, 1, *x.shape[2:]), bool), output, kernel, stride, padding, dilation, 0.0)
        inside = np.broadcast_to(np.moveaxis(there.reshape(1, 1, math.prod(kernel), *output), 2, -1), flat.shape)
        is_inside = np.take_along_axis(inside, best[..., None], -1)[..., 0]
        best = np.where(is_inside, best, np.argmax(inside, axis=-1))
    values = np.take_along_axis(flat, best[..., None], -1)[..., 0]
    index = np.zeros(best.shape, np.int64)
    for axis, place in enumerate(np.unravel_index(best, kernel)):
        shape = [1] * rank
        shape[axis] = -1
        start = (np.arange(output[axis]) * stride[axis] - padding[axis]).reshape(shape)
        index = index * x.shape[2 + axis] + start + place * dilation[axis]
    return values, index


# ---------------------------------------------------------------------- types


def check_geometry(rank: int, attributes: Attributes) -> None:
    """Raise `TypeRuleError` unless the attributes are those of windows over ``rank`` axes."""
    for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
        values = attributes[name]
        if len(values) != rank or any(not isinstance(v, int) or v < least for v in values):
            raise TypeRuleError(f"windows over {rank} axes with {name} {values}")


def _windows_rule(name: str, results: Callable[[TensorType, Attributes], tuple[TensorType, ...]]) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        (x,) = inputs
        check_dtype(x, ("f32", "f64"), f"the input of {name}")
        rank = len(attributes["kernel"])
        check_geometry(rank, attributes)
        check_rank(x, 2 + rank + (rank if name == "fold" else 0), name)
        return results(x, attributes)

    return infer


def _unfold_types(x: TensorType, attributes: Attributes) -> tuple[TensorType, ...]:
    return (x.with_shape((x.shape[1], *attributes["kernel"], x.shape[0], *attributes["output"])),)


def _fold_types(y: TensorType, attributes: Attributes) -> tuple[TensorType, ...]:
    kernel = attributes["kernel"]
    if y.shape[1 : 1 + len(kernel)] != kernel:
        raise TypeRuleError(f"fold of {y}: windows of {kernel}")
    return (y.with_shape((y.shape[1 + len(kernel)], y.shape[0], *attributes["size"])),)


def _max_types(x: TensorType, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = (*x.shape[:2], *attributes["output"])
    return x.with_shape(shape), TensorType("i64", shape)


# ---------------------------------------------------------------------- gradients


def _geometry(p: Pullback) -> dict[str, Any]:
    return {name: p.attributes[name] for name in ("kernel", "stride", "padding", "dilation")}


def _unfold_gradient(p: Pullback) -> list[Cotangent]:
    return [p.emit("fold", p.cotangent, size=p.inputs[0].shape[2:], **_geometry(p))]


def _fold_gradient(p: Pullback) -> list[Cotangent]:
    output = p.inputs[0].shape[2 + len(p.attributes["kernel"]) :]
    return [p.emit("unfold", p.cotangent, output=output, **_geometry(p))]


def _max_gradient(p: Pullback) -> list[Cotangent]:
    """Add each cotangent where the greatest element was."""
    x, g, index = p.inputs[0], p.cotangents[0], p.results[1]
    if g is None:
        return [None]
    images, places = x.shape[0] * x.shape[1], product(x.shape[2:])
    windows = product(g.shape[2:])
    rows = p.emit.positions(images).reshape((images, 1))
    zeros = p.emit.zeros(x.type.with_shape((images, places)))
    flat = (g.reshape((images, windows)), rows, index.reshape((images, windows)))
    return [p.emit("update_take", zeros, *flat, axes=(0, 1), accumulate=True).reshape(x.shape)]


# ---------------------------------------------------------------------- declarations


def geometries() -> tuple[tuple[Ints, dict[str, Ints], Ints, Ints], ...]:
    """Return sizes, geometries and outputs, and sizes that are folded to."""
    return (
        ((5,), {"kernel": (3,), "stride": (1,), "padding": (0,), "dilation": (1,)}, (3,), (5,)),
        ((7,), {"kernel": (2,), "stride": (2,), "padding": (1,), "dilation": (3,)}, (3,), (8,)),
        ((4, 5), {"kernel": (3, 2), "stride": (1, 1), "padding": (1, 0), "dilation": (1, 1)}, (4, 4), (4, 5)),
        ((5, 4), {"kernel": (2, 3), "stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)}, (2, 2), (5, 4)),
        ((3, 3), {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}, (2, 2), (3, 3)),
    )


def _window_op(name: str, eager: Callable[..., Any], types: Any, gradient: Gradient, samples: Any) -> None:
    declare(
        Op(
            name=name,
            family="windows",
            eager=eager,
            infer=_windows_rule(name, types),
            lowering=Structured(),
            gradient=gradient,
            sums=name == "fold",
            samples=tuple(samples),
        )
    )


_DTYPES = ("f64", "f32")
_window_op(
    "unfold",
    eager_unfold,
    _unfold_types,
    _unfold_gradient,
    (
        Sample((Draw((batch, 3, *size), dtype),), {**geometry, "output": output})
        for size, geometry, output, _ in geometries()
        for batch, dtype in ((2, "f64"), (2, "f32"), (0, "f64"))
    ),
)
_window_op(
    "fold",
    eager_fold,
    _fold_types,
    _fold_gradient,
    (
        Sample((Draw((3, *geometry["kernel"], batch, *output), dtype),), {**geometry, "size": size})
        for _, geometry, output, size in geometries()
        for batch, dtype in ((2, "f64"), (2, "f32"), (0, "f64"))
    ),
)
_window_op(
    "window_max",
    eager_window_max,
    _max_types,
    _max_gradient,
    (
        Sample((Draw((batch, 3, *size), dtype),), {**geometry, "output": output})
        for size, geometry, output, _ in geometries()
        for batch, dtype in ((2, "f64"), (2, "f32"), (0, "f64"))
    ),
)
