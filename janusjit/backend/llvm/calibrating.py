"""When this machine is measured, and where the figures are kept.

Owns `calibrate`, which is called before anything is compiled. Invariants: a process goes by one calibration from its
first compilation on; processes that share a cache go by the same one, whoever measured it; figures that cannot be kept
for other processes, or not be believed, are not used, and `explanation` says why. What could not be measured, as a
whole or of the BLAS library, is measured by a later process.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import threading
import time
from pathlib import Path

import numpy as np
import scipy

from janusjit.backend import calibration
from janusjit.backend.calibration import Calibration, ImplausibleError
from janusjit.backend.llvm import clock, engine, engine_cache
from janusjit.backend.llvm.blas_library import library_text, thread_count
from janusjit.backend.llvm.gemm_tiling import library_threads
from janusjit.backend.llvm.measurement import DisturbedError, measure
from janusjit.config import available_threads, current
from janusjit.errors import CompileError
from janusjit.version import __version__

_FORMAT = "calibration 3"
#: seconds for which nobody tries again to measure what the machine was too busy for
RESPITE = 3600.0
#: how settings of BLAS libraries begin; the numbers of threads that some of them ask for are asked of the libraries
_SETTINGS, _COUNTS = ("OPENBLAS_", "OMP_", "GOTO_", "MKL_", "BLIS_", "NVPL_", "VECLIB_"), "_NUM_THREADS"

_log = logging.getLogger("janusjit.compile")
_lock = threading.Lock()
_explanation: str | None = None


def calibrate() -> None:
    """See to it that choices go by this machine's figures, if they are to; what was decided first holds."""
    if _explanation is None:
        with _lock:
            if _explanation is None:
                _decide()


def explanation() -> str:
    """Return what the cost model goes by, in words."""
    return "nothing has been compiled yet" if _explanation is None else _explanation


def measure_again() -> Calibration:
    """Measure this machine and file the figures, whatever is filed; return them.

    Raises
    ------
    DisturbedError, ImplausibleError
        If that was not possible.
    """
    made = _measured()
    engine_cache.write(_name(), _content(made).encode())
    return made


def forget() -> None:
    """Decide anew before the next compilation, for tests."""
    global _explanation
    _explanation = None
    calibration.install(Calibration())


def _decide() -> None:
    global _explanation
    chosen, why = _chosen()
    calibration.install(chosen)
    _explanation = f"{chosen.origin}{f': {why}' if why else ''}"
    _log.info("calibration: %s", _explanation)


def _chosen() -> tuple[Calibration, str]:
    """Return the calibration to go by, and what there is to say about it."""
    built_in = Calibration()
    if not current().calibration:
        return built_in, "measuring is switched off"
    if current().cache is None:
        return built_in, "there is no cache to keep figures in"
    if refusal := engine_cache.refusal():
        return built_in, refusal
    if not clock.is_there():
        return built_in, "this system has no clock that compiled code can read"
    found, note = _filed()
    if found is not None:
        return found, note
    if note:
        return built_in, note
    if not engine_cache.is_writable():
        return built_in, f"{current().cache} cannot be written to"
    return _first_measured()


def _first_measured() -> tuple[Calibration, str]:
    """Measure, and file what was found, or that it failed; another process may have done either meanwhile."""
    name = _name()
    try:
        content = _content(_measured())
    except (DisturbedError, ImplausibleError, CompileError) as error:
        content = json.dumps({"disturbed": str(error), "until": time.time() + RESPITE})
    engine_cache.write(name, content.encode(), first=True)
    found, note = _filed()
    if found is None and not note:  # what is filed there is damaged or out of date
        engine_cache.write(name, content.encode())
        found, note = _filed()
    if found is None:
        return Calibration(), note or "figures cannot be kept"
    return found, note


def _content(made: Calibration) -> str:
    """Return what is filed; figures without the library's hold for a while only."""
    if made.library:
        return made.to_json()
    return json.dumps({"meanwhile": made.to_json(), "until": time.time() + RESPITE})


def _measured() -> Calibration:
    with np.errstate(all="ignore"):
        return measure(available_threads(), "measured")


def _filed() -> tuple[Calibration | None, str]:
    """Return the calibration that is filed, if there is one; else why there is none to be expected yet, if so."""
    content = engine_cache.read(_name())
    if content is None:
        return None, ""
    try:
        text = content.decode()
        told = json.loads(text)
        is_over = isinstance(told, dict) and "until" in told and not 0 < float(told["until"]) - time.time() <= RESPITE
        if isinstance(told, dict) and "disturbed" in told:
            return None, "" if is_over else f"{told['disturbed']}; tried again later"
        if isinstance(told, dict) and "meanwhile" in told:
            found = Calibration.from_json(told["meanwhile"])
            without = "but for the BLAS library, whose threads others kept from running"
            return (None, "") if is_over else (found, without)
        found = Calibration.from_json(text)
    except (ValueError, TypeError, KeyError, ImplausibleError) as error:
        _log.info("calibration: what is filed is not used: %s", error)
        return None, ""
    return found, ""


def _name() -> str:
    """Return what figures are filed under: a digest of all they depend on."""
    names = sorted(name for name in os.environ if name.startswith(_SETTINGS) and not name.endswith(_COUNTS))
    settings = [f"{name}={os.environ[name]}" for name in names]
    counts = (str(available_threads()), str(library_threads()), str(thread_count()))
    versions = (*engine_cache.compiler_versions(), __version__, np.__version__, scipy.__version__, library_text())
    return engine_cache.digest((_FORMAT, *versions, *engine.host_target(), _processor(), *settings, *counts))


@functools.cache
def _processor() -> str:
    """Return the processor's model, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
