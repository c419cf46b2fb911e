"""Control flow: ``if``, ``loop``, guards, and the ends of regions.

Owns `ControlFlow`. Invariant: scalars that leave or re-enter a region go through phis, arrays through the storage of
the value they become, into which a terminator copies what was not computed there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llvmlite import ir

from janusjit.backend.flag_checks import CHECK
from janusjit.backend.llvm.exits import exit_operands
from janusjit.backend.llvm.memory import Extents, Memory
from janusjit.backend.llvm.values import Operand, PythonEmitter, Scalar, observe_memory, register_type
from janusjit.backend.plan import NodeStep, RegionStep, Step
from janusjit.backend.storage import Placement, Transfer
from janusjit.ir.boxes import ChoiceBox, SequenceBox
from janusjit.ir.graph import Graph, Node, Value


class Lowering(Protocol):
    """What control flow asks of the lowering of the graph around it."""

    builder: ir.IRBuilder
    graph: Graph
    placement: Placement
    scalars: dict[Value, Scalar]
    extents: Extents
    memory: Memory
    python: PythonEmitter

    def lower_steps(self, steps: list[Step]) -> None:
        """Emit the steps of a region."""

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Emit copies of arrays to the storages of the values they become."""

    def prepare(self, value: Value) -> None:
        """Emit the allocation of an array's storage, if its size has become known just now."""

    def operand(self, value: Value) -> Operand:
        """Return a value for use."""

    def fail_unless(self, condition: ir.Value, node: Node) -> None:
        """Emit: deoptimize for the guard of ``node`` unless ``condition`` holds."""

    def fail(self, node: Node) -> None:
        """Emit the unconditional deoptimization for the guard of ``node``."""

    def check_flags(self, node: Node) -> None:
        """Emit the deoptimization where floating-point errors have happened that NumPy is to act on."""


@dataclass
class _SharedExit:
    """An exit that several nodes lead to, which differ in the last operand only."""

    node: Node
    join: _Join
    left: int


@dataclass
class _Join:
    """A block that several terminators branch to, with a phi for each scalar."""

    block: ir.Block
    phis: list[ir.PhiInstr | None] = field(default_factory=list)

    @staticmethod
    def of(block: ir.Block, values: Sequence[Value]) -> _Join:
        """Return the join of ``values`` at the begin of ``block``, which is empty."""
        builder = ir.IRBuilder(block)
        return _Join(block, [builder.phi(register_type(v.type.dtype)) if v.type.rank == 0 else None for v in values])

    def come_from(self, builder: ir.IRBuilder, values: Sequence[Scalar | None]) -> None:
        """Emit the branch to the block with these values."""
        for phi, value in zip(self.phis, values, strict=True):
            if phi is not None and value is not None:
                phi.add_incoming(value.value, builder.block)
        builder.branch(self.block)


