"""The callable made of an entry function.

Owns `Compiled` and `link`. Invariant: the entry is a CPython builtin whose ``self`` owns its machine code and
every Python object the code refers to, so the code lives exactly as long as anybody can be inside it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from janusjit.backend.kernels import Kernel, KernelTimes, PlanNotes
from janusjit.backend.llvm import clock, engine, threads
from janusjit.backend.llvm.entry import EntryEmitter
from janusjit.backend.llvm.entry_frame import STATUS_BLOCK, Status
from janusjit.backend.llvm.module_text import take_apart
from janusjit.backend.llvm.python_api import OBJECT_TABLE, fill_table
from janusjit.backend.llvm.python_api_layout import METH_FASTCALL, MethodDefinition
from janusjit.backend.llvm.python_api_shared import load_shared
from janusjit.backend.llvm.stopwatch import TIMES, read
from janusjit.backend.llvm.workspace import limit_kept
from janusjit.config import current
from janusjit.ir.graph import Graph

ENTRY = "entry"


class DeoptimizedType:
    """The type of `Compiled.DEOPTIMIZED`."""

    def __repr__(self) -> str:
        return "<deoptimized>"


_new_builtin = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


@dataclass
class _Payload:
    """What the machine code needs to stay alive: the builtin's ``self``."""

    module: engine.LoadedModule
    objects: list[Any]
    definition: MethodDefinition = field(default_factory=MethodDefinition)


@dataclass
class Compiled:
    """A graph compiled to native code.

    Attributes
    ----------
    entry : callable
        A builtin that takes all of the graph's parameters positionally and returns the result or `DEOPTIMIZED`.
    status : Status
        Counters in the memory the code writes. Valid as long as this object or ``entry`` lives.
    plan : str
        How the graph was cut into kernels and library calls, in words.
    kernels : tuple of Kernel
        The kernels and library calls, and what they are expected to take.
    compile_seconds : float
        Time from the graph to the callable.
    """

    DEOPTIMIZED: ClassVar[DeoptimizedType] = DeoptimizedType()

    entry: Callable[..., Any]
    status: Status
    plan: str
    kernels: tuple[Kernel, ...]
    compile_seconds: float
    _payload: _Payload
    _times: int | None = None

    @property
    def times(self) -> list[KernelTimes]:
        """What the kernels took so far, in their order; empty unless the code measures them."""
        return [] if self._times is None else read(self._times, [kernel.step for kernel in self.kernels])

    @property
    def code(self) -> engine.LoadedModule:
        """The machine code."""
        return self._payload.module

    @property
    def objects(self) -> list[Any]:
        """What the object table of the code holds."""
        return self._payload.objects

    @property
    def llvm_ir(self) -> str:
        """The optimised LLVM IR. Made on demand."""
        return self._payload.module.llvm_ir

    @property
    def asm(self) -> str:
        """The machine code as assembly text. Made on demand."""
        return self._payload.module.assembly


def link(emitter: EntryEmitter, plan: PlanNotes, started: float) -> Compiled:
    """Compile the module of a finished entry function and make its callable.

    Parameters
    ----------
    emitter : EntryEmitter
        The emitter, after `EntryEmitter.finish`; its module is taken apart.
    plan : PlanNotes
        What there is to say of the plan.
    started : float
        ``time.perf_counter()`` when compilation began.
    """
    module = emitter.api.module
    load_shared(module.globals)
    loaded = engine.load(module)
    take_apart(module)
    return link_loaded(emitter.graph, loaded, emitter.api.objects, plan, started)


def link_loaded(
    graph: Graph, loaded: engine.LoadedModule, objects: list[Any], plan: PlanNotes, started: float
) -> Compiled:
    """Make the callable of an entry function's loaded module, whose object table is to hold ``objects``."""
    limit_kept(current().kept_memory)
    threads.prepare(tuple(loaded.externals))
    payload = _Payload(loaded, objects)
    fill_table(loaded.global_address(OBJECT_TABLE), objects)
    entry = _make_builtin(graph.name, payload)
    status = Status.from_address(loaded.global_address(STATUS_BLOCK))
    times = loaded.global_address(TIMES) if graph.measured and clock.is_there() else None
    return Compiled(entry, status, plan.text, plan.kernels, time.perf_counter() - started, payload, times)


def _make_builtin(name: str, payload: _Payload) -> Callable[..., Any]:
    definition = payload.definition
    definition.name = name.encode()
    definition.function = payload.module.function_address(ENTRY)
    definition.flags = METH_FASTCALL
    builtin: Callable[..., Any] = _new_builtin(ctypes.addressof(definition), payload, None)
    return builtin
