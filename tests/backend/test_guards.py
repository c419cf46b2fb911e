"""Each entry guard in compiled code has the outcome of its Python check."""

from __future__ import annotations

import functools
import math
import re
import sys
import types
import warnings
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import janusjit as jj
from janusjit.ir.class_guards import ClassAttributeIs, ClassOrderIs
from janusjit.ir.dims import symbol
from janusjit.ir.graph import Graph
from janusjit.ir.guards import (
    ArrayLayout,
    DictKeysAre,
    DimRelation,
    DistinctObjects,
    EntryGuard,
    ErrorStateDefault,
    IdentityIs,
    IsMissing,
    LengthIs,
    NoOverlap,
    SameObject,
    ScalarTypeIs,
    TypeIs,
    ValueEquals,
)
from janusjit.ir.places import (
    MISSING,
    AttributePlace,
    CellPlace,
    ConstantPlace,
    GlobalPlace,
    ItemPlace,
    Place,
)
from tests.backend.entry_only import Compiled, arguments, compile_entry, entry_graph, outcome

A, B, C = arguments(3)


@functools.cache
def compiled(guards: tuple[EntryGuard, ...], count: int) -> tuple[Graph, Compiled]:
    graph = entry_graph(count, guards)
    graph.inputs.clear()
    graph.body.nodes[0].inputs = ()
    return graph, compile_entry(graph)


def agree(guards: tuple[EntryGuard, ...], *values: Any) -> bool:
    """Check that compiled code fails at the very guard Python fails at, and return whether all hold."""
    graph, native = compiled(guards, len(values))
    failures = graph.guards.failures(values)
    result, failed = outcome(native, *values)
    expected = graph.guards.entry.index(failures[0][0]) if failures else -1
    assert failed == expected, (failures, failed)
    assert result == "passed" if not failures else result is Compiled.DEOPTIMIZED
    return not failures


class Float(float):
    pass


class Int(int):
    pass


class List(list):
    def __len__(self) -> int:
        return 99


class Dict(dict):
    def get(self, key: Any, default: Any = None) -> Any:
        return "overridden"

    def __iter__(self) -> Any:
        return iter(())


Point = namedtuple("Point", "x y")


class Equal:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("key")


class Slotted:
    __slots__ = ("value",)


class Plain:
    shared = "class attribute"


class Dynamic:
    def __getattr__(self, name: str) -> Any:
        if name == "broken":
            raise ValueError(name)
        if name == "absent":
            raise AttributeError(name)
        return name


QUIET_NAN = float("nan")
OTHER_NAN = float(np.array([0x7FF8000000000001], "u8").view("f8")[0])

OBJECTS = [
    None, True, False, 0, 1, -1, 2, 255, 256, 257, -5, -6, 2**30 - 1, 2**30, -(2**30), 2**62, 2**63 - 1, 2**63,
    -(2**63), -(2**63) - 1, 2**100, 0.0, -0.0, 1.0, 2.5, math.inf, -math.inf, QUIET_NAN, OTHER_NAN, -QUIET_NAN, 1 + 0j,
    "", "key", "".join(["k", "ey"]), "other", b"key", b"", (), (1, 2), [], [1], [1, 2], {}, {"a": 1}, {"a": 1, "b": 2},
    {"b": 2, "a": 1}, set(), {1}, {1, 2}, frozenset({1, 2}), Int(1), Float(1.0), Float("nan"), List(), Dict(a=1),
    OrderedDict(a=1, b=2), Point(1, 2), Equal(), {Equal(): 1}, Plain(), Slotted(), Dynamic(), Plain, int, len, math,
    np.float64(1.0), np.float64(-0.0), np.float64("nan"), np.float32(1.0), np.int64(1), np.int32(1), np.uint8(255),
    np.bool_(True), np.bool_(False), np.zeros(()), np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3), "f4"),
    np.zeros((3, 2)).T, np.ma.zeros(3), np.zeros((2, 3), ">f8"), np.zeros(2, "i8"), range(3), slice(1, 2),
]  # fmt: skip

everything = st.sampled_from(OBJECTS)
SCALAR_KINDS = ("int", "float", "bool", "numpy.f64", "numpy.f32", "numpy.i64", "numpy.i32", "numpy.u8", "numpy.bool")


