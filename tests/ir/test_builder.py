"""GraphBuilder, Substitution."""

import pytest

from janusjit.ir.builder import GraphBuilder, Substitution, carried_guards, drop_guards
from janusjit.ir.dims import Symbol, symbol
from janusjit.ir.graph import Graph, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.places import ArgumentPlace
from janusjit.ir.types import BOOL, FLOAT, TensorType

GUARD = InGraphGuard(code="branch", subject="x", expected="True")


def test_regions_nest_and_results_come_from_the_arm_that_yields() -> None:
    builder = GraphBuilder(Graph("g", ("c",)))
    condition = builder.add_input(ArgumentPlace(0, "c"), BOOL, "bool")
    with builder.nested() as then:
        builder.terminate("yield", (condition,))
    with builder.nested() as otherwise:
        builder.fail(GUARD)
    node = builder.branch(condition, then, otherwise)
    assert [value.type for value in node.results] == [BOOL]
    assert builder.graph.body.nodes == [node]
    assert builder.graph.guards.in_graph == [GUARD]


def test_a_guard_is_listed_once() -> None:
    builder = GraphBuilder(Graph("g", ("c",)))
    condition = builder.add_input(ArgumentPlace(0, "c"), BOOL, "bool")
    builder.guard(condition, GUARD)
    builder.guard(condition, GUARD)
    assert builder.graph.guards.in_graph == [GUARD]


def test_inputs_bind_symbols_at_their_first_axis() -> None:
    builder = GraphBuilder(Graph("g", ("a", "b")))
    n = symbol("n")
    builder.add_input(ArgumentPlace(0, "a"), TensorType("f32", (3, n)))
    builder.add_input(ArgumentPlace(1, "b"), TensorType("f32", (n,)))
    assert builder.graph.symbols == {Symbol("n"): (0, 1)}


def test_misuse_is_refused() -> None:
    builder = GraphBuilder(Graph("g"))
    with pytest.raises(ValueError, match="not closed"):
        builder.close_region()
    builder.open_region()
    with pytest.raises(ValueError, match="before its terminator"):
        builder.close_region()
    with pytest.raises(ValueError, match="neither given nor inferable"):
        builder.emit("exp")
    builder.terminate("unreachable")
    with pytest.raises(ValueError, match="after the terminator"):
        builder.terminate("unreachable")


def test_substitution_follows_chains() -> None:
    a, b, c = (Value(FLOAT) for _ in range(3))
    substitution = Substitution()
    substitution.set(a, b)
    substitution.set(b, c)
    assert substitution[a] is c
    substitution.set(c, a)  # already the same: no cycle
    assert substitution[a] is c


def test_only_guards_that_nodes_carried_are_dropped() -> None:
    builder = GraphBuilder(Graph("g", ("c",)))
    flags = InGraphGuard(code="fp.flags", subject="flags", expected="clear")
    builder.graph.guards.in_graph.append(flags)
    condition = builder.add_input(ArgumentPlace(0, "c"), BOOL, "bool")
    node = builder.guard(condition, GUARD)
    carried = carried_guards(builder.graph)
    builder.graph.body.nodes.remove(node)
    drop_guards(builder.graph, carried)
    assert builder.graph.guards.in_graph == [flags]
