"""Random number generators as Python objects, seen from a graph.

Owns `ObjectAddress` and the saving and restoring of a generator's state by its public interface. Invariant: after
`restore_state` a generator gives the very numbers it gave after the `save_state` that belongs to it.
"""

from __future__ import annotations

import random
import types
from typing import Any

import numpy as np

#: the types whose methods are operations; their subclasses are the user's code
GENERATOR_TYPES = (np.random.RandomState, np.random.Generator, random.Random)
#: the bit generators whose state compiled code can save
BIT_GENERATORS = (
    np.random.MT19937,
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.Philox,
    np.random.SFC64,
)


#: both by name, as attributes of nodes say them
TYPES_BY_NAME: dict[str, type] = {type_.__name__: type_ for type_ in (*GENERATOR_TYPES, *BIT_GENERATORS)}


class ObjectAddress(np.int64):
    """The address of a Python object as a graph holds it (an ``i64[]``); in Python it keeps the object alive."""

    object: Any

    @classmethod
    def of(cls, value: Any) -> ObjectAddress:
        """Return the address of an object."""
        made = cls(id(value))
        made.object = value
        return made


def save_state(generator: Any) -> Any:
    """Return the state of a generator of one of `GENERATOR_TYPES`, for `restore_state`."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def restore_state(generator: Any, state: Any) -> None:
    """Give a generator back the state that `save_state` returned."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def generator_of(method: Any) -> Any:
    """Return the generator that an object is a method of, bound to it and its type's own; None for anything else."""
    if type(method) not in (types.MethodType, types.BuiltinMethodType):
        return None
    owner, name = method.__self__, method.__name__
    if type(owner) not in GENERATOR_TYPES or not hasattr(type(owner), name):
        return None
    return owner if method == getattr(type(owner), name).__get__(owner) else None
