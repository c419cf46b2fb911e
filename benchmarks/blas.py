"""The machine the benchmarks run on, and the kernel sets its BLAS may use.

Owns `blas_settings`, which all benchmarks share. Invariant: it gives two settings, the default first.
"""

from __future__ import annotations

import platform
from pathlib import Path

import threadpoolctl


def blas_settings() -> dict[str, str | None]:
    """Return the two settings: a name, and the value of ``OPENBLAS_CORETYPE`` (None: unset)."""
    pools = threadpoolctl.threadpool_info()
    chosen = next((pool["architecture"] for pool in pools if pool["internal_api"] == "openblas"), "")
    other = "Haswell" if chosen in ("SkylakeX", "Cooperlake", "SapphireRapids") else "SkylakeX"
    if other == "SkylakeX" and "avx512f" not in _processor_flags():
        other = "Nehalem"
    return {f"default ({chosen or 'unknown'})": None, other: other}


def _processor_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor_name() -> str:
    """Return what the processor calls itself."""
    for line in _processor_flags().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
