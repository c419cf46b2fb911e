"""Reads of Python objects by address: compiled against the reference interpreter, on live objects."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.config import override
from janusjit.ir.equality import difference
from janusjit.ir.graph import Graph, walk
from janusjit.ir.text import GraphPrinter, format_graph
from janusjit.ir.types import INT
from janusjit.ir.verify import VerificationError
from janusjit.ops import OPS
from janusjit.ops.objects import ObjectIdentity
from janusjit.ops.type_rules import TypeRuleError
from janusjit.transform import typed
from janusjit.transform.passes import optimize
from tests.backend.lowering import same


class Slots:
    __slots__ = ("__weakref__", "left", "op")

    def __init__(self, op: str, left: Any = None) -> None:
        self.op, self.left = op, left


class Node:
    kind = "of the class"

    def __init__(self, value: Any = None, children: Any = ()) -> None:
        self.value, self.children = value, children

    @property
    def fresh(self) -> list[int]:
        return [1]

    @property
    def raising(self) -> None:
        raise KeyError("raised by a property")

    def method(self) -> None:
        """Is bound anew by each access."""


class Special(Node):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("code of the user's")


class EqualToAll:
    """Equal to anything, and no dictionary takes it."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("code of the user's")


class Float(float):
    pass


class List(list):  # type: ignore[type-arg]
    pass


class Text(str):
    pass


MARKER = EqualToAll()
NAMES: dict[str, Any] = {
    **{type_.__name__: type_ for type_ in (Slots, Node, Special, SimpleNamespace, Float, List)},
    "tuple": tuple,
    "marker": ObjectIdentity(MARKER),
}


WRONG = 'else object.read("a read", "what is read")'
ITEM = f'%zero = constant(value=0, dtype="i64") %a: i64[] = object.item(x, %zero) {WRONG} '


def graph_of(nodes: str, returned: str) -> Graph:
    """Return the graph that does ``nodes`` with ``%a``, the first item of a tuple; its text is parsed twice."""
    text = f"graph f(x) {{ input x: i64[] = x object require TypeIs(x, &tuple) {ITEM}{nodes.replace('!', WRONG)} "
    graph = typed.parse_graph(f"{text} exit {{ return {returned} }} }}", NAMES)
    typed.verify_graph(graph)
    printer = GraphPrinter(graph)
    printed = printer.text()
    again = typed.parse_graph(printed, printer.namespace)
    assert difference(graph, again) is None and format_graph(again) == printed
    return optimize(graph).graph


def run_both(graph: Graph, compiled: Compiled, item: Any) -> Any:
    """Run code and interpreter on an item, compare, and see that nothing is held; return the result."""
    arguments = ((item,),)
    try:
        wanted = interpret(graph, arguments)
    except DeoptimizationSignal:
        wanted = Compiled.DEOPTIMIZED
    got = compiled.entry(*arguments)
    same(got, wanted)
    gc.disable()
    before = sys.getrefcount(item), sys.getrefcount(MARKER), sys.getallocatedblocks()
    for _ in range(200):
        compiled.entry(*arguments)
    after = sys.getrefcount(item), sys.getrefcount(MARKER), sys.getallocatedblocks()
    gc.enable()
    assert before[:2] == after[:2] and abs(before[2] - after[2]) < 100
    return got


def misaligned() -> np.ndarray:
    return np.frombuffer(b"." + np.arange(6.0).tobytes(), "u1")[1:].view("f8").reshape(2, 3)


def unset() -> Slots:
    made = Slots("add")
    del made.left
    return made


class Subclass(np.ndarray):
    pass


TABLE = np.arange(6.0).reshape(2, 3)
LONG = "a text that no program interns, since it is made when it runs"
NODE, SLOTTED, SPACE = Node(MARKER, [1]), Slots("add", MARKER), SimpleNamespace(value=MARKER)
HAS_DICT = Node(MARKER)
HAS_DICT.__dict__["extra"] = 1
KINDS = {"int": -(2**62), "float": -0.0, "bool": True, "numpy.f64": np.float64(0.1), "numpy.f32": np.float32(0.1)}
KINDS |= {"numpy.i64": np.int64(-3), "numpy.u8": np.uint8(255), "numpy.bool": np.True_}
FAILS = Compiled.DEOPTIMIZED

