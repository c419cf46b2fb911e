"""A graph that has been sent to another process has the fingerprint and the code it had."""

from __future__ import annotations

import abc
import collections
import enum
import functools
import json
import os
import random
import re
import types

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import compile as compiling
from janusjit.backend.llvm import graph_transport
from janusjit.backend.llvm.fingerprint import Fingerprint, NotPortable, layout_of
from janusjit.backend.llvm.graph_transport import pack, unpack
from janusjit.backend.llvm.guards import PythonCheck
from janusjit.backend.llvm.portable import find, tell
from janusjit.ir.boxes import PythonPoint
from janusjit.spans import BackwardSpan
from tests.constructs.catalogue import CATALOGUE, jit_for_tests
from tests.constructs.construct import judge

LENGTH = re.compile(r'(?<=@"python_objects" = global \[)\d+')
POSITION = re.compile(r'(?<=@"python_objects", i64 )\d+')


@pytest.fixture
def graphs(monkeypatch):
    """Return the list of the graphs that are compiled."""
    found = []
    compile_cached = compiling.compile_cached

    def kept(graph, exact, *rest):
        found.append(graph)
        return compile_cached(graph, exact, *rest)

    monkeypatch.setattr(compiling, "compile_cached", kept)
    return found


def code(graph):
    """Return a graph's LLVM IR but for where in the object table things stand."""
    text = str(compiling._emit(graph)[0].api.module)
    return POSITION.sub("", LENGTH.sub("", text))


def arrived(graph):
    """Return what is unpacked of a graph, which has the same fingerprint."""
    copy = unpack(pack(graph))
    assert Fingerprint(copy).text == Fingerprint(graph).text
    return copy


def run(function, *arguments, calls=4):
    """Return a jitted function that has been called."""
    jitted = jj.jit(function, background=False)
    for _ in range(calls):
        jitted(*arguments)
    return jitted


@pytest.mark.parametrize("entry", CATALOGUE[::4], ids=lambda entry: entry.name)
def test_constructs_arrive_as_they_were(entry, graphs):
    judge(entry.path, entry.name, jit_for_tests)
    sent = 0
    for graph in graphs:
        try:
            content = pack(graph)
        except NotPortable:
            continue
        sent += 1
        copy = unpack(content)
        assert Fingerprint(copy).text == Fingerprint(graph).text
        assert code(copy) == code(graph)
    assert sent or not graphs


class Meta(abc.ABCMeta):
    pass


class Base(metaclass=Meta):
    scale = 0.5

    @property
    def doubled(self):
        return 2.0 * self.scale


class Slotted(Base):
    __slots__ = ("bias", "weights")

    def __init__(self):
        self.weights = np.linspace(0.0, 1.0, 12).reshape(3, 4)
        self.bias = np.zeros(4)


class Both(Slotted, collections.UserList):
    pass


class Pair(collections.namedtuple("Pair", ["left", "right"])):
    __slots__ = ()


class Kind(enum.Enum):
    LOUD = 1
    QUIET = 2


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


FACTOR = 0.1234567
LARGE = 123_456_789_012
TABLE = np.arange(4.0)
settings = types.SimpleNamespace(rate=0.25)


def step(model, x, kind, pair, call):
    hidden = np.tanh(x @ model.weights + model.bias) * model.doubled + TABLE
    if kind is Kind.LOUD:
        hidden = hidden * FACTOR + pair.left - pair.right
    model.bias = model.bias - settings.rate * hidden.sum(axis=0)
    return call(hidden), LARGE, kind


@pytest.mark.parametrize("model", [Slotted, Both])
def test_objects_of_all_kinds_of_classes_have_stand_ins(model, graphs):
    arguments = (np.ones((2, 3)), Kind.LOUD, Pair(1.0, 2.0))
    jitted = run(step, model(), *arguments, Scaled(2.0))
    assert jitted.stats.graph_calls and not jitted.stats.deopts
    run(step, model(), *arguments, functools.partial(np.multiply, 2.0))
    assert len(graphs) >= 2
    for graph in graphs:
        assert code(arrived(graph)) == code(graph)


