"""Models of products and linear algebra.

Owns the operator ``@``, ``dot`` and its kin, norms and ``np.linalg``. Invariant: products are composed of ``matmul``,
reshapes and elementwise products; contracted dimensions are guarded to be equal where that is not known.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant, literal, new_array, read, sequence_items, wrap
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    axis_of,
    finish,
    flag,
    given,
    integer,
    known_number,
    numpy_function,
    operate,
    operate_node,
    reduced_axes,
    refuse,
    with_common_dtype,
)
from janusjit.analysis.capture.numpy_dimensions import align, broadcast_shape, require_equal, size_value, with_shape
from janusjit.analysis.capture.numpy_reduce import accumulator, reduce_to
from janusjit.analysis.capture.numpy_shape import as_array_value, flattened, transpose_to
from janusjit.analysis.capture.operators import MATMUL
from janusjit.analysis.capture.sharing import may_share
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, ArrayValue, Known, TupleValue
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Value

_MISMATCH = "shapes not aligned"


def contract(machine: Machine, a: Value, b: Value) -> Value:
    """Return ``np.matmul(a, b)`` of values of at least one dimension."""
    a, b = with_common_dtype(machine, (a, b))
    inner = a.type.shape[-1]
    axis = -2 if b.type.rank > 1 else -1
    require_equal(machine, inner, b.type.shape[axis], f"matmul: {_MISMATCH}: {a.type}, {b.type}")
    at = axis % b.type.rank
    b = with_shape(machine, b, (*b.type.shape[:at], inner, *b.type.shape[at + 1 :]))
    batch = broadcast_shape(machine, (a.type.shape[:-2], b.type.shape[:-2]))
    return machine.emit("matmul", _with_batch(machine, a, batch), _with_batch(machine, b, batch))


def _with_batch(machine: Machine, value: Value, batch: tuple[Dim, ...]) -> Value:
    """Write the leading dimensions as those of the other operand, to which they are guarded equal."""
    own = value.type.shape[:-2]
    matched = tuple(1 if d == 1 else batch[i] for i, d in enumerate(own, len(batch) - len(own)))
    return with_shape(machine, value, (*matched, *value.type.shape[-2:])) if own else value


def dot(machine: Machine, a: Value, b: Value) -> Value:
    """Return ``np.dot(a, b)``."""
    if not a.type.shape or not b.type.shape:
        return _scaled(machine, *with_common_dtype(machine, (a, b)))
    if a.type.rank <= 2 and b.type.rank <= 2:
        return _of_single_elements(machine, a, b, a.type.rank + b.type.rank - 2) or contract(machine, a, b)
    return _tensor_product(machine, a, b, (a.type.rank - 1,), (max(0, b.type.rank - 2),))


def _scaled(machine: Machine, a: Value, b: Value) -> Value:
    """Return the product of a number and an array, as ``np.dot`` has it: added to 0.0 where there are several."""
    found = machine.emit("multiply", a, b)
    count = product(found.type.shape)
    if not found.type.is_float or count == 1:
        return found
    zero = constant(machine, 0.0, found.type.dtype)
    if not isinstance(count, int):
        alone = machine.emit("equal", size_value(machine, count), constant(machine, 1, "i64"))
        zero = machine.emit("where", alone, constant(machine, -0.0, found.type.dtype), zero)
    return machine.emit("add", found, zero)


def _of_single_elements(machine: Machine, a: Value, b: Value, rank: int) -> Value | None:
    """Return what ``np.dot`` makes of floats that stand alone in their arrays, of a rank; None for other arrays.

    NumPy multiplies them, and adds the product to nothing: -0.0 stays -0.0, which a sum that begins at 0.0 does not.
    """
    a, b = with_common_dtype(machine, (a, b))
    if any(dim != 1 for dim in (*a.type.shape, *b.type.shape)) or a.type.dtype not in ("f32", "f64"):
        return None
    shape = (1,) * rank
    return machine.emit("multiply", with_shape(machine, a, shape), with_shape(machine, b, shape))


def _tensor_product(machine: Machine, a: Value, b: Value, over_a: Sequence[int], over_b: Sequence[int]) -> Value:
    """Contract axes of two arrays: the free axes of the first, then of the second."""
    free_a = [axis for axis in range(a.type.rank) if axis not in over_a]
    free_b = [axis for axis in range(b.type.rank) if axis not in over_b]
    for first, second in zip(over_a, over_b, strict=True):
        require_equal(machine, a.type.shape[first], b.type.shape[second], "shape-mismatch for sum")
    inner = product(a.type.shape[axis] for axis in over_a)
    rows = tuple(a.type.shape[axis] for axis in free_a)
    columns = tuple(b.type.shape[axis] for axis in free_b)
    left = with_shape(machine, transposed(machine, a, (*free_a, *over_a)), (product(rows), inner))
    right = with_shape(machine, transposed(machine, b, (*over_b, *free_b)), (inner, product(columns)))
    result = machine.emit("matmul", *with_common_dtype(machine, (left, right)))
    return with_shape(machine, result, (*rows, *columns))


def transposed(machine: Machine, value: Value, axes: tuple[int, ...]) -> Value:
    """Transpose a value; no node where the order is its own."""
    return value if axes == tuple(range(len(axes))) else machine.emit("transpose", value, axes=axes)


def matmul(machine: Machine, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left @ right``."""
    a, b = array(machine, left), array(machine, right)
    if not a.type.shape or not b.type.shape:
        raise machine.python_error(ValueError, "matmul: Input operand does not have enough dimensions")
    return wrap(machine, contract(machine, a, b))


