"""The reference interpreter: values, control flow, guards, exits."""

import types

import numpy as np
import pytest

from janusjit.backend.reference import DeoptimizationSignal, InterpretationError, interpret
from janusjit.ir.graph import Graph
from janusjit.transform.typed import parse_graph, verify_graph


class Net:
    def __init__(self) -> None:
        self.weight = np.array([[0.0, 1, 2], [3, 4, 5]])
        self.log: list[object] = []


def graph_of(text: str, **namespace: object) -> Graph:
    graph = parse_graph(text, {"Net": Net, **namespace})
    verify_graph(graph)
    return graph


def test_scalars_come_back_as_the_kind_asked_for() -> None:
    graph = graph_of(
        """graph f(a: int, b: float, c: bool, d: numpy.f32) {
          %0 = add(a, a)
          exit { return list(int(%0), float(b), bool(c), numpy.f32(d), numpy.i64(%0)) }
        }"""
    )
    result = interpret(graph, (2, 1.5, True, np.float32(0.5)))
    assert result == [4, 1.5, True, 0.5, 4]
    assert [type(item) for item in result] == [int, float, bool, np.float32, np.int64]


def test_branches_run_one_arm() -> None:
    graph = graph_of(
        """graph f(x: f64[3], c: bool) {
          %0 = if(c) { %1 = add(x, 1.0) yield(%1) } else { %2 = multiply(x, 2.0) yield(%2) }
          exit { return array(%0) }
        }"""
    )
    x = np.arange(3.0)
    np.testing.assert_array_equal(interpret(graph, (x, True)), x + 1)
    np.testing.assert_array_equal(interpret(graph, (x, False)), x * 2)


def test_loops_carry_values_in_parallel_and_leave_through_ifs() -> None:
    graph = graph_of(
        """graph fibonacci(n: int) {
          %0: i64[] = constant(value=0, dtype="i64")
          %1: i64[] = constant(value=1, dtype="i64")
          %2 = loop(%0, %1, n) as (%3: i64[], %4: i64[], %5: i64[]) {
            %6 = less_equal(%5, 0)
            if(%6) { break(%3) } else { yield }
            %7 = add(%3, %4)
            %8 = subtract(%5, 1)
            continue(%4, %7, %8)
          }
          exit { return int(%2) }
        }"""
    )
    assert [interpret(graph, (n,)) for n in range(8)] == [0, 1, 1, 2, 3, 5, 8, 13]


def test_an_exit_inside_a_loop_leaves_the_graph() -> None:
    graph = graph_of(
        """graph f(n: int) {
          loop(n) as (%0: i64[]) {
            %1 = equal(%0, 3)
            if(%1) { exit(%0) { return int(%0) } } else { %2 = add(%0, 1) continue(%2) }
            unreachable
          }
          unreachable
        }"""
    )
    assert interpret(graph, (-5,)) == 3


def test_effects_are_committed_in_order_and_boxes_made_first() -> None:
    graph = graph_of(
        """graph f(self, x: f64[2,3]) {
          input w: f64[2,3] = self.weight array C
          require ArrayLayout(self.weight, "f64", (2, 3), "C", True)
          %0: f64[2,3] = update(w, x, path=())
          %1: f64[2,3] = update(x, w, path=())
          %2 = transpose(%0, axes=(1, 0))
          exit(%0, %1, %2) {
            commit write self.weight = %0
            commit write x = %1
            commit self.view = view(%2, self.weight)
            commit self.old = self.log
            commit append(self.log, array(%0)#1)
            commit self.log = tuple(#1, #1)
            return object(&Net, first=#1, second=dict("k": #1))
          }
        }"""
    )
    net, x = Net(), np.ones((2, 3))
    before, log = net.weight.copy(), net.log
    weight = net.weight
    result = interpret(graph, (net, x))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(weight, np.ones((2, 3)))
    assert net.weight is weight and net.view.base is weight and net.view.shape == (3, 2)
    assert net.old is log and net.log[0] is net.log[1] is log[0]
    assert type(result) is Net and result.first is result.second["k"] is log[0]
    assert not hasattr(result, "weight"), "an object is made without its __init__"


