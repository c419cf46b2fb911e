"""Models of the functions and methods that give an array another shape.

Owns ``reshape``, ``ravel``, ``transpose`` and their kin. Invariant: the result is a view that shares storage exactly
where NumPy makes one; where that is not known, neither array may be written in place afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import as_dim, new_array, read, sequence_items, shape_of, view
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_method,
    axes_of,
    axis_of,
    given,
    integer,
    numpy_function,
    reduced_axes,
    refuse,
)
from janusjit.analysis.capture.numpy_dimensions import (
    broadcast_shape,
    fitted,
    quotient,
    require_equal,
    require_nonempty,
)
from janusjit.analysis.capture.numpy_memory import in_c_order, laid_out, order_asked, reshaped, strides
from janusjit.analysis.capture.sharing import may_share
from janusjit.analysis.capture.state import Mirror, Storage
from janusjit.analysis.capture.values import NONE, TRUE, AbstractValue, ArrayValue, Known, Scalar, TupleValue, known
from janusjit.analysis.twin import is_user_code
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Value
from janusjit.ops.indexing import NewAxis, PathStep, Range

C_ORDER = Known("C")


def as_array_value(machine: Machine, value: AbstractValue) -> ArrayValue:
    """Return ``np.asarray(value)``."""
    value = machine.resolve(value)
    return value if isinstance(value, ArrayValue) else new_array(machine, array(machine, value))


def transpose_to(machine: Machine, source: ArrayValue, axes: tuple[int, ...]) -> ArrayValue:
    """Return a view with the axes in another order."""
    return view(machine, source, PathStep.of("transpose", axes=axes))


def reshape_to(machine: Machine, source: ArrayValue, shape: tuple[Dim, ...]) -> ArrayValue:
    """Return ``source.reshape(shape)``: a view, another object even of the same shape, where NumPy makes one."""
    if shape == source.type.shape:
        return view(machine, source, PathStep.of("reshape", shape=shape))
    made = reshaped(source.type.shape, strides(machine, source), shape)
    if isinstance(made, tuple):
        return view(machine, source, PathStep.of("reshape", shape=shape))
    copied = new_array(machine, machine.emit("reshape", read(machine, source), shape=shape))
    if made == "unknown":
        may_share(machine, source.storage, copied.storage)
    return copied


def mirror(machine: Machine, source: AbstractValue, compute: Callable[[Machine, Value], Value]) -> ArrayValue:
    """Return a read-only view that paths cannot express: computed again after the array it views is written."""
    made = new_array(machine, compute(machine, array(machine, source)))
    storage: Storage = machine.state.at(made.storage)
    storage.writeable = False
    if isinstance(source, ArrayValue):
        storage.mirrors = Mirror(source, machine.state.at(source.storage).version, compute)
    return made


def complete_shape(machine: Machine, source: tuple[Dim, ...], wanted: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Return a new shape with -1 worked out, guarded to be of the same size."""
    size = product(source)
    message = f"cannot reshape array of size {size} into shape {wanted}"
    unknown = [axis for axis, dim in enumerate(wanted) if isinstance(dim, int) and dim < 0]
    if not unknown:
        require_equal(machine, product(wanted), size, message)
        return wanted
    if len(unknown) > 1 or wanted[unknown[0]] != -1:
        raise machine.python_error(ValueError, "can only specify one unknown dimension")
    (axis,) = unknown
    rest = (*wanted[:axis], *wanted[axis + 1 :])
    if product(rest) == 0:
        raise machine.python_error(ValueError, message)
    require_nonempty(machine, product(rest), "reshape")
    left, divisor = list(source), []
    for dim in rest:  # what stays cancels: the quotient of the others is often known
        if dim in left:
            left.remove(dim)
        else:
            divisor.append(dim)
    return (*wanted[:axis], quotient(machine, product(left), product(divisor), "reshape"), *wanted[axis + 1 :])