MATMUL.append(matmul)


@numpy_function(np.matmul)
def _model_matmul(machine: Machine, x1: AbstractValue, x2: AbstractValue, out: AbstractValue = NONE) -> AbstractValue:
    a, b = array(machine, x1), array(machine, x2)
    if not a.type.shape or not b.type.shape:
        raise machine.python_error(ValueError, "matmul: Input operand does not have enough dimensions")
    return finish(machine, contract(machine, a, b), out)


@numpy_function(np.dot, method="dot")
def _model_dot(machine: Machine, a: AbstractValue, b: AbstractValue, out: AbstractValue = NONE) -> AbstractValue:
    return finish(machine, dot(machine, array(machine, a), array(machine, b)), out)


@numpy_function(np.vdot)
def _model_vdot(machine: Machine, a: AbstractValue, b: AbstractValue) -> AbstractValue:
    left, right = (flattened(machine, array(machine, part)) for part in (a, b))
    return wrap(machine, contract(machine, left, right))


def _model_vecdot(
    machine: Machine, x1: AbstractValue, x2: AbstractValue, *, axis: AbstractValue = Known(-1)
) -> AbstractValue:
    left, right = align(machine, with_common_dtype(machine, (array(machine, x1), array(machine, x2))))
    product_ = machine.emit("multiply", left, right)
    at = axis_of(machine, axis, product_.type.rank)
    return wrap(machine, reduce_to(machine, "sum", product_, (at,), False))


if hasattr(np, "vecdot"):  # since NumPy 2.1
    numpy_function(np.vecdot)(_model_vecdot)


@numpy_function(np.inner)
def _model_inner(machine: Machine, a: AbstractValue, b: AbstractValue) -> AbstractValue:
    left, right = array(machine, a), array(machine, b)
    if not left.type.shape or not right.type.shape:
        return wrap(machine, dot(machine, left, right))
    if left.type.rank == right.type.rank == 1:
        return wrap(machine, dot(machine, left, right))
    rank = left.type.rank + right.type.rank - 2
    alone = _of_single_elements(machine, left, right, rank) if max(left.type.rank, right.type.rank) == 2 else None
    last = (left.type.rank - 1,), (right.type.rank - 1,)
    return wrap(machine, alone or _tensor_product(machine, left, right, *last))


