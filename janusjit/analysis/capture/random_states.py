"""The generators that a loop draws from.

Owns `drawn_states`. Invariant: whatever a turn may have drawn from, and that lives on when the turn is done again by
Python, is among them.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture.machine import Machine
from janusjit.ir.graph import Region, Value, walk
from janusjit.ops import OPS
from janusjit.ops.random import MAKER_BITS, PREFIXES
from janusjit.ops.registry import ObjectCall

_OWNERS = {prefix: type_ for type_, prefix in PREFIXES.items()}


def drawn_states(machine: Machine, region: Region) -> list[tuple[Value, dict[str, Any]]] | None:
    """Return the generators from before a loop that its body draws from.

    Parameters
    ----------
    machine : Machine
        The capture.
    region : Region
        The body of the loop.

    Returns
    -------
    list of (Value, dict) or None
        Their addresses, with the attributes that ``random.save`` takes; None if the type of one is not known.
    """
    nodes = list(walk(region))
    inside = {value for node in nodes for value in node.results}
    found: dict[Value, dict[str, Any]] = {}
    for node in nodes:
        lowering = OPS[node.op].lowering if node.op in OPS else None
        if not isinstance(lowering, ObjectCall) or not lowering.has_owner or node.inputs[1] in inside:
            continue
        address = node.inputs[1]
        if address in machine.externals.bit_generators:
            bits = machine.externals.bit_generators[address]
        elif address.node is not None and address.node.op in MAKER_BITS:
            bits = MAKER_BITS[address.node.op]
        else:
            return None
        owner = _OWNERS[node.op.partition(".")[0]]
        found[address] = {"owner": owner.__name__, "bits": None if bits is None else bits.__name__}
    return list(found.items())
