"""Graphs on their way to another process of this machine, which compiles them.

Owns `pack` and `unpack`. Invariant: the code of the graph that arrives is that of the graph that was sent. What a graph
holds goes as it is; of Python objects that its code only refers to (functions, classes of the user's, namespaces), what
arrives is a stand-in with as much as the backend looks at, which is what `Fingerprint` tells of: so the two graphs have
one fingerprint, and whoever unpacks one finds out whether they do. Only a process that has been started to compile may
be sent such bytes, and only it unpacks them: they are a pickle.
"""

from __future__ import annotations

import importlib
import io
import pickle
import types
from array import array
from collections.abc import Callable
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields
from typing import Any

import numpy as np

from janusjit.backend.llvm.fingerprint import STANDS_FOR_USERS, NotPortable, is_record, layout_of
from janusjit.ir.boxes import PythonPoint
from janusjit.ir.graph import Graph, GraphInput, Node, Region, Value
from janusjit.ir.guards import GuardSet
from janusjit.ir.places import MISSING
from janusjit.ops.indexing import FrozenArray
from janusjit.ops.objects import ObjectIdentity
from janusjit.pacing import pause
from janusjit.spans import NotedSpan, Span

#: packages whose definitions are the same in both processes, and that the backend knows
_SHARED = ("builtins", "numpy", "random", *(f"janusjit.{name}" for name in ("backend", "ir", "ops", "spans")))
_SHARED_PREFIXES = tuple(f"{package}." for package in _SHARED)
_DEFINED = (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)
_CONTAINERS = (dict, list, set, frozenset)
_BY_VALUE = frozenset({bool, complex, str, bytes, tuple, type(None), ObjectIdentity})
#: of these, pickles do not tell which are one object; small ones are in any case
_NUMBERS = (int, float)
_SMALL = range(-5, 257)
#: constants of so many bytes are not sent
_MOST_BYTES = 64 << 20

#: what tells of one object: a kind and whatever that takes
Told = tuple[Any, ...]


def pack(graph: Graph) -> bytes:
    """Return a graph as bytes.

    Parameters
    ----------
    graph : Graph
        The graph, after all transforms.

    Raises
    ------
    NotPortable
        If it holds something of which there is no stand-in.
    """
    content = io.BytesIO()
    packer = _Packer(content)
    packer.dump(_Structure().graph(graph))
    return pickle.dumps((packer.told, packer.arrays, content.getvalue()))


def unpack(content: bytes) -> Graph:
    """Return the graph that `pack` was given, with stand-ins for Python objects.

    Raises
    ------
    NotPortable
        If there is something that this process cannot make.
    """
    told, arrays, structure = pickle.loads(content)
    unpacker = _Unpacker(io.BytesIO(structure), _StandIns(told), [FrozenArray(one) for one in arrays])
    return _Restored().graph(unpacker.load())


class _Structure:
    """Takes a graph apart into tuples: values by numbers, in the order of their definition, so that nothing nests."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._guards: dict[int, int] = {}

    def graph(self, graph: Graph) -> Told:
        """Return a graph as a tuple."""
        self._guards = {id(guard): number for number, guard in enumerate(graph.guards.in_graph)}
        inputs = tuple((given.place, given.value.type, given.kind, given.layout) for given in graph.inputs)
        for given in graph.inputs:
            self._define(given.value)
        return (
            *(graph.name, graph.parameters, graph.memory_limit, graph.threads, graph.measured),
            *(inputs, tuple(graph.symbols.items()), tuple(graph.guards.entry), tuple(graph.guards.in_graph)),
            self._region(graph.body),
        )

    def _define(self, value: Value) -> None:
        self._numbers[id(value)] = len(self._numbers)

    def _region(self, region: Region) -> Told:
        for parameter in region.parameters:
            self._define(parameter)
        return tuple(parameter.type for parameter in region.parameters), tuple(map(self._node, region.nodes))

    def _node(self, node: Node) -> Told:
        pause()
        inputs = array("I", (self._numbers[id(value)] for value in node.inputs)).tobytes()
        for result in node.results:
            self._define(result)
        guard = None if node.guard is None else self._guards[id(node.guard)]
        types_ = tuple(result.type for result in node.results)
        regions = tuple(map(self._region, node.regions))
        return node.op, inputs, types_, tuple(node.attributes.items()), node.span, guard, regions


class _Restored:
    """Makes a graph of what `_Structure` has made of one."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._guards: tuple[Any, ...] = ()

    def graph(self, told: Told) -> Graph:
        """Return the graph."""
        name, parameters, memory_limit, threads, measured, inputs, symbols, entry, self._guards, body = told
        given = [GraphInput(place, Value(type_), kind, layout) for place, type_, kind, layout in inputs]
        self._values += [one.value for one in given]
        return Graph(
            *(name, parameters, given, self._region(body), GuardSet(list(entry), list(self._guards)), dict(symbols)),
            memory_limit=memory_limit,
            threads=threads,
            measured=measured,
        )

    def _region(self, told: Told) -> Region:
        parameters, nodes = told
        region = Region(parameters)
        self._values += region.parameters
        region.nodes += map(self._node, nodes)
        return region

    def _node(self, told: Told) -> Node:
        op, numbers, types_, attributes, span, guard, regions = told
        inputs = tuple(self._values[number] for number in array("I", numbers))
        node = Node(op, inputs, types_, dict(attributes), span, (), None if guard is None else self._guards[guard])
        self._values += node.results
        node.regions = tuple(map(self._region, regions))
        return node


