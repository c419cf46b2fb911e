"""What each construct is in Core."""

# ruff: noqa: B023, C416, F821, RET503, RET504, RUF059

import dataclasses
import functools
import inspect
import sys
import types

import pytest

from janusjit.analysis import core
from janusjit.analysis.core import Constant, Local
from janusjit.analysis.source import _CACHE, load
from janusjit.analysis.walk import blocks_of, reads_of, walk, writes_of
from janusjit.errors import SourceError


def kinds(function):
    return [type(item).__name__ for item in walk(load(function).body)]


def found(function, kind):
    return [item for item in walk(load(function).body) if isinstance(item, kind)]


def test_augmented_assignment_evaluates_the_place_once():
    def function(a, i):
        a.b[i + 1] += 2

    assert kinds(function) == ["LoadAttribute", "Operate", "LoadItem", "OperateInPlace", "StoreItem"]
    (load_item,), (store,) = found(function, core.LoadItem), found(function, core.StoreItem)
    assert (load_item.owner, load_item.index) == (store.owner, store.index)


def test_augmented_name_is_in_place():
    def function(x, y):
        x += y
        return x

    (operate,) = found(function, core.OperateInPlace)
    assert (operate.target, operate.left, operate.right) == ("x", Local("x"), Local("y"))


def test_a_value_is_written_where_it_is_made():
    def function(x):
        y = x + 1
        z = y.a[0]
        return z

    assert [item.target for item in walk(load(function).body) if hasattr(item, "target")] == ["y", ".1", "z"]


def test_conditions_ask_each_truth_once():
    def function(a, b):
        if a and not b:
            return 1

    outer, inner = [item for item in walk(load(function).body) if isinstance(item, core.If)]
    assert outer.condition == Local("a")
    assert [type(item) for item in outer.then.instructions] == [core.Operate]
    assert outer.orelse.instructions[0].value == Constant(False)
    assert inner.span.text == "a and not b"


def test_comprehension_is_a_loop_with_renamed_variables():
    def function(x, xs):
        return [x for x in xs if x], x

    assert "ListAppend" in kinds(function) and "MakeFunction" not in kinds(function)
    (loop,) = found(function, core.For)
    assert loop.target == ".x"
    (append,) = found(function, core.ListAppend)
    assert append.value == Local(".x")
    assert append.span.text == "x"


def test_nested_comprehensions_do_not_share_variables():
    def function(xs):
        return [[x for x in x] for x in xs], {x: {x for x in xs} for x in xs}

    targets = [loop.target for loop in found(function, core.For)]
    assert sorted(targets) == [".x", ".x", ".x'", ".x'"]
    assert len(found(function, core.SetAdd)) == len(found(function, core.DictInsert)) == 1


def test_captured_comprehension_variable_keeps_its_frame():
    def function(xs):
        return [lambda: x for x in xs], (y for y in xs)

    made = [item.function for item in found(function, core.MakeFunction)]
    assert [inner.name for inner in made] == ["<listcomp>", "<genexpr>"]
    assert made[0].cells == {"x"}
    assert [inner.kind for inner in made] == ["function", "generator"]


def test_variable_of_an_inlined_comprehension_is_no_cell():
    def function(a, b):
        return [a for _ in range(2)], lambda: b

    assert load(function).cells == {"b"}


def test_cells_and_free_variables():
    def outer(a, b):
        def inner(c):
            nonlocal b
            b = a + c
            return lambda: b

        return inner

    assert load(outer).cells == {"a", "b"}
    inner = load(outer(1, 2))
    assert inner.free == ("a", "b")
    assert [item.name for item in walk(inner.body) if isinstance(item, core.LoadCell | core.StoreCell)] == ["a", "b"]
    assert load(outer(1, 2)(3)).free == ("b",)


def test_unpacking_to_plain_locals_is_one_instruction():
    def plain(xs):
        a, *b, c = xs

    def mixed(xs, y):
        a, y[0], *b = xs

    (unpack,) = found(plain, core.Unpack)
    assert (unpack.targets, unpack.star) == (("a", "b", "c"), 1)
    assert kinds(mixed) == ["Unpack", "Move", "StoreItem", "Move"]


def test_constants():
    def function(x):
        return (1, -2.5, None, ("a", ...)), x[1, 2], "ab", f"c{'d'}", -1j

    constants = {item.value.value for item in walk(load(function).body) if isinstance(item, core.Move)}
    assert constants == set()
    (index,) = found(function, core.LoadItem)
    assert index.index == Constant((1, 2))
    (result,) = [item for item in found(function, core.Build) if len(item.items) == 5]
    assert result.items[0] == Constant((1, -2.5, None, ("a", ...)))
    assert result.items[2] == Constant("ab")
    assert result.items[4] == Constant(-1j)