@numpy_function(np.outer, np.linalg.outer)
def _model_outer(machine: Machine, a: AbstractValue, b: AbstractValue, out: AbstractValue = NONE) -> AbstractValue:
    left, right = (flattened(machine, array(machine, part)) for part in (a, b))
    column = with_shape(machine, left, (*left.type.shape, 1))
    row = with_shape(machine, right, (1, *right.type.shape))
    pair = with_common_dtype(machine, (column, row))
    op = "logical_and" if pair[0].type.dtype == "bool" else "multiply"
    return finish(machine, machine.emit(op, *pair), out)


def _contracted(machine: Machine, axes: AbstractValue, value: Value) -> tuple[int, ...]:
    """Return the axes of an operand that ``np.tensordot`` sums over: an int, or any sequence of ints."""
    items = sequence_items(machine, machine.resolve(axes))
    return reduced_axes(machine, TupleValue(tuple([axes] if items is None else items)), value.type.rank)


@numpy_function(np.tensordot)
def _model_tensordot(
    machine: Machine, a: AbstractValue, b: AbstractValue, axes: AbstractValue = Known(2)
) -> AbstractValue:
    left, right = array(machine, a), array(machine, b)
    pair = sequence_items(machine, machine.resolve(axes))
    if pair is None:
        count = integer(machine, axes, "axes")
        if isinstance(machine.constant(axes, "axes"), np.unsignedinteger):
            raise machine.unsupported("numpy.argument", "axes=", "the number has no negative")
        over_a = tuple(range(left.type.rank - count, left.type.rank))
        over_b = tuple(range(count))
    else:
        if len(pair) != 2:
            raise machine.python_error(ValueError, "axes are no pair")
        over_a, over_b = (_contracted(machine, *each) for each in zip(pair, (left, right), strict=True))
    if len(over_a) != len(over_b):
        raise machine.python_error(ValueError, "shape-mismatch for sum")
    alone = _of_single_elements(machine, left, right, left.type.rank + right.type.rank - 2 * len(over_a))
    return new_array(machine, alone or _tensor_product(machine, left, right, over_a, over_b))


@numpy_function(np.einsum)
def _model_einsum(
    machine: Machine,
    subscripts: AbstractValue,
    *operands: AbstractValue,
    out: AbstractValue = NONE,
    optimize: AbstractValue = FALSE,
) -> AbstractValue:
    if isinstance(machine.resolve(subscripts), ArrayValue):
        text, operands = _by_numbers(machine, (subscripts, *operands))
    else:
        text = machine.constant(subscripts, "subscripts")
    if not isinstance(text, str) or "." in text:
        raise machine.unsupported("numpy.argument", "np.einsum", "only subscripts of letters have a rule")
    values = with_common_dtype(machine, [array(machine, operand) for operand in operands])
    if "->" not in text:
        letters = sorted(set(text) - set(", "))
        text += "->" + "".join(letter for letter in letters if text.count(letter) == 1)
    sizes: dict[str, Dim] = {}
    for labels, value in zip(text.replace(" ", "").split("->")[0].split(","), values, strict=False):
        for letter, dim in zip(labels, value.type.shape, strict=False):
            if sizes.setdefault(letter, dim) == 1:
                sizes[letter] = dim
            elif dim != 1:
                require_equal(machine, dim, sizes[letter], "operands could not be broadcast together")
    labels, _, result = text.replace(" ", "").partition("->")
    if len(values) == 1 and not given(out) and set(labels) == set(result):
        return _axes_of(machine, as_array_value(machine, operands[0]), labels, result)
    made = machine.emit("einsum", *values, subscripts=text)
    if machine.constant(optimize, "optimize") is not False and made.type.rank > 1:
        machine.layouts[made] = (None,) * made.type.rank  # that depends on the order of contractions
    return finish(machine, made, out)


