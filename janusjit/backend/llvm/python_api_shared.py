"""Functions that all compiled code in the process shares.

Owns `SharedFunction` and the library they are compiled into. Invariant: the library is compiled once in a process, when
the first code that may call it is loaded, and never unloaded; so a specialization compiles only what is its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.python_api import OBJECT_TABLE, PythonApi, fill_table

Emit = Callable[[PythonApi, ir.Function], None]

_LOCK = threading.Lock()
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
    """

    name: str
    type_: ir.FunctionType
    emit: Emit

    @property
    def symbol(self) -> str:
        """The symbol the function is loaded under."""
        return f"janusjit_shared_{self.name}"

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


def shared(result: ir.Type, *parameters: ir.Type) -> Callable[[Emit], SharedFunction]:
    """Declare the decorated emitter as the body of a shared function of that prototype, named after it."""

    def declare(emit: Emit) -> SharedFunction:
        function = SharedFunction(emit.__name__.strip("_"), ir.FunctionType(result, parameters), emit)
        _PENDING.append(function)
        return function

    return declare


def load_shared() -> None:
    """Compile the shared functions declared so far, unless that has been done. To be called before code is loaded."""
    with _LOCK:
        if not _PENDING:
            return
        module = engine.create_module("janusjit_shared")
        api = PythonApi(module)
        for function in _PENDING:
            function.emit(api, function.declare(module))
        api.finish_table()
        loaded = engine.load(module)
        for function in _PENDING:
            engine.register_symbol(function.symbol, loaded.function_address(function.symbol))
            _HOMES[function.symbol] = loaded
        fill_table(loaded.global_address(OBJECT_TABLE), api.objects)
        _LOADED.append((loaded, api.objects))
        _PENDING.clear()


def shared_address(function: SharedFunction, variable: str | None = None) -> int:
    """Return the address of a shared function that has been loaded, or of a variable beside it."""
    home = _HOMES[function.symbol]
    return home.function_address(function.symbol) if variable is None else home.global_address(variable)
