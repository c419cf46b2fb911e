"""Abstract values: what capture knows about a Python object while it interprets Core.

Owns the `AbstractValue` kinds. Invariant: abstract values are immutable; whatever Python can mutate lives in the heap
(`janusjit.analysis.capture.state`) and is referred to by `Reference` or `ArrayValue.storage`, so that a state can be
forked by copying its heap.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from janusjit.ir.graph import Value
from janusjit.ir.places import Place
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import PathStep

if TYPE_CHECKING:
    from janusjit.analysis.core import FunctionCore

_identities = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class AbstractValue:
    """Base of the kinds. Compared by identity."""


@dataclass(frozen=True, slots=True, eq=False)
class Known(AbstractValue):
    """A Python object known at capture: a literal, a guarded constant, a function, class, module, dtype."""

    value: Any

    def __repr__(self) -> str:
        return f"Known({self.value!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Scalar(AbstractValue):
    """A number known at run time only.

    ``kind`` is a scalar kind (``"int"``, ``"float"``, ``"bool"``, ``"numpy.f64"``, …); ``place`` is set when it was
    read unchanged from there; ``sample`` is its value in the call capture looks at, when that could be followed, and
    ``origins`` the numbers from outside that it is computed from: their places, and what they are.
    """

    value: Value
    kind: str
    place: Place | None = None
    sample: Any = None
    origins: tuple[tuple[Place, Any], ...] | None = None

    @property
    def is_python(self) -> bool:
        return self.kind in ("int", "float", "bool")


@dataclass(frozen=True, slots=True, eq=False)
class EitherValue(AbstractValue):
    """A number, or None, of one of several kinds, which run time tells; a join of paths has made it.

    ``which`` is the number of its kind (`janusjit.analysis.capture.sameness.kind_number`), an ``i64[]``. ``options``
    are pairs of a kind's number and what the value is if it is of that kind: a `Scalar` or `Known`. Options of one
    dtype are one graph value. ``fork`` is the join.
    """

    which: Value
    options: tuple[tuple[int, AbstractValue], ...]
    fork: Any
    identity: int = field(default_factory=lambda: next(_identities))

    @property
    def shared(self) -> Value | None:
        """The graph value that it is of whatever kind it is; None if that differs from kind to kind."""
        values = {option.value if isinstance(option, Scalar) else None for _, option in self.options}
        return values.pop() if len(values) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class ArrayValue(AbstractValue):
    """An ndarray object: a view, reached by ``path``, of a storage on the heap.

    ``type`` is the view's; ``identity`` numbers the Python object, so ``is`` can be answered. ``operands`` are the
    run-time starts that the path's steps take. ``place`` is where the object was found, for arrays from outside.
    ``joined``: a join of paths has made it, so that it may be an object with another ``identity`` as well.
    """

    storage: int
    path: tuple[PathStep, ...]
    type: TensorType
    operands: tuple[Value, ...] = ()
    place: Place | None = None
    identity: int = field(default_factory=lambda: next(_identities))
    joined: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FlatValue(AbstractValue):
    """``array.flat``: ``elements`` is the array with one dimension, a view of it."""

    array: ArrayValue
    elements: ArrayValue


@dataclass(frozen=True, slots=True, eq=False)
class TupleValue(AbstractValue):
    """A tuple (or namedtuple: ``type_``) of abstract values; ``place`` when it was read from outside."""

    items: tuple[AbstractValue, ...]
    type_: type = tuple
    place: Place | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reference(AbstractValue):
    """A mutable object on the heap: list, dict, set, instance, cell, iterator."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class NumbersValue(AbstractValue):
    """A list made inside of numbers that stand in an array, along its only axis: as many as it has at run time.

    ``kind`` is theirs, as `janusjit.ir.places.packing_kind` has it. Nothing writes it: what would is left to Python,
    for which it is made, once (``identity`` numbers the Python object).
    """

    value: Value
    kind: str
    identity: int = field(default_factory=lambda: next(_identities))


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsValue(AbstractValue):
    """A list or tuple (``type_``) from outside that is known at run time only, by its address.

    ``origin`` says where what it holds is known from; see `janusjit.analysis.capture.object_pool`.
    """

    address: Value
    type_: type
    origin: tuple[type, str]


@dataclass(frozen=True, slots=True, eq=False)
class AddressValue(AbstractValue):
    """``id(owner)``: a number nobody knows before the object is made, but which tells objects apart."""

    owner: Reference


