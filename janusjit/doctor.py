"""What this machine has, and whether compiled code runs on it.

Owns `examine`. Invariant: each finding is looked up or tried when it is asked for; none is assumed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import llvmlite.binding
import numpy as np
import scipy

from janusjit.api import jit
from janusjit.backend.llvm import calibrating, engine_cache, threads
from janusjit.config import available_threads, current
from janusjit.report.text import duration
from janusjit.runtime.events import environment
from janusjit.runtime.switch import suspension
from janusjit.version import __version__


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    text: str
    good: bool = True


def examine() -> list[Finding]:
    """Return what was found: versions, processor, BLAS, settings, and a function that was compiled and called."""
    found = environment()
    features = sorted(name for name, present in llvmlite.binding.get_host_cpu_features().items() if present)
    vectors = [name for name in ("sse4.2", "avx2", "fma", "avx512f", "neon", "sve") if name in features]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    library = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    active = suspension()
    return [
        Finding("janusjit", __version__),
        Finding("python", f"{found['python']} on {found['system']}"),
        Finding("numpy", f"{found['numpy']}, built with {library}"),
        Finding("scipy", scipy.__version__),
        Finding("llvm", f"{found['llvm']} by llvmlite {found['llvmlite']}"),
        Finding("processor", f"{found['cpu']} with {', '.join(vectors) or 'no vector extension known here'}"),
        Finding("settings", found["flags"] or "none set"),
        Finding("events", str(current().events or "kept in memory")),
        cache_finding(),
        threads_finding(),
        Finding("active", "yes" if active is None else f"no: {active.text}", active is None),
        _trial(),
        Finding("cost model", calibrating.explanation()),
    ]


def cache_finding() -> Finding:
    """Return where compiled code is kept, how much of it there is, and why it is not used if it is not."""
    directory = current().cache
    if directory is None:
        return Finding("cache", "off: compiled code is not kept on disk")
    if reason := engine_cache.refusal():
        return Finding("cache", reason, good=False)
    files = engine_cache.contents()
    size = sum(status.st_size for _, status in files)
    text = f"{directory}: {len(files)} files, {size / 1e6:.1f} of at most {engine_cache.SIZE_LIMIT_BYTES / 1e6:.0f} MB"
    return Finding("cache", text)


def threads_finding() -> Finding:
    """Return how many threads kernels may run on, and what became of those that were divided in this process."""
    if not threads.are_supported():
        return Finding("threads", "1: this system has no POSIX threads")
    used = threads.usage()
    text = f"{available_threads()}; {used.divided} kernels were divided among threads in this process"
    return Finding("threads", text)


def _weighted(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.tanh(inputs @ weights) + 1.0
    return result


def _trial() -> Finding:
    function = jit(background=False)(_weighted)
    weights, inputs = np.linspace(0, 1, 12).reshape(4, 3), np.ones((2, 4))
    expected = _weighted(weights, inputs)
    for _ in range(30):
        result = function(weights, inputs)
    started = time.perf_counter()
    for _ in range(100):
        function(weights, inputs)
    each = (time.perf_counter() - started) / 100
    if function.reason is not None:
        return Finding("trial", f"not compiled: {function.reason.text}", good=False)
    if not np.allclose(result, expected, rtol=1e-12, atol=0):
        return Finding("trial", "compiled code gives a wrong result", good=False)
    seconds = function.stats.compile_seconds
    text = f"a function was compiled in {duration(seconds)}, and a call of it takes {duration(each)}"
    return Finding("trial", text, function.stats.graph_calls > 0)
