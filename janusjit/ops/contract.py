"""Contractions: products summed over shared dimensions.

Owns ``matmul`` and ``einsum``. Invariant: contracted dimensions are known to be equal. ``dot``, ``outer``, ``inner``
and ``tensordot`` are composed of ``matmul``, ``multiply``, ``transpose`` and ``reshape`` by capture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy._core.multiarray import c_einsum  # what `np.einsum` calls

from janusjit.ir.dims import Dim
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_reduce import CONTRACTIONS
from janusjit.ops.registry import Attributes, Contract, Library, Op, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, broadcast_shapes, check_arity, check_same_dtype, loop_dtypes

# ---- matmul


def _matmul_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "matmul")
    a, b = inputs
    if not a.rank or not b.rank:
        raise TypeRuleError(f"matmul of {a} and {b}: a scalar")
    dtype = loop_dtypes(np.matmul, (check_same_dtype(inputs, "matmul"),) * 2)[-1]
    rows, inner = a.shape[-2:] if a.rank > 1 else (None, a.shape[-1])
    inner_b, columns = b.shape[-2:] if b.rank > 1 else (b.shape[-1], None)
    if inner != inner_b:
        raise TypeRuleError(f"matmul of {a} and {b}: {inner} is not {inner_b}")
    shape = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return (TensorType(dtype, shape + tuple(dim for dim in (rows, columns) if dim is not None)),)


_SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((2, 0), (0, 3)),
    ((1, 1), (1, 1)),
    ((4, 2, 3), (3,)),
)

declare(
    Op(
        name="matmul",
        family="contract",
        eager=np.matmul,
        infer=_matmul_rule,
        lowering=Contract(),
        gradient=CONTRACTIONS["matmul"],
        sums=True,
        numpy=(np.matmul,),
        samples=tuple(
            Sample((Draw(a, dtype), Draw(b, dtype))) for dtype in ("f64", "f32", "i64", "bool") for a, b in _SHAPES
        ),
    )
)

# ---- einsum


def parse_subscripts(subscripts: str, inputs: tuple[TensorType, ...]) -> tuple[list[str], str]:
    """Return the labels of each input and of the result.

    Raises
    ------
    TypeRuleError
        Unless the subscripts are explicit (``"ij,jk->ik"``), without ellipsis, and fit the inputs.
    """
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    letters = "".join(labels)
    if not arrow or (letters and not letters.isalpha()):
        raise TypeRuleError(f"einsum of {subscripts!r}: subscripts are letters, and the result's are given")
    if [len(label) for label in labels] != [type_.rank for type_ in inputs]:
        raise TypeRuleError(f"einsum of {subscripts!r} and {', '.join(map(str, inputs))}")
    if len(set(result)) != len(result) or not set(result) <= set(letters):
        raise TypeRuleError(f"einsum of {subscripts!r}: the result's subscripts repeat, or are no input's")
    return labels, result


def _einsum_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    labels, result = parse_subscripts(attributes["subscripts"], inputs)
    sizes: dict[str, Dim] = {}
    for label, type_ in zip(labels, inputs, strict=True):
        for letter, dim in zip(label, type_.shape, strict=True):
            known = sizes.setdefault(letter, dim)
            if known == 1:
                sizes[letter] = dim
            elif dim not in (1, known):
                raise TypeRuleError(f"einsum of {attributes['subscripts']!r}: {letter} is {known} and {dim}")
    return (TensorType(check_same_dtype(inputs, "einsum"), tuple(sizes[letter] for letter in result)),)


def _eager_einsum(*inputs: Any, subscripts: str) -> Any:
    made = c_einsum(subscripts, *inputs)
    if not made.ndim:
        return made[()]
    return made if made.base is None else made.copy()  # einsum returns views where it can


declare(
    Op(
        name="einsum",
        family="contract",
        eager=_eager_einsum,
        infer=_einsum_rule,
        lowering=Library(),
        gradient=CONTRACTIONS["einsum"],
        sums=True,
        numpy=(np.einsum,),
        samples=tuple(
            Sample(tuple(Draw(shape) for shape in shapes), {"subscripts": subscripts})
            for subscripts, shapes in (
                ("ij,jk->ik", ((2, 3), (3, 4))),
                ("bij,bij->b", ((2, 3, 4), (2, 3, 4))),
                ("ii->i", ((3, 3),)),
                ("i,i->", ((3,), (3,))),
                ("ij->ji", ((2, 3),)),
            )
        ),
    )
)
