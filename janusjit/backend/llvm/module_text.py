"""The text of modules, which LLVM parses.

Owns `text_of` and `take_apart`. Invariant: the text is what llvmlite writes, but for space. Why it is written here:
modules are thousands of instructions of a few kinds, which llvmlite writes by formatting each piece by itself, without
a pause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.ir import instructions as kinds

from janusjit.backend.llvm.paced_builder import PlainCall
from janusjit.pacing import pause

#: after how many instructions, of a microsecond each, there is a pause
INSTRUCTIONS_A_PAUSE = 16


def text_of(module: ir.Module) -> str:
    """Return a module's text, with pauses."""
    pieces = [f"target triple = \"{module.triple}\"\ntarget datalayout = \"{module.data_layout}\"\n"]
    pieces += [f"{type_.get_declaration()}\n" for type_ in module.get_identified_types().values()]
    for item in module.global_values:
        if isinstance(item, ir.Function) and item.blocks:
            _number(item)
            item.descr_prototype(pieces)
            pieces.append("{\n")
            for block in item.blocks:
                pieces.append(f"{block.get_reference()[1:]}:\n")
                _write_block(block, pieces)
            pieces.append("}\n")
        else:
            pieces.append(f"{item}\n")
    pieces += [f"{item}\n" for item in module.metadata]
    return "".join(pieces)


def _number(function: ir.Function) -> None:
    """Give the values of a function that have no name of their own their numbers in the text, for references to them.

    LLVM would put what llvmlite calls them into a table, which takes a third of the time of reading the text.
    """
    number = 0
    for argument in function.args:
        if _has_no_name(argument):
            setattr(argument, _OF_VALUE, f"%{number}")
            number += 1
    for block in function.blocks:
        pause()
        if _has_no_name(block):
            setattr(block, _OF_VALUE, f"%{number}")
            number += 1
        for one in block.instructions:
            name = one._name
            if name[0] == "." and type(one.type) is not ir.VoidType and name[1:].isdigit():
                one._StringReferenceCaching__cached_refstr = f"%{number}"
                number += 1


def _has_no_name(value: Any) -> bool:
    """Return whether a value has but what llvmlite calls values without a name: a dot and a number."""
    name: str = value._name
    return name[0] == "." and name[1:].isdigit()


def take_apart(module: ir.Module) -> None:
    """Let a module go that is of no more use, with all its instructions.

    They refer to each other, so nothing but garbage collection would find them, which goes over all of them thrice.
    """
    for function in module.functions:
        for block in function.blocks:
            for number, instruction in enumerate(block.instructions):
                if number % INSTRUCTIONS_A_PAUSE == 0:
                    pause()
                instruction.__dict__.clear()
            block.__dict__.clear()
        function.__dict__.clear()
    module.__dict__.clear()


def _write_block(block: ir.Block, pieces: list[str]) -> None:
    for number, instruction in enumerate(block.instructions):
        if number % INSTRUCTIONS_A_PAUSE == 0:
            pause()
        write = _WRITERS.get(type(instruction))
        if write is not None and not instruction.metadata:
            pieces.append(write(instruction))
            continue
        if not isinstance(instruction.type, ir.VoidType):
            pieces.append(f"  {instruction.get_reference()} = ")
        instruction.descr(pieces)
        if not pieces[-1].endswith("\n"):
            pieces.append("\n")


#: where llvmlite keeps what it has written of a value, and of a type, which it asks for by calls of several functions
_OF_VALUE, _OF_TYPE = "_StringReferenceCaching__cached_refstr", "_StrCaching__cached_str"


def _name(value: Any) -> str:
    """Return what stands for a value in the text."""
    written: str | None = getattr(value, _OF_VALUE, None)
    if written is not None:
        return written
    if type(value) is ir.Constant and type(value.constant) is int and type(value.type) is ir.IntType:
        written = str(value.constant)
    else:
        name: str | None = getattr(value, "_name", None)
        if name is None or '"' in name or "\\" in name:
            return value.get_reference()  # type: ignore[no-any-return]
        written = f'{value.name_prefix}"{name}"'
    setattr(value, _OF_VALUE, written)
    return written


