"""Objects that compiled code walks through.

Owns what capture does with an instance whose identity is known at run time only: an `Instance` with an ``address`` and
an exact type, whose attributes are read when the graph runs. Invariant: what an attribute holds is of one kind on each
control path. The kinds are those that attributes of that name hold in the objects that the call at hand can reach
(`ObjectPool`), or could in former captures; the path forks where there are several, and a guard fails for any other.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import constant
from janusjit.analysis.capture.attributes import LOAD, RUN_TIME_ATTRIBUTE, UNSHADOWED
from janusjit.analysis.capture.control import fork, site_key
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import Instance, Storage
from janusjit.analysis.capture.values import NONE, AbstractValue, ArrayValue, Known, Reference, Scalar
from janusjit.analysis.core import LoadAttribute
from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING
from janusjit.ir.types import DTYPES, dtype_name
from janusjit.ops.objects import ObjectIdentity

#: why arrays that were read of objects must not be written
BORROWED = "it may be an array from outside"
#: strings that are told from one another at one place
_TEXTS = 16
_NUMBERS = {int: "int", float: "float", bool: "bool"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What an attribute may hold: ``none``, an instance of a class, a ``number``, a ``text``, an ``array``.

    ``detail`` is the class, the number's kind, the string, or the dtype and shape of the array. Of anything ``else``
    it is the class, and of what is ``missing`` there is none: nothing is done with those.
    """

    name: str
    detail: Any = None

    @property
    def order(self) -> tuple[int, str]:
        """What comes first is asked for first."""
        names = ("none", "instance", "number", "text", "array", "else", "missing")
        return names.index(self.name), str(self.detail)


def kind_of(value: Any) -> Kind:
    """Return the kind of an object."""
    type_ = type(value)
    if value is None:
        return Kind("none")
    if value is MISSING:
        return Kind("missing")
    if type_ in _NUMBERS:
        return Kind("number", _NUMBERS[type_])
    if type_ is str:
        return Kind("text", value)
    if isinstance(value, np.generic) and type_ is value.dtype.type and dtype_name(value.dtype) is not None:
        return Kind("number", f"numpy.{dtype_name(value.dtype)}")
    if type_ is np.ndarray and value.dtype.isnative and dtype_name(value.dtype) is not None:
        return Kind("array", (dtype_name(value.dtype), value.shape))
    return Kind("instance" if _is_walked(type_) else "else", type_)


def _is_walked(type_: type) -> bool:
    """Whether compiled code can look at instances of a class, and an instance can be made to ask the class."""
    unusual = ("__del__", "__getattr__", "__new__")
    plain = (MISSING, MISSING, object.__dict__["__new__"])
    return has_plain_attributes(type_) and tuple(find_on_type(type_, name) for name in unusual) == plain


# ---------------------------------------------------------------------- what there is


class ObjectPool:
    """The objects that a call can reach by the attributes that are read, and the kinds of those.

    Parameters
    ----------
    known : dict
        The kinds of each attribute, by class and name, as former captures found them; it is added to.

    Attributes
    ----------
    version : int
        How often the kinds of an attribute have grown.
    """

    def __init__(self, known: dict[tuple[type, str], set[Kind]]) -> None:
        self._known = known
        self._live: dict[type, dict[int, Any]] = {}
        self._names: dict[type, dict[str, None]] = {}
        self.version = 0
        self.reads_arrays = False

    @property
    def types(self) -> Iterable[type]:
        """The classes of the objects there are."""
        return self._live

    def add(self, *objects: Any) -> None:
        """Add objects, and what can be reached from them."""
        pending = list(objects)
        while pending:
            found = pending.pop()
            known = self._live.setdefault(type(found), {})
            if id(found) in known:
                continue
            known[id(found)] = found
            pending += [
                value for name in self._names.get(type(found), ()) for value in self._held(found, name)
            ]

    def _held(self, owner: Any, name: str) -> list[Any]:
        """Note the kind of an attribute; return what it holds if that is to be looked at as well."""
        value = held_attribute(owner, name)
        kind = kind_of(value)
        kinds = self._known.setdefault((type(owner), name), set())
        if kind not in kinds:
            kinds.add(kind)
            self.version += 1
        return [value] if kind.name == "instance" else []

    def kinds(self, type_: type, name: str) -> list[Kind]:
        """Return the kinds of an attribute of a class's instances, in the order in which they are asked for."""
        names = self._names.setdefault(type_, {})
        if name not in names:
            names[name] = None
            objects = list(self._live.get(type_, {}).values())
            self.add(*(value for owner in objects for value in self._held(owner, name)))
        return sorted(self._known.get((type_, name), ()), key=lambda kind: kind.order)