def require_c_order(
    machine: Machine, order: AbstractValue, what: str, allowed: str = "C", of: AbstractValue = NONE
) -> None:
    """Leave to Python any other memory order, which is that ``of`` an array where it is ``"K"`` or ``"A"``."""
    wanted = machine.constant(order, "order")
    if wanted not in (None, *allowed):
        raise order_asked(machine, of if wanted in ("K", "A") else NONE, what)


def in_order(machine: Machine, source: ArrayValue, order: AbstractValue) -> ArrayValue:
    """Return the array itself, or a copy where C order is asked for and it is in another."""
    contiguous = machine.constant(order, "order") != "C" or in_c_order(source.type.shape, strides(machine, source))
    if contiguous is True:
        return source
    if contiguous is None and source.storage < 0:
        raise machine.unsupported("numpy.argument", "order=", "the order of an array is known at run time only")
    copied = new_array(machine, machine.emit("copy", read(machine, source)))
    laid_out(machine, copied, order)
    if contiguous is None:
        may_share(machine, source.storage, copied.storage)
    return copied


@numpy_function(np.reshape)
def _model_reshape(
    machine: Machine,
    a: AbstractValue,
    shape: AbstractValue = NONE,
    order: AbstractValue = C_ORDER,
    *,
    newshape: AbstractValue = NONE,
    copy: AbstractValue = NONE,
) -> AbstractValue:
    require_c_order(machine, order, "reshape", of=machine.resolve(a))
    refuse(machine, "reshape(copy=)", copy)
    source = as_array_value(machine, a)
    wanted = shape_of(machine, machine.resolve(shape if given(shape) else newshape))
    return reshape_to(machine, source, complete_shape(machine, source.type.shape, wanted))


@array_method("reshape")
def _method_reshape(
    machine: Machine,
    a: AbstractValue,
    *shape: AbstractValue,
    order: AbstractValue = C_ORDER,
    copy: AbstractValue = NONE,
) -> AbstractValue:
    wanted = shape[0] if len(shape) == 1 else TupleValue(shape)
    return _model_reshape(machine, a, wanted, order, copy=copy)


@array_method("resize")
def _method_resize(
    machine: Machine, a: AbstractValue, *shape: AbstractValue, refcheck: AbstractValue = TRUE
) -> AbstractValue:
    """To the size there is, nothing changes; to another, memory would be allocated anew."""
    wanted = shape_of(machine, machine.resolve(shape[0] if len(shape) == 1 else TupleValue(shape)))
    same = isinstance(a, ArrayValue) and a.type.shape == wanted and in_c_order(wanted, strides(machine, a)) is True
    if not same:
        raise machine.unsupported("numpy.method", "resize", "an array gets another size")
    return NONE


@numpy_function(np.ravel, method="ravel")
def _model_ravel(machine: Machine, a: AbstractValue, order: AbstractValue = C_ORDER) -> AbstractValue:
    require_c_order(machine, order, "ravel", of=machine.resolve(a))
    source = as_array_value(machine, a)
    shape: tuple[Dim, ...] = (product(source.type.shape),)
    contiguous = in_c_order(source.type.shape, strides(machine, source))
    if contiguous is True:
        return reshape_to(machine, source, shape)
    copied = new_array(machine, machine.emit("copy", flattened(machine, read(machine, source))))
    if contiguous is None:
        may_share(machine, source.storage, copied.storage)
    return copied


@array_method("flatten")
def _method_flatten(machine: Machine, a: AbstractValue, order: AbstractValue = C_ORDER) -> AbstractValue:
    require_c_order(machine, order, "flatten", of=machine.resolve(a))
    value = array(machine, a)
    return new_array(machine, machine.emit("copy", flattened(machine, value)))


def flattened(machine: Machine, value: Value) -> Value:
    """Return a value with one dimension."""
    return value if value.type.rank == 1 else machine.emit("reshape", value, shape=(value.type.size,))


