"""Elementwise work on a product or a convolution, done while rows of it are still in the cache.

Owns `find_epilogues`. A product that our own kernels compute, or a convolution, whose rows are images, and the fused
steps behind it that read it, are one `Tile`: they take turns over blocks of rows, and the product as a whole is there
only if somebody else wants it, or if its kernel goes over the result more than once. Invariants: no
step of the tile touches, in one row, memory that another writes in a different row, so the order of the rows cannot be
told from the results; the right operand, which every row needs, is not written; storages in use anywhere in the tile
are in use in all of it; and steps that are looked at one by one for floating-point errors are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from janusjit.backend import cost
from janusjit.backend.address import Address, Addresses
from janusjit.backend.fused import FusedKernel, undivided
from janusjit.backend.parallel import together
from janusjit.backend.plan import FusedStep, NodeStep, Plan, RegionStep, Step
from janusjit.backend.storage import Placement, Storage
from janusjit.backend.tiles import Tile, is_by_rows, is_inside_row, settle_storages
from janusjit.ir.graph import Node


@dataclass(frozen=True)
class ByRows:
    """A product that is computed by rows.

    ``least`` is how many are done at a time at least, ``block`` how many are best if that matters; it ``is_packed`` if
    its routine calls what is to be done for rows that are done, ``is_whole`` if it goes over the result more than once,
    and up to so many ``threads`` do it.
    """

    least: int
    block: int | None = None
    is_packed: bool = False
    is_whole: bool = False
    threads: int = 1


_PRODUCTS = frozenset({"matmul", "convolution"})
#: returns how a product is computed by rows; None if it is not
RowsOf = Callable[[Node, Address, Address, Address], "ByRows | None"]


def find_epilogues(
    plan: Plan, placement: Placement, rows_of: RowsOf, threads: int = 1, apart: Collection[Step] = ()
) -> dict[Step, Tile]:
    """Return the tile of each product that has such work, and of the steps that do it.

    Storages stay where they are meanwhile. The steps ``apart`` stay by themselves, and so do those that ``threads``
    threads do faster than one that finds the product in its cache.
    """
    finder = _Finder(Addresses(placement), placement, rows_of, threads, apart)
    finder.visit(plan.steps)
    for tile in finder.tiles:
        settle_storages(placement, tile)
    return {step: tile for tile in finder.tiles for step in (tile.product, *tile.steps) if step is not None}


class _Finder:
    def __init__(
        self, addresses: Addresses, placement: Placement, rows_of: RowsOf, threads: int, apart: Collection[Step]
    ) -> None:
        self.tiles: list[Tile] = []
        self._addresses, self._placement, self._rows_of = addresses, placement, rows_of
        self._threads, self._apart = threads, apart

    def visit(self, steps: list[Step]) -> None:
        """Find tiles among the steps of a region, and those nested in it."""
        for position, step in enumerate(steps):
            if isinstance(step, RegionStep):
                for body in step.bodies:
                    self.visit(body)
            elif isinstance(step, NodeStep) and step.node.op in _PRODUCTS and step not in self._apart:
                self._try(step, steps, position + 1)

    def _try(self, product: NodeStep, steps: list[Step], following: int) -> None:
        kernel = self._product_kernel(product.node)
        if kernel is None:
            return
        rows = kernel.dims[0]
        found: list[FusedStep] = []
        kernels = [kernel]
        produced = {kernel.arrays[0].storage}
        for step in steps[following:]:
            if not isinstance(step, FusedStep) or step in self._apart or not is_by_rows(step, self._placement):
                break
            described = undivided(step, self._addresses)
            reads = any(address.storage in produced for address in described.arrays)
            if step.shape[0] != rows or not reads or not keep_to_rows([*kernels, described]):
                break
            found.append(step)
            kernels.append(described)
            produced |= {described.arrays[number].storage for number in described.written()}
        if found:
            self._add(product, found, kernels)

    def _add(self, product: NodeStep, found: list[FusedStep], kernels: list[FusedKernel]) -> None:
        out = kernels[0].arrays[0]
        addresses = map(self._addresses.of, (*product.node.inputs, product.node.result))
        way = self._rows_of(product.node, *addresses)
        rows = out.layout.shape[0]
        assert isinstance(rows, int) and isinstance(out.layout.strides[0], int)
        if way is None or (way.threads == 1 and together(kernels[1:], self._threads) is not None):
            return
        block = way.block or max(1, cost.PRODUCT_BLOCK_BYTES // (way.least * out.layout.strides[0])) * way.least
        if block < rows:
            made = Tile(tuple(found), rows, block, None, product, way.is_whole, way.is_packed, way.threads)
            self.tiles.append(made)

    def _product_kernel(self, node: Node) -> FusedKernel | None:
        """Return the arrays of a product, the result first, as a kernel over its rows; None if they are not known."""
        a, b = node.inputs
        shape = node.result.type.shape
        if len(shape) < 2 or a.type.rank != len(shape) or not all(isinstance(dim, int) for dim in shape):
            return None
        if shape[0] in (0, 1) or a.type.shape[0] != shape[0]:
            return None
        out, left, right = (self._addresses.of(value) for value in (node.result, a, b))
        if node.op != "matmul" or b.type.rank < len(shape) or len(shape) == 2 or b.type.shape[0] != shape[0]:
            right = right.broadcast((shape[0], *right.layout.shape))  # every row is for all rows of the result
        arrays = [out, left, right]
        dims = list(shape)
        kernel = FusedKernel(dims, [False] * len(dims), arrays, [list(one.layout.strides) for one in arrays])
        kernel.stores.append((None, 0))  # type: ignore[arg-type]
        return kernel


def keep_to_rows(kernels: list[FusedKernel]) -> bool:
    """Return whether kernels touch, in one row, nothing that another of them writes in another.

    What one kernel does for its own elements may be done in any order.
    """
    written = {kernel.arrays[number].storage for kernel in kernels for number in kernel.written()}
    return all(_keeps_to_rows(storage, kernels) for storage in written)


def _keeps_to_rows(storage: Storage, kernels: list[FusedKernel]) -> bool:
    found = [[address for address in kernel.arrays if address.storage is storage] for kernel in kernels]
    if sum(map(bool, found)) == 1 and storage.kind == "input":
        return True
    addresses = [address for some in found for address in some]
    pitches = {address.layout.strides[0] for address in addresses}
    private = storage.kind in ("arena", "object", "own")
    return private and len(pitches) == 1 and all(map(is_inside_row, addresses))
