"""Random number generators in capture: their methods and the functions that make them.

Owns the rules of the methods that are more than one draw (``choice``, ``shuffle``, …), the names under which a method
goes, and the makers. Invariant: a method is an operation only if the generator's exact type has it unchanged; any other
is left to Python.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    as_array,
    cast,
    dim_value,
    is_number,
    new_array,
    read,
    sequence_items,
    write,
)
from janusjit.analysis.capture.calls import models
from janusjit.analysis.capture.containers import build, get_item, wrote
from janusjit.analysis.capture.indexing import get_item as get_array_item
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.methods import RANDOM_METHOD
from janusjit.analysis.capture.numpy_arguments import given, integer
from janusjit.analysis.capture.protocols import length
from janusjit.analysis.capture.python_types import python_type
from janusjit.analysis.capture.random_draws import (
    Arguments,
    Named,
    bind,
    draw,
    integer_kind,
    refusal,
)
from janusjit.analysis.capture.selection import chosen
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    GeneratorValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
    concrete,
)
from janusjit.ir.graph import Value
from janusjit.ops.indexing import Pick
from janusjit.ops.random import MAKERS, PYTHON_METHODS, find

_OLD, _NEW, _PYTHON = np.random.RandomState, np.random.Generator, random.Random

#: other names of methods, whose arguments are those of the method
_ALIASES: dict[tuple[type, str], str] = {(_OLD, "random"): "random_sample"}
#: methods that take the size as positional arguments
_SIZES: dict[tuple[type, str], str] = {(_OLD, "rand"): "random_sample", (_OLD, "randn"): "standard_normal"}
#: longest list that a permutation takes apart
_LONGEST_LIST = 256


@dataclass(frozen=True)
class _Call:
    """A call of a method of a generator."""

    machine: Machine
    owner: GeneratorValue
    name: str
    arguments: Arguments
    keywords: Named

    def refusal(self, reason: str) -> Exception:
        return refusal(self.machine, self.name, reason)

    def bound(self, *parameters: str) -> dict[str, AbstractValue]:
        """Bind the arguments to the names of parameters."""
        bound = dict(zip(parameters, self.arguments, strict=False))
        if len(self.arguments) > len(parameters) or not set(parameters) - bound.keys() >= self.keywords.keys():
            raise self.refusal("it is called with arguments that have no rule")
        return {**bound, **self.keywords}

    def draw(self, name: str, bound: Named, kind: str | None = None) -> AbstractValue:
        """Draw by a declared method of the generator."""
        method = find(self.owner.type_, name)
        if method is None:
            raise self.refusal("the method has no rule yet")
        if self.owner.type_ is _PYTHON and name in PYTHON_METHODS:
            _assume_unchanged(self, name)
        return draw(self.machine, method, self.owner, bound, kind)


Rule = Callable[[_Call], AbstractValue]
_RULES: dict[tuple[type, str], Rule] = {}


def _rule(*names: tuple[type, str]) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for name in names:
            _RULES[name] = rule
        return rule

    return register


def call_generator_method(
    machine: Machine, owner: GeneratorValue, name: str, arguments: Arguments, keywords: Named
) -> AbstractValue:
    """Call a method of a generator."""
    called = _Call(machine, owner, name, arguments, keywords)
    if owner.type_ is _PYTHON:
        _assume_unchanged(called, name)
    rule = _RULES.get((owner.type_, name))
    if rule is not None:
        return rule(called)
    if (owner.type_, name) in _SIZES:
        if keywords:
            raise called.refusal("it is called with arguments that have no rule")
        size: AbstractValue = TupleValue(tuple(arguments)) if arguments else NONE
        return called.draw(_SIZES[owner.type_, name], {"size": size})
    method = find(owner.type_, _ALIASES.get((owner.type_, name), name))
    if method is None or name.endswith(("_list", "_range")):
        raise called.refusal("the method has no rule yet")
    return draw(machine, method, owner, bind(machine, method, arguments, keywords))


RANDOM_METHOD.append(call_generator_method)


def _assume_unchanged(called: _Call, name: str) -> None:
    """Assume that Python's class has its method unchanged, and that the generator has no attribute that hides it."""
    externals, owner = called.machine.externals, called.owner
    found = getattr(_PYTHON, name, None)
    if found is not PYTHON_METHODS.get(name):
        raise called.refusal("the class was given another method")
    class_place = externals.constant_place(_PYTHON, "random.Random")
    externals.read(externals.attribute_place(class_place, name), found)
    if owner.place is not None:
        if name in vars(owner.live):
            raise called.refusal("the generator was given another method")
        externals.guard_not_own(owner.place, owner.live, name)


# ---------------------------------------------------------------------- integers


@_rule((_OLD, "randint"))
def _randint(called: _Call) -> AbstractValue:
    bound = called.bound("low", "high", "size", "dtype")
    return called.draw("randint", bound, integer_kind(called.machine, bound, "int"))


