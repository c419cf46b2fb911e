"""Where in the text the nodes of a libcst tree stand.

Owns `positions_of`. libcst finds positions by writing the tree's text again, token by token, and so does this, with its
code for that; but it keeps no text, and makes no objects for the thousands of positions of which few are asked for.
Invariant: they are those of `libcst.metadata.PositionProvider`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import PositionProvider
from libcst.metadata.position_provider import PositionProvidingCodegenState

from janusjit.pacing import pause

Position = tuple[int, int]


class Extent(NamedTuple):
    """Where a node begins and ends: lines from 1 on, columns from 0 on."""

    start: Position
    end: Position


def positions_of(module: cst.Module) -> dict[int, Extent]:
    """Return the position of each node of a module, by its ``id``: nodes hash themselves by code in Python."""
    state = _State(module.default_indent, module.default_newline)
    module._codegen(state)
    return state.found


class _State(PositionProvidingCodegenState):
    """Counts lines and columns while libcst goes through a tree."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent, default_newline, PositionProvider())
        self.found: dict[int, Extent] = {}
        self._begun: list[Position] = []
        self.tokens.append("")  # in the place of all of them, for libcst to see that there are some

    def add_indent_tokens(self) -> None:
        """Count indentation."""
        for token in self.indent_tokens:
            self.add_token(token)

    def add_token(self, value: str) -> None:
        """Count a token."""
        if "\n" in value or "\r" in value:
            self._update_position(value)
        else:
            self.column += len(value)

    def before_codegen(self, node: cst.CSTNode) -> None:
        """Note where a node begins, with the space in front of it."""
        pause()
        self._begun.append((self.line, self.column))

    def after_codegen(self, node: cst.CSTNode) -> None:
        """Note where it ends, unless its position without space has been noted."""
        start = self._begun.pop()
        if id(node) not in self.found:
            self.found[id(node)] = Extent(start, (self.line, self.column))

    def record_syntactic_position(  # type: ignore[override] # it is only entered and left
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> AbstractContextManager[None]:
        """Note the position that a node has without space around it, for a ``with`` block that writes the node."""
        return _Recording(self, node, start_node, end_node)


class _Recording(AbstractContextManager[None]):
    __slots__ = ("_end_node", "_node", "_start", "_start_node", "_state")

    def __init__(self, state: _State, node: cst.CSTNode, *ends: cst.CSTNode | None) -> None:
        self._state, self._node = state, node
        self._start_node, self._end_node = ends

    def __enter__(self) -> None:
        self._start = (self._state.line, self._state.column)

    def __exit__(self, *failure: Any) -> None:
        if failure[0] is not None:  # the node has not been gone through
            return
        state, found = self._state, self._state.found
        start = self._start if self._start_node is None else found[id(self._start_node)].start
        end = (state.line, state.column) if self._end_node is None else found[id(self._end_node)].end
        found[id(self._node)] = Extent(start, end)