#: nodes, the boxes returned, and what comes of which object
CASES: dict[str, tuple[str, str, list[tuple[Any, Any]]]] = {
    "type": (
        "%r = object.is_type(%a, type=&Node)",
        "bool(%r)",
        [(NODE, True), (Special(), False), (3, False), (None, False), (Node, False)],
    ),
    "none": ("%r = object.is(%a, object=None)", "bool(%r)", [(None, True), (NODE, False), (0, False), (False, False)]),
    "true": ("%r = object.is(%a, object=True)", "bool(%r)", [(True, True), (False, False), (1, False)]),
    "identity": ("%r = object.is(%a, object=&marker)", "bool(%r)", [(MARKER, True), (EqualToAll(), False)]),
    "text": (
        '%r = object.is_text(%a, text="add")',
        "bool(%r)",
        [("add", True), ("".join(("a", "dd")), True)]
        + [(other, False) for other in ("adds", "äd", Text("add"), b"add", MARKER, None)],
    ),
    "long text": (
        f'%r = object.is_text(%a, text="{LONG}")',
        "bool(%r)",
        [(LONG.replace("when", "when"), True), (LONG[:5] + LONG[5:], True), (LONG.upper(), False)],
    ),
    "attribute": (
        '%r = object.attribute(%a, name="value") !',
        'scalar(%r, "object")',
        [(NODE, MARKER), (HAS_DICT, MARKER), (SPACE, MARKER), (Special(MARKER), MARKER), (SLOTTED, FAILS), (3, FAILS)],
    ),
    "slot": (
        '%r = object.attribute(%a, name="left") !',
        'scalar(%r, "object")',
        [(SLOTTED, MARKER), (unset(), FAILS), (NODE, FAILS)],
    ),
    "class attribute": (
        '%r = object.attribute(%a, name="kind") !',
        'scalar(%r, "object")',
        [(NODE, Node.kind), (SLOTTED, FAILS)],
    ),
    "fresh attribute": ('%r = object.attribute(%a, name="fresh") !', "None", [(NODE, FAILS)]),
    "bound method": ('%r = object.attribute(%a, name="method") !', "None", [(NODE, FAILS)]),
    "raising": ('%r = object.attribute(%a, name="raising") !', "None", [(NODE, FAILS)]),
    "length": (
        "%r = object.length(%a) !",
        "int(%r)",
        [([], 0), ([1, 2], 2), ((), 0), ((1,) * 300, 300)] + [(odd, FAILS) for odd in (List(), {}, "ab", TABLE, None)],
    ),
    "last item": (
        '%n = object.length(%a) ! %one = constant(value=1, dtype="i64") %i = subtract(%n, %one) '
        "%r = object.item(%a, %i) !",
        'scalar(%r, "object")',
        [([1, MARKER], MARKER), ((1, 2, MARKER), MARKER), ([], FAILS), ((), FAILS)],
    ),
    "item past the end": (
        '%i = constant(value=2, dtype="i64") %r = object.item(%a, %i) !',
        'scalar(%r, "object")',
        [([1, 2, MARKER], MARKER), ((1, 2), FAILS), ([1, 2], FAILS), (List([1, 2, 3]), FAILS), ("abc", FAILS)],
    ),
    "array": (
        '%r = object.array(%a, dtype="f64", shape=(2, 3)) ! %s = multiply(%r, %r) ',
        "tuple(array(%r), array(%s))",
        [(TABLE, (TABLE, TABLE * TABLE)), (TABLE[::-1], FAILS), (TABLE.T.copy().T, FAILS), (TABLE.ravel(), FAILS)]
        + [(TABLE.astype(odd), FAILS) for odd in ("f4", "i8", ">f8", "c16")]
        + [(odd, FAILS) for odd in (TABLE.view(Subclass), misaligned(), TABLE.tolist(), None, TABLE.T, TABLE[:, :2])]
        + [(TABLE[:, ::-1][:, ::-1], (TABLE, TABLE * TABLE))],
    ),
    "array without dimensions": (
        '%r = object.array(%a, dtype="i32", shape=()) !',
        "numpy.i32(%r)",
        [(np.array(-7, "i4"), np.int32(-7)), (np.int32(-7), FAILS), (np.array([1], "i4"), FAILS)],
    ),
    "array of nothing": (
        '%r = object.array(%a, dtype="bool", shape=(0, 3)) !',
        "array(%r)",
        [(np.ones((0, 3), bool), np.ones((0, 3), bool)), (np.ones((3, 0), bool), FAILS)],
    ),
    **{
        kind: (
            f'%r = object.number(%a, kind="{kind}") !',
            f"{kind}(%r)",
            [(value, value)] + [(odd, FAILS) for other, odd in KINDS.items() if other != kind] + [(None, FAILS)],
        )
        for kind, value in KINDS.items()
    },
}
CASES["int"][2].extend([(value, value) for value in (0, 1, -1, 2**30, -(2**30), 2**63 - 1, -(2**63))])
CASES["int"][2].extend([(value, FAILS) for value in (2**63, -(2**63) - 1, 2**200)])
CASES["float"][2].extend([(np.inf, np.inf), (Float(1.0), FAILS)])
CASES["bool"][2].append((False, False))


