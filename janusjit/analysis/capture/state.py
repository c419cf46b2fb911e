"""The abstract machine's state: frames and heap, both forkable.

Owns `Frame`, `State` and the heap object kinds. Invariant: a fork shares nothing mutable with its origin; a heap index
means the same object in every fork; objects from outside are templates that each fork copies on first use.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from janusjit.analysis.capture.remembered import Before, copied
from janusjit.analysis.capture.signals import PoisonUsed
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, HostValue, Known, Reference
from janusjit.analysis.core import Block, For, FunctionCore, Instruction, Local
from janusjit.analysis.loop_iterators import LoopIterator, may_hold_generator
from janusjit.errors import CaptureFailure
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.places import Place
from janusjit.spans import NotedSpan, Span

_identities = itertools.count()


@dataclass(slots=True)
class HeapObject:
    """Base. ``place`` is set for an object from outside; ``written`` once capture wrote to it."""

    place: Place | None = None
    written: bool = False

    def copy(self) -> HeapObject:
        return copied(self)


@dataclass(frozen=True, slots=True, eq=False)
class DeferredCall:
    """A call made when the graph is left, as of ``print``; ``by_python`` leaves it to Python in the middle instead."""

    function: AbstractValue
    arguments: tuple[AbstractValue, ...]
    keywords: tuple[tuple[str, AbstractValue], ...] = ()
    by_python: CaptureFailure | None = None

    @property
    def values(self) -> tuple[AbstractValue, ...]:
        """What it takes."""
        return (self.function, *self.arguments, *(value for _, value in self.keywords))


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a read-only view shows: an array, its memory's version when the view was taken, and how it is computed."""

    source: ArrayValue
    version: Value
    compute: Callable[[Any, Value], Value]


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of an array that is an item of a list which a loop appends arrays to, or may be one.

    ``owner`` is the list's place on the heap, ``buffer`` the identity of the `GrownList`, ``loop`` what fills it.
    ``position`` is the item's in the buffer, -1 where run time finds that the array is none; None says that the memory
    is that of all items, or that the item is a part of it.
    """

    owner: int
    buffer: int
    loop: Instruction | None
    position: Value | None


@dataclass(slots=True)
class Storage(HeapObject):
    """Memory of an array: its current version.

    ``frozen`` says why it must not be written (``""``: it may be), and ``family`` which others it may share memory with
    where that is the reason, if they are known (`janusjit.analysis.capture.sharing`). ``outside`` is set where control
    paths left either an array from outside or a new one: that array's storage, and a run-time bool that tells whether
    it is the one. ``mirrors`` is for read-only views that paths cannot express, ``listed`` for items of growing lists.
    """

    version: Value = None  # type: ignore[assignment]
    original: Value | None = None
    writeable: bool = True
    frozen: str = ""
    family: int = 0
    outside: tuple[int, Value] | None = None
    mirrors: Mirror | None = None
    listed: Listed | None = None


@dataclass(slots=True)
class ListObject(HeapObject):
    """A list, or a deque (``type_``) of at most ``limit`` items; ``changes`` counts what a deque's iterators notice."""

    items: list[AbstractValue] = field(default_factory=list)
    original: tuple[AbstractValue, ...] = ()
    type_: type = list
    limit: int | None = None
    changes: int = 0

    @property
    def intact(self) -> bool:
        """Whether a list from outside has only been appended to since the call began."""
        known = zip(self.items, self.original, strict=False)
        return len(self.items) >= len(self.original) and all(a is b for a, b in known)

    def copy(self) -> ListObject:
        fixed = (self.type_, self.limit, self.changes)
        return ListObject(self.place, self.written, list(self.items), self.original, *fixed)


