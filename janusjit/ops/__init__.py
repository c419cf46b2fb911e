"""The operations: one declaration each, in one file a family.

Importing the package registers every family in `OPS`.
"""

from janusjit.ops import elementwise, logic, numbers, reduce, updates, views
from janusjit.ops.registry import OPS, Op

__all__ = ["OPS", "Op", "elementwise", "logic", "numbers", "reduce", "updates", "views"]