@_rule((_NEW, "integers"))
def _integers(called: _Call) -> AbstractValue:
    bound = called.bound("low", "high", "size", "dtype", "endpoint")
    return called.draw("integers", bound, integer_kind(called.machine, bound, "numpy.i64"))


@_rule((_PYTHON, "randrange"))
def _randrange(called: _Call) -> AbstractValue:
    bound = called.bound("start", "stop", "step")
    if not given(bound.get("stop", NONE)):
        if "step" in bound:
            raise called.refusal("a step is given without a stop")
        bound = {"start": Known(0), "stop": bound["start"]}
    return called.draw("randrange", {"step": Known(1), **bound})


# ---------------------------------------------------------------------- choice


@_rule((_OLD, "choice"), (_NEW, "choice"))
def _choice(called: _Call) -> AbstractValue:
    machine = called.machine
    bound = called.bound("a", "size", "replace", "p", "axis", "shuffle")
    if called.owner.type_ is _NEW and integer(machine, bound.get("axis", Known(0)), "axis") != 0:
        raise called.refusal("it chooses along another axis than the first")
    if "a" not in bound:
        raise called.refusal("it is called with too few arguments")
    population = machine.resolve(bound["a"])
    if is_number(population):
        return called.draw("choice", bound)
    items = _as_array(called, population)
    size = machine.resolve(bound.get("size", NONE))
    no_dimensions = isinstance(size, TupleValue) and not size.items
    if items.type.rank != 1 or no_dimensions:
        raise called.refusal(f"it chooses from {items.type}")
    indices = called.draw("choice", {**bound, "a": dim_value(machine, items.type.shape[0])})
    return get_array_item(machine, items, indices)


def _as_array(called: _Call, value: AbstractValue) -> ArrayValue:
    if isinstance(value, ArrayValue):
        return value
    found = as_array(called.machine, value)
    if found is None:
        raise called.refusal("an argument is no array of numbers")
    return new_array(called.machine, found)


def _with_items(called: _Call, value: AbstractValue) -> ArrayValue:
    items = _as_array(called, value)
    if not items.type.rank:
        raise called.refusal("an array without dimensions has no items")
    return items


@_rule((_NEW, "permuted"))
def _permuted(called: _Call) -> AbstractValue:
    method = find(_NEW, "permuted")
    assert method is not None
    bound = bind(called.machine, method, called.arguments, called.keywords)
    items = _with_items(called, called.machine.resolve(bound["x"]))
    if items.type.rank > 1 and not given(bound.get("axis", NONE)):
        raise called.refusal("it permutes all elements, in an order that depends on how they lie in memory")
    return called.draw("permuted", {**bound, "x": items})


@_rule((_PYTHON, "choice"))
def _python_choice(called: _Call) -> AbstractValue:
    machine = called.machine
    (sequence,) = called.bound("seq").values()
    sequence = machine.resolve(sequence)
    index = called.draw("_randbelow", {"n": length(machine, sequence)})
    assert isinstance(index, Scalar)
    if isinstance(sequence, ArrayValue):
        return get_item(machine, sequence, index)
    return _pick(called, sequence, [index.value])[0]


@_rule((_PYTHON, "sample"), (_PYTHON, "choices"))
def _python_sample(called: _Call) -> AbstractValue:
    machine = called.machine
    bound = called.bound("population", "k")
    if "population" not in bound or (called.name == "sample" and "k" not in bound):
        raise called.refusal("it is called with too few arguments")
    count = integer(machine, bound.get("k", Known(1)), "k")
    if not 0 <= count <= _LONGEST_LIST:
        raise called.refusal(f"it makes a list of {count} items")
    population = machine.resolve(bound["population"])
    if isinstance(population, ArrayValue):
        raise called.refusal("it is called with an array")
    sizes = {"n": length(machine, population), "k": Known(count)}
    drawn = called.draw("sample_range" if called.name == "sample" else "choices_of_range", sizes)
    assert isinstance(drawn, ArrayValue)
    return build(machine, "list", _pick(called, population, _numbers_of(machine, read(machine, drawn), count)))


def _numbers_of(machine: Machine, values: Value, count: int) -> list[Value]:
    return [machine.emit("view", values, index=(Pick(position),)) for position in range(count)]


def _pick(called: _Call, sequence: AbstractValue, indices: list[Value]) -> list[AbstractValue]:
    """Return the items of a range or of a list of numbers at positions that are known at run time only."""
    machine = called.machine
    if isinstance(sequence, RangeValue):
        start, step = (_int(called, part) for part in (sequence.start, sequence.step))
        moved = (machine.emit("multiply", index, step) for index in indices)
        return [Scalar(machine.emit("add", start, index), "int") for index in moved]
    text = concrete(sequence) if isinstance(sequence, Known) else None
    items = [*map(Known, text)] if type(text) is str else sequence_items(machine, sequence)
    if items and len(items) <= _LONGEST_LIST and not is_number(machine.resolve(items[0])):
        found = [chosen(machine, items, index) for index in indices]
        if all(item is not None for item in found):
            return [item for item in found if item is not None]
    table, kind = _table(called, sequence)
    return [Scalar(machine.emit("view", machine.emit("take", table, i, axis=0), index=()), kind) for i in indices]


