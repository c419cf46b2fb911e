"""The measuring of this machine.

Owns `measure`, which has compiled code time itself: kernels that do one thing, run a few times each, the quickest run
of which counts. Invariants: it holds no lock and not the interpreter while kernels run, and touches nothing but its own
memory; where other work disturbs it, it says so instead of giving figures.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from janusjit.backend.calibration import QUANTITIES, Calibration, LibraryTime, form_of
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.blas_library import thread_count
from janusjit.backend.llvm.measurement_code import (
    ALONE,
    ARITHMETIC,
    DIVIDED,
    FUNCTIONS,
    RUN,
    TILE,
    TILES,
    TRANSFER,
    arithmetic_units,
    emit_module,
    function_units,
)

#: seconds after which measuring ends: whoever takes so long does not have the machine to itself
PATIENCE = 0.3
#: nanoseconds after which a single product has been held up
_HELD_UP = 6_000_000
#: a run is so many turns of a kernel that it takes this long, in nanoseconds
_RUN = 30_000
#: what is touched to find what the transfer of a byte takes, by the name of the quantity
_FOOTPRINTS = {"near": 256 << 10, "far": 4 << 20, "memory": 24 << 20}
_ELEMENTS = 1024
#: products the library is asked for: rows, columns, depth
_THIN = ((4, 128, 128), (4, 512, 384), (4, 1024, 384))
_NARROW = ((16, 64, 64), (16, 512, 128), (16, 2048, 128))
_WIDE = ((48, 48, 48), (96, 96, 96), (192, 192, 192), (320, 320, 320))
_SMALLEST = (2, 2, 2)
#: how many times a job is handed out; how many times as often until a thread has to have helped: it may sleep deeply
_JOBS, _WAKINGS = 24, 10


class DisturbedError(Exception):
    """Other work kept the machine from being measured."""


def measure(threads: int, origin: str) -> Calibration:
    """Return this machine's quantities.

    Parameters
    ----------
    threads : int
        How many threads kernels may run on; with one, dispatching is not measured.
    origin : str
        For `Calibration.origin`.

    Raises
    ------
    DisturbedError
        If other work took too much of the machine meanwhile.
    ImplausibleError
        If the figures make no sense.
    """
    bench = _Bench(threads)
    made = Calibration(
        origin=origin,
        **bench.elements(),
        **bench.transfers(),
        **bench.tiles(),
        **bench.dispatch(),
        **bench.library(),
    )
    made.check()
    made = rounded(made)
    if not made.near <= 1.5 * made.far <= 2.25 * made.memory:
        raise DisturbedError("memory seemed quicker than the caches before it")
    return made


def rounded(made: Calibration) -> Calibration:
    """Return figures with three digits: more say nothing."""
    numbers: dict[str, Any] = {name: _three_digits(getattr(made, name)) for name in QUANTITIES}
    times = tuple(replace(time, nanoseconds=_three_digits(time.nanoseconds)) for time in made.library)
    return replace(made, library=times, **numbers)


def _three_digits(number: float) -> float:
    return float(f"{number:.3g}")


@dataclass
class _Bench:
    """The kernels, loaded, and the memory they work on."""

    threads: int

    def __post_init__(self) -> None:
        module = emit_module(self.threads > 1)
        self._loaded = engine.load(module)
        self._names = {function.name for function in module.functions if not function.is_declaration}
        address = self._loaded.function_address(RUN)
        self._run = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(address)
        self._memory = np.ones(_FOOTPRINTS["memory"] // 8)
        self.started = time.monotonic()

    def _time(self, kernel: str, arguments: Sequence[int], runs: int = 4) -> float:
        """Return the nanoseconds a kernel takes, from the quickest of some runs."""
        if time.monotonic() - self.started > PATIENCE:
            raise DisturbedError("measuring took too long")
        context = (ctypes.c_int64 * len(arguments))(*arguments)
        address = self._loaded.function_address(kernel)
        once = max(int(self._run(address, context, 1, 2)), 1)
        turns = max(1, _RUN // once)
        if turns == 1:
            return float(min(once, self._run(address, context, 1, runs - 2)))
        return float(self._run(address, context, turns, runs)) / turns

    def _address(self, element: int = 0) -> int:
        return int(self._memory.ctypes.data) + 8 * element

    def elements(self) -> dict[str, Any]:
        """Return what units of elementwise cost take for each byte."""
        found: dict[str, Any] = {}
        for name, kernel, units in (
            ("addition", ARITHMETIC, arithmetic_units()),
            ("function", FUNCTIONS, function_units()),
        ):
            taken = self._time(kernel, [self._address(), self._address(_ELEMENTS), _ELEMENTS])
            found[name] = taken / (8 * _ELEMENTS * units)
        return found

    def transfers(self) -> dict[str, Any]:
        """Return what the transfer of a byte takes, by how much is touched."""
        found: dict[str, Any] = {}
        for name, footprint in _FOOTPRINTS.items():
            half = footprint // 16
            taken = self._time(TRANSFER, [self._address(), self._address(half), half])
            found[name] = taken / footprint
        return found

    def tiles(self) -> dict[str, Any]:
        """Return what an estimated cycle of a product in registers takes, its right operand at hand and far away."""
        left, right = TILE.rows * TILE.depth, TILE.depth * TILE.columns
        others = [self._address(), self._address(left)]
        near = self._time(TILES, [others[0], self._address(2 * left), others[1]])
        once = []
        for place in range(2 * left, _FOOTPRINTS["far"] // 8 - right, right):
            context = (ctypes.c_int64 * 3)(others[0], self._address(place), others[1])
            once.append(self._run(self._loaded.function_address(TILES), context, 1, 1))
        return {"cycle": near / TILE.cycles, "far_cycle": max(near, statistics.median(once)) / TILE.cycles}

    def dispatch(self) -> dict[str, Any]:
        """Return what it takes to have a thread help that waits for work; nothing if none has helped."""
        if DIVIDED not in self._names:
            return {}
        results = [self._address()]
        alone = self._time(ALONE, results)
        for _ in range(_WAKINGS):
            divided = self._time(DIVIDED, results, runs=_JOBS)
            if divided < 0.9 * alone:
                return {"dispatch": max(divided - alone / 2, 50.0)}
        return {}

    def library(self) -> dict[str, Any]:
        """Return what products take the BLAS library; nothing where there is none, or its threads are held up."""
        found = []
        call = np.inf
        for dtype in ("f32", "f64"):
            if f"library.{dtype}" not in self._names:
                return {}
            call = min(call, self._product(dtype, _SMALLEST))
            for shapes in (_THIN, _NARROW, _WIDE):
                for shape in shapes:
                    taken = self._product(dtype, shape)
                    if taken > _HELD_UP:
                        return {"call": call}
                    multiplications = shape[0] * shape[1] * shape[2]
                    form = form_of(shape[0], shape[1])
                    found.append(LibraryTime(dtype, form, multiplications, max(taken - call, 1.0)))
            small, large = (time.nanoseconds / time.multiplications for time in (found[-len(_WIDE)], found[-1]))
            if thread_count() != 1 and large > 1.25 * small:
                return {"call": call}  # threads that do not help are threads that others keep from running
        return {"call": call, "library": tuple(found)}

    def _product(self, dtype: str, shape: tuple[int, int, int]) -> float:
        rows, columns, depth = shape
        a, b = rows * depth, depth * columns
        self._memory.view(np.float32 if dtype == "f32" else np.float64)[: 2 * (a + b)] = 1.0
        sizes = np.array([columns, rows, depth], np.int64)
        factors = np.array([1.0, 0.0], np.float32 if dtype == "f32" else np.float64)
        letter = np.array([ord("N")], np.uint8)
        number = [int(sizes.ctypes.data) + 8 * index for index in range(3)]
        one, zero = (int(factors.ctypes.data) + factors.itemsize * index for index in range(2))
        flag = int(letter.ctypes.data)
        # row-major matrices are transposed ones to BLAS: out.T = b.T @ a.T
        right = [self._address(a), number[0], self._address(), number[2]]
        arguments = [flag, flag, *number, one, *right, zero, self._address(a + b), number[0]]
        return self._time(f"library.{dtype}", arguments)
