"""Models of the functions that make ranges, grids and special matrices.

Owns ``arange``, ``linspace``, ``eye``, ``diag``, ``meshgrid`` and their kin. Invariant: a range known at capture has
NumPy's own elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import (
    RANGED,
    as_dim,
    bind_dim,
    cast,
    constant,
    is_number,
    new_array,
    read,
    sequence_items,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    dtype_of,
    flag,
    given,
    integer,
    numpy_function,
    operate,
)
from janusjit.analysis.capture.numpy_create import C_ORDER, FLOAT64, check_shape, full, number_of
from janusjit.analysis.capture.numpy_dimensions import fitted, with_shape
from janusjit.analysis.capture.numpy_join import joined
from janusjit.analysis.capture.numpy_linalg import diagonal
from janusjit.analysis.capture.numpy_shape import flattened, mirror, require_c_order
from janusjit.analysis.capture.values import (
    FALSE,
    NONE,
    TRUE,
    AbstractValue,
    ArrayValue,
    Known,
    RangeValue,
    Scalar,
    TupleValue,
    known,
)
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.ir.types import DTYPES, dtype_name
from janusjit.ops.indexing import FrozenArray
from janusjit.ops.type_rules import at_least

# ---------------------------------------------------------------------- ranges


@numpy_function(np.arange)
def _model_arange(
    machine: Machine,
    start: AbstractValue = NONE,
    stop: AbstractValue = NONE,
    step: AbstractValue = NONE,
    dtype: AbstractValue = NONE,
    *,
    device: AbstractValue = NONE,
) -> AbstractValue:
    if not given(stop):
        start, stop = Known(0), start
    if not given(stop):
        raise machine.unsupported("numpy.function", "np.arange", "no bound is given")
    parts = [
        machine.resolve(part) for part in (start if given(start) else Known(0), stop, step if given(step) else Known(1))
    ]
    if all(map(known, parts)):
        values = [machine.constant(part, "a bound") for part in parts]
        name = dtype_of(machine, dtype)
        made = numbers.fold(machine, lambda: np.arange(*values, dtype=None if name is None else DTYPES[name]))
        return new_array(machine, _range(machine, made))
    if not all(is_number(part) and array(machine, part).type.dtype[0] in "iu" for part in parts):
        raise machine.unsupported("numpy.function", "np.arange", "a bound is a run-time float")
    name = dtype_of(machine, dtype, "i64")
    assert name is not None
    return new_array(machine, _whole_numbers(machine, parts[0], parts[1], integer(machine, parts[2], "step"), name))


def _whole_numbers(machine: Machine, start: AbstractValue, stop: AbstractValue, step: int, name: str) -> Value:
    """Return a range of ints whose bounds are known at run time."""
    length = _range_length(machine, start, stop, step)
    first = cast(machine, array(machine, start), "i64")
    second = machine.emit("add", first, constant(machine, step, "i64"))
    return machine.emit("arange", cast(machine, first, name), cast(machine, second, name), length=length)


def _of_python_range(machine: Machine, value: RangeValue) -> Value:
    """Return what NumPy makes of a ``range``."""
    return _whole_numbers(machine, value.start, value.stop, integer(machine, value.step, "range"), "i64")


RANGED.append(_of_python_range)


def _range(machine: Machine, made: np.ndarray) -> Value:
    """Return a range known at capture, computed at run time where it is long."""
    name = dtype_name(made.dtype)
    if name is None:
        raise machine.unsupported("array.dtype", "np.arange", f"graphs do not hold {made.dtype}")
    if len(made) < 3 or made.dtype == bool:
        return machine.emit("constant_array", value=FrozenArray(made))
    first, second = (constant(machine, number.item(), name) for number in made[:2])
    return machine.emit("arange", first, second, length=len(made))


def _range_length(machine: Machine, start: AbstractValue, stop: AbstractValue, step: int) -> Dim:
    if step == 0:
        raise machine.python_error(ValueError, "Maximum allowed size exceeded")
    low, high = (start, stop) if step > 0 else (stop, start)
    span, first = _python_int(machine, high), _python_int(machine, low)
    if not isinstance(first, Known) or first.value != 0:
        span = operators.binary(machine, "-", span, first)
    if abs(step) != 1:
        span = operators.binary(
            machine, "//", operators.binary(machine, "+", span, Known(abs(step) - 1)), Known(abs(step))
        )
    if isinstance(span, Known):
        return int(max(0, span.value))
    assert isinstance(span, Scalar)
    dim = machine.dims.get(span.value)
    if dim is not None and (dim.lower_bound() or -1) >= 0:
        return dim
    if machine.may_specialize(span):
        return max(0, int(machine.specialize(span)))
    return bind_dim(machine, machine.emit("maximum", span.value, constant(machine, 0, "i64")), "a range's length")


def _python_int(machine: Machine, value: AbstractValue) -> AbstractValue:
    return numbers.to_int(machine, value) if isinstance(value, Scalar) else value


@numpy_function(np.linspace)
def _model_linspace(
    machine: Machine,
    start: AbstractValue,
    stop: AbstractValue,
    num: AbstractValue = Known(50),
    endpoint: AbstractValue = TRUE,
    retstep: AbstractValue = FALSE,
    dtype: AbstractValue = NONE,
    axis: AbstractValue = Known(0),
) -> AbstractValue:
    bounds = [machine.resolve(start), machine.resolve(stop)]
    count, closed, both = (
        integer(machine, num, "num"),
        flag(machine, endpoint, "endpoint"),
        flag(machine, retstep, "it"),
    )
    name = dtype_of(machine, dtype)
    single = any(_is_single(bound) for bound in bounds)
    if any(isinstance(bound, Scalar) for bound in bounds) and not both and count > 1 and name in (None, "f64"):
        if single:
            raise machine.unsupported("numpy.function", "np.linspace", "a bound is of single precision, or an array")
        return _linspace(machine, [cast(machine, array(machine, bound), "f64") for bound in bounds], count, closed)
    low, high = (machine.constant(bound, "np.linspace") for bound in bounds)
    keywords: dict[str, Any] = {"endpoint": closed, "retstep": both, "dtype": None if name is None else DTYPES[name]}
    made: Any = numbers.fold(machine, lambda: np.linspace(low, high, count, **keywords))
    result = made[0] if both else made
    if dtype_name(result.dtype) is None or result.ndim != 1:
        raise machine.unsupported("numpy.function", "np.linspace", "the bounds are arrays or complex")
    value = new_array(machine, machine.emit("constant_array", value=FrozenArray(result)))
    return TupleValue((value, Known(made[1]))) if both else value


def _is_single(bound: AbstractValue) -> bool:
    """Whether a bound is a number of NumPy's that has less than double precision, or an array."""
    if isinstance(bound, Known):
        return isinstance(bound.value, np.floating) and bound.value.dtype != np.float64
    return isinstance(bound, ArrayValue) or (isinstance(bound, Scalar) and bound.kind == "numpy.f32")


