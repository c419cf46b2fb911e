"""The kernels of a plan that has been lowered, and what they are expected to take.

Owns `notes_of`, `expected_nanoseconds` and `least_nanoseconds`. Invariant: every step that does work is one kernel, in
the plan's order; steps done block by block of rows are one together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from janusjit.backend import calibration
from janusjit.backend.fused import FusedKernel
from janusjit.backend.kernels import Kernel, PlanNotes
from janusjit.backend.llvm.convolution_choice import convolution_nanoseconds
from janusjit.backend.llvm.convolution_panels import Geometry
from janusjit.backend.llvm.gemm_estimates import product_nanoseconds
from janusjit.backend.parallel import Division, kernel_nanoseconds
from janusjit.backend.plan import FusedStep, NodeStep, Plan, Step, line_of, lowering_of, nodes_of, with_threads
from janusjit.backend.row_passes import RowPass
from janusjit.backend.tiles import Tile
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node
from janusjit.ops.registry import Contract, Library, ObjectCall, Reduce, Structured

_WORK = (Contract, Library, ObjectCall, Structured)


def is_work(step: Step, tiles: Mapping[Step, Tile | RowPass]) -> bool:
    """Return whether a step is a kernel, or the first of those that are one together."""
    if step in tiles:
        return tiles[step].first is step
    if not isinstance(step, NodeStep):
        return isinstance(step, FusedStep)
    lowering = lowering_of(step.node)
    arrays = any(value.type.rank for value in (*step.node.inputs, *step.node.results))
    return isinstance(lowering, _WORK) or (isinstance(lowering, Reduce) and arrays)


def notes_of(
    plan: Plan,
    fused: Mapping[FusedStep, FusedKernel],
    tiles: Mapping[Step, Tile | RowPass],
    chosen: Mapping[Node, str],
    divided: Mapping[Step, Division],
    threads: int,
) -> PlanNotes:
    """Return a plan as text, and its kernels.

    Parameters
    ----------
    plan : Plan
        The plan.
    fused : mapping
        The description of each fused step.
    tiles : mapping
        Which steps are done block by block of rows.
    chosen : mapping
        How nodes are computed, in words, where there was a choice.
    divided : mapping
        How steps are divided among threads.
    threads : int
        How many threads there are at most.
    """
    words = {step: division.text(threads) for step, division in divided.items()}

    def kernel(step: Step) -> Kernel:
        steps = tiles[step].members if step in tiles else [step]
        text = "; ".join(line_of(one, chosen, {}) for one in steps)
        if len(steps) > 1 and isinstance(step, FusedStep):
            text = f"blocks of {tiles[step].block} rows: {text}"
        tile = tiles.get(step)
        if isinstance(tile, RowPass):
            alone: float | None = pass_nanoseconds(tile, fused)
        else:
            alone = _sum(expected_nanoseconds(one, fused, chosen) for one in steps)
        nanoseconds = _on_threads(alone, divided.get(step), threads)
        return Kernel(step.time, with_threads(text, words.get(step)), str(nodes_of(steps[-1])[-1].span), nanoseconds)

    kernels = tuple(kernel(step) for step in plan.walk() if is_work(step, tiles))
    return PlanNotes(plan.text(chosen, words), kernels)


def expected_nanoseconds(
    step: Step, fused: Mapping[FusedStep, FusedKernel], chosen: Mapping[Node, str]
) -> float | None:
    """Return what a step is expected to take one thread; None where nothing is known of it.

    Parameters
    ----------
    step : Step
        The step.
    fused : mapping
        The description of each fused step.
    chosen : mapping
        How nodes are computed, in words, where there was a choice.
    """
    if isinstance(step, FusedStep):
        return _fused_nanoseconds(step, fused[step])
    return _node_nanoseconds(step.node, chosen.get(step.node)) if isinstance(step, NodeStep) else None


def least_nanoseconds(plan: Plan, fused: Mapping[FusedStep, FusedKernel], chosen: Mapping[Node, str]) -> float:
    """Return what a plan's steps are expected to take one thread at least: those outside regions, as far as known."""
    known = [expected_nanoseconds(step, fused, chosen) for step in plan.steps]
    return sum(part for part in known if part is not None)


