"""Sameness of what several control paths have.

Owns `number_kind`, `kind_number`, `same_constant` and `same_function`. Invariant: what is told to be the same behaves
the same wherever it is used.
"""

from __future__ import annotations

from janusjit.analysis.capture.values import AbstractValue, Known, Scalar
from janusjit.ir.types import BOOL, DTYPES, FLOAT, INT, TensorType, dtype_name

_PYTHON_NUMBERS = {int: ("int", INT), float: ("float", FLOAT), bool: ("bool", BOOL)}

#: what a value may be that is of one of several kinds
_KINDS = ("None", *(kind for kind, _ in _PYTHON_NUMBERS.values()), *(f"numpy.{name}" for name in DTYPES))


def kind_number(value: AbstractValue) -> int | None:
    """Return the number of the kind of a number or None; None for anything else."""
    if isinstance(value, Known) and value.value is None:
        return 0
    kind = number_kind(value)
    return _KINDS.index(kind[0]) if kind is not None else None


def number_of_kind(kind: str) -> int:
    """Return the number of a kind of numbers, or of ``"None"``."""
    return _KINDS.index(kind)


def number_kind(value: AbstractValue) -> tuple[str, TensorType] | None:
    """Return the kind and the type that a number, known or not, has at run time; None for anything else."""
    if isinstance(value, Scalar):
        return value.kind, value.value.type
    if not isinstance(value, Known):
        return None
    if type(value.value) in _PYTHON_NUMBERS:
        kind = _PYTHON_NUMBERS[type(value.value)]
        return kind if kind[0] != "int" or -(2**63) <= value.value < 2**63 else None
    if (
        hasattr(value.value, "dtype")
        and getattr(value.value, "shape", None) == ()
        and not isinstance(value.value, type)
    ):
        name = dtype_name(value.value.dtype)
        return (f"numpy.{name}", TensorType(name)) if name is not None else None
    return None


def same_constant(first: object, second: object) -> bool:
    """Return whether nobody can tell two objects apart: floats by their bits, others than constants by identity."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return isinstance(second, float) and first.hex() == second.hex()
    return isinstance(first, int | str | bytes) and first == second


def same_function(first: AbstractValue, second: AbstractValue) -> bool:
    """Return whether two values are the same function."""
    return first is second or (isinstance(first, Known) and isinstance(second, Known) and first.value is second.value)
