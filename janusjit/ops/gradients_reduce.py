"""Gradients of reductions, scans and contractions.

Owns the rules, by op. Invariant: `min` and `max` share the cotangent evenly among equal extrema, as ``autograd`` does;
`prod` and `cumprod` have the right derivative where factors are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

from janusjit.ir.dims import Dim, product
from janusjit.ops.gradient import Cotangent, Pullback, Term
from janusjit.ops.gradients_arrays import reversed_along, slice_along
from janusjit.ops.registry import ZERO, Gradient

# ---- reductions


def _restored(p: Pullback, x: Term) -> Term:
    """Return a result, or its cotangent, with the axes reduced over back in place, of length 1."""
    return x.restore(p.inputs[0].shape, p.attributes["axes"], p.attributes["keepdims"])


def _sum(p: Pullback) -> list[Cotangent]:
    if p.cotangent.rank == 0:
        return [p.cotangent.broadcast(p.inputs[0].shape)]
    return [_restored(p, p.cotangent).broadcast(p.inputs[0].shape)]


def _extremum(p: Pullback) -> list[Cotangent]:
    (x,), axes = p.inputs, p.attributes["axes"]
    chosen = x.equal(_restored(p, p.result))
    count = chosen.cast(x.type.dtype).sum(axes, keepdims=True)
    return [chosen.where(_restored(p, p.cotangent) / count, 0)]


def _prod(p: Pullback) -> list[Cotangent]:
    """The product of all other factors: of those before times of those behind."""
    (x,), axes = p.inputs, p.attributes["axes"]
    if not axes:
        return [p.cotangent]
    kept = [axis for axis in range(x.rank) if axis not in axes]
    order = (*kept, *axes)
    length = product(x.shape[axis] for axis in axes)
    rows = x.transpose(order).reshape((*[x.shape[axis] for axis in kept], length))
    before = _product_before(rows)
    behind = reversed_along(_product_before(reversed_along(rows, rows.rank - 1)), rows.rank - 1)
    others = (before * behind).reshape(tuple(x.shape[axis] for axis in order))
    back = sorted(range(x.rank), key=order.__getitem__)
    return [_restored(p, p.cotangent) * others.transpose(back)]


def _product_before(rows: Term) -> Term:
    """Return the products along the last axis of all elements before each."""
    axis, length = rows.rank - 1, rows.shape[-1]
    if length == 0:
        return rows
    ones = rows.emit.full(1, rows.type.with_shape((*rows.shape[:-1], 1)))
    moved = rows.emit("concatenate", ones, slice_along(rows, axis, 0, length - 1), axis=axis)
    return rows.emit("cumprod", moved, axis=axis)


def _cumsum_back(g: Term, axis: int) -> Term:
    return reversed_along(g.emit("cumsum", reversed_along(g, axis), axis=axis), axis)


def _cumsum(p: Pullback) -> list[Cotangent]:
    return [_cumsum_back(p.cotangent, p.attributes["axis"])]


def _cumprod(p: Pullback) -> list[Cotangent]:
    """All factors before, times what comes back from the products behind: no factor is divided by."""
    (x,), axis = p.inputs, p.attributes["axis"]
    length = x.shape[axis]
    if length == 0:
        return [None]
    one = p.emit.full(1, x.type.with_shape(tuple(1 if i == axis else d for i, d in enumerate(x.shape))))
    before = p.emit("concatenate", one, slice_along(p.result, axis, 0, length - 1), axis=axis)
    following = p.emit("concatenate", slice_along(x, axis, 1, length - 1), one, axis=axis)
    backwards = (reversed_along(part, axis) for part in (following, p.cotangent))
    return [before * reversed_along(p.emit("linear_recurrence", *backwards, axis=axis), axis)]


REDUCTIONS: dict[str, Gradient] = {
    "sum": _sum,
    "prod": _prod,
    "min": _extremum,
    "max": _extremum,
    "cumsum": _cumsum,
    "cumprod": _cumprod,
    **dict.fromkeys(("any", "all", "count_nonzero", "argmax", "argmin"), ZERO),
}

# ---- contractions


def _matmul(p: Pullback) -> list[Cotangent]:
    """Vectors become matrices of one row or column, and everything is a product of matrices."""
    a, b = p.inputs
    g = p.cotangent
    if a.rank == 1 and b.rank == 1:
        return [g * b, g * a]
    if b.rank == 1:
        g = g.reshape((*g.shape, 1))
    if a.rank == 1:
        g = g.reshape((*g.shape[:-1], 1, g.shape[-1]))
    rows = a.reshape((1, *a.shape)) if a.rank == 1 else a
    columns = b.reshape((*b.shape, 1)) if b.rank == 1 else b
    found: list[Cotangent] = [None, None]
    if p.wanted[0]:
        found[0] = _fold(_outer_or_product(g, columns.matrix_transpose), rows.shape).reshape(a.shape)
    if p.wanted[1]:
        found[1] = _weights(rows, g, columns.shape).reshape(b.shape)
    return found


def _outer_or_product(a: Term, b: Term) -> Term:
    """Return the product of matrices; over a dimension of 1 it is a product of elements."""
    return a * b if a.shape[-1] == 1 else a.matmul(b)


def _weights(rows: Term, g: Term, shape: tuple[Dim, ...]) -> Term:
    """Return ``rows.T @ g``; for one matrix that a stack of rows was multiplied by, of all rows at once."""
    if len(shape) == 2 and rows.rank > 2 and rows.shape[:-2] == g.shape[:-2]:
        together = product(rows.shape[:-1])
        rows, g = rows.reshape((together, rows.shape[-1])), g.reshape((together, g.shape[-1]))
    return _fold(_outer_or_product(rows.matrix_transpose, g), shape)


def _fold(x: Term, shape: tuple[Dim, ...]) -> Term:
    return x.sum_to(shape)


def _einsum(p: Pullback) -> list[Cotangent]:
    labels, _, result = p.attributes["subscripts"].replace(" ", "").partition("->")
    operands = labels.split(",")
    return [_einsum_back(p, operands, result, position) if wanted else None for position, wanted in enumerate(p.wanted)]


def _einsum_back(p: Pullback, operands: Sequence[str], result: str, position: int) -> Term:
    """Sum the cotangent times the other operands; labels that are only here are summed over ones."""
    x, own = p.inputs[position], operands[position]
    unused = iter(letter for letter in ascii_letters if letter not in "".join(operands) + result)
    subscripts, terms = [result], [p.cotangent]
    for i, (labels, term) in enumerate(zip(operands, p.inputs, strict=True)):
        if i != position:
            subscripts.append(labels)
            terms.append(term)
    target = ""
    for axis, letter in enumerate(own):
        if letter in target:  # a diagonal was taken
            other = next(unused)
            subscripts.append(letter + other)
            terms.append(p.emit("eye", n=x.shape[axis], m=x.shape[axis], k=0, dtype=x.type.dtype))
            letter = other
        elif letter not in "".join(subscripts):
            subscripts.append(letter)
            terms.append(p.emit.full(1, x.type.with_shape((x.shape[axis],))))
        target += letter
    return p.emit("einsum", *terms, subscripts=f"{','.join(subscripts)}->{target}")


CONTRACTIONS: dict[str, Gradient] = {"matmul": _matmul, "einsum": _einsum}
