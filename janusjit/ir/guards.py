"""Guards: the assumptions a specialization checks.

Owns the entry guard kinds, which are checked on places before anything runs, and `InGraphGuard`, which nodes carry.
Invariant: a guard can be checked by Python (`EntryGuard.check`, used to explain) and by compiled code with the same
outcome, and carries a stable ``code``, never empty.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from janusjit.ir.dims import Dim, Symbol, evaluate
from janusjit.ir.memory import lies_apart
from janusjit.ir.places import MISSING, Place
from janusjit.ir.types import DTYPES, is_writeable
from janusjit.spans import UNKNOWN_SPAN, Span


@dataclass(frozen=True, eq=False, kw_only=True)
class Guard:
    """What all guards know: where the assumption was made and what the profile had seen.

    ``relaxation`` is the key under which capture loosens the assumption after a failure (None: a failure makes a
    further specialization instead); ``evidence`` is the profile's, in words ("always true, 40 of 40").
    """

    span: Span = UNKNOWN_SPAN
    evidence: str = ""
    relaxation: Any = None


class SymbolValues(dict[Symbol, int]):
    """Values of dimension symbols, bound by the first `ArrayLayout` guard that names each."""


@dataclass(frozen=True, eq=False)
class EntryGuard(Guard):
    """Base of the guards checked at entry."""

    code: ClassVar[str] = ""

    @property
    def places(self) -> tuple[Place, ...]:
        """The places the guard reads, in that order."""
        return ()

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        """Return whether the guard holds for this call, and what was found, in words."""
        raise TypeError(f"{type(self).__name__} has no check")

    @property
    def subject(self) -> str:
        """The guarded expression in source form."""
        raise TypeError(f"{type(self).__name__} has no subject")

    @property
    def expected(self) -> str:
        """What the guard wants, in words."""
        raise TypeError(f"{type(self).__name__} has no expectation")


@dataclass(frozen=True, eq=False)
class _OnePlace(EntryGuard):
    place: Place

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.place,)

    @property
    def subject(self) -> str:
        return str(self.place)


@dataclass(frozen=True, eq=False)
class TypeIs(_OnePlace):
    """``type(place) is type_``."""

    code: ClassVar[str] = "python.type"
    type_: type

    @property
    def expected(self) -> str:
        return self.type_.__name__

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        return type(value) is self.type_, type(value).__name__


@dataclass(frozen=True, eq=False)
class IdentityIs(_OnePlace):
    """``place is value``: functions, classes, modules, None, True, False, enum members."""

    code: ClassVar[str] = "python.identity"
    value: Any

    @property
    def expected(self) -> str:
        return summary(self.value)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        return value is self.value, summary(value)


@dataclass(frozen=True, eq=False)
class ValueEquals(_OnePlace):
    """``place`` has the very type of ``value`` (int, float, bool, str, bytes) and equals it (floats: bit for bit)."""

    code: ClassVar[str] = "python.value"
    value: Any

    @property
    def expected(self) -> str:
        return repr(self.value)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        same = type(value) is type(self.value) and (
            np.float64(value).tobytes() == np.float64(self.value).tobytes()
            if isinstance(value, float)
            else value == self.value
        )
        return same, summary(value)


@dataclass(frozen=True, eq=False)
class IsMissing(_OnePlace):
    """There is nothing at the place: a global that does not shadow a builtin, an absent attribute or key."""

    code: ClassVar[str] = "python.presence"

    @property
    def expected(self) -> str:
        return "absent"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        return value is MISSING, summary(value)


@dataclass(frozen=True, eq=False)
class LengthIs(_OnePlace):
    """``len(place) == length`` for an exact list, tuple, dict or set."""

    code: ClassVar[str] = "python.size"
    length: int

    @property
    def subject(self) -> str:
        return f"len({self.place})"

    @property
    def expected(self) -> str:
        return str(self.length)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        length = len(self.place.read(arguments))
        return length == self.length, str(length)


@dataclass(frozen=True, eq=False)
class DictKeysAre(_OnePlace):
    """The keys of an exact dict are these, in this order (identical or equal objects)."""

    code: ClassVar[str] = "python.keys"
    keys: tuple[Any, ...]

    @property
    def subject(self) -> str:
        return f"list({self.place})"

    @property
    def expected(self) -> str:
        return summary(list(self.keys))

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        keys = tuple(self.place.read(arguments))
        same = len(keys) == len(self.keys) and all(
            a is b or (type(a) is type(b) and a == b) for a, b in zip(keys, self.keys, strict=True)
        )
        return same, summary(list(keys))


def find_on_type(type_: type, name: str) -> Any:
    """Return what the MRO of ``type_`` holds under ``name`` without binding it, or `MISSING` (``_PyType_Lookup``)."""
    for base in type_.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


@dataclass(frozen=True, eq=False)
class ArrayLayout(_OnePlace):
    """An exact, aligned, native-endian ``numpy.ndarray`` of this dtype, rank, shape and memory layout.

    ``shape`` entries that are ints are required; an entry that is a plain symbol is bound to the dimension by the first
    guard that names it (and must be at least the symbol's minimum), and compared by later ones. ``layout`` is ``"C"``
    (C-contiguous), ``"F"`` (Fortran-contiguous) or ``"any"`` (any strides). ``writeable``: must be writeable, and its
    elements must lie apart in memory.
    """

    code: ClassVar[str] = "array.layout"
    type_: ClassVar[type] = np.ndarray
    dtype: str
    shape: tuple[Dim, ...]
    layout: str = "C"
    writeable: bool = False

    @property
    def expected(self) -> str:
        layout = {"C": "", "F": " F-ordered", "any": " strided"}[self.layout]
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{layout}{' writeable' if self.writeable else ''}"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        if type(value) is not np.ndarray:
            return False, summary(value)
        flags = value.flags
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "strided"
        found = f"{value.dtype.name}[{','.join(map(str, value.shape))}] {layout}"
        right = (
            value.dtype == DTYPES[self.dtype]
            and value.dtype.isnative
            and value.ndim == len(self.shape)
            and flags.aligned
            and ((is_writeable(value) and lies_apart(value)) or not self.writeable)
            and (self.layout == "any" or (flags.c_contiguous if self.layout == "C" else flags.f_contiguous))
        )
        if not right:
            return False, found + ("" if is_writeable(value) else " read-only")
        return all(_bind(dim, size, symbols) for dim, size in zip(self.shape, value.shape, strict=True)), found


def _bind(dim: Dim, size: int, symbols: SymbolValues) -> bool:
    if isinstance(dim, int):
        return dim == size
    (only,) = dim.symbols()
    if only not in symbols:
        symbols[only] = size
        return size >= only.minimum
    return symbols[only] == size


@dataclass(frozen=True, eq=False)
class ScalarTypeIs(_OnePlace):
    """An exact scalar: kind ``"int"`` (a Python int that fits 64 bits), ``"float"``, ``"bool"``, ``"numpy.f32"``, …."""

    code: ClassVar[str] = "python.scalar"
    kind: str

    @property
    def expected(self) -> str:
        return self.kind

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        value = self.place.read(arguments)
        right = type(value) is scalar_type(self.kind)
        fits = self.kind != "int" or not right or -(2**63) <= value < 2**63
        return right and fits, f"{type(value).__name__} {summary(value)}"


def scalar_type(kind: str) -> type:
    """Return the Python type of a scalar kind: ``int``, ``float``, ``bool``, or NumPy's for ``"numpy.<dtype>"``."""
    python = {"int": int, "float": float, "bool": bool}.get(kind)
    return python if python is not None else DTYPES[kind.removeprefix("numpy.")].type


@dataclass(frozen=True, eq=False)
class SameObject(EntryGuard):
    """Two places hold one object."""

    code: ClassVar[str] = "python.aliasing"
    first: Place
    second: Place

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.first, self.second)

    @property
    def subject(self) -> str:
        return f"{self.first} is {self.second}"

    @property
    def expected(self) -> str:
        return "True"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        same = self.first.read(arguments) is self.second.read(arguments)
        return same, str(same)


