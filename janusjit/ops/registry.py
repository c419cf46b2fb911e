"""The op registry: one declaration an op.

Owns `Op`, the lowering kinds and `OPS`. Invariant: every entry of `OPS` is complete (eager function, type rule,
lowering, gradient status, samples that say where it is defined); an incomplete declaration fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Union

from janusjit.ir.types import TensorType
from janusjit.ops.emitter import Scalar
from janusjit.ops.samples import Sample

Attributes = Mapping[str, Any]
TypeRule = Callable[[tuple[TensorType, ...], Attributes], tuple[TensorType, ...]]
FallibleRule = Callable[[tuple[TensorType, ...], Attributes], bool]
PositionsRule = Callable[[Attributes], list[tuple[int, int]]]


class Lowering:
    """Base of the ways in which a backend can compile an op."""

    __slots__ = ()


@dataclass(frozen=True)
class Elementwise(Lowering):
    """Each result element is ``scalar(emitter, *elements, **attributes)`` of the broadcast inputs' elements."""

    scalar: Callable[..., Any]


@dataclass(frozen=True)
class Checked(Lowering):
    """A fallible op on 0-d inputs: ``scalar(emitter, *values, **attributes)`` gives ``(value, valid)``.

    ``valid`` is a bool scalar; where it is False the node's guard fails and the value means nothing.
    """

    scalar: Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Reduce(Lowering):
    """A reduction over the attribute ``axes`` (``axis`` for argmax, argmin); ``kind`` is the op's name."""

    kind: str


@dataclass(frozen=True)
class View(Lowering):
    """No computation: the result addresses the memory of input 0."""


@dataclass(frozen=True)
class Contract(Lowering):
    """A product summed over shared dimensions: BLAS or loops."""


@dataclass(frozen=True)
class Structured(Lowering):
    """A kernel of its own in the backend; or, if there is an ``element``, the generic kernel that fills a result by it.

    The result's element at an index is ``element(emitter, index, *sources, **attributes)``: ``index`` is a tuple of i64
    scalars, one a dimension, and each input is a `Source`. Attributes are the node's, dimensions unevaluated.
    """

    element: Callable[..., Any] | None = None


class Source(Protocol):
    """An input as the element rule of a `Structured` op sees it."""

    @property
    def shape(self) -> tuple[Scalar, ...]:
        """The dimensions, as i64 scalars."""

    def __call__(self, *index: Scalar) -> Scalar:
        """Load the element at an index of i64 scalars, in bounds; no index for a 0-d input."""


@dataclass(frozen=True)
class Library(Lowering):
    """Compiled code calls ``eager`` on ndarrays through the C API."""


@dataclass(frozen=True, eq=False)
class ObjectCall(Lowering):
    """Compiled code calls ``function`` with Python objects, for its result and for what it does to its first argument.

    Input 0 is the order token, and input 1, if ``has_owner``, the address of the first argument. ``parameters`` are the
    names of the others in order: attributes where the node has them, else its further inputs; the last ones may be left
    out of the call where they are what ``defaults`` says. ``returns`` says what
    becomes of the result: ``value`` (the node's second result), ``argument`` (the first array, changed in place, is),
    ``object`` (its address is), ``nothing``. ``scalar_kind(attributes)`` is the type of a ``value`` of no dimensions.
    """

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    defaults: Mapping[str, Any]
    keyword_only: frozenset[str]
    has_owner: bool
    returns: str
    scalar_kind: Callable[[Attributes], str]


@dataclass(frozen=True)
class StateCopy(Lowering):
    """Compiled code copies the state of the generator at an address, or if ``restores`` copies it back."""

    restores: bool


@dataclass(frozen=True)
class ObjectRead(Lowering):
    """Compiled code reads the Python object whose address is input 0.

    Such a node may be dropped, and the same node that dominates it may stand for it, but it is not moved, repeated or
    computed beforehand: elsewhere the address may be that of something else, or none.
    """


@dataclass(frozen=True)
class NotDifferentiable:
    """There is no gradient, and asking for one is an error with this reason."""

    reason: str


@dataclass(frozen=True)
class ZeroGradient:
    """The result is locally constant (or an integer): no gradient flows back."""


class NotDifferentiableError(TypeError):
    """A rule has no gradient for these attributes. The message says of what."""

    code = "gradient.none"


