"""What the code of a graph depends on, in a form that other processes compute too.

Owns `Fingerprint`. Invariant: two graphs with one text get the same code, and what their code refers to stands at the
same positions of `Fingerprint.objects`. So the text tells of everything the backend looks at: the structure of the
graph, the values of plain data and constant arrays, the layout of types, and which objects are one object; of other
objects, which code only refers to, the type. It names no address and no place in the source.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import numpy as np

from janusjit.ir.boxes import PythonPoint
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.guards import InGraphGuard, find_on_type
from janusjit.ir.places import ItemPlace, MembershipPlace, MissingType
from janusjit.ops.indexing import FrozenArray
from janusjit.ops.objects import ObjectIdentity
from janusjit.spans import BackwardSpan
from janusjit.transform.facts import errors_of, promises_warnings

_PACKAGE = __name__.partition(".")[0] + "."
_PLAIN = (bool, str, bytes, type(None))
_COLLECTIONS = (list, dict, set, frozenset)
#: what classes of this package have whose instances stand for functions of the user's
STANDS_FOR_USERS = "__janusjit_profiled_through__"
_VALID_VERSION_TAG = 1 << 19  # Py_TPFLAGS_VALID_VERSION_TAG: somebody has looked up an attribute since the last change


class NotPortable(Exception):
    """A graph, or its code, refers to something that another process cannot find again."""


class Fingerprint:
    """The text of a graph and the Python objects it refers to.

    Parameters
    ----------
    graph : Graph
        The graph, after all transforms.

    Raises
    ------
    NotPortable
        If something in the graph cannot be told of.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.objects: list[Any] = []
        self._parts: list[str] = []
        self._positions: dict[int, int] = {}
        self._values: dict[int, int] = {}
        self.operations: set[str] = set()
        self._guards = {id(guard): number for number, guard in enumerate(graph.guards.in_graph)}
        self._promises = promises_warnings(graph)
        self._graph(graph)
        self.text = "\n".join(self._parts)

    def position(self, item: Any) -> int | None:
        """Return where an object stands in `objects`; None if the graph does not refer to it."""
        return self._positions.get(id(item))

    def _graph(self, graph: Graph) -> None:
        settings = f"{graph.threads} {graph.measured} {graph.memory_limit is not None}"
        self._parts.append(f"graph {graph.name!r} {graph.parameters!r} {settings}")
        for given in graph.inputs:
            self._parts.append(f"input {given.kind} {given.layout} {self._define(given.value)}")
            self._item(given.place)
        for symbol, (index, axis) in graph.symbols.items():
            self._parts.append(f"symbol {index} {axis}")
            self._item(symbol)
        for entry_guard in graph.guards.entry:
            self._item(entry_guard)
        for guard in graph.guards.in_graph:
            self._parts.append(f"guard {guard.code} {guard.expected!r}")
        self._region(graph.body)

    def _define(self, value: Value) -> str:
        number = self._values[id(value)] = len(self._values)
        return f"%{number} {value.type}"

    def _region(self, region: Region) -> None:
        self._parts.append(f"region {[self._define(parameter) for parameter in region.parameters]}")
        for node in region.nodes:
            self._node(node)
        self._parts.append("end")

    def _node(self, node: Node) -> None:
        self.operations.add(node.op)
        inputs = [self._values[id(value)] for value in node.inputs]
        guard = "" if node.guard is None else self._guards[id(node.guard)]
        backward = "backward" if isinstance(node.span, BackwardSpan) else ""
        results = [self._define(result) for result in node.results]
        self._parts.append(f"node {node.op} {inputs} {guard} {results} {backward}")
        if self._promises:
            self._parts.append(f"errors {sorted(errors_of(node))}")
        for name, attribute in node.attributes.items():
            if isinstance(attribute, _COLLECTIONS):
                raise NotPortable(f"attribute {name} of {node.op} can change")
            self._parts.append(f"attribute {name}")
            self._item(attribute)
        for region in node.regions:
            self._region(region)

    def _item(self, item: Any) -> None:
        """Tell of an object and of what the backend reaches through it."""
        if isinstance(item, InGraphGuard):
            self._parts.append(f"guard #{self._guards.get(id(item), -1)}")
            return
        known = self._positions.get(id(item))
        if known is not None:
            self._parts.append(f"={known}")
            return
        self._positions[id(item)] = len(self.objects)
        self.objects.append(item)  # which keeps it alive, and its id its own
        self._parts.append(_description(item))
        if type(item) is tuple:
            for part in item:
                self._item(part)
        elif isinstance(item, FrozenArray):
            self._positions[id(item.value)] = len(self.objects)
            self.objects.append(item.value)
        elif isinstance(item, ObjectIdentity):
            self._item(item.value)
        elif isinstance(item, ModuleType):
            self._positions[id(item.__dict__)] = len(self.objects)
            self.objects.append(item.__dict__)
        elif is_record(item):
            if isinstance(item, ItemPlace | MembershipPlace):
                _require_plain_equality(item.key)
            for field in fields(item):
                if not field.kw_only:  # those say where an assumption comes from
                    self._item(getattr(item, field.name))


def _require_plain_equality(key: Any) -> None:
    """Raise for a key that may be equal to another one by code of the user's: places with equal keys are one place."""
    if type(key) is tuple:
        for part in key:
            _require_plain_equality(part)
    elif type(key) not in (*_PLAIN, int, float) and find_on_type(type(key), "__eq__") is not object.__dict__["__eq__"]:
        raise NotPortable(f"it reads an item under a key of type {type(key).__qualname__}")


def is_record(item: Any) -> bool:
    """Return whether an object is a dataclass instance of this package, whose fields are its whole meaning."""
    return is_dataclass(item) and not isinstance(item, type) and type(item).__module__.startswith(_PACKAGE)


def _description(item: Any) -> str:
    kind = type(item)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in _PLAIN:
        return f"{name} {item!r}"
    if kind is int:
        return f"{name} {item:#x}"  # decimal digits of a long one would be refused
    if kind is float:
        return f"{name} {item.hex()} {np.float64(item).tobytes().hex()}"
    if kind is tuple:
        return f"{name} {len(item)}"
    if isinstance(item, np.generic | np.dtype):
        return f"{name} {item!r} {item.tobytes().hex() if isinstance(item, np.generic) else item.str}"
    if isinstance(item, FrozenArray):
        value = item.value
        return f"{name} {value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(item, ObjectIdentity):
        return name
    if isinstance(item, type):
        return f"{name} {' '.join(map(_type_description, item.__mro__))}"
    if isinstance(item, ModuleType):
        return f"{name} {item.__name__}"
    if isinstance(item, PythonPoint):
        return f"point {item.takes_exceptions}"
    of_own = kind.__module__.startswith(_PACKAGE) and not hasattr(kind, STANDS_FOR_USERS)
    if of_own and not is_record(item) and kind is not MissingType:
        raise NotPortable(f"it refers to {name}")
    return f"{name} {_type_description(kind)}"


def _type_description(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}{layout_of(kind)}"


def layout_of(kind: type) -> tuple[int, ...]:
    """Return what code knows of how instances of a class are laid out; its flags but for what changes by itself."""
    flags = kind.__flags__ & ~_VALID_VERSION_TAG
    return flags, kind.__basicsize__, kind.__itemsize__, kind.__dictoffset__, kind.__weakrefoffset__