def _sum(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


def pass_nanoseconds(one: RowPass, fused: Mapping[FusedStep, FusedKernel]) -> float:
    """Return what a pass over rows is expected to take one thread: the first read of its arrays, or its arithmetic."""
    computing = 0.0
    for step in one.steps:
        if isinstance(step, FusedStep):
            computing += _fused_nanoseconds(step, fused[step]) or 0.0
        elif isinstance(step, NodeStep):
            a, b = (value.type.shape for value in step.node.inputs)
            depth = one.block if step in one.sums else a[-1]
            rows = (a[0] if len(a) > 1 else 1) if step in one.sums else one.block
            columns = b[-1] if len(b) > 1 else 1
            assert isinstance(rows, int) and isinstance(columns, int) and isinstance(depth, int)
            block = product_nanoseconds("", rows, columns, depth, step.node.result.type.dtype)
            computing += block * one.rows / one.block
    return max(computing, one.row_bytes * one.rows * calibration.current().transfer(one.row_bytes * one.rows))


def _elements(shape: tuple[Dim, ...]) -> int | None:
    sizes = [size for size in shape if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(shape) else None


def _fused_nanoseconds(step: FusedStep, kernel: FusedKernel) -> float | None:
    elements = _elements(step.shape)
    return None if elements is None else elements * kernel_nanoseconds(kernel)


def _convolution_nanoseconds(node: Node, how: str) -> float | None:
    """Return what a convolution, or one of its gradients, of known sizes is expected to take."""
    first, second = (value.type.shape for value in node.inputs)
    result = node.result.type.shape
    size, output = (first[2:], result[2:]) if node.op == "convolution" else (first[2:], second[2:])
    batch, sizes = first[0], (second[1], second[0])
    if node.op == "convolution_by_kernel":
        sizes = (first[1], second[1])
    elif node.op == "convolution_by_input":
        batch, sizes, size = second[0], (first[1], first[0]), result[2:]
    known = [extent for extent in (batch, *sizes) if isinstance(extent, int)]
    geometry = Geometry.of(node.attributes, size, output)
    if geometry is None or len(known) != 3 or 0 in (*known, *size, *output):
        return None
    return convolution_nanoseconds(node.op, geometry, (known[0], known[1], known[2]), node.result.type.dtype, how)


def _on_threads(alone: float | None, division: Division | None, threads: int) -> float | None:
    """Return what a kernel takes on the threads it is divided among, which do equal parts at best."""
    if alone is None or division is None or division.work is None:
        return alone
    return alone / division.limit(threads) + calibration.current().dispatch


def _node_nanoseconds(node: Node, how: str | None) -> float | None:
    """Return what a product is expected to take; of other nodes nothing is known."""
    if how is None or not isinstance(lowering_of(node), Contract):
        return None
    if node.op != "matmul":
        return _convolution_nanoseconds(node, how)
    a, b = (value.type.shape for value in node.inputs)
    rows, depth = (1, a[-1]) if len(a) == 1 else (a[-2], a[-1])
    columns = 1 if len(b) == 1 else b[-1]
    batch = _elements(node.result.type.shape[: max(len(a), len(b)) - 2] if max(len(a), len(b)) > 2 else ())
    if not isinstance(rows, int) or not isinstance(columns, int) or not isinstance(depth, int) or batch is None:
        return None
    if len(b) == 2 and len(a) > 2:  # one product of all rows
        rows, batch = rows * batch, 1
    if 0 in (rows, columns, depth, batch):
        return 0.0
    return batch * product_nanoseconds(how, rows, columns, depth, node.result.type.dtype)