ZERO = ZeroGradient()
Gradient = Union[NotDifferentiable, ZeroGradient, Callable[..., Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """All that is known of an operation.

    Attributes
    ----------
    name : str
        Unique; NumPy's name where NumPy has the operation.
    family : str
        The module of `janusjit.ops` that declares it.
    eager : callable
        ``eager(*inputs, **attributes)`` on NumPy values, dimensions in the attributes evaluated
        (`janusjit.ops.indexing.evaluate_attributes`). It does not write to them. Compiled code that calls
        it (`Library`) passes ndarrays, and leaves the attribute ``symbol`` out. Returns an ndarray or NumPy scalar, or
        a tuple of them for several results. Raises where a fallible op fails.
    infer : callable
        ``infer(input types, attributes)`` gives the result types; raises `TypeRuleError` where the op is not defined.
        Dimensions may be symbolic.
    lowering : Lowering
        How a backend compiles it.
    ulp : int
        Largest distance of a result element from the true value in units in the last place; 0 means as NumPy's, bit
        for bit.
    sums : bool
        The result rounds many times, in an order of the backend's choice: no further from the exact result than twice
        NumPy's own error. ``ulp`` says nothing then.
    commutative : bool
        Swapping the two inputs gives the same bits.
    fallible : bool or callable
        Whether nodes need a guard; a callable decides by input types and attributes (see `may_fail`).
    stateful : bool
        It has an effect or an identity: two nodes are never one, none is dropped, moved or computed beforehand.
    numpy : tuple of callables
        The functions outside janusjit that the op implements.
    positions : callable or None
        ``positions(attributes)`` gives pairs ``(index, axis)``: the op fails if, and only if, an element of its input
        ``index`` is no position on ``axis`` of its first input.
    samples : tuple of Sample
        Calls that are defined: for tests, gradient checks and the documentation.
    gradient : Gradient
        A rule (see `janusjit.ops.gradient`), `ZERO`, or `NotDifferentiable`.
    """

    name: str
    family: str
    eager: Callable[..., Any]
    infer: TypeRule
    lowering: Lowering
    samples: tuple[Sample, ...]
    ulp: int = 0
    sums: bool = False
    commutative: bool = False
    fallible: bool | FallibleRule = False
    stateful: bool = False
    numpy: tuple[Callable[..., Any], ...] = ()
    positions: PositionsRule | None = None
    gradient: Gradient

    def may_fail(self, inputs: tuple[TensorType, ...], attributes: Attributes) -> bool:
        """Return whether a node with these inputs can fail and so must carry a guard."""
        return self.fallible(inputs, attributes) if callable(self.fallible) else self.fallible


OPS: dict[str, Op] = {}


def implementation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a NumPy function does for ndarrays, without the search for arguments that override it (NEP 18)."""
    found: Callable[..., Any] = getattr(function, "__wrapped__", function)
    return found


class IncompleteDeclarationError(TypeError):
    """An op declaration lacks a part. Raised at import."""

    code = "op.incomplete"


def gradient_in(gradients: Mapping[str, Gradient], name: str) -> Gradient:
    """Return what a table of gradients has for the op ``name``.

    Raises
    ------
    IncompleteDeclarationError
        If it has nothing.
    """
    if name not in gradients:
        raise IncompleteDeclarationError(f"op {name!r}: there is no gradient: a rule, ZERO or NotDifferentiable")
    return gradients[name]


def declare(op: Op) -> Op:
    """Register an op under its name, after checking that its declaration is complete.

    Raises
    ------
    IncompleteDeclarationError
        If a part is missing or of the wrong kind, or the name is taken.
    """
    problems = [
        text
        for wrong, text in (
            (op.name in OPS, "the name is taken"),
            (not callable(op.eager), "eager is not callable"),
            (not callable(op.infer), "infer is not callable"),
            (not isinstance(op.lowering, Lowering), "lowering is not a Lowering"),
            (not op.samples, "there is no sample"),
            (op.ulp < 0, "ulp is negative"),
            (not _is_gradient(op.gradient), "gradient is neither a rule nor ZERO nor NotDifferentiable"),
            (isinstance(op.lowering, Checked) and op.fallible is not True, "a Checked op is not fallible"),
        )
        if wrong
    ]
    if problems:
        raise IncompleteDeclarationError(f"op {op.name!r}: {'; '.join(problems)}")
    OPS[op.name] = op
    return op


def _is_gradient(gradient: object) -> bool:
    return callable(gradient) or isinstance(gradient, (NotDifferentiable, ZeroGradient))