@dataclass(slots=True)
class GrownList(HeapObject):
    """A list that the turns of a loop append numbers or arrays to; see `janusjit.analysis.capture.growing`.

    It has the items of ``base``, then the first ``count`` of ``buffer``, all of one ``kind``, then ``later``. Where
    some of the numbers are Python's and others NumPy's, ``of_numpy`` says which are NumPy's. ``filling`` is the loop,
    until that is over, and ``loop`` afterwards as well. ``identity`` is that of the buffer, whatever is in it.
    ``given`` is the list before the loop. A turn has room for ``each`` items; the present one has appended ``turn``.
    """

    base: ListObject | GrownList = None  # type: ignore[assignment]
    kind: str = ""
    buffer: Value = None  # type: ignore[assignment]
    count: Value = None  # type: ignore[assignment]
    later: list[AbstractValue] = field(default_factory=list)
    filling: Instruction | None = None
    of_numpy: Value | None = None
    type_: type = list
    loop: Instruction | None = None
    given: ListObject | GrownList | None = None
    each: Dim = 0
    turn: int = 0
    identity: int = field(default_factory=lambda: next(_identities))

    def copy(self) -> GrownList:
        own = (self.base, self.kind, self.buffer, self.count, list(self.later), self.filling, self.of_numpy)
        more = (self.type_, self.loop, self.given, self.each, self.turn, self.identity)
        return GrownList(self.place, self.written, *own, *more)


@dataclass(slots=True)
class DictObject(HeapObject):
    """A dict with known keys, in insertion order; ``original`` is its content at entry when it is from outside."""

    items: dict[Any, AbstractValue] = field(default_factory=dict)
    original: dict[Any, AbstractValue] = field(default_factory=dict)
    type_: type = dict
    default_factory: AbstractValue | None = None

    def copy(self) -> DictObject:
        return DictObject(self.place, self.written, dict(self.items), self.original, self.type_, self.default_factory)


@dataclass(slots=True)
class SetObject(HeapObject):
    """A set of known items, in order of insertion.

    ``unordered`` is set once an item was taken out, or many were put in at once from another set or a literal: Python's
    order then depends on more than the order of insertion.
    """

    items: dict[Any, AbstractValue] = field(default_factory=dict)
    original: frozenset[Any] = frozenset()
    unordered: bool = False

    def copy(self) -> SetObject:
        return SetObject(self.place, self.written, dict(self.items), self.original, self.unordered)


@dataclass(slots=True)
class Instance(HeapObject):
    """An instance of a Python class: the attributes read or written so far.

    ``live`` is the object itself when it is from outside; an attribute not in ``attributes`` is then read from it.
    ``changed`` are the names written since entry, in order of first write. ``address`` is set when it is known at run
    time only which object it is: an attribute not in ``attributes`` is then read at run time.
    """

    type_: type = object
    attributes: dict[str, AbstractValue] = field(default_factory=dict)
    live: Any = None
    changed: dict[str, None] = field(default_factory=dict)
    address: Value | None = None

    def copy(self) -> Instance:
        own = (self.type_, dict(self.attributes), self.live, dict(self.changed), self.address)
        return Instance(self.place, self.written, *own)


@dataclass(slots=True)
class Cell(HeapObject):
    """A closure cell; ``live`` is the cell itself when it is from outside.

    ``holder`` is the place of the cell when each call has another one there.
    """

    value: AbstractValue | None = None
    live: types.CellType | None = None
    holder: Place | None = None


@dataclass(slots=True)
class Namespace(HeapObject):
    """A module's globals: the names read or written so far."""

    names: dict[str, AbstractValue | None] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)

    def copy(self) -> Namespace:
        return Namespace(self.place, self.written, dict(self.names), self.live, dict(self.changed))


@dataclass(slots=True)
class RandomOrder(HeapObject):
    """The order of all draws of random numbers: the token of the last one, None before the first.

    There is one for all generators, since two may share a bit generator.
    """

    token: Value | None = None


@dataclass(slots=True)
class IteratorObject(HeapObject):
    """An iterator over something with known structure, made by the instruction ``maker``, which Python can run, too.

    ``kind``: ``sequence`` (``sources[0]`` is a tuple, or a list or a view of a dict that is looked up at each step;
    ``function`` is the number of changes a deque had seen, or the keys a dict had), ``range``, ``rows`` of an array,
    ``numbers`` of a list in an array (``function`` is their type and how many of them are known), ``zip``, ``map``,
    ``filter`` and ``enumerate`` (``function`` is the start). ``backwards`` is how many items there were when it was
    made, of one that ``reversed`` has made: the last of them came first. (The rows of an array are those of a view.)
    """

    kind: str = "sequence"
    sources: tuple[AbstractValue, ...] = ()
    position: AbstractValue = field(default_factory=lambda: Known(0))
    function: AbstractValue | None = None
    strict: bool = False
    maker: Instruction | None = None
    backwards: int | None = None


