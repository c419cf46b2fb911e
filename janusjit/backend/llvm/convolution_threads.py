"""What convolutions are expected to take one thread, which says how many are of use.

Owns the estimates. Invariant: they follow sizes and the machine's calibration alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from janusjit.backend import calibration
from janusjit.backend.llvm.convolution_choice import ForwardPlan
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.values import Extent


def multiplication_nanoseconds(count: int, dtype: str) -> float:
    """Return what so many multiplications and additions are expected to take one thread."""
    return count / Machine.host().lanes(dtype) / 2 * calibration.current().cycle


def forward_nanoseconds(plan: ForwardPlan, batch: Extent, kernels: Sequence[Extent]) -> float:
    """Return what a convolution in tiles is expected to take one thread; 0 if the number of images is not known."""
    if not isinstance(batch, int):
        return 0.0
    sizes = [size for size in kernels if isinstance(size, int)]
    places = batch * plan.panel.geometry.places
    return multiplication_nanoseconds(places * math.prod(sizes), plan.panel.dtype)