def _axes_of(machine: Machine, source: ArrayValue, labels: str, result: str) -> AbstractValue:
    """Return what an array's ``einsum`` is that sums nothing: a view of it, of diagonals where a letter is repeated."""
    if len(labels) == len(result):
        return transpose_to(machine, source, tuple(labels.index(letter) for letter in result))
    made = new_array(machine, machine.emit("einsum", read(machine, source), subscripts=f"{labels}->{result}"))
    may_share(machine, source.storage, made.storage)
    return made


def _by_numbers(
    machine: Machine, arguments: tuple[AbstractValue, ...]
) -> tuple[str, tuple[AbstractValue, ...]]:
    """Return subscripts and operands that are given in turns, subscripts as lists of numbers, the result's last."""
    letters = string.ascii_uppercase + string.ascii_lowercase
    texts = []
    for argument in (*arguments[1::2], *(arguments[-1:] if len(arguments) % 2 else ())):
        numbers = literal(machine, argument)
        if not isinstance(numbers, list) or not all(type(one) is int and 0 <= one < len(letters) for one in numbers):
            raise machine.unsupported("numpy.argument", "np.einsum", "subscripts are no lists of numbers")
        texts.append("".join(letters[one] for one in numbers))
    count = len(arguments) // 2
    text = ",".join(texts[:count]) + "".join(f"->{one}" for one in texts[count:])
    return text, arguments[: 2 * count : 2]


@numpy_function(np.kron)
def _model_kron(machine: Machine, a: AbstractValue, b: AbstractValue) -> AbstractValue:
    left, right = array(machine, a), array(machine, b)
    rank = max(left.type.rank, right.type.rank)
    first = (*(1 for _ in range(rank - left.type.rank)), *left.type.shape)
    second = (*(1 for _ in range(rank - right.type.rank)), *right.type.shape)
    spread = with_shape(machine, left, tuple(dim for size in first for dim in (size, 1)))
    other = with_shape(machine, right, tuple(dim for size in second for dim in (1, size)))
    result = machine.emit("multiply", *with_common_dtype(machine, (spread, other)))
    return wrap(machine, with_shape(machine, result, tuple(x * y for x, y in zip(first, second, strict=True))))


@numpy_function(np.trace, method="trace")
def _model_trace(
    machine: Machine,
    a: AbstractValue,
    offset: AbstractValue = Known(0),
    axis1: AbstractValue = Known(0),
    axis2: AbstractValue = Known(1),
    dtype: AbstractValue = NONE,
    out: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "dtype=", dtype)
    value = diagonal(machine, array(machine, a), offset, axis1, axis2)
    value = cast(machine, value, accumulator(value.type.dtype))
    return finish(machine, reduce_to(machine, "sum", value, (value.type.rank - 1,), False), out)


def diagonal(
    machine: Machine, value: Value, offset: AbstractValue, axis1: AbstractValue, axis2: AbstractValue
) -> Value:
    """Return the diagonals of a value."""
    rank = value.type.rank
    if rank < 2:
        raise machine.python_error(ValueError, "diag requires an array of at least two dimensions")
    pair = axis_of(machine, axis1, rank), axis_of(machine, axis2, rank)
    return operate(machine, "diagonal", value, offset=integer(machine, offset, "offset"), axis1=pair[0], axis2=pair[1])


# ---------------------------------------------------------------------- norms