def each_object(guard: EntryGuard) -> tuple[int, int]:
    """Check agreement for every object; return how many passed and how many failed."""
    outcomes = [agree((guard,), value) for value in OBJECTS]
    return sum(outcomes), len(outcomes) - sum(outcomes)


@pytest.mark.parametrize(
    "type_", [int, bool, float, list, dict, tuple, Plain, np.ndarray, np.float64, type(None), type]
)
def test_type_is(type_: type) -> None:
    passed, failed = each_object(TypeIs(place=A, type_=type_))
    assert passed and failed


@pytest.mark.parametrize("value", [None, True, False, len, math, Plain, OBJECTS[-1], 2**100])
def test_identity_is(value: Any) -> None:
    assert agree((IdentityIs(place=A, value=value),), value)
    each_object(IdentityIs(place=A, value=value))


@pytest.mark.parametrize(
    "value",
    [v for v in OBJECTS if isinstance(v, (int, float, str, bytes, type(None), np.generic, complex))],
    ids=lambda value: f"{type(value).__name__} {value!r}",
)
def test_value_equals(value: Any) -> None:
    passed, failed = each_object(ValueEquals(place=A, value=value))
    assert failed
    assert passed or np.isnan(value)


@given(st.integers(-(2**65), 2**65), st.integers(-3, 3))
def test_value_equals_of_near_integers(value: int, distance: int) -> None:
    guard = VALUE_GUARDS[value % len(VALUE_GUARDS)]
    assert agree((guard,), guard.value + distance) == (distance == 0)


VALUE_GUARDS = [ValueEquals(place=A, value=v) for v in (0, -1, 2**30, -(2**30), 2**60 + 1, 2**63 - 1, -(2**63), 2**64)]


@pytest.mark.parametrize("kind", SCALAR_KINDS)
def test_scalar_type_is(kind: str) -> None:
    passed, failed = each_object(ScalarTypeIs(place=A, kind=kind))
    assert passed and failed


@given(st.integers(-(2**64), 2**64))
def test_ints_must_fit_64_bits(value: int) -> None:
    assert agree((INT_GUARD,), value) == (-(2**63) <= value < 2**63)


INT_GUARD = ScalarTypeIs(place=A, kind="int")


def test_is_missing() -> None:
    namespace: dict[str, Any] = {}
    guard = IsMissing(place=GlobalPlace(namespace, "name"))
    assert agree((guard,))
    namespace["name"] = None
    assert not agree((guard,))
    del namespace["name"]
    assert agree((guard,))


SIZED = {list: ([], [1], [1, 2]), dict: ({}, {1: 1}), tuple: ((), (1,), (1, 2)), set: (set(), {1}, {1, 2, 3})}


@pytest.mark.parametrize("type_", SIZED)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_length_is(type_: type, length: int) -> None:
    guards = (TypeIs(place=A, type_=type_), LengthIs(place=A, length=length))
    for value in SIZED[type_]:
        assert agree(guards, value) == (len(value) == length)


def test_length_of_what_no_guard_has_typed() -> None:
    guard = LengthIs(place=A, length=2)
    for value in OBJECTS:
        if hasattr(type(value), "__len__") and np.ndim(value):
            agree((guard,), value)
    assert agree((LengthIs(place=A, length=99),), List())


def test_dict_keys_are() -> None:
    guards = (TypeIs(place=A, type_=dict), DictKeysAre(place=A, keys=("a", "b")))
    assert agree(guards, {"a": 1, "b": 2})
    assert agree(guards, {"".join("a"): 1, "".join(["", "b"]): 2})
    assert not agree(guards, {"b": 1, "a": 2})
    assert not agree(guards, {"a": 1})
    assert not agree(guards, {"a": 1, "b": 2, "c": 3})
    assert not agree(guards, {"a": 1, Equal(): 2})
    shrunk = dict.fromkeys(["x", "a", "b"], 0)
    del shrunk["x"]
    assert agree(guards, shrunk)


@pytest.mark.parametrize(
    "keys", [(1, 2.5, None), (QUIET_NAN,), ((1, 2), "a"), (), (True,), (Equal(),), (0.0,), (2**70,)]
)
def test_dict_keys_of_any_type(keys: tuple[Any, ...]) -> None:
    guards = (TypeIs(place=A, type_=dict), DictKeysAre(place=A, keys=keys))
    assert agree(guards, dict.fromkeys(keys))
    others = [(1, 2.5, None), (math.nan,), ((1, 2), "a"), (), (1,), (1.0,), (-0.0,), (2**70,), (1, 2.5, 0)]
    for other in others:
        agree(guards, dict.fromkeys(other))


