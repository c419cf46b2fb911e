"""Configuration from the environment.

Owns `Config` and the one current instance. Invariant: a `Config` is immutable; it changes only as a whole, by
`override`, which puts the old one back.

| variable | meaning |
|---|---|
| ``JANUSJIT_DISABLE`` | ``1``: every jitted function is the plain function |
| ``JANUSJIT_LOG`` | topics to log to standard error: any of ``profile,capture,pass,guard,deopt,compile,all`` |
| ``JANUSJIT_DUMP`` | a directory to write numbered ``.core``, ``.ir``, ``.ll``, ``.s`` files to |
| ``JANUSJIT_VERIFY`` | ``1``: verify the graph after each pass, and raise janusjit's own bugs instead of falling back |
| ``JANUSJIT_BACKEND`` | ``llvm``, or ``reference`` to interpret graphs op by op with NumPy |
| ``JANUSJIT_EVENTS`` | a file to append every event to, as JSON Lines |
| ``JANUSJIT_CACHE`` | ``0``: keep no compiled code on disk |
| ``JANUSJIT_CACHE_DIR`` | where compiled code is kept; the user's cache directory when not given |
| ``JANUSJIT_COMPILE_PROCESS`` | ``0``: what is compiled beside the program is compiled in its own process |
| ``JANUSJIT_CALIBRATION`` | ``0``: the cost model goes by built-in figures instead of this machine's |
| ``JANUSJIT_MEASURE`` | ``1``: compiled code times its kernels, for the report |
| ``JANUSJIT_ALLOWANCE`` | seconds that calls of a function wait for its compilation before their own time counts; 2 |
| ``JANUSJIT_KEPT_MEMORY`` | how many bytes of work memory are kept between calls at most; 268435456 when not given |
| ``JANUSJIT_NUM_THREADS`` | how many threads kernels may run on; else ``OMP_NUM_THREADS`` or all processors |
| ``JANUSJIT_QUIET`` | ``1``: no line at exit about functions that ran in plain Python |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from janusjit.errors import ConfigurationError

#: what ``JANUSJIT_LOG`` can name
TOPICS = frozenset({"profile", "capture", "pass", "guard", "deopt", "compile"})


_KNOWN = frozenset(
    {
        *("DISABLE", "LOG", "DUMP", "VERIFY", "EVENTS", "QUIET", "BACKEND", "BACKGROUND", "TRIALS", "FAIL_GUARD"),
        *("CACHE", "CACHE_DIR", "KEPT_MEMORY", "ALLOWANCE", "NUM_THREADS", "CALIBRATION", "MEASURE"),
        "COMPILE_PROCESS",
    }
)


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of this process.

    Attributes
    ----------
    disable : bool
        Jitted functions run as plain Python.
    log : frozenset of str
        Topics logged to standard error; see `TOPICS`.
    dump : Path or None
        Directory for the intermediate forms of every specialization.
    verify : bool
        Verify after each pass; internal errors are raised.
    events : Path or None
        File that receives every event as one line of JSON.
    backend : str
        ``llvm`` or ``reference``.
    quiet : bool
        Print nothing at exit.
    history : int
        How many events are kept in memory.
    specialization_limit : int
        How many specializations a function keeps alive.
    background : bool
        Compile on another thread while calls go on in Python, unless `janusjit.jit` is told otherwise.
    fail_guard : int or None
        For tests: the guard inside graphs, by number, that fails in the first specialization of everything compiled.
    trials : bool
        Time functions that Python interrupts against plain Python, and leave those that do not gain to it.
    cache : Path or None
        Directory in which compiled code outlives the process; None: nowhere.
    calibration : bool
        Choices go by what has been measured on this machine, once for all processes that share a cache.
    measure : bool
        Compiled code times its kernels, unless `janusjit.jit` is told otherwise.
    kept_memory : int
        How many bytes of work memory and of dropped results are kept between calls, at most.
    allowance : float
        Seconds that the calls of a function may wait for its compilation before their own time counts.
    compile_process : bool
        What is compiled beside the program may be compiled in another process.
    threads : int or None
        How many threads compiled code may use; None: one for each processor there is for the process.
    """

    disable: bool = False
    log: frozenset[str] = frozenset()
    dump: Path | None = None
    verify: bool = False
    events: Path | None = None
    backend: str = "llvm"
    quiet: bool = False
    history: int = 10_000
    specialization_limit: int = 8
    background: bool = True
    fail_guard: int | None = None
    trials: bool = True
    cache: Path | None = None
    calibration: bool = True
    measure: bool = False
    kept_memory: int = 1 << 28
    allowance: float = 2.0
    compile_process: bool = True
    threads: int | None = None