def _linspace(machine: Machine, bounds: list[Value], count: int, closed: bool) -> AbstractValue:
    """Return ``np.linspace`` between run-time floats, rounded as NumPy rounds."""
    start, stop = bounds
    parts = constant(machine, float(count - 1 if closed else count), "f64")
    places = machine.emit("arange", constant(machine, 0.0, "f64"), constant(machine, 1.0, "f64"), length=count)
    delta = machine.emit("subtract", stop, start)
    step = machine.emit("divide", delta, parts)
    tiny = machine.emit("equal", step, constant(machine, 0.0, "f64"))
    scaled = machine.emit("multiply", machine.emit("divide", places, parts), delta)
    value = machine.emit("where", tiny, scaled, machine.emit("multiply", places, step))
    value = machine.emit("add", value, start)
    if closed:
        last = machine.emit("equal", places, constant(machine, float(count - 1), "f64"))
        value = machine.emit("where", last, stop, value)
    return new_array(machine, value)


@numpy_function(np.eye)
def _model_eye(
    machine: Machine,
    N: AbstractValue,
    M: AbstractValue = NONE,
    k: AbstractValue = Known(0),
    dtype: AbstractValue = FLOAT64,
    order: AbstractValue = C_ORDER,
) -> AbstractValue:
    require_c_order(machine, order, "order=")
    rows = as_dim(machine, N, "np.eye")
    columns = as_dim(machine, M, "np.eye") if given(M) else rows
    check_shape(machine, (rows, columns))
    name = dtype_of(machine, dtype, "f64")
    return new_array(machine, operate(machine, "eye", n=rows, m=columns, k=integer(machine, k, "k"), dtype=name))


@numpy_function(np.identity)
def _model_identity(machine: Machine, n: AbstractValue, dtype: AbstractValue = NONE) -> AbstractValue:
    return _model_eye(machine, n, NONE, Known(0), dtype)