def test_dict_keys_without_a_type_guard() -> None:
    guard = DictKeysAre(place=A, keys=("a",))
    assert agree((guard,), {"a": 1})
    assert not agree((guard,), Dict(a=1))
    assert agree((guard,), ["a"])


@pytest.mark.parametrize(
    ("class_", "name", "value"),
    [
        (Plain, "shared", "class attribute"),
        (Plain, "absent", MISSING),
        (Plain, "__init__", object.__init__),
        (int, "__add__", int.__add__),
        (int, "absent", MISSING),
        (dict, "get", dict.__dict__["get"]),
        (Slotted, "value", Slotted.__dict__["value"]),
    ],
)
def test_class_attribute_is(class_: type, name: str, value: Any) -> None:
    assert agree((ClassAttributeIs(class_, name, value),), None)
    assert not agree((ClassAttributeIs(class_, name, "another"),), None)


def test_class_guards_see_a_changed_class() -> None:
    class Base:
        pass

    class Derived(Base):
        pass

    attribute, order = ClassAttributeIs(Derived, "step", MISSING), ClassOrderIs(Derived, Derived.__mro__)
    assert agree((attribute, order), None)
    Base.step = 1
    assert not agree((attribute,), None) and agree((order,), None)
    del Base.step
    assert agree((attribute, order), None)
    Derived.__bases__ = (Plain,)
    assert agree((attribute,), None) and not agree((order,), None)


@given(st.tuples(everything, everything, st.booleans()))
def test_same_and_distinct_objects(pair: tuple[Any, Any, bool]) -> None:
    first, second, alias = pair
    second = first if alias else second
    assert agree((SAME,), first, second) == (first is second)
    assert agree((DISTINCT,), first, second) == (first is not second)


SAME, DISTINCT = SameObject(first=A, second=B), DistinctObjects(first=A, second=B)

# -- arrays -----------------------------------------------------------------------------------------------------------

N = symbol("n")


@st.composite
def layouts(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(["f8", "f4", "i8", "i4", "u1", "?", ">f8", "longlong", "f2", "U3", "O"]))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    array = np.zeros(shape, dtype)
    if draw(st.booleans()):
        array = array.T
    if array.ndim and draw(st.booleans()):
        array = array[:: draw(st.sampled_from([1, 2, -1]))]
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    if draw(st.booleans()):
        raw = np.zeros(array.nbytes + 1, "u1")[1:]
        if array.dtype.itemsize and not array.dtype.hasobject:
            array = np.ndarray(array.shape, array.dtype, raw.data)
    if draw(st.integers(0, 5)) == 0:
        array = array.view(np.matrix) if array.ndim == 2 else array
    array.flags.writeable = draw(st.booleans()) or not array.flags.writeable
    return array


LAYOUTS = [
    ArrayLayout(place=A, dtype=dtype, shape=shape, layout=layout, writeable=writeable)
    for dtype in ("f64", "i64", "bool")
    for shape in ((), (3,), (2, 3), (N,), (N, 2), (N, N), (0, 2))
    for layout in ("C", "F", "any")
    for writeable in (False, True)
]


@given(st.sampled_from(LAYOUTS), layouts())
@settings(max_examples=600)
def test_array_layout(guard: ArrayLayout, array: np.ndarray) -> None:
    agree((guard,), array)


@pytest.mark.parametrize("layout", ["C", "F", "any"])
def test_array_layout_passes_and_fails(layout: str) -> None:
    guard = (ArrayLayout(place=A, dtype="f64", shape=(N, 3), layout=layout, writeable=True),)
    right = {"C": np.zeros((4, 3)), "F": np.zeros((3, 4)).T, "any": np.zeros((8, 6))[::2, ::-2]}
    assert agree(guard, right[layout])
    assert agree(guard, right["C"]) == (layout != "F")
    assert not agree(guard, right[layout].astype(">f8"))
    assert not agree(guard, right[layout][:1])
    read_only = right[layout][:]
    read_only.flags.writeable = False
    assert not agree(guard, read_only)
    assert not agree(guard, None)
    assert not agree(guard, np.float64(1))


