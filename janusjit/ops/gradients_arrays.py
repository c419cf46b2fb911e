"""Gradients of creation, views, updates, gathers and joins: elements in other places.

Owns the rules, by op. Invariant: they move cotangents and add where an element was used more than once; those of parts
(`view`, `take`, `gather`) are a `Part`, so that adding them to a cotangent costs as much as the part.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.ir.dims import Dim
from janusjit.ops.gradient import Cotangent, Emit, Part, Pullback, Term
from janusjit.ops.indexing import IndexItem, NewAxis, PathStep, Range
from janusjit.ops.registry import ZERO, Gradient, NotDifferentiable, NotDifferentiableError

# ---- creation


def _full(p: Pullback) -> list[Cotangent]:
    return [p.cotangent.sum(range(p.cotangent.rank))]


def _arange(p: Pullback) -> list[Cotangent]:
    """Element ``i`` is ``first + i*(second - first)``."""
    g = p.cotangent
    steps = p.emit.positions(p.attributes["length"]).cast(g.type.dtype)
    return [(g * (1 - steps)).sum((0,)), (g * steps).sum((0,))]


CREATION: dict[str, Gradient] = {
    "constant": ZERO,
    "constant_array": ZERO,
    "eye": ZERO,
    "full": _full,
    "arange": _arange,
}

# ---- views


def everything(shape: Sequence[Dim]) -> list[IndexItem]:
    """Return the index that picks all of an array."""
    return [Range(0, dim) for dim in shape]


def reversed_along(x: Term, axis: int) -> Term:
    """Return ``x`` from last to first along an axis."""
    index = everything(x.shape)
    index[axis] = Range(x.shape[axis] - 1, x.shape[axis], -1)
    return x.emit("view", x, index=tuple(index))


def slice_along(x: Term, axis: int, start: Dim, length: Dim) -> Term:
    """Return a range of an axis."""
    index = everything(x.shape)
    index[axis] = Range(start, length)
    return x.emit("view", x, index=tuple(index))


def _view(p: Pullback) -> list[Cotangent]:
    x, *extras = p.inputs
    g, index = p.cotangent, p.attributes["index"]
    kept = tuple(item for item in index if not isinstance(item, NewAxis))
    if all(isinstance(item, Range) and item == Range(0, dim) for item, dim in zip(kept, x.shape, strict=True)):
        return [g.reshape(x.shape), *[None] * len(extras)]
    path = (PathStep.of("view", len(extras), index=index),)

    def add_to(base: Term | None) -> Term:
        if base is None:
            return p.emit("update", p.emit.zeros(x.type), g, *extras, path=path)
        return p.emit("update", base, p.emit("view", base, *extras, index=index) + g, *extras, path=path)

    return [Part(add_to), *[None] * len(extras)]


def _transpose(p: Pullback) -> list[Cotangent]:
    axes = p.attributes["axes"]
    return [p.cotangent.transpose(sorted(range(len(axes)), key=axes.__getitem__))]


VIEWS: dict[str, Gradient] = {
    "view": _view,
    "transpose": _transpose,
    "reshape": lambda p: [p.cotangent.reshape(p.inputs[0].shape)],
    "broadcast": lambda p: [p.cotangent],
}

# ---- updates


def follow(x: Term, path: Sequence[PathStep], extras: Sequence[Term]) -> Term:
    """Return the part of ``x`` that a path of view operations reaches."""
    left = list(extras)
    for step in path:
        x = x.emit(step.op, x, *left[: step.extras], **dict(step.attributes))
        del left[: step.extras]
    return x


def _update(p: Pullback) -> list[Cotangent]:
    extras = p.inputs[2:]
    g, path = p.cotangent, p.attributes["path"]
    nothing: list[Cotangent] = [None] * len(extras)
    base = p.emit("update", g, g.constant(0), *extras, path=path) if path and p.wanted[0] else None
    return [base, follow(g, path, extras) if p.wanted[1] else None, *nothing]


def _update_take(p: Pullback) -> list[Cotangent]:
    """Where one element is set twice the last value counts, so the others' cotangents are zero."""
    base, _, *indices = p.inputs
    g, axes = p.cotangent, p.attributes["axes"]
    nothing: list[Cotangent] = [None] * len(indices)
    read = p.emit("gather", g, *indices, axes=axes)
    accumulate = p.attributes["accumulate"]
    if isinstance(accumulate, str):
        raise NotDifferentiableError(f"np.{accumulate}.at")
    if accumulate:
        return [g, read, *nothing]
    kept = p.emit("update_take", g, g.constant(0), *indices, axes=axes, accumulate=False)
    if p.wanted[1]:
        wins = _set_last(p.emit, [base.shape[axis] for axis in axes], indices)
        read = wins.reshape(wins.shape + (1,) * (read.rank - wins.rank)).where(read, 0)
    return [kept, read, *nothing]


