"""Gradients of functions that compiled code calls NumPy for.

Owns the rules, by op. Invariant: they emit ops that have rules, so gradients nest; an order of elements is taken as it
is, as in `sort`.
"""

from __future__ import annotations

from janusjit.ops.gradient import Cotangent, Pullback, Term
from janusjit.ops.gradients_arrays import reversed_along, scattered, slice_along
from janusjit.ops.registry import ZERO, Gradient, NotDifferentiable


def _modf(p: Pullback) -> list[Cotangent]:
    return [p.cotangents[0]]


def _frexp(p: Pullback) -> list[Cotangent]:
    g = p.cotangents[0]
    if g is None:
        return [None]
    return [p.emit("ldexp", g, p.emit("negative", p.results[1]))]


def _ldexp(p: Pullback) -> list[Cotangent]:
    return [p.emit("ldexp", p.cotangent, p.inputs[1]).sum_to(p.inputs[0].shape), None]


def _logaddexp2(p: Pullback) -> list[Cotangent]:
    return [(p.cotangent * p.emit("exp2", x - p.result)).sum_to(x.shape) for x in p.inputs]


def _nextafter(p: Pullback) -> list[Cotangent]:
    return [p.cotangent.sum_to(p.inputs[0].shape), None]


def _interp(p: Pullback) -> list[Cotangent]:
    """Piecewise linear; a point where the slope changes has the slope to its right."""
    x, knots, values = p.inputs
    g, count = p.cotangent, knots.shape[0]
    flat = x.reshape((x.size,))
    g = g.reshape((x.size,))
    found = p.emit("searchsorted", knots, flat, side="right")
    before = p.emit("minimum", p.emit("maximum", found - 1, found.constant(0)), p.emit.dim(count - 2))
    after = before + 1
    left, right = (p.emit("gather", knots, at, axes=(0,)) for at in (before, after))
    low, high = (p.emit("gather", values, at, axes=(0,)) for at in (before, after))
    part = (flat - left) / (right - left)
    slope = (high - low) / (right - left)
    inside = p.emit("logical_and", p.emit("greater_equal", part, part.constant(0)), _at_most_one(p, part))
    below = p.emit("less", part, part.constant(0))
    kept = inside.where(g, 0)
    of_x = (kept * slope).reshape(x.shape)
    share = inside.where(part, below.where(part.constant(0), 1))
    held = g
    for end, side in (("left", below), ("right", p.emit("greater", part, part.constant(1)))):
        if p.attributes[end] is not None:
            held = side.where(held.constant(0), held)
    of_values = _spread(p, values, held, share, before, after) if p.wanted[2] else None
    of_knots = _spread(p, knots, -(kept * slope), share, before, after) if p.wanted[1] else None
    return [of_x, of_knots, of_values]


def _at_most_one(p: Pullback, part: Term) -> Term:
    return p.emit("less_equal", part, part.constant(1))


def _spread(p: Pullback, like: Term, g: Term, share: Term, before: Term, after: Term) -> Term:
    """Return ``g`` added to the two neighbours of each point, by how far the point is from them."""
    found = p.emit.zeros(like.type)
    for amount, at in ((g * (1 - share), before), (g * share, after)):
        found = p.emit("update_take", found, amount, at, axes=(0,), accumulate=True)
    return found


def _whole(p: Pullback, g: Term) -> Term:
    """Return the cotangent of a convolution in full, of which the mode keeps a part."""
    n, m = (x.shape[0] for x in p.inputs)
    if p.attributes["mode"] == "full":
        return g
    assert isinstance(n, int) and isinstance(m, int)
    before = min(n, m) - 1 if p.attributes["mode"] == "valid" else (min(n, m) - 1) // 2
    after = n + m - 1 - before - p.result.shape[0]
    return p.emit("pad", g, g.constant(0), widths=((before, after),))


def _convolve(p: Pullback) -> list[Cotangent]:
    g = _whole(p, p.cotangent)
    a, v = p.inputs
    return [_correlated(p, g, v, a), _correlated(p, g, a, v)]


def _correlated(p: Pullback, g: Term, other: Term, like: Term) -> Term:
    """Return the part of the convolution of ``g`` with the reversed ``other`` that belongs to ``like``."""
    spread = p.emit("convolve", g, reversed_along(other, 0), mode="full")
    return slice_along(spread, 0, other.shape[0] - 1, like.shape[0])


def _partition(p: Pullback) -> list[Cotangent]:
    (x,), axis = p.inputs, p.attributes["axis"]
    order = p.emit("argpartition", x, **p.attributes)
    return [_scattered_along(p, x, p.cotangent, order, axis)]


def _scattered_along(p: Pullback, x: Term, g: Term, order: Term, axis: int) -> Cotangent:
    indices = []
    for other in range(x.rank):
        line = p.emit.positions(x.shape[other])
        indices.append(line.reshape(tuple(x.shape[other] if i == other else 1 for i in range(x.rank))))
    indices[axis] = order
    return scattered(x, g, indices, tuple(range(x.rank)))


def _running(p: Pullback) -> list[Cotangent]:
    """An element of a running extreme is the last one that was equal to it."""
    (x,), axis = p.inputs, p.attributes["axis"]
    line = p.emit.positions(x.shape[axis]).reshape(tuple(x.shape[axis] if i == axis else 1 for i in range(x.rank)))
    places = x.equal(p.result).where(line, line.constant(0))
    return [_scattered_along(p, x, p.cotangent, p.emit("maximum_accumulate", places, axis=axis), axis)]


def _bincount_weighted(p: Pullback) -> list[Cotangent]:
    return [None, p.emit("gather", p.cotangent, p.inputs[0], axes=(0,))]


def _linear_recurrence(p: Pullback) -> list[Cotangent]:
    """The recurrence backwards: what comes to an element comes to the one before it, times its factor."""
    factors, _ = p.inputs
    axis, length = p.attributes["axis"], factors.shape[p.attributes["axis"]]
    if length == 0:
        return [None, None]
    zeros = p.emit.zeros(factors.type.with_shape(tuple(1 if i == axis else d for i, d in enumerate(factors.shape))))
    following = p.emit("concatenate", slice_along(factors, axis, 1, length - 1), zeros, axis=axis)
    before = p.emit("concatenate", zeros, slice_along(p.result, axis, 0, length - 1), axis=axis)
    backwards = (reversed_along(part, axis) for part in (following, p.cotangent))
    of_terms = reversed_along(p.emit("linear_recurrence", *backwards, axis=axis), axis)
    return [of_terms * before, of_terms]


LIBRARY: dict[str, Gradient] = {
    "modf": _modf,
    "frexp": _frexp,
    "ldexp": _ldexp,
    "logaddexp2": _logaddexp2,
    "nextafter": _nextafter,
    "interp": _interp,
    "convolve": _convolve,
    "partition": _partition,
    "linear_recurrence": _linear_recurrence,
    "maximum_accumulate": _running,
    "minimum_accumulate": _running,
    "bincount_weighted": _bincount_weighted,
    "linalg.lstsq": NotDifferentiable("least squares: solve the normal equations, or use np.linalg.pinv"),
    **dict.fromkeys(
        ("spacing", "gcd", "lcm", "bitwise_count", "lexsort", "argpartition", "digitize", "python_round"), ZERO
    ),
}
