"""What gradient rules are written with.

Owns `Term`, a value of a graph with operators that emit; `Emit`, which appends typed ops to the region a builder has
open; and `Pullback`, one application of an op whose cotangents are pulled back from its results to its inputs.
Invariant: everything emitted is an op of the registry with a gradient of its own, so gradients nest; a cotangent has
the type of the value it belongs to.

A rule is a function of a `Pullback` that returns, for each input, a `Term` (of the input's type, or one that
broadcasting made larger), a `Part` or None, the symbolic zero. `pointwise` makes the rule of an elementwise op of its
partial derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Union

from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Node, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import TensorType
from janusjit.ops.registry import OPS
from janusjit.spans import UNKNOWN_SPAN, Span

Operand = Union["Term", bool, int, float]
Cotangent = Union["Term", "Part", None]


class Builder(Protocol):
    """What `Emit` appends with: a `janusjit.ir.builder.GraphBuilder`, or one that computes as it goes."""

    def emit(
        self,
        op: str,
        inputs: Sequence[Value] = (),
        attributes: Any = None,
        *,
        span: Span = UNKNOWN_SPAN,
        guard: InGraphGuard | None = None,
        result_types: Sequence[TensorType] | None = None,
    ) -> Node:
        """Append a node to the open region."""


class Emit:
    """Appends ops; calling it emits one with a single result.

    Parameters
    ----------
    builder : Builder
        Where nodes go.
    span : Span
        The line the nodes are made for.
    guard : InGraphGuard, optional
        The guard that nodes which can fail carry: that of the node whose gradient this is.
    """

    def __init__(self, builder: Builder, span: Span = UNKNOWN_SPAN, guard: InGraphGuard | None = None) -> None:
        self.builder, self.span = builder, span
        self._guard = guard

    def __call__(self, op: str, *inputs: Operand, **attributes: Any) -> Term:
        """Emit an op with one result; Python numbers become constants of the dtype of the first `Term`."""
        (result,) = self.several(op, *inputs, **attributes)
        return result

    def several(self, op: str, *inputs: Operand, **attributes: Any) -> tuple[Term, ...]:
        """Emit an op and return its results."""
        dtype = next((term.type.dtype for term in inputs if isinstance(term, Term)), "f64")
        values = [self._value(operand, dtype) for operand in inputs]
        types = tuple(value.type for value in values)
        guard = self._failure(op) if OPS[op].may_fail(types, attributes) else None
        inferred = OPS[op].infer(types, attributes)
        node = self.builder.emit(op, values, attributes, span=self.span, guard=guard, result_types=inferred)
        return tuple(Term(self, value) for value in node.results)

    def _value(self, operand: Operand, dtype: str) -> Value:
        return operand.value if isinstance(operand, Term) else self.constant(operand, dtype).value

    def _failure(self, op: str) -> InGraphGuard:
        if self._guard is None:
            self._guard = InGraphGuard(code="value", subject=f"gradient: {op}", expected="defined", span=self.span)
        return self._guard

    def term(self, value: Value) -> Term:
        """Return a value with operators."""
        return Term(self, value)

    def constant(self, value: float, dtype: str) -> Term:
        """Emit a 0-d constant."""
        number = float(value) if dtype in ("f32", "f64") else bool(value) if dtype == "bool" else int(value)
        return self("constant", value=number, dtype=dtype)

    def full(self, value: float, type_: TensorType) -> Term:
        """Emit an array of one number."""
        number = self.constant(value, type_.dtype)
        return self("full", number, shape=type_.shape) if type_.rank else number

    def zeros(self, type_: TensorType) -> Term:
        """Emit zeros."""
        return self.full(0, type_)

    def dim(self, dim: Dim) -> Term:
        """Emit a dimension as ``i64[]``."""
        if isinstance(dim, int):
            return self.constant(dim, "i64")
        node = self.builder.emit("dim", (), {"dim": dim}, span=self.span, result_types=(TensorType("i64"),))
        return Term(self, node.results[0])

    def positions(self, length: Dim) -> Term:
        """Emit ``0, 1, …, length - 1``."""
        return self("arange", self.constant(0, "i64"), self.constant(1, "i64"), length=length)


@dataclass(frozen=True, eq=False)
class Term:
    """A value of the graph under construction."""

    emit: Emit
    value: Value

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.value.type.shape

    @property
    def rank(self) -> int:
        return self.value.type.rank

    def __add__(self, other: Operand) -> Term:
        return self.emit("add", self, other)

    def __sub__(self, other: Operand) -> Term:
        return self.emit("subtract", self, other)

    def __mul__(self, other: Operand) -> Term:
        return self.emit("multiply", self, other)

    def __truediv__(self, other: Operand) -> Term:
        return self.emit("divide", self, other)

    def __radd__(self, other: float) -> Term:
        return self.emit("add", self, other)

    def __rmul__(self, other: float) -> Term:
        return self.emit("multiply", self, other)

    def __rsub__(self, other: float) -> Term:
        return self.emit("subtract", self.emit.constant(other, self.type.dtype), self)

    def __rtruediv__(self, other: float) -> Term:
        return self.emit("divide", self.emit.constant(other, self.type.dtype), self)

    def __neg__(self) -> Term:
        return self.emit("negative", self)

    def constant(self, value: float) -> Term:
        """Return a constant of this term's dtype."""
        return self.emit.constant(value, self.type.dtype)

    def square(self) -> Term:
        return self.emit("square", self)

    def equal(self, other: Operand) -> Term:
        return self.emit("equal", self, other)

    def where(self, chosen: Operand, otherwise: Operand) -> Term:
        """Return ``chosen`` where this condition holds, else ``otherwise``; one of the two is a `Term`."""
        if not isinstance(chosen, Term):
            assert isinstance(otherwise, Term)
            chosen = self.emit.constant(chosen, otherwise.type.dtype)
        if not isinstance(otherwise, Term):
            otherwise = self.emit.constant(otherwise, chosen.type.dtype)
        return self.emit("where", self, chosen, otherwise)

    def cast(self, dtype: str) -> Term:
        return self if self.type.dtype == dtype else self.emit("cast", self, dtype=dtype)

    def reshape(self, shape: tuple[Dim, ...]) -> Term:
        return self if self.shape == shape else self.emit("reshape", self, shape=shape)

    def transpose(self, axes: Sequence[int]) -> Term:
        return self if list(axes) == list(range(self.rank)) else self.emit("transpose", self, axes=tuple(axes))

    @property
    def matrix_transpose(self) -> Term:
        """The last two axes swapped."""
        return self.transpose((*range(self.rank - 2), self.rank - 1, self.rank - 2))

    def broadcast(self, shape: tuple[Dim, ...]) -> Term:
        return self if self.shape == shape else self.emit("broadcast", self, shape=shape)

    def sum(self, axes: Sequence[int], keepdims: bool = False) -> Term:
        return self.emit("sum", self, axes=tuple(axes), keepdims=keepdims) if axes else self

    def restore(self, shape: tuple[Dim, ...], axes: Sequence[int], keepdims: bool) -> Term:
        """Return a result of a reduction over ``axes`` with the axes put back, of length 1."""
        kept = tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
        return self if keepdims else self.reshape(kept)

    def sum_to(self, shape: tuple[Dim, ...]) -> Term:
        """Return the sum over the axes that broadcasting ``shape`` to this term's shape added or stretched."""
        if self.shape == shape:
            return self
        added = self.rank - len(shape)
        stretched = [
            axis for axis, dim in enumerate(self.shape) if axis < added or (shape[axis - added] == 1 and dim != 1)
        ]
        return self.sum(stretched).reshape(shape)

    def matmul(self, other: Term) -> Term:
        return self.emit("matmul", self, other)

    @property
    def size(self) -> Dim:
        return product(self.shape)


