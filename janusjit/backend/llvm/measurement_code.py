"""The kernels by which a machine is measured.

Owns `emit_module`. Invariant: a kernel takes the address of its arguments, eight bytes each, and does one thing; the
driver times whole runs of it inside compiled code, so no interpreter is in the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.llvm import clock, engine, threads
from janusjit.backend.llvm.blas_library import blas_routine
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.gemm_kernels import emit_tiles
from janusjit.backend.llvm.gemm_tiling import Machine, Tiling, choose
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE, WAKE_WORK
from janusjit.backend.llvm.values import (
    I64,
    POINTER,
    VOID,
    KernelContext,
    PythonEmitter,
    Scalar,
    item_size,
    load,
    memory_type,
    store,
)

RUN, ARITHMETIC, FUNCTIONS, TRANSFER, TILES = "run", "arithmetic", "functions", "transfer", "tiles"
ALONE, DIVIDED = "alone", "divided"
#: additions and multiplications of an element: enough that they take longer than loading and storing it
_CHAIN = 24
#: the job by which dispatching is measured: its rows, and the steps of a row, each of which waits for the one before
JOB_ROWS, JOB_STEPS = 8, 2_000


@dataclass(frozen=True)
class Tile:
    """A product of doubles in registers, of a size at which it is typical."""

    rows: int
    columns: int
    depth: int

    @property
    def tiling(self) -> Tiling:
        """How it is cut."""
        return choose(self.rows, self.columns, "f64", Machine.host(), self.depth)

    @property
    def cycles(self) -> float:
        """The estimate for all of it."""
        return self.tiling.cycles * self.depth


TILE = Tile(28, 128, 128)


def arithmetic_units() -> int:
    """Return what the kernel of arithmetic costs an element."""
    return _CHAIN


def function_units() -> int:
    """Return what the kernel of functions costs an element."""
    return cost.operation_cost("exp")


class _Alone:
    """What kernels ask of an entry function, where there is none: they refer to no Python object."""

    checks_flags = False


def emit_module(with_threads: bool) -> ir.Module:
    """Return the module of all kernels, and of the driver `RUN`.

    ``RUN(kernel, arguments, turns, runs)`` returns the nanoseconds of the quickest of ``runs`` runs of ``turns`` turns.
    """
    module = engine.create_module("measurement")
    _emit_run(module)
    _emit_tiles(module)
    _emit_elements(module, ARITHMETIC, _arithmetic)
    _emit_elements(module, FUNCTIONS, lambda emitter, x: emitter.call("exp", x))
    _emit_elements(module, TRANSFER, lambda emitter, x: emitter.add(x, emitter.constant(1.0, "f64")))
    for dtype in ("f32", "f64"):
        _emit_library(module, dtype)
    if with_threads and threads.are_supported():
        _emit_jobs(module)
    return module


def _arithmetic(emitter: LLVMScalarEmitter, x: Scalar) -> Scalar:
    half, one = emitter.constant(0.5, "f64"), emitter.constant(1.0, "f64")
    for _ in range(_CHAIN // 2):
        x = emitter.add(emitter.mul(x, half), one)
    return x


def _kernel(module: ir.Module, name: str) -> KernelContext:
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER]), name)
    return KernelContext(function, cast(PythonEmitter, _Alone()))


def _argument(context: KernelContext, number: int, type_: ir.Type = POINTER) -> ir.Value:
    place = context.builder.gep(context.function.args[0], [ir.Constant(I64, number)], source_etype=I64)
    return context.builder.load(place, typ=type_)


def _emit_run(module: ir.Module) -> None:
    function = ir.Function(module, ir.FunctionType(I64, [POINTER, POINTER, I64, I64]), RUN)
    context = KernelContext(function, cast(PythonEmitter, _Alone()))
    kernel, arguments, turns, runs = function.args
    builder = context.builder
    least = context.stack_slot(I64)
    builder.store(ir.Constant(I64, (1 << 63) - 1), least)
    typed = builder.inttoptr(builder.ptrtoint(kernel, I64), ir.FunctionType(VOID, [POINTER]).as_pointer())
    with context.loop(runs):
        before = clock.emit_now(builder)
        with context.loop(turns):
            builder.call(typed, [arguments])
        taken = builder.sub(clock.emit_now(builder), before)
        known = builder.load(least, typ=I64)
        builder.store(builder.select(builder.icmp_signed("<", taken, known), taken, known), least)
    context.finish_with(builder.load(least, typ=I64))


def _emit_tiles(module: ir.Module) -> None:
    context = _kernel(module, TILES)
    shapes = ((TILE.rows, TILE.depth), (TILE.depth, TILE.columns), (TILE.rows, TILE.columns))
    size = item_size("f64")
    a, b, out = (
        Matrix("f64", _argument(context, number), rows, columns, columns * size, size)
        for number, (rows, columns) in enumerate(shapes)
    )
    emit_tiles(context, a, b, out, TILE.tiling)
    context.finish()


def _emit_elements(module: ir.Module, name: str, rule: Callable[[Any, Scalar], Scalar]) -> None:
    """Emit ``out[i] = rule(x[i])`` for doubles; the arguments are x, out, and how many there are."""
    context = _kernel(module, name)
    x, out, count = _argument(context, 0), _argument(context, 1), _argument(context, 2, I64)
    with context.loop(count, interleaved=True) as index:
        builder = context.builder
        source, target = (builder.gep(p, [index], source_etype=memory_type("f64")) for p in (x, out))
        store(builder, rule(LLVMScalarEmitter(builder), load(builder, "f64", source)), target)
    context.finish()


def _emit_library(module: ir.Module, dtype: str) -> None:
    """Emit a call of the library's product with the arguments as they are."""
    routine = blas_routine(module, "gemm", dtype)
    if routine is not None:
        context = _kernel(module, f"library.{dtype}")
        count = len(routine.function_type.args)
        context.builder.call(routine, [_argument(context, number) for number in range(count)])
        context.finish()


def _emit_jobs(module: ir.Module) -> None:
    """Emit a job that its caller does alone, and one that two threads do, with room for `JOB_ROWS` doubles."""
    task = ir.Function(module, TASK_TYPE, "chain")
    task.linkage = "internal"
    task.attributes.add("noinline")
    inner = KernelContext(task, cast(PythonEmitter, _Alone()))
    arguments, _, start, end = task.args
    builder = inner.builder
    slot = inner.stack_slot(memory_type("f64"))
    value: ir.Value = ir.Constant(memory_type("f64"), 1.0)
    builder.store(value, slot)
    with inner.loop(builder.mul(builder.sub(end, start), ir.Constant(I64, JOB_STEPS))):
        moved = builder.fmul(builder.load(slot, typ=value.type), ir.Constant(value.type, 0.999))
        builder.store(builder.fadd(moved, value), slot)
    # where nobody could see the result, the compiler would leave out the work
    results = builder.load(arguments, typ=POINTER)
    builder.store(builder.load(slot, typ=value.type), builder.gep(results, [start], source_etype=value.type))
    inner.finish()
    numbers = [ir.Constant(I64, number) for number in (0, 0, JOB_ROWS)]
    context = _kernel(module, ALONE)
    context.builder.call(task, [context.function.args[0], *numbers])
    context.finish()
    context = _kernel(module, DIVIDED)
    numbers = [ir.Constant(I64, number) for number in (JOB_ROWS, 1, 2, WAKE_WORK)]
    context.builder.call(threads.parallel_for(module), [task, context.function.args[0], *numbers])
    context.finish()
