"""Slices between brackets.

Owns the one expression whose form depends on where it stands: a slice is ``start:stop:step`` inside the brackets of a
subscript, and a call of ``slice`` anywhere else.
"""

from __future__ import annotations

import ast


class SliceCall(ast.Call):
    """A slice made by a call, which becomes ``start:stop:step`` between the brackets of a subscript."""

    subscript: ast.Slice


def index(node: ast.expr) -> ast.expr:
    """Return an index expression as it stands between brackets."""
    if isinstance(node, SliceCall):
        return node.subscript
    if isinstance(node, ast.Tuple):
        node.elts = [index(item) for item in node.elts]
    return node
