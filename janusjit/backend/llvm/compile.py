"""From a graph to a callable.

Owns `compile_graph`. Invariant: the three stages of an entry function (prologue, body, exits) are emitted in this order
into one LLVM function, so what a guard has established dominates whatever relies on it.
"""

from __future__ import annotations

import time

from janusjit.backend.kernels import PlanNotes
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.calibrating import calibrate
from janusjit.backend.llvm.compile_cache import Filing, compile_cached
from janusjit.backend.llvm.entry import EntryEmitter
from janusjit.backend.llvm.entry_builtin import ENTRY, Compiled, link
from janusjit.backend.llvm.graph import GraphLowering
from janusjit.backend.llvm.python_api_layout import require_supported
from janusjit.ir.graph import Graph, Node, walk


def compile_graph(graph: Graph, exact: bool = True) -> Compiled:
    """Compile a graph to native code.

    Parameters
    ----------
    graph : Graph
        A verified graph. With an in-graph guard of code ``fp.flags``, a call that raises a floating-point exception
        NumPy warns of fails that guard.
    exact : bool
        Whether floating-point operations must give the very bits NumPy gives (no contraction, no reassociation).

    Raises
    ------
    CompileError
        With code ``environment.interpreter`` if this interpreter's objects are laid out in a way compiled code does not
        know; with a code that begins with ``backend.`` if the graph holds something there is no native form for.
    """
    require_supported()
    calibrate()
    return compile_cached(graph, exact, lambda: _compile(graph), lambda: str(_emit(graph)[0].api.module))


def compile_and_file(graph: Graph, exact: bool, name: str) -> bool:
    """Compile a graph for another process, and file its code.

    Parameters
    ----------
    graph : Graph
        A verified graph.
    exact : bool
        As for `compile_graph`.
    name : str
        What the code is filed under by the other process.

    Returns
    -------
    bool
        Whether it is filed under the same name here.

    Raises
    ------
    CompileError, NotPortable
        If there is no code, or none for other processes.
    """
    require_supported()
    filing = Filing(graph, exact)
    if filing.name != name:
        return False
    filing.file(_compile(graph))
    return True


def _compile(graph: Graph) -> Compiled:
    started = time.perf_counter()
    emitter, plan = _emit(graph)
    return link(emitter, plan, started)


def _emit(graph: Graph) -> tuple[EntryEmitter, PlanNotes]:
    """Emit the LLVM module of a graph; return its emitter and what there is to say of the plan."""
    module = engine.create_module(graph.name)
    emitter = EntryEmitter(module, graph, Compiled.DEOPTIMIZED, ENTRY)
    emitter.emit_prologue()
    lowering = GraphLowering(module, emitter.builder, graph, emitter)
    lowering.lower()
    emitter.finish(optimized=_has_scalar_loop(graph))
    return emitter, lowering.notes


def _has_scalar_loop(graph: Graph) -> bool:
    """Return whether the entry function itself may loop over little else than scalars, and so be worth optimising."""
    loops = (node for node in graph.walk() if node.op == "loop")
    return any(all(_is_scalar(inner) for region in loop.regions for inner in walk(region)) for loop in loops)


def _is_scalar(node: Node) -> bool:
    """Return whether a node does no more than to compute, load or store a few numbers."""
    if node.op in ("loop", "if", "view"):  # which do nothing to arrays themselves
        return True
    if node.op == "update":
        return node.inputs[1].type.rank == 0 and not any(step.op != "view" for step in node.attributes["path"])
    return all(result.type.rank == 0 for result in node.results)
