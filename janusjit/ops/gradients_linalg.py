"""Gradients of linear algebra.

Owns the rules, by op. Sources: M. Giles, "An extended collection of matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008); I. Murray, arXiv:1602.07527 (Cholesky); J. Townsend, "Differentiating the
singular value decomposition" (2016); S. Walter, L. Lehmann, arXiv:1009.6112, and M. Seeger et al., arXiv:1710.08717
(QR). Invariant: as in ``autograd``, that of `eigh` is by the lower triangle, that of `cholesky` symmetric, and
singular values or eigenvalues that coincide make the gradient of the vectors infinite.
"""

from __future__ import annotations

from janusjit.ops.gradient import Cotangent, Pullback, Term
from janusjit.ops.gradients_arrays import slice_along
from janusjit.ops.registry import Gradient, NotDifferentiableError


def _eye(like: Term, axis: int = -1) -> Term:
    """Return the identity of the size of an axis."""
    size = like.shape[axis]
    return like.emit("eye", n=size, m=size, k=0, dtype=like.type.dtype)


def _transposed(x: Term) -> Term:
    return x.matrix_transpose


def _column(x: Term) -> Term:
    return x.reshape((*x.shape, 1))


def _row(x: Term) -> Term:
    return x.reshape((*x.shape[:-1], 1, x.shape[-1]))


def _number(x: Term) -> Term:
    """Return numbers, one a matrix, with two more dimensions."""
    return x.reshape((*x.shape, 1, 1))


def _solve_transposed(a: Term, b: Term) -> Term:
    return a.emit("linalg.solve", _transposed(a), b)


def _lower(x: Term, k: int = 0) -> Term:
    return x.emit("tril", x, k=k)


def _inv(p: Pullback) -> list[Cotangent]:
    inverse = _transposed(p.result)
    return [-(inverse.matmul(p.cotangent).matmul(inverse))]


def _det(p: Pullback) -> list[Cotangent]:
    return [_number(p.cotangent * p.result) * _transposed(p.emit("linalg.inv", p.inputs[0]))]


def _slogdet(p: Pullback) -> list[Cotangent]:
    g = p.cotangents[1]
    return [None if g is None else _number(g) * _transposed(p.emit("linalg.inv", p.inputs[0]))]


def _solve(p: Pullback) -> list[Cotangent]:
    a, b = p.inputs
    g, x = p.cotangent, p.result
    if b.rank == 1:  # one right-hand side: a column for all matrices of the stack
        g, x = _column(g), _column(x)
    of_b = _solve_transposed(a, g)
    of_a = -(of_b.matmul(_transposed(x))) if p.wanted[0] else None
    return [of_a, of_b.sum((of_b.rank - 1,)) if b.rank == 1 else of_b]


def _cholesky(p: Pullback) -> list[Cotangent]:
    factor = p.result
    inner = _lower(_transposed(factor).matmul(p.cotangent)) / (1 + _eye(factor))
    left = _transposed(_solve_transposed(factor, _transposed(inner)))
    both = _solve_transposed(factor, left)
    return [0.5 * (both + _transposed(both))]


def _eigh(p: Pullback) -> list[Cotangent]:
    return [_symmetric(p.inputs[0], p.results[0], p.results[1], p.cotangents[0], p.cotangents[1])]


def _eigvalsh(p: Pullback) -> list[Cotangent]:
    values, vectors = p.emit.several("linalg.eigh", p.inputs[0])
    return [_symmetric(p.inputs[0], values, vectors, p.cotangent, None)]


def _symmetric(x: Term, values: Term, vectors: Term, of_values: Term | None, of_vectors: Term | None) -> Term:
    """Pull back through the eigendecomposition of what the lower triangle of ``x`` says."""
    inner = None if of_values is None else _eye(vectors) * _row(of_values)
    if of_vectors is not None:
        gaps = _row(values) - _column(values) + _eye(vectors)
        turned = (1 - _eye(vectors)) / gaps * _transposed(vectors).matmul(of_vectors)
        inner = turned if inner is None else inner + turned
    assert inner is not None
    full = vectors.matmul(inner).matmul(_transposed(vectors))
    return full * _eye(full) + _lower(full + _transposed(full), -1)


