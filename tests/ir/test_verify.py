"""The verifier: a graph that breaks an invariant is refused with a message that says which."""

from collections.abc import Callable

import pytest

from janusjit.ir.boxes import ArrayBox, EitherBox, ExitRecipe
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.dims import Symbol, symbol
from janusjit.ir.graph import Graph, Node, Region
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import FLOAT, INT, TensorType
from janusjit.ir.verify import VerificationError
from janusjit.transform.typed import parse_graph, verify_graph

STEP = """
graph step(x: f32[n,3], c: bool) {
  %0: f32[n,3] = exp(x)
  %1: f32[3] = sum(%0, axes=(0,), keepdims=False)
  %2: f32[3] = if(c) {
    %3: f32[3] = negative(%1)
    yield(%3)
  } else {
    yield(%1)
  }
  %4: f32[3] = loop(%2) as (%5: f32[3]) {
    if(c) { break(%5) } else { continue(%5) }
    unreachable
  }
  guard(c) else branch("c", "True")
  exit(%4) { return array(%4) }
}
"""


def step() -> Graph:
    return parse_graph(STEP)


def test_a_valid_graph_passes() -> None:
    verify_graph(step())


def node(graph: Graph, op: str) -> Node:
    return next(found for found in graph.walk() if found.op == op)


def _use_before_definition(graph: Graph) -> None:
    graph.body.nodes[0], graph.body.nodes[1] = graph.body.nodes[1], graph.body.nodes[0]


def _use_of_an_arms_value(graph: Graph) -> None:
    node(graph, "loop").inputs = node(graph, "negative").results


def _defined_twice(graph: Graph) -> None:
    graph.body.nodes.insert(1, graph.body.nodes[0])


def _no_terminator(graph: Graph) -> None:
    graph.body.nodes.pop()


def _terminator_in_the_middle(graph: Graph) -> None:
    graph.body.nodes.insert(0, graph.body.nodes[-1])


def _wrong_result_type(graph: Graph) -> None:
    graph.body.nodes[0].results[0].type = TensorType("f64", (symbol("n"), 3))


def _undefined_operation(graph: Graph) -> None:
    graph.body.nodes[0].op = "exponential"


def _wrong_attributes(graph: Graph) -> None:
    graph.body.nodes[1].attributes["axes"] = (5,)


def _unbound_symbol(graph: Graph) -> None:
    graph.body.nodes.insert(0, Node("dim", (), (INT,), {"dim": symbol("k")}))


def _bound_twice(graph: Graph) -> None:
    dim = Node("dim", (), (INT,), {"dim": symbol("n")})
    graph.body.nodes[:0] = [dim, Node("bind_dim", dim.results, (), {"symbol": Symbol("n")})]


def _wrong_symbol_binding(graph: Graph) -> None:
    graph.symbols[Symbol("n")] = (0, 1)


def _operand_out_of_range(graph: Graph) -> None:
    graph.body.nodes[-1].inputs = ()


def _either_of_arrays(graph: Graph) -> None:
    leaving = graph.body.nodes[-1]
    leaving.inputs = (*leaving.inputs, Node("dim", (), (INT,), {"dim": 1}).result)
    graph.body.nodes.insert(-1, leaving.inputs[-1].node)
    box = EitherBox(len(leaving.inputs) - 1, ((0, ArrayBox(0)),))
    leaving.attributes["recipe"] = ExitRecipe(box)


def _missing_guard(graph: Graph) -> None:
    node(graph, "guard").guard = None


def _unlisted_guard(graph: Graph) -> None:
    graph.guards.in_graph.clear()


def _fallible_without_guard(graph: Graph) -> None:
    builder = GraphBuilder(Graph("part"))
    builder.graph.body = region = Region()
    zero = Node("constant", (), (INT,), {"value": 0, "dtype": "i64"})
    region.nodes = [zero, Node("checked_add", (zero.result, zero.result), (INT,))]
    graph.body.nodes[:0] = region.nodes


def _yield_of_another_type(graph: Graph) -> None:
    node(graph, "yield").inputs = (graph.inputs[1].value,)


def _yield_in_the_body(graph: Graph) -> None:
    graph.body.nodes[-1] = Node("yield")


def _break_outside(graph: Graph) -> None:
    graph.body.nodes[-1] = Node("break")


def _continue_with_too_few(graph: Graph) -> None:
    node(graph, "continue").inputs = ()


