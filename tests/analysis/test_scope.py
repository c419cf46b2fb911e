"""Scopes agree with CPython's symbol table."""

import ast
import importlib
import symtable
import sys

import libcst as cst
import pytest

from janusjit.analysis.scope_builder import analyze

SNIPPETS = """
def f(a, *b, c=1, **d):
    global g
    g = a
    def h():
        nonlocal a
        a = c
        def k(): return b, g, z
        return k
    class C(d):
        x = a
        def m(self): return self, __class__, x
    return [e for e in b if (w := e)], w
---
def f(xs):
    return [lambda: x for x in xs], {y: (z for z in xs if y) for y in xs}, [[k for k in j] for j in xs]
---
def f(self):
    __p = 1
    return lambda __q=__p: super().m(__q)
---
def f(n):
    try:
        import os.path as p, sys
        from a import b as c, d
    except E as e:
        def g(): return e, p, sys, c, d
    for (i, [j, *k]), n.x in n:
        with i as (l, m):
            del l
    match n:
        case {"a": o, **q} | C(r, s=t) | [u, *v]: return lambda: (o, q, r, t, u, v)
    i: int = lambda: j
    def outer():
        global i
        def inner(): return i
        return inner
---
def f(x):
    def g(y: (x, y) = x) -> x:
        z = 1
        class A:
            z = 2
            w = z
            def h(self): return z, w
        return A
    async def h():
        async with x as q: return [await q async for i in q]
    return g
---
def f(a):
    class K:
        nonlocal a
        a = 1
        global b
        b = 2
        def m(self): return b, a
    return [(lambda: q)() for q in a for r in q if (lambda: r)]
""".split("---\n")  # noqa: SIM905


def compare(tree, scope, name):
    """Compare one function's names with its symbol table, then those inside."""
    if isinstance(tree, symtable.Function):
        assert set(scope.free) == set(tree.get_frees()), name
    if isinstance(tree, symtable.Function) and not _merged(scope):
        cells = {symbol.get_name() for symbol in tree.get_symbols() if symbol.is_local() and _captured(tree, symbol)}
        assert set(scope.symbol_cells) == cells, name
        locals_ = {n for n in tree.get_locals() if n != ".0"}
        assert scope.own >= locals_ - set(tree.get_frees()), name
        assert scope.declared_globals >= {s.get_name() for s in tree.get_symbols() if s.is_declared_global()}, name
    inner = [child for child in tree.get_children() if child.get_type() in ("function", "class")]
    scopes = scope.children if len(inner) == len(scope.children) else _flattened(scope)
    assert len(inner) == len(scopes), name
    for child, mine in zip(_ordered(inner), _ordered_scopes(scopes), strict=True):
        compare(child, mine, f"{name}.{child.get_name()}")


def _merged(scope):
    """Whether the symbol table has merged a comprehension into the function (PEP 709)."""
    if sys.version_info < (3, 12):
        return False
    return scope.kind == "comprehension" or any(child.kind == "comprehension" for child in scope.children)


def _flattened(scope):
    """Return the scopes inside, those of comprehensions left out, as PEP 709 does."""
    assert sys.version_info >= (3, 12)
    found = []
    for child in scope.children:
        found += _flattened(child) if child.kind == "comprehension" else [child]
    return found


def _captured(tree, symbol):
    """Whether a function inside takes the symbol from here."""
    for child in tree.get_children():
        if child.get_type() == "class":
            if _captured_in_class(child, symbol):
                return True
            continue
        try:
            if child.lookup(symbol.get_name()).is_free():
                return True
        except KeyError:
            continue
    return False


def _captured_in_class(tree, symbol):
    try:
        if tree.lookup(symbol.get_name()).is_free():
            return True
    except KeyError:
        pass
    return _captured(tree, symbol)


_NAMES = {"ListComp": "listcomp", "SetComp": "setcomp", "DictComp": "dictcomp", "GeneratorExp": "genexpr"}


def _kind_name(node):
    return getattr(getattr(node, "name", None), "value", None) or _NAMES.get(type(node).__name__, "lambda")


def _ordered(tables):
    return sorted(tables, key=lambda table: table.get_name())


def _ordered_scopes(scopes):
    return sorted(scopes, key=lambda scope: _kind_name(scope.node))


def check(source, name):
    module = symtable.symtable(source, name, "exec")
    functions = [table for table in module.get_children() if table.get_type() == "function"]
    nodes = {node.name.value: node for node in cst.parse_module(source).body if isinstance(node, cst.FunctionDef)}
    for table in functions:
        if table.get_name() in nodes:
            compare(table, analyze(nodes[table.get_name()], (), None, True).root, f"{name}:{table.get_name()}")


@pytest.mark.parametrize("source", SNIPPETS)
def test_snippets(source):
    check(source.lstrip(), "snippet")


@pytest.mark.parametrize("name", ["argparse", "dataclasses", "functools", "typing", "statistics", "inspect"])
def test_standard_library(name):
    source = ast.unparse(ast.parse(importlib.import_module(name).__loader__.get_source(name)))
    check(source, name)
