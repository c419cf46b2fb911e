"""From a graph to LLVM code.

Owns `GraphLowering`, which emits the body of an entry function: scalars in registers, fused kernels and single
operations as calls, control flow as blocks. Invariant: steps are emitted in the plan's order, so a value's code
dominates its uses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.address import Address, part_of, view_of
from janusjit.backend.buffers import planned
from janusjit.backend.epilogues import find_epilogues
from janusjit.backend.fused import FusedKernel, copying, describe
from janusjit.backend.kernels import PlanNotes
from janusjit.backend.lasting_stores import lasting_kernels
from janusjit.backend.layout import stride_symbols
from janusjit.backend.llvm import threads
from janusjit.backend.llvm.call_results import ANY_EXTENT
from janusjit.backend.llvm.control import ControlFlow
from janusjit.backend.llvm.estimates import expected_nanoseconds, is_work, least_nanoseconds, notes_of, pass_nanoseconds
from janusjit.backend.llvm.flag_looks import FlagLooks
from janusjit.backend.llvm.fused_loops import FusedFunctions
from janusjit.backend.llvm.fused_parallel import ParallelKernels, Part
from janusjit.backend.llvm.joined_parts import join_the_rest
from janusjit.backend.llvm.memory import Extents, Memory
from janusjit.backend.llvm.node_functions import NodeFunctions
from janusjit.backend.llvm.object_reads import ObjectReads
from janusjit.backend.llvm.product_blocks import ProductBlocks, rows_of
from janusjit.backend.llvm.python_api_layout import ARRAY_DATA, ARRAY_DIMS
from janusjit.backend.llvm.quick_code import QuickCode
from janusjit.backend.llvm.row_pass_code import Product, RowPasses, Work
from janusjit.backend.llvm.row_prefetch import written_at_last
from janusjit.backend.llvm.scalars import constants, emit_scalar, is_scalar
from janusjit.backend.llvm.stopwatch import Stopwatch
from janusjit.backend.llvm.tapes import Tapes
from janusjit.backend.llvm.thread_pool_state import MOST
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    ArrayValue,
    Operand,
    PythonEmitter,
    Scalar,
    as_i64,
    load,
    memory_type,
)
from janusjit.backend.parallel import Division, divide
from janusjit.backend.plan import (
    FusedStep,
    NodeStep,
    RegionStep,
    Step,
    brought_arrays,
    lowering_of,
    makes_object,
    picks_element,
)
from janusjit.backend.row_passes import RowPass, find_row_passes
from janusjit.backend.storage import Transfer
from janusjit.backend.tiles import Tile, find_tiles
from janusjit.backend.unchanged import unchanged_parts
from janusjit.ir.dims import Symbol, symbols_of
from janusjit.ir.graph import Graph, Node, Value, attempts
from janusjit.ops.gather import count_dim
from janusjit.ops.generators import TYPES_BY_NAME
from janusjit.ops.registry import Library, StateCopy
from janusjit.pacing import pause

_UPDATES_BY_KERNEL = frozenset({"update_take", "update_mask"})


class GraphLowering:
    """Lowers a graph into a function whose prologue has been emitted.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where kernels go.
    builder : llvmlite.ir.IRBuilder
        Where the body begins.
    graph : Graph
        A verified graph.
    python : PythonEmitter
        The entry function: its inputs, and its ways out.
    """

    def __init__(self, module: ir.Module, builder: ir.IRBuilder, graph: Graph, python: PythonEmitter) -> None:
        self.builder, self.python = builder, python
        self._plan, self.placement = planned(graph)
        self.graph = self._plan.graph
        self._outermost = frozenset(self._plan.steps)  #: that happen once in a call at most
        count = min(graph.threads, MOST) if graph.threads > 1 and threads.are_supported() else 1
        self.scalars = constants(builder, self.graph)
        self.extents = Extents(builder, python.symbols)
        self.memory = Memory(builder, self.placement, self.extents, self.scalars, python)
        self.control = ControlFlow(self)
        self._looks = FlagLooks(self, self._plan)
        delays, of_rows = self.placement.delays, functools.partial(rows_of, threads=count)
        apart = self._looks.apart | delays.keys()
        passes = find_row_passes(self._plan, self.placement, count, apart)
        epilogues = find_epilogues(self._plan, self.placement, of_rows, count, {*apart, *passes})
        tiles = find_tiles(self._plan, self.placement, count, {*self._looks.untiled, *passes, *epilogues, *delays})
        self._tiles: dict[Step, Tile | RowPass] = {**passes, **epilogues, **tiles}
        self._tapes, self._objects = Tapes(self), ObjectReads(self)
        fused = [step for step in self._plan.walk() if isinstance(step, FusedStep)]
        rows = {step: self._tiles[step].size for step in fused if step in self._tiles}
        self._kernels = describe(fused, self.memory.addresses, rows, delays)
        self._quick = QuickCode()
        lasting = lasting_kernels(self._plan, self._kernels, self._looks.may_give_up)
        self._fused = FusedFunctions(module, python, self._quick, lasting)
        self._parallel = ParallelKernels(
            builder, self.memory, self.extents, self.scalars, self._fused, python, count
        )
        self._products = ProductBlocks(module, self._parallel, python)
        self._passes = RowPasses(module, self._parallel, python)
        self._nodes = NodeFunctions(module, python, self._quick, count)
        self._guard_numbers = {id(guard): number for number, guard in enumerate(graph.guards.in_graph)}
        self._failures: dict[int, ir.Block] = {}
        self._divided: dict[Step, Division] = {}
        self._stopwatch = Stopwatch(builder, self._plan)
        self._brought: dict[Value, ir.Value] = {}
        self.attempts = attempts(self.graph.body)
        self.held: dict[Node | None, ir.Value] = {}
        self._states: dict[Value, list[Callable[[ir.IRBuilder], None]]] = {}

    @property
    def notes(self) -> PlanNotes:
        """What there is to say of the steps, once they have been lowered."""
        choices = (self._nodes.chosen, self._divided, self._parallel.count)
        return notes_of(self._plan, self._kernels, self._tiles, *choices)

    def lower(self) -> None:
        """Emit the body."""
        self._bind_inputs(self.python.inputs)
        self.memory.allocate()
        self.lower_steps(self._plan.steps)
        self._quick.choose(least_nanoseconds(self._plan, self._kernels, self._nodes.chosen))

    def _bind_inputs(self, inputs: Sequence[Operand]) -> None:
        for input_, operand in zip(self._plan.graph.inputs, inputs, strict=True):
            if isinstance(operand, Scalar):
                self.scalars[input_.value] = operand
                continue
            if operand.rank == 0:
                self.scalars[input_.value] = load(self.builder, operand.dtype, operand.pointer)
                continue
            storage = self.placement.storage(input_.value)
            assert storage is not None
            self.memory.set_pointer(storage, operand.pointer)
            if input_.layout == "any":
                for symbol, stride in zip(stride_symbols(storage.layout), operand.strides, strict=True):
                    self.extents.bind(symbol, as_i64(stride))

    # -- steps

    def lower_steps(self, steps: list[Step]) -> None:
        """Emit the steps of a region."""
        for step in steps:
            pause()
            self._looks.before(step)
            with self._stopwatch.timing(step, is_work(step, self._tiles)):
                self._lower_step(step)
            tile = self._tiles.get(step)
            self._looks.after(step, None if tile is None else tile.members)

    def _lower_step(self, step: Step) -> None:
        tile = self._tiles.get(step)
        if tile is not None:
            if step is tile.first:
                self._prepare_all(tile.members)
                self._lower_pass(tile) if isinstance(tile, RowPass) else self._lower_tile(tile)
        elif isinstance(step, FusedStep):
            self._lower_fused(step)
        elif isinstance(step, RegionStep):
            self.control.lower(step)
        elif isinstance(step, NodeStep):
            self._lower_node(step)

    def copy(self, source: Address, target: Address) -> None:
        """Emit the copy of one array to another."""
        self._call_fused(copying(source, target))

    def _lower_fused(self, step: FusedStep) -> None:
        for node in step.nodes:
            if node.result in self.placement.copied and node.result in step.stores:
                self._copy_base(node)
        results = {reduction.result for reduction in step.reductions}
        for value in (*step.stores, *results):
            self.prepare(value)
        self._check_not_empty(step)
        kernel = self._kernels[step]
        registers = [
            (address.storage, node.result)
            for address, node in zip(kernel.arrays[-len(step.reductions) :], step.reductions, strict=False)
            if node.result.type.rank == 0
        ]
        for storage, _ in registers:
            self.memory.set_pointer(storage, self.memory.stack_slot(memory_type(storage.layout.dtype)))
        once = expected_nanoseconds(step, self._kernels, {}) if step in self._outermost else None
        division = self._call_fused(kernel, nanoseconds=once)
        if division is not None:
            self._divided[step] = division
        for storage, value in registers:
            pointer = self.memory.pointer_to(storage)
            self.scalars[value] = load(self.builder, storage.layout.dtype, pointer)

    def _prepare_all(self, steps: Sequence[Step]) -> None:
        """Emit what is to come before steps that are done together."""
        for one in steps:
            if isinstance(one, FusedStep):
                for value in (*one.stores, *(reduction.result for reduction in one.reductions)):
                    self.prepare(value)
                self._check_not_empty(one)
            elif isinstance(one, NodeStep):
                self.prepare(one.node.result)

    def _lower_pass(self, one: RowPass) -> None:
        """Emit all steps of a pass over rows."""
        works: list[Work] = []
        for step in one.steps:
            if isinstance(step, FusedStep):
                works.append(Part.of_tile(self._kernels[step]))
            elif isinstance(step, NodeStep):
                works.append(Product.of(self.memory, step.node, step in one.sums))
        words = self._passes.call(self.builder, one, works, pass_nanoseconds(one, self._kernels))
        products = [step.node for step in one.steps if isinstance(step, NodeStep)]
        self._nodes.chosen.update(zip(products, words, strict=True))

    def _lower_tile(self, tile: Tile) -> None:
        """Emit all steps of a tile: a loop over blocks of rows."""
        if tile.product is not None:
            self._lower_product(tile, tile.product.node)
            return
        requested = written_at_last(tile, self._kernels)
        parts = [Part.of_tile(self._kernels[one], requested.get(one, ())) for one in tile.steps]
        if tile.division is not None:
            self._divided.update(dict.fromkeys(tile.steps, tile.division))
            self._parallel.call_blocks(parts, tile.size, tile.division, tile.block)
            return
        self._parallel.emit_blocks(parts, tile.size, tile.rows, tile.block)

    def _lower_product(self, tile: Tile, node: Node) -> None:
        """Emit a product and the steps that work on its rows."""
        a, b, out = (self.memory.array(value) for value in (*node.inputs, node.result))
        storage = self.placement.storage(node.result)
        parts = [Part.of_tile(self._kernels[one]) for one in tile.steps]
        room = storage.room if storage is not None else 0
        self._nodes.chosen[node] = self._products.call(self.builder, tile, (a, b, out), parts, room)

    def _call_fused(self, kernel: FusedKernel, nanoseconds: float | None = None) -> Division | None:
        """Emit the call of a kernel; return how it is divided among threads.

        ``nanoseconds`` is what it is expected to take, if it happens once at most.
        """
        division = divide(kernel, self._parallel.count)
        if division is not None:
            self._parallel.call(kernel, division)
            return division
        pointers = [self.memory.pointer(address) for address in kernel.arrays]
        scalars = [self.scalars[value] for value in kernel.scalars]
        extents = [self.extents.value(extent) for extent in kernel.numbered().extents]
        self._fused.call(self.builder, kernel, pointers, scalars, extents, nanoseconds)
        return None

    def _check_not_empty(self, step: FusedStep) -> None:
        """Emit the guards of reductions that are not defined for no elements."""
        for node in step.reductions:
            if node.guard is not None:
                for axis in node.attributes["axes"]:
                    size = self.extents.value(step.shape[axis])
                    self.fail_unless(self.builder.icmp_signed(">", size, ir.Constant(I64, 0)), node)

    def _copy_base(self, update: Node) -> None:
        """Emit the copy of an update's base to the storage of its result, where it cannot be made in place.

        What the update sets need not be copied: the step stores all of it, and reads none of it from the result.
        """
        self.prepare(update.result)
        base, result = self.memory.addresses.of(update.inputs[0]), self.memory.addresses.of(update.result)
        parts = unchanged_parts(update)
        if parts is None:
            self.copy(base, result)
            return
        before = update.inputs[0].node
        alike = before is not None and before.op == "update" and unchanged_parts(before) == parts
        if before is not None and alike and self.memory.takes_over(update.result, before.inputs[0]):
            return  # as in sweeps over a grid: the array before last was in this memory, and the same in these parts
        for part in parts:
            self.copy(part_of(base, part), part_of(result, part))

    def prepare(self, value: Value) -> None:
        """Emit the allocation of an array's storage, if its size has become known just now."""
        storage = self.placement.storage(value)
        if storage is not None and storage.kind == "own":
            self.memory.prepare(storage)

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Emit copies of arrays to the storages of the values they become."""
        for transfer in transfers:
            self.prepare(transfer.target)
            source, target = (self.memory.addresses.of(v) for v in (transfer.source, transfer.target))
            self.copy(source, target)

    # -- single nodes

    def _lower_node(self, step: NodeStep) -> None:
        node = step.node
        if self.control.lower_structural(step) or self._tapes.lower(node) or self._objects.lower(node):
            return
        if node.op == "constant_array" and node.result.type.rank > 0:
            storage = self.placement.storage(node.result)
            assert storage is not None
            array = node.attributes["value"].value
            self.memory.set_pointer(storage, self._constant_data(array))
        elif node.op == "succeeded":
            self.scalars[node.result] = Scalar("bool", self.held.get(node.inputs[0].node, ir.Constant(I1, 1)))
        elif isinstance(lowering := lowering_of(node), StateCopy):
            self._lower_state_copy(node, lowering.restores)
        elif node in self.placement.joined:
            self._nodes.chosen[node] = join_the_rest(self, node)
        elif is_scalar(node):
            self._lower_scalar(node)
        else:
            self._lower_call(node, step in self._outermost)

    def _constant_data(self, array: Any) -> ir.Value:
        """Emit the address of a constant array's elements: by way of the object, since code names no address."""
        with self.builder.goto_entry_block():
            return self.python.api.field(self.builder, self.python.api.object(self.builder, array), ARRAY_DATA, POINTER)

    def _lower_state_copy(self, node: Node, restores: bool) -> None:
        if restores:
            for restore in self._states[node.inputs[1]]:
                restore(self.builder)
            return
        owner, bits = node.attributes["owner"], node.attributes["bits"]
        types = TYPES_BY_NAME[owner], None if bits is None else TYPES_BY_NAME[bits]
        generator = self.builder.inttoptr(self.scalars[node.inputs[0]].value, POINTER)
        self._states[node.result] = self.python.copy_state(self.builder, generator, types)
        self.scalars[node.result] = Scalar("i64", ir.Constant(I64, 0))

    def _lower_scalar(self, node: Node) -> None:
        if picks_element(node):
            self.scalars[node.result] = load(self.builder, node.result.type.dtype, self._element(node))
            return
        if node.op == "barrier":
            self.scalars[node.result] = self.python.pinned(self.builder, self.scalars[node.inputs[0]])
            return
        value, valid = emit_scalar(self.builder, node, [self.scalars[value] for value in node.inputs])
        self.scalars[node.result] = value
        if valid is not None:
            self.fail_unless(valid, node)

    def _element(self, node: Node) -> ir.Value:
        """Return the address of the element a view of rank 0 picks."""
        return self.memory.pointer(view_of(self.memory.addresses.of(node.inputs[0]), node))

    def _lower_call(self, node: Node, happens_once: bool) -> None:
        inputs = [self.operand(value) for value in node.inputs]
        brought, symbol = brought_arrays(node), node.attributes.get("symbol")
        if isinstance(lowering_of(node), Library):
            inputs = [self._with_object(operand) for operand in inputs]
        if symbol is not None and not brought:
            self._bind_count(node, inputs, symbol)
        outputs = []
        for result in node.results:
            if result in brought:
                dims = tuple(
                    ANY_EXTENT if symbol in symbols_of((dim,)) else self.extents.of(dim) for dim in result.type.shape
                )
                outputs.append(ArrayValue(result.type.dtype, self.memory.stack_slot(POINTER), dims, dims))
            elif result.type.rank == 0:
                slot = self.memory.stack_slot(memory_type(result.type.dtype))
                outputs.append(ArrayValue(result.type.dtype, slot, (), ()))
            else:
                if result in self.placement.copied:
                    self._copy_base(node)
                self.prepare(result)
                outputs.append(self.memory.array(result))
        if node.op in _UPDATES_BY_KERNEL and node.result.type.rank > 0:
            inputs[0] = outputs[0]
        held = self._nodes.call(self.builder, node, inputs, outputs, happens_once)
        if held is not None and node in self.attempts:
            held = self.held[node] = self._attempted(node, held, outputs)
        elif held is not None:
            self.fail_unless(held, node)
        for result, output in zip(node.results, outputs, strict=True):
            if result.type.rank == 0:
                self.scalars[result] = load(self.builder, output.dtype, output.pointer)
            elif result in brought:
                self._adopt(result, self.builder.load(output.pointer, typ=POINTER))
        if symbol is not None and brought:
            self._bind_brought(node, symbol)
        if makes_object(node):
            self.python.hold(self.builder, self.builder.inttoptr(self.scalars[node.results[1]].value, POINTER))

    def _attempted(self, node: Node, held: ir.Value, outputs: Sequence[ArrayValue]) -> ir.Value:
        """Emit: where an operation that is asked about it has failed, its results are something that does no harm.

        Arrays are empty ones of any shape, numbers and addresses are 0.
        """
        with self.builder.if_then(self.builder.not_(held), likely=False):
            for output, result in zip(outputs, node.results, strict=True):
                if result.type.rank == 0:
                    self.builder.store(ir.Constant(memory_type(output.dtype), None), output.pointer)
                elif result in brought_arrays(node):
                    nothing = self.python.api.object(self.builder, _nothing(result.type.rank))
                    self.python.api.incref(self.builder, nothing)
                    self.builder.store(nothing, output.pointer)
        return held

    def _adopt(self, value: Value, array: ir.Value) -> None:
        """Emit: the memory of ``value`` is that of an ndarray, which is a new reference."""
        self.python.hold(self.builder, array)
        self._brought[value] = array
        storage = self.placement.storage(value)
        assert storage is not None
        data = self.python.api.field(self.builder, array, ARRAY_DATA, POINTER)
        self.memory.adopt(storage, array, data)

    def _with_object(self, operand: Operand) -> Operand:
        """Return an operand with the ndarray that it is the whole of, where there is one."""
        if isinstance(operand, Scalar):
            return operand
        if operand.input_index is not None:
            return replace(operand, reference=self.python.input_objects[operand.input_index])
        return replace(operand, reference=operand.owner)

    def _bind_brought(self, node: Node, symbol: Symbol) -> None:
        """Emit: the symbol is the length of the arrays that have come."""
        found = [
            (dim, self.python.api.field(self.builder, dims, 8 * axis, I64))
            for result in brought_arrays(node)
            for dims in [self.python.api.field(self.builder, self._brought[result], ARRAY_DIMS, POINTER)]
            for axis, dim in enumerate(result.type.shape)
            if symbol in symbols_of((dim,))
        ]
        self.extents.bind(symbol, next(extent for dim, extent in found if dim == count_dim(symbol)))
        for dim, extent in found[1:]:
            fits = self.builder.icmp_signed("==", self.extents.value(dim), extent)
            if node in self.attempts:
                self.held[node] = self.builder.and_(self.held[node], fits)
            else:
                self.fail_unless(fits, node)

    def _bind_count(self, node: Node, inputs: list[Operand], symbol: Symbol) -> None:
        slot = self.memory.stack_slot(I64)
        held = self._nodes.call_count(self.builder, node, inputs, ArrayValue("i64", slot, (), ()))
        if held is not None:
            self.fail_unless(held, node)
        self.extents.bind(symbol, self.builder.load(slot, typ=I64))

    def operand(self, value: Value) -> Operand:
        """Return a value for use: a scalar, or an array in memory."""
        return self.scalars[value] if value.type.rank == 0 else self.memory.array(value)

    # -- failures

    def fail_unless(self, condition: ir.Value, node: Node) -> None:
        """Emit: deoptimize for the guard of ``node``, or for want of memory, unless ``condition`` holds."""
        number = -1 if node.guard is None else self._guard_numbers[id(node.guard)]
        if number not in self._failures:
            block = self._failures[number] = self.builder.append_basic_block("failed")
            if number < 0:
                self.python.emit_out_of_memory(ir.IRBuilder(block))
            else:
                self.python.emit_fail(ir.IRBuilder(block), number)
        following = self.builder.append_basic_block("held")
        branch = self.builder.cbranch(condition, following, self._failures[number])
        branch.set_weights([1_000_000, 1])
        self.builder.position_at_end(following)

    def fail(self, node: Node) -> None:
        """Emit the unconditional deoptimization for the guard of ``node``."""
        self.python.emit_fail(self.builder, self._guard_numbers[id(node.guard)])

    def check_flags(self, node: Node) -> None:
        """Emit the deoptimization where NumPy is to act on floating-point errors that have happened."""
        self._looks.check(node)


@functools.cache
def _nothing(rank: int) -> np.ndarray:
    """Return an empty array that is never written to."""
    return np.empty((0,) * rank)