def test_generators_keep_their_classes(graphs):
    def noisy(x, generator, python):
        return x + generator.normal(size=3) + np.random.rand(3) + python.random()

    jitted = run(noisy, np.ones(3), np.random.default_rng(0), random.Random(0))
    assert jitted.stats.graph_calls
    assert [code(arrived(graph)) == code(graph) for graph in graphs] == [True] * len(graphs)


def test_a_graph_that_python_goes_on_from_has_stand_ins_for_the_points(graphs):
    def told(x):
        try:
            os.cpu_count()
        finally:
            y = x * 2.0
        return y

    run(told, np.ones(3))
    with_points = 0
    for graph in graphs:
        points = [item for item in Fingerprint(graph).objects if isinstance(item, PythonPoint)]
        with_points += bool(points)
        copy = arrived(graph)
        sent = [item for item in Fingerprint(copy).objects if isinstance(item, PythonPoint)]
        assert [point.takes_exceptions for point in sent] == [point.takes_exceptions for point in points]
        assert not set(map(id, sent)) & set(map(id, points))
    assert with_points


def test_equal_numbers_stay_one_object_or_several(graphs):
    one, other = float("1.5"), float("1.5")
    large, larger = int("1000000"), int("1000000")

    def returned(x):
        return (one, one, other, large, large, larger) if x[0] else None

    jitted = run(returned, np.ones(3))
    assert jitted.stats.graph_calls
    found = returned(np.ones(3))
    assert found[0] is not found[2] and found[3] is not found[5]
    for graph in graphs:
        arrived(graph)


def test_big_constants_are_not_sent(graphs, monkeypatch):
    monkeypatch.setattr(graph_transport, "_MOST_BYTES", 16)
    run(lambda x: x + np.array([1.0, 2.0, 4.0]), np.ones(3))
    with pytest.raises(NotPortable, match="constant arrays of more than 16 bytes"):
        pack(graphs[0])


def test_what_cannot_be_made_there_is_said(graphs):
    run(lambda x: x + 1.0, np.ones(3))
    with pytest.raises(NotPortable, match=r"numpy\.nowhere is not there"):
        graph_transport._StandIns([("definition", "numpy", "nowhere")])
    with pytest.raises(NotPortable, match=r"there is no class like somewhere\.Flag"):
        graph_transport._StandIns(
            [("definition", "builtins", "bool"), ("class", "builtins", "type", "somewhere", "Flag", (0,), (0,) * 5)]
        )


def test_what_code_calls_of_numpys_generators_and_of_guards_is_found_again(graphs):
    def shuffled(x, generator):
        generator.shuffle(x)
        return x * 2.0

    jitted = run(shuffled, np.arange(5.0), np.random.default_rng(0))
    assert jitted.stats.graph_calls
    for graph in graphs:
        told = Fingerprint(graph)
        for item in (np.random.Generator.shuffle, np.random.RandomState.rand, PythonCheck(graph.guards.entry[0])):
            found = find(json.loads(json.dumps(tell(item, told, {}))), told, {})
            assert found is item or found.guard is item.guard
        assert code(arrived(graph)) == code(graph)


def test_what_a_schedule_depends_on_is_in_the_fingerprint(graphs):
    run(lambda x: x * 2.0 + 1.0, np.ones(3))
    graph = graphs[0]
    before = Fingerprint(graph).text
    graph.memory_limit = 1 << 20
    assert Fingerprint(graph).text != before and arrived(graph).memory_limit == 1 << 20
    graph.memory_limit = None
    node = graph.body.nodes[0]
    node.span = BackwardSpan.of(node.span)
    assert Fingerprint(graph).text != before and isinstance(arrived(graph).body.nodes[0].span, BackwardSpan)


def test_that_somebody_has_looked_up_an_attribute_is_no_matter_of_layout():
    class Fresh:
        pass

    before = layout_of(Fresh)
    assert getattr(Fresh(), "missing", None) is None and Fresh.__name__ == "Fresh"
    assert layout_of(Fresh) == before and before[1] == Fresh.__basicsize__