class ControlFlow:
    """Emits the control flow of a graph for its lowering."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._joins: dict[str, list[_Join]] = {"yield": [], "continue": [], "break": []}
        self._ways: Counter[ExitKey] = Counter(map(_exit_key, filter(_is_shared, lowering.graph.walk())))
        self._shared: dict[ExitKey, _SharedExit] = {}

    def lower(self, step: RegionStep) -> None:
        """Emit an ``if`` or a ``loop``."""
        if step.node.op == "if":
            self._lower_if(step)
        else:
            self._lower_loop(step)

    def _lower_if(self, step: RegionStep) -> None:
        lowering, builder, node = self._lowering, self._lowering.builder, step.node
        arms = [builder.append_basic_block(name) for name in ("then", "else")]
        join = _Join.of(builder.append_basic_block("endif"), node.results)
        self._prepare(node.results)
        builder.cbranch(lowering.scalars[node.inputs[0]].value, *arms)
        self._joins["yield"].append(join)
        for block, body in zip(arms, step.bodies, strict=True):
            builder.position_at_end(block)
            with lowering.memory.scope():
                lowering.lower_steps(body)
        self._joins["yield"].pop()
        self._enter(join, node.results)

    def _lower_loop(self, step: RegionStep) -> None:
        lowering, builder, node = self._lowering, self._lowering.builder, step.node
        (region,) = node.regions
        head = _Join.of(builder.append_basic_block("turn"), region.parameters)
        after = _Join.of(builder.append_basic_block("endloop"), node.results)
        self._prepare(node.results)
        lowering.transfer(lowering.placement.transfers.get(step, []))
        head.come_from(builder, self._scalars(node.inputs))
        self._joins["continue"].append(head)
        self._joins["break"].append(after)
        self._enter(head, region.parameters)
        with lowering.memory.scope():
            lowering.lower_steps(step.bodies[0])
        self._lower_shared_exits()
        self._joins["continue"].pop()
        self._joins["break"].pop()
        self._enter(after, node.results)
        if any(inner.op == "update" for inner in region.nodes):
            observe_memory(builder)

    def _prepare(self, results: Sequence[Value]) -> None:
        for result in results:
            if result.type.rank > 0:
                self._lowering.prepare(result)

    def _enter(self, join: _Join, values: Sequence[Value]) -> None:
        self._lowering.builder.position_at_end(join.block)
        for phi, value in zip(join.phis, values, strict=True):
            if phi is not None:
                self._lowering.scalars[value] = Scalar(value.type.dtype, phi)

    def _scalars(self, values: Sequence[Value]) -> list[Scalar | None]:
        return [self._lowering.scalars[value] if value.type.rank == 0 else None for value in values]

    def lower_structural(self, step: NodeStep) -> bool:
        """Emit a guard, a dimension or a terminator; return whether the node is one."""
        lowering, node = self._lowering, step.node
        builder = lowering.builder
        if node.op in self._joins:
            lowering.transfer(lowering.placement.transfers.get(step, []))
            self._joins[node.op][-1].come_from(builder, self._scalars(node.inputs))
        elif node.op == "guard":
            lowering.fail_unless(lowering.scalars[node.inputs[0]].value, node)
        elif node.op == "bind_dim":
            lowering.extents.bind(node.attributes["symbol"], lowering.scalars[node.inputs[0]].value)
        elif node.op == "dim":
            lowering.scalars[node.result] = Scalar("i64", lowering.extents.value(node.attributes["dim"]))
        elif node.op == "fail":
            lowering.fail(node)
        elif node.op == CHECK:
            lowering.check_flags(node)
        elif node.op == "unreachable":
            builder.unreachable()
        elif node.op == "exit":
            self._lower_exit(node)
        else:
            return False
        return True

    def _lower_exit(self, node: Node) -> None:
        lowering = self._lowering
        if not _is_shared(node):
            operands = exit_operands(lowering.memory, lowering.graph, lowering.operand, node)
            lowering.python.emit_exit(lowering.builder, node.attributes["recipe"], operands)
            return
        key = _exit_key(node)
        shared = self._shared.get(key)
        if shared is None:
            block = lowering.builder.append_basic_block("leave")
            shared = self._shared[key] = _SharedExit(node, _Join.of(block, node.inputs[-1:]), self._ways[key])
        shared.left -= 1
        shared.join.come_from(lowering.builder, self._scalars(node.inputs[-1:]))

    def _lower_shared_exits(self) -> None:
        """Emit the exits all ways to which have been emitted, at the end of a loop.

        The innermost loop around all ways to an exit is where what the exit hands over is in reach, and nothing that
        was computed on one of the ways.
        """
        lowering, builder = self._lowering, self._lowering.builder
        for shared in [shared for shared in self._shared.values() if shared.left == 0]:
            shared.left = -1
            with builder.goto_block(shared.join.block), lowering.memory.scope():
                operands = exit_operands(lowering.memory, lowering.graph, lowering.operand, shared.node)
                (which,) = shared.join.phis
                operands[-1] = Scalar("i64", which)
                lowering.python.emit_exit(builder, shared.node.attributes["recipe"], operands)


ExitKey = tuple[int, tuple[Value, ...]]


def _is_shared(node: Node) -> bool:
    recipe = node.attributes.get("recipe")
    result = getattr(recipe, "result", None)
    return isinstance(result, SequenceBox) and bool(result.items) and isinstance(result.items[0], ChoiceBox)


def _exit_key(node: Node) -> ExitKey:
    return id(node.attributes["recipe"]), node.inputs[:-1]