def held_attribute(owner: Any, name: str) -> Any:
    """Return an attribute of an object, or ``MISSING``, without running code of the user's."""
    on_class = find_on_type(type(owner), name)
    if isinstance(on_class, types.MemberDescriptorType):
        try:
            return on_class.__get__(owner)
        except AttributeError:
            return MISSING
    own = getattr(owner, "__dict__", {}).get(name, MISSING)
    if own is not MISSING or on_class is MISSING:
        return own
    return MISSING if hasattr(type(on_class), "__get__") else on_class


def pool_of(machine: Machine) -> ObjectPool:
    """Return the pool of a capture."""
    if machine.pool is None:
        machine.pool = ObjectPool(machine.hosts.met)
    return machine.pool  # type: ignore[no-any-return]


def address_of(machine: Machine, item: Instance) -> Value:
    """Return the address of an instance, which is put into the pool if it is from outside.

    Raises
    ------
    CaptureFailure
        If it has been made or written in the call.
    """
    if item.address is not None:
        return item.address
    if item.live is None or item.place is None or item.written or not _is_walked(item.type_):
        reason = "an object that the call has made is passed on"
        raise machine.unsupported("python.recursion", item.type_.__name__, reason)
    pool_of(machine).add(item.live)
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
    if kind.name != "number":
        return kind.detail  # type: ignore[no-any-return]
    names = {name: type_ for type_, name in _NUMBERS.items()}
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
        value = machine.emit("object.array", address, guard=guard, dtype=dtype, shape=_dims(shape))
        made = machine.state.allocate(Storage(version=value, frozen=BORROWED))
        return ArrayValue(made.index, (), value.type)
    if guarded:
        machine.require(_is_kind(machine, address, kind), guard)
    if kind.name == "none":
        return NONE
    if kind.name == "text":
        return Known(kind.detail)
    return machine.state.allocate(Instance(type_=kind.detail, address=address))


def _dims(shape: tuple[int, ...]) -> tuple[Dim, ...]:
    return shape


def _expected(kind: Kind) -> str:
    if kind.name == "array":
        dtype, shape = kind.detail
        return f"a {dtype} array of shape {shape}"
    shown = {"none": "None", "text": repr(kind.detail)}.get(kind.name)
    return shown or (f"a {kind.detail}" if isinstance(kind.detail, str) else f"a {kind.detail.__name__}")


def _load_of(machine: Machine, item: Instance, name: str) -> tuple[Value, list[Kind], Any]:
    """Emit the reading of an attribute; return its address, and what it may be."""
    assert item.address is not None
    kinds = pool_of(machine).kinds(item.type_, name)
    texts = sum(kind.name == "text" for kind in kinds)
    if not kinds or texts > _TEXTS:
        raise machine.unsupported("python.object", f".{name}", "what it holds is one of too many things, or unknown")
    key: Any = ("kinds", item.type_.__qualname__, name, len(kinds))
    if key in machine.relaxations:
        key = None  # what it was has not been learnt: Python sees to the calls in which it is that
    guard = machine.guard("python.attribute", f"{item.type_.__name__}.{name}", "an attribute of its own", key)
    return machine.emit("object.attribute", item.address, guard=guard, name=name), kinds, key


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


LOAD.append(execute_load)
RUN_TIME_ATTRIBUTE.append(read_attribute)
UNSHADOWED.append(guard_unshadowed)
