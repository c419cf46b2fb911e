"""From the text of a module to object code.

Owns the optimisation pipeline and the threads that compile the parts of a module side by side. Invariants: the code
depends on the text and the level alone, not on how many threads make it; each part has an LLVM context to itself, so
threads share nothing of LLVM's; a context outlives its module, whatever order garbage is collected in.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from ctypes import string_at
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from janusjit.backend.llvm.module_parts import Part
from janusjit.errors import CompileError
from janusjit.pacing import aside, is_paced

#: the contexts of modules that are not closed yet
_CONTEXTS: dict[int, Any] = {}


@dataclass(frozen=True)
class CompileTimes:
    """Seconds spent parsing, optimising and generating machine code, of all threads; all zero if that was on disk."""

    parse: float = 0.0
    optimize: float = 0.0
    generate: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.parse + self.optimize + self.generate


class TargetMachines:
    """Target machines, each of which one thread uses at a time, and others after it.

    Parameters
    ----------
    create : callable
        Makes one for an optimisation level. With what it knows of the processor once it has made code, that takes as
        long as the code of twenty instructions.
    """

    def __init__(self, create: Callable[[int], Any]) -> None:
        self._create = create
        self._idle: dict[int, list[Any]] = {}

    def take(self, level: int) -> Any:
        """Return one that no other thread uses."""
        idle = self._idle.get(level)
        try:
            return idle.pop() if idle else self._create(level)
        except IndexError:  # another thread has taken it
            return self._create(level)

    def give_back(self, level: int, machine: Any) -> None:
        """Let others use one that was taken."""
        self._idle.setdefault(level, []).append(machine)


class PartCompiler:
    """Compiles one part of a module.

    Parameters
    ----------
    part : Part
        The part.
    level : int
        Optimisation level, 0 to 3, unless the part is cold.
    machines : TargetMachines
        Where it takes one from as long as it needs one: from `optimize` to `object_code`.

    Raises
    ------
    CompileError
        If LLVM's parser or verifier refuses the part.
    """

    def __init__(self, part: Part, level: int, machines: TargetMachines) -> None:
        self._level = 0 if part.is_cold else level
        self._is_handwritten = part.is_handwritten
        self._machines = machines
        self._machine: Any = None
        self._seconds = [0.0, 0.0, 0.0]
        self._context = llvm.create_context()
        started = time.perf_counter()
        try:
            self.module = llvm.parse_assembly(part.text, self._context)
            _CONTEXTS[id(self._context)] = self._context
            self.module.verify()
        except RuntimeError as error:
            raise CompileError("backend.llvm", f"LLVM refuses a module: {error}") from error
        self._seconds[0] = time.perf_counter() - started

    def close(self) -> None:
        """Let go of the module, and then of its context. Nothing else may be asked for afterwards."""
        self._let_go_of_machine()
        self.module.close()
        _CONTEXTS.pop(id(self._context), None)

    def _let_go_of_machine(self) -> None:
        if self._machine is not None:
            self._machines.give_back(self._level, self._machine)
            self._machine = None

    @property
    def times(self) -> CompileTimes:
        """Where the time has gone so far."""
        return CompileTimes(*self._seconds)

    def optimize(self) -> None:
        """Run the passes: none but what must be over vector code, which they have been seen to make slower."""
        started = time.perf_counter()
        self._machine = self._machines.take(self._level)
        options = llvm.create_pipeline_tuning_options(speed_level=0 if self._is_handwritten else self._level)
        optimized = self._level >= 2 and not self._is_handwritten
        options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = optimized
        options.loop_unrolling = self._level >= 1 and not self._is_handwritten
        builder = llvm.create_pass_builder(self._machine, options)
        passes = builder.getModulePassManager()
        _unlocked("LLVMPY_RunNewModulePassManager")(passes, self.module, builder)
        self._seconds[1] = time.perf_counter() - started

    def object_code(self) -> bytes:
        """Return the object code, after `optimize`; nothing but `close` may follow."""
        started = time.perf_counter()
        with ffi.OutputString() as error:
            buffer = _unlocked("LLVMPY_TargetMachineEmitToMemory")(self._machine, self.module, 1, error)
            if not buffer:
                raise CompileError("backend.llvm", f"LLVM makes no code of a module: {error}")
        try:
            code = string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)
        self._let_go_of_machine()
        self._seconds[2] = time.perf_counter() - started
        return code

    def assembly(self) -> str:
        """Return the machine code as text, after `optimize`."""
        return str(self._machine.emit_assembly(self.module))


def _unlocked(name: str) -> Callable[..., Any]:
    """Return a function of LLVM's without llvmlite's lock around it, if that can be had.

    The lock lets one thread of the process compile at a time. It is there for modules in one context, and ours are not.
    """
    function = getattr(ffi.lib, name)
    return getattr(function, "_cfn", function)  # type: ignore[no-any-return]


def object_codes(compilers: Sequence[PartCompiler]) -> list[bytes]:
    """Compile parts on several threads side by side, beside the program on nice ones; return their codes, in order."""
    threads = _thread_count(len(compilers))
    return aside(lambda: _object_codes(compilers, threads))


def _object_codes(compilers: Sequence[PartCompiler], threads: int) -> list[bytes]:
    codes = [b""] * len(compilers)
    failures: list[BaseException] = []
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(compilers)):
        pending.put(number)

    def work() -> None:
        while not failures:
            try:
                number = pending.get_nowait()
            except queue.Empty:
                return
            try:
                compilers[number].optimize()
                codes[number] = compilers[number].object_code()
            except BaseException as failure:  # noqa: BLE001 - raised below, in the caller's thread
                failures.append(failure)

    helpers = [threading.Thread(target=work, name="janusjit-llvm") for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return codes


def _thread_count(parts: int) -> int:
    """Return how many threads are to compile: all processors if the program waits, else one of two."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(parts, processors // 2 if is_paced() else processors))


def packed(codes: Sequence[bytes]) -> bytes:
    """Return object codes as one piece."""
    return b"".join(len(code).to_bytes(8, "little") + code for code in codes)


def unpacked(content: bytes) -> list[bytes]:
    """Return the object codes `packed` was given."""
    codes, position = [], 0
    while position < len(content):
        size = int.from_bytes(content[position : position + 8], "little")
        codes.append(content[position + 8 : position + 8 + size])
        position += 8 + size
    return codes
