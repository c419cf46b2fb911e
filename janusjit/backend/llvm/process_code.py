"""Code compiled once in a process, at its first use, for all modules that call it.

Owns `load_once`. Invariant: code loaded here is never unloaded, so its addresses may be registered as symbols.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.module_text import take_apart
from janusjit.backend.llvm.python_api_shared import load_shared

_LOCK = threading.RLock()  # what is emitted may call other such functions
_LOADED: dict[str, engine.LoadedModule] = {}
_SYMBOLS: dict[str, tuple[str, ...]] = {}


def load_once(symbols: Sequence[str], emit: Callable[[ir.Module], None], level: int = 2) -> None:
    """Make functions callable by their symbols, in modules loaded from now on.

    Parameters
    ----------
    symbols : sequence of str
        The functions; they are loaded together, and the first stands for all.
    emit : callable
        Emits them into a module that is empty; not called if they are loaded already.
    level : int
        Optimisation level, 0 to 3.
    """
    with _LOCK:
        if symbols[0] in _LOADED:
            return
        module = engine.create_module(symbols[0])
        emit(module)
        load_shared(module.globals)
        _register(tuple(symbols), engine.load(module, level))
        take_apart(module)


def _register(symbols: tuple[str, ...], loaded: engine.LoadedModule) -> None:
    for symbol in symbols:
        engine.register_symbol(symbol, loaded.function_address(symbol))
    _LOADED[symbols[0]] = loaded
    _SYMBOLS.update(dict.fromkeys(symbols, symbols))


def is_loaded(symbol: str) -> bool:
    """Return whether a function has been loaded here."""
    return symbol in _SYMBOLS


def address(symbol: str, variable: str | None = None) -> int:
    """Return the address of a function that has been loaded here, or of a variable beside it."""
    home = _LOADED[_SYMBOLS[symbol][0]]
    return home.function_address(symbol) if variable is None else home.global_address(variable)


@dataclass(frozen=True)
class Filed:
    """Functions that are on disk: what `load_filed` needs to load them.

    Attributes
    ----------
    symbols : tuple of str
        As for `load_once`.
    name : str
        What their object code is filed under.
    externals : tuple of str
        What they call.
    level : int
        Optimisation level.
    """

    symbols: tuple[str, ...]
    name: str
    externals: tuple[str, ...]
    level: int


def filed(symbol: str) -> Filed | None:
    """Return what is known of the code that ``symbol`` is part of; None if it was not loaded here."""
    symbols = _SYMBOLS.get(symbol)
    if symbols is None:
        return None
    loaded = _LOADED[symbols[0]]
    return Filed(symbols, loaded.name, loaded.externals, loaded.level)


def load_filed(code: Filed) -> bool:
    """Make functions on disk callable, as `load_once` does; return whether they are.

    What they call has to be callable already.
    """
    with _LOCK:
        if code.symbols[0] in _LOADED:
            return True
        loaded = engine.load_filed(code.name, code.externals, _no_source, code.level)
        if loaded is None:
            return False
        _register(code.symbols, loaded)
        return True


def _no_source() -> str:
    return "; loaded from disk"
