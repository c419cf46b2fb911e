"""Functions that all compiled code in the process shares.

Owns `SharedFunction` and the compilation of those that code calls: the hot ones together, and the others.
Invariant: a function is compiled once in a process, before the first code that may call it is loaded, and never
unloaded; so a specialization compiles only what is its own, and a process what its specializations call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.module_text import take_apart
from janusjit.backend.llvm.python_api import OBJECT_TABLE, PythonApi, fill_table
from janusjit.pacing import pause

Emit = Callable[[PythonApi, ir.Function], None]

_LOCK = threading.Lock()
_ALL: dict[str, SharedFunction] = {}
_PENDING: list[SharedFunction] = []
_LOADED: list[tuple[engine.LoadedModule, list[Any]]] = []  # code, and the Python objects it refers to


_HOMES: dict[str, engine.LoadedModule] = {}


@dataclass(frozen=True)
class SharedFunction:
    """A function of the library.

    Attributes
    ----------
    name : str
        Its name; the symbol is prefixed.
    type_ : llvmlite.ir.FunctionType
        Its prototype.
    emit : callable
        Emits its body into an empty function.
    is_hot : bool
        Whether it goes over data, or is called so often that its instructions are to be chosen well; such a function is
        compiled when the first code calls it, and has copies of the shared functions it calls, which must have no
        variables. Optimising them as well takes longer, and has gained nothing.
    library : str
        Functions that are of one have variables in common, and are compiled together.
    """

    name: str
    type_: ir.FunctionType
    emit: Emit
    is_hot: bool = False
    library: str = ""

    @property
    def symbol(self) -> str:
        """The symbol the function is loaded under."""
        pause()
        return f"{HANDWRITTEN if self.is_hot else 'janusjit_'}shared_{self.name}"

    def __call__(self, api: PythonApi, builder: ir.IRBuilder, *arguments: ir.Value) -> ir.Value:
        """Emit a call of the function."""
        return builder.call(self.declare(api.module), arguments)

    def declare(self, module: ir.Module) -> ir.Function:
        """Return the module's declaration of the function."""
        known = module.globals.get(self.symbol)
        if known is None:
            known = ir.Function(module, self.type_, self.symbol)
            known.attributes.add("nounwind")
        return known


def shared(
    result: ir.Type, *parameters: ir.Type, is_hot: bool = False, library: str = ""
) -> Callable[[Emit], SharedFunction]:
    """Declare the decorated emitter as the body of a shared function of that prototype, named after it."""

    def declare(emit: Emit) -> SharedFunction:
        type_ = ir.FunctionType(result, parameters)
        function = SharedFunction(emit.__name__.strip("_"), type_, emit, is_hot, library)
        _PENDING.append(function)
        _ALL[function.symbol] = function
        return function

    return declare


def load_shared(symbols: Collection[str] | None = None) -> None:
    """Compile the shared functions that code may call, as far as that has not been done: before the code is loaded.

    Parameters
    ----------
    symbols : collection of str, optional
        What the code calls; all there are when not given.
    """
    with _LOCK:
        wanted = [f for f in _PENDING if symbols is None or f.symbol in symbols]
        _load([f for f in wanted if f.is_hot])
        _load([f for f in wanted if not f.is_hot])


def _load(functions: list[SharedFunction]) -> None:
    """Compile functions together; if they are not hot, with others that they call or have variables in common with."""
    if not functions:
        return
    module = engine.create_module(functions[0].symbol)
    api = PythonApi(module)
    done: list[SharedFunction] = []
    while functions:
        for function in functions:
            _emit_body(api, function)
        done += functions
        functions = [] if done[0].is_hot else _needed(api, done)
    if done[0].is_hot:
        _emit_callees(api)
    api.finish_table()
    loaded = engine.load(module)
    take_apart(module)
    for function in done:
        engine.register_symbol(function.symbol, loaded.function_address(function.symbol))
        _HOMES[function.symbol] = loaded
        _PENDING.remove(function)
    fill_table(loaded.global_address(OBJECT_TABLE), api.objects)
    _LOADED.append((loaded, api.objects))


def _emit_body(api: PythonApi, function: SharedFunction) -> None:
    declared = function.declare(api.module)
    if not function.is_hot:
        declared.attributes.add("noinline")
        declared.attributes.add("optnone")
    function.emit(api, declared)


def _needed(api: PythonApi, done: list[SharedFunction]) -> list[SharedFunction]:
    """Return the functions that have to be where those are that are ``done``; load hot ones that they call."""
    libraries = {function.library for function in done} - {""}
    pending = [function for function in _PENDING if function not in done]
    called = [function for function in pending if function.symbol in api.module.globals]
    _load([function for function in called if function.is_hot])
    return [f for f in pending if not f.is_hot and (f in called or f.library in libraries)]


def _emit_callees(api: PythonApi) -> None:
    """Emit copies of the shared functions that a module calls, for LLVM to inline."""
    called = [symbol for symbol, value in api.module.globals.items() if symbol in _ALL and value.is_declaration]
    for symbol in called:
        copy = api.module.globals[symbol]
        copy.linkage = "internal"
        copy.attributes.add("alwaysinline")
        _ALL[symbol].emit(api, copy)


def is_loaded(function: SharedFunction) -> bool:
    """Return whether a shared function has been compiled and loaded."""
    return function.symbol in _HOMES


def shared_address(function: SharedFunction, variable: str | None = None) -> int:
    """Return the address of a shared function that has been loaded, or of a variable beside it."""
    home = _HOMES[function.symbol]
    return home.function_address(function.symbol) if variable is None else home.global_address(variable)
