"""Looks at the floating-point flags in the body of a graph.

Owns `FlagLooks`, which emits them where `janusjit.backend.tracking` wants them. Invariant: when a call is given up
because of what a look has found, every array of the caller's that was written is put back from its backup first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from llvmlite import ir

from janusjit.backend.address import Address
from janusjit.backend.llvm.boxing_arrays import copy_memory
from janusjit.backend.llvm.memory import Memory
from janusjit.backend.llvm.values import I64, Extent, PythonEmitter, Scalar
from janusjit.backend.plan import FusedStep, NodeStep, Plan, Step, nodes_of
from janusjit.backend.storage import Placement
from janusjit.backend.tracking import is_of_numbers, operands_of, track
from janusjit.ir.graph import Node, Value
from janusjit.transform.facts import errors_of


class Lowering(Protocol):
    """What the looks ask of the lowering of the graph around them."""

    builder: ir.IRBuilder
    placement: Placement
    scalars: dict[Value, Scalar]
    memory: Memory
    python: PythonEmitter

    def copy(self, source: Address, target: Address) -> None:
        """Emit the copy of one array to another."""


class FlagLooks:
    """Emits the looks of one plan."""

    def __init__(self, lowering: Lowering, plan: Plan) -> None:
        self._lowering, self._plan = lowering, plan
        self._tracking = track(plan, lowering.placement)
        self._displaced: dict[Value, Scalar] = {}

    @property
    def may_give_up(self) -> bool:
        """Whether the call is given up for any error, and nothing is looked at by itself."""
        return not self._tracking.steps and not self._tracking.before

    @property
    def untiled(self) -> set[Step]:
        """The steps that have to stand by themselves."""
        end = self._tracking.point_of_no_return
        return {step for step in self._tracking.steps if self._tracking.apart or step.time >= end}

    @property
    def apart(self) -> set[Step]:
        """The steps that have to stand by themselves, and those before which all others are looked at."""
        return self.untiled | self._tracking.before

    def before(self, step: Step) -> None:
        """Emit what comes before a step."""
        if step in self._tracking.before:
            self._pin(step)
            self._look_together([b for b in self._plan.backups.values() if self._is_there(b, step)])
        if step in self._tracking.steps and (node := _number_node(step)) is not None:
            scalars = self._lowering.scalars  # for this step alone: what is in reach here need not be elsewhere
            self._displaced = {value: scalars[value] for value in node.inputs if value in scalars}
            scalars.update(self._pin_all(node.inputs))

    def after(self, step: Step, together: Sequence[Step] | None = None) -> None:
        """Emit what comes after a step; those done ``together`` are looked at as one, after the last of them."""
        steps = [step] if together is None else together
        if step is not steps[-1] or self._tracking.steps.isdisjoint(steps):
            return
        lowering, builder = self._lowering, self._lowering.builder
        if (node := _number_node(step)) is not None:
            lowering.scalars.update(self._displaced)
            self._pin_all(node.results)
        raised = lowering.python.emit_flags(builder)
        met = builder.icmp_signed("!=", raised, ir.Constant(raised.type, 0))
        with builder.if_then(met, likely=False), lowering.memory.scope():
            if not any(errors_of(node) for one in steps for node in nodes_of(one)):
                lowering.python.emit_clear_flags(builder)  # nobody hears of these, and they must not seem another's
                return
            alone = together is None and (isinstance(step, FusedStep) or is_of_numbers(step))
            words = self._words(step) if alone else None
            address = ir.Constant(I64, 0) if words is None else words
            backups = [b for b in self._plan.backups.values() if self._is_there(b, step)]
            ends = step.time >= self._tracking.point_of_no_return
            restore = None if ends else self._restoring(backups)
            time = step.time if together is None else -1
            lowering.python.emit_witness(builder, raised, time, address, restore)

    def check(self, node: Node) -> None:
        """Emit the look before an exit."""
        self._pin_all(node.inputs)
        self._look_together([value for value in self._plan.backups.values() if value in node.inputs])

    def _look_together(self, backups: list[Value]) -> None:
        python, builder = self._lowering.python, self._lowering.builder
        raised = python.emit_flags(builder)
        met = builder.icmp_signed("!=", raised, ir.Constant(raised.type, 0))
        with builder.if_then(met, likely=False), self._lowering.memory.scope():
            python.emit_witness(builder, raised, -1, ir.Constant(I64, 0), self._restoring(backups))

    def _restoring(self, backups: list[Value]) -> Callable[[], None]:
        """Return what emits putting arrays back."""
        memory = self._lowering.memory

        def restore() -> None:
            for index, backup in self._plan.backups.items():
                if backup in backups:
                    original = self._plan.graph.inputs[index].value
                    self._lowering.copy(memory.addresses.of(backup), memory.addresses.of(original))

        return restore

    def _is_there(self, backup: Value, step: Step) -> bool:
        return self._lowering.placement.defined[backup] <= step.time

    # -- numbers

    def _pin(self, step: Step) -> None:
        """Have all numbers that can be used at a step computed before it."""
        liveness = self._lowering.placement.liveness
        scope = liveness.scopes[step]
        known = [value for value in self._lowering.scalars if value.node is None or value.node.op != "constant"]
        self._pin_all([value for value in known if scope.within(liveness.scope_of(value))])

    def _pin_all(self, values: Iterable[Value]) -> dict[Value, Scalar]:
        """Have numbers computed before what is emitted next; return them as they are known only behind it."""
        scalars, python = self._lowering.scalars, self._lowering.python
        known = [value for value in dict.fromkeys(values) if value in scalars]
        return {value: python.pinned(self._lowering.builder, scalars[value]) for value in known}

    # -- operands

    def _words(self, step: Step) -> ir.Value | None:
        """Emit what `janusjit.backend.witness` reads of a step's operands and results; return the address, if any."""
        assert isinstance(step, FusedStep | NodeStep)
        memory, builder = self._lowering.memory, self._lowering.builder
        words: list[Extent] = []
        for value in operands_of(step):
            if value.type.rank == 0:
                words.append(_bits(builder, self._lowering.scalars[value].value))
            else:
                words += self._array_words(memory.addresses.of(value))
        for value in step.stores if isinstance(step, FusedStep) else ():
            update = value.node is not None and value.node.op == "update"
            found = memory.addresses.of_update(value.node) if update and value.node else memory.addresses.of(value)
            words += self._array_words(found)
        return self._in_memory(words) if words else None

    def _in_memory(self, words: Sequence[Extent]) -> ir.Value:
        """Emit the writing of words to memory, those that are known all at once; return where they are."""
        memory, builder = self._lowering.memory, self._lowering.builder
        slot, size = memory.stack_slot(I64, len(words)), ir.Constant(I64, 8 * len(words))
        known = [ir.Constant(I64, word if isinstance(word, int) else 0) for word in words]
        copy_memory(builder, slot, self._constant(known), size)
        for position, word in enumerate(words):
            if not isinstance(word, int):
                place = builder.gep(slot, [ir.Constant(I64, position)], source_etype=I64) if position else slot
                builder.store(word, place)
        return builder.ptrtoint(slot, I64)

    def _constant(self, words: list[ir.Constant]) -> ir.Value:
        module, type_ = self._lowering.builder.module, ir.ArrayType(I64, len(words))
        variable = ir.GlobalVariable(module, type_, module.get_unique_name("words"))
        variable.linkage, variable.global_constant = "internal", True
        variable.initializer = ir.Constant(type_, words)
        return variable

    def _array_words(self, address: Address) -> list[Extent]:
        array = self._lowering.memory.array_at(address)
        return [array.pointer, *array.dims, *array.strides]


def _number_node(step: Step) -> Node | None:
    """Return the node of a step that computes numbers."""
    if isinstance(step, NodeStep) and any(value.type.rank == 0 for value in step.node.results):
        return step.node
    return None


def _bits(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return the bits of a number, from the lowest on."""
    if isinstance(value.type, ir.DoubleType):
        return builder.bitcast(value, I64)
    if isinstance(value.type, ir.FloatType):
        return builder.zext(builder.bitcast(value, ir.IntType(32)), I64)
    return value if value.type == I64 else builder.zext(value, I64)
