"""Operations with kernels of their own, as functions.

Owns `NodeFunctions`, which emits a function for every different use of a matrix product, a structured or a library
operation and calls it. Invariant: uses with the same attributes, element types and known extents share one function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

from llvmlite import ir

from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.convolution import emit_convolution
from janusjit.backend.llvm.kernel_memory import call_kernel
from janusjit.backend.llvm.library import emit_library
from janusjit.backend.llvm.object_calls import emit_object_call
from janusjit.backend.llvm.positions import emit_position
from janusjit.backend.llvm.quick_code import ONLY_CALL, QuickCode
from janusjit.backend.llvm.structured import STRUCTURED, TELLING, emit_count, emit_structured
from janusjit.backend.llvm.values import (
    I1,
    POINTER,
    VOID,
    ArrayValue,
    Extent,
    KernelContext,
    Operand,
    PythonEmitter,
    Scalar,
    store,
)
from janusjit.backend.plan import may_fail
from janusjit.ir.graph import Node
from janusjit.ops.registry import OPS, Contract, Library, ObjectCall, Reduce, Structured

Emit = Callable[[KernelContext, Node, list[Operand], list[ArrayValue]], Union[str, None]]


class NodeFunctions:
    """The functions of a module's single operations, each emitted at its first use, on up to ``threads`` threads.

    ``quick`` is told of the calls of those that only make a call themselves.

    Attributes
    ----------
    chosen : dict
        How a node is computed, in words, where there was a choice.
    """

    def __init__(self, module: ir.Module, python: PythonEmitter, quick: QuickCode, threads: int = 1) -> None:
        self._module, self._python, self._quick, self._threads = module, python, quick, threads
        self.chosen: dict[Node, str] = {}
        self._choices: dict[tuple[Any, ...], str] = {}
        self._functions: dict[tuple[Any, ...], ir.Function] = {}

    def call(
        self,
        builder: ir.IRBuilder,
        node: Node,
        inputs: Sequence[Operand],
        outputs: Sequence[ArrayValue],
        happens_once: bool = False,
    ) -> ir.Value | None:
        """Emit a call of the node's kernel; return whether its requirements held (``i1``), if it has any.

        ``happens_once`` says whether it happens once in a call of the entry function at most.
        """
        called = self._call(builder, node, inputs, outputs, _emitter_of(node), I1 if may_fail(node) else VOID)
        if _only_calls(called.callee):
            self._quick.note(called.callee, 0.0 if happens_once else None, ONLY_CALL)
        return called if may_fail(node) else None

    def call_count(
        self, builder: ir.IRBuilder, node: Node, inputs: Sequence[Operand], count: ArrayValue
    ) -> ir.Value | None:
        """Emit a call that computes the length of a result that depends on the data; return whether it could."""
        called = self._call(builder, node, inputs, [count], _emit_count, I1 if may_fail(node) else VOID)
        return called if may_fail(node) else None

    def _call(
        self,
        builder: ir.IRBuilder,
        node: Node,
        inputs: Sequence[Operand],
        outputs: Sequence[ArrayValue],
        emit: Emit,
        result: ir.Type,
    ) -> ir.Value:
        signature = _Signature()
        described = (signature.add(inputs), signature.add(outputs))
        attributes = sorted((name, value) for name, value in node.attributes.items() if name != "symbol")
        key = (node.op, repr(attributes), emit, str(result), *described)
        function = self._functions.get(key)
        if function is None:
            types = [value.type for value in signature.arguments]
            name = f"{node.op}.{len(self._functions)}"
            function = ir.Function(self._module, ir.FunctionType(result, types), name)
            self._functions[key] = function
            chosen = self._emit(function, signature, node, (inputs, outputs), emit)
            if chosen is not None:
                self._choices[key] = chosen
        if key in self._choices:
            self.chosen[node] = self._choices[key]
        return call_kernel(self._python, builder, function, signature.arguments)

    def _emit(
        self,
        function: ir.Function,
        signature: _Signature,
        node: Node,
        operands: tuple[Sequence[Operand], Sequence[ArrayValue]],
        emit: Emit,
    ) -> str | None:
        function.linkage = "internal"
        function.attributes.add("noinline")
        for argument in function.args:
            if argument.type == POINTER:
                argument.add_attribute("noalias")
        context = KernelContext(function, self._python, self._threads)
        inputs = [signature.inside(function, operand) for operand in operands[0]]
        outputs = [signature.inside(function, operand) for operand in operands[1]]
        chosen = emit(context, node, inputs, [out for out in outputs if isinstance(out, ArrayValue)])
        context.finish()
        if _is_straight(function) or _knows_its_needs(node):
            context.mark_vectors()
        return chosen


class _Signature:
    """The arguments of a call: every distinct value once, constants none at all."""

    def __init__(self) -> None:
        self.arguments: list[ir.Value] = []

    def add(self, operands: Sequence[Operand]) -> tuple[Any, ...]:
        """Take the operands' values for arguments; return what distinguishes the operands."""
        return tuple(
            (operand.dtype, self._add(operand.value))
            if isinstance(operand, Scalar)
            else (operand.dtype, *map(self._add, _parts(operand)))
            for operand in operands
        )

    def _add(self, extent: Extent | None) -> Any:
        if extent is None or isinstance(extent, int):
            return extent
        position = self._position(extent)
        if position is None:
            self.arguments.append(extent)
            position = len(self.arguments) - 1
        return f"argument{position}"

    def _position(self, value: ir.Value) -> int | None:
        return next((i for i, argument in enumerate(self.arguments) if argument is value), None)

    def inside(self, function: ir.Function, operand: Operand) -> Operand:
        """Return an operand in terms of the function's arguments."""
        if isinstance(operand, Scalar):
            return Scalar(operand.dtype, self._inside(function, operand.value))
        dims, strides = (
            tuple(self._inside(function, extent) for extent in part) for part in (operand.dims, operand.strides)
        )
        reference = None if operand.reference is None else self._inside(function, operand.reference)
        return ArrayValue(operand.dtype, self._inside(function, operand.pointer), dims, strides, reference=reference)

    def _inside(self, function: ir.Function, extent: Any) -> Any:
        return extent if isinstance(extent, int) else function.args[self._position(extent)]