@dataclass(slots=True)
class GeneratorObject(HeapObject):
    """A suspended generator: its frame, or None when it has finished.

    ``maker`` is the instruction that Python runs if the generator has to be an object.
    """

    frame: Frame | None = None
    running: bool = False
    started: bool = False
    maker: Instruction | None = None

    @property
    def unfinished(self) -> bool:
        """Whether it stands inside a ``try`` or ``with``: when it goes away, Python runs the rest of it."""
        return self.frame is not None and any(isinstance(entry, TryEntry) for entry in self.frame.blocks)

    def copy(self) -> GeneratorObject:
        frame = self.frame.copy() if self.frame is not None else None
        return GeneratorObject(self.place, self.written, frame, self.running, self.started, self.maker)


@dataclass(slots=True)
class ControlEntry:
    """Something on a frame's control stack. ``block``/``index``: the instruction that runs next inside it."""

    block: Block
    index: int = 0

    def copy(self) -> ControlEntry:
        return copied(self)


@dataclass(slots=True)
class LoopEntry(ControlEntry):
    """An unrolled ``for`` or ``while``; on top of the stack: the next iteration is due.

    ``nodes``: how many there were before the first iteration.
    """

    instruction: Instruction = None  # type: ignore[assignment]
    iterations: int = 0
    attempts: int = 0
    forks: int = 0
    nodes: int = 0


@dataclass(slots=True)
class GraphLoopEntry(ControlEntry):
    """The barrier under the body of a loop that stays a loop in the graph."""

    instruction: Instruction = None  # type: ignore[assignment]
    loop: Any = None


@dataclass(slots=True)
class TestEntry(ControlEntry):
    """Under the test of a ``while`` whose control path has to stay on the stack; on top: the test has been run."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    instruction: Instruction = None  # type: ignore[assignment]


@dataclass(slots=True)
class TryEntry(ControlEntry):
    """A ``try`` (or ``with``) whose body, handler or final block runs above it.

    ``phase``: ``body``, ``handler``, ``orelse``, ``final``; ``pending``: the unwinding (return, break, raise) to go on
    with after the final block; ``error_modes``: what a ``with np.errstate(...)`` sets.
    """

    instruction: Instruction = None  # type: ignore[assignment]
    phase: str = "body"
    pending: Any = None
    manager: AbstractValue | None = None
    handled: AbstractValue | None = None
    error_modes: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Frame:
    """One Python frame: ``blocks`` is its control stack, ``target`` the caller's local that takes the result."""

    core: FunctionCore
    namespace: dict[str, Any]
    code: types.CodeType | None
    locals: dict[str, AbstractValue]
    cells: dict[str, AbstractValue]
    blocks: list[ControlEntry]
    target: str | None = None
    result: str = "value"
    generator: int | None = None
    instance: AbstractValue | None = None

    def draws_from_python(self, loop: Instruction) -> bool:
        """Whether a loop goes through a generator of Python's."""
        if not isinstance(loop, For) or not isinstance(loop.iterator, Local):
            return False
        found = self.locals.get(loop.iterator.name)
        return isinstance(found, HostValue) and isinstance(found.value, types.GeneratorType | LoopIterator)

    def copy(self) -> Frame:
        return Frame(
            self.core,
            self.namespace,
            self.code,
            dict(self.locals),
            self.cells,
            [entry.copy() for entry in self.blocks],
            self.target,
            self.result,
            self.generator,
            self.instance,
        )