def _int(called: _Call, value: AbstractValue) -> Value:
    machine = called.machine
    found = as_array(machine, value)
    if found is None:
        raise called.refusal("a range is not of ints")
    return cast(machine, found, "i64")


def _table(called: _Call, sequence: AbstractValue) -> tuple[Value, str]:
    """Return a list of numbers of one kind as an array, and the kind."""
    machine = called.machine
    items = sequence_items(machine, sequence)
    if items is None or not 0 < len(items) <= _LONGEST_LIST:
        raise called.refusal("it is called with something else than a list of numbers")
    items = [machine.resolve(item) for item in items]
    types = {python_type(machine, item) for item in items if is_number(item)}
    # of other items, an array may be impossible to make: Python, which makes none, raises nothing
    table = as_array(machine, sequence) if all(map(is_number, items)) else None
    if len(types) != 1 or table is None:
        raise called.refusal("it is called with a list whose items are not numbers of one type")
    (type_,) = types
    kind = {int: "int", float: "float", bool: "bool"}.get(type_) if type_ is not None else None
    return table, kind if kind is not None else f"numpy.{table.type.dtype}"


# ---------------------------------------------------------------------- permutations


@_rule((_OLD, "permutation"), (_NEW, "permutation"))
def _permutation(called: _Call) -> AbstractValue:
    bound = called.bound("x", "axis")
    if integer(called.machine, bound.get("axis", Known(0)), "axis") != 0 or "x" not in bound:
        raise called.refusal("it permutes another axis than the first")
    value = called.machine.resolve(bound["x"])
    if is_number(value):
        return called.draw("permutation_of_range", {"x": value})
    return called.draw("permutation", {"x": _with_items(called, value)})


@_rule((_OLD, "shuffle"), (_NEW, "shuffle"), (_PYTHON, "shuffle"))
def _shuffle(called: _Call) -> AbstractValue:
    machine = called.machine
    bound = called.bound("x", "axis") if called.owner.type_ is _NEW else called.bound("x")
    if "x" not in bound:
        raise called.refusal("it is called with too few arguments")
    value = machine.resolve(bound["x"])
    if isinstance(value, ArrayValue) and called.owner.type_ is not _PYTHON:
        _with_items(called, value)
        shuffled = called.draw("shuffle", bound)
        assert isinstance(shuffled, ArrayValue)
        write(machine, value, read(machine, shuffled))
        return NONE
    if not isinstance(value, Reference) or "axis" in bound:
        raise called.refusal("it shuffles something else than an array or a list")
    table, kind = _table(called, value)
    (count,) = table.type.shape
    if not isinstance(count, int):
        raise called.refusal("the length of the list varies")
    order = called.draw("shuffle_list", {"x": Known(count)})
    assert isinstance(order, ArrayValue)
    indices = _numbers_of(machine, read(machine, order), count)
    wrote(machine, value).items[:] = _pick(called, _list_of(machine, table, kind), indices)
    return NONE


def _list_of(machine: Machine, table: Value, kind: str) -> AbstractValue:
    count = table.type.shape[0]
    assert isinstance(count, int)
    return build(machine, "list", [Scalar(value, kind) for value in _numbers_of(machine, table, count)])


# ---------------------------------------------------------------------- making and seeding


def _maker(function: Any) -> None:
    @models(function, keywords=None)
    def make(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        method = find(None, function.__name__)
        assert method is not None
        first = machine.resolve(arguments[0]) if arguments else NONE
        if function is np.random.default_rng and isinstance(first, GeneratorValue) and first.type_ is _NEW:
            return first
        named = {"seed" if name == "x" else name: value for name, value in keywords.items()}
        if isinstance(first, ArrayValue):
            raise refusal(machine, function.__name__, "it is seeded by an array")
        if not arguments and not any(map(given, named.values())):
            raise refusal(machine, function.__name__, "it is seeded by the operating system")
        made = draw(machine, method, None, bind(machine, method, arguments, named))
        assert isinstance(made, GeneratorValue)
        return made


for _function in MAKERS:
    _maker(_function)


@models(np.random.seed, keywords=None)
def _model_seed(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    """``np.random.seed(n)``: as the method, if the global state is the one NumPy starts with."""
    live = np.random.mtrand._rand
    owner = machine.externals.read(machine.externals.constant_place(live, "np.random.mtrand._rand"), live)
    if not isinstance(owner, GeneratorValue) or type(live._bit_generator) is not np.random.MT19937:
        raise refusal(machine, "np.random.seed", "the global state was replaced")
    return call_generator_method(machine, owner, "seed", arguments, keywords)
