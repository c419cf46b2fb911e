"""The LLVM engine: from a module to machine code in this process.

Owns the target machine, the registration of symbols and the lifetime of code. Invariant: a `LoadedModule` owns its
machine code; the code is unmapped when the last reference to the `LoadedModule` goes, so whoever hands out an address
keeps a reference beside it.
"""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from functools import partial

import llvmlite.binding as llvm
from llvmlite import ir

from janusjit.backend.llvm import engine_cache
from janusjit.backend.llvm.machine_code import (
    CompileTimes,
    PartCompiler,
    TargetMachines,
    object_codes,
    packed,
    unpacked,
)
from janusjit.backend.llvm.module_parts import parts_of
from janusjit.backend.llvm.module_text import text_of
from janusjit.errors import CompileError
from janusjit.pacing import aside, pause

_LOCK = threading.Lock()
_SYMBOLS: dict[str, int] = {}

#: LLVM's own choice for most AVX-512 machines is 256-bit vectors; janusjit's kernels are long enough to gain from 512.
PREFER_256_BIT_VECTORS = False


@functools.cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # making an engine makes the symbols of the process, the C library's among them, known to LLVM
    llvm.create_mcjit_compiler(llvm.parse_assembly(""), llvm.Target.from_default_triple().create_target_machine())


@functools.cache
def host_target() -> tuple[str, str, str]:
    """Return triple, CPU name and feature string that code is generated for: this machine's."""
    _initialize()
    features = llvm.get_host_cpu_features()
    features["prefer-256-bit"] = PREFER_256_BIT_VECTORS
    on_x86 = llvm.get_process_triple().startswith(("x86_64", "i686", "amd64"))
    if not on_x86:
        del features["prefer-256-bit"]
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features.flatten()


@functools.cache
def vector_bytes() -> int:
    """Return the width of the vectors LLVM will use on this machine, in bytes."""
    _, _, features = host_target()
    enabled = {name[1:] for name in features.split(",") if name.startswith("+")}
    if "avx512f" in enabled:
        return 32 if PREFER_256_BIT_VECTORS else 64
    return 32 if "avx" in enabled else 16


@functools.cache
def has_many_vector_registers() -> bool:
    """Return whether there are 32 vector registers, as with AVX-512 and on ARM, and not 16."""
    return vector_bytes() == 64 or "aarch64" in host_target()[0] or "arm64" in host_target()[0]


@functools.cache
def has_masked_lanes() -> bool:
    """Return whether loads and stores of vectors can leave out lanes, of elements of any size: with AVX-512."""
    enabled = set(host_target()[2].split(","))
    return vector_bytes() == 64 and {"+avx512bw", "+avx512dq", "+avx512vl"} <= enabled


@functools.cache
def has_vector_scaling() -> bool:
    """Return whether loops that multiply by a power of two by ``llvm.ldexp`` become one instruction a vector.

    The instruction is AVX-512's. LLVM 20 leaves such loops to scalars, which are ten times slower; 22 does not.
    """
    return vector_bytes() == 64 and llvm.llvm_version_info[0] >= 22


@functools.cache
def truncates_to_least() -> bool:
    """Return whether the processor makes the least integer of floats that are no integer of the type, as x86's does."""
    return platform.machine() in ("x86_64", "AMD64")


def create_target_machine(level: int = 2) -> llvm.TargetMachine:
    """Return a new target machine for this host; an execution engine takes ownership of the one it is given."""
    triple, cpu, features = host_target()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=level, jit=True)


#: those that compile modules
MACHINES = TargetMachines(lambda level: create_target_machine(level))  # looked up when it is called


@functools.cache
def data_layout() -> str:
    """Return the data layout string of the host."""
    machine = MACHINES.take(2)
    try:
        return str(machine.target_data)
    finally:
        MACHINES.give_back(2, machine)


def create_module(name: str) -> ir.Module:
    """Return an empty module for the host."""
    module = ir.Module(name)
    module.triple = host_target()[0]
    module.data_layout = data_layout()
    return module


def register_symbol(name: str, address: int) -> None:
    """Make ``name`` resolve to ``address`` in modules loaded from now on.

    Raises
    ------
    ValueError
        If the name already stands for another address, or the address is null.
    """
    pause()
    if not address:
        raise ValueError(f"symbol {name} has no address")
    with _LOCK:
        known = _SYMBOLS.setdefault(name, address)
        if known != address:
            raise ValueError(f"symbol {name} is {known:#x} already, not {address:#x}")
        llvm.add_symbol(name, address)


def is_registered(name: str) -> bool:
    """Return whether `register_symbol` was called for a name."""
    return name in _SYMBOLS


def is_defined(name: str) -> bool:
    """Return whether code that calls a function of this name can be loaded."""
    _initialize()
    return bool(llvm.address_of_symbol(name))


