"""Python objects that code refers to, told so that another process finds its own.

Owns `tell` and `find`. Invariant: what is told is plain data, and finding it runs no code but this module's; an object
is told only if finding it here gives that very object, or one that is made for the code alone.
"""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy._core import umath

from janusjit.backend.llvm.entry_places import Contains, ItemReader, Packer
from janusjit.backend.llvm.fingerprint import Fingerprint, NotPortable
from janusjit.backend.llvm.guards import PythonCheck
from janusjit.backend.llvm.guards_environment import ErrorStateCheck, WarningFiltersCheck
from janusjit.backend.witness import Witness
from janusjit.ir.places import MISSING
from janusjit.ir.types import DTYPES
from janusjit.ops.registry import OPS

_SINGLETONS: dict[str, Any] = {
    "missing": MISSING,
    "true": True,
    "false": False,
    "none": None,
    "numpy.true": np.True_,
    "numpy.false": np.False_,
    "numpy.error_state": umath._extobj_contextvar,
    "warnings": warnings.__dict__,
}
_SINGLETON_NAMES = {id(item): name for name, item in _SINGLETONS.items()}
_WITHOUT_CODE_OF_ITS_OWN = (type, types.BuiltinFunctionType, types.FunctionType, type(np.random.Generator.random))


def tell(item: Any, graph: Fingerprint, special: dict[str, Any]) -> list[Any]:
    """Return what `find` needs to find an object, as JSON data.

    Parameters
    ----------
    item : object
        The object.
    graph : Fingerprint
        That of the graph whose code refers to it.
    special : dict
        Objects known by a name.

    Raises
    ------
    NotPortable
        If there is no way to tell another process what it is.
    """
    position = graph.position(item)
    if position is not None:
        return ["graph", position]
    for name, known in special.items():
        if known is item:
            return ["special", name]
    if id(item) in _SINGLETON_NAMES:
        return ["singleton", _SINGLETON_NAMES[id(item)]]
    if type(item) in (int, str):
        return ["plain", item]
    if type(item) is tuple:
        return ["tuple", *(tell(part, graph, special) for part in item)]
    if isinstance(item, ErrorStateCheck):
        return ["error state", tell(item.guard, graph, special)]
    if isinstance(item, WarningFiltersCheck):
        return ["warning filters", tell(item.guard, graph, special)]
    if isinstance(item, PythonCheck):
        return ["check", tell(item.guard, graph, special)]
    if isinstance(item, Witness):
        return ["witness"]
    if isinstance(item, Contains | ItemReader):
        return [type(item).__name__, tell(item.key, graph, special)]
    if isinstance(item, Packer):
        return ["Packer", tell(item.what, graph, special)]
    if isinstance(item, np.dtype):
        for name, known in DTYPES.items():
            if known is item:
                return ["dtype", name]
    for operation in sorted(graph.operations & OPS.keys()):
        if OPS[operation].eager is item:
            return ["eager", operation]
    if isinstance(item, np.ufunc):
        name = str(item.__name__)
        if getattr(np, name, None) is item:
            return ["ufunc", name]
    return _tell_definition(item)


def _tell_definition(item: Any) -> list[Any]:
    """Tell of something by the name under which its module defines it."""
    module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    if isinstance(item, _WITHOUT_CODE_OF_ITS_OWN) and isinstance(module, str) and isinstance(name, str):
        trusted = module.partition(".")[0] in ("builtins", "numpy", "janusjit")
        if trusted and _definition(module, name) is item:
            return ["definition", module, name]
    raise NotPortable(f"it refers to a {type(item).__qualname__} that was made for it")


def _definition(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def find(told: list[Any], graph: Fingerprint, special: dict[str, Any]) -> Any:
    """Return the object that `tell` told of, for a graph with the same text.

    Raises
    ------
    NotPortable
        If it is not to be found here.
    """
    kind, *rest = told
    make = _FINDERS.get(kind)
    if make is None:
        raise NotPortable(f"{kind!r} is not known")
    return make(rest, graph, special)


def _find_definition(rest: list[Any], graph: Fingerprint, special: dict[str, Any]) -> Any:
    module, name = rest
    found = _definition(module, name)
    if not isinstance(found, _WITHOUT_CODE_OF_ITS_OWN) or (found.__module__, found.__qualname__) != (module, name):
        raise NotPortable(f"{module}.{name} is something else here")
    return found


def _find_applied(make: Callable[[Any], Any], rest: list[Any], graph: Fingerprint, special: dict[str, Any]) -> Any:
    return make(find(rest[0], graph, special))


def _find_plain(rest: list[Any], graph: Fingerprint, special: dict[str, Any]) -> Any:
    return sys.intern(rest[0]) if isinstance(rest[0], str) else rest[0]


_FINDERS: dict[str, Callable[[list[Any], Fingerprint, dict[str, Any]], Any]] = {
    "graph": lambda rest, graph, special: graph.objects[rest[0]],
    "special": lambda rest, graph, special: special[rest[0]],
    "singleton": lambda rest, graph, special: _SINGLETONS[rest[0]],
    "plain": _find_plain,
    "tuple": lambda rest, graph, special: tuple(find(part, graph, special) for part in rest),
    "dtype": lambda rest, graph, special: DTYPES[rest[0]],
    "eager": lambda rest, graph, special: OPS[rest[0]].eager,
    "ufunc": lambda rest, graph, special: getattr(np, rest[0]),
    "definition": _find_definition,
    "error state": functools.partial(_find_applied, ErrorStateCheck),
    "warning filters": functools.partial(_find_applied, WarningFiltersCheck),
    "check": functools.partial(_find_applied, PythonCheck),
    "witness": lambda rest, graph, special: Witness(graph.graph),
    "Contains": functools.partial(_find_applied, Contains),
    "ItemReader": functools.partial(_find_applied, ItemReader),
    "Packer": functools.partial(_find_applied, Packer),
}