@numpy_function(np.linalg.norm)
def _model_norm(
    machine: Machine,
    x: AbstractValue,
    ord: AbstractValue = NONE,  # noqa: A002 - NumPy's name
    axis: AbstractValue = NONE,
    keepdims: AbstractValue = FALSE,
) -> AbstractValue:
    value = inexact(machine, array(machine, x))
    rank = value.type.rank
    kind = known_number(machine, ord, "ord")
    keep = flag(machine, keepdims, "keepdims")
    axes = reduced_axes(machine, axis, rank)
    if kind is None and (not given(axis) or len(axes) == 2):
        return wrap(machine, _root_of_squares(machine, value, axes, keep))
    if len(axes) == 1:
        return wrap(machine, _vector_norm(machine, value, axes, kind, keep))
    if len(axes) == 2:
        return wrap(machine, _matrix_norm(machine, value, axes, kind, keep))
    raise machine.python_error(ValueError, "Improper number of dimensions to norm.")


def inexact(machine: Machine, value: Value) -> Value:
    """Return a value as floats, as ``np.linalg`` does."""
    return value if value.type.is_float else cast(machine, value, "f64")


def _root_of_squares(machine: Machine, value: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    return machine.emit("sqrt", reduce_to(machine, "sum", machine.emit("multiply", value, value), axes, keepdims))


def _vector_norm(machine: Machine, value: Value, axes: tuple[int, ...], kind: Any, keepdims: bool) -> Value:
    if kind in (None, 2):
        return _root_of_squares(machine, value, axes, keepdims)
    if isinstance(kind, str):
        raise machine.python_error(ValueError, f"Invalid norm order '{kind}' for vectors")
    size = machine.emit("absolute", value)
    if kind in (np.inf, -np.inf):
        return reduce_to(machine, "max" if kind > 0 else "min", size, axes, keepdims)
    if kind == 0:
        zero = constant(machine, 0.0, value.type.dtype)
        return reduce_to(
            machine, "sum", cast(machine, machine.emit("not_equal", value, zero), value.type.dtype), axes, keepdims
        )
    if kind == 1:
        return reduce_to(machine, "sum", size, axes, keepdims)
    power = constant(machine, float(kind), value.type.dtype)
    summed = reduce_to(machine, "sum", machine.emit("scalar_power", size, power), axes, keepdims)
    return machine.emit("scalar_power", summed, machine.emit("reciprocal", power))


def _matrix_norm(machine: Machine, value: Value, axes: tuple[int, ...], kind: Any, keepdims: bool) -> Value:
    if kind in ("fro", "f"):
        return _root_of_squares(machine, value, axes, keepdims)
    last = (value.type.rank - 2, value.type.rank - 1)
    if kind in (2, -2, "nuc") and axes == last and not keepdims:
        values = operate_node(machine, "linalg.svd", value, full_matrices=False).results[1]
        op = {2: "max", -2: "min", "nuc": "sum"}[kind]
        return reduce_to(machine, op, values, (values.type.rank - 1,), False)
    if kind not in (1, -1, np.inf, -np.inf):
        raise machine.unsupported("numpy.argument", "ord=", "the norm needs singular values")
    row, column = axes
    over = row if kind in (1, -1) else column
    summed = reduce_to(machine, "sum", machine.emit("absolute", value), (over,), True)
    best = reduce_to(machine, "max" if kind > 0 else "min", summed, (column if over == row else row,), True)
    if keepdims:
        return best
    return with_shape(machine, best, tuple(dim for at, dim in enumerate(best.type.shape) if at not in axes))


# ---------------------------------------------------------------------- np.linalg


def _matrix_function(name: str, results: type[tuple[Any, ...]] | None = None) -> Any:
    def rule(machine: Machine, a: AbstractValue) -> AbstractValue:
        value = inexact(machine, array(machine, a))
        if value.type.rank < 2:
            raise machine.python_error(np.linalg.LinAlgError, "Array must be at least two-dimensional")
        made = tuple(wrap(machine, result) for result in operate_node(machine, name, value).results)
        return made[0] if results is None else TupleValue(made, results)

    return rule


def _result_type(function: Any) -> Any:
    """Return the named tuple a function of ``np.linalg`` returns."""
    return type(function(np.eye(2)))


for _function in (np.linalg.inv, np.linalg.det, np.linalg.cholesky, np.linalg.pinv):
    numpy_function(_function)(_matrix_function(f"linalg.{_function.__name__}"))
numpy_function(np.linalg.eigvalsh)(_matrix_function("linalg.eigvalsh"))
for _function in (np.linalg.slogdet, np.linalg.eigh, np.linalg.qr):
    numpy_function(_function)(_matrix_function(f"linalg.{_function.__name__}", _result_type(_function)))


@numpy_function(np.linalg.solve)
def _model_solve(machine: Machine, a: AbstractValue, b: AbstractValue) -> AbstractValue:
    pair = with_common_dtype(machine, [inexact(machine, array(machine, part)) for part in (a, b)])
    return wrap(machine, operate(machine, "linalg.solve", *pair))


@numpy_function(np.linalg.svd)
def _model_svd(
    machine: Machine,
    a: AbstractValue,
    full_matrices: AbstractValue = TRUE,
    compute_uv: AbstractValue = TRUE,
    hermitian: AbstractValue = FALSE,
) -> AbstractValue:
    refuse(machine, "hermitian=", hermitian if flag(machine, hermitian, "hermitian") else NONE)
    value = inexact(machine, array(machine, a))
    if not flag(machine, compute_uv, "compute_uv"):
        return wrap(machine, operate_node(machine, "linalg.svd", value, full_matrices=False).results[1])
    node = operate_node(machine, "linalg.svd", value, full_matrices=flag(machine, full_matrices, "full_matrices"))
    made = tuple(new_array(machine, result) for result in node.results)
    return TupleValue(made, _result_type(np.linalg.svd))


@numpy_function(np.linalg.multi_dot)
def _model_multi_dot(machine: Machine, arrays: AbstractValue) -> AbstractValue:
    items = sequence_items(machine, machine.resolve(arrays))
    if not items:
        raise machine.unsupported("numpy.operand", "np.linalg.multi_dot", "it is no list of arrays")
    result = array(machine, items[0])
    for item in items[1:]:
        result = contract(machine, result, array(machine, item))
    return wrap(machine, result)


@numpy_function(np.linalg.cond)
def _model_cond(machine: Machine, x: AbstractValue, p: AbstractValue = NONE) -> AbstractValue:
    value = inexact(machine, array(machine, x))
    rank = value.type.rank
    if rank < 2:
        raise machine.python_error(np.linalg.LinAlgError, "Array must be at least two-dimensional")
    if 0 in value.type.shape[-2:]:
        raise machine.python_error(np.linalg.LinAlgError, "cond is not defined on empty arrays")
    kind = known_number(machine, p, "p")
    if kind in (None, 2, -2):
        largest, smallest = _extreme_singular_values(machine, value)
        ratio = (smallest, largest) if kind == -2 else (largest, smallest)
        number = machine.emit("divide", *ratio)
    else:
        inverse = operate(machine, "linalg.inv", value)
        axes = (rank - 2, rank - 1)
        norms = [_matrix_norm(machine, part, axes, kind, False) for part in (value, inverse)]
        number = machine.emit("multiply", *norms)
    # a condition number that is no number stands for infinity, unless the matrix itself has such an element
    spoilt = reduce_to(machine, "any", machine.emit("isnan", value), (rank - 2, rank - 1), False)
    unbounded = machine.emit("logical_and", machine.emit("isnan", number), machine.emit("logical_not", spoilt))
    infinity = constant(machine, np.inf, number.type.dtype)
    return wrap(machine, machine.emit("where", unbounded, infinity, number))


def _extreme_singular_values(machine: Machine, value: Value) -> tuple[Value, Value]:
    """Return the largest and the smallest singular value of each matrix."""
    values = operate_node(machine, "linalg.svd", value, full_matrices=False).results[1]
    last = values.type.rank - 1
    return reduce_to(machine, "max", values, (last,), False), reduce_to(machine, "min", values, (last,), False)
