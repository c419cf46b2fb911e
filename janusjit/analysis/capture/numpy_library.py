"""Models of functions that compiled code calls NumPy for, and of those made of a few operations.

Owns ``interp``, ``convolve``, ``correlate``, ``digitize``, orders of part of an array, ``lstsq``, windows, ``choose``,
``put`` and ``ravel_multi_index``. Invariant: an argument outside what an op's rule covers leaves the call to Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant, new_array, read, sequence_items, shape_of, wrap, write
from janusjit.analysis.capture.index_writing import element_value, scatter
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_items,
    array_method,
    axis_of,
    finish,
    given,
    integer,
    is_none,
    known_number,
    numpy_function,
    operate,
    operate_node,
    refuse,
    strict_axis_of,
    with_common_dtype,
)
from janusjit.analysis.capture.numpy_dimensions import align, size_value
from janusjit.analysis.capture.numpy_linalg import inexact
from janusjit.analysis.capture.numpy_memory import laid_out
from janusjit.analysis.capture.numpy_select import model_compress
from janusjit.analysis.capture.numpy_shape import flattened, reshape_to
from janusjit.analysis.capture.numpy_statistics import require_all
from janusjit.analysis.capture.values import NONE, AbstractValue, ArrayValue, Known, TupleValue
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.ops.indexing import FrozenArray, Range

# ---------------------------------------------------------------------- interpolation and convolution


@numpy_function(np.interp)
def _model_interp(
    machine: Machine,
    x: AbstractValue,
    xp: AbstractValue,
    fp: AbstractValue,
    left: AbstractValue = NONE,
    right: AbstractValue = NONE,
    period: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "period=", period)
    ends: dict[str, Any] = {}
    for name, value in (("left", left), ("right", right)):
        ends[name] = None if is_none(value) else float(known_number(machine, value, name))
    values = [array(machine, value) for value in (x, xp, fp)]
    knots = values[1].type.shape
    if len(knots) != 1 or knots != values[2].type.shape or knots == (0,):
        raise machine.unsupported("numpy.argument", "xp=, fp=", "they are no two vectors of one length")
    return wrap(machine, operate(machine, "interp", *(cast(machine, value, "f64") for value in values), **ends))


@numpy_function(np.convolve)
def _model_convolve(
    machine: Machine, a: AbstractValue, v: AbstractValue, mode: AbstractValue = Known("full")
) -> AbstractValue:
    return new_array(machine, _convolved(machine, a, v, _mode(machine, mode), False))


@numpy_function(np.correlate)
def _model_correlate(
    machine: Machine, a: AbstractValue, v: AbstractValue, mode: AbstractValue = Known("valid")
) -> AbstractValue:
    return new_array(machine, _convolved(machine, a, v, _mode(machine, mode), True))


def _mode(machine: Machine, mode: AbstractValue) -> str:
    name = machine.constant(mode, "mode")
    if name not in ("full", "same", "valid"):
        raise machine.unsupported("numpy.argument", "mode=", "it is not one of the three names")
    return str(name)


def _convolved(machine: Machine, a: AbstractValue, v: AbstractValue, mode: str, backwards: bool) -> Value:
    """Return a convolution; of the second reversed, which makes it a correlation, where the first is no shorter."""
    first, second = with_common_dtype(machine, [array(machine, value) for value in (a, v)])
    sizes = [value.type.shape[0] if value.type.rank == 1 else None for value in (first, second)]
    known = all(isinstance(size, int) and size > 0 for size in sizes)
    if not known or (backwards and sizes[0] < sizes[1]):  # type: ignore[operator]
        raise machine.unsupported("numpy.function", "np.convolve", "the arrays are no vectors of known lengths")
    if backwards:
        last: Dim = sizes[1] - 1  # type: ignore[operator]
        second = machine.emit("view", second, index=(Range(last, second.type.shape[0], -1),))
    return operate(machine, "convolve", first, second, mode=mode)


# ---------------------------------------------------------------------- orders


@numpy_function(np.digitize)
def _model_digitize(
    machine: Machine, x: AbstractValue, bins: AbstractValue, right: AbstractValue = Known(False)
) -> AbstractValue:
    values, edges = array(machine, x), array(machine, bins)
    if edges.type.rank != 1:
        raise machine.unsupported("numpy.argument", "bins=", "they are no vector")
    return wrap(machine, operate(machine, "digitize", values, edges, right=bool(machine.constant(right, "right"))))


@numpy_function(np.lexsort)
def _model_lexsort(machine: Machine, keys: AbstractValue, axis: AbstractValue = Known(-1)) -> AbstractValue:
    values = array_items(machine, keys, "the keys")
    if not values or not values[0].type.rank or len({value.type.shape for value in values}) > 1:
        raise machine.unsupported("numpy.argument", "keys=", "they are no arrays of one shape")
    return new_array(machine, operate(machine, "lexsort", *values, axis=axis_of(machine, axis, values[0].type.rank)))


def _partitioned(
    machine: Machine, op: str, a: AbstractValue, kth: AbstractValue, axis: AbstractValue, rest: Sequence[AbstractValue]
) -> Value:
    kind, order = rest
    refuse(machine, "order=", order)
    if machine.constant(kind, "kind") != "introselect":
        raise machine.unsupported("numpy.argument", "kind=", "there is no other")
    value = array(machine, a)
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    items = sequence_items(machine, machine.resolve(kth))
    if any(isinstance(item, Known) and isinstance(item.value, bool) for item in (items or [machine.resolve(kth)])):
        raise machine.python_error(ValueError, "Booleans unacceptable as partition index")
    places = tuple(integer(machine, item, "kth") for item in ([kth] if items is None else items))
    size = value.type.shape[at]
    if not isinstance(size, int) or any(not -size <= place < size for place in places):
        raise machine.unsupported("numpy.argument", "kth=", "whether it is within the array is not known")
    return operate(machine, op, value, kth=places, axis=at)


_KIND, _LAST = Known("introselect"), Known(-1)


@numpy_function(np.partition)
def _model_partition(
    machine: Machine,
    a: AbstractValue,
    kth: AbstractValue,
    axis: AbstractValue = _LAST,
    kind: AbstractValue = _KIND,
    order: AbstractValue = NONE,
) -> AbstractValue:
    return new_array(machine, _partitioned(machine, "partition", a, kth, axis, (kind, order)))


@array_method("partition")
def _method_partition(
    machine: Machine,
    a: AbstractValue,
    kth: AbstractValue,
    axis: AbstractValue = _LAST,
    kind: AbstractValue = _KIND,
    order: AbstractValue = NONE,
) -> AbstractValue:
    if not isinstance(a, ArrayValue) or not given(axis):
        raise machine.unsupported("array.method", ".partition()", "only an array along an axis has a rule")
    write(machine, a, _partitioned(machine, "partition", a, kth, axis, (kind, order)))
    return NONE


@numpy_function(np.argpartition, method="argpartition")
def _model_argpartition(
    machine: Machine,
    a: AbstractValue,
    kth: AbstractValue,
    axis: AbstractValue = _LAST,
    kind: AbstractValue = _KIND,
    order: AbstractValue = NONE,
) -> AbstractValue:
    return new_array(machine, _partitioned(machine, "argpartition", a, kth, axis, (kind, order)))


# ---------------------------------------------------------------------- windows


def _window(function: Any) -> Any:
    def rule(machine: Machine, M: AbstractValue) -> AbstractValue:
        made = fold(machine, function, machine.constant(M, "M"))
        return new_array(machine, machine.emit("copy", machine.emit("constant_array", value=FrozenArray(made))))

    return rule


for _function in (np.bartlett, np.blackman, np.hamming, np.hanning):
    numpy_function(_function)(_window(_function))

# ---------------------------------------------------------------------- least squares


@numpy_function(np.linalg.lstsq)
def _model_lstsq(machine: Machine, a: AbstractValue, b: AbstractValue, rcond: AbstractValue = NONE) -> AbstractValue:
    pair = with_common_dtype(machine, [inexact(machine, array(machine, part)) for part in (a, b)])
    matrix, right = (value.type for value in pair)
    if matrix.rank != 2 or right.rank not in (1, 2) or matrix.shape[0] != right.shape[0] or 0 in matrix.shape:
        raise machine.unsupported("numpy.function", "np.linalg.lstsq", "the shapes have no rule")
    bound = [] if is_none(rcond) else [cast(machine, array(machine, rcond), pair[0].type.dtype)]
    node = operate_node(machine, "linalg.lstsq", *pair, *bound)
    solution, residuals, rank, singular = node.results
    arrays = (new_array(machine, solution), new_array(machine, residuals), wrap(machine, rank))
    return TupleValue((*arrays, new_array(machine, singular)))


# ---------------------------------------------------------------------- positions


@numpy_function(np.choose)
def _model_choose(
    machine: Machine,
    a: AbstractValue,
    choices: AbstractValue,
    out: AbstractValue = NONE,
    mode: AbstractValue = Known("raise"),
) -> AbstractValue:
    if machine.constant(mode, "mode") != "raise":
        raise machine.unsupported("numpy.argument", "mode=", "positions out of bounds are moved")
    index = array(machine, a)
    if index.type.dtype[0] not in "iub" or index.type.dtype == "u64":
        raise machine.python_error(TypeError, "Cannot cast array data to an index")
    index = cast(machine, index, "i64")
    values = with_common_dtype(machine, array_items(machine, choices, "the choices"))
    if not values:
        raise machine.unsupported("numpy.argument", "choices=", "there are none")
    _require_within(machine, index, len(values))
    index, *values = align(machine, [index, *values])
    found = values[-1]
    for place in reversed(range(len(values) - 1)):
        chosen = machine.emit("equal", index, constant(machine, place, "i64"))
        found = machine.emit("where", chosen, values[place], found)
    made = finish(machine, found, out)
    return made if given(out) else laid_out(machine, made, Known("C"))


array_method("choose")(_model_choose)


@array_method("compress")
def _method_compress(
    machine: Machine, a: AbstractValue, condition: AbstractValue, axis: AbstractValue = NONE, out: AbstractValue = NONE
) -> AbstractValue:
    refuse(machine, "out=", out)
    return model_compress(machine, condition, a, axis)


def _require_within(machine: Machine, index: Value, size: Dim) -> None:
    """Guard that every element is a position below ``size``."""
    low = machine.emit("greater_equal", index, constant(machine, 0, "i64"))
    high = machine.emit("less", index, size_value(machine, size))
    require_all(machine, machine.emit("logical_and", low, high), "positions within bounds")


@numpy_function(np.ravel_multi_index)
def _model_ravel_multi_index(
    machine: Machine,
    multi_index: AbstractValue,
    dims: AbstractValue,
    mode: AbstractValue = Known("raise"),
    order: AbstractValue = Known("C"),
) -> AbstractValue:
    if machine.constant(mode, "mode") != "raise" or machine.constant(order, "order") != "C":
        raise machine.unsupported("numpy.argument", "mode=, order=", "they have no rule")
    values, shape = array_items(machine, multi_index, "the positions"), shape_of(machine, machine.resolve(dims))
    if len(values) != len(shape) or any(value.type.dtype[0] not in "iu" for value in values):
        raise machine.unsupported("numpy.argument", "multi_index=", "it is not one array of integers a dimension")
    total: Value | None = None
    for value, size in zip(align(machine, [cast(machine, value, "i64") for value in values]), shape, strict=True):
        _require_within(machine, value, size)
        if total is not None:
            value = machine.emit("add", machine.emit("multiply", total, size_value(machine, size)), value)
        total = value
    assert total is not None
    return wrap(machine, total)


@numpy_function(np.put)
def _model_put(
    machine: Machine, a: AbstractValue, ind: AbstractValue, v: AbstractValue, mode: AbstractValue = Known("raise")
) -> AbstractValue:
    target = machine.resolve(a)
    if isinstance(target, ArrayValue) and not target.type.rank:
        raise machine.unsupported("numpy.function", "np.put", "the array has no dimensions")
    if machine.constant(mode, "mode") != "raise" or not isinstance(target, ArrayValue):
        raise machine.unsupported("numpy.argument", "mode=", "positions out of bounds are moved")
    index, element = array(machine, ind), element_value(machine, target, v)
    if index.type.dtype == "u64":
        raise machine.python_error(TypeError, "Cannot cast array data to an index")
    if index.type.dtype[0] not in "iu" or (element.type.size != 1 and element.type.size != index.type.size):
        raise machine.unsupported("numpy.function", "np.put", "the values are not as many as the positions")
    flat = target if target.type.rank == 1 else reshape_to(machine, target, (target.type.size,))
    if not isinstance(flat, ArrayValue) or flat.storage != target.storage:
        raise machine.unsupported("numpy.function", "np.put", "the elements do not lie one after the other")
    index = flattened(machine, cast(machine, index, "i64"))
    if element.type.rank:
        element = flattened(machine, element)
    scatter(machine, flat, [0], [index], element, False)
    return NONE


@numpy_function(np.putmask)
def _model_putmask(machine: Machine, a: AbstractValue, mask: AbstractValue, values: AbstractValue) -> AbstractValue:
    target = machine.resolve(a)
    if not isinstance(target, ArrayValue):
        raise machine.unsupported("numpy.function", "np.putmask", "it is no array")
    chosen, element = cast(machine, array(machine, mask), "bool"), element_value(machine, target, values)
    shape = target.type.shape
    if chosen.type.shape != shape or (element.type.size != 1 and element.type.shape != shape):
        raise machine.unsupported("numpy.function", "np.putmask", "the shapes are not the same")
    if element.type.shape != shape:
        element = machine.emit("reshape", element, shape=()) if element.type.rank else element
    write(machine, target, machine.emit("where", *align(machine, (chosen, element, read(machine, target)))))
    return NONE
