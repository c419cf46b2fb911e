"""What this machine takes for what: the quantities that the cost model turns into choices.

Owns `Calibration` and the one in force. Invariants: it is data, and plausible data; it steers choices only, and it is
the same from the first compilation of a process to the last, so that equal products are computed alike. Where nothing
has been measured (`janusjit.backend.llvm.calibrating`), it holds rough figures of one core of a server.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

#: how the origin of the figures is called that nobody has measured
BUILT_IN = "built-in"

#: the least and the most that is believed of each quantity: what lies outside has been disturbed
QUANTITIES: dict[str, tuple[float, float]] = {
    "addition": (0.0003, 0.1),
    "function": (0.0003, 0.3),
    "near": (0.001, 0.3),
    "far": (0.001, 1.0),
    "memory": (0.002, 3.0),
    "dispatch": (50.0, 50_000.0),
    "cycle": (0.02, 5.0),
    "far_cycle": (0.02, 20.0),
    "call": (5.0, 20_000.0),
}
_WORDS = {
    "addition": "an addition, for each byte of an element",
    "function": "a unit of functions such as exp, for each byte",
    "near": "the transfer of a byte within a core's own cache",
    "far": "within the cache that cores share",
    "memory": "with memory",
    "dispatch": "handing work to a thread that waits for it",
    "cycle": "a cycle of a product in registers",
    "far_cycle": "the same where the right operand is not in the core's cache",
    "call": "a call of BLAS",
}
#: nanoseconds of a multiplication and addition, for a library that has not been measured
_LIBRARY = {"f32": 0.015, "f64": 0.03}

#: what is touched in up to so many bytes is in a core's own cache, and in the cache that cores share
NEAR_BYTES, FAR_BYTES = 1 << 20, 8 << 20
#: a kernel is divided among threads if it takes one of them this many dispatches, which are cheap only while workers
#: wait for them; between these limits whatever a dispatch takes
_DISPATCHES, _LEAST_PARALLEL, _MOST_PARALLEL = 10, 8_000.0, 200_000.0
#: results with up to so many rows or columns are another matter to a library
_FORMS = {"thin": 8, "narrow": 32, "square": None}


def form_of(rows: int, columns: int) -> str:
    """Return which kind of product one is whose result has so many rows and columns."""
    return next(form for form, most in _FORMS.items() if most is None or min(rows, columns) <= most)


class ImplausibleError(Exception):
    """Figures that no machine has."""


@dataclass(frozen=True, slots=True)
class LibraryTime:
    """What a product took the BLAS library.

    Attributes
    ----------
    dtype : {"f32", "f64"}
        Element type.
    form : {"thin", "narrow", "square"}
        What kind of product it was, by its rows and columns.
    multiplications : int
        Rows times columns times depth.
    nanoseconds : float
        The whole call.
    """

    dtype: str
    form: str
    multiplications: int
    nanoseconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Quantities of a machine, in nanoseconds.

    Attributes
    ----------
    origin : str
        Where they come from, in words.
    addition, function : float
        A unit of `janusjit.backend.cost` for each byte of an element: of arithmetic, and of functions such as ``exp``.
    near, far, memory : float
        The transfer of a byte of an array in a core's own cache, in the cache that cores share, and from memory.
    dispatch : float
        Handing a kernel to threads that wait for one.
    cycle, far_cycle : float
        A cycle of `janusjit.backend.llvm.gemm_tiling`'s estimates, with a right operand in the core's cache and not.
    call : float
        A call of the BLAS library.
    library : tuple of LibraryTime
        What products took it, more multiplications after fewer; empty if that is not known.
    """

    origin: str = BUILT_IN
    addition: float = 0.003
    function: float = 0.003
    near: float = 0.01
    far: float = 0.01
    memory: float = 0.01
    dispatch: float = 1_000.0
    cycle: float = 0.3
    far_cycle: float = 0.4
    call: float = 100.0
    library: tuple[LibraryTime, ...] = ()

    @property
    def parallel_nanoseconds(self) -> float:
        """A kernel that takes less than this is left to one thread."""
        return min(max(_DISPATCHES * self.dispatch, _LEAST_PARALLEL), _MOST_PARALLEL)

    @property
    def recompute_limit(self) -> int:
        """An expression that costs up to so many additions is computed again rather than stored and loaded."""
        if self.origin == BUILT_IN:
            return 4
        return min(max(round(2 * self.near / self.addition), 2), 8)

    def transfer(self, footprint: int | None) -> float:
        """Return what the transfer of a byte takes where ``footprint`` bytes are touched in all, if that is known."""
        if footprint is None or footprint <= NEAR_BYTES:
            return self.near
        return self.far if footprint <= FAR_BYTES else self.memory

    def library_nanoseconds(self, rows: int, columns: int, depth: int, dtype: str) -> float:
        """Return what a product is expected to take the library: the rate of those that were measured, or between."""
        multiplications = rows * columns * depth
        form = form_of(rows, columns)
        known = [t for t in self.library if t.dtype == dtype and t.form == form]
        if not known:
            return self.call + multiplications * _LIBRARY[dtype]
        rates = [(math.log(t.multiplications), t.nanoseconds / t.multiplications) for t in known]
        return self.call + multiplications * _between(rates, math.log(max(multiplications, 1)))

    def lines(self) -> list[str]:
        """Return the quantities in words, a line each."""
        found = [f"{getattr(self, name):9.3g} ns  {text}" for name, text in _WORDS.items()]
        for t in self.library:
            rate = 2 * t.multiplications / t.nanoseconds
            what = f"BLAS, {t.dtype}, {t.form}, {t.multiplications} multiplications: {rate:.3g} GFLOP/s"
            found.append(f"{t.nanoseconds:9.3g} ns  {what}")
        if not self.library:
            found.append("BLAS was not measured: other work kept its threads from running")
        return found

    def to_json(self) -> str:
        """Return the quantities as text."""
        numbers = {name: getattr(self, name) for name in QUANTITIES}
        times = [[t.dtype, t.form, t.multiplications, t.nanoseconds] for t in self.library]
        return json.dumps({"origin": self.origin, **numbers, "library": times})

    @staticmethod
    def from_json(text: str) -> Calibration:
        """Return what `to_json` has written.

        Raises
        ------
        ImplausibleError
            If the text is something else, or no machine is like that.
        """
        try:
            told = json.loads(text)
            if told.keys() != {item.name for item in fields(Calibration)}:
                raise ImplausibleError("other quantities than are asked for")
            times = tuple(LibraryTime(str(d), str(f), int(m), float(t)) for d, f, m, t in told.pop("library"))
            numbers: dict[str, Any] = {name: float(told[name]) for name in QUANTITIES}
            made = Calibration(origin=str(told["origin"]), library=times, **numbers)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ImplausibleError(f"not a calibration: {error}") from error
        made.check()
        return made

    def check(self) -> None:
        """Raise `ImplausibleError` for figures that no machine has."""
        for name, (least, most) in QUANTITIES.items():
            if not least <= getattr(self, name) <= most:
                raise ImplausibleError(f"{name} of {getattr(self, name):.4g} ns")
        for time in self.library:
            is_known = time.dtype in _LIBRARY and time.form in _FORMS
            if not (is_known and 1 <= time.multiplications <= 1e12 and 1 <= time.nanoseconds <= 1e10):
                raise ImplausibleError(f"{time.nanoseconds:.4g} ns for {time.multiplications} multiplications")


def _between(points: list[tuple[float, float]], x: float) -> float:
    """Return the height at ``x`` of the line through some points, which goes on level at both ends."""
    if x <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return points[-1][1]


_current = Calibration()


def current() -> Calibration:
    """Return the calibration in force."""
    return _current


def install(calibration: Calibration) -> None:
    """Put a calibration in force; `janusjit.backend.llvm.calibrating` does, before anything is compiled."""
    global _current
    _current = calibration


@contextmanager
def using(calibration: Calibration) -> Iterator[Calibration]:
    """Have choices follow another calibration within a ``with`` block, for the whole process."""
    previous = _current
    install(calibration)
    try:
        yield calibration
    finally:
        install(previous)
