"""The machine the benchmarks run on, and the kernel sets its BLAS may use.

Owns `blas_settings`, which all benchmarks share. Invariant: it gives two settings, the default first.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

#: environment variables that turn OpenBLAS away from what it would choose; timed processes are without them
OPENBLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

_ASK = """
import numpy, threadpoolctl
print(next((p["architecture"] for p in threadpoolctl.threadpool_info() if p["internal_api"] == "openblas"), ""))
"""


def blas_settings() -> dict[str, str | None]:
    """Return the two settings: a name, and the value of ``OPENBLAS_CORETYPE`` (None: unset)."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENBLAS_SETTINGS}
    chosen = subprocess.run(
        [sys.executable, "-c", _ASK], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
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