@dataclass(frozen=True, eq=False)
class DistinctObjects(SameObject):
    """Two places hold two objects."""

    @property
    def expected(self) -> str:
        return "False"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        same, _ = super().check(arguments, symbols)
        return not same, str(same)


@dataclass(frozen=True, eq=False)
class NoOverlap(SameObject):
    """The memory bounds of two arrays do not intersect (the test of ``numpy.may_share_memory``)."""

    code: ClassVar[str] = "array.aliasing"

    @property
    def subject(self) -> str:
        return f"np.may_share_memory({self.first}, {self.second})"

    @property
    def expected(self) -> str:
        return "False"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        shared = bool(np.may_share_memory(self.first.read(arguments), self.second.read(arguments)))
        return not shared, str(shared)


@dataclass(frozen=True, eq=False)
class DimRelation(EntryGuard):
    """``left OP right`` between dimension expressions, OP one of ``==``, ``!=``, ``<=``, ``<``."""

    code: ClassVar[str] = "array.shape_relation"
    left: Dim
    operator: str
    right: Dim

    @property
    def subject(self) -> str:
        return f"{self.left} {self.operator} {self.right}"

    @property
    def expected(self) -> str:
        return "True"

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        left, right = evaluate(self.left, symbols), evaluate(self.right, symbols)
        holds = {"==": left == right, "!=": left != right, "<=": left <= right, "<": left < right}[self.operator]
        return holds, f"{left} {self.operator} {right} is {holds}"


