"""Linear algebra by NumPy's LAPACK: compiled code calls the library.

Owns the ``linalg.*`` ops. Invariant: inputs are f32 or f64 (capture casts), results have the same dtype; a
`LinAlgError` of eager is a failure of the op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_linalg import LINALG
from janusjit.ops.registry import Attributes, Library, Op, TypeRule, declare, gradient_in, implementation
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError, broadcast_shapes, check_arity, check_dtype, check_same_dtype

Shapes = tuple[tuple[Dim, ...], ...]


def _rule(name: str, shapes: Callable[..., Shapes], square: bool) -> TypeRule:
    """Return the rule of a function of (stacks of) one matrix; ``shapes(batch, rows, columns, **attributes)``."""

    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        *batch, rows, columns = _matrix(inputs[0], name, square).shape
        return tuple(TensorType(inputs[0].dtype, s) for s in shapes(tuple(batch), rows, columns, **attributes))

    return infer


def _matrix(x: TensorType, name: str, square: bool) -> TensorType:
    check_dtype(x, ("f32", "f64"), f"the input of {name}")
    if x.rank < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise TypeRuleError(f"{name} of {x}, which is no {'square ' if square else ''}matrix")
    return x


def _smaller(rows: Dim, columns: Dim) -> Dim:
    if rows == columns:
        return rows
    if isinstance(rows, int) and isinstance(columns, int):
        return min(rows, columns)
    raise TypeRuleError(f"which of {rows} and {columns} is smaller is not known")


def _solve_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    """One right-hand side where ``b`` has one dimension, as in NumPy 2; else (stacks of) matrices."""
    check_arity(inputs, 2, "linalg.solve")
    check_same_dtype(inputs, "linalg.solve")
    a, b = _matrix(inputs[0], "linalg.solve", True), inputs[1]
    rows = b.shape[-2:-1] if b.rank > 1 else b.shape
    if rows != a.shape[-1:]:
        raise TypeRuleError(f"linalg.solve of {a} and {b}")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return (b.with_shape(batch + (b.shape[-2:] if b.rank > 1 else b.shape)),)


def _matrices(dtype: str = "f64") -> tuple[Exactly, ...]:
    """Well-conditioned symmetric positive definite matrices: one, and a stack."""
    base = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]], dtype)
    return Exactly(base), Exactly(np.stack([base, base + np.eye(3, dtype=dtype)]))


_SQUARE = (*_matrices("float64"), *_matrices("float32"))
_WIDE: tuple[Draw | Exactly, ...] = (Draw((3, 4)), Draw((2, 4, 3)), Draw((3, 3), "f32"))


def _linalg_op(
    function: Callable[..., Any],
    infer: TypeRule,
    samples: tuple[Sample, ...],
    eager: Callable[..., Any] | None = None,
    fallible: bool = True,
) -> None:
    declare(
        Op(
            name=f"linalg.{function.__name__}",
            family="linalg",
            eager=eager or implementation(function),
            infer=infer,
            lowering=Library(),
            sums=True,
            gradient=gradient_in(LINALG, f"linalg.{function.__name__}"),
            fallible=fallible,
            numpy=(function,),
            samples=samples,
        )
    )


def _on_square(function: Callable[..., Any], shapes: Callable[..., Shapes], fallible: bool = True) -> None:
    name = f"linalg.{function.__name__}"
    several = len(shapes((), 1, 1)) > 1
    _linalg_op(
        function,
        _rule(name, shapes, True),
        tuple(Sample((x,)) for x in _SQUARE),
        eager=_as_tuple(implementation(function)) if several else None,
        fallible=fallible,
    )


def _as_tuple(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that returns plain tuples where ``function`` returns named ones."""
    return lambda *inputs, **attributes: tuple(function(*inputs, **attributes))


_on_square(np.linalg.inv, lambda batch, n, m: ((*batch, n, n),))
_on_square(np.linalg.det, lambda batch, n, m: (batch,), fallible=False)
_on_square(np.linalg.slogdet, lambda batch, n, m: (batch, batch), fallible=False)
_on_square(np.linalg.cholesky, lambda batch, n, m: ((*batch, n, n),))
_on_square(np.linalg.eigh, lambda batch, n, m: ((*batch, n), (*batch, n, n)))
_on_square(np.linalg.eigvalsh, lambda batch, n, m: ((*batch, n),))
_linalg_op(
    np.linalg.solve,
    _solve_rule,
    (
        Sample((_SQUARE[0], Draw((3,)))),
        Sample((_SQUARE[0], Draw((3, 2)))),
        Sample((_SQUARE[1], Draw((3, 2)))),
        Sample((_SQUARE[2], Draw((3,), "f32"))),
    ),
)
_linalg_op(
    np.linalg.pinv,
    _rule("linalg.pinv", lambda batch, n, m: ((*batch, m, n),), False),
    tuple(Sample((x,)) for x in _WIDE),
)
_linalg_op(
    np.linalg.qr,
    _rule("linalg.qr", lambda b, n, m: ((*b, n, _smaller(n, m)), (*b, _smaller(n, m), m)), False),
    tuple(Sample((x,)) for x in _WIDE),
    eager=_as_tuple(implementation(np.linalg.qr)),
)


def _svd_shapes(batch: tuple[Dim, ...], n: Dim, m: Dim, full_matrices: bool) -> Shapes:
    k = _smaller(n, m)
    return (*batch, n, n if full_matrices else k), (*batch, k), (*batch, m if full_matrices else k, m)


_linalg_op(
    np.linalg.svd,
    _rule("linalg.svd", _svd_shapes, False),
    tuple(Sample((x,), {"full_matrices": full}) for x in _WIDE for full in (False, True)),
    eager=_as_tuple(implementation(np.linalg.svd)),
)