def _loop_parameter_of_another_type(graph: Graph) -> None:
    node(graph, "loop").regions[0].parameters[0].type = FLOAT


def _reachable_unreachable(graph: Graph) -> None:
    graph.body.nodes[-1] = Node("unreachable")


def _no_unreachable(graph: Graph) -> None:
    node(graph, "loop").regions[0].nodes[-1] = Node("break", node(graph, "loop").inputs)


def _condition_is_no_bool(graph: Graph) -> None:
    node(graph, "if").inputs = graph.body.nodes[0].results


def _input_without_guard(graph: Graph) -> None:
    graph.guards.entry.pop(0)


def _input_of_another_kind(graph: Graph) -> None:
    graph.inputs[1].kind = "float"


def _guard_listed_twice(graph: Graph) -> None:
    graph.guards.in_graph *= 2


def _fail_without_guard(graph: Graph) -> None:
    graph.body.nodes[-1] = Node("fail")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_use_before_definition, "is not defined before its use"),
        (_use_of_an_arms_value, "does not dominate its use"),
        (_defined_twice, "is defined twice"),
        (_no_terminator, "does not end with a terminator"),
        (_terminator_in_the_middle, "not the last node"),
        (_wrong_result_type, "results are (f64[n,3]), not (f32[n,3])"),
        (_undefined_operation, "no operation exponential"),
        (_wrong_attributes, "sum does not take (f32[n,3]): axis 5"),
        (_unbound_symbol, "dimension k is used before it is bound"),
        (_bound_twice, "dimension n is bound twice"),
        (_wrong_symbol_binding, "symbol n is not axis 1 of input 0"),
        (_operand_out_of_range, "ArrayBox refers to operand 0 of 0"),
        (_either_of_arrays, "neither a constant nor a scalar"),
        (_missing_guard, "guard without a guard"),
        (_unlisted_guard, "not listed"),
        (_fallible_without_guard, "checked_add can fail and has no guard"),
        (_yield_of_another_type, "yielded values are (bool[]), not (f32[3])"),
        (_yield_in_the_body, "yield outside an arm"),
        (_break_outside, "break outside a loop"),
        (_continue_with_too_few, "values of continue are (), not (f32[3])"),
        (_loop_parameter_of_another_type, "loop parameters are"),
        (_reachable_unreachable, "unreachable stands after"),
        (_no_unreachable, "unreachable stands after"),
        (_condition_is_no_bool, "inputs are (f32[n,3]), not (bool[])"),
        (_input_without_guard, "no entry guard vouches for input x"),
        (_input_of_another_kind, "input c of kind float has type bool[]"),
        (_guard_listed_twice, "listed twice"),
        (_fail_without_guard, "carries a guard"),
    ],
)
def test_broken_invariants_are_named(damage: Callable[[Graph], None], message: str) -> None:
    graph = step()
    damage(graph)
    with pytest.raises(VerificationError) as caught:
        verify_graph(graph)
    assert message in str(caught.value)
    assert caught.value.code == "ir.invalid"
    assert "graph" in caught.value.text()


def test_a_scope_ends_with_its_region() -> None:
    text = """
    graph f(c: bool, k: int) {
      if(c) { bind_dim(k, symbol=symbol(m))  yield } else { yield }
      %0: i64[] = dim(dim=m)
      exit { return None }
    }"""
    with pytest.raises(VerificationError, match="dimension m is used before it is bound"):
        verify_graph(parse_graph(text))


def test_verification_is_linear() -> None:
    builder = GraphBuilder(parse_graph("graph f(x: f32[]) { exit { return None } }"))
    graph = builder.graph
    leave = graph.body.nodes.pop()
    value = graph.inputs[0].value
    guard = InGraphGuard(code="branch", subject="x", expected="True")
    graph.guards.in_graph.append(guard)
    for _ in range(5000):
        graph.body.nodes.append(Node("exp", (value,), (value.type,)))
        value = graph.body.nodes[-1].result
        condition = Node("isfinite", (value,), (TensorType("bool"),))
        arms = (Region(), Region())
        for arm in arms:
            arm.nodes.append(Node("yield"))
        graph.body.nodes += [condition, Node("if", condition.results, regions=arms)]
    graph.body.nodes.append(leave)
    import time

    started = time.perf_counter()
    verify_graph(graph)
    assert time.perf_counter() - started < 2
