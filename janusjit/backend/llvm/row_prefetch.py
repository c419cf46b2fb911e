"""Rows of results that are asked for before they are computed.

Owns `written_at_last` and `emit_request`. Where steps of a tile (`janusjit.backend.tiles`) first reduce a row and then
write one, each line that is written has to be brought into the core's cache first. It is asked for when the row begins,
and comes while the row is reduced. Invariant: nothing but the time depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.fused import FusedKernel
from janusjit.backend.llvm.values import I32, I64, POINTER, VOID, declare, offset_pointer
from janusjit.backend.plan import FusedStep
from janusjit.backend.tiles import Tile
from janusjit.ir.dims import Dim

_LINE = 64


def written_at_last(tile: Tile, kernels: Mapping[FusedStep, FusedKernel]) -> dict[FusedStep, tuple[int, ...]]:
    """Return the numbers of the arrays that steps of a tile write after others have reduced, and that none reads."""
    found: dict[FusedStep, tuple[int, ...]] = {}
    used = {k.arrays[n].storage for k in (kernels[step] for step in tile.steps) for n in k.loaded()}
    is_behind_reduction = False
    for step in tile.steps:
        kernel = kernels[step]
        stored = {number for _, number in kernel.stores}
        if is_behind_reduction and not kernel.reductions:
            found[step] = tuple(
                number
                for number in sorted(stored)
                if kernel.arrays[number].storage not in used
                and kernel.arrays[number].storage.kept_rows is None
                and _is_large(kernel.arrays[number].layout.strides[0], tile.rows)
            )
        is_behind_reduction = is_behind_reduction or bool(kernel.reductions)
    return found


def _is_large(pitch: Dim, rows: int) -> bool:
    """Return whether so many rows have to be fetched, and each is some lines long."""
    return isinstance(pitch, int) and pitch >= 4 * _LINE and pitch * rows > cost.SHARED_CACHE_BYTES


def emit_request(builder: ir.IRBuilder, pointer: ir.Value, size: ir.Value) -> None:
    """Emit a loop that asks for so many bytes from an address on, at least one, to write to them."""
    function = declare(builder.module, "llvm.prefetch.p0", VOID, [POINTER, I32, I32, I32])
    before = builder.block
    body, after = builder.append_basic_block("request"), builder.append_basic_block("requested")
    builder.branch(body)
    builder.position_at_end(body)
    offset = builder.phi(I64)
    offset.add_incoming(ir.Constant(I64, 0), before)
    builder.call(function, [offset_pointer(builder, pointer, offset), *(ir.Constant(I32, n) for n in (1, 3, 1))])
    following = builder.add(offset, ir.Constant(I64, _LINE))
    offset.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, size), body, after)
    builder.position_at_end(after)
