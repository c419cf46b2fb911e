"""What a capture knows of recorded operations.

Owns `RecordedOperations`. Invariant: what is in it is true on every control path.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from janusjit.ir.graph import Node, Region, Value


@dataclass(slots=True)
class RecordedOperations:
    """The copies of leaves that recorded operations take, and where they may stand.

    Attributes
    ----------
    around : dict
        For each nested region: the one around it, and how many values there were when it was opened.
    leaves : dict
        The copies of the data of leaf variables, and the heap index of the leaf of each.
    copies : dict
        The same by leaf and data: the nodes that copy, and the regions that they stand in.
    """

    around: dict[Region, tuple[Region, int]] = field(default_factory=dict)
    leaves: dict[Value, int] = field(default_factory=dict)
    copies: dict[tuple[int, Value], list[tuple[Node, Region]]] = field(default_factory=dict)

    def nested(self, outer: Region, born: int) -> Region:
        """Return a new region in another one, opened when there were ``born`` values."""
        region = Region()
        self.around[region] = (outer, born)
        return region