def _set_last(emit: Emit, shape: Sequence[Dim], indices: Sequence[Term]) -> Term:
    """Return whether each position picked by ``indices`` is the last that picks its element of ``shape``."""
    numbers: Term | None = None
    for index in indices:
        zero = index * 0
        numbers = zero if numbers is None else numbers + zero
    assert numbers is not None
    numbers = emit.positions(numbers.size).reshape(numbers.shape)
    axes = tuple(range(len(shape)))
    owner = emit.full(-1, numbers.type.with_shape(tuple(shape)))
    owner = emit("update_take", owner, numbers, *indices, axes=axes, accumulate=False)
    return emit("gather", owner, *indices, axes=axes).equal(numbers)


def _update_mask(p: Pullback) -> list[Cotangent]:
    base, mask, value = p.inputs
    g = p.cotangent
    kept = p.emit("update_mask", g, mask, g.constant(0)) if p.wanted[0] else None
    if not p.wanted[2]:
        return [kept, None, None]
    rest = base.shape[mask.rank :]
    if value.rank > len(rest) and value.shape[0] != 1:
        return [kept, None, _picked(g, mask, value.shape[0])]
    wide = mask.reshape(mask.shape + (1,) * len(rest))
    chosen = wide.where(g, 0).sum(range(mask.rank))
    return [kept, None, chosen.reshape((1, *rest)) if value.rank > len(rest) else chosen]


def _picked(x: Term, mask: Term, count: Dim) -> Term:
    """Return the elements of ``x`` where ``mask`` holds, of which there are ``count``, in order."""
    emit, size = x.emit, mask.size
    flat = mask.reshape((size,))
    rank = emit("cumsum", flat.cast("i64"), axis=0) - 1
    places = flat.where(rank, emit.dim(count))  # those not picked share one place more
    spare = emit.zeros(places.type.with_shape((count + 1,)))
    order = emit("update_take", spare, emit.positions(size), places, axes=(0,), accumulate=False)
    order = slice_along(order, 0, 0, count)
    return emit("gather", x.reshape((size, *x.shape[mask.rank :])), order, axes=(0,))


UPDATES: dict[str, Gradient] = {"update": _update, "update_take": _update_take, "update_mask": _update_mask}

# ---- gathers


def scattered(x: Term, g: Term, indices: Sequence[Term], axes: tuple[int, ...]) -> Part:
    """Return the cotangent of ``x`` that was read at ``indices``: ``g`` is added there."""

    def add_to(base: Term | None) -> Term:
        base = x.emit.zeros(x.type) if base is None else base
        return x.emit("update_take", base, g, *indices, axes=axes, accumulate=True)

    return Part(add_to)


def _take(p: Pullback) -> list[Cotangent]:
    x, index = p.inputs
    axis, g = p.attributes["axis"], p.cotangent
    picked = range(axis, axis + index.rank)
    order = [*picked, *(i for i in range(g.rank) if i not in picked)]
    return [scattered(x, g.transpose(order), [index], (axis,)), None]


def _gather(p: Pullback) -> list[Cotangent]:
    x, *indices = p.inputs
    return [scattered(x, p.cotangent, indices, p.attributes["axes"]), *[None] * len(indices)]


def _compress(p: Pullback) -> list[Cotangent]:
    x, mask = p.inputs
    return [p.emit("update_mask", p.emit.zeros(x.type), mask, p.cotangent), None]


def _sort(p: Pullback) -> list[Cotangent]:
    (x,), axis = p.inputs, p.attributes["axis"]
    order = p.emit("argsort", x, axis=axis, kind=p.attributes.get("kind"))
    indices = [_along(p.emit, x.shape, other) for other in range(x.rank)]
    indices[axis] = order
    return [scattered(x, p.cotangent, indices, tuple(range(x.rank)))]


