"""Dimensions of arrays in capture.

Owns the guards that make symbolic dimensions equal, broadcasting of values that are not known to fit, and sizes as
graph values. Invariant: where an answer depends on a dimension's run-time value, a guard asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from janusjit.analysis.capture.arrays import bind_dim, broadcast_to, cast, constant
from janusjit.analysis.capture.machine import Machine
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.types import INT


def size_value(machine: Machine, dim: Dim) -> Value:
    """Return a dimension as an ``i64[]``."""
    if isinstance(dim, DimExpr):
        value = machine.emit("dim", types=(INT,), dim=dim)
        machine.dims[value] = dim
        return value
    return constant(machine, dim, "i64")


def count_as(machine: Machine, dim: Dim, dtype: str) -> Value:
    """Return a number of elements in the dtype of the arithmetic it takes part in."""
    if isinstance(dim, int):
        return constant(machine, float(dim) if dtype[0] == "f" else dim, dtype)
    return cast(machine, size_value(machine, dim), dtype)


def require_equal(machine: Machine, first: Dim, second: Dim, message: str, error: type[Exception] = ValueError) -> None:
    """Guard that two dimensions are equal; raise ``error(message)`` if they are known to differ."""
    difference = first - second
    if isinstance(difference, int):
        if difference:
            raise machine.python_error(error, message)
        return
    same = machine.emit("equal", size_value(machine, first), size_value(machine, second))
    machine.require(same, machine.guard("array.shape", machine.span.text or "shape", f"{first} to equal {second}"))


def require_nonempty(machine: Machine, dim: Dim, what: str) -> None:
    """Guard that a dimension is at least 1; a capture of an empty array is refused."""
    if isinstance(dim, int):
        if dim < 1:
            raise machine.unsupported("array.empty", what, "the array is empty, of which NumPy warns")
        return
    lower = dim.lower_bound()
    if lower is None or lower < 1:
        holds = machine.emit("greater", size_value(machine, dim), constant(machine, 0, "i64"))
        machine.require(holds, machine.guard("array.shape", machine.span.text or what, "an array that is not empty"))


def with_shape(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> Value:
    """Reshape a value; no node where it has the shape already."""
    return value if value.type.shape == shape else machine.emit("reshape", value, shape=shape)


def broadcast_shape(machine: Machine, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """Return the shape that shapes broadcast to, guarding dimensions not known to be equal."""
    rank = max(map(len, shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = dim
            elif dim not in (1, result[axis]):
                require_equal(machine, dim, result[axis], "operands could not be broadcast together")
                if isinstance(dim, int):
                    result[axis] = dim
    return tuple(result)


def align(machine: Machine, values: Sequence[Value]) -> list[Value]:
    """Return values whose shapes are known to broadcast together."""
    shapes = [value.type.shape for value in values]
    shape = broadcast_shape(machine, shapes)
    return [
        with_shape(machine, v, tuple(1 if d == 1 else shape[i] for i, d in enumerate(s, len(shape) - len(s))))
        for v, s in zip(values, shapes, strict=True)
    ]


def fitted(
    machine: Machine, value: Value, shape: tuple[Dim, ...], message: str = "could not broadcast input array"
) -> Value:
    """Broadcast a value to a shape, guarding dimensions not known to be equal.

    Raises
    ------
    PythonRaise
        ``ValueError(message)`` if it does not broadcast to exactly this shape.
    """
    own = value.type.shape
    if len(own) > len(shape):
        raise machine.python_error(ValueError, message)
    target = shape[len(shape) - len(own) :]
    for dim, wanted in zip(own, target, strict=True):
        if dim != 1:
            require_equal(machine, dim, wanted, message)
    value = with_shape(machine, value, tuple(1 if d == 1 else w for d, w in zip(own, target, strict=True)))
    return broadcast_to(machine, value, shape)


def quotient(machine: Machine, size: Dim, divisor: Dim, what: str) -> Dim:
    """Return ``size / divisor``, guarded to be exact."""
    message = f"cannot reshape array of size {size} into shape"
    if isinstance(size, int) and isinstance(divisor, int):
        if divisor <= 0 or size % divisor:
            raise machine.python_error(ValueError, message)
        return size // divisor
    exact = _exact_quotient(size, divisor)
    if exact is not None:
        return exact
    if isinstance(divisor, int) and divisor > 0 and isinstance(size, DimExpr):
        result = size // divisor
    else:
        result = bind_dim(
            machine, machine.emit("floor_divide", size_value(machine, size), size_value(machine, divisor)), what
        )
    require_equal(machine, result * divisor, size, message)
    return result


def _exact_quotient(size: Dim, divisor: Dim) -> Dim | None:
    """Divide a polynomial by a monomial, if that leaves a polynomial."""
    terms = size.terms if isinstance(size, DimExpr) else (((), size),)
    by = divisor.terms if isinstance(divisor, DimExpr) else (((), divisor),)
    if len(by) != 1 or by[0][1] <= 0:
        return None
    (atoms, coefficient) = by[0]
    result: Dim = 0
    for monomial, factor in terms:
        left = Counter(monomial)
        left.subtract(atoms)
        if factor % coefficient or min(left.values(), default=0) < 0:
            return None
        term: Dim = factor // coefficient
        for atom in left.elements():
            term = term * DimExpr((((atom,), 1),))
        result = result + term
    return result
