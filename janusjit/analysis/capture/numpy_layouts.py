"""Memory layout of the results of operations that lay them out in a way of their own.

Owns the rows of `janusjit.analysis.capture.numpy_memory.LAYOUTS`. Invariant: a row gives the strides that eager NumPy's
function has for these strides of its inputs, or says that they are not known.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.analysis.capture.numpy_memory import (
    LAYOUTS,
    Strides,
    c_ordered,
    c_strides,
    in_c_order,
    iterated,
    steps_of,
)
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node
from janusjit.ops.contract import parse_subscripts

Sources = list[tuple[tuple[Dim, ...], Strides]]


def _of_matmul(node: Node, sources: Sources) -> Strides:
    """The axes before the matrices are in the order of the operands', the matrices themselves in C order."""
    shape = node.result.type.shape
    cores = sum(len(dims) > 1 for dims, _ in sources)
    operands: list[list[Dim] | None] = []
    for dims, given in sources:
        own = steps_of(dims[:-2], given[:-2])
        operands.append(None if own is None else [0] * (len(shape) - cores - len(own)) + own + [0] * cores)
    return iterated(shape, operands)


def _of_einsum(node: Node, sources: Sources) -> Strides:
    """All axes are in the order of the operands': those of the result, and behind them those summed over."""
    labels, result = parse_subscripts(node.attributes["subscripts"], tuple(value.type for value in node.inputs))
    letters = [*result, *sorted(set().union(*labels) - set(result))]
    operands: list[list[Dim] | None] = []
    for part, source in zip(labels, sources, strict=True):
        own = steps_of(*source)
        operands.append(None if own is None else [_along(letter, part, own) for letter in letters])
    return iterated(node.result.type.shape, operands)


def _along(letter: str, labels: str, steps: Sequence[Dim]) -> Dim:
    """Return how far an operand steps along a letter: along a diagonal if it is repeated."""
    return sum((step for label, step in zip(labels, steps, strict=True) if label == letter), start=0)


def _of_pad(node: Node, sources: Sources) -> Strides:
    """In Fortran order if the array is, else in C order."""
    shape, (dims, given) = node.result.type.shape, sources[0]
    in_order = [in_c_order(dims, given), in_c_order(dims[::-1], given[::-1])]
    if in_order == [False, True]:
        return tuple(reversed(c_strides(shape[::-1])))
    return c_strides(shape) if in_order[0] or in_order[1] is False else (None,) * len(shape)


def _of_diagonal(node: Node, sources: Sources) -> Strides:
    """A view: the diagonal steps along both axes at once."""
    (_, given), attributes = sources[0], node.attributes
    pair = (attributes["axis1"], attributes["axis2"])
    both: list[Dim] = [step for axis in pair if (step := given[axis]) is not None]
    return (
        *(step for axis, step in enumerate(given) if axis not in pair),
        sum(both, start=0) if len(both) == 2 else None,
    )


def _of_compress(node: Node, sources: Sources) -> Strides:
    """In C order, but for what is left of an array in another order."""
    shape, (whole, given), (chosen, _) = node.result.type.shape, *sources
    rest = len(chosen)
    return c_strides(shape) if c_ordered(whole[rest:], given[rest:]) else (None,) * len(shape)


def _of_nonzero(node: Node, sources: Sources) -> Strides:
    """Columns of one matrix."""
    return (node.inputs[0].type.rank,)


LAYOUTS.update(
    matmul=_of_matmul,
    einsum=_of_einsum,
    pad=_of_pad,
    pad_mode=_of_pad,
    diagonal=_of_diagonal,
    compress=_of_compress,
    nonzero=_of_nonzero,
)
