"""Models of NumPy's windows.

Owns those of `numpy.lib.stride_tricks.sliding_window_view` and ``as_strided``. Invariant: what they give shows what is
written to the array afterwards, as NumPy's views do, and is not written itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import sequence_items, shape_of
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import axis_of, flag, integer, numpy_function, operate
from janusjit.analysis.capture.numpy_dimensions import with_shape
from janusjit.analysis.capture.numpy_linalg import transposed
from janusjit.analysis.capture.numpy_memory import strides as memory_strides
from janusjit.analysis.capture.numpy_shape import as_array_value, mirror
from janusjit.analysis.capture.sharing import freeze
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, ArrayValue, Known
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Value
from janusjit.ops.indexing import FrozenArray
from janusjit.ops.type_rules import at_least
from janusjit.transform.picked import Digit, Picked, Windows
from janusjit.transform.positions import known_sizes
from janusjit.transform.replacing import Arranger

#: an array's elements times those of a window, from which on windows along one axis are taken along rows
LEAST = 2048


@numpy_function(np.lib.stride_tricks.sliding_window_view)
def _model_sliding_windows(
    machine: Machine,
    x: AbstractValue,
    window_shape: AbstractValue,
    axis: AbstractValue = NONE,
    *,
    subok: AbstractValue = FALSE,
    writeable: AbstractValue = FALSE,
) -> AbstractValue:
    if flag(machine, writeable, "writeable") or flag(machine, subok, "subok"):
        raise machine.unsupported("numpy.argument", "sliding_window_view", "windows that can be written")
    source = as_array_value(machine, x)
    rank = source.type.rank
    given = sequence_items(machine, machine.resolve(window_shape))
    windows = [integer(machine, item, "window_shape") for item in ([window_shape] if given is None else given)]
    if any(window < 0 for window in windows):
        raise machine.python_error(ValueError, "`window_shape` cannot contain negative values")
    axes = _axes(machine, axis, rank)
    if len(axes) != len(windows):
        raise machine.python_error(ValueError, "window_shape and axis have to be of the same length")
    sizes = list(source.type.shape)
    for place, window in zip(axes, windows, strict=True):
        size = sizes[place]
        if not isinstance(size, int):
            raise machine.unsupported("numpy.argument", "sliding_window_view", "the length of an axis varies")
        sizes[place] = size - window + 1
        if size < window:
            raise machine.python_error(ValueError, "window shape cannot be larger than input array shape")
    return mirror(machine, source, lambda machine, value: _windows(machine, value, axes, windows))


@numpy_function(np.lib.stride_tricks.as_strided)
def _model_as_strided(
    machine: Machine,
    x: AbstractValue,
    shape: AbstractValue = NONE,
    strides: AbstractValue = NONE,
    subok: AbstractValue = FALSE,
    writeable: AbstractValue = TRUE,
) -> AbstractValue:
    if flag(machine, subok, "subok"):
        raise machine.unsupported("numpy.argument", "as_strided", "a subclass of arrays is asked for")
    source = as_array_value(machine, x)
    size = source.type.numpy_dtype.itemsize
    lengths = source.type.shape if machine.resolve(shape) == NONE else shape_of(machine, shape)
    memory = exact_strides(machine, source) or memory_strides(machine, source)
    steps: list[Dim | None] = list(memory)
    if machine.resolve(strides) != NONE:
        given = sequence_items(machine, machine.resolve(strides)) or [strides]
        steps = [integer(machine, item, "strides") for item in given]
        if any(step % size for step in steps if isinstance(step, int)):
            raise machine.unsupported("numpy.argument", "as_strided", "elements overlap")
        steps = [step // size if isinstance(step, int) else step for step in steps]
    picked = _picked(source.type.shape, memory, lengths, steps)
    if picked is None:
        raise machine.unsupported("numpy.argument", "as_strided", "axes do not each step along one axis of the array")

    def compute(machine: Machine, value: Value) -> Value:
        found = _pick(machine, value, picked)
        machine.layouts[found] = tuple(steps)
        return found

    made = mirror(machine, source, compute)
    if flag(machine, writeable, "writeable"):
        storage: Storage = machine.state.at(made.storage)
        storage.writeable = True
        freeze(machine, made.storage, "it shares the memory of another in a way that is not followed")
    return made


def exact_strides(machine: Machine, array: ArrayValue) -> tuple[Dim, ...] | None:
    """Return an array's strides in elements, also those that mean nothing; those of an outside array are guarded.

    None stands for strides that are not known.
    """
    steps, shape = memory_strides(machine, array), array.type.shape
    known = tuple(step for step in steps if step is not None)
    if len(known) == len(steps) and 0 not in shape and all(at_least(dim, 2) for dim in shape):
        return known
    live = machine.externals.live_array(array.storage)
    if live is None or array.path or any(step % live.itemsize for step in live.strides):
        return None
    place = machine.externals.attribute_place(machine.state.at(array.storage).place, "strides")
    items = [machine.externals.item_place(place, axis) for axis in range(live.ndim)]
    if not all(map(machine.externals.may_assume_value, items)):
        return None
    for item, step in zip(items, live.strides, strict=True):
        machine.externals.guard_value(item, step)
    return tuple(step // live.itemsize for step in live.strides)


def _picked(
    shape: Sequence[Dim], memory: Sequence[Dim | None], lengths: Sequence[Dim], steps: Sequence[Dim | None]
) -> Picked | None:
    """Return what axes of some lengths, each stepping by so many elements of memory, pick of an array."""
    known = known_sizes(shape), known_sizes(lengths)
    if known[0] is None or known[1] is None or len(lengths) != len(steps):
        return None
    axes = [(step, axis) for axis, step in enumerate(memory) if known[0][axis] > 1 and isinstance(step, int)]
    if len(axes) != sum(size > 1 for size in known[0]):
        return None
    digits = []
    for length, step in zip(known[1], steps, strict=True):
        if length == 1:
            digits.append(Digit(0, 1, 1))
            continue
        along = [(own, axis) for own, axis in axes if own > 0 and isinstance(step, int) and step > 0 and not step % own]
        if not along or not isinstance(step, int):
            return None
        own, axis = max(along)
        digits.append(Digit(axis, length, step // own))
    picked = Picked(known[0], (0,) * len(known[0]), tuple(digits))
    return picked if picked.is_inside() and known[0] else None


class _Emitting(Arranger):
    """Emits operations as capture does."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def emit(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        return self._machine.emit(op, *inputs, **attributes)


