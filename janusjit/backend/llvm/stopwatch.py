"""The timing of a plan's steps by the code itself.

Owns `Stopwatch`. Invariant: without ``Graph.measured`` nothing is emitted; with it, the code computes what it computes
otherwise, and beside that adds up how long each step took, in memory of its own module.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from janusjit.backend.kernels import KernelTimes
from janusjit.backend.llvm import clock
from janusjit.backend.llvm.python_api import opaque
from janusjit.backend.llvm.values import I64
from janusjit.backend.plan import Plan, Step

TIMES = "times"
#: words for each step: how often it ran, and nanoseconds of all runs and of the quickest
_WORDS = 3


class Stopwatch:
    """Emits the timing of steps into a graph's entry function.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        That of the entry function.
    plan : Plan
        The steps.
    """

    def __init__(self, builder: ir.IRBuilder, plan: Plan) -> None:
        self._builder = builder
        self._base: ir.Value | None = None
        if plan.graph.measured and clock.is_there():
            words = _WORDS * (1 + max((step.time for step in plan.walk()), default=0))
            times = ir.GlobalVariable(builder.module, ir.ArrayType(I64, words), TIMES)
            times.initializer = ir.Constant(times.value_type, None)
            self._base = opaque(times)

    @contextmanager
    def timing(self, step: Step, is_work: bool) -> Iterator[None]:
        """Time what the ``with`` body emits, if the step ``is_work``."""
        if self._base is None or not is_work:
            yield
            return
        builder = self._builder
        started = clock.emit_now(builder)
        yield
        if builder.block.is_terminated:
            return
        taken = builder.sub(clock.emit_now(builder), started)
        count, total, least = (self._word(step, number) for number in range(_WORDS))
        known = builder.load(least, typ=I64)
        runs = builder.load(count, typ=I64)
        is_less = builder.or_(
            builder.icmp_signed("==", runs, ir.Constant(I64, 0)), builder.icmp_signed("<", taken, known)
        )
        builder.store(builder.select(is_less, taken, known), least)
        builder.store(builder.add(runs, ir.Constant(I64, 1)), count)
        builder.store(builder.add(builder.load(total, typ=I64), taken), total)

    def _word(self, step: Step, number: int) -> ir.Value:
        place = ir.Constant(I64, _WORDS * step.time + number)
        return self._builder.gep(self._base, [place], source_etype=I64)


def read(address: int, steps: Sequence[int]) -> list[KernelTimes]:
    """Return what steps took, from the memory at the address of `TIMES`."""
    words = (ctypes.c_int64 * (_WORDS * (1 + max(steps, default=0)))).from_address(address)
    return [KernelTimes(*words[_WORDS * step : _WORDS * step + _WORDS]) for step in steps]