class Part:
    """The cotangent of a value only a part of which was used: zero elsewhere.

    Parameters
    ----------
    add_to : callable
        Given the cotangent so far, a `Term`, or None for zeros, returns it with the part added. So a loop that uses one
        row a turn adds to one row a turn.
    """

    def __init__(self, add_to: Callable[[Term | None], Term]) -> None:
        self.add_to = add_to


@dataclass(frozen=True, eq=False)
class Pullback:
    """One application of an op, and the cotangents of its results.

    Attributes
    ----------
    emit : Emit
        Appends to the backward pass.
    node : Node
        The forward node.
    inputs, results : tuple of Term
        Its inputs and results.
    cotangents : tuple of Term or None
        One a result, of the result's type; None is a symbolic zero. They are not all None.
    wanted : tuple of bool
        The inputs whose cotangents anybody wants; what the rule returns for the others is ignored.
    """

    emit: Emit
    node: Node
    inputs: tuple[Term, ...]
    results: tuple[Term, ...]
    cotangents: tuple[Term | None, ...]
    wanted: tuple[bool, ...]

    @property
    def attributes(self) -> dict[str, Any]:
        return self.node.attributes

    @property
    def cotangent(self) -> Term:
        """The cotangent of the only result."""
        (only,) = self.cotangents
        assert only is not None
        return only

    @property
    def result(self) -> Term:
        """The only result."""
        (only,) = self.results
        return only


Rule = Callable[[Pullback], Sequence[Cotangent]]
Partial = Callable[..., Term]


class Pointwise:
    """The rule of an elementwise op: for each input, its partial derivative times a cotangent.

    Parameters
    ----------
    *partials : callable or None
        ``partial(cotangent, result, *inputs)``, linear in the cotangent; None where the op is locally constant in the
        input. One a input.
    """

    def __init__(self, *partials: Partial | None) -> None:
        self.partials = partials

    def __call__(self, pullback: Pullback) -> list[Cotangent]:
        """Pull back: multiply."""
        return [
            partial(pullback.cotangent, pullback.result, *pullback.inputs) if partial is not None and wanted else None
            for partial, wanted in zip(self.partials, pullback.wanted, strict=True)
        ]


def pointwise(*partials: Partial | None) -> Pointwise:
    """Return the rule of an elementwise op (see `Pointwise`)."""
    return Pointwise(*partials)


def fitted(cotangent: Term, type_: TensorType) -> Term:
    """Return a cotangent as one of a value of ``type_``: what was broadcast is summed, and the dtype is the value's."""
    return cotangent.sum_to(type_.shape).cast(type_.dtype)