@numpy_function(np.tri)
def _model_tri(
    machine: Machine,
    N: AbstractValue,
    M: AbstractValue = NONE,
    k: AbstractValue = Known(0),
    dtype: AbstractValue = FLOAT64,
) -> AbstractValue:
    rows = as_dim(machine, N, "np.tri")
    name = dtype_of(machine, dtype, "f64")
    assert name is not None
    ones = full(machine, (rows, as_dim(machine, M, "np.tri") if given(M) else rows), number_of(1, name), name)
    assert isinstance(ones, ArrayValue)
    return new_array(machine, machine.emit("tril", read(machine, ones), k=integer(machine, k, "k")))


# ---------------------------------------------------------------------- triangles and diagonals


def _triangle(op: str) -> Any:
    def rule(machine: Machine, m: AbstractValue, k: AbstractValue = Known(0)) -> AbstractValue:
        return new_array(machine, machine.emit(op, array(machine, m), k=integer(machine, k, "k")))

    return rule


numpy_function(np.tril)(_triangle("tril"))
numpy_function(np.triu)(_triangle("triu"))


@numpy_function(np.diag)
def _model_diag(machine: Machine, v: AbstractValue, k: AbstractValue = Known(0)) -> AbstractValue:
    value = array(machine, v)
    if value.type.rank == 1:
        offset, size = integer(machine, k, "k"), value.type.shape[0]
        if offset == 0 and not at_least(size, 1):
            mask = machine.emit("eye", n=size, m=size, k=0, dtype="bool")
            zero = constant(machine, number_of(0, value.type.dtype), value.type.dtype)
            return new_array(machine, machine.emit("where", mask, value, zero))
        return new_array(machine, operate(machine, "diag", value, k=offset))
    return _model_diagonal(machine, v, k)


@numpy_function(np.diagonal, method="diagonal")
def _model_diagonal(
    machine: Machine,
    a: AbstractValue,
    offset: AbstractValue = Known(0),
    axis1: AbstractValue = Known(0),
    axis2: AbstractValue = Known(1),
) -> AbstractValue:
    return mirror(
        machine,
        machine.resolve(a),
        lambda machine, value: diagonal(machine, value, offset, axis1, axis2),
    )


@numpy_function(np.meshgrid)
def _model_meshgrid(
    machine: Machine,
    *xi: AbstractValue,
    copy: AbstractValue = Known(True),
    sparse: AbstractValue = Known(False),
    indexing: AbstractValue = Known("xy"),
) -> AbstractValue:
    if not flag(machine, copy, "copy"):
        raise machine.unsupported("numpy.argument", "copy=", "the results are views of the arguments")
    swapped = machine.constant(indexing, "indexing") == "xy" and len(xi) > 1
    values = [flattened(machine, array(machine, x)) for x in xi]
    shape = [value.type.size for value in values]
    if swapped:
        shape[:2] = shape[1::-1]
    made: list[AbstractValue] = []
    for number, value in enumerate(values):
        at = {0: 1, 1: 0}.get(number, number) if swapped else number
        column = with_shape(machine, value, tuple(dim if axis == at else 1 for axis, dim in enumerate(shape)))
        if not machine.constant(sparse, "sparse"):
            column = machine.emit("copy", machine.emit("broadcast", column, shape=tuple(shape)))
        made.append(new_array(machine, column))
    return TupleValue(tuple(made))


@numpy_function(np.indices)
def _model_indices(
    machine: Machine,
    dimensions: AbstractValue,
    dtype: AbstractValue = Known(int),
    sparse: AbstractValue = Known(False),
) -> AbstractValue:
    items = sequence_items(machine, machine.resolve(dimensions)) or []
    shape = tuple(as_dim(machine, item, "np.indices") for item in items)
    name = dtype_of(machine, dtype, "i64")
    assert name is not None
    thin = flag(machine, sparse, "sparse")
    grids = []
    for axis, size in enumerate(shape):
        line = machine.emit("arange", constant(machine, 0, name), constant(machine, 1, name), length=size)
        grown = with_shape(machine, line, tuple(size if at == axis else 1 for at in range(len(shape))))
        grids.append(grown if thin else with_shape(machine, fitted(machine, grown, shape), (1, *shape)))
    if thin:
        return TupleValue(tuple(new_array(machine, grid) for grid in grids))
    return new_array(machine, joined(machine, grids, 0))
