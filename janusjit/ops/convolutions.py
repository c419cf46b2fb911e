"""Convolutions over the last axes of an array, and what takes gradients back through them.

Owns ``convolution``, ``convolution_by_input`` and ``convolution_by_kernel``. Invariant: each is linear in both inputs,
and the gradients of each are the two others.

Images are ``(batch, channels, *size)``, kernels ``(out_channels, channels, *kernel)`` and results ``(batch,
out_channels, *output)``. A convolution is the product of the kernels with the windows of the images
(`janusjit.ops.windows` says which those are); the kernel is not reversed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.types import TensorType
from janusjit.ops.gradient import Cotangent, Pullback
from janusjit.ops.registry import Attributes, Contract, Gradient, Op, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_dtype, check_rank, check_same_dtype
from janusjit.ops.windows import Ints, check_geometry, eager_fold, eager_unfold, geometries

# ---------------------------------------------------------------------- eager


def _columns(x: Any, output: Ints, **geometry: Ints) -> Any:
    """Return the windows of images as a matrix ``(channels * kernel, batch * output)``."""
    windows = eager_unfold(x, output, **geometry)
    return windows.reshape(math.prod(windows.shape[: 1 + len(output)]), x.shape[0] * math.prod(output))


def _rows(g: Any) -> Any:
    """Return ``(batch, channels, *output)`` as a matrix ``(channels, batch * output)``."""
    return np.swapaxes(g, 0, 1).reshape(g.shape[1], g.shape[0] * math.prod(g.shape[2:]))


def eager_convolution(x: Any, w: Any, output: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the convolution of images: ``(batch, out_channels, *output)``."""
    columns = _columns(x, output, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    rows = w.reshape(w.shape[0], columns.shape[0])
    product = (rows @ columns).reshape(w.shape[0], x.shape[0], *output)
    return np.ascontiguousarray(np.swapaxes(product, 0, 1))


def eager_by_kernel(x: Any, g: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the sums over all windows of a window times its ``g``: ``(out_channels, channels, *kernel)``."""
    columns = _columns(x, g.shape[2:], kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return (_rows(g) @ columns.T).reshape(g.shape[1], x.shape[1], *kernel)


def eager_by_input(w: Any, g: Any, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """Return the sums of the kernels, each times its ``g``, where the windows are: ``(batch, channels, *size)``."""
    windows = w.reshape(w.shape[0], math.prod(w.shape[1:])).T @ _rows(g)
    return eager_fold(
        windows.reshape(*w.shape[1:], g.shape[0], *g.shape[2:]), size, kernel, stride, padding, dilation
    )


# ---------------------------------------------------------------------- types


def _checked(name: str, inputs: tuple[TensorType, ...], attributes: Attributes) -> int:
    """Return over how many axes an operation goes; its inputs are two arrays of one float type."""
    check_arity(inputs, 2, name)
    rank = len(attributes["kernel"])
    check_geometry(rank, attributes)
    for type_ in inputs:
        check_dtype(type_, ("f32", "f64"), f"an input of {name}")
        check_rank(type_, 2 + rank, name)
    check_same_dtype(inputs, name)
    return rank


def _expect(name: str, inputs: tuple[TensorType, ...], holds: bool) -> None:
    if not holds:
        raise TypeRuleError(f"{name} of {inputs[0]} and {inputs[1]}")


def _forward_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    _checked("convolution", inputs, attributes)
    x, w = inputs
    _expect("convolution", inputs, (x.shape[1], *attributes["kernel"]) == w.shape[1:])
    return (x.with_shape((x.shape[0], w.shape[0], *attributes["output"])),)


def _kernel_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    _checked("convolution_by_kernel", inputs, attributes)
    x, g = inputs
    _expect("convolution_by_kernel", inputs, x.shape[0] == g.shape[0])
    return (x.with_shape((g.shape[1], x.shape[1], *attributes["kernel"])),)


def _input_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    _checked("convolution_by_input", inputs, attributes)
    w, g = inputs
    _expect("convolution_by_input", inputs, w.shape[0] == g.shape[1] and w.shape[2:] == attributes["kernel"])
    return (w.with_shape((g.shape[0], w.shape[1], *attributes["size"])),)


# ---------------------------------------------------------------------- gradients


def _geometry(p: Pullback) -> dict[str, Any]:
    return {name: p.attributes[name] for name in ("kernel", "stride", "padding", "dilation")}


def _forward_gradient(p: Pullback) -> list[Cotangent]:
    (x, w), g, geometry = p.inputs, p.cotangent, _geometry(p)
    return [
        p.emit("convolution_by_input", w, g, size=x.shape[2:], **geometry) if p.wanted[0] else None,
        p.emit("convolution_by_kernel", x, g, **geometry) if p.wanted[1] else None,
    ]


def _kernel_gradient(p: Pullback) -> list[Cotangent]:
    (x, g), h, geometry = p.inputs, p.cotangent, _geometry(p)
    return [
        p.emit("convolution_by_input", h, g, size=x.shape[2:], **geometry) if p.wanted[0] else None,
        p.emit("convolution", x, h, output=g.shape[2:], **geometry) if p.wanted[1] else None,
    ]


def _input_gradient(p: Pullback) -> list[Cotangent]:
    (w, g), h, geometry = p.inputs, p.cotangent, _geometry(p)
    return [
        p.emit("convolution_by_kernel", h, g, **geometry) if p.wanted[0] else None,
        p.emit("convolution", h, w, output=g.shape[2:], **geometry) if p.wanted[1] else None,
    ]


# ---------------------------------------------------------------------- declarations


def _convolution_op(name: str, eager: Callable[..., Any], types: Any, gradient: Gradient, samples: Any) -> None:
    declare(
        Op(
            name=name,
            family="convolutions",
            eager=eager,
            infer=types,
            lowering=Contract(),
            gradient=gradient,
            sums=True,
            samples=tuple(samples),
        )
    )


#: shapes of images, kernels and results, with the attributes of all three operations
_CASES = [
    ((batch, 3, *size), (2, 3, *geometry["kernel"]), (batch, 2, *output), dtype, geometry)
    for size, geometry, output, _ in geometries()
    for batch, dtype in ((2, "f64"), (2, "f32"), (0, "f64"))
]
_convolution_op(
    "convolution",
    eager_convolution,
    _forward_rule,
    _forward_gradient,
    (Sample((Draw(x, dtype), Draw(w, dtype)), {**geometry, "output": g[2:]}) for x, w, g, dtype, geometry in _CASES),
)
_convolution_op(
    "convolution_by_kernel",
    eager_by_kernel,
    _kernel_rule,
    _kernel_gradient,
    (Sample((Draw(x, dtype), Draw(g, dtype)), dict(geometry)) for x, _, g, dtype, geometry in _CASES),
)
_convolution_op(
    "convolution_by_input",
    eager_by_input,
    _input_rule,
    _input_gradient,
    (Sample((Draw(w, dtype), Draw(g, dtype)), {**geometry, "size": x[2:]}) for x, w, g, dtype, geometry in _CASES),
)
