"""Models of the functions that join, split, repeat and rearrange arrays.

Owns ``concatenate``, ``split``, ``roll``, ``pad`` and their kin. Invariant: joins are new arrays, splits and flips are
views.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import as_dim, cast, constant, new_array, read, sequence_items, view, whole_view
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.containers import build
from janusjit.analysis.capture.elements import stored
from janusjit.analysis.capture.indexing import get_item
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_items,
    axes_of,
    axis_of,
    dtype_of,
    finish,
    given,
    integer,
    numpy_function,
    operate,
    strict_axis_of,
    with_common_dtype,
)
from janusjit.analysis.capture.numpy_dimensions import require_equal, require_nonempty, size_value, with_shape
from janusjit.analysis.capture.numpy_shape import as_array_value, flattened, transpose_to
from janusjit.analysis.capture.packed import packed
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    Known,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
    lift,
)
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ops.indexing import FrozenArray, PathStep, Range


def joined(machine: Machine, values: list[Value], axis: int, dtype: str | None = None) -> Value:
    """Return the concatenation of values of one rank."""
    if not values:
        raise machine.python_error(ValueError, "need at least one array to concatenate")
    values = with_common_dtype(machine, values) if dtype is None else [cast(machine, v, dtype) for v in values]
    first = values[0].type.shape
    aligned = []
    for value in values:
        if value.type.rank != len(first):
            raise machine.python_error(ValueError, "all the input arrays must have same number of dimensions")
        shape = value.type.shape
        for at, (dim, wanted) in enumerate(zip(shape, first, strict=True)):
            if at != axis:
                require_equal(machine, dim, wanted, "all the input array dimensions must match exactly")
        aligned.append(with_shape(machine, value, (*first[:axis], shape[axis], *first[axis + 1 :])))
    return machine.emit("concatenate", *aligned, axis=axis)


def joined_list(machine: Machine, arrays: AbstractValue, axis: int, new_axis: bool, rank: int = 0) -> Value | None:
    """Return the join of a list of arrays whose length varies; None for anything else.

    Parameters
    ----------
    machine : Machine
        The machine.
    arrays : AbstractValue
        What may be such a list.
    axis : int
        Of the result.
    new_axis : bool
        Whether the arrays are stacked along an axis of its own, else they are joined along one they have.
    rank : int
        What the arrays' rank is made at least (``np.atleast_1d``, ``2d``).
    """
    together = packed(machine, arrays)
    if together is None:
        return None
    count, *shape = together.value.type.shape
    require_nonempty(machine, count, "a join of arrays")
    grown = [*(1 for _ in range(rank - len(shape))), *shape]
    if not -len(grown) - new_axis <= axis < len(grown) + new_axis or not (grown or new_axis):
        return None
    axis %= len(grown) + new_axis
    value = with_shape(machine, together.value, (count, *grown))
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(grown) + 1))
    value = value if axis == 0 else machine.emit("transpose", value, axes=order)
    if new_axis:
        return value
    return with_shape(machine, value, (*grown[:axis], count * grown[axis], *grown[axis + 1 :]))


def _joined_list(
    machine: Machine, arrays: AbstractValue, axis: AbstractValue, dtype: AbstractValue, new_axis: bool
) -> Value | None:
    if not given(axis) or packed(machine, arrays) is None:
        return None
    found = joined_list(machine, arrays, integer(machine, axis, "axis"), new_axis)
    name = dtype_of(machine, dtype)
    return found if found is None or name is None else cast(machine, found, name)


@numpy_function(np.concatenate, np.concat)
def model_concatenate(
    machine: Machine,
    arrays: AbstractValue,
    axis: AbstractValue = Known(0),
    out: AbstractValue = NONE,
    *,
    dtype: AbstractValue = NONE,
) -> AbstractValue:
    """Model of ``np.concatenate``."""
    together = _joined_list(machine, machine.resolve(arrays), axis, dtype, new_axis=False)
    if together is not None:
        return finish(machine, together, out)
    values = array_items(machine, machine.resolve(arrays), "np.concatenate")
    if not given(axis):
        values, at = [flattened(machine, value) for value in values], 0
    else:
        at = strict_axis_of(machine, axis, values[0].type.rank) if values else 0
        if values and not values[0].type.rank:
            raise machine.python_error(ValueError, "zero-dimensional arrays cannot be concatenated")
    return finish(machine, joined(machine, values, at, dtype_of(machine, dtype)), out)


@numpy_function(np.stack)
def _model_stack(
    machine: Machine,
    arrays: AbstractValue,
    axis: AbstractValue = Known(0),
    out: AbstractValue = NONE,
    *,
    dtype: AbstractValue = NONE,
) -> AbstractValue:
    together = _joined_list(machine, machine.resolve(arrays), axis, dtype, new_axis=True)
    if together is not None:
        return finish(machine, together, out)
    values = array_items(machine, machine.resolve(arrays), "np.stack")
    if not values:
        raise machine.python_error(ValueError, "need at least one array to stack")
    at = axis_of(machine, axis, values[0].type.rank + 1)
    grown = [with_shape(machine, v, (*v.type.shape[:at], 1, *v.type.shape[at:])) for v in values]
    return finish(machine, joined(machine, grown, at, dtype_of(machine, dtype)), out)


def _with_rank(machine: Machine, value: Value, rank: int) -> Value:
    """Return a value as ``np.atleast_1d``, ``2d`` or ``3d`` does."""
    shape = value.type.shape
    if len(shape) >= rank:
        return value
    grown = {0: (1,) * rank, 1: (1, *shape, *(1 for _ in range(rank - 2))) if shape else (), 2: (*shape, 1)}[len(shape)]
    return with_shape(machine, value, grown)


def _stacker(rank: int, axis: int, as_columns: bool = False) -> Any:
    def rule(machine: Machine, tup: AbstractValue, *, dtype: AbstractValue = NONE) -> AbstractValue:
        listed = machine.resolve(tup)
        together = packed(machine, listed) if rank < 3 else None
        if together is not None:
            at = min(axis, max(rank, together.value.type.rank - 1) - 1)
            found = joined_list(machine, listed, at, False, rank)
            assert found is not None
            return new_array(machine, cast(machine, found, dtype_of(machine, dtype) or found.type.dtype))
        values = [_with_rank(machine, v, rank) for v in array_items(machine, listed, "a stack")]
        at = 0 if axis == 1 and rank == 1 and values and values[0].type.rank == 1 else axis
        return new_array(machine, joined(machine, values, at, dtype_of(machine, dtype)))

    return rule


numpy_function(np.vstack)(_stacker(2, 0))
numpy_function(np.hstack)(_stacker(1, 1))
numpy_function(np.dstack)(_stacker(3, 2))


@numpy_function(np.column_stack)
def _model_column_stack(machine: Machine, tup: AbstractValue) -> AbstractValue:
    values = array_items(machine, machine.resolve(tup), "np.column_stack")
    columns = [with_shape(machine, v, (v.type.size, 1)) if v.type.rank < 2 else v for v in values]
    return new_array(machine, joined(machine, columns, 1))


@numpy_function(np.append)
def _model_append(
    machine: Machine, arr: AbstractValue, values: AbstractValue, axis: AbstractValue = NONE
) -> AbstractValue:
    return model_concatenate(machine, TupleValue((arr, values)), axis)


# ---------------------------------------------------------------------- splitting


def _range_view(machine: Machine, source: ArrayValue, axis: int, start: Dim, length: Dim, step: int = 1) -> ArrayValue:
    index = [Range(0, size) for size in source.type.shape]
    index[axis] = Range(start, length, step)
    return view(machine, source, PathStep.of("view", index=tuple(index)))


def _split(
    machine: Machine, ary: AbstractValue, parts: AbstractValue, axis: AbstractValue, exact: bool
) -> AbstractValue:
    source = as_array_value(machine, ary)
    at = axis_of(machine, axis, source.type.rank)
    size = source.type.shape[at]
    bounds = sequence_items(machine, machine.resolve(parts))
    if bounds is not None:
        whole = SliceValue(NONE, NONE, NONE)
        edges = [NONE, *bounds, NONE]
        cuts = [SliceValue(low, high, NONE) for low, high in itertools.pairwise(edges)]
        pieces = [get_item(machine, source, TupleValue((*(whole for _ in range(at)), cut))) for cut in cuts]
        return build(machine, "list", pieces)
    count = integer(machine, parts, "the number of sections")
    if isinstance(size, DimExpr):
        if not exact:
            raise machine.unsupported("numpy.function", "np.array_split", "the length is known at run time only")
        require_equal(machine, (size // count) * count, size, "array split does not result in an equal division")
        each = size // count
        return build(machine, "list", [_range_view(machine, source, at, each * i, each) for i in range(count)])
    if count <= 0:
        raise machine.python_error(ValueError, "number sections must be larger than 0.")
    each, extra = divmod(size, count)
    if exact and extra:
        raise machine.python_error(ValueError, "array split does not result in an equal division")
    lengths = [each + 1] * extra + [each] * (count - extra)
    starts = itertools.accumulate(lengths, initial=0)
    return build(
        machine,
        "list",
        [_range_view(machine, source, at, start, length) for start, length in zip(starts, lengths, strict=False)],
    )


def _splitter(axis: int | None, exact: bool) -> Any:
    def rule(
        machine: Machine, ary: AbstractValue, indices_or_sections: AbstractValue, axis: AbstractValue = Known(axis or 0)
    ) -> AbstractValue:
        return _split(machine, ary, indices_or_sections, axis, exact)

    return rule


numpy_function(np.split)(_splitter(0, True))
numpy_function(np.array_split)(_splitter(0, False))
numpy_function(np.vsplit)(_splitter(0, True))
numpy_function(np.dsplit)(_splitter(2, True))


@numpy_function(np.hsplit)
def _model_hsplit(machine: Machine, ary: AbstractValue, indices_or_sections: AbstractValue) -> AbstractValue:
    axis = Known(1 if as_array_value(machine, ary).type.rank > 1 else 0)
    return _split(machine, ary, indices_or_sections, axis, True)


# ---------------------------------------------------------------------- repeating and moving


@numpy_function(np.flip)
def _model_flip(machine: Machine, m: AbstractValue, axis: AbstractValue = NONE) -> AbstractValue:
    source = as_array_value(machine, m)
    return _flipped(machine, source, axes_of(machine, axis, source.type.rank))


def _flipper(axis: int) -> Any:
    return lambda machine, m: _model_flip(machine, m, Known(axis))


numpy_function(np.flipud)(_flipper(0))
numpy_function(np.fliplr)(_flipper(1))


@numpy_function(np.rot90)
def _model_rot90(
    machine: Machine, m: AbstractValue, k: AbstractValue = Known(1), axes: AbstractValue = Known((0, 1))
) -> AbstractValue:
    source = as_array_value(machine, m)
    pair = axes_of(machine, lift(axes.value) if isinstance(axes, Known) else axes, source.type.rank)
    order = list(range(source.type.rank))
    order[pair[0]], order[pair[1]] = pair[1], pair[0]
    turns = integer(machine, k, "k") % 4
    if turns in (1, 2):
        source = _flipped(machine, source, pair[1:] if turns == 1 else pair)
    if turns % 2:
        source = transpose_to(machine, source, tuple(order))
    return _flipped(machine, source, pair[1:] if turns == 3 else ())


def _flipped(machine: Machine, source: ArrayValue, axes: tuple[int, ...]) -> ArrayValue:
    """Return a view, another object in any case, that runs backwards along axes."""
    for at in axes:
        size = source.type.shape[at]
        source = _range_view(machine, source, at, size - 1, size, -1)
    return source if axes else whole_view(machine, source)


@numpy_function(np.roll)
def _model_roll(machine: Machine, a: AbstractValue, shift: AbstractValue, axis: AbstractValue = NONE) -> AbstractValue:
    value = array(machine, a)
    items = sequence_items(machine, machine.resolve(shift))
    shifts = items if items is not None else [shift]
    if not given(axis):
        rolled = flattened(machine, value)
        for amount in shifts:
            rolled = _rolled(machine, rolled, amount, 0)
        return new_array(machine, with_shape(machine, rolled, value.type.shape))
    items = sequence_items(machine, machine.resolve(axis))
    axes = [axis_of(machine, item, value.type.rank) for item in (items if items is not None else [axis])]
    count = max(len(axes), len(shifts))
    shifts, axes = (shifts * count if len(shifts) == 1 else shifts), (axes * count if len(axes) == 1 else axes)
    if len(shifts) != len(axes):
        raise machine.python_error(ValueError, "shape mismatch: objects cannot be broadcast to a single shape")
    for amount, at in zip(shifts, axes, strict=True):
        value = _rolled(machine, value, amount, at)
    return new_array(machine, value)


def _rolled(machine: Machine, value: Value, shift: AbstractValue, axis: int) -> Value:
    """Return a value rolled along an axis, by a gather where the shift is known at run time only."""
    shift = machine.resolve(shift)
    if not isinstance(shift, Scalar) or machine.may_specialize(shift) or shift.value.type.dtype[0] not in "iu":
        return machine.emit("roll", value, shift=integer(machine, shift, "shift"), axis=axis)
    size = value.type.shape[axis]
    require_nonempty(machine, size, "np.roll")
    moved = machine.emit("subtract", positions(machine, size), cast(machine, shift.value, "i64"))
    return operate(machine, "take", value, machine.emit("remainder", moved, size_value(machine, size)), axis=axis)


def positions(machine: Machine, size: Dim) -> Value:
    """Return ``np.arange(size)``."""
    return machine.emit("arange", constant(machine, 0, "i64"), constant(machine, 1, "i64"), length=size)


def _repeated(machine: Machine, size: Dim, repeats: list[AbstractValue]) -> Value:
    """Return the positions that ``np.repeat`` takes, given a known number of repetitions for each."""
    counts = [machine.constant(item, "repeats") for item in repeats]
    if size != len(counts) or any(not isinstance(count, int | np.integer) or count < 0 for count in counts):
        raise machine.unsupported("numpy.argument", "repeats=", "as many numbers as elements are not known")
    found = np.repeat(np.arange(len(counts)), np.array(counts, np.intp))
    return machine.emit("constant_array", value=FrozenArray(found))


@numpy_function(np.repeat, method="repeat")
def _model_repeat(
    machine: Machine, a: AbstractValue, repeats: AbstractValue, axis: AbstractValue = NONE
) -> AbstractValue:
    value = array(machine, a)
    items = sequence_items(machine, machine.resolve(repeats))
    if isinstance(machine.resolve(repeats), ArrayValue):
        raise machine.unsupported("numpy.argument", "repeats=", "an array of numbers")
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    if items is not None and len(items) != 1:
        chosen = _repeated(machine, value.type.shape[at], items)
        return new_array(machine, operate(machine, "take", value, chosen, axis=at))
    count = as_dim(machine, repeats if items is None else items[0], "repeats")
    if isinstance(count, int):
        return new_array(machine, machine.emit("repeat", value, repeats=count, axis=at))
    every = positions(machine, value.type.shape[at] * count)
    every = machine.emit("floor_divide", every, size_value(machine, count))
    return new_array(machine, operate(machine, "take", value, every, axis=at))


@numpy_function(np.tile)
def _model_tile(machine: Machine, A: AbstractValue, reps: AbstractValue) -> AbstractValue:
    value = array(machine, A)
    items = sequence_items(machine, machine.resolve(reps))
    counts = [as_dim(machine, item, "reps") for item in (items if items is not None else [reps])]
    rank = max(len(counts), value.type.rank)
    value = with_shape(machine, value, (*(1 for _ in range(rank - value.type.rank)), *value.type.shape))
    counts = [*(1 for _ in range(rank - len(counts))), *counts]
    if any(isinstance(count, int) and count < 0 for count in counts):
        raise machine.unsupported("numpy.argument", "reps=", "a number of repetitions is negative")
    if not rank:
        return new_array(machine, machine.emit("copy", value))
    for axis, count in enumerate(counts):
        if not isinstance(count, int):
            size = value.type.shape[axis]
            every = machine.emit("remainder", positions(machine, size * count), size_value(machine, size))
            value = operate(machine, "take", value, every, axis=axis)
    known = tuple(count if isinstance(count, int) else 1 for count in counts)
    return new_array(machine, machine.emit("tile", value, reps=known))


@numpy_function(np.pad)
def _model_pad(
    machine: Machine,
    array: AbstractValue,
    pad_width: AbstractValue,
    mode: AbstractValue = Known("constant"),
    *,
    constant_values: AbstractValue = Known(0),
) -> AbstractValue:
    source = as_array_value(machine, array)
    value = read(machine, source)
    widths = _pad_widths(machine, machine.constant(_plain(machine, pad_width), "pad_width"), value.type.rank)
    if not value.type.shape:
        return new_array(machine, machine.emit("copy", value))
    kind = machine.constant(mode, "mode")
    if kind == "constant":
        if sequence_items(machine, machine.resolve(constant_values)) is not None:
            raise machine.unsupported("numpy.argument", "constant_values=", "a value for each side")
        fill = stored(machine, constant_values, value.type.dtype)
        if fill is None:
            raise machine.unsupported("numpy.operand", "constant_values=", "it is no number")
        return new_array(machine, operate(machine, "pad", value, fill, widths=widths))
    if kind not in ("edge", "reflect", "symmetric", "wrap"):
        raise machine.unsupported("numpy.argument", "mode=", f"the mode {kind!r} has no rule yet")
    return new_array(machine, operate(machine, "pad_mode", value, widths=widths, mode=kind))


def _plain(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return nested lists as tuples, which `Machine.constant` takes apart."""
    items = sequence_items(machine, machine.resolve(value))
    return value if items is None else TupleValue(tuple(_plain(machine, item) for item in items))


