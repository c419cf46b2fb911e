"""A task for the thread pool that counts how often each row is done, for tests."""

from __future__ import annotations

import ctypes

from llvmlite import ir

from janusjit.backend.llvm import engine, process_code, threads
from janusjit.backend.llvm.thread_pool_state import PARALLEL_FOR, TASK_TYPE
from janusjit.backend.llvm.values import I64

#: the words of a context: rows done by workers, additions before each row, whether to ask for threads, then the counts
_HELPED, _SPIN, _NESTED, _COUNTS = 0, 1, 2, 3


class CountingTask:
    """A compiled task; `run` may be called by several threads at once."""

    def __init__(self) -> None:
        module = engine.create_module("counting")
        inner = self._emit(module, "inner", None)
        self._emit(module, "outer", inner)
        self._code = engine.load(module)
        threads.prepare((PARALLEL_FOR,))
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 4)
        self._parallel_for = prototype(process_code.address(PARALLEL_FOR))  # without the interpreter's lock
        self.helpers = 0

    def run(
        self, rows: int, chunk: int, count: int, work: int = 1_000_000, spin: int = 0, nested: bool = False
    ) -> list[int]:
        """Run a job; return how often each row was done. Nested jobs do the rows five times more."""
        context = (ctypes.c_int64 * (_COUNTS + rows))(0, spin, nested)
        address = self._code.function_address("outer")
        self._parallel_for(address, ctypes.addressof(context), rows, chunk, count, work)
        self.helpers += context[_HELPED]
        return list(context[_COUNTS:])

    @staticmethod
    def _emit(module: ir.Module, name: str, inner: ir.Function | None) -> ir.Function:
        function = ir.Function(module, TASK_TYPE, name)
        context, number, start, end = function.args
        entry, head, body, after = (function.append_basic_block(part) for part in ("entry", "head", "body", "after"))
        ir.IRBuilder(entry).branch(head)
        builder = ir.IRBuilder(head)
        row = builder.phi(I64)
        row.add_incoming(start, entry)
        builder.cbranch(builder.icmp_signed("<", row, end), body, after)
        builder.position_at_end(body)

        def word(at: ir.Value) -> ir.Value:
            return builder.gep(context, [at], source_etype=I64)

        def constant(value: int) -> ir.Value:
            return ir.Constant(I64, value)

        if inner is not None:
            CountingTask._emit_spin(builder, function, builder.load(word(constant(_SPIN)), typ=I64))
            helped = builder.zext(builder.icmp_signed(">", number, constant(0)), I64)
            builder.atomic_rmw("add", word(constant(_HELPED)), helped, "seq_cst")
            asks = builder.icmp_signed("!=", builder.load(word(constant(_NESTED)), typ=I64), constant(0))
            with builder.if_then(asks):
                # rows of this one row's context: five jobs of one row each
                own = builder.gep(word(row), [constant(0)], source_etype=I64)
                for _ in range(5):
                    limits = [constant(1), constant(1), constant(3), constant(1_000_000)]
                    builder.call(threads.parallel_for(module), [inner, own, *limits])
        builder.atomic_rmw("add", word(builder.add(row, constant(_COUNTS))), constant(1), "seq_cst")
        row.add_incoming(builder.add(row, constant(1)), builder.block)
        builder.branch(head)
        ir.IRBuilder(after).ret_void()
        return function

    @staticmethod
    def _emit_spin(builder: ir.IRBuilder, function: ir.Function, turns: ir.Value) -> None:
        before, spin, after = builder.block, function.append_basic_block("spin"), function.append_basic_block("spun")
        builder.branch(spin)
        builder.position_at_end(spin)
        turn = builder.phi(I64)
        turn.add_incoming(ir.Constant(I64, 0), before)
        slow = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0", side_effect=True)
        following = builder.add(builder.call(slow, [turn]), ir.Constant(I64, 1))
        turn.add_incoming(following, spin)
        builder.cbranch(builder.icmp_signed("<", following, turns), spin, after)
        builder.position_at_end(after)



