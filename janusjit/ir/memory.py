"""Whether the elements of an array lie apart in memory.

Owns `lies_apart`. Invariant: an array it says yes to has no two elements that share a byte; what slices, transposes and
reshapes make of an array whose elements lie apart is among them, what ``as_strided`` makes of one may not be.
"""

from __future__ import annotations

import numpy as np


def lies_apart(array: np.ndarray) -> bool:
    """Whether each axis of an array steps over all that the axes with shorter steps reach.

    Those with equal steps count as shorter: where both are longer than 1, elements coincide. Whatever the steps of an
    array without elements are.
    """
    if not array.size:
        return True
    axes = [(abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1]
    return all(
        array.itemsize + sum((size - 1) * step for step, size in axes[:axis] + axes[axis + 1 :] if step <= own) <= own
        for axis, (own, _) in enumerate(axes)
    )
