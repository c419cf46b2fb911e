"""From a libcst tree to Core.

Owns the desugaring of Python, by kind of construct, one module each. Importing the package registers them all.
"""

from janusjit.analysis.lower import (
    assignment,
    blocks,
    branches,
    comprehensions,
    expressions,
    functions,
    patterns,
    statements,
)
from janusjit.analysis.lower.comprehensions import comprehension_body
from janusjit.analysis.lower.context import Lowering, Unit
from janusjit.analysis.lower.functions import lower_body

__all__ = [
    "Lowering",
    "Unit",
    "assignment",
    "blocks",
    "branches",
    "comprehension_body",
    "comprehensions",
    "expressions",
    "functions",
    "lower_body",
    "patterns",
    "statements",
]
