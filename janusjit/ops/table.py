"""The op table of the documentation, made from the registry.

Owns `render`, the text of ``docs/ops.md``. Invariant: everything it says is read from `OPS`, so it cannot be out of
step with the declarations; a test compares it with the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ops import FAMILIES, OPS, Op
from janusjit.ops.registry import NotDifferentiable, Structured, ZeroGradient

_INTRODUCTION = """\
# Operations

Made from the op registry by `janusjit.ops.table.render`; `pytest tests/ops/test_table.py --update-golden` writes it
anew. One declaration an op (`janusjit/ops/`) gives its eager function, its type rule, its lowering and its samples.

*Attributes* are constants of a node, everything else is an input. *Accuracy*: bits as NumPy's; the largest distance
from the true value in units in the last place (ULP); or, for sums and what is made of them, no further from the exact
result than twice NumPy's own error. *May fail*: a node carries a guard, and if it fails the call is done by Python.
*Gradient*: zero means that no derivative flows through the op.
"""

_COLUMNS = ("op", "implements", "attributes", "lowering", "accuracy", "may fail", "gradient")
_HEADER = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|\n"


def render() -> str:
    """Return ``docs/ops.md``: a table a family, ops in the order they are declared."""
    sections = [_INTRODUCTION]
    for module in FAMILIES:
        family = module.__name__.rpartition(".")[2]
        title = (inspect.getdoc(module) or family).splitlines()[0].rstrip(".").replace("``", "`")
        rows = "".join(_row(op) for op in OPS.values() if op.family == family)
        sections.append(f"## {title}\n\n{_HEADER}{rows}")
    return "\n".join(sections)


def _row(op: Op) -> str:
    cells = (
        f"`{op.name}`",
        ", ".join(f"`{_function_name(function)}`" for function in op.numpy),
        ", ".join(f"`{name}`" for name in sorted({name for sample in op.samples for name in sample.attributes})),
        _lowering(op),
        _accuracy(op),
        "depends" if callable(op.fallible) else "yes" if op.fallible else "",
        _gradient(op),
    )
    return f"| {' | '.join(cells)} |\n"


def _function_name(function: Callable[..., Any]) -> str:
    """Return ``np.add``, ``np.linalg.inv``, ``math.exp``, ``np.add.at``."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"np.{owner.__name__}.{function.__name__}"
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1)}.{function.__name__}"


def _lowering(op: Op) -> str:
    generic = isinstance(op.lowering, Structured) and op.lowering.element is not None
    return "generic structured" if generic else type(op.lowering).__name__.lower()


def _gradient(op: Op) -> str:
    if isinstance(op.gradient, NotDifferentiable):
        return f"none: {op.gradient.reason}"
    return "zero" if isinstance(op.gradient, ZeroGradient) else "yes"


def _accuracy(op: Op) -> str:
    if op.sums:
        return "sum"
    return f"{op.ulp} ULP" if op.ulp else "bits"