class _Packer(pickle.Pickler):
    """Writes tuples with the records and plain data in them; lists what is told of other objects.

    Attributes
    ----------
    told : list of tuple
        What `_StandIns` needs for each of those objects.
    arrays : list of ndarray
        The constant arrays.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.told: list[Told] = []
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # what has a number keeps its id

    def persistent_id(self, item: Any) -> Told | None:
        """Return what is told of an object, or None if it goes as it is."""
        kind = type(item)
        if kind in _BY_VALUE or is_record(item) or isinstance(item, np.generic | np.dtype):
            return None
        if kind is int and item in _SMALL:
            return None
        pause()
        if kind is FrozenArray:
            return "array", self._number(item, self._array)
        return "object", self._number(item, self._tell)

    def reducer_override(self, item: Any) -> Any:
        """Reduce a record to its fields, without those that say where an assumption comes from."""
        if not is_record(item):
            return NotImplemented
        if isinstance(item, NotedSpan):
            return _noted, (item.bare, tuple(item.ignored), item.is_replaced, item.is_doubtful, item.operation)
        return _record, (type(item), *(getattr(item, field.name) for field in fields(item) if not field.kw_only))

    def _number(self, item: Any, add: Callable[[Any], int]) -> int:
        if id(item) not in self._numbers:
            number = add(item)
            self._numbers[id(item)] = number
            self._kept.append(item)
        return self._numbers[id(item)]

    def _array(self, item: FrozenArray) -> int:
        self.arrays.append(item.value)
        if sum(one.nbytes for one in self.arrays) > _MOST_BYTES:
            raise NotPortable(f"it holds constant arrays of more than {_MOST_BYTES} bytes")
        return len(self.arrays) - 1

    def _tell(self, item: Any) -> int:
        told = self._told(item)
        self.told.append(told)
        return len(self.told) - 1

    def _told(self, item: Any) -> Told:
        if item is MISSING:
            return ("missing",)
        if type(item) in _NUMBERS:
            return "number", item
        if isinstance(item, PythonPoint):
            return "point", item.takes_exceptions
        named = _definition_of(item)
        if named is not None:
            return ("definition", *named)
        if isinstance(item, types.ModuleType):
            return "module", item.__name__, self._number(item.__dict__, self._tell)
        if isinstance(item, type):
            return self._class(item)
        return "instance", self._number(type(item), self._tell)

    def _class(self, item: type) -> Told:
        meta = type(item)
        bases = tuple(self._number(base, self._tell) for base in item.__bases__)
        modules = str(meta.__module__), str(item.__module__)  # of functions that Cython has made: a descriptor
        return "class", modules[0], meta.__qualname__, modules[1], item.__qualname__, bases, layout_of(item)


def _noted(span: Span, ignored: tuple[str, ...], is_replaced: bool, is_doubtful: bool, operation: str) -> Span:
    return NotedSpan.of(
        span, frozenset(ignored), is_replaced=is_replaced, is_doubtful=is_doubtful, operation=operation
    )


def _record(kind: Any, *values: Any) -> Any:
    """Return a record with these fields, and the others as they are by default."""
    made: Any = object.__new__(kind)
    given = iter(values)
    for field in fields(kind):
        if not field.kw_only:
            value = next(given)
        elif field.default_factory is not NO_DEFAULT:
            value = field.default_factory()
        else:
            value = field.default
        object.__setattr__(made, field.name, value)
    return made


def _definition_of(item: Any) -> tuple[str, str] | None:
    """Return the module and the name of something that both processes define."""
    if not isinstance(item, _DEFINED):
        return None
    module = "numpy" if isinstance(item, np.ufunc) else getattr(item, "__module__", None)
    name = item.__name__ if isinstance(item, np.ufunc) else getattr(item, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not f"{module}.".startswith(_SHARED_PREFIXES):
        return None
    return (module, name) if _definition(module, name) is item else None


def _definition(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


class _Unpacker(pickle.Unpickler):
    """Reads what `_Packer` has written."""

    def __init__(self, file: io.BytesIO, stand_ins: _StandIns, arrays: list[FrozenArray]) -> None:
        super().__init__(file)
        self._stand_ins = stand_ins
        self._arrays = arrays

    def persistent_load(self, told: Told) -> Any:
        """Return the object that was told of."""
        kind, number = told
        return self._arrays[number] if kind == "array" else self._stand_ins.objects[number]


class _StandIns:
    """Makes the objects that stand in for those of another process.

    Attributes
    ----------
    objects : list
        One for each that `_Packer.told` tells of.
    """

    def __init__(self, told: list[Told]) -> None:
        self.objects: list[Any] = []
        for kind, *rest in told:
            self.objects.append(getattr(self, f"_{kind}")(*rest))

    def _missing(self) -> Any:
        return MISSING

    def _number(self, number: float) -> Any:
        return number

    def _point(self, takes_exceptions: bool) -> Any:
        return _TakingExceptions() if takes_exceptions else PythonPoint()

    def _definition(self, module: str, name: str) -> Any:
        found = _definition(module, name)
        if found is None:
            raise NotPortable(f"{module}.{name} is not there")
        return found

    def _module(self, name: str, namespace: int) -> types.ModuleType:
        made = types.ModuleType(name)
        self.objects[namespace] = made.__dict__
        return made

    def _class(
        self, meta_module: str, meta_name: str, module: str, name: str, bases: tuple[int, ...], layout: Told
    ) -> type:
        found = tuple(self.objects[base] for base in bases)
        metas = tuple(dict.fromkeys(type(base) for base in found if isinstance(base, _Layout)))
        meta = type("Layout", metas or (_Layout,), {"__module__": meta_module, "__qualname__": meta_name})
        namespace = {"__module__": module, "__qualname__": name, "__slots__": (), **_noted_on(layout)}
        try:
            made: type = meta(name, found, namespace)
        except TypeError as error:  # there are classes without subclasses
            raise NotPortable(f"there is no class like {module}.{name}: {error}") from None
        return made

    def _instance(self, kind: int) -> Any:
        type_ = self.objects[kind]
        if type_ in _CONTAINERS:
            return type_()
        if not isinstance(type_, _Layout):
            type_ = _stand_in_for(type_)
        try:
            return type_.__new__(type_)
        except TypeError as error:
            raise NotPortable(f"there is nothing like a {type_.__qualname__}: {error}") from None


class _TakingExceptions(PythonPoint):
    __slots__ = ()
    takes_exceptions = True


#: under which name a class that stands in for another keeps what it has to say of its layout
LAYOUT = "__janusjit_layout__"


class _Layout(type):
    """The metaclass of classes that say of their layout what those they stand in for would say."""

    __flags__ = property(lambda self: vars(self)[LAYOUT][0])
    __basicsize__ = property(lambda self: vars(self)[LAYOUT][1])
    __itemsize__ = property(lambda self: vars(self)[LAYOUT][2])
    __dictoffset__ = property(lambda self: vars(self)[LAYOUT][3])
    __weakrefoffset__ = property(lambda self: vars(self)[LAYOUT][4])


def _noted_on(layout: Told) -> dict[str, Any]:
    """Return what a class that is a stand-in has besides its name; whoever sent it has seen that there may be one."""
    return {LAYOUT: layout, STANDS_FOR_USERS: True}


def _stand_in_for(kind: type) -> type:
    """Return a class like one that instances cannot be made of just so: functions, cells, bound methods."""
    namespace = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **_noted_on(layout_of(kind))}
    return _Layout(kind.__name__, (), namespace)
