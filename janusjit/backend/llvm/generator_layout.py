"""Where random number generators keep their state.

Owns `state_regions`. Invariant: a region is only given out after a generator of the very type, put back by copying its
regions, was seen to be in the state it had, by its own public interface, and to give the same numbers again.
"""

from __future__ import annotations

import ctypes
import functools
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random.bit_generator import BitGenerator

from janusjit.errors import CompileError
from janusjit.ops.generators import save_state

#: attribute by which a generator of NumPy's refers to the object that holds the state
BIT_GENERATOR = "_bit_generator"

#: bytes that the C structs of the bit generators take behind the fields of their base class
_STRUCT_BYTES: dict[type, int] = {
    np.random.MT19937: 2512,
    np.random.PCG64: 64,
    np.random.PCG64DXSM: 64,
    np.random.Philox: 120,
    np.random.SFC64: 48,
}
_TWISTER_BYTES = 4 + 4 * 624  # int index; uint32_t state[624]
_GAUSS_BYTES = 16  # int has_gauss; double gauss


@dataclass(frozen=True)
class Region:
    """``size`` bytes at ``offset`` of the generator, or of its bit generator."""

    in_bits: bool
    offset: int
    size: int


@functools.cache
def state_regions(owner: type, bits: type | None) -> tuple[Region, ...]:
    """Return the memory that makes up the state of a generator.

    Parameters
    ----------
    owner : type
        The generator's type.
    bits : type or None
        That of its bit generator.

    Raises
    ------
    CompileError
        If the objects are laid out in another way than is known.
    """
    regions = tuple(_twister() if bits is None else _numpy(owner, bits))
    if not _verified(owner, bits, regions):
        name = owner.__name__ if bits is None else f"{owner.__name__} with {bits.__name__}"
        raise CompileError("environment.generator", f"the state of a {name} is laid out differently here")
    return regions


def _twister() -> Iterator[Region]:
    yield Region(False, object.__basicsize__, _TWISTER_BYTES)


def _numpy(owner: type, bits: type) -> Iterator[Region]:
    size = bits.__basicsize__ - BitGenerator.__basicsize__
    if size == _STRUCT_BYTES.get(bits):
        yield Region(True, BitGenerator.__basicsize__, size)
    if owner is np.random.RandomState:
        yield from _gauss()


def _gauss() -> Iterator[Region]:
    """Find the second number of the polar method, which a RandomState keeps for the next call."""
    states = [np.random.RandomState(seed) for seed in (1, 2)]
    found: list[int] = []
    for state, value in zip(states, (0.728411, -1.360952), strict=True):
        full = state.get_state(legacy=False)
        state.set_state({**full, "has_gauss": 1, "gauss": value})
        wanted, memory = np.float64(value).tobytes(), _bytes(state, 0, type(state).__basicsize__)
        found.append(memory.find(wanted) if memory.count(wanted) == 1 else -1)
    if found[0] == found[1] > 8:
        yield Region(False, found[0] - 8, _GAUSS_BYTES)


def _bytes(value: Any, offset: int, size: int) -> bytes:
    return ctypes.string_at(id(value) + offset, size)


def _verified(owner: type, bits: type | None, regions: tuple[Region, ...]) -> bool:
    expected = 1 + (owner is np.random.RandomState)
    if len(regions) != expected:
        return False
    return all(_restores(owner, bits, regions, before) for before in _USES[owner])


def _restores(owner: type, bits: type | None, regions: tuple[Region, ...], before: Callable[[Any], Any]) -> bool:
    """Return whether copying the regions back puts a generator back that was used meanwhile."""
    generator = owner(bits(3)) if bits is not None else owner(3)
    before(generator)
    state = save_state(generator)
    holder = getattr(generator, BIT_GENERATOR, generator)
    where = [(holder if region.in_bits else generator, region) for region in regions]
    copies = [_bytes(value, region.offset, region.size) for value, region in where]
    numbers = [repr(use(generator)) for use in _USES[owner]]
    for (value, region), copy in zip(where, copies, strict=True):
        ctypes.memmove(id(value) + region.offset, copy, region.size)
    same = pickle.dumps(save_state(generator)) == pickle.dumps(state)
    return same and [repr(use(generator)) for use in _USES[owner]] == numbers


def _many(generator: Any) -> Any:
    return [generator.random() for _ in range(700)]


#: ways of using a generator that leave something behind: half a 64-bit draw, half a pair of normal numbers, a new block
_USES: dict[type, tuple[Callable[[Any], Any], ...]] = {
    np.random.RandomState: (lambda g: g.randint(9, size=3), lambda g: g.standard_normal(), lambda g: g.random(700)),
    np.random.Generator: (lambda g: g.integers(9, size=3, dtype="u4"), lambda g: g.normal(), lambda g: g.random(700)),
    random.Random: (lambda g: g.random(), _many),
}