def from_environment(environment: Mapping[str, str]) -> Config:
    """Return the configuration that ``JANUSJIT_*`` variables describe.

    Raises
    ------
    ConfigurationError
        If a variable of that prefix is unknown or its value has no meaning.
    """
    given = {name.removeprefix("JANUSJIT_"): text for name, text in environment.items() if name.startswith("JANUSJIT_")}
    if unknown := sorted(given.keys() - _KNOWN):
        choices = ", ".join(f"JANUSJIT_{name}" for name in sorted(_KNOWN))
        raise ConfigurationError(f"JANUSJIT_{unknown[0]} is not a setting; the settings are {choices}")
    return Config(
        disable=_flag(given, "DISABLE"),
        log=_topics(given.get("LOG", "")),
        dump=Path(given["DUMP"]) if given.get("DUMP") else None,
        verify=_flag(given, "VERIFY"),
        events=Path(given["EVENTS"]) if given.get("EVENTS") else None,
        backend=_backend(given.get("BACKEND") or "llvm"),
        quiet=_flag(given, "QUIET"),
        background=_flag(given, "BACKGROUND", True),
        trials=_flag(given, "TRIALS", True),
        fail_guard=_number(given, "FAIL_GUARD"),
        cache=_cache(given, environment),
        calibration=_flag(given, "CALIBRATION", True),
        compile_process=_flag(given, "COMPILE_PROCESS", True),
        measure=_flag(given, "MEASURE"),
        allowance=2.0 if (allowance := _number(given, "ALLOWANCE")) is None else float(allowance),
        kept_memory=1 << 28 if (kept := _number(given, "KEPT_MEMORY")) is None else kept,
        threads=_threads(given, environment),
    )


def _threads(given: Mapping[str, str], environment: Mapping[str, str]) -> int | None:
    """Return how many threads the environment asks for; None if it does not."""
    asked = _number(given, "NUM_THREADS")
    if asked == 0:
        raise ConfigurationError("JANUSJIT_NUM_THREADS=0: at least one thread")
    if asked is not None:
        return asked
    first = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the others are for nested regions
    return int(first) if first.isdecimal() and int(first) > 0 else None  # OpenMP too goes on where it has no meaning


def available_threads() -> int:
    """Return how many threads compiled code may use where nothing else is said."""
    asked = _current.threads
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cache(given: Mapping[str, str], environment: Mapping[str, str]) -> Path | None:
    """Return the directory of compiled code, which other processes of the user share."""
    if not _flag(given, "CACHE", True):
        return None
    if given.get("CACHE_DIR"):
        return Path(given["CACHE_DIR"]).absolute()
    home = environment.get("HOME") or environment.get("USERPROFILE")
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = f"{home}/Library/Caches" if home else None
    else:
        base = environment.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else None)
    if not base or not Path(base).is_absolute():  # where there is no place of the user's, nothing is kept
        return None
    return Path(base) / "janusjit"


def _flag(given: Mapping[str, str], name: str, default: bool = False) -> bool:
    text = given.get(name, "").strip().lower()
    if not text:
        return default
    if text in ("0", "false", "no", "off"):
        return False
    if text in ("1", "true", "yes", "on"):
        return True
    raise ConfigurationError(f"JANUSJIT_{name}={text}: expected 0 or 1")


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    raise ConfigurationError(f"JANUSJIT_{name}={text}: expected a number")


def _backend(text: str) -> str:
    if text not in ("llvm", "reference"):
        raise ConfigurationError(f"JANUSJIT_BACKEND={text}: llvm or reference")
    return text


def _topics(text: str) -> frozenset[str]:
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    if "all" in names:
        return TOPICS
    if unknown := sorted(names - TOPICS):
        raise ConfigurationError(f"JANUSJIT_LOG={unknown[0]}: the topics are {', '.join(sorted(TOPICS))}, all")
    return names


_current = from_environment(os.environ)


def current() -> Config:
    """Return the configuration in force."""
    return _current


@contextmanager
def override(**changes: Any) -> Iterator[Config]:
    """Replace fields of the current configuration within a ``with`` block, for the whole process."""
    global _current
    previous = _current
    _current = replace(previous, **changes)
    try:
        yield _current
    finally:
        _current = previous
