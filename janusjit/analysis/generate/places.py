"""The places of generated nodes in the user's source.

Owns `complete_places`. Invariant: a node that was given no place has that of the node it is in, as
`ast.fix_missing_locations` would give it one; which goes over the fields of every node by calls of several functions.
"""

from __future__ import annotations

import ast

Place = tuple[int, int, int, int]


def complete_places(tree: ast.AST) -> None:
    """Give a place to each node of a tree that needs one and has none.

    Parameters
    ----------
    tree : ast.AST
        The tree. A node with a place has all of it.
    """
    pending: list[tuple[ast.AST, Place]] = [(tree, (1, 0, 1, 0))]
    while pending:
        node, place = pending.pop()
        own = vars(node)
        if "lineno" in own:
            place = own["lineno"], own["col_offset"], own["end_lineno"], own["end_col_offset"]
        elif node._attributes:
            own["lineno"], own["col_offset"], own["end_lineno"], own["end_col_offset"] = place
        for value in own.values():
            if type(value) is list:
                pending += [(item, place) for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                pending.append((value, place))