#: how NumPy treats floating-point errors unless it is told otherwise: ``np.geterr()`` of a fresh interpreter
DEFAULT_ERROR_MODES = (("divide", "warn"), ("over", "warn"), ("under", "ignore"), ("invalid", "warn"))


@dataclass(frozen=True, eq=False)
class ErrorStateDefault(EntryGuard):
    """NumPy's floating-point error handling is what it was at capture (``modes``), NumPy's default as a rule."""

    code: ClassVar[str] = "environment.errstate"
    modes: tuple[tuple[str, str], ...] = DEFAULT_ERROR_MODES

    @property
    def subject(self) -> str:
        return "np.geterr()"

    @property
    def expected(self) -> str:
        return str(dict(self.modes))

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        found = dict(np.geterr())
        return found == dict(self.modes), str(found)


@dataclass(frozen=True, eq=False)
class WarningFilters(EntryGuard):
    """Whether one of the filters of ``warnings`` may turn a `RuntimeWarning` into an exception is as it was."""

    code: ClassVar[str] = "environment.warnings"
    raising: bool

    @property
    def subject(self) -> str:
        return "warnings.filters"

    @property
    def expected(self) -> str:
        return _filters_in_words(self.raising)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        found = may_raise_warnings()
        return found == self.raising, _filters_in_words(found)


def may_raise_warnings() -> bool:
    """Return whether one of the filters of ``warnings`` may turn a `RuntimeWarning` into an exception."""
    default = getattr(warnings, "defaultaction", "default")
    return default == "error" or any(
        action == "error" and issubclass(RuntimeWarning, category) for action, _, category, *_ in warnings.filters
    )


def _filters_in_words(raising: bool) -> str:
    return "RuntimeWarning may be an exception" if raising else "RuntimeWarning is no exception"


@dataclass(frozen=True, eq=False)
class ContextValueIs(EntryGuard):
    """A context variable has this very value in the context of the call."""

    code: ClassVar[str] = "environment.context"
    variable: ContextVar[Any]
    value: Any

    @property
    def subject(self) -> str:
        return f"{self.variable.name}.get()"

    @property
    def expected(self) -> str:
        return summary(self.value)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        found = self.variable.get()
        return found is self.value, summary(found)


@dataclass(frozen=True, eq=False)
class InGraphGuard(Guard):
    """An assumption checked inside the graph, carried by a fallible node.

    ``code`` is stable: ``branch``, ``value``, ``index.bounds``, ``trip_count``, ``int.overflow``, ``python.exception``,
    ``numpy.exception``, ``fp.flags``, ``assert``. ``subject`` is the guarded expression in source form.
    """

    code: str
    subject: str
    expected: str
    site: int = -1


@dataclass
class GuardSet:
    """The entry guards of one specialization, in the order they are checked, and the in-graph ones by number."""

    entry: list[EntryGuard] = field(default_factory=list)
    in_graph: list[InGraphGuard] = field(default_factory=list)

    def failures(self, arguments: Sequence[Any]) -> list[tuple[EntryGuard, str]]:
        """Return every entry guard that fails for these arguments with what was found instead.

        Guards whose place lies behind a failed one (an attribute of an object that is gone) are skipped: what is asked
        of a list may run any code, or raise any exception, where something else has taken its place.
        """
        symbols = SymbolValues()
        failed: list[tuple[EntryGuard, str]] = []
        of_other_types: set[Place] = set()
        for guard in self.entry:
            if of_other_types and any(_reached_through(place, of_other_types) for place in guard.places):
                continue
            try:
                holds, found = guard.check(arguments, symbols)
            except (AttributeError, KeyError, IndexError, TypeError):
                if failed:
                    continue  # its place is behind an owner that a failed guard speaks of
                raise
            if not holds:
                failed.append((guard, found))
                if isinstance(guard, TypeIs | ArrayLayout) and type(guard.place.read(arguments)) is not guard.type_:
                    of_other_types.add(guard.place)
        return failed


def _reached_through(place: Place, others: Set[Place]) -> bool:
    """Return whether a place is one of the others, or is read by way of one."""
    step: Place | None = place
    while step is not None:
        if step in others:
            return True
        step = getattr(step, "owner", None)
    return False


def summary(value: Any, limit: int = 80) -> str:
    """Return an object in few words."""
    if isinstance(value, np.ndarray):
        return f"array {value.dtype}{list(value.shape)}"
    name = getattr(value, "__qualname__", None) if callable(value) else None
    text = f"{getattr(value, '__module__', '')}.{name}" if name else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
