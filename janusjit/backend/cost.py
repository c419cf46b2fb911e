"""What operations cost: the numbers that decide what is fused, what is computed twice and what is stored.

Owns the cost of an element of every operation, in units of one addition; what such a unit takes on this machine is
`janusjit.backend.calibration`'s. Invariant: costs steer choices only; whatever they are, the program computed is the
same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from janusjit.ir.graph import Node

#: operations that take several instructions an element, and how many additions each is worth
_COSTS: dict[str, int] = {
    **dict.fromkeys(("divide", "sqrt", "reciprocal"), 5),
    **dict.fromkeys(("remainder", "floor_divide", "fmod", "power"), 30),
    **dict.fromkeys(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sigmoid", "tanh", "softplus"), 15),
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh"), 20),
    **dict.fromkeys(("arcsinh", "arccosh", "arctanh", "hypot", "cbrt", "erf", "logaddexp"), 20),
}

#: from this cost on an operation is a function of many instructions
FUNCTION = 15

#: functions of rows of fewer elements are computed by themselves where vectors of so many bytes, with elements of one
#: row each, would have so many times the lanes there are elements
SHORT_ROW, VECTOR_BYTES, FILLED_UP = 32, 64, 1.25
#: where rows are added up or the like, that holds from so many elements on; elsewhere for rows that are shorter than a
#: vector, and from so many times the lanes on
SHORT_SUM, MOSTLY_FILLED_UP = 7, 1.5

#: a kernel with more operations or more arrays than this is split: registers run out, and compiling it takes long
KERNEL_OPERATIONS = 64
KERNEL_ARRAYS = 20
#: functions are put into a kernel until it costs this: what they compute mostly waits for each other, and a processor
#: looks ahead by so many instructions only, so the shorter the chain is, the more elements are computed at a time
KERNEL_COST = 48

#: kernels that cost so much an element do two vectors in a turn: each is a chain of instructions that wait
INTERLEAVED = 12

#: an array of fewer elements is copied whole before an update of a part: one call is less than one for each side
COPIED_WHOLE = 2048

#: steps are done in blocks of rows, each of about ``TILE_BYTES``, if an array of more than ``CACHE_BYTES`` (half of a
#: common second-level cache) need not be there as a whole then, or all arrays take more than a core's part of the cache
#: behind it; if a row is no larger than ``TILE_ROW_BYTES``, and all steps together touch ``TILE_GAIN`` times the bytes
#: there are
CACHE_BYTES = 1 << 19
SHARED_CACHE_BYTES = 2 << 20
TILE_BYTES = 1 << 14
TILE_ROW_BYTES = 1 << 19
TILE_GAIN = 1.25

#: passes over rows that end in products which sum over these (`janusjit.backend.row_passes`) go on in blocks of about
#: so many bytes, where more than ``PASS_SPARED``, and half of all, need not be read or written again then
PASS_BYTES = 1 << 15
PASS_SPARED = 1 << 18
#: what every block reads, or adds to, takes up to so many bytes; all rows take so many times as much at least
PASS_SHARED, PASS_TIMES_SHARED = 1 << 20, 8

#: where Linux says how large the cache is that is the last before memory, and how large it is taken to be elsewhere
_LAST_CACHE, _LAST_CACHE_BYTES = Path("/sys/devices/system/cpu/cpu0/cache/index3/size"), 32 << 20

#: a product whose elements are worked on goes on in blocks of rows of about so many bytes
PRODUCT_BLOCK_BYTES = 1 << 13

#: chunks that take less than this are not worth the handing out
CHUNK_NANOSECONDS = 2_000
#: for each of so many nanoseconds there is one thread at most: where there are many, a short kernel needs a few of them
THREAD_NANOSECONDS = 10_000
#: chunks are no longer than this where rows are short enough: who is done first waits for what others have begun
LONGEST_CHUNK_NANOSECONDS = 50_000


@functools.cache
def streamed_bytes() -> int:
    """Return how many bytes a loop goes through that had better write past the caches: more than the last one holds.

    A line that is written as a whole need not be read first then. What is written is in memory afterwards, as most of
    it would be anyway.
    """
    if _LAST_CACHE.is_file():
        size = _LAST_CACHE.read_text().strip()
        if size.endswith("K") and size[:-1].isdigit():
            return int(size[:-1]) << 10
    return _LAST_CACHE_BYTES


def pays_in_one_pass(total: int, spared: int, shared: int) -> bool:
    """Return whether a pass over rows pays, from the bytes of all rows, of those spared, and of what all share."""
    much = spared > PASS_SPARED and 2 * spared >= total
    return much and shared <= PASS_SHARED and total >= PASS_TIMES_SHARED * shared


def is_too_much(nodes: Sequence[Node], more: Sequence[Node]) -> bool:
    """Return whether elementwise operations are too many for one kernel, or too long a chain of functions."""
    if len(nodes) + len(more) > KERNEL_OPERATIONS:
        return True
    both_compute_functions = all(any(map(is_function, some)) for some in (nodes, more))
    return both_compute_functions and sum(map(element_cost, (*nodes, *more))) > KERNEL_COST


def is_function(node: Node) -> bool:
    """Return whether an elementwise operation is a function of many instructions."""
    return element_cost(node) >= FUNCTION


def element_cost(node: Node) -> int:
    """Return the cost of one element of an elementwise operation."""
    return operation_cost(node.op)


def operation_cost(op: str) -> int:
    """Return the cost of one element of the elementwise operation called ``op``."""
    return _COSTS.get(op, 1)