def _pad_widths(machine: Machine, given_widths: Any, rank: int) -> tuple[tuple[int, int], ...]:
    try:
        pairs = np.broadcast_to(np.asarray(given_widths, dtype=np.int64), (rank, 2))
    except (TypeError, ValueError) as error:
        raise machine.unsupported("numpy.argument", "pad_width", str(error)) from error
    return tuple((int(before), int(after)) for before, after in pairs)


# ---------------------------------------------------------------------- np.r_ and np.c_


def _model_concatenator(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    owner, key = arguments[0], machine.resolve(arguments[1])
    live = machine.heap(owner).live if isinstance(owner, Reference) else None
    if live is not np.r_ and live is not np.c_:
        raise machine.unsupported("numpy.function", "np.r_", "it is another concatenator")
    values = []
    for item in key.items if isinstance(key, TupleValue) else (key,):
        part = machine.resolve(item)
        if isinstance(part, SliceValue) or (isinstance(part, Known) and isinstance(part.value, str)):
            raise machine.unsupported("numpy.argument", "np.r_", "a slice or string has no rule yet")
        value = array(machine, part)
        column = live is np.c_ and value.type.rank < 2
        values.append(with_shape(machine, value, (value.type.size, 1)) if column else _with_rank(machine, value, 1))
    return new_array(machine, joined(machine, values, values[0].type.rank - 1 if live is np.c_ else 0))


MODELS[type(np.r_).__getitem__] = _model_concatenator