def _pick(machine: Machine, value: Value, picked: Picked) -> Value:
    """Return what is picked of an array, as windows or by arrays of positions."""
    windows = Windows.of(picked) if value.type.dtype in ("f32", "f64") else None
    if windows is not None:
        return machine.emit("copy", windows.unfolded(_Emitting(machine), value))
    positions: list[Any] = [np.full((1,) * len(picked.digits), start) for start in picked.starts]
    for number, digit in enumerate(picked.digits):
        line = np.arange(digit.length) * digit.step
        positions[digit.axis] = positions[digit.axis] + line.reshape((-1,) + (1,) * (len(picked.digits) - number - 1))
    arrays = [machine.emit("constant_array", value=FrozenArray(item)) for item in positions]
    guard = machine.guard("index.bounds", "as_strided", "positions within bounds")
    return machine.emit("gather", value, *arrays, axes=tuple(range(len(arrays))), guard=guard)


def _axes(machine: Machine, axis: AbstractValue, rank: int) -> list[int]:
    """Return the axes, normalised; one may come more than once."""
    axis = machine.resolve(axis)
    if isinstance(axis, Known) and axis.value is None:
        return list(range(rank))
    items = sequence_items(machine, axis)
    return [axis_of(machine, item, rank) for item in ([axis] if items is None else items)]


def _windows(machine: Machine, value: Value, axes: list[int], windows: list[int]) -> Value:
    """Return the windows along axes, each as a further last axis."""
    if _is_unfolded(value, axes, windows):
        return machine.emit("copy", _unfolded(machine, value, axes, windows))
    for place, window in zip(axes, windows, strict=True):
        size, rank = value.type.shape[place], value.type.rank
        assert isinstance(size, int)
        positions = np.arange(size - window + 1)[:, None] + np.arange(window)
        chosen = machine.emit("constant_array", value=FrozenArray(positions))
        taken = operate(machine, "take", value, chosen, axis=place)
        order = (*range(place + 1), *range(place + 2, rank + 1), place + 1)
        value = machine.emit("transpose", taken, axes=order)
    return machine.emit("copy", value)


def _is_unfolded(value: Value, axes: list[int], windows: list[int]) -> bool:
    """Return whether a convolution may be made of windows: of floats, along one or two axes of up to four."""
    apart = len(set(axes)) == len(axes) and len(axes) in (1, 2) and value.type.rank - len(axes) <= 2
    if not apart or value.type.dtype not in ("f32", "f64") or 0 in value.type.shape or 0 in windows:
        return False
    elements = product(value.type.shape) * math.prod(windows)
    return len(axes) == 2 or not isinstance(elements, int) or elements >= LEAST


def _unfolded(machine: Machine, value: Value, axes: list[int], windows: list[int]) -> Value:
    """Return windows along one or two axes of up to four: the others are taken for images and channels."""
    rank, shape = len(axes), value.type.shape
    others = [axis for axis in range(value.type.rank) if axis not in axes]
    value = transposed(machine, value, (*others, *axes))
    lead = value.type.shape[: len(others)]
    more = (1,) * (2 - len(others))
    lead = (*lead, *more) if rank == 1 else (*more, *lead)  # rows are images, of which channels are planes
    output = tuple([shape[axis] - window + 1 for axis, window in zip(axes, windows, strict=True)])
    ones = (1,) * rank
    geometry: dict[str, Any] = {"kernel": tuple(windows), "stride": ones, "padding": (0,) * rank, "dilation": ones}
    images = with_shape(machine, value, (*lead, *value.type.shape[len(others) :]))
    found = machine.emit("unfold", images, output=output, **geometry)
    # channels, kernel, images, output: as images, channels, output, kernel
    order = (rank + 1, 0, *range(rank + 2, 2 * rank + 2), *range(1, rank + 1))
    found = with_shape(
        machine,
        transposed(machine, found, order),
        (*(shape[axis] for axis in others), *output, *windows),
    )
    places = {axis: number for number, axis in enumerate([*others, *axes])}
    back = [places[axis] for axis in range(len(shape))]
    return transposed(machine, found, (*back, *range(len(shape), len(shape) + rank)))
