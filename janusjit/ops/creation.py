"""Creation: constants and arrays made from a few numbers.

Owns ``constant``, ``constant_array``, ``full``, ``arange``, ``eye``. Invariant: attributes and 0-d inputs define the
result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import DTYPES, TensorType, dtype_name
from janusjit.ops.elementwise import E, like
from janusjit.ops.emitter import Scalar
from janusjit.ops.gradients_arrays import CREATION
from janusjit.ops.indexing import FrozenArray
from janusjit.ops.registry import Attributes, Elementwise, Op, Source, Structured, declare
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_same_dtype, show_shape


def _constant_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 0, "constant")
    if attributes["dtype"] not in DTYPES or not isinstance(attributes["value"], (bool, int, float)):
        raise TypeRuleError(f"constant {attributes['value']!r} of {attributes['dtype']!r}")
    return (TensorType(attributes["dtype"]),)


def _constant_array_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 0, "constant_array")
    array = attributes["value"].value
    name = dtype_name(array.dtype)
    if name is None:
        raise TypeRuleError(f"an array constant of {array.dtype}")
    return (TensorType(name, array.shape),)


declare(
    Op(
        name="constant",
        family="creation",
        eager=lambda value, dtype: DTYPES[dtype].type(value),
        infer=_constant_rule,
        lowering=Elementwise(lambda e, value, dtype: e.constant(value, dtype)),
        gradient=CREATION["constant"],
        samples=tuple(
            Sample(attributes={"value": value, "dtype": dtype})
            for value, dtype in (
                (1.5, "f64"),
                (float("nan"), "f32"),
                (-0.0, "f64"),
                (-3, "i8"),
                (2**64 - 1, "u64"),
                (True, "bool"),
            )
        ),
    )
)
declare(
    Op(
        name="constant_array",
        family="creation",
        eager=lambda value: value.value,
        infer=_constant_array_rule,
        lowering=Structured(),
        gradient=CREATION["constant_array"],
        samples=tuple(
            Sample(attributes={"value": FrozenArray(v)}) for v in ([[1.0, 2.0]], [True, False], np.zeros((0, 2)))
        ),
    )
)

# ---- full and arange


def _scalars(inputs: tuple[TensorType, ...], count: int, what: str) -> str:
    """Return the dtype that ``count`` 0-d inputs have."""
    check_arity(inputs, count, what)
    for type_ in inputs:
        if type_.shape:
            raise TypeRuleError(f"{what} of {type_}, which is no scalar")
    return check_same_dtype(inputs, what)


def _check_lengths(shape: tuple[Dim, ...]) -> None:
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise TypeRuleError(f"a negative dimension in {show_shape(shape)}")


def _full_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    _check_lengths(attributes["shape"])
    return (TensorType(_scalars(inputs, 1, "full"), attributes["shape"]),)


def _arange_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    _check_lengths((attributes["length"],))
    dtype = _scalars(inputs, 2, "arange")
    if dtype == "bool":
        raise TypeRuleError("arange of bool")
    return (TensorType(dtype, (attributes["length"],)),)


def _eager_arange(first: Any, second: Any, length: int) -> Any:
    dtype = np.asarray(first).dtype
    with np.errstate(over="ignore"):
        delta = np.subtract(second, first, dtype=dtype)
        result = np.add(first, np.arange(length).astype(dtype) * delta, dtype=dtype)
    result[:2] = np.array([first, second], dtype)[:length]
    return result


def _arange_element(e: E, index: tuple[Scalar, ...], first: Source, second: Source, length: Dim) -> Scalar:
    """NumPy's ``fill``: the second element is stored, the others are ``first + i*(second - first)``."""
    (i,) = index
    start = first()
    further = e.add(start, e.mul(e.cast(i, e.dtype(start)), e.sub(second(), start)))
    return e.select(e.eq(i, like(e, i, 0)), start, e.select(e.eq(i, like(e, i, 1)), second(), further))


declare(
    Op(
        name="full",
        family="creation",
        eager=lambda value, shape: np.full(shape, value, dtype=np.asarray(value).dtype),
        infer=_full_rule,
        lowering=Structured(lambda e, index, value, shape: value()),
        gradient=CREATION["full"],
        numpy=(np.full,),
        samples=tuple(
            Sample((Draw((), dtype),), {"shape": shape})
            for dtype in ("f64", "i8", "bool")
            for shape in ((2, 3), (0,), ())
        ),
    )
)
declare(
    Op(
        name="arange",
        family="creation",
        eager=_eager_arange,
        infer=_arange_rule,
        lowering=Structured(_arange_element),
        gradient=CREATION["arange"],
        numpy=(np.arange,),
        samples=tuple(
            Sample((Exactly(first), Exactly(second)), {"length": length})
            for first, second in (
                (np.int64(0), np.int64(1)),
                (np.float64(0.1), np.float64(0.4)),
                (np.float32(5), np.float32(4.9)),
            )
            for length in (0, 1, 2, 7)
        ),
    )
)

# ---- eye


def _eye_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 0, "eye")
    shape = (attributes["n"], attributes["m"])
    _check_lengths(shape)
    return (TensorType(attributes["dtype"], shape),)


def _eye_element(e: E, index: tuple[Scalar, ...], n: Dim, m: Dim, k: int, dtype: str) -> Scalar:
    row, column = index
    return e.cast(e.eq(e.add(row, like(e, row, k)), column), dtype)


declare(
    Op(
        name="eye",
        family="creation",
        eager=lambda n, m, k, dtype: np.eye(n, m, k, dtype=DTYPES[dtype]),
        infer=_eye_rule,
        lowering=Structured(_eye_element),
        gradient=CREATION["eye"],
        numpy=(np.eye,),
        samples=tuple(
            Sample(attributes={"n": n, "m": m, "k": k, "dtype": dtype})
            for n, m, k, dtype in ((3, 3, 0, "f64"), (2, 4, 1, "i64"), (4, 2, -2, "bool"), (0, 3, 0, "f32"))
        ),
    )
)