def test_an_equivalent_descriptor_passes() -> None:
    guard = (ArrayLayout(place=A, dtype="i64", shape=(2,)),)
    assert agree(guard, np.zeros(2, "longlong"))
    assert agree(guard, np.zeros(2, np.dtype(">i8").newbyteorder("<")))


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_symbols_are_bound_once(n: int, m: int, k: int) -> None:
    assert agree(SHARED_SYMBOL, np.zeros((n, k)), np.zeros(m)) == (n == m and n >= 2 and k >= 0)


SHARED_SYMBOL = (
    ArrayLayout(place=A, dtype="f64", shape=(N, symbol("k", 0))),
    ArrayLayout(place=B, dtype="f64", shape=(N,)),
)


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    base = np.zeros((6, 6))
    parts = []
    for _ in range(2):
        bounds = [sorted(draw(st.lists(st.integers(0, 6), min_size=2, max_size=2))) for _ in range(2)]
        steps = [draw(st.sampled_from([1, 2, -1])) for _ in range(2)]
        window = base[bounds[0][0] : bounds[0][1], bounds[1][0] : bounds[1][1]][:: steps[0], :: steps[1]]
        parts.append(window)
    return parts[0], parts[1]


ANY = [ArrayLayout(place=p, dtype="f64", shape=(symbol("p", 0), symbol("q", 0)), layout="any") for p in (A,)]
ANY.append(ArrayLayout(place=B, dtype="f64", shape=(symbol("r", 0), symbol("s", 0)), layout="any"))
OVERLAP = (*ANY, NoOverlap(first=A, second=B))
UNTYPED_OVERLAP = (NoOverlap(first=A, second=B),)


