"""The operations: one declaration each, in one file a family.

Importing the package registers every family in `OPS`.
"""

from janusjit.ops import (
    contract,
    convolutions,
    creation,
    elementwise,
    functions,
    gather,
    identities,
    join,
    library_functions,
    linalg,
    logic,
    numbers,
    objects,
    random,
    reduce,
    small_matrices,
    updates,
    views,
    windows,
)
from janusjit.ops.registry import OPS, Op

FAMILIES = (
    elementwise,
    functions,
    logic,
    numbers,
    creation,
    reduce,
    views,
    updates,
    gather,
    join,
    contract,
    windows,
    convolutions,
    linalg,
    small_matrices,
    library_functions,
    random,
    objects,
    identities,
)
"""The modules that declare ops, in the order of the documentation."""

__all__ = ["FAMILIES", "OPS", "Op"]