def _type(type_: ir.Type) -> str:
    return getattr(type_, _OF_TYPE, None) or str(type_)


def _typed(values: Any) -> str:
    return ", ".join([
        f"{getattr(x.type, _OF_TYPE, None) or str(x.type)} {getattr(x, _OF_VALUE, None) or _name(x)}" for x in values
    ])  # fmt: skip


def _plain(one: ir.Instruction) -> str:
    flags = " ".join(["", *one.flags]) if one.flags else ""
    operands = ", ".join([_name(operand) for operand in one.operands])
    return f"  {_name(one)} = {one.opname}{flags} {_type(one.type)} {operands}\n"


def _call(one: kinds.CallInstr) -> str:
    callee, arguments = one.operands[0], one.operands[1:]
    is_variadic = one.is_variadic if type(one) is PlainCall else callee.function_type.var_arg
    if is_variadic or one.cconv or one.tail or one.attributes or one.arg_attributes:
        pieces = [] if isinstance(one.type, ir.VoidType) else [f"  {_name(one)} = "]
        one.descr(pieces)
        return "".join(pieces)
    flags = " ".join(["", *one.fastmath._to_list(one.type)]) if one.fastmath else ""
    result = "" if isinstance(one.type, ir.VoidType) else f"{_name(one)} = "
    return f"  {result}{one.opname}{flags} {_type(one.type)} {_name(callee)}({_typed(arguments)})\n"


def _load(one: kinds.LoadInstr) -> str:
    align = "" if one.align is None else f", align {one.align}"
    return f"  {_name(one)} = load {_type(one.type)}, {_typed(one.operands)}{align}\n"


def _store(one: kinds.StoreInstr) -> str:
    align = "" if one.align is None else f", align {one.align}"
    return f"  store {_typed(one.operands)}{align}\n"


def _address(one: kinds.GEPInstr) -> str:
    inbounds = " inbounds" if one.inbounds else ""
    return f"  {_name(one)} = getelementptr{inbounds} {_type(one.source_etype)}, {_typed(one.operands)}\n"


def _phi(one: kinds.PhiInstr) -> str:
    incomings = ", ".join([f"[{_name(value)}, {_name(block)}]" for value, block in one.incomings])
    flags = " ".join(["", *one.flags]) if one.flags else ""
    return f"  {_name(one)} = phi{flags} {_type(one.type)} {incomings}\n"


def _comparison(one: kinds.CompareInstr) -> str:
    left, right = one.operands
    flags = " ".join(["", *one.flags]) if one.flags else ""
    operands = f"{_type(left.type)} {_name(left)}, {_name(right)}"
    return f"  {_name(one)} = {one.opname}{flags} {one.op} {operands}\n"


def _typed_operands(one: ir.Instruction) -> str:
    flags = " ".join(["", *one.flags]) if one.flags else ""
    return f"  {_name(one)} = {one.opname}{flags} {_typed(one.operands)}\n"


def _cast(one: kinds.CastInstr) -> str:
    return f"  {_name(one)} = {one.opname} {_typed(one.operands)} to {_type(one.type)}\n"


def _branch(one: kinds.Terminator) -> str:
    return f"  {one.opname} {_typed(one.operands)}\n"


#: how instructions without metadata are written, by their kind
_WRITERS: dict[type, Callable[[Any], str]] = {
    kinds.Instruction: _plain,
    kinds.CallInstr: _call,
    PlainCall: _call,
    kinds.LoadInstr: _load,
    kinds.StoreInstr: _store,
    kinds.GEPInstr: _address,
    kinds.PhiInstr: _phi,
    kinds.ICMPInstr: _comparison,
    kinds.FCMPInstr: _comparison,
    kinds.SelectInstr: _typed_operands,
    kinds.InsertElement: _typed_operands,
    kinds.ExtractElement: _typed_operands,
    kinds.ShuffleVector: _typed_operands,
    kinds.CastInstr: _cast,
    kinds.Branch: _branch,
    kinds.ConditionalBranch: _branch,
}
