"""Code compiled once in a process, at its first use, for all modules that call it.

Owns `load_once`. Invariant: code loaded here is never unloaded, so its addresses may be registered as symbols.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from llvmlite import ir

from janusjit.backend.llvm import engine

_LOCK = threading.Lock()
_LOADED: dict[str, engine.LoadedModule] = {}


def load_once(symbols: Sequence[str], emit: Callable[[ir.Module], None], level: int = 3) -> None:
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
        loaded = engine.load(module, level)
        for symbol in symbols:
            engine.register_symbol(symbol, loaded.function_address(symbol))
        _LOADED[symbols[0]] = loaded
