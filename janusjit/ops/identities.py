"""Identities: values passed on, with something said about their gradients.

Owns ``stop_gradient``, ``detach``, ``custom_gradient``, ``checkpoint_enter``, ``checkpoint_leave`` and ``barrier``.
Invariant: each result is an input; nothing is left of them when code is emitted (`janusjit.transform.identities`).

A ``detach`` stands where a value leaves the operations recorded on variables: it ends the backward passes of variables
and tapes, and no other.

Between ``checkpoint_enter`` and ``checkpoint_leave`` of one ``number`` stands what the backward pass computes again
instead of keeping. A ``barrier`` keeps what is computed again behind it from being recognised as what was computed
before; each has a ``number`` of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.ir.types import TensorType
from janusjit.ops.gradient import Cotangent, Pullback, pointwise
from janusjit.ops.registry import ZERO, Attributes, Elementwise, Gradient, Library, Op, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity

IDENTITIES = frozenset(
    {"stop_gradient", "detach", "custom_gradient", "checkpoint_enter", "checkpoint_leave", "barrier"}
)
#: what nothing flows through in the backward passes of variables and tapes
ENDS_OF_RECORDS = frozenset({"detach"})


def _identity(name: str, gradient: Gradient, attributes: dict[str, Any]) -> None:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        return inputs

    draws = [Draw(shape, dtype) for dtype in ("f64", "i64") for shape in ((2, 3), ())]
    declare(
        Op(
            name=name,
            family="identities",
            eager=lambda x, number=0: x,
            infer=infer,
            lowering=Elementwise(lambda e, x, number=0: x),
            gradient=gradient,
            samples=tuple(Sample((draw,), attributes) for draw in draws),
        )
    )


_PASSES_ON = pointwise(lambda g, r, x: g)
_identity("stop_gradient", ZERO, {})
_identity("detach", _PASSES_ON, {})
_identity("checkpoint_enter", _PASSES_ON, {"number": 1})
_identity("checkpoint_leave", _PASSES_ON, {"number": 1})
_identity("barrier", _PASSES_ON, {"number": 1})


def _custom_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    outputs = attributes["outputs"]
    if not 0 < outputs <= len(inputs) or not callable(attributes["rule"]):
        raise TypeRuleError(f"custom_gradient of {outputs} outputs and {len(inputs)} inputs")
    return inputs[:outputs]


def _custom_gradient(pullback: Pullback) -> list[Cotangent]:
    """The attribute ``rule`` is a gradient rule: it returns None for the first inputs, which are the outputs."""
    rule: Callable[[Pullback], list[Cotangent]] = pullback.attributes["rule"]
    return rule(pullback)


def _eager_custom(*inputs: Any, rule: object, outputs: int) -> Any:
    return inputs[0] if outputs == 1 else inputs[:outputs]


def doubled(pullback: Pullback) -> list[Cotangent]:
    """Return twice the cotangents of the outputs, for as many inputs behind them: an example of a rule."""
    outputs = pullback.attributes["outputs"]
    twice: list[Cotangent] = [None if g is None else 2 * g for g in pullback.cotangents]
    return [*[None] * outputs, *twice]


declare(
    Op(
        name="custom_gradient",
        family="identities",
        eager=_eager_custom,
        infer=_custom_rule,
        lowering=Library(),
        gradient=_custom_gradient,
        samples=(
            Sample((Draw((2, 3)), Draw((2, 3))), {"rule": doubled, "outputs": 1}),
            Sample((Draw(), Draw((3,)), Draw(), Draw((3,))), {"rule": doubled, "outputs": 2}),
        ),
    )
)