@numpy_function(np.isfortran)
def _model_isfortran(machine: Machine, a: AbstractValue) -> AbstractValue:
    raise order_asked(machine, machine.resolve(a), "np.isfortran")


@array_method("tobytes")
def _method_tobytes(machine: Machine, a: AbstractValue, order: AbstractValue = C_ORDER) -> AbstractValue:
    in_memory = machine.constant(order, "order") in ("K", "A", None)
    raise order_asked(machine, machine.resolve(a) if in_memory else NONE, "tobytes")


@numpy_function(np.transpose, np.permute_dims)
def _model_transpose(machine: Machine, a: AbstractValue, axes: AbstractValue = NONE) -> AbstractValue:
    source = as_array_value(machine, a)
    rank = source.type.rank
    if not given(axes):
        return transpose_to(machine, source, tuple(reversed(range(rank))))
    items = sequence_items(machine, machine.resolve(axes))
    if items is None:
        items = [Known(integer(machine, axes, "axes"))]
    if len(items) != rank:
        raise machine.python_error(ValueError, "axes don't match array")
    return transpose_to(machine, source, reduced_axes(machine, TupleValue(tuple(items)), rank))


@array_method("transpose")
def _method_transpose(machine: Machine, a: AbstractValue, *axes: AbstractValue) -> AbstractValue:
    if len(axes) == 1:
        return _model_transpose(machine, a, axes[0])
    return _model_transpose(machine, a, TupleValue(axes) if axes else NONE)


@numpy_function(np.matrix_transpose)
def _model_matrix_transpose(machine: Machine, x: AbstractValue, /) -> AbstractValue:
    return _model_swapaxes(machine, x, Known(-1), Known(-2))


@numpy_function(np.swapaxes, method="swapaxes")
def _model_swapaxes(machine: Machine, a: AbstractValue, axis1: AbstractValue, axis2: AbstractValue) -> AbstractValue:
    source = as_array_value(machine, a)
    rank = source.type.rank
    first, second = axis_of(machine, axis1, rank), axis_of(machine, axis2, rank)
    order = list(range(rank))
    order[first], order[second] = second, first
    return transpose_to(machine, source, tuple(order))


@numpy_function(np.moveaxis)
def _model_moveaxis(
    machine: Machine, a: AbstractValue, source: AbstractValue, destination: AbstractValue
) -> AbstractValue:
    moved = as_array_value(machine, a)
    rank = moved.type.rank
    origin, target = axes_of(machine, source, rank), axes_of(machine, destination, rank)
    if len(origin) != len(target):
        raise machine.python_error(ValueError, "`source` and `destination` must have the same number of elements")
    order = [axis for axis in range(rank) if axis not in origin]
    for place, axis in sorted(zip(target, origin, strict=True)):
        order.insert(place, axis)
    return transpose_to(machine, moved, tuple(order))


@numpy_function(np.rollaxis)
def _model_rollaxis(
    machine: Machine, a: AbstractValue, axis: AbstractValue, start: AbstractValue = Known(0)
) -> AbstractValue:
    source = as_array_value(machine, a)
    rank = source.type.rank
    moved, before = axis_of(machine, axis, rank), axis_of(machine, start, rank + 1)
    before -= moved < before
    order = [other for other in range(rank) if other != moved]
    order.insert(before, moved)
    return transpose_to(machine, source, tuple(order))


@numpy_function(np.expand_dims)
def _model_expand_dims(machine: Machine, a: AbstractValue, axis: AbstractValue) -> AbstractValue:
    source = as_array_value(machine, a)
    items = sequence_items(machine, machine.resolve(axis)) or [axis]
    rank = source.type.rank + len(items)
    return add_axes(machine, source, axes_of(machine, TupleValue(tuple(items)), rank))


