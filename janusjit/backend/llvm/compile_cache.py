"""Compiled graphs that outlive the process.

Owns `fetch` and `file`. Invariant: a graph is given the code of another process only if everything that went into that
code is the same here: the graph (`Fingerprint`), the versions and the source of whatever compiles, the processor, and
the settings. What is on disk is data (JSON) and object code; none of it is unpickled or evaluated.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from janusjit.backend import calibration
from janusjit.backend.kernels import Kernel, PlanNotes
from janusjit.backend.llvm import engine, engine_cache, process_code
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.blas_library import register_blas
from janusjit.backend.llvm.compile_process import compile_elsewhere
from janusjit.backend.llvm.entry_builtin import Compiled, link_loaded
from janusjit.backend.llvm.fingerprint import Fingerprint, NotPortable
from janusjit.backend.llvm.gemm_tiling import library_threads
from janusjit.backend.llvm.portable import find, tell
from janusjit.backend.llvm.python_api import register_function
from janusjit.backend.llvm.python_api_shared import load_shared
from janusjit.config import current
from janusjit.ir.graph import Graph
from janusjit.version import __version__

_SPECIAL: dict[str, Any] = {"deoptimized": Compiled.DEOPTIMIZED}
_log = logging.getLogger("janusjit.compile")


class Filing:
    """The place of one graph's code in the cache.

    Parameters
    ----------
    graph : Graph
        The graph, after all transforms.
    exact : bool
        As for `compile_graph`.

    Raises
    ------
    NotPortable
        If the graph refers to something that another process cannot find again.
    """

    def __init__(self, graph: Graph, exact: bool) -> None:
        self._graph = graph
        self._fingerprint = Fingerprint(graph)
        machine = (*engine.host_target(), str(library_threads()), calibration.current().to_json())
        parts = (*_compiler(), *machine, str(exact), self._fingerprint.text)
        #: what it is filed under
        self.name = engine_cache.digest(("graph", *parts))

    def fetch(self, source: Callable[[], str]) -> Compiled | None:
        """Return the graph compiled, from the code another process has filed; None if there is none that fits here.

        Parameters
        ----------
        source : callable
            Returns the module's textual LLVM IR, for those who want to see it.
        """
        started = time.perf_counter()
        content = engine_cache.read(self.name)
        if content is None:
            return None
        told = json.loads(content)  # its digest is right: it is what `file` has written
        load_shared(told["externals"])
        for part in told["libraries"]:
            code = process_code.Filed(tuple(part[0]), part[1], tuple(part[2]), part[3])
            load_shared(code.externals)
            if not (_known(code.externals) and process_code.load_filed(code)):
                return None
        if not _known(told["externals"]):
            return None
        try:
            objects = [find(item, self._fingerprint, _SPECIAL) for item in told["objects"]]
        except NotPortable as reason:
            _log.info("cache: the code of %s is not used: %s", self._graph.name, reason)
            return None
        loaded = engine.load_filed(told["object"], told["externals"], source)
        if loaded is None:
            return None
        plan = PlanNotes(told["plan"], tuple(Kernel(*kernel) for kernel in told["kernels"]))
        return link_loaded(self._graph, loaded, objects, plan, started)

    def file(self, compiled: Compiled) -> None:
        """Let other processes have the code of the graph.

        Raises
        ------
        NotPortable
            If the code refers to something that another process cannot find again.
        """
        code = compiled.code
        told = {
            "object": code.name,
            "externals": code.externals,
            "libraries": [[part.symbols, part.name, part.externals, part.level] for part in _libraries(code.externals)],
            "objects": [tell(item, self._fingerprint, _SPECIAL) for item in compiled.objects],
            "plan": compiled.plan,
            "kernels": [astuple(kernel) for kernel in compiled.kernels],
        }
        engine_cache.write(self.name, json.dumps(told).encode())


def compile_cached(
    graph: Graph, exact: bool, compile_: Callable[[], Compiled], source: Callable[[], str]
) -> Compiled:
    """Return a compiled graph, from the cache where it is there, else by ``compile_`` and kept in the cache."""
    if current().cache is None:
        return compile_()
    try:
        filing = Filing(graph, exact)
    except NotPortable as reason:
        _log.info("cache: %s is not kept as a whole: %s", graph.name, reason)
        return compile_()
    found = filing.fetch(source)
    if found is None and compile_elsewhere(graph, exact, filing.name):
        found = filing.fetch(source)
    if found is not None:
        return found
    compiled = compile_()
    try:
        filing.file(compiled)
    except NotPortable as reason:
        _log.info("cache: %s is not kept as a whole: %s", graph.name, reason)
    return compiled


def _libraries(externals: tuple[str, ...]) -> list[process_code.Filed]:
    """Return the code loaded once in a process that functions are part of, callees first."""
    found: dict[tuple[str, ...], process_code.Filed] = {}

    def visit(symbol: str) -> None:
        part = process_code.filed(symbol)
        if part is not None and part.symbols not in found:
            for inner in part.externals:
                visit(inner)
            found[part.symbols] = part

    for symbol in externals:
        visit(symbol)
    return list(found.values())


def _known(externals: tuple[str, ...]) -> bool:
    """Make the functions known that this process has; return whether all are (to a caller that loads code next)."""
    for symbol in externals:
        if not engine.is_registered(symbol):
            register_function(symbol) or register_blas(symbol)
    return all(map(engine.is_defined, externals))


@functools.cache
def _compiler() -> tuple[str, ...]:
    """Return what the code of a graph depends on besides the graph: all that has to do with making it."""
    return (
        *engine_cache.compiler_versions(),
        *(sys.version, sys.implementation.cache_tag, str(sys.flags.optimize)),
        *(np.__version__, scipy.__version__, __version__),
        *(str(layout.INLINE_REFERENCE_COUNTS), str(layout.HAS_IMMORTAL_OBJECTS)),
        _own_source(),
    )


def _own_source() -> str:
    """Return a digest of which files this package is made of: in a checkout, the version stays while they change."""
    root = Path(__file__).parents[2]
    found = []
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(folder, name)
                status = path.stat()
                found.append(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}")
    return engine_cache.digest(sorted(found))