@given(windows())
@settings(max_examples=300)
def test_no_overlap(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert agree(OVERLAP, *pair) == agree(UNTYPED_OVERLAP, *pair) == (not np.may_share_memory(*pair))


@pytest.mark.parametrize("layout", ["C", "F"])
def test_no_overlap_of_contiguous_arrays(layout: str) -> None:
    guards = (
        ArrayLayout(place=A, dtype="f64", shape=(N, 2), layout=layout),
        ArrayLayout(place=B, dtype="f64", shape=(N, 2), layout=layout),
        NoOverlap(first=A, second=B),
    )
    memory = np.zeros(64)
    parts = [np.ndarray((4, 2), "f8", memory, offset=8 * k, order=layout) for k in (0, 7, 8, 20)]
    assert [agree(guards, parts[0], part) for part in parts] == [False, False, True, True]


RELATIONS = [
    DimRelation(left=left, operator=operator, right=right)
    for operator in ("==", "!=", "<=", "<")
    for left, right in (
        (N, symbol("k", 0)),
        (N * 2 - 3, symbol("k", 0) + 1),
        ((N - 5) // 2, symbol("k", 0) - 2),
        (N * symbol("k", 0), 6),
        ((N * 3 + 1) // 4 * 2, N),
    )
]


@given(st.sampled_from(RELATIONS), st.integers(2, 9), st.integers(0, 9))
@settings(max_examples=400)
def test_dim_relation(relation: DimRelation, n: int, k: int) -> None:
    agree((*DIMS, relation), np.zeros(n), np.zeros(k))


DIMS = (
    ArrayLayout(place=A, dtype="f64", shape=(N,)),
    ArrayLayout(place=B, dtype="f64", shape=(symbol("k", 0),)),
)

# -- environment ------------------------------------------------------------------------------------------------------


def test_error_state() -> None:
    guard = (ErrorStateDefault(),)
    assert agree(guard)
    with np.errstate(all="ignore"):
        assert not agree(guard)
        with np.errstate(divide="warn", over="warn", invalid="warn"):
            assert agree(guard)
            assert agree(guard)
    assert agree(guard)
    ignoring = (
        ErrorStateDefault(modes=tuple(dict.fromkeys(("divide", "over", "under", "invalid"), "ignore").items())),
    )
    assert not agree(ignoring)
    for _ in range(3):
        with np.errstate(all="ignore"):
            assert agree(ignoring)


# -- places -----------------------------------------------------------------------------------------------------------


def reads(place: Place, value: Any, *values: Any) -> bool:
    """Check that compiled code reads at a place what Python reads there, and return whether that is ``value``."""
    kinds: tuple[EntryGuard, ...]
    kinds = (IsMissing(place=place),) if value is MISSING else (IdentityIs(place=place, value=value),)
    first = agree(kinds, *values)
    again = agree((DistinctObjects(first=place, second=ConstantPlace(OBJECTS, "OBJECTS")), *kinds), *values)
    assert first == again
    return first


OWNERS = [
    [1, "x"],
    (1, "x"),
    Point(1, "x"),
    {0: 1, 1: "x"},
    OrderedDict({1: "x"}),
    types.MappingProxyType({1: "x"}),
]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("typed", [False, True])
def test_items(owner: Any, typed: bool) -> None:
    x = owner[1]
    guard = (TypeIs(place=A, type_=type(owner)),) if typed else ()
    assert agree((*guard, IdentityIs(place=ItemPlace(A, 1), value=x)), owner)
    assert agree((*guard, IsMissing(place=ItemPlace(A, 2))), owner)
    assert agree((*guard, IsMissing(place=ItemPlace(ItemPlace(A, 2), 0))), owner)
    assert not agree((*guard, IdentityIs(place=ItemPlace(A, 2), value=x)), owner)


def test_items_of_overriding_classes() -> None:
    assert reads(ItemPlace(A, "a"), "overridden", Dict(a=1))
    assert reads(ItemPlace(A, 5), MISSING, [1])
    assert reads(ItemPlace(ItemPlace(A, 5), 5), MISSING, [1])
    assert reads(ItemPlace(A, 5), MISSING, 7)


def test_attributes() -> None:
    instance, slotted = Plain(), Slotted()
    instance.own = marker = object()
    slotted.value = marker
    assert reads(AttributePlace(A, "own"), marker, instance)
    assert reads(AttributePlace(A, "shared"), Plain.shared, instance)
    assert reads(AttributePlace(A, "none"), MISSING, instance)
    assert reads(AttributePlace(A, "value"), marker, slotted)
    assert reads(AttributePlace(A, "value"), MISSING, Slotted())
    assert reads(AttributePlace(A, "anything"), "anything", Dynamic())
    assert reads(AttributePlace(A, "absent"), MISSING, Dynamic())
    assert reads(AttributePlace(AttributePlace(A, "none"), "deeper"), MISSING, instance)
    assert reads(AttributePlace(A, "x"), 1, Point(1, 2))


def test_an_attribute_that_raises_fails_its_guard() -> None:
    _, native = compiled((IdentityIs(place=AttributePlace(A, "broken"), value=1),), 1)
    assert outcome(native, Dynamic()) == (Compiled.DEOPTIMIZED, 0)
    _, native = compiled((IsMissing(place=AttributePlace(A, "own")),), 1)
    assert outcome(native, Dynamic()) == (Compiled.DEOPTIMIZED, 0)


def test_module_attributes() -> None:
    module = types.ModuleType("module")
    place = ConstantPlace(module, "module")
    assert reads(AttributePlace(place, "sin"), MISSING)
    module.sin = math.sin
    assert reads(AttributePlace(place, "sin"), math.sin)
    module.__getattr__ = lambda name: name
    assert reads(AttributePlace(place, "lazy"), "lazy")
    assert reads(AttributePlace(place, "__dict__"), module.__dict__)
    module.__dict__["__class__"] = 5
    assert reads(AttributePlace(place, "__class__"), types.ModuleType)


def test_globals_and_cells() -> None:
    marker = object()
    namespace = {"present": marker}
    assert reads(GlobalPlace(namespace, "present"), marker)
    assert reads(GlobalPlace(namespace, "absent"), MISSING)
    cell, empty = types.CellType(marker), types.CellType()
    assert reads(CellPlace(cell, "cell"), marker)
    assert reads(CellPlace(empty, "empty"), MISSING)
    empty.cell_contents = marker
    assert not reads(CellPlace(empty, "empty"), MISSING)


def test_guards_fail_in_order() -> None:
    place = AttributePlace(A, "weights")
    guards = (
        TypeIs(place=A, type_=types.SimpleNamespace),
        TypeIs(place=place, type_=list),
        LengthIs(place=place, length=2),
        ArrayLayout(place=ItemPlace(place, 0), dtype="f64", shape=(2,)),
        SameObject(first=ItemPlace(place, 0), second=ItemPlace(place, 1)),
    )
    array = np.zeros(2)
    owner = types.SimpleNamespace(weights=[array, array])
    assert agree(guards, owner)
    for weights in ([array], [array, array.copy()], (array, array), [array, array, array], [np.zeros(3)] * 2, None):
        owner.weights = weights
        assert not agree(guards, owner)
    assert not agree(guards, Plain())


def test_objects_that_are_compared_with_are_loaded_once_and_their_addresses_take_no_instruction() -> None:
    class Options:
        scale = staticmethod(np.multiply)

    options = Options()

    @jj.jit(background=False)
    def program(x):
        return options.scale(np.maximum(x, 0.0), np.sqrt(4.0)) + np.pi

    x = np.linspace(-1, 1, 5)
    for _ in range(4):
        np.testing.assert_array_equal(program(x), np.maximum(x, 0.0) * 2.0 + np.pi)
    assert program.stats.graph_calls == 2 and program.stats.deopts == 0
    source = program.specializations[0].compiled.code.source
    entry = re.search(r'^define [^@]*@"entry".*?^}', source, re.M | re.S)[0]
    loads = re.findall(r'%([^ ]*) = load ptr, ptr (?:getelementptr inbounds \(i8, ptr )?@"python_objects"', entry)
    assert len(loads) > 6 and all(len(re.findall(rf"%{name}\b", entry)) > 1 for name in loads)
    assert not re.search(r'= getelementptr [^(]*@"python_objects"', entry) and "shared_borrowed_" in entry
    references = sys.getrefcount(np.multiply), sys.getrefcount(np.maximum)
    for _ in range(1000):
        program(x)
    assert (sys.getrefcount(np.multiply), sys.getrefcount(np.maximum)) == references
    Options.scale = staticmethod(np.divide)
    np.testing.assert_array_equal(program(x), np.maximum(x, 0.0) / 2.0 + np.pi)


def pair_sum(*arrays):
    total = arrays[0] * 1.0
    for array in arrays[1:]:
        total = total + array
    return total


def test_items_of_tuples_whose_length_is_guarded_are_read_without_looking_at_it_again() -> None:
    looks = []
    for count in (2, 6):
        program = jj.jit(background=False)(pair_sum)
        arrays = [np.arange(4.0) + number for number in range(count)]
        for _ in range(4):
            np.testing.assert_array_equal(program(*arrays), np.sum(arrays, axis=0))
        assert program.stats.graph_calls == 2 and program.stats.deopts == 0
        source = program.specializations[0].compiled.code.source
        entry = re.search(r'^define [^@]*@"entry".*?^}', source, re.M | re.S)[0]
        looks.append(len(re.findall(r"icmp s[gl]t i64", entry)))
        for other in (count - 1, count + 1):
            arrays = [np.arange(4.0) + number for number in range(other)]
            np.testing.assert_array_equal(program(*arrays), np.sum(arrays, axis=0))
    assert looks[0] == looks[1]


def several_quotients(x, y, z):
    x /= y
    z -= np.sqrt(x + z) / y
    return x.sum() + z


def test_operands_are_told_the_witness_as_they_are() -> None:
    program = jj.jit(background=False)(several_quotients)

    def arguments(last: float) -> list[np.ndarray[Any, Any]]:
        numbers = np.arange(1.0, 5001.0)
        return [numbers, np.append(numbers[1:], last), np.full(5000, 2.0)]

    for last in (1.0, 2.0, 3.0, 4.0, 0.0, 5.0):
        mine, theirs = arguments(last), arguments(last)
        with warnings.catch_warnings(record=True) as met, np.errstate(all="warn"):
            warnings.simplefilter("always")
            got = program(*mine)
        with warnings.catch_warnings(record=True) as wanted, np.errstate(all="warn"):
            warnings.simplefilter("always")
            expected = several_quotients(*theirs)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(mine, theirs)
        assert sorted(str(one.message) for one in met) == sorted(str(one.message) for one in wanted)
    assert program.stats.graph_calls == 4 and program.stats.deopts == 0
    source = program.specializations[0].compiled.code.source
    entry = re.search(r'^define [^@]*@"entry".*?^}', source, re.M | re.S)[0]
    looks = entry.count("ask_witness")
    assert looks == 4 and entry.count("ptrtoint") <= looks + 6  # six are to see that no two arrays overlap
