"""Samples: calls on which an op is defined.

Owns `Draw`, `Exactly`, `Made` and `Sample`. Invariant: a sample is declarative and drawn from a generator, so one seed
gives one call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from janusjit.ir.types import DTYPES, TensorType


@dataclass(frozen=True)
class Draw:
    """Random values of a dtype and shape from ``[low, high)`` (bool: fair coins), for one input."""

    shape: tuple[int, ...] = ()
    dtype: str = "f64"
    low: float = -3.0
    high: float = 3.0

    def __call__(self, generator: np.random.Generator) -> np.ndarray:
        """Return an array of fresh values."""
        dtype = DTYPES[self.dtype]
        if dtype.kind == "b":
            return np.asarray(generator.random(self.shape) < 0.5)
        if dtype.kind in "iu":
            low = max(int(self.low), 0) if dtype.kind == "u" else int(self.low)
            return generator.integers(low, int(self.high), self.shape, dtype, endpoint=False)
        return np.asarray(generator.uniform(self.low, self.high, self.shape), dtype)

    @property
    def type(self) -> TensorType:
        """The type of the values."""
        return TensorType(self.dtype, self.shape)


@dataclass(frozen=True, eq=False)
class Exactly:
    """Given values, for inputs with structure: indices, definite matrices."""

    values: Any

    def __call__(self, generator: np.random.Generator) -> np.ndarray:
        """Return the values in a new array."""
        return np.array(self.values)


@dataclass(frozen=True, eq=False)
class Made:
    """What a function makes of the generator, for inputs that are addresses of objects."""

    make: Callable[[np.random.Generator], Any]

    def __call__(self, generator: np.random.Generator) -> Any:
        """Return a fresh value."""
        return self.make(generator)


@dataclass(frozen=True)
class Sample:
    """One defined call: how to draw each input, and the attributes."""

    inputs: tuple[Draw | Exactly | Made, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    def arguments(self, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return fresh inputs."""
        return tuple(draw(generator) for draw in self.inputs)
