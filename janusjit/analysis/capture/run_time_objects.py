"""Objects that compiled code walks through.

Owns what capture does with an instance whose identity is known at run time only: an `Instance` with an ``address`` and
an exact type, whose attributes are read when the graph runs. Invariant: what an attribute holds is of one kind on each
control path. The kinds are those that attributes of that name hold in the objects that the call at hand can reach
(`janusjit.analysis.capture.object_pool`), or could in former captures; the path forks where there are several, and a
guard fails for any other. So it is with the items of lists and tuples.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import constant, scalar_value
from janusjit.analysis.capture.attributes import LOAD, RUN_TIME_ATTRIBUTE, UNSHADOWED
from janusjit.analysis.capture.containers import ITEM_AT
from janusjit.analysis.capture.control import fork, site_key
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.object_pool import NUMBERS, Kind, ObjectPool, is_walked
from janusjit.analysis.capture.protocols import LENGTH_AT
from janusjit.analysis.capture.state import Instance, ListObject, Storage
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    Known,
    ObjectsValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.core import LoadAttribute
from janusjit.ir.graph import Value
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING
from janusjit.ir.types import DTYPES, INT
from janusjit.ops.objects import ObjectIdentity

#: why arrays that were read of objects must not be written
BORROWED = "it may be an array from outside"
#: strings that are told from one another at one place
_TEXTS = 16


def pool_of(machine: Machine) -> ObjectPool:
    """Return the pool of a capture."""
    if machine.pool is None:
        machine.pool = ObjectPool(machine.hosts.met)
    return machine.pool  # type: ignore[no-any-return]


def kind_at(machine: Machine, value: AbstractValue) -> Kind | None:
    """Return the kind that an instance, a list or a tuple from outside is of at run time; None for anything else."""
    if isinstance(value, ObjectsValue):
        return Kind("sequence", (value.type_, value.origin))
    if isinstance(value, TupleValue) and value.type_ is tuple and value.place is not None:
        return Kind("sequence", (tuple, (tuple, "")))
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, Instance):
        return Kind("instance", item.type_)
    outside = isinstance(item, ListObject) and item.type_ is list and item.place is not None
    return Kind("sequence", (list, (list, ""))) if outside else None


def address_of(machine: Machine, value: AbstractValue) -> Value:
    """Return the address of what `kind_at` has a kind for; it is put into the pool if it is from outside.

    Raises
    ------
    CaptureFailure
        If it has been made or written in the call.
    """
    item: Any = machine.heap(value) if isinstance(value, Reference) else value
    if isinstance(value, ObjectsValue) or (isinstance(item, Instance) and item.address is not None):
        return item.address  # type: ignore[no-any-return]
    live = machine.externals.live_object(value)
    written = isinstance(item, Instance | ListObject) and item.written
    walked = is_walked(type(live)) or type(live) in (list, tuple)
    if item.place is None or written or not walked:
        reason = "an object that the call has made is passed on"
        raise machine.unsupported("python.recursion", machine.span.text or "call", reason)
    pool_of(machine).add(live, (type(live), ""))
    return machine.externals.object_address(item.place)


def check_writes(machine: Machine) -> None:
    """Refuse a graph that reads at run time what it writes: it writes when it ends.

    Raises
    ------
    CaptureFailure
        If there may be such a thing.
    """
    pool: ObjectPool | None = machine.pool
    if pool is None:
        return
    items = [machine.externals.templates[index] for index in machine.written]
    types_ = set(pool.types)
    if pool.reads_sequences:
        types_.add(list)
    if any((isinstance(one, Storage) and pool.reads_arrays) or getattr(one, "type_", None) in types_ for one in items):
        reason = "what may be part of the objects gone through is written"
        raise machine.unsupported("python.recursion", "write", reason)


# ---------------------------------------------------------------------- reading at run time


def each_kind(
    machine: Machine,
    address: Value,
    kinds: list[Kind],
    then: Callable[[AbstractValue], None],
    trusted: bool = False,
    relaxation: Any = None,
) -> None:
    """Go on with what is at an address, as each kind on a path of its own.

    Parameters
    ----------
    machine : Machine
        At an instruction that binds what is found.
    address : Value
        The object's.
    kinds : list of Kind
        What it may be.
    then : callable
        What is done with the abstract value.
    trusted : bool
        Whether it can be nothing else, and None is 0; else a guard says so.
    relaxation : object
        The guard's.
    """
    first, *others = kinds
    if any(_type_of(first) is _type_of(kind) for kind in others if _is_told_by_type(first) and _is_told_by_type(kind)):
        raise machine.unsupported("python.object", machine.span.text or "attribute", "lists of several origins meet")
    if not others:
        then(_as_kind(machine, address, first, not trusted, relaxation))
        return
    if machine.nested:
        raise machine.unsupported("python.object", machine.span.text or "attribute", "what it holds varies")

    def rest() -> None:
        each_kind(machine, address, others, then, trusted, relaxation)

    key = (*site_key(machine, "branch"), first)
    condition = _is_kind(machine, address, first) if first.name != "none" or not trusted else _is_zero(machine, address)

    def this() -> None:
        then(_as_kind(machine, address, first, False, None))

    fork(machine, condition, this, rest, key, (0, 0), split=True, relaxable=False)


def _is_told_by_type(kind: Kind) -> bool:
    return kind.name not in ("none", "text", "missing")


def _is_kind(machine: Machine, address: Value, kind: Kind) -> Value:
    if kind.name == "none":
        return machine.emit("object.is", address, object=None)
    if kind.name == "text":
        return machine.emit("object.is_text", address, text=kind.detail)
    return machine.emit("object.is_type", address, type=_type_of(kind))


def _is_zero(machine: Machine, address: Value) -> Value:
    return machine.emit("equal", address, constant(machine, 0, "i64"))


def _type_of(kind: Kind) -> type:
    if kind.name == "array":
        return np.ndarray
    if kind.name == "sequence":
        return kind.detail[0]  # type: ignore[no-any-return]
    if kind.name != "number":
        return kind.detail  # type: ignore[no-any-return]
    names = {name: type_ for type_, name in NUMBERS.items()}
    return names.get(kind.detail) or _numpy_type(kind.detail)


def _numpy_type(kind: str) -> type:
    return DTYPES[kind.removeprefix("numpy.")].type


def _as_kind(machine: Machine, address: Value, kind: Kind, guarded: bool, relaxation: Any) -> AbstractValue:
    """Return what is at an address, which is of this kind, or else a guard fails."""
    text = machine.span.text or "object"
    if kind.name in ("else", "missing"):
        what = "nothing" if kind.name == "missing" else f"a {kind.detail.__name__}"
        raise machine.unsupported("python.object", text, f"it holds {what} where objects are gone through at run time")
    guard = machine.guard("value", text, _expected(kind), relaxation)
    if kind.name == "number":
        number = machine.emit("object.number", address, guard=guard, kind=kind.detail)
        return Scalar(number, kind.detail)
    if kind.name == "array":
        dtype, shape = kind.detail
        pool_of(machine).reads_arrays = True
        value = machine.emit("object.array", address, guard=guard, dtype=dtype, shape=shape)
        made = machine.state.allocate(Storage(version=value, frozen=BORROWED))
        return ArrayValue(made.index, (), value.type)
    if guarded:
        machine.require(_is_kind(machine, address, kind), guard)
    if kind.name == "none":
        return NONE
    if kind.name == "text":
        return Known(kind.detail)
    if kind.name == "sequence":
        return ObjectsValue(address, *kind.detail)
    return machine.state.allocate(Instance(type_=kind.detail, address=address))


def _expected(kind: Kind) -> str:
    if kind.name == "array":
        dtype, shape = kind.detail
        return f"a {dtype} array of shape {shape}"
    if kind.name == "sequence":
        return f"a {kind.detail[0].__name__}"
    shown = {"none": "None", "text": repr(kind.detail)}.get(kind.name)
    return shown or (f"a {kind.detail}" if isinstance(kind.detail, str) else f"a {kind.detail.__name__}")


def _load_of(machine: Machine, item: Instance, name: str) -> tuple[Value, list[Kind], Any]:
    """Emit the reading of an attribute; return its address, what it may be, and the key by which that is relaxed."""
    assert item.address is not None
    kinds = pool_of(machine).kinds(item.type_, name)
    key = _key_of(machine, kinds, item.type_.__qualname__, name)
    guard = machine.guard("python.attribute", f"{item.type_.__name__}.{name}", "an attribute of its own", key)
    return machine.emit("object.attribute", item.address, guard=guard, name=name), kinds, key


def _key_of(machine: Machine, kinds: list[Kind], *what: Any) -> Any:
    texts = sum(kind.name == "text" for kind in kinds)
    if not kinds or texts > _TEXTS:
        subject = machine.span.text or "attribute"
        raise machine.unsupported("python.object", subject, "what it holds is one of too many things, or unknown")
    key = ("kinds", *what, len(kinds))
    # if it has been relaxed, what there was has not been learnt: Python sees to the calls in which it is that
    return None if key in machine.relaxations else key


def execute_load(machine: Machine, instruction: LoadAttribute, owner: Reference) -> None:
    """``target = owner.name`` of an instance's own attribute."""

    def bind(value: AbstractValue) -> None:
        machine.heap(owner).attributes[instruction.name] = value
        machine.set(instruction.target, value)

    item: Instance = machine.heap(owner)
    address, kinds, key = _load_of(machine, item, instruction.name)
    each_kind(machine, address, kinds, bind, relaxation=key)


