"""The most frequent instructions, made with few calls of functions.

Owns `QuickBuilder`. Invariant: each instruction is what llvmlite's builder makes of the same arguments, and wrong types
raise what they raise there. Why: a kernel is thousands of instructions, and for each llvmlite goes through the
constructors of several classes, and compares types by their structure; here most are compared by being one object.
Nearly all instructions are given no name, so the next number is found without asking for each whether it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.ir import instructions as kinds

_NOTHING, _FLAG = ir.VoidType(), ir.IntType(1)
#: how llvmlite writes comparisons
_COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def fill(one: Any, block: Any, type_: ir.Type, opname: str, operands: Any, name: str = "", flags: Any = ()) -> Any:
    """Give an instruction that has just been made what all of them have; return it."""
    names = block.scope
    if name:
        name = names.register(name, deduplicate=True)
    else:
        used, numbers = names._useset, names._basenamemap
        number = numbers[""] + 1
        while (name := f".{number}") in used:
            number += 1
        numbers[""] = number
        used.add(name)
    one.parent = block
    one.type = type_
    one._name = name
    one.opname = opname
    one.operands = operands
    one.flags = list(flags)
    one.metadata = {}
    return one


def _of_two(opname: str) -> Callable[..., Any]:
    def emit(
        self: QuickBuilder, lhs: ir.Value, rhs: ir.Value, name: str = "", flags: Sequence[str] = ()
    ) -> ir.Instruction:
        type_ = lhs.type
        if type_ is not rhs.type and type_ != rhs.type:
            raise ValueError(f"Operands must be the same type, got ({type_}, {rhs.type})")
        return self.insert(fill(_new(kinds.Instruction), self._block, type_, opname, (lhs, rhs), name, flags))

    return emit


def _cast(opname: str) -> Callable[..., Any]:
    def emit(self: QuickBuilder, value: ir.Value, typ: ir.Type, name: str = "") -> ir.Value:
        if value.type is typ or value.type == typ:
            return value
        return self.insert(fill(_new(kinds.CastInstr), self._block, typ, opname, [value], name))

    return emit


_new = object.__new__


class QuickBuilder(ir.IRBuilder):  # type: ignore[misc]
    """Emits instructions, as its base class does."""

    add, sub, mul = _of_two("add"), _of_two("sub"), _of_two("mul")
    and_, or_, xor = _of_two("and"), _of_two("or"), _of_two("xor")
    shl, lshr, ashr = _of_two("shl"), _of_two("lshr"), _of_two("ashr")
    fadd, fsub, fmul, fdiv = _of_two("fadd"), _of_two("fsub"), _of_two("fmul"), _of_two("fdiv")
    trunc, zext, sext, bitcast = _cast("trunc"), _cast("zext"), _cast("sext"), _cast("bitcast")
    ptrtoint, inttoptr, sitofp = _cast("ptrtoint"), _cast("inttoptr"), _cast("sitofp")

    def insert(self, instruction: Any) -> Any:
        """Put an instruction where the builder is; return it."""
        self._insert(instruction)
        return instruction

    def load(self, ptr: ir.Value, name: str = "", align: int | None = None, typ: ir.Type | None = None) -> ir.LoadInstr:
        """Emit a load."""
        if typ is None or not isinstance(ptr.type, ir.PointerType):
            return super().load(ptr, name, align, typ)
        one = fill(_new(kinds.LoadInstr), self._block, typ, "load", [ptr], name)
        one.align = align
        return self.insert(one)

    def store(self, value: ir.Value, ptr: ir.Value, align: int | None = None) -> ir.StoreInstr:
        """Emit a store."""
        if not isinstance(ptr.type, ir.PointerType) or not ptr.type.is_opaque:
            return super().store(value, ptr, align)
        one = fill(_new(kinds.StoreInstr), self._block, _NOTHING, "store", [value, ptr])
        one.align = align
        return self.insert(one)

    def gep(
        self,
        ptr: ir.Value,
        indices: Sequence[ir.Value],
        inbounds: bool = False,
        name: str = "",
        source_etype: ir.Type | None = None,
    ) -> ir.GEPInstr:
        """Emit the computation of an address."""
        if source_etype is None:
            return super().gep(ptr, indices, inbounds, name)
        one = fill(_new(kinds.GEPInstr), self._block, ptr.type, "getelementptr", [ptr, *indices], name)
        one.source_etype, one.pointer, one.indices, one.inbounds = source_etype, ptr, indices, inbounds
        return self.insert(one)

    def branch(self, target: ir.Block) -> ir.Branch:
        """Emit a branch."""
        return self._set_terminator(fill(_new(kinds.Branch), self._block, _NOTHING, "br", [target]))

    def cbranch(self, cond: ir.Value, truebr: ir.Block, falsebr: ir.Block) -> ir.ConditionalBranch:
        """Emit a conditional branch."""
        operands = [cond, truebr, falsebr]
        return self._set_terminator(fill(_new(kinds.ConditionalBranch), self._block, _NOTHING, "br", operands))

    def phi(self, typ: ir.Type, name: str = "", flags: Sequence[str] = ()) -> ir.PhiInstr:
        """Emit a choice by the block that control comes from."""
        one = fill(_new(kinds.PhiInstr), self._block, typ, "phi", (), name, flags)
        one.incomings = []
        return self.insert(one)

    def fcmp_ordered(
        self, cmpop: str, lhs: ir.Value, rhs: ir.Value, name: str = "", flags: Sequence[str] = ()
    ) -> ir.FCMPInstr:
        """Emit a comparison that does not hold where a number is no number."""
        if flags or cmpop not in _COMPARISONS:
            return super().fcmp_ordered(cmpop, lhs, rhs, name, flags)
        return self._compare(kinds.FCMPInstr, "fcmp", "o" + _COMPARISONS[cmpop], lhs, rhs, name)

    def _icmp(self, prefix: str, cmpop: str, lhs: ir.Value, rhs: ir.Value, name: str) -> ir.ICMPInstr:
        if cmpop not in _COMPARISONS:
            return super()._icmp(prefix, cmpop, lhs, rhs, name)
        comparison = _COMPARISONS[cmpop] if cmpop in ("==", "!=") else prefix + _COMPARISONS[cmpop]
        return self._compare(kinds.ICMPInstr, "icmp", comparison, lhs, rhs, name)

    def _compare(self, kind: type, opname: str, comparison: str, lhs: ir.Value, rhs: ir.Value, name: str) -> Any:
        type_ = ir.VectorType(_FLAG, lhs.type.count) if isinstance(lhs.type, ir.VectorType) else _FLAG
        one = fill(_new(kind), self._block, type_, opname, [lhs, rhs], name)
        one.op = comparison
        return self.insert(one)