@pytest.mark.parametrize("name", CASES)
def test_reads(name: str) -> None:
    nodes, returned, calls = CASES[name]
    graph = graph_of(nodes, returned)
    compiled = compile_graph(graph)
    for item, expected in calls:
        got = run_both(graph, compiled, item)
        if expected is MARKER:
            assert got is MARKER
        else:
            same(got, expected)


def test_what_is_read_is_copied() -> None:
    compiled = compile_graph(graph_of('%r = object.array(%a, dtype="f64", shape=(2, 3)) !', "array(%r)"))
    table = TABLE.copy()
    got = compiled.entry((table,))
    table[:] = 0
    np.testing.assert_array_equal(got, TABLE)


# ---------------------------------------------------------------------- walking


CHAIN = """
    %one = constant(value=1, dtype="i64")
    %n, %last = loop(%zero, %a) as (%i: i64[], %here: i64[]) {
      %is = object.is_type(%here, type=&Slots)
      if(%is) {
        %left = object.attribute(%here, name="left") !
        %next = add(%i, %one)
        continue(%next, %left)
      } else {
        break(%i, %here)
      }
      unreachable
    }
    %end = object.is(%last, object=None)
    guard(%end) else #1 object.read("the end", "None")
"""


def chain(length: int, end: Any = None) -> Any:
    for _ in range(length):
        end = Slots("add", end)
    return end


def test_a_structure_of_any_depth() -> None:
    graph = graph_of(CHAIN, "int(%n)")
    compiled = compile_graph(graph)
    for length in (0, 1, 7, 300):
        assert run_both(graph, compiled, chain(length)) == length
    assert run_both(graph, compiled, chain(3, "no end")) is FAILS
    assert run_both(graph, compiled, chain(3, unset())) is FAILS


ASKED = """
    %left: i64[] = object.attribute(%a, name="left") !
    %found: bool[] = succeeded(%left)
    %n: f64[], %o: i64[] = if(%found) {
      %value: f64[] = object.number(%left, kind="float") !
      %ok: bool[] = succeeded(%value)
      %v: f64[] = if(%ok) { yield(%value) } else { %other = constant(value=-1.0, dtype="f64") yield(%other) }
      yield(%v, %left)
    } else {
      %nothing = constant(value=-2.0, dtype="f64")
      yield(%nothing, %a)
    }
"""


def test_reads_that_are_asked_whether_they_succeeded() -> None:
    graph = graph_of(ASKED, 'tuple(float(%n), scalar(%o, "object"))')
    compiled = compile_graph(graph)
    for item, expected in ((Slots("add", 2.5), 2.5), (Slots("add", 3), -1.0), (NODE, -2.0), (unset(), -2.0)):
        number, read = run_both(graph, compiled, item)
        assert number == expected and read is getattr(item, "left", item)


def test_an_array_that_is_asked_for() -> None:
    nodes = """
        %r: f64[2] = object.array(%a, dtype="f64", shape=(2,)) !
        %ok: bool[] = succeeded(%r)
        %s: f64[] = if(%ok) { %t = sum(%r, axes=(0,), keepdims=False) yield(%t) } else {
          %other = constant(value=-1.0, dtype="f64") yield(%other)
        }
    """
    graph = graph_of(nodes, "float(%s)")
    compiled = compile_graph(graph)
    assert run_both(graph, compiled, np.array([1.0, 2.0])) == 3.0
    assert run_both(graph, compiled, np.array([1.0])) == -1.0


def test_a_symbolic_shape() -> None:
    text = f"""
    graph f(y, x) {{
      symbol n >= 0 = y axis 0
      input y: f64[n] = y array C
      input x: i64[] = x object
      require ArrayLayout(y, "f64", (n,), "C", False)
      require TypeIs(x, &tuple)
      {ITEM}
      %r = object.array(%a, dtype="f64", shape=(n, 2)) {WRONG}
      exit {{ return array(%r) }}
    }}"""
    graph = typed.parse_graph(text, NAMES)
    compiled = compile_graph(graph)
    for size in (0, 1, 3):
        for other in (size, size + 1):
            arguments = np.ones(size), (np.arange(2.0 * other).reshape(other, 2),)
            got = compiled.entry(*arguments)
            if other == size:
                same(got, interpret(graph, arguments))
            else:
                assert got is FAILS


# ---------------------------------------------------------------------- passes


def ops_of(graph: Graph) -> list[str]:
    return [node.op for node in graph.walk()]