def test_every_effect_kind() -> None:
    namespace, cell, printed = {"__name__": "m", "gone": 1}, types.CellType(0), []
    graph = graph_of(
        """graph f(xs, d, s, n: int, o) {
          exit(n) {
            commit replace(xs, 1, int(n))
            commit d["k"] = int(n)
            commit del d["old"]
            commit replace(s, 5)
            commit del o.gone
            commit set_global(&m, "seen", int(n))
            commit delete_global(&m, "gone")
            commit set_cell(&cell, int(n))
            commit invoke(&note, "a", key=int(n))
            return call(&slice, 1, 2, None)
          }
        }""",
        m=namespace,
        cell=cell,
        note=lambda *arguments, **keywords: printed.append((arguments, keywords)),
    )
    xs, d, s, o = [0], {"old": 1}, {1, 2}, Net()
    o.gone = 1
    assert interpret(graph, (xs, d, s, 7, o)) == slice(1, 2, None)
    assert (xs, d, s) == ([1, 7], {"k": 7}, {5})
    assert namespace == {"__name__": "m", "seen": 7}
    assert cell.cell_contents == 7 and printed == [(("a",), {"key": 7})] and not hasattr(o, "gone")


def test_views_of_fresh_arrays_share_their_memory() -> None:
    graph = graph_of(
        """graph f(x: f64[4,3]) {
          %0 = add(x, x)
          %1 = view(%0, index=(Range(1, 2, 1), Pick(0)))
          exit(%0, %1) { return tuple(array(%0)#1, view(%1, #1)#2, #2) }
        }"""
    )
    whole, part, same = interpret(graph, (np.ones((4, 3)),))
    assert part is same and part.base is whole and part.shape == (2,)
    part[:] = 9
    assert whole[1, 0] == whole[2, 0] == 9


def test_a_result_never_shares_memory_with_an_argument() -> None:
    graph = graph_of("graph f(x: f64[3]) { exit { return array(x) } }")
    x = np.ones(3)
    assert not np.shares_memory(interpret(graph, (x,)), x)


def test_entry_guards_fail_before_anything_runs() -> None:
    graph = graph_of("graph f(x: f64[n], y: f64[n]) { exit { return None } }")
    assert interpret(graph, (np.ones(4), np.ones(4))) is None
    with pytest.raises(DeoptimizationSignal) as caught:
        interpret(graph, (np.ones(4), np.ones(5)))
    assert caught.value.guard is graph.guards.entry[1]
    assert "float64[5]" in caught.value.found


def test_a_guard_inside_leaves_everything_as_it_was() -> None:
    graph = graph_of(
        """graph f(x: f64[3], xs) {
          %0 = update(x, x, path=())
          %1 = sum(x, axes=(0,), keepdims=False)
          %2 = greater(%1, 0.0)
          guard(%2) else branch("x.sum() > 0", "True")
          exit { commit write x = %0 commit append(xs, 1) return None }
        }"""
    )
    xs: list[int] = []
    with pytest.raises(DeoptimizationSignal) as caught:
        interpret(graph, (-np.ones(3), xs))
    assert caught.value.guard.subject == "x.sum() > 0" and caught.value.code == "branch" and not xs


def test_what_eager_raises_fails_the_nodes_guard() -> None:
    graph = graph_of(
        """graph f(a: int, b: int) {
          %0 = checked_floor_divide(a, b) else python.exception("a // b", "no ZeroDivisionError")
          exit { return int(%0) }
        }"""
    )
    assert interpret(graph, (7, -2)) == -4
    with pytest.raises(DeoptimizationSignal, match="ZeroDivisionError"):
        interpret(graph, (1, 0))


def test_symbols_are_bound_by_nodes() -> None:
    graph = graph_of(
        """graph f(x: f64[n], m: bool[n], k: int) {
          symbol c >= 0
          symbol n >= 2 = x axis 0
          %0 = compress(x, m, symbol=symbol(c))
          %1 = dim(dim=dim(2*c+n))
          bind_dim(k, symbol=symbol(r))
          %2 = broadcast(k, shape=(r,))
          exit { return tuple(array(%0), int(%1), array(%2)) }
        }"""
    )
    picked, count, filled = interpret(graph, (np.arange(4.0), np.array([True, False, True, False]), 3))
    assert picked.tolist() == [0, 2] and count == 8 and filled.tolist() == [3, 3, 3]


def test_a_result_of_another_type_than_declared_is_an_error() -> None:
    graph = parse_graph("graph f(x: f64[3]) { %0: f32[3] = exp(x) exit { return array(%0) } }")
    with pytest.raises(InterpretationError, match=r"float64\[3\], not f32\[3\]"):
        interpret(graph, (np.ones(3),))
