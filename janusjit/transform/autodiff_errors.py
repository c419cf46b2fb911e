"""What differentiation of graphs raises."""

from __future__ import annotations

from janusjit.errors import JanusError
from janusjit.ir.graph import Node


class AutodiffError(JanusError):
    """The values asked for cannot be differentiated. ``node`` is the operation in the way, if it is one."""

    def __init__(self, code: str, message: str, node: Node | None = None) -> None:
        where = f"{node.span}: " if node is not None and node.span.line else ""
        super().__init__(code, where + message)
        self.node = node
