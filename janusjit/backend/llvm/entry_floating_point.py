"""Floating-point exception flags.

Owns the look at the flags the body has raised. Invariant: a graph with a guard of them that divides by zero, overflows
or computes an invalid value deoptimizes, so that plain Python warns or raises as it would have, unless the witness
(`janusjit.backend.witness`) lets it go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.python_api import I32, I64, NULL, POINTER, VOID
from janusjit.backend.llvm.values import I1, Operand, Scalar, observe_memory
from janusjit.backend.witness import Witness
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Graph
from janusjit.transform.facts import errors_watched, flags_guard

_X86_FLAGS = 0x3F  # MXCSR: the six sticky exception flags
#: the bit of each exception, by NumPy's name for it
_X86_BITS = {"invalid": 0x01, "divide": 0x04, "over": 0x08, "under": 0x10}
_ARM_BITS = {"invalid": 0x01, "divide": 0x02, "over": 0x04, "under": 0x08}


class FloatingPointFlags:
    """Emits the clearing and the look at the flags, if ``graph`` has a guard with the code ``fp.flags``.

    Parameters
    ----------
    graph : Graph
        The graph; its first in-graph guard with that code is the one that fails.
    frame : EntryFrame
        The activation.

    Attributes
    ----------
    checked : bool
        Whether the graph has such a guard, and operations that it speaks of.
    guard_number : int
        Which of the in-graph guards it is.
    """

    def __init__(self, graph: Graph, frame: EntryFrame) -> None:
        guard = flags_guard(graph)
        self._watched = errors_watched(graph)
        self.checked = bool(self._watched)
        self.guard_number = -1 if guard is None else graph.guards.in_graph.index(guard)
        self._witness = None if guard is None else Witness(graph)
        self._frame = frame
        triple = engine.host_target()[0]
        self._on_x86 = triple.startswith(("x86_64", "amd64", "i686"))
        self._register_class = "x" if self._on_x86 else "w" if triple.startswith(("aarch64", "arm64")) else None

    def emit_clear(self, inputs: Sequence[Operand]) -> list[Operand]:
        """Emit the clearing of all flags; return the inputs as the body must use them."""
        if not self.checked:
            return list(inputs)
        self.clear()
        return [self.pinned(operand) if isinstance(operand, Scalar) else operand for operand in inputs]

    def clear(self) -> None:
        """Emit the clearing of all flags."""
        self._clear_at(self._frame.builder, self._frame.scratch(I32))

    def _clear_at(self, builder: ir.IRBuilder, slot: ir.Value) -> None:
        """Emit the clearing of the flags that are watched, by way of 32 bits of memory where the machine has it so."""
        if not self._on_x86:
            clear = _declare(self._frame.api.module, "feclearexcept", I32, [I32])
            builder.call(clear, [ir.Constant(I32, self._mask(_ARM_BITS))])
            return
        builder.call(self._intrinsic("stmxcsr"), [slot])
        found = builder.load(slot, typ=I32)
        raised = builder.and_(found, ir.Constant(I32, self._mask(_X86_BITS)))
        with builder.if_then(builder.icmp_unsigned("!=", raised, ir.Constant(I32, 0)), likely=False):  # it takes long
            builder.store(builder.and_(found, ir.Constant(I32, ~_X86_FLAGS)), slot)
            builder.call(self._intrinsic("ldmxcsr"), [slot])

    def emit_look(self) -> ir.Value:
        """Emit a look at the flags that are watched."""
        builder = self._frame.builder
        observe_memory(builder)
        if self._on_x86:
            slot = self._frame.scratch(I32)
            builder.call(self._intrinsic("stmxcsr"), [slot])
            return builder.and_(builder.load(slot, typ=I32), ir.Constant(I32, self._mask(_X86_BITS)))
        test = _declare(self._frame.api.module, "fetestexcept", I32, [I32])
        return builder.call(test, [ir.Constant(I32, self._mask(_ARM_BITS))])

    def emit_question(self, flags: ir.Value, time: int, address: ir.Value, may_give_up: bool) -> ir.Value:
        """Emit the question to the witness; return its answer, a new reference, or null with an exception set.

        Afterwards the flags are clear.
        """
        given = (flags, ir.Constant(I64, time), address, ir.Constant(I1, may_give_up))
        return self._frame.builder.call(self._question(), given)

    def _question(self) -> ir.Function:
        """Return the module's function that asks the witness: it is called in many places, and next to never."""
        module = self._frame.api.module
        known = module.globals.get("ask_witness")
        if known is not None:
            return known
        function = ir.Function(module, ir.FunctionType(POINTER, [I32, I64, I64, I1]), "ask_witness")
        function.linkage = "internal"
        for attribute in ("noinline", "optnone", "nounwind"):
            function.attributes.add(attribute)
        self._emit_question_body(ir.IRBuilder(function.append_basic_block("entry")), *function.args)
        return function

    def _emit_question_body(
        self, builder: ir.IRBuilder, flags: ir.Value, time: ir.Value, address: ir.Value, may_give_up: ir.Value
    ) -> None:
        api = self._frame.api
        number: ir.Value = ir.Constant(I64, 0)
        bits = _X86_BITS if self._on_x86 else _ARM_BITS
        for position, name in enumerate(ERRORS):
            has = builder.icmp_signed("!=", builder.and_(flags, ir.Constant(I32, bits[name])), ir.Constant(I32, 0))
            number = builder.or_(number, builder.select(has, ir.Constant(I64, 1 << position), ir.Constant(I64, 0)))
        # the address is 0 or, at a step of which much is to be told, not
        made = [api.call(builder, "PyLong_FromLongLong", word) for word in (number, time, address)]
        choice = builder.select(may_give_up, api.object(builder, True), api.object(builder, False))
        arguments = [*made, choice]
        vector = builder.alloca(ir.ArrayType(POINTER, len(arguments)))
        vector.type = POINTER
        for index, argument in enumerate(arguments):
            builder.store(argument, api.address(builder, vector, 8 * index))
        count, witness = ir.Constant(I64, len(arguments)), api.object(builder, self._witness)
        result = api.call(builder, "PyObject_Vectorcall", witness, vector, count, NULL)
        for reference in made:
            api.decref_unless_null(builder, reference)
        slot = builder.alloca(I32)
        slot.type = POINTER
        self._clear_at(builder, slot)
        builder.ret(result)

    def _mask(self, bits: dict[str, int]) -> int:
        return sum(bits[name] for name in self._watched)

    def pinned(self, operand: Scalar) -> Scalar:
        """Emit an empty instruction that takes a number in and gives it out.

        LLVM moves arithmetic on numbers in registers freely past reads of the flags; it cannot move it past this.
        """
        if operand.dtype not in ("f32", "f64") or self._register_class is None:
            return operand
        type_ = operand.value.type
        constraint = f"={self._register_class},0"
        barrier = ir.InlineAsm(ir.FunctionType(type_, [type_]), "", constraint, side_effect=True)
        return Scalar(operand.dtype, self._frame.builder.call(barrier, [operand.value]))

    def _intrinsic(self, name: str) -> ir.Function:
        return _declare(self._frame.api.module, f"llvm.x86.sse.{name}", VOID, [POINTER])


def _declare(module: ir.Module, name: str, result: ir.Type, parameters: list[ir.Type]) -> ir.Function:
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, ir.FunctionType(result, parameters), name)
