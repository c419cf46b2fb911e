"""Sliding windows: the operations that convolutions and pooling are composed of.

Owns `unfold`, `fold` and `window_max` as functions (`janusjit.ops.windows` says what they mean), and the sizes that
belong to them. Invariant: geometry is known when a graph is made; sizes need not be.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture.arrays import new_array, sequence_items, shape_of
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import array, integer, operate_node, with_common_dtype
from janusjit.analysis.capture.values import AbstractValue, TupleValue
from janusjit.nn.primitive import primitive
from janusjit.ops.convolutions import eager_convolution
from janusjit.ops.windows import eager_fold, eager_unfold, eager_window_max

Sizes = tuple[int, ...]


def _geometry(machine: Machine, *values: AbstractValue) -> dict[str, Sizes]:
    """Return the attributes that the tuples kernel, stride, padding and dilation are."""
    names = ("kernel", "stride", "padding", "dilation")
    return {
        name: tuple(integer(machine, item, name) for item in sequence_items(machine, machine.resolve(value)) or ())
        for name, value in zip(names, values, strict=True)
    }


def _model_unfold(machine: Machine, x: AbstractValue, output: AbstractValue, *geometry: AbstractValue) -> AbstractValue:
    attributes: dict[str, Any] = {"output": shape_of(machine, machine.resolve(output)), **_geometry(machine, *geometry)}
    return new_array(machine, machine.emit("unfold", array(machine, x), **attributes))


def _model_fold(machine: Machine, y: AbstractValue, size: AbstractValue, *geometry: AbstractValue) -> AbstractValue:
    attributes: dict[str, Any] = {"size": shape_of(machine, machine.resolve(size)), **_geometry(machine, *geometry)}
    return new_array(machine, machine.emit("fold", array(machine, y), **attributes))


def _model_window_max(
    machine: Machine, x: AbstractValue, output: AbstractValue, *geometry: AbstractValue
) -> AbstractValue:
    attributes: dict[str, Any] = {"output": shape_of(machine, machine.resolve(output)), **_geometry(machine, *geometry)}
    node = operate_node(machine, "window_max", array(machine, x), **attributes)
    return TupleValue(tuple(new_array(machine, result) for result in node.results))


def _model_convolve(
    machine: Machine, x: AbstractValue, w: AbstractValue, output: AbstractValue, *geometry: AbstractValue
) -> AbstractValue:
    attributes: dict[str, Any] = {"output": shape_of(machine, machine.resolve(output)), **_geometry(machine, *geometry)}
    operands = with_common_dtype(machine, (array(machine, x), array(machine, w)))
    return new_array(machine, machine.emit("convolution", *operands, **attributes))


@primitive(_model_convolve)
def convolve(x: Any, w: Any, output: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Return the convolution of ``(batch, channels, *size)`` with kernels: ``(batch, out_channels, *output)``."""
    return eager_convolution(x, w, output, kernel, stride, padding, dilation)


@primitive(_model_unfold)
def unfold(x: Any, output: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Return the windows of ``(batch, channels, *size)`` as ``(channels, *kernel, batch, *output)``."""
    return eager_unfold(x, output, kernel, stride, padding, dilation)


@primitive(_model_fold)
def fold(y: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Add the elements of windows, as `unfold` gives them, to their places in ``(batch, channels, *size)``."""
    return eager_fold(y, size, kernel, stride, padding, dilation)


@primitive(_model_window_max)
def window_max(x: Any, output: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Return the greatest element of each window, and its index into the flattened last axes."""
    return eager_window_max(x, output, kernel, stride, padding, dilation)


def each(value: int | Sizes, rank: int) -> Sizes:
    """Return a setting as one number for each axis."""
    if isinstance(value, tuple | list):
        return tuple(value) * rank if len(value) == 1 else tuple(value)
    return (value,) * rank


def output_sizes(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """Return how many windows there are along each axis; ``padding`` is that of both ends together."""
    return tuple(
        [
            (n + p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
        ]
    )
