"""Every rewrite rule, both sides, over special values and random ones."""

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from janusjit.backend.reference import interpret
from janusjit.ir import boxes as bx
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ir.guards import ArrayLayout, InGraphGuard
from janusjit.ir.places import ArgumentPlace
from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.type_rules import TypeRuleError
from janusjit.transform.patterns import Operation, RuleSyntaxError, Variable, names_in
from janusjit.transform.rewrite import build, rewrite, rules_for
from janusjit.transform.rules import RULES, Rule
from janusjit.transform.typed import infer, may_fail, parse_graph, verify_graph

BY_NAME = {rule.name: rule for rule in RULES}


def specials(dtype: str) -> np.ndarray:
    """Zeros, infinities, NaN, subnormals, the ends of the range, and ordinary numbers."""
    numpy_dtype = DTYPES[dtype]
    if dtype == "bool":
        return np.array([False, True])
    if numpy_dtype.kind in "iu":
        info = np.iinfo(numpy_dtype)
        return np.array([0, 1, 2, 3, 100, info.max, info.max - 1, info.min, info.min + 1], numpy_dtype)
    info = np.finfo(numpy_dtype)
    tiny, small, big = info.smallest_subnormal, info.smallest_normal, info.max
    values = [
        0.0,
        1.0,
        0.5,
        2.0,
        3.0,
        0.1,
        7.25,
        1e-3,
        1e5,
        np.inf,
        np.nan,
        tiny,
        3 * tiny,
        small,
        small / 3,
        big,
        big / 2,
    ]
    return np.array([*values, *(-value for value in values)], numpy_dtype)


def randoms(dtype: str, count: int = 400) -> np.ndarray:
    generator = np.random.default_rng(7)
    if DTYPES[dtype].kind == "f":
        scale = generator.uniform(-30, 30, count)
        return (generator.standard_normal(count) * np.exp(scale)).astype(DTYPES[dtype])
    return generator.integers(0, 2 if dtype == "bool" else 120, count).astype(DTYPES[dtype])


def value_names(pattern: Any) -> list[str]:
    if isinstance(pattern, Variable):
        return [pattern.name]
    parts = pattern.inputs if isinstance(pattern, Operation) else ()
    return list(dict.fromkeys(name for part in parts for name in value_names(part)))


def operands(rule: Rule, dtype: str, sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Values for the rule's variables: all pairs of special values, then random ones; or of the sample's shape."""
    names = value_names(rule.left)
    dtypes = {name: str(sample.get(name)) if sample.get(name) in DTYPES else dtype for name in names}
    if isinstance(shape := sample.get("x"), tuple):
        shapes = {name: s if isinstance(s := sample.get(name), tuple) else shape for name in names}
        return {name: np.resize(specials(dtypes[name]), shapes[name]) for name in names}
    columns = list(zip(*itertools.product(*(specials(dtypes[name]) for name in names)), strict=True))
    generator = np.random.default_rng(3)
    return {
        name: np.concatenate([np.array(column, DTYPES[dtypes[name]]), generator.permutation(randoms(dtypes[name]))])
        for name, column in zip(names, columns, strict=True)
    }


def left_graph(rule: Rule, sample: Mapping[str, Any], values: Mapping[str, np.ndarray], dtype: str) -> Graph:
    """The graph of the rule's left side."""
    graph = Graph("rule", tuple(values))
    builder = GraphBuilder(graph)
    bindings: dict[str, Any] = {name: item for name, item in sample.items() if name not in values}
    for index, (name, array) in enumerate(values.items()):
        place = ArgumentPlace(index, name)
        type_ = TensorType(next(key for key, found in DTYPES.items() if found == array.dtype), array.shape)
        bindings[name] = builder.add_input(place, type_)
        graph.guards.entry.append(ArrayLayout(place, type_.dtype, type_.shape))
    made: list[Node] = []
    try:
        result = build(rule.left, bindings, Node("origin"), made, dtype)
    except TypeRuleError:  # the condition of a where
        made.clear()
        result = _with_boolean_number(rule, bindings, made)
    graph.body.nodes += made
    builder.exit((result,), bx.ExitRecipe(bx.ArrayBox(0)))
    for node in made:
        if may_fail(node.op, tuple(value.type for value in node.inputs), node.attributes):
            node.guard = InGraphGuard(code="python.exception", subject=node.op, expected="no exception")
            graph.guards.in_graph.append(node.guard)
    verify_graph(graph)
    return graph


def _with_boolean_number(rule: Rule, bindings: Mapping[str, Value], made: list[Node]) -> Value:
    condition, first, second = rule.left.inputs
    attributes = {"value": bool(condition.value), "dtype": "bool"}
    made.append(Node("constant", (), (TensorType("bool"),), attributes))
    inputs = (made[-1].result, bindings[first.name], bindings[second.name])
    made.append(Node("where", inputs, infer("where", tuple(v.type for v in inputs), {})))
    return made[-1].result


def cases(*exactness: str) -> list[Any]:
    return [
        pytest.param(rule, dtype, id=f"{rule.name}-{dtype}")
        for rule in RULES
        if rule.exactness in exactness
        for dtype in rule.dtypes
    ]


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    """Equal bits, the sign and payload of NaN aside."""
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("rule", "dtype"), cases("exact"))
def test_exact_rules_keep_every_bit(rule: Rule, dtype: str) -> None:
    applied = 0
    for sample in rule.samples:
        values = operands(rule, dtype, sample)
        left, right = left_graph(rule, sample, values, dtype), left_graph(rule, sample, values, dtype)
        if rewrite(right, [rule]):
            applied += 1
            verify_graph(right)
            assert_same_bits(*(interpret(graph, tuple(values.values())) for graph in (left, right)))
    assert applied, "no sample has a form the rule applies to"