def _pinv(p: Pullback) -> list[Cotangent]:
    x, y, g = p.inputs[0], p.result, _transposed(p.cotangent)
    inside = -(_transposed(y).matmul(p.cotangent).matmul(_transposed(y)))
    rows = (_eye(x, -2) - x.matmul(y)).matmul(g).matmul(y.matmul(_transposed(y)))
    columns = _transposed(y).matmul(y).matmul(g).matmul(_eye(y, -2) - y.matmul(x))
    return [inside + rows + columns]


def _qr(p: Pullback) -> list[Cotangent]:
    """For more columns than rows, the first columns make ``q``, and the others are ``q`` times those of ``r``."""
    (x,), (q, r), (of_q, of_r) = p.inputs, p.results, p.cotangents
    rows, columns = x.shape[-2:]
    of_q = p.emit.zeros(q.type) if of_q is None else of_q
    of_r = p.emit.zeros(r.type) if of_r is None else of_r
    if r.shape[-2] == columns:
        return [_tall(q, r, of_q, of_r)]
    last = x.rank - 1
    rest = columns - rows
    of_q = of_q + slice_along(x, last, rows, rest).matmul(_transposed(slice_along(of_r, last, rows, rest)))
    square = _tall(q, slice_along(r, last, 0, rows), of_q, slice_along(of_r, last, 0, rows))
    others = q.matmul(slice_along(of_r, last, rows, rest))
    return [p.emit("concatenate", square, others, axis=last)]


def _tall(q: Term, r: Term, of_q: Term, of_r: Term) -> Term:
    mixed = r.matmul(_transposed(of_r)) - _transposed(of_q).matmul(q)
    symmetric = _lower(mixed) + _transposed(_lower(mixed, -1))
    inner = of_q + q.matmul(symmetric)
    return _transposed(q.emit("linalg.solve", r, _transposed(inner)))


def _svd(p: Pullback) -> list[Cotangent]:
    (x,), (of_u, of_s, of_vt) = p.inputs, p.cotangents
    u, s, vt = p.results
    rows, columns = x.shape[-2:]
    if p.attributes["full_matrices"] and rows != columns:
        if of_u is not None or of_vt is not None:
            raise NotDifferentiableError("the singular vectors of np.linalg.svd with full_matrices=True")
        u, s, vt = p.emit.several("linalg.svd", x, full_matrices=False)
    inner = None if of_s is None else _eye(s) * _column(of_s)
    squares = s.square()
    gaps = 1 / (_row(squares) - _column(squares) + _eye(s)) if of_u is not None or of_vt is not None else None
    result: Term | None = None
    if of_u is not None and gaps is not None:
        mixed = _transposed(u).matmul(of_u)
        inner = _plus(inner, gaps * (mixed - _transposed(mixed)) * _row(s))
        if vt.shape[-2] != rows:
            outside = of_u / _row(s)
            result = _plus(result, (outside - u.matmul(_transposed(u).matmul(outside))).matmul(vt))
    if of_vt is not None and gaps is not None:
        mixed = vt.matmul(_transposed(of_vt))
        inner = _plus(inner, _column(s) * (gaps * (mixed - _transposed(mixed))))
        if vt.shape[-2] != columns:
            outside = of_vt / _column(s)
            result = _plus(result, u.matmul(outside - outside.matmul(_transposed(vt)).matmul(vt)))
    assert inner is not None
    return [_plus(result, u.matmul(inner).matmul(vt))]


def _plus(a: Term | None, b: Term) -> Term:
    return b if a is None else a + b


LINALG: dict[str, Gradient] = {
    "linalg.inv": _inv,
    "linalg.det": _det,
    "linalg.slogdet": _slogdet,
    "linalg.solve": _solve,
    "linalg.cholesky": _cholesky,
    "linalg.eigh": _eigh,
    "linalg.eigvalsh": _eigvalsh,
    "linalg.pinv": _pinv,
    "linalg.qr": _qr,
    "linalg.svd": _svd,
}