def _along(emit: Emit, shape: Sequence[Dim], axis: int) -> Term:
    """Return the positions along one axis as an array that broadcasts to ``shape``."""
    return emit.positions(shape[axis]).reshape(tuple(shape[axis] if i == axis else 1 for i in range(len(shape))))


GATHERS: dict[str, Gradient] = {
    "take": _take,
    "gather": _gather,
    "compress": _compress,
    "sort": _sort,
    "unique": NotDifferentiable("which elements are left depends on which are equal; sort them instead"),
    **dict.fromkeys(("nonzero", "argsort", "searchsorted", "bincount"), ZERO),
}

# ---- joins


def _concatenate(p: Pullback) -> list[Cotangent]:
    axis, start = p.attributes["axis"], 0
    found: list[Cotangent] = []
    for x, wanted in zip(p.inputs, p.wanted, strict=True):
        found.append(slice_along(p.cotangent, axis, start, x.shape[axis]) if wanted else None)
        start = start + x.shape[axis]
    return found


def _pad(p: Pullback) -> list[Cotangent]:
    (x, _), g = p.inputs, p.cotangent
    inside = tuple(Range(before, dim) for dim, (before, _) in zip(x.shape, p.attributes["widths"], strict=True))
    middle = p.emit("view", g, index=inside)
    border = None
    if p.wanted[1]:
        outside = p.emit("update", g, g.constant(0), path=(PathStep.of("view", 0, index=inside),))
        border = outside.sum(range(g.rank))
    return [middle, border]


def _pad_mode(p: Pullback) -> list[Cotangent]:
    mode = p.attributes["mode"]
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise NotDifferentiableError(f"np.pad in mode {mode!r}")
    (x,), g = p.inputs, p.cotangent
    for axis, (dim, widths) in enumerate(zip(x.shape, p.attributes["widths"], strict=True)):
        if widths == (0, 0):
            continue
        source = p.emit("pad_mode", p.emit.positions(dim), widths=(widths,), mode=mode)
        folded = p.emit.zeros(g.type.with_shape((*g.shape[:axis], dim, *g.shape[axis + 1 :])))
        order = (axis, *(i for i in range(g.rank) if i != axis))
        g = p.emit("update_take", folded, g.transpose(order), source, axes=(axis,), accumulate=True)
    return [g]


def _repeat(p: Pullback) -> list[Cotangent]:
    (x,), axis, g = p.inputs, p.attributes["axis"], p.cotangent
    split = (*x.shape[: axis + 1], p.attributes["repeats"], *x.shape[axis + 1 :])
    return [g.reshape(split).sum((axis + 1,))]


def _tile(p: Pullback) -> list[Cotangent]:
    (x,), g = p.inputs, p.cotangent
    split = tuple(size for pair in zip(p.attributes["reps"], x.shape, strict=True) for size in pair)
    return [g.reshape(split).sum(range(0, 2 * x.rank, 2))]


def _triangle(name: str) -> Gradient:
    return lambda p: [p.emit(name, p.cotangent, k=p.attributes["k"])]


def _diagonal_positions(emit: Emit, length: Dim, offset: int) -> list[Term]:
    i = emit.positions(length)
    return [i + max(-offset, 0), i + max(offset, 0)]


def _diag(p: Pullback) -> list[Cotangent]:
    indices = _diagonal_positions(p.emit, p.inputs[0].shape[0], p.attributes["k"])
    return [p.emit("gather", p.cotangent, *indices, axes=(0, 1))]


def _diagonal(p: Pullback) -> list[Cotangent]:
    (x,), g = p.inputs, p.cotangent
    indices = _diagonal_positions(p.emit, g.shape[-1], p.attributes["offset"])
    axes = (p.attributes["axis1"], p.attributes["axis2"])
    return [scattered(x, g.transpose((g.rank - 1, *range(g.rank - 1))), indices, axes)]


JOINS: dict[str, Gradient] = {
    "copy": lambda p: [p.cotangent],
    "concatenate": _concatenate,
    "roll": lambda p: [p.emit("roll", p.cotangent, shift=-p.attributes["shift"], axis=p.attributes["axis"])],
    "pad": _pad,
    "pad_mode": _pad_mode,
    "repeat": _repeat,
    "tile": _tile,
    "tril": _triangle("tril"),
    "triu": _triangle("triu"),
    "diag": _diag,
    "diagonal": _diagonal,
}