def one_by_one(rule: Rule, dtype: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a rule of one variable, on 0-d values if a sample says so, else on arrays."""
    shape = () if rule.samples[0].get("x") == () else (1,)
    first = {"x": values[0].reshape(shape)}
    left, right = left_graph(rule, {}, first, dtype), left_graph(rule, {}, first, dtype)
    assert rewrite(right, [rule]) == 1
    return tuple(
        np.array([interpret(graph, (value.reshape(shape),)).reshape(())[()] for value in values])
        for graph in (left, right)
    )


def ulps(found: np.ndarray, exact: list[Fraction]) -> float:
    errors = (
        abs(Fraction(float(a)) - b) / Fraction(float(np.spacing(np.abs(a)))) for a, b in zip(found, exact, strict=True)
    )
    return float(max(errors))


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("name", "power"), [("power two", 2), ("scalar power two", 2), ("power three", 3)])
def test_accurate_rules_stay_within_the_tolerance_of_the_op(name: str, power: int, dtype: str) -> None:
    assert BY_NAME[name].exactness == "accurate"
    x = randoms(dtype)
    x = x[(np.abs(x) > 1e-8) & (np.abs(x) < 1e8)]
    _, right = one_by_one(BY_NAME[name], dtype, x)
    assert ulps(right, [Fraction(float(v)) ** power for v in x]) <= 1.5


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("rule", [pytest.param(r, id=r.name) for r in RULES if r.exactness == "accurate"])
def test_accurate_rules_keep_special_values(rule: Rule, dtype: str) -> None:
    left, right = one_by_one(rule, dtype, specials(dtype))
    np.testing.assert_array_equal(np.signbit(left[~np.isnan(left)]), np.signbit(right[~np.isnan(left)]))
    np.testing.assert_array_almost_equal_nulp(left[np.isfinite(left)], right[np.isfinite(left)], 2)
    assert_same_bits(left[~np.isfinite(left)], right[~np.isfinite(left)])


@pytest.mark.parametrize(("rule", "dtype"), cases("relaxed"))
def test_relaxed_rules_agree_where_nothing_overflows_or_cancels(rule: Rule, dtype: str) -> None:
    benign = np.linspace(0.3, 3, 50).astype(DTYPES[dtype])
    values = {name: benign[:: 1 if name == "x" else -1].copy() for name in value_names(rule.left)}
    for sample in rule.samples:
        left, right = (left_graph(rule, sample, values, dtype) for _ in range(2))
        assert rewrite(right, [rule]) >= 1
        found = [interpret(graph, tuple(values.values())) for graph in (left, right)]
        np.testing.assert_allclose(*found, rtol=16 * float(np.finfo(DTYPES[dtype]).eps))


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("softplus", lambda x: mpmath.log(1 + mpmath.exp(x))),
        ("softplus by log1p", lambda x: mpmath.log(1 + mpmath.exp(x))),
        ("log of one plus", lambda x: mpmath.log(1 + x)),
        ("exp minus one", lambda x: mpmath.exp(x) - 1),
    ],
)
def test_stable_forms_are_nearer_to_the_truth(name: str, truth: Any, dtype: str) -> None:
    x = np.concatenate([np.logspace(-12, 2.5, 30), -np.logspace(-12, -0.1, 20)]).astype(DTYPES[dtype])
    if name.startswith("softplus"):
        x = np.concatenate([x, np.array([-50, -20, 700, 1000], DTYPES[dtype])])
    if name == "exp minus one":
        x = x[x < 80]
    with mpmath.workdps(60):
        exact = [truth(mpmath.mpf(float(v))) for v in x]
    left, right = one_by_one(BY_NAME[name], dtype, x)

    def error(found: np.ndarray) -> list[float]:
        with mpmath.workdps(60):
            return [float(abs((mpmath.mpf(float(a)) - b) / b)) for a, b in zip(found, exact, strict=True)]

    eps = float(np.finfo(DTYPES[dtype]).eps)
    assert max(error(right)) <= 4 * eps
    assert max(error(left)) > 1000 * eps, "the rule would be pointless"


def test_softplus_is_relaxed_because_eager_overflows() -> None:
    left, right = one_by_one(BY_NAME["softplus"], "f64", np.array([1000.0]))
    assert left[0] == np.inf and right[0] == 1000.0
    assert BY_NAME["softplus"] not in rules_for(exact=True)
    assert BY_NAME["softplus"] in rules_for(exact=False)


@pytest.mark.parametrize(
    "text",
    [
        "add(x, 0.0)",  # -0.0 + 0.0 is 0.0
        "subtract(x, -0.0)",  # -0.0 - -0.0 is 0.0
        "subtract(x, x)",  # inf - inf
        "divide(x, x)",  # 0 / 0
        "multiply(x, 0.0)",  # inf * 0, and the sign of zero
        "divide(x, 3.0)",  # 1/3 is rounded
        "exp(log(x))",
        "log(exp(x))",
        "log(add(1.0, exp(x)))",
        "sqrt(square(x))",
        "logical_not(less(x, y))",  # false for NaN
        "negative(subtract(x, y))",  # the sign of zero
    ],
)
def test_what_is_not_exact_is_left_alone(text: str) -> None:
    values = {"x": specials("f64"), "y": specials("f64")}
    rule = Rule("left alone", f"{text} -> x", "relaxed", ("f64",), "to build a graph with")
    graph = left_graph(rule, {}, values, "f64")
    assert rewrite(graph, rules_for(exact=True)) == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("%0 = multiply(1.0, x)", "x"),
        ('%1: f64[] = constant(value=1.0, dtype="f64") %2 = full(%1, shape=(3,)) %0 = multiply(x, %2)', "x"),
        ("%1 = transpose(y, axes=(1, 0)) %0 = transpose(%1, axes=(1, 0))", "y"),
        ('%1 = cast(x, dtype="f32") %0 = cast(%1, dtype="f64")', None),
        ('%1: f64[] = constant(value=1.0, dtype="f64") %0 = multiply(s, %1)', "s"),
        ("%1 = reshape(s, shape=(1,)) %0 = multiply(%1, 1.0)", "%1"),
        ("%1: f64[1] = constant_array(value=&one) %0 = multiply(s, %1)", None),  # the types differ
    ],
)
def test_replacements_have_the_type_of_what_they_replace(body: str, expected: str | None) -> None:
    from janusjit.ops.indexing import FrozenArray

    graph = parse_graph(
        f"graph f(x: f64[3], y: f64[2,5], s: f64[]) {{ {body} exit(%0) {{ return array(%0) }} }}",
        {"one": FrozenArray(np.ones(1))},
    )
    names = {given.place.name: given.value for given in graph.inputs}
    before = graph.body.terminator.inputs[0]
    type_, first = before.type, graph.body.nodes[0].results[0]
    rewrite(graph, rules_for(exact=True))
    verify_graph(graph)
    after = graph.body.terminator.inputs[0]
    assert after.type == type_
    assert after is (before if expected is None else first if expected == "%1" else names[expected])


def test_the_location_is_inherited() -> None:
    graph = parse_graph(
        "graph f(x: f64[3]) { %0 = power(x, 3.0) @train.py:7:3 %1 = negative(%0) exit(%1) { return array(%1) } }"
    )
    rewrite(graph, rules_for(exact=True))
    made = [node for node in graph.body.nodes if node.op == "multiply"]
    assert len(made) == 2 and all(str(node.span) == "train.py:7:3" for node in made)


def test_rules_meet_the_results_of_rules() -> None:
    graph = parse_graph(
        """graph f(x: f64[3]) {
          %0 = negative(x)
          %1 = multiply(%0, 1.0)
          %2 = negative(%1)
          %3 = subtract(%2, 0.0)
          exit(%3) { return array(%3) }
        }"""
    )
    assert rewrite(graph, rules_for(exact=True)) == 3
    assert graph.body.terminator.inputs == (graph.inputs[0].value,)


def test_a_view_that_is_returned_is_left_alone() -> None:
    text = """graph f(x: f64[2,3]) {{
      %0 = add(x, x)
      %1 = transpose(%0, axes=(1, 0))
      %2 = transpose(%1, axes=(1, 0))
      exit(%0, %1, %2) {{ return tuple({0}, {1}) }}
    }}"""
    graph = parse_graph(text.format("array(%1)#1", "view(%2, #1)#2"))
    assert rewrite(graph, rules_for(exact=True)) == 0
    base, view = interpret(graph, (np.ones((2, 3)),))
    assert view.base is base
    assert rewrite(parse_graph(text.format("array(%1)", "array(%2)")), rules_for(exact=True)) == 2


@pytest.mark.parametrize(
    "text", ["negative(x)", "x -> negative(x)", "negative( -> x", "negative(x) -> x if x", "negative(x) -> 1 +"]
)
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(RuleSyntaxError):
        Rule("broken", text, "exact", ("f64",))


@pytest.mark.parametrize("arguments", [("negative(x) -> y", "exact", ""), ("negative(x) -> x", "relaxed", "")])
def test_a_rule_that_is_incomplete_is_refused(arguments: tuple[str, str, str]) -> None:
    text, exactness, reason = arguments
    with pytest.raises(ValueError, match="rule 'broken'"):
        Rule("broken", text, exactness, ("f64",), reason)


def test_the_table_is_in_order() -> None:
    assert len(BY_NAME) == len(RULES)
    for rule in RULES:
        assert "x" in set(names_in(rule.left)), rule.name