@dataclass
class LoadedModule:
    """Machine code in memory, and the text it was made from.

    Attributes
    ----------
    name : str
        What the object code is filed under.
    externals : tuple of str
        The functions it calls that are defined elsewhere.
    level : int
        Optimisation level, 0 to 3.
    times : CompileTimes
        Where compile time went.
    """

    name: str
    externals: tuple[str, ...]
    level: int
    times: CompileTimes
    _source: Callable[[], str]
    _engine: llvm.ExecutionEngine
    _texts: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The textual LLVM IR before optimisation."""
        if "source" not in self._texts:
            self._texts["source"] = self._source()
        return self._texts["source"]

    def function_address(self, name: str) -> int:
        """Return the address of a function; it is valid as long as this object lives."""
        address: int = self._engine.get_function_address(name)
        return address

    def global_address(self, name: str) -> int:
        """Return the address of a global variable; it is valid as long as this object lives."""
        address: int = self._engine.get_global_value_address(name)
        return address

    @property
    def llvm_ir(self) -> str:
        """The optimised IR. Made on demand, from the source and the same pipeline."""
        if "ir" not in self._texts:
            self._texts["ir"] = self._of_optimized(lambda compiler: str(compiler.module))
        return self._texts["ir"]

    @property
    def assembly(self) -> str:
        """The machine code as assembly text. Made on demand."""
        if "assembly" not in self._texts:
            self._texts["assembly"] = self._of_optimized(PartCompiler.assembly)
        return self._texts["assembly"]

    def _of_optimized(self, describe: Callable[[PartCompiler], str]) -> str:
        with _compilers(self.source, self.level) as compilers:
            for compiler in compilers:
                compiler.optimize()
            return "\n".join(map(describe, compilers))


def load(source: ir.Module | str, level: int = 2) -> LoadedModule:
    """Compile a module to machine code, unless that is on disk already, and load it.

    Parameters
    ----------
    source : llvmlite.ir.Module or str
        The module, or its text.
    level : int
        Optimisation level, 0 to 3.

    Raises
    ------
    CompileError
        If LLVM's parser or verifier refuses the module, or it calls a function nobody defines.
    """
    _initialize()
    text = source if isinstance(source, str) else text_of(source)
    name = engine_cache.key(text, host_target(), level)
    code = engine_cache.read(name)
    times = CompileTimes()
    externals: tuple[str, ...] = ()
    if isinstance(source, ir.Module):
        externals = tuple(f.name for f in source.functions if f.is_declaration and not f.name.startswith("llvm."))
    if code is None:
        _require_symbols(externals)
        with _compilers(text, level) as compilers:
            if isinstance(source, str):
                _require_symbols(_undefined([compiler.module for compiler in compilers]))
            code = packed(object_codes(compilers))
            times = CompileTimes(*(sum(parts) for parts in zip(*(astuple(c.times) for c in compilers), strict=True)))
        engine_cache.write(name, code)
    object_code = code
    return LoadedModule(name, externals, level, times, lambda: text, aside(lambda: _engine_of(object_code)))


def load_filed(name: str, externals: Sequence[str], source: Callable[[], str], level: int = 2) -> LoadedModule | None:
    """Load object code that another process has filed; None if it is no longer there, or calls what is not here.

    Parameters
    ----------
    name : str
        What it is filed under.
    externals : sequence of str
        The functions it calls that are defined elsewhere.
    source : callable
        Returns its textual LLVM IR, for those who want to see it.
    level : int
        The optimisation level it was compiled at.
    """
    _initialize()
    if not all(map(llvm.address_of_symbol, externals)):
        return None
    code = engine_cache.read(name)
    if code is None:
        return None
    engine = aside(lambda: _engine_of(code))
    return LoadedModule(name, tuple(externals), level, CompileTimes(), source, engine)


def _engine_of(code: bytes) -> llvm.ExecutionEngine:
    """Return an engine that has loaded object code."""
    target = llvm.Target.from_triple(host_target()[0])
    # it generates nothing, so it need not know the processor's features, whose names take time to look up; nor need it
    # have the module it is made for, of which it would make code, with all that takes before the first function
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, target.create_target_machine(jit=True))
    engine.remove_module(empty)
    for part in unpacked(code):
        engine.add_object_file(llvm.ObjectFileRef.from_data(part))
    engine.finalize_object()
    return engine


@contextmanager
def _compilers(text: str, level: int) -> Iterator[list[PartCompiler]]:
    """Hand out what compiles the parts of a module, in order, for a ``with`` block."""
    _initialize()
    compilers: list[PartCompiler] = []
    try:
        for part in parts_of(text):
            compilers.append(aside(partial(PartCompiler, part, level, MACHINES)))
        yield compilers
    finally:
        aside(partial(_close, compilers))


def _close(compilers: Sequence[PartCompiler]) -> None:
    for compiler in compilers:
        compiler.close()


def _undefined(modules: Sequence[llvm.ModuleRef]) -> set[str]:
    """Return the functions that the parts of a module call, and that none of them defines."""
    defined: set[str] = set()
    named: set[str] = set()
    for module in modules:
        for function in module.functions:
            pause()
            (named if function.is_declaration else defined).add(function.name)
    return {name for name in named - defined if not name.startswith("llvm.")}


def _require_symbols(names: Iterable[str]) -> None:
    """Raise for a symbol nobody defines: the execution engine would end the process."""
    for name in names:
        if not llvm.address_of_symbol(name):
            raise CompileError("backend.symbol", f"a module calls {name}, which is not defined anywhere")