def read_attribute(machine: Machine, owner: Reference, name: str) -> AbstractValue:
    """Return an instance's own attribute, which is of one kind."""
    item: Instance = machine.heap(owner)
    address, kinds, key = _load_of(machine, item, name)
    if len(kinds) > 1:
        raise machine.unsupported("python.object", f".{name}", "what it holds varies")
    value = item.attributes[name] = _as_kind(machine, address, kinds[0], True, key)
    return value


def guard_unshadowed(machine: Machine, item: Instance, name: str, on_class: Any) -> None:
    """Guard that no attribute of the instance hides what its class has there."""
    if find_on_type(item.type_, "__dict__") is MISSING:
        return
    assert item.address is not None
    guard = machine.guard("python.attribute", f"{item.type_.__name__}.{name}", "the class's")
    if isinstance(on_class, types.FunctionType):
        function = ObjectIdentity(on_class)
        machine.require(machine.emit("object.has_method", item.address, name=name, function=function), guard)
        return
    if hasattr(type(on_class), "__get__"):
        raise machine.unsupported("python.object", f".{name}", "a descriptor of an object gone through at run time")
    found = machine.emit("object.attribute", item.address, guard=guard, name=name)
    same = ObjectIdentity(on_class) if on_class not in (None, True, False) else on_class
    guard = machine.guard("python.attribute", f"{item.type_.__name__}.{name}", "the class's")
    machine.require(machine.emit("object.is", found, object=same), guard)


