"""Floating-point exception flags.

Owns the optional check that the body raised none of the flags NumPy would warn about. Invariant: with the check on, a
graph that divides by zero, overflows or computes an invalid value deoptimizes, so plain Python warns as it would have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.entry_frame import IN_GRAPH, EntryFrame
from janusjit.backend.llvm.python_api import I32, POINTER, VOID
from janusjit.backend.llvm.values import Operand, Scalar
from janusjit.ir.graph import Graph

FLAGS_GUARD = "fp.flags"

_X86_FLAGS = 0x3F  # MXCSR: the six sticky exception flags
#: the bit of each exception, by NumPy's name for it
_X86_BITS = {"invalid": 0x01, "divide": 0x04, "over": 0x08, "under": 0x10}
_ARM_BITS = {"invalid": 0x01, "divide": 0x02, "over": 0x04, "under": 0x08}
_USUAL = ("invalid", "divide", "over")


class FloatingPointFlags:
    """Emits the clearing and the check of the flags, if ``graph`` has a guard with the code ``fp.flags``.

    Parameters
    ----------
    graph : Graph
        The graph; its first in-graph guard with that code is the one that fails.
    frame : EntryFrame
        The activation.
    """

    def __init__(self, graph: Graph, frame: EntryFrame) -> None:
        codes = [guard.code for guard in graph.guards.in_graph]
        self._guard_number = codes.index(FLAGS_GUARD) if FLAGS_GUARD in codes else None
        self._watched = _watched(graph, self._guard_number)
        self._frame = frame
        triple = engine.host_target()[0]
        self._on_x86 = triple.startswith(("x86_64", "amd64", "i686"))
        self._register_class = "x" if self._on_x86 else "w" if triple.startswith(("aarch64", "arm64")) else None

    @property
    def checked(self) -> bool:
        """Whether the graph has such a guard."""
        return self._guard_number is not None

    def emit_clear(self, inputs: Sequence[Operand]) -> list[Operand]:
        """Emit the clearing of all flags; return the inputs as the body must use them."""
        if self._guard_number is None:
            return list(inputs)
        self._clear()
        return [self._pinned(operand) for operand in inputs]

    def _clear(self) -> None:
        builder = self._frame.builder
        if not self._on_x86:
            clear = _declare(self._frame.api.module, "feclearexcept", I32, [I32])
            builder.call(clear, [ir.Constant(I32, self._mask(_ARM_BITS))])
            return
        slot = self._frame.scratch(I32)
        builder.call(self._intrinsic("stmxcsr"), [slot])
        kept = builder.and_(builder.load(slot, typ=I32), ir.Constant(I32, ~_X86_FLAGS))
        builder.store(kept, slot)
        builder.call(self._intrinsic("ldmxcsr"), [slot])

    def emit_check(self, operands: Sequence[Operand]) -> list[Operand]:
        """Emit: fail the guard if an exception that is watched for has been raised since the clearing.

        Returns the exit's operands as the exit must use them.
        """
        if self._guard_number is None:
            return list(operands)
        pinned = [self._pinned(operand) for operand in operands]
        builder = self._frame.builder
        if self._on_x86:
            slot = self._frame.scratch(I32)
            builder.call(self._intrinsic("stmxcsr"), [slot])
            raised = builder.and_(builder.load(slot, typ=I32), ir.Constant(I32, self._mask(_X86_BITS)))
        else:
            test = _declare(self._frame.api.module, "fetestexcept", I32, [I32])
            raised = builder.call(test, [ir.Constant(I32, self._mask(_ARM_BITS))])
        self._frame.fail_if(builder.icmp_signed("!=", raised, ir.Constant(I32, 0)), IN_GRAPH + self._guard_number)
        return pinned

    def _mask(self, bits: dict[str, int]) -> int:
        return sum(bits[name] for name in self._watched)

    def _pinned(self, operand: Operand) -> Operand:
        """Emit an empty instruction that takes a number in and gives it out.

        LLVM moves arithmetic on numbers in registers freely past reads of the flags; it cannot move it past this.
        """
        if not isinstance(operand, Scalar) or operand.dtype not in ("f32", "f64") or self._register_class is None:
            return operand
        type_ = operand.value.type
        constraint = f"={self._register_class},0"
        barrier = ir.InlineAsm(ir.FunctionType(type_, [type_]), "", constraint, side_effect=True)
        return Scalar(operand.dtype, self._frame.builder.call(barrier, [operand.value]))

    def _intrinsic(self, name: str) -> ir.Function:
        return _declare(self._frame.api.module, f"llvm.x86.sse.{name}", VOID, [POINTER])


def _watched(graph: Graph, number: int | None) -> tuple[str, ...]:
    """Return the exceptions the guard speaks of; those NumPy warns of where it names none."""
    text = "" if number is None else graph.guards.in_graph[number].expected
    return tuple(name for name in _X86_BITS if re.search(rf"\b{name}\b", text)) or _USUAL


def _declare(module: ir.Module, name: str, result: ir.Type, parameters: list[ir.Type]) -> ir.Function:
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, ir.FunctionType(result, parameters), name)