def _parts(array: ArrayValue) -> tuple[Extent | None, ...]:
    return (array.pointer, *array.dims, None, *array.strides, None, array.reference)


def _is_straight(function: ir.Function) -> bool:
    """Return whether a function is code that passes make nothing better of: without loops, or with calls in them."""
    if len(function.blocks) == 2:
        return True
    instructions = (instruction for block in function.blocks for instruction in block.instructions)
    return not any(map(_moves_numbers, instructions))


def _only_calls(function: ir.Function) -> bool:
    """Return whether a function does nothing but make calls, one after the other, with addresses it finds."""
    return len(function.blocks) == 2 and not any(map(_moves_numbers, function.blocks[1].instructions))


def _moves_numbers(instruction: ir.Instruction) -> bool:
    """Return whether an instruction loads or stores anything but an address."""
    if isinstance(instruction, ir.StoreInstr):
        return not instruction.operands[0].type.is_pointer
    return isinstance(instruction, ir.LoadInstr) and not instruction.type.is_pointer


def _knows_its_needs(node: Node) -> bool:
    """Return whether what emits a node says whether its loops need passes; they do not where they are vector code."""
    lowering = OPS[node.op].lowering
    if isinstance(lowering, Contract):
        return node.op != "matmul"
    if isinstance(lowering, Structured):
        return node.op not in STRUCTURED or node.op in TELLING
    return isinstance(lowering, Reduce)


def _emitter_of(node: Node) -> Emit:
    lowering = OPS[node.op].lowering
    if isinstance(lowering, Contract):
        return _emit_product
    if isinstance(lowering, Reduce):
        return emit_position
    if isinstance(lowering, Library):
        return emit_library
    if isinstance(lowering, ObjectCall):
        return emit_object_call
    return emit_structured


def _emit_product(context: KernelContext, node: Node, inputs: list[Operand], outputs: list[ArrayValue]) -> str:
    a, b = (context.as_array(operand) for operand in inputs)
    if node.op != "matmul":
        return emit_convolution(context, node, [a, b], outputs[0])
    return emit_matmul(context, a, b, outputs[0])


def _emit_count(context: KernelContext, node: Node, inputs: list[Operand], outputs: list[ArrayValue]) -> None:
    store(context.builder, Scalar("i64", emit_count(context, node, inputs)), outputs[0].pointer)