@dataclass(frozen=True, slots=True, eq=False)
class SliceValue(AbstractValue):
    start: AbstractValue
    stop: AbstractValue
    step: AbstractValue


@dataclass(frozen=True, slots=True, eq=False)
class RangeValue(AbstractValue):
    start: AbstractValue
    stop: AbstractValue
    step: AbstractValue


@dataclass(frozen=True, slots=True, eq=False)
class FunctionValue(AbstractValue):
    """A Python function made during the call (closure): its Core, the cells it closes over and its defaults.

    ``made`` is set once the function object exists, which it does after a commit point; ``wraps`` if it has been
    given another function's name and attributes.
    """

    core: FunctionCore
    namespace: dict[str, Any]
    cells: tuple[tuple[str, AbstractValue], ...]
    defaults: tuple[AbstractValue, ...] = ()
    keyword_defaults: tuple[tuple[str, AbstractValue], ...] = ()
    code: types.CodeType | None = None
    identity: int = field(default_factory=lambda: next(_identities))
    made: AbstractValue | None = None
    wraps: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class MethodValue(AbstractValue):
    """A bound method: ``function`` (Known or FunctionValue) with ``owner`` as first argument."""

    owner: AbstractValue
    function: AbstractValue


@dataclass(frozen=True, slots=True, eq=False)
class BuiltinMethod(AbstractValue):
    """A method of a built-in type or ndarray, bound to an abstract owner: ``xs.append``, ``x.sum``."""

    owner: AbstractValue
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ModelledCallable(AbstractValue):
    """A callable modelled by capture itself (``functools.partial`` objects, ufunc methods)."""

    name: str
    call: Callable[..., AbstractValue]


@dataclass(frozen=True, slots=True, eq=False)
class SuperValue(AbstractValue):
    """``super(type_, owner)``."""

    type_: type
    owner: AbstractValue


@dataclass(frozen=True, slots=True, eq=False)
class DictView(AbstractValue):
    """``d.keys()``, ``d.values()`` or ``d.items()``."""

    owner: Reference
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class HostValue(AbstractValue):
    """An object from outside that capture only passes along (its type is guarded; nothing inside is known)."""

    place: Place
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorValue(AbstractValue):
    """A random number generator of exactly ``type_``.

    One from outside has a ``place`` and is ``live``; one made inside has its ``address`` as a graph value. What is
    drawn from it is ordered by the state's `RandomOrder`.
    """

    type_: type
    place: Place | None
    live: Any = None
    address: Value | None = None
    identity: int = field(default_factory=lambda: next(_identities))


@dataclass(frozen=True, slots=True, eq=False)
class Deferred(AbstractValue):
    """``function(*arguments)``, pure, computed when an exit needs it (formatted text); the arguments are snapshots."""

    function: Callable[..., Any]
    arguments: tuple[AbstractValue, ...]
    identity: int = field(default_factory=lambda: next(_identities))


@dataclass(frozen=True, slots=True, eq=False)
class Poison(AbstractValue):
    """What control paths left that cannot be one value; using it makes the branch at ``fork`` split or speculate."""

    fork: Any
    reason: str


NONE = Known(None)
TRUE = Known(True)
FALSE = Known(False)


def known(value: AbstractValue) -> bool:
    """Whether the value, all through, is known at capture."""
    if isinstance(value, TupleValue):
        return value.type_ is tuple and all(map(known, value.items))
    if isinstance(value, SliceValue | RangeValue):
        return known(value.start) and known(value.stop) and known(value.step)
    return isinstance(value, Known)


def concrete(value: AbstractValue) -> Any:
    """Return the Python object that a value, `known` all through, stands for."""
    if isinstance(value, Known):
        return value.value
    if isinstance(value, TupleValue):
        return tuple(map(concrete, value.items))
    if isinstance(value, SliceValue):
        return slice(concrete(value.start), concrete(value.stop), concrete(value.step))
    if isinstance(value, RangeValue):
        return range(concrete(value.start), concrete(value.stop), concrete(value.step))
    raise TypeError(f"{type(value).__name__} is not known at capture")


def lift(value: Any) -> AbstractValue:
    """Return the abstract value of a Python constant (tuples and slices taken apart)."""
    if type(value) is tuple:
        return TupleValue(tuple(map(lift, value)))
    if type(value) is slice:
        return SliceValue(lift(value.start), lift(value.stop), lift(value.step))
    if type(value) is range:
        return RangeValue(lift(value.start), lift(value.stop), lift(value.step))
    return Known(value)