def test_order_of_a_starred_call():
    def function(f, xs, g):
        return f(*xs, g())

    assert kinds(function) == ["Build", "Call", "Call", "Return"]


def test_opaque_statements_name_what_they_read_and_write():
    def function(x, y):
        import os.path as p
        from math import floor

        class A(x):
            z = y
            q = w

        return A, p, floor

    opaque = found(function, core.Opaque)
    assert [item.construct for item in opaque] == ["import", "import", "class"]
    assert [item.writes for item in opaque[:2]] == [("p",), ("floor",)]
    assert "A" in opaque[2].writes
    assert {"x", "y"} <= set(opaque[2].reads)
    assert opaque[2].source.startswith("class A(x):\n    z = y\n")


def test_match_binds_after_the_whole_pattern():
    def function(v):
        match v:
            case [1, x] | {"k": x} if x:
                return x

    names = [item.name for item in found(function, core.Intrinsic)]
    assert names == ["is_sequence", "length", "is_mapping", "length", "match_keys"]
    binds = [item for item in found(function, core.Move) if item.target == "x"]
    assert len(binds) == 1


def test_nested_function_with_everything():
    def function(d, a=int):
        @d
        def inner(x: a = 1, *, y: "s" = 2) -> None: ...

        return inner

    (made,) = found(function, core.MakeFunction)
    assert made.defaults == (Constant(1),)
    assert made.keyword_defaults == (("y", Constant(2)),)
    assert [name for name, _ in made.annotations] == ["x", "y", "return"]
    assert kinds(function) == ["MakeFunction", "Call", "Return"]


def test_generators_and_coroutines():
    def generator(x):
        y = yield x
        yield from y

    async def coroutine(x):
        return await x

    assert load(generator).kind == "generator"
    assert kinds(generator) == ["Yield", "YieldFrom"]
    assert load(coroutine).kind == "coroutine"
    assert found(coroutine, core.YieldFrom)[0].kind == "await"


@pytest.mark.parametrize("module", [dataclasses, functools, inspect])
def test_invariants(module):
    functions = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
    checked = 0
    for function in functions:
        if function.__module__ != module.__name__:
            continue
        try:
            check(load(function))
            checked += 1
        except SourceError as refused:
            # from 3.12 on, where comprehensions are inlined, one that reads its frame's locals is refused
            if sys.version_info < (3, 12) or refused.code != "source.unsupported":
                raise
    assert checked >= 0.9 * sum(function.__module__ == module.__name__ for function in functions)


def check(function):
    """Check what Core promises: each site names one instruction, temporaries are written before they are read."""
    instructions = list(walk(function.body))
    assert sorted(item.site for item in instructions) == list(range(len(function.sites)))
    for item in instructions:
        assert function.sites[item.site] is item.span
        if isinstance(item, core.MakeFunction):
            check(item.function)
    _check_block(function.body, {".0"} if function.parameters.positional_only == (".0",) else set())


def _check_block(block, written):
    for item in block.instructions:
        inside = set(written)
        for inner in blocks_of(item):
            if isinstance(item, core.For) or (isinstance(item, core.With) and item.target):
                inside.add(item.target)
            elif isinstance(item, core.Try):
                inside.update(handler.name for handler in item.handlers if handler.name)
            _check_block(inner, inside)
            written |= _all_writes(inner)
            if not isinstance(item, core.If):
                inside |= _all_writes(inner)
        reads = {name for name in reads_of(item) if name.startswith(".")}
        assert reads <= written, (item, reads - written)
        written |= set(writes_of(item))


def _all_writes(block):
    return {name for item in walk(block) for name in writes_of(item)}


@pytest.mark.parametrize("module", [functools, dataclasses])
def test_numbering_is_that_of_the_function_alone(module):
    """The Core of a nested function is the same when it is loaded by itself."""
    compared = 0
    for function in vars(module).values():
        if not isinstance(function, types.FunctionType) or function.__module__ != module.__name__:
            continue
        for item in [item for item in walk(load(function).body) if isinstance(item, core.MakeFunction)]:
            inner = item.function
            cells = tuple(types.CellType() for _ in inner.code.co_freevars)
            alone = types.FunctionType(inner.code, vars(module), closure=cells)
            _CACHE.pop(id(inner.code))
            assert repr(load(alone)) == repr(inner)
            compared += 1
    assert compared > 3