def test_no_read_leaves_what_protects_it() -> None:
    """An address may be no object at all where nothing asks for it: out of its arm, a read would crash."""
    nodes = """
        %one = constant(value=1, dtype="i64") %ten = constant(value=10, dtype="i64")
        %whole = object.is_type(%a, type=&Node)
        %b = if(%whole) { %v = object.attribute(%a, name="value") ! yield(%v) } else { yield(%one) }
        %n = loop(%zero) as (%i: i64[]) {
          %more = less(%i, %ten)
          if(%more) {
            %turn = if(%whole) {
              %float = object.is_type(%b, type=&float)
              %add = object.is_text(%b, text="add")
              %either = logical_or(%float, %add)
              %step = if(%either) { yield(%ten) } else { yield(%one) }
              yield(%step)
            } else { yield(%one) }
            %next = add(%i, %turn)
            continue(%next)
          } else { break(%i) }
          unreachable
        }
    """
    graph = graph_of(nodes, "int(%n)")
    compiled = compile_graph(graph)
    (loop,) = [node for node in graph.walk() if node.op == "loop"]
    assert not [node.op for node in graph.body.nodes if node.op == "object.is_text"]
    assert {"object.is_type", "object.is_text"} <= {node.op for node in walk(loop.regions[0])}
    for item in (Node(1.5), Node("add"), Node(3), Slots("add")):
        assert run_both(graph, compiled, item) == 10


def test_equal_reads_are_one_and_unwanted_ones_none() -> None:
    nodes = """
        %t = object.is_type(%a, type=&Node) %u = object.is_type(%a, type=&Node) %w = object.is_type(%a, type=&Slots)
        %v = object.attribute(%a, name="value") ! %w2 = object.attribute(%a, name="value") !
        %i = object.is(%v, object=&marker) %j = object.is(%w2, object=&marker) %k = object.is(%v, object=None)
        %both = logical_and(%t, %u) %all = logical_and(%i, %j)
    """
    graph = graph_of(nodes, "tuple(bool(%both), bool(%all))")
    found = ops_of(graph)
    assert [found.count(f"object.{op}") for op in ("is_type", "attribute", "is")] == [1, 1, 1]
    assert run_both(graph, compile_graph(graph), NODE) == (True, True)


def test_constants_are_no_objects() -> None:
    nodes = "%c = object.is_type(%one, type=&Node)"
    graph = graph_of('%one = constant(value=1, dtype="i64")' + nodes, "bool(%c)")
    assert "object.is_type" in ops_of(graph)


class Meta(type):
    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = type.__hash__


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("object.is", {"object": MARKER}),
        ("object.is", {"object": 1}),
        ("object.is_type", {"type": 3}),
        ("object.is_type", {"type": Meta("Odd", (), {})}),
        ("object.attribute", {"name": Text("x")}),
        ("object.attribute", {}),
        ("object.number", {"kind": "complex"}),
        ("object.number", {"kind": "f64"}),
        ("object.array", {"dtype": "c16", "shape": ()}),
        ("object.array", {"dtype": "f64", "shape": [2]}),
        ("object.length", {"index": 1}),
    ],
)
def test_attributes_that_say_nothing(op: str, attributes: dict[str, Any]) -> None:
    with pytest.raises(TypeRuleError):
        OPS[op].infer((INT,), attributes)


def test_a_place_without_a_guard_is_refused() -> None:
    graph = graph_of("", 'scalar(%a, "object")')
    graph.guards.entry.clear()
    with pytest.raises(VerificationError, match="vouches"):
        typed.verify_graph(graph)


# ---------------------------------------------------------------------- code on disk


def test_code_is_kept_and_refers_to_the_objects_at_hand(tmp_path: Path) -> None:
    """Two graphs of one text have the same code, each with its own class and object in the table."""
    nodes = """
        %t = object.is_type(%a, type=&Local) %i = object.is(%a, object=&local) %s = object.is_text(%a, text="add")
        %n = object.is(%a, object=None)
    """
    results = "tuple(bool(%t), bool(%i), bool(%s), bool(%n))"
    with override(cache=tmp_path):
        compiled_before: list[bool] = []
        for _ in range(2):
            local = type("Local", (), {})
            one = local()
            NAMES.update(Local=local, local=ObjectIdentity(one))
            graph = graph_of(nodes, results)
            compiled = compile_graph(graph)
            compiled_before.append(compiled.code.times.total > 0)
            assert run_both(graph, compiled, one) == (True, True, False, False)
            assert run_both(graph, compiled, local()) == (True, False, False, False)
            assert run_both(graph, compiled, None) == (False, False, False, True)
            assert run_both(graph, compiled, "".join(("a", "dd"))) == (False, False, True, False)
        assert compiled_before == [True, False]
