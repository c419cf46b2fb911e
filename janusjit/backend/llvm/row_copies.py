"""Copies of arrays of floats in vectors.

Owns `copy_rows`. Invariant: memory beside the rows is neither read nor written, so what is copied is what loops over
elements copy. Why: a function without loops over elements needs no passes, which take most of its compile time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces
from janusjit.backend.llvm.indexing import copy_elements, nest
from janusjit.backend.llvm.values import (
    ArrayValue,
    KernelContext,
    element_pointer,
    item_size,
    multiply,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_piece, store_piece

#: rows of more vectors are copied in a loop
_VECTORS = 8


def copy_rows(context: KernelContext, source: ArrayValue, target: ArrayValue) -> None:
    """Emit ``target[...] = source`` for arrays of one shape, in vectors; or else element by element, for the passes."""
    source, target = _with_long_rows(source, target)
    width, size, machine = target.dims[-1], item_size(target.dtype), Machine.host()
    if not isinstance(width, int) or not source.strides[-1] == target.strides[-1] == size or not machine.has_masks:
        copy_elements(context, source, target)
        context.needs_passes = True
        return
    lanes = machine.lanes(target.dtype)
    turns = width // lanes if width > _VECTORS * lanes else 0
    with nest(context, target.dims[:-1]) as index:
        ends = [element_pointer(context.builder, array, (*index, 0)) for array in (source, target)]
        if turns:
            with context.loop(turns) as number:
                offset = multiply(context.builder, number, lanes * size)
                moved = [offset_pointer(context.builder, end, offset) for end in ends]
                _copy_pieces(context, target.dtype, moved, (Piece(0, lanes, lanes),))
        rest = [offset_pointer(context.builder, end, turns * lanes * size) for end in ends]
        _copy_pieces(context, target.dtype, rest, pieces(width - turns * lanes, lanes, has_masks=True))


def _with_long_rows(source: ArrayValue, target: ArrayValue) -> tuple[ArrayValue, ArrayValue]:
    """Return arrays of one shape with those of their last axes as one between whose rows there is nothing in either."""
    while target.rank > 1 and all(_has_rows_in_one(array) for array in (source, target)):
        source, target = (_with_rows_in_one(array) for array in (source, target))
    return source, target


def _has_rows_in_one(array: ArrayValue) -> bool:
    extents = (*array.dims[-2:], *array.strides[-2:])
    return all(isinstance(extent, int) for extent in extents) and array.strides[-2] == extents[1] * extents[3]


def _with_rows_in_one(array: ArrayValue) -> ArrayValue:
    rows, width = array.dims[-2:]
    assert isinstance(rows, int) and isinstance(width, int)
    return replace(array, dims=(*array.dims[:-2], rows * width), strides=(*array.strides[:-2], array.strides[-1]))


def _copy_pieces(context: KernelContext, dtype: str, ends: Sequence[ir.Value], cut: Sequence[Piece]) -> None:
    for piece in cut:
        source, target = (offset_pointer(context.builder, end, piece.start * item_size(dtype)) for end in ends)
        store_piece(context, dtype, load_piece(context, dtype, source, piece), target, piece)