def add_axes(machine: Machine, source: ArrayValue, axes: tuple[int, ...]) -> ArrayValue:
    """Return a view with axes of length 1 at these places of the result."""
    dims = iter(source.type.shape)
    rank = source.type.rank + len(axes)
    index = tuple(NewAxis() if axis in axes else Range(0, next(dims)) for axis in range(rank))
    return view(machine, source, PathStep.of("view", index=index))


@numpy_function(np.squeeze, method="squeeze")
def _model_squeeze(machine: Machine, a: AbstractValue, axis: AbstractValue = NONE) -> AbstractValue:
    a = machine.resolve(a)
    if isinstance(a, Scalar) and not a.is_python and not given(axis):
        return a
    source = as_array_value(machine, a)
    shape = source.type.shape
    axes = reduced_axes(machine, axis, len(shape))
    if given(axis):
        for dropped in axes:
            require_equal(
                machine, shape[dropped], 1, "cannot select an axis to squeeze out which has size not equal to one"
            )
    else:
        axes = tuple(place for place in axes if shape[place] == 1)
    if not axes:
        return source  # the very object
    kept = tuple(dim for place, dim in enumerate(shape) if place not in axes)
    return view(machine, source, PathStep.of("reshape", shape=kept))


def _at_least(rank: int) -> Any:
    """Return the rule of ``np.atleast_1d`` and its kin."""

    def rule(machine: Machine, *arys: AbstractValue) -> AbstractValue:
        results = tuple(_grown(machine, machine.resolve(item), rank) for item in arys)
        return results[0] if len(results) == 1 else TupleValue(results)

    return rule


def _grown(machine: Machine, value: AbstractValue, rank: int) -> AbstractValue:
    source = as_array_value(machine, value)
    have = source.type.rank
    if have >= rank:
        return source
    axes = {0: tuple(range(rank)), 1: {2: (0,), 3: (0, 2)}.get(rank, ()), 2: (2,)}[have]
    return add_axes(machine, source, axes)


for _function, _rank in ((np.atleast_1d, 1), (np.atleast_2d, 2), (np.atleast_3d, 3)):
    numpy_function(_function)(_at_least(_rank))


@numpy_function(np.broadcast_to)
def _model_broadcast_to(machine: Machine, array: AbstractValue, shape: AbstractValue) -> AbstractValue:
    source = as_array_value(machine, array)
    wanted = shape_of(machine, machine.resolve(shape))
    message = "operands could not be broadcast together with remapped shapes"
    return mirror(machine, source, lambda machine, value: fitted(machine, value, wanted, message))


@numpy_function(np.broadcast_arrays)
def _model_broadcast_arrays(machine: Machine, *args: AbstractValue) -> AbstractValue:
    sources = [as_array_value(machine, item) for item in args]
    shape = broadcast_shape(machine, [source.type.shape for source in sources])
    given = zip(sources, args, strict=True)
    numbers = [one for one, item in given if not isinstance(machine.resolve(item), ArrayValue)]
    code = machine.frame.code
    is_users = code is None or is_user_code(code)  # NumPy's own functions, as np.select, read what they expand
    if is_users and any(number.type.shape != shape for number in numbers):
        raise machine.unsupported("numpy.function", "np.broadcast_arrays", "a number is expanded, and may be written")
    views = [
        source
        if source.type.shape == shape
        else mirror(machine, source, lambda machine, value: fitted(machine, value, shape))
        for source in sources
    ]
    return TupleValue(tuple(views))


@numpy_function(np.broadcast_shapes)
def _model_broadcast_shapes(machine: Machine, *args: AbstractValue) -> AbstractValue:
    if not all(map(known, args)):
        raise machine.unsupported("numpy.argument", "np.broadcast_shapes", "a shape is not known to capture")
    shapes = [tuple(as_dim(machine, item, "shape") for item in sequence_items(machine, arg) or [arg]) for arg in args]
    return TupleValue(tuple(Known(dim) for dim in broadcast_shape(machine, shapes)))