# ---------------------------------------------------------------------- lists and tuples


def length_at(machine: Machine, value: ObjectsValue) -> Value:
    """Return the length of a list or tuple."""
    guard = machine.guard("python.type", machine.span.text or "len", f"a {value.type_.__name__}")
    return machine.emit("object.length", value.address, guard=guard)


def with_item(
    machine: Machine, owner: ObjectsValue, index: AbstractValue, then: Callable[[AbstractValue], None]
) -> None:
    """Go on with an item of a list or tuple; an index out of bounds is Python's to raise."""
    position = scalar_value(machine, index)
    if position is None or position.type != INT:
        raise machine.unsupported("python.object", machine.span.text or "[]", "an index that is no int")
    known = index.value if isinstance(index, Known) else None
    kinds = pool_of(machine).item_kinds(owner.origin, owner.type_, known if known is not None and known >= 0 else None)
    if known is None or known < 0:
        counted = machine.emit("add", position, length_at(machine, owner))
        negative = machine.emit("less", position, constant(machine, 0, "i64"))
        position = machine.emit("where", negative, counted, position)
    key = _key_of(machine, kinds, owner.type_.__name__, owner.origin[0].__qualname__, owner.origin[1])
    guard = machine.guard("index.bounds", machine.span.text or "[]", "an index in range")
    each_kind(machine, machine.emit("object.item", owner.address, position, guard=guard), kinds, then, relaxation=key)


def unpack(machine: Machine, owner: ObjectsValue, targets: Sequence[str]) -> None:
    """Bind as many variables as a list or tuple has items."""
    count = constant(machine, len(targets), "i64")
    same = machine.emit("equal", length_at(machine, owner), count)
    machine.require(same, machine.guard("python.exception", machine.span.text or "unpacking", f"{len(targets)} items"))

    def bind(position: int) -> None:
        if position == len(targets):
            return

        def bind_one(value: AbstractValue) -> None:
            machine.set(targets[position], value)
            bind(position + 1)

        with_item(machine, owner, Known(position), bind_one)

    bind(0)


LENGTH_AT.append(length_at)
ITEM_AT.append((with_item, unpack))
LOAD.append(execute_load)
RUN_TIME_ATTRIBUTE.append(read_attribute)
UNSHADOWED.append(guard_unshadowed)
