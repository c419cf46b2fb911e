"""Types of graph values.

Owns `TensorType`. Invariant: every value of a graph is a tensor; Python numbers are 0-d tensors (int → ``i64[]``,
float → ``f64[]``, bool → ``bool[]``): what Python object a scalar comes from or becomes is said by places and boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim, product

#: short name → NumPy dtype, for every element type a graph can hold
DTYPES: dict[str, np.dtype] = {
    "bool": np.dtype("bool"),
    **{f"{k}{b}": np.dtype(f"{n}{b}") for k, n in (("i", "int"), ("u", "uint")) for b in (8, 16, 32, 64)},
    "f32": np.dtype("float32"),
    "f64": np.dtype("float64"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: object) -> str | None:
    """Return the short name of a native-endian NumPy dtype, or None if graphs do not hold it."""
    return _NAMES.get(np.dtype(dtype))  # type: ignore[call-overload]


def is_writeable(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array may be written; ``flags.writeable`` warns of what `numpy.broadcast_arrays` has made."""
    return bool(array.flags.num & _WRITEABLE)


#: ``NPY_ARRAY_WRITEABLE``
_WRITEABLE = 0x0400


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (a key of `DTYPES`) and shape of a value."""

    dtype: str
    shape: tuple[Dim, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        return product(self.shape)

    @property
    def numpy_dtype(self) -> np.dtype:
        return DTYPES[self.dtype]

    @property
    def is_float(self) -> bool:
        return self.dtype in ("f32", "f64")

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


INT = TensorType("i64")
FLOAT = TensorType("f64")
BOOL = TensorType("bool")
