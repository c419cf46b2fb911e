"""What a user could change about a failed guard.

Owns the advice for each cause code. Invariant: a hint is a concrete edit that names the guarded expression; where
nothing better than leaving the code alone is known, there is none.
"""

from __future__ import annotations

from janusjit.runtime.events import Difference, Hint, ValueHistory


def hint_for(difference: Difference, history: ValueHistory) -> Hint | None:
    """Return the advice for a failed guard, or None."""
    rule = _RULES.get(difference.code)
    return None if rule is None else rule(difference, history)


def _shape(difference: Difference, history: ValueHistory) -> Hint | None:
    if history.pattern == "short last batch":
        edit = (
            f"drop or pad the short batch so that {difference.expression} stays {difference.expected}, "
            "or leave it: sizes that vary share one further specialization"
        )
        return Hint(edit, "likely")
    return Hint(f"keep {difference.expression} the same in every call; sizes that vary share one specialization", "low")


def _dtype(difference: Difference, history: ValueHistory) -> Hint:
    array = difference.expression.removesuffix(".dtype")
    return Hint(f"pass {array}.astype(np.{difference.expected}), made once outside the loop", "high")


def _layout(difference: Difference, history: ValueHistory) -> Hint:
    array = difference.expression.removesuffix(".strides")
    return Hint(f"pass np.ascontiguousarray({array}), made once outside the loop", "high")


def _value(difference: Difference, history: ValueHistory) -> Hint | None:
    if history.count < 2:
        return None
    edit = f"{difference.expression} decides the program's shape and varies: hold it fixed, or pass it as an array"
    return Hint(edit, "medium")


def _type(difference: Difference, history: ValueHistory) -> Hint:
    return Hint(f"always pass {difference.expression} as {difference.expected}", "high")


def _branch(difference: Difference, history: ValueHistory) -> Hint:
    return Hint("none needed: both directions are compiled from now on", "high")


def _keys(difference: Difference, history: ValueHistory) -> Hint:
    table = difference.expression.removeprefix("list(").removesuffix(")")
    return Hint(f"give {table} its keys before the loop", "medium")


_RULES = {
    "array.shape": _shape,
    "array.dtype": _dtype,
    "array.layout": _layout,
    "python.value": _value,
    "python.global": _value,
    "python.closure": _value,
    "python.attribute": _value,
    "python.type": _type,
    "python.scalar": _type,
    "python.keys": _keys,
    "branch": _branch,
}
