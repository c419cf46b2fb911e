"""Each pass: what it does, what it leaves alone, and what it costs."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from janusjit import config
from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.errors import CompileError
from janusjit.ir.equality import difference
from janusjit.ir.graph import Graph
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.text import format_graph
from janusjit.transform.alike_arms import join_alike_arms
from janusjit.transform.common_subexpressions import merge_common_subexpressions
from janusjit.transform.dead_code import remove_dead_code
from janusjit.transform.fold import fold_constants
from janusjit.transform.guards import hoist_guards
from janusjit.transform.loop_invariants import hoist_loop_invariants
from janusjit.transform.passes import Pass, optimize, run_passes, standard_passes
from janusjit.transform.typed import graph_builder, parse_graph, verify_graph


def assert_becomes(transform: Callable[[Graph], int], before: str, after: str) -> None:
    graph = parse_graph(before)
    verify_graph(graph)
    assert transform(graph) > 0
    verify_graph(graph)
    expected = parse_graph(after)
    assert difference(graph, expected) is None, f"{difference(graph, expected)}\n{format_graph(graph)}"
    assert transform(graph) == 0, "a second run changes nothing"


def assert_unchanged(transform: Callable[[Graph], int], text: str) -> None:
    graph = parse_graph(text)
    verify_graph(graph)
    assert transform(graph) == 0
    assert difference(graph, parse_graph(text)) is None


# ---- common subexpressions


def test_equal_nodes_become_one_also_when_swapped() -> None:
    assert_becomes(
        merge_common_subexpressions,
        """graph f(x: f64[3], y: f64[3]) {
          %0 = add(x, y)  %1 = add(y, x)  %2 = subtract(x, y)  %3 = subtract(y, x)  %4 = multiply(%0, %1)
          exit(%2, %3, %4) { return tuple(array(%2), array(%3), array(%4)) }
        }""",
        """graph f(x: f64[3], y: f64[3]) {
          %0 = add(x, y)  %2 = subtract(x, y)  %3 = subtract(y, x)  %4 = multiply(%0, %0)
          exit(%2, %3, %4) { return tuple(array(%2), array(%3), array(%4)) }
        }""",
    )


def test_inner_regions_know_outer_values_but_not_the_other_way_round() -> None:
    assert_becomes(
        merge_common_subexpressions,
        """graph f(x: f64[3], c: bool) {
          %0 = exp(x)
          %1 = if(c) { %2 = exp(x) %3 = sin(x) %4 = add(%2, %3) yield(%4) } else { %5 = sin(x) yield(%5) }
          %6 = sin(x)
          exit(%0, %1, %6) { return tuple(array(%0), array(%1), array(%6)) }
        }""",
        """graph f(x: f64[3], c: bool) {
          %0 = exp(x)
          %1 = if(c) { %3 = sin(x) %4 = add(%0, %3) yield(%4) } else { %5 = sin(x) yield(%5) }
          %6 = sin(x)
          exit(%0, %1, %6) { return tuple(array(%0), array(%1), array(%6)) }
        }""",
    )


def test_versions_of_an_array_are_not_confused() -> None:
    assert_unchanged(
        merge_common_subexpressions,
        """graph f(x: f64[3], y: f64[3]) {
          %0 = sum(x, axes=(0,), keepdims=False)
          %1 = update(x, y, path=())
          %2 = sum(%1, axes=(0,), keepdims=False)
          exit(%0, %1, %2) { commit write x = %1 return tuple(numpy.f64(%0), numpy.f64(%2)) }
        }""",
    )


def test_attributes_are_compared_bit_for_bit() -> None:
    assert_unchanged(
        merge_common_subexpressions,
        """graph f() {
          %0 = constant(value=0.0, dtype="f64")  %1 = constant(value=-0.0, dtype="f64")
          %2 = constant(value=1, dtype="f64")  %3 = constant(value=1.0, dtype="f64")
          exit(%0, %1, %2, %3) { return tuple(float(%0), float(%1), float(%2), float(%3)) }
        }""",
    )


def test_a_fallible_node_and_a_guard_are_done_once() -> None:
    graph = parse_graph(
        """graph f(a: int, c: bool) {
          guard(c) else branch("c", "True")
          %0 = checked_add(a, a) else int.overflow("a + a", "64 bits")
          guard(c) else branch("c again", "True")
          %1 = checked_add(a, a) else int.overflow("a + a", "64 bits")
          exit { return tuple(int(%0), int(%1)) }
        }"""
    )
    result = run_passes(graph, (Pass("cse", merge_common_subexpressions),)).graph
    assert [node.op for node in result.body.nodes] == ["guard", "checked_add", "exit"]
    assert [guard.subject for guard in result.guards.in_graph] == ["c", "a + a"]
    assert interpret(result, (3, True)) == (6, 6)
    assert len(graph.guards.in_graph) == 4, "the graph given is not changed"


# ---- branches whose arms are alike


BRANCH = """graph f(c: bool, x: f64[3], a: f64[], b: f64[], k: i64[]) {{
  %0: f64[3], %1: f64[], %2: i64[] = if(c) {{
    %3 = constant(value=1.5, dtype="f64")  %4 = constant(value=2, dtype="i64")  {}
  }} else {{
    %5 = constant(value=1.5, dtype="f64")  %6 = constant(value=3, dtype="i64")  {}
  }}
  exit(%0, %1, %2) {{ return tuple(array(%0), float(%1), int(%2)) }}
}}"""


def test_arms_that_do_the_same_are_done_once_on_what_the_condition_selects() -> None:
    assert_becomes(
        join_alike_arms,
        BRANCH.format(
            "%7 = multiply(x, a)  %8 = add(a, %3)  yield(%7, %8, %4)",
            "%9 = multiply(x, b)  %10 = add(b, %5)  yield(%9, %10, %6)",
        ),
        """graph f(c: bool, x: f64[3], a: f64[], b: f64[], k: i64[]) {
          %3 = constant(value=1.5, dtype="f64")  %4 = constant(value=2, dtype="i64")
          %5 = constant(value=1.5, dtype="f64")  %6 = constant(value=3, dtype="i64")
          %11 = where(c, a, b)  %7 = multiply(x, %11)  %8 = add(%11, %3)  %12 = where(c, %4, %6)
          exit(%7, %8, %12) { return tuple(array(%7), float(%8), int(%12)) }
        }""",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("%7 = multiply(x, a)  yield(%7, a, %4)", "%9 = add(x, b)  yield(%9, b, %6)"),
        ("%7 = multiply(x, a) @f.py:1:1  yield(%7, a, %4)", "%9 = multiply(x, b) @f.py:2:1  yield(%9, b, %6)"),
        ("%7 = multiply(x, a)  yield(%7, a, %4)", "%9 = multiply(x, b)  yield(x, b, %6)"),
        ("%7 = multiply(x, a)  yield(%7, a, %4)", "yield(x, b, %6)"),
        ("yield(x, a, %4)", "yield(x, b, %6)"),
        (
            '%7 = checked_add(k, k) else python.exception("k", "k")  yield(x, a, %7)',
            '%9 = checked_add(k, k) else python.exception("k", "k")  yield(x, a, %9)',
        ),
    ],
    ids=["operations", "places", "arrays", "lengths", "nothing done", "guards"],
)
def test_arms_that_differ_stay(first: str, second: str) -> None:
    assert_unchanged(join_alike_arms, BRANCH.format(first, second))


# ---- dead code


def test_what_nothing_needs_goes_and_what_can_fail_stays() -> None:
    assert_becomes(
        remove_dead_code,
        """graph f(x: f64[3], a: int) {
          %0 = exp(x)  %1 = sum(%0, axes=(0,), keepdims=False)
          %2 = checked_add(a, a) else int.overflow("a + a", "64 bits")
          %3 = add(a, a)
          exit { return None }
        }""",
        """graph f(x: f64[3], a: int) {
          %2 = checked_add(a, a) else int.overflow("a + a", "64 bits")
          exit { return None }
        }""",
    )


def test_results_and_carried_values_that_nothing_needs_go() -> None:
    assert_becomes(
        remove_dead_code,
        """graph f(x: f64[3], n: int, c: bool) {
          %0, %1 = if(c) { %2 = exp(x) yield(%2, x) } else { yield(x, x) }
          %3, %4, %5 = loop(n, x, %0) as (%6: i64[], %7: f64[3], %8: f64[3]) {
            %9 = less_equal(%6, 0)
            if(%9) { break(%6, %7, %8) } else { yield }
            %10 = subtract(%6, 1)  %11 = sin(%7)  %12 = cos(%8)
            continue(%10, %11, %12)
          }
          exit(%1, %4) { return tuple(array(%1), array(%4)) }
        }""",
        """graph f(x: f64[3], n: int, c: bool) {
          %1 = if(c) { yield(x) } else { yield(x) }
          %4 = loop(n, x) as (%6: i64[], %7: f64[3]) {
            %9 = less_equal(%6, 0)
            if(%9) { break(%7) } else { yield }
            %10 = subtract(%6, 1)  %11 = sin(%7)
            continue(%10, %11)
          }
          exit(%1, %4) { return tuple(array(%1), array(%4)) }
        }""",
    )


def test_branches_and_loops_without_effect_go() -> None:
    assert_becomes(
        remove_dead_code,
        """graph f(x: f64[3], c: bool) {
          %0 = if(c) { yield(x) } else { %1 = exp(x) yield(%1) }
          %2 = loop(c) as (%3: bool[]) { break(%3) }
          exit { return None }
        }""",
        "graph f(x: f64[3], c: bool) { exit { return None } }",
    )


def test_effects_in_regions_keep_their_surroundings() -> None:
    assert_unchanged(
        remove_dead_code,
        """graph f(x: f64[3], n: int, c: bool) {
          %9 = loop(n) as (%0: i64[]) {
            %1 = greater(%0, 0)
            if(%1) { guard(c) else branch("c", "True") yield } else { break(%0) }
            %2 = subtract(%0, 1)
            %3 = less(%2, 5)
            if(%3) { exit(x) { return array(x) } } else { continue(%2) }
            unreachable
          }
          exit(%9) { return int(%9) }
        }""",
    )


def test_a_node_that_binds_a_dimension_stays() -> None:
    assert_unchanged(
        remove_dead_code,
        """graph f(x: f64[n], m: bool[n], k: int) {
          symbol c >= 0
          symbol n >= 2 = x axis 0
          %0 = compress(x, m, symbol=symbol(c))
          bind_dim(k, symbol=symbol(r))
          %1 = dim(dim=c)
          exit(%1) { return int(%1) }
        }""",
    )


def test_what_numpy_would_warn_of_stays_if_the_graph_promises_it() -> None:
    text = """graph f(x: f64[3]) {{
      {0}
      %0 = divide(1.0, x)  %1 = negative(%0)  %2 = transpose(x, axes=(0,))
      exit {{ return None }}
    }}"""
    promised = parse_graph(text.format('check fp.flags("floating-point flags", "clear")'))
    remove_dead_code(promised)
    assert [node.op for node in promised.body.nodes] == ["constant", "divide", "exit"]
    free = parse_graph(text.format(""))
    remove_dead_code(free)
    assert [node.op for node in free.body.nodes] == ["exit"]


# ---- folding


def test_constants_are_folded_to_eagers_bits() -> None:
    graph = parse_graph(
        """graph f() {
          %0 = constant(value=0.1, dtype="f32")  %1 = exp(%0)  %2 = cast(%1, dtype="f64")
          %3 = constant(value=7, dtype="i64")
          %4 = checked_floor_divide(%3, %3) else python.exception("a // b", "no error")
          %5 = dim(dim=3)
          exit(%2, %4, %5) { return tuple(float(%2), int(%4), int(%5)) }
        }"""
    )
    graph = run_passes(graph, (Pass("fold", fold_constants), Pass("dead", remove_dead_code))).graph
    assert [node.op for node in graph.body.nodes] == ["constant"] * 3 + ["exit"]
    assert graph.guards.in_graph == []
    assert interpret(graph, ()) == (float(np.exp(np.float32(0.1))), 1, 3)


def test_what_fails_or_warns_is_not_folded() -> None:
    assert_unchanged(
        fold_constants,
        """graph f() {
          %0 = constant(value=0, dtype="i64")
          %1 = checked_floor_divide(%0, %0) else python.exception("a // b", "no error")
          %2 = constant(value=0.0, dtype="f64")  %3 = divide(%2, %2)  %4 = log(%2)
          %5 = constant(value=1e308, dtype="f64")  %6 = add(%5, %5)
          exit(%1, %3, %4, %6) { return None }
        }""",
    )


def test_one_number_all_over_is_not_spread() -> None:
    assert_unchanged(
        fold_constants,
        """graph f() {
          %0 = constant(value=1.0, dtype="f64")  %1 = broadcast(%0, shape=(5,))  %2 = full(%0, shape=(4,))
          exit(%1, %2) { return tuple(array(%1), array(%2)) }
        }""",
    )


def test_a_returned_view_stays_a_view() -> None:
    from janusjit.ops.indexing import FrozenArray

    namespace = {"data": FrozenArray(np.arange(6.0).reshape(2, 3))}
    text = """graph f() {{
      %0: f64[2,3] = constant_array(value=&data)  %1 = transpose(%0, axes=(1, 0))
      exit(%0, %1) {{ return tuple({}) }}
    }}"""
    kept = parse_graph(text.format("array(%0)#1, view(%1, #1)"), namespace)
    assert fold_constants(kept) == 0
    base, view = interpret(kept, ())
    assert view.base is base
    assert fold_constants(parse_graph(text.format("array(%1)"), namespace)) == 1


def test_a_branch_on_a_constant_is_taken() -> None:
    assert_becomes(
        fold_constants,
        """graph f(x: f64[3]) {
          %0 = constant(value=True, dtype="bool")
          %1 = if(%0) { %2 = exp(x) yield(%2) } else { fail else branch("never", "True") }
          exit(%1) { return array(%1) }
        }""",
        """graph f(x: f64[3]) {
          %0 = constant(value=True, dtype="bool")
          %2 = exp(x)
          exit(%2) { return array(%2) }
        }""",
    )


def test_a_branch_that_leaves_ends_its_region() -> None:
    assert_becomes(
        fold_constants,
        """graph f(x: f64[3], c: bool) {
          %0 = constant(value=False, dtype="bool")
          %9 = if(c) {
            %1 = if(%0) { yield(x) } else { exit(x) { return array(x) } }
            %2 = exp(%1)
            yield(%2)
          } else { exit { return None } }
          exit(%9) { return array(%9) }
        }""",
        """graph f(x: f64[3], c: bool) {
          %0 = constant(value=False, dtype="bool")
          if(c) { exit(x) { return array(x) } } else { exit { return None } }
          unreachable
        }""",
    )


# ---- loop invariants


LOOP = """graph f(x: f64[3], n: int) {{
  {0}
  %0, %1 = loop(n, x) as (%2: i64[], %3: f64[3]) {{
    {1}
    %5 = less_equal(%2, {2})
    if(%5) {{ break(%2, %3) }} else {{ yield }}
    {3}
    %8 = multiply(%3, {4})
    %9 = subtract(%2, 1)
    continue(%9, %8)
  }}
  exit(%1) {{ return array(%1) }}
}}"""


def test_what_runs_at_every_turn_moves_out() -> None:
    graph = parse_graph(LOOP.format("", "%4 = exp(x)  %6 = divide(x, %4)", 0, "", "%6"))
    assert hoist_loop_invariants(graph) == 4, "exp, divide and two constants"
    verify_graph(graph)
    assert [node.op for node in graph.body.nodes] == ["exp", "divide", "constant", "constant", "loop", "exit"]


def test_what_may_not_run_moves_only_if_it_is_free() -> None:
    graph = parse_graph(LOOP.format("", "", 0, "%6 = exp(x)  %7 = transpose(x, axes=(0,))", "%6"))
    before = parse_graph(LOOP.format("", "", 0, "%6 = exp(x)  %7 = transpose(x, axes=(0,))", "%6"))
    assert hoist_loop_invariants(graph) == 3, "transpose and two constants"
    verify_graph(graph)
    assert "exp" not in [node.op for node in graph.body.nodes]
    for n in (0, 2):
        np.testing.assert_array_equal(*(interpret(g, (np.arange(3.0), n)) for g in (graph, before)))


def test_nodes_leave_several_loops() -> None:
    graph = parse_graph(
        """graph f(x: f64[3]) {
          %0 = loop(x) as (%1: f64[3]) {
            %2 = loop(%1) as (%3: f64[3]) { %4 = exp(x)  %5 = sin(%1)  %6 = add(%4, %5)  break(%6) }
            break(%2)
          }
          exit(%0) { return array(%0) }
        }"""
    )
    assert hoist_loop_invariants(graph) == 4
    verify_graph(graph)
    assert [node.op for node in graph.body.nodes] == ["exp", "loop", "exit"]


def test_what_speaks_of_a_dimension_bound_in_the_loop_stays() -> None:
    assert_unchanged(
        hoist_loop_invariants,
        """graph f(x: f64[3], n: int) {
          %0 = loop(n) as (%1: i64[]) {
            bind_dim(%1, symbol=symbol(m))
            %2 = broadcast(n, shape=(m,))
            %3 = dim(dim=m)
            break(%3)
          }
          exit(%0) { return int(%0) }
        }""",
    )


# ---- guards


def test_guards_move_to_where_their_condition_is_known() -> None:
    assert_becomes(
        hoist_guards,
        """graph f(x: f64[3], c: bool) {
          %0 = sum(x, axes=(0,), keepdims=False)
          %1 = isfinite(%0)
          %2 = update(x, x, path=())
          guard(c) else #0 branch("c", "True")
          guard(%1) else #1 branch("finite", "True")
          exit(%2) { commit write x = %2 return None }
        }""",
        """graph f(x: f64[3], c: bool) {
          guard(c) else #0 branch("c", "True")
          %0 = sum(x, axes=(0,), keepdims=False)
          %1 = isfinite(%0)
          guard(%1) else #1 branch("finite", "True")
          %2 = update(x, x, path=())
          exit(%2) { commit write x = %2 return None }
        }""",
    )


def test_guards_stay_in_their_arm() -> None:
    assert_unchanged(
        hoist_guards,
        """graph f(c: bool, d: bool) {
          if(c) { guard(d) else branch("d", "True") yield } else { yield }
          exit { return None }
        }""",
    )


def test_guards_stay_behind_a_node_that_may_leave() -> None:
    assert_unchanged(
        hoist_guards,
        """graph f(c: bool, d: bool) {
          if(c) { exit { return None } } else { yield }
          guard(d) else branch("d", "True")
          %0 = loop(c) as (%1: bool[]) {
            if(%1) { break(%1) } else { yield }
            guard(d) else branch("d", "True")
            continue(d)
          }
          exit(%0) { return bool(%0) }
        }""",
    )


def test_a_guard_that_holds_goes() -> None:
    graph = parse_graph(
        """graph f() {
          %0 = constant(value=True, dtype="bool")  guard(%0) else branch("always", "True")
          %1 = constant(value=False, dtype="bool")  guard(%1) else branch("never", "True")
          exit { return None }
        }"""
    )
    assert hoist_guards(graph) > 0
    assert [guard.subject for guard in graph.guards.in_graph] == ["never"]
    with pytest.raises(DeoptimizationSignal, match="never"):
        interpret(graph, ())


# ---- the manager


def test_optimize_leaves_its_argument_alone_and_reports_each_pass() -> None:
    text = "graph f(x: f64[3]) { %0 = multiply(x, 1.0) %1 = exp(%0) exit(%1) { return array(%1) } }"
    graph = parse_graph(text)
    optimized = optimize(graph)
    assert difference(graph, parse_graph(text)) is None
    assert [node.op for node in optimized.graph.body.nodes] == ["exp", "exit"]
    assert [record.name for record in optimized.records] == [step.name for step in standard_passes()]
    assert {record.name: record.changes for record in optimized.records}["rewrite"] == 1


def test_relaxed_rewrites_need_permission() -> None:
    text = "graph f(x: f64[3]) { %0 = log(x) %1 = exp(%0) exit(%1) { return array(%1) } }"
    assert len(optimize(parse_graph(text)).graph.body.nodes) == 3
    assert len(optimize(parse_graph(text), exact=False).graph.body.nodes) == 1


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    def break_it(graph: Graph) -> int:
        graph.body.nodes.pop()
        return 1

    graph = parse_graph("graph f() { exit { return None } }")
    with config.override(verify=True), pytest.raises(CompileError, match="after pass vandal") as caught:
        run_passes(graph, (Pass("vandal", break_it),))
    assert caught.value.code == "transform.invalid"


def test_dumps_show_each_pass_that_changed_something() -> None:
    graph = parse_graph("graph f(x: f64[3]) { %0 = exp(x) exit { return None } }")
    dumped: list[tuple[str, str]] = []
    optimize(graph, dump=lambda stage, text: dumped.append((stage, text)))
    assert [stage for stage, _ in dumped] == ["captured", "dead_code"]
    assert "exp" in dumped[0][1] and "exp" not in dumped[1][1]


def large_graph(count: int) -> Graph:
    """A chain with redundancy, constants, branches and rules to apply."""
    graph = parse_graph("graph f(x: f64[8]) { exit { return None } }")
    leave = graph.body.nodes.pop()
    builder = graph_builder(graph)
    value = graph.inputs[0].value
    for number in range(count // 8):
        one = builder.emit("constant", (), {"value": 1.0, "dtype": "f64"}).result
        scale = builder.emit("constant", (), {"value": float(number), "dtype": "f64"}).result
        scaled = builder.emit("multiply", (value, one)).result
        again = builder.emit("multiply", (value, one)).result
        both = builder.emit("add", (scaled, again)).result
        shifted = builder.emit("add", (both, scale)).result
        finite = builder.emit(
            "isfinite", (builder.emit("sum", (shifted,), {"axes": (0,), "keepdims": False}).result,)
        ).result
        builder.guard(finite, InGraphGuard(code="branch", subject="finite", expected="True"))
        value = shifted
    leave.inputs = (value,)
    graph.body.nodes.append(leave)
    return graph


@pytest.mark.parametrize("step", standard_passes(exact=False), ids=lambda step: step.name)
def test_passes_are_linear(step: Pass) -> None:
    def seconds(count: int) -> float:
        graph = large_graph(count)
        started = time.perf_counter()
        step.run(graph)
        return time.perf_counter() - started

    assert min(seconds(10_000) for _ in range(2)) < 1