class State:
    """Frames (outermost first), heap and deferred effects of one control path.

    ``dims`` says of run-time ints which dimension they are, and of masks how many they pick: a symbol is only bound on
    the paths behind its binding.
    ``freed`` is what was recorded of variables and has been gone back through. ``missed`` are the objects that joins of
    paths could not keep, and the joins. ``refined`` says of values that are of one of several kinds, by their identity,
    what they are on this path. ``before`` says what was on the heap when `remember` was called last.
    """

    __slots__ = ("before", "dims", "effects", "frames", "freed", "heap", "missed", "refined", "returned", "templates")

    _indices = itertools.count()

    def __init__(self, templates: dict[int, HeapObject]) -> None:
        self.frames: list[Frame] = []
        self.heap: dict[int, HeapObject] = {}
        self.templates = templates
        self.effects: list[DeferredCall] = []
        self.returned: AbstractValue = Known(None)
        self.dims: dict[Value, DimExpr] = {}
        self.freed: frozenset[Value] = frozenset()
        self.missed: dict[int, Any] = {}
        self.refined: dict[int, AbstractValue] = {}
        self.before: Before | None = None

    def fork(self) -> State:
        """Return an independent copy."""
        other = self._without_heap()
        other.heap = {index: item.copy() for index, item in self.heap.items()}
        return other

    def _without_heap(self) -> State:
        other = State(self.templates)
        other.frames = [frame.copy() for frame in self.frames]
        other.effects = list(self.effects)
        other.returned = self.returned
        other.dims, other.freed, other.missed = dict(self.dims), self.freed, dict(self.missed)
        other.refined = dict(self.refined)
        return other

    def remember(self) -> Before:
        """Begin to note what is on the heap before it is changed, so that `Before.state` can have it again."""
        self.before = Before(self, self._without_heap(), self.heap, self.before)
        return self.before

    def noted(self, span: Span) -> Span:
        """Return the source of an instruction, with the floating-point errors that are ignored there."""
        modes: dict[str, str] = {}
        for frame in self.frames:
            for entry in frame.blocks:
                if isinstance(entry, TryEntry):
                    modes.update(entry.error_modes)
        ignored = frozenset(name for name, mode in modes.items() if mode == "ignore")
        return NotedSpan.of(span, ignored) if ignored else span

    def allocate(self, item: HeapObject) -> Reference:
        """Put a new object on the heap."""
        index = next(State._indices)
        self._note(index, None)
        self.heap[index] = item
        return Reference(index)

    @staticmethod
    def mark() -> int:
        """Return a number above the indices of all objects there are, and below those of objects yet to be made."""
        return next(State._indices)

    def at(self, index: int) -> Any:
        """Return the heap object ``index`` of this state, to read or write."""
        found = self.heap.get(index)
        if found is None:
            if index in self.missed:
                raise PoisonUsed(self.missed[index], "an object is another one on every path")
            self._note(index, None)
            found = self.heap[index] = self.templates[index].copy()
        else:
            self._note(index, found)
        return found

    def _note(self, index: int, item: HeapObject | None) -> None:
        before = self.before
        if before is not None and before.heap is self.heap and index not in before.changed:
            before.changed[index] = None if item is None else item.copy()

    def pop(self) -> Frame:
        """Take the top frame off the stack, for good: a generator whose frame it is has finished."""
        frame = self.frames.pop()
        if frame.generator is not None:
            generator: GeneratorObject = self.at(frame.generator)
            generator.frame, generator.running = None, False
        return frame

    def keeps(self, value: HostValue) -> bool:
        """Whether a variable refers to an object of Python's."""
        kept = (v for frame in self.frames for name, v in frame.locals.items() if keeps_generator(name, v))
        return any(other.value is value.value for other in kept if isinstance(other, HostValue))

    @property
    def depth(self) -> tuple[int, int]:
        """Where control stands: number of frames, then of control entries in the top one."""
        return (len(self.frames), len(self.frames[-1].blocks)) if self.frames else (0, 0)


def keeps_generator(name: str, value: AbstractValue | None) -> bool:
    """Whether a variable refers to a generator of Python's, or may."""
    return isinstance(value, HostValue) and not name.startswith(".") and may_hold_generator(value.value)


def reference_count(state: State, storage: int) -> int:
    """Return from how many variables, items and attributes an array's memory can be reached."""
    identities: set[int] = set()
    for frame in state.frames:
        for name, value in frame.locals.items():
            if not name.startswith(".") and isinstance(value, ArrayValue) and value.storage == storage:
                identities.add(id(frame) ^ hash(name))
    for index, item in state.heap.items():
        contents: Any = ()
        if isinstance(item, ListObject):
            contents = item.items
        elif isinstance(item, DictObject):
            contents = item.items.values()
        elif isinstance(item, Instance):
            contents = item.attributes.values()
        elif isinstance(item, Cell):
            contents = (item.value,)
        for position, value in enumerate(contents):
            if isinstance(value, ArrayValue) and value.storage == storage:
                identities.add(hash((index, position)))
    return len(identities)
