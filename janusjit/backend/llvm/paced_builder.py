"""llvmlite's builder of instructions, with pauses.

Owns `PacedBuilder`. Invariant: it emits what llvmlite's builder does. A kernel may be thousands of instructions, which
take milliseconds to emit: far longer than the compiler's thread may keep the program from the interpreter. Blocks are
given short names, which are written and read in each branch, and the next number of one is found without asking for
each whether it is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from llvmlite import ir
from llvmlite.ir._utils import NameScope
from llvmlite.ir.instructions import CallInstrAttributes, FastMathFlags

from janusjit.backend.llvm.quick_instructions import QuickBuilder, fill
from janusjit.pacing import pause


class _Names(NameScope):  # type: ignore[misc]
    """The names of a function, as llvmlite gives them."""

    def register(self, name: str, deduplicate: bool = False) -> str:
        """Take a name, or the first like it that is free."""
        if not deduplicate:
            return super().register(name)  # type: ignore[no-any-return]
        used, free = self._useset, name
        if name in used:  # the empty one always is
            number = self._basenamemap[name] + 1
            while (free := f"{name}.{number}") in used:
                number += 1
            self._basenamemap[name] = number
        used.add(free)
        return free


class PlainCall(ir.CallInstr):  # type: ignore[misc]
    """A call without attributes, as llvmlite makes it, but for comparing types that are one object.

    Raises
    ------
    TypeError
        If an argument is not of its parameter's type, or there are too few.
    """

    def __init__(self, block: ir.Block, function: Any, arguments: Sequence[ir.Value], name: str) -> None:
        signature = function.function_type
        for number, (argument, type_) in enumerate(zip(arguments, signature.args, strict=False), 1):
            if argument.type is not type_ and argument.type != type_:
                raise TypeError(f"Type of #{number} arg mismatch: {type_} != {argument.type}")
        if len(arguments) < len(signature.args):
            raise TypeError(f"{len(arguments)} arguments for {len(signature.args)} parameters")
        self.is_variadic: bool = signature.var_arg
        self.cconv = getattr(function, "calling_convention", None)
        self.tail = ""
        self.fastmath = FastMathFlags()
        self.attributes = CallInstrAttributes()
        self.arg_attributes: dict[int, Any] = {}
        fill(self, block, signature.return_type, "call", [function, *arguments], name)


class PacedBuilder(QuickBuilder):
    """Emits instructions, as its base class does, and lets the program run in between."""

    def __init__(self, block: ir.Block) -> None:
        super().__init__(block)
        names: Any = block.function.scope
        if type(names) is NameScope:
            names.__class__ = _Names

    def call(self, fn: Any, args: Sequence[ir.Value], name: str = "", **details: Any) -> ir.CallInstr:
        """Emit a call."""
        if details:
            return super().call(fn, args, name, **details)
        call = PlainCall(self.block, fn, args, name)
        self._insert(call)
        return call

    @contextmanager
    def if_then(self, pred: ir.Value, likely: bool | None = None) -> Iterator[ir.Block]:
        """Emit what is only done under a condition; blocks are not named after all those they lie in."""
        inside, after = self.append_basic_block("if"), self.append_basic_block("endif")
        self._branch(pred, inside, after, likely)
        self.position_at_end(inside)
        yield after
        if not self.block.is_terminated:
            self.branch(after)
        self.position_at_end(after)

    @contextmanager
    def if_else(
        self, pred: ir.Value, likely: bool | None = None
    ) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Emit what is done under a condition, and what is done without."""
        inside, other = self.append_basic_block("if"), self.append_basic_block("else")
        after = self.append_basic_block("endif")
        self._branch(pred, inside, other, likely)
        yield self._inside(inside, after), self._inside(other, after)
        self.position_at_end(after)

    def _branch(self, condition: ir.Value, then: ir.Block, otherwise: ir.Block, likely: bool | None) -> None:
        branch = self.cbranch(condition, then, otherwise)
        if likely is not None:
            branch.set_weights([99, 1] if likely else [1, 99])

    @contextmanager
    def _inside(self, block: ir.Block, after: ir.Block) -> Iterator[None]:
        self.position_at_end(block)
        yield
        if not self.block.is_terminated:
            self.branch(after)

    def _insert(self, instruction: ir.Instruction) -> None:
        pause()
        if self.debug_metadata is not None:
            super()._insert(instruction)
            return
        self._block.instructions.insert(self._anchor, instruction)
        self._anchor += 1
