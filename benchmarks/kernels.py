"""``python -m benchmarks kernels``: single kernels beside NumPy and, where it is installed, Numba, with one thread.

Owns the rows: loops over elements with branches, stencils in place, scattered updates, sums along rows, and stacks of
small matrices. Numba is given the same loop, or the loop that does what NumPy's functions do; a loop over elements in
plain Python is not timed. Invariant: all are timed in turn in one process, a block of calls each, of which the quickest
counts: what else the machine does can only slow them down; a row whose results differ from NumPy's is marked, and the
exit status is 1.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import janusjit

ROUNDS, BLOCK_SECONDS, WARM_UP = 11, 2e-3, 30
SIZE, STACK = 20_000, 2_000


def rectified(x: Any, y: Any, out: Any) -> None:
    """Copy or scale."""
    for i in range(len(x)):
        if x[i] > 0.0:
            out[i] = x[i]
        else:
            out[i] = 0.1 * x[i]


def clipped(x: Any, y: Any, out: Any) -> None:
    """Choose one of three numbers."""
    for i in range(len(x)):
        value = x[i]
        if value < -0.5:
            value = y[0]
        elif value > 0.5:
            value = y[1]
        out[i] = value


def divided(x: Any, y: Any, out: Any) -> None:
    """Divide where that may be done."""
    for i in range(len(x)):
        if y[i] != 0.0:
            out[i] = x[i] / y[i]
        else:
            out[i] = 0.0


def rooted(x: Any, y: Any, out: Any) -> None:
    """Take a root where that may be done."""
    for i in range(len(x)):
        if x[i] > 0.0:
            out[i] = np.sqrt(x[i])
        else:
            out[i] = 0.0


def rising(x: Any, y: Any, out: Any) -> None:
    """Store what follows from the element before."""
    for i in range(1, len(x)):
        if x[i] > x[i - 1]:
            out[i] = out[i - 1] + x[i]
        else:
            out[i] = out[i - 1] * 0.5


def positive_total(x: Any, y: Any, out: Any) -> None:
    """Sum up some elements."""
    total = y[0]
    for i in range(len(x)):
        if x[i] < 0.0:
            continue
        total += x[i] * x[i]
    out[0] = total


def first_above(x: Any, y: Any, out: Any) -> None:
    """Stop at an element that is not there."""
    count = 0
    for i in range(len(x)):
        if x[i] > 100.0:
            break
        count += 1
    out[0] = count


def diffused(u: Any) -> None:
    """Add to each element a part of its neighbours."""
    u[1:-1] += 0.1 * (u[2:] - 2.0 * u[1:-1] + u[:-2])


def diffused_by_loop(u: Any) -> None:
    """Do the same in one go."""
    before = u[0]
    for i in range(1, len(u) - 1):
        here = u[i]
        u[i] += 0.1 * (u[i + 1] - 2.0 * here + before)
        before = here


def scattered(out: Any, index: Any, x: Any) -> None:
    """Add to elements at places."""
    np.add.at(out, index, x)


def scattered_by_loop(out: Any, index: Any, x: Any) -> None:
    """Do the same one by one."""
    for k in range(len(index)):
        out[index[k]] += x[k]


def stored(out: Any, index: Any, x: Any) -> None:
    """Store to elements at places."""
    out[index] = x


def stored_by_loop(out: Any, index: Any, x: Any) -> None:
    """Do the same one by one."""
    for k in range(len(index)):
        out[index[k]] = x[k]


def picked_windows(x: Any, index: Any) -> Any:
    """Pick 16 neighbours at each place."""
    return x[index[:, None] + np.arange(16)]


def picked_windows_by_loop(x: Any, index: Any) -> Any:
    """Do the same one by one."""
    out = np.empty((len(index), 16), x.dtype)
    for k in range(len(index)):
        for m in range(16):
            out[k, m] = x[index[k] + m]
    return out


def row_sums(x: Any) -> Any:
    """Sum up rows."""
    return x.sum(axis=1)


def row_sums_by_loop(x: Any) -> Any:
    """Do the same one by one."""
    out = np.empty(x.shape[0], x.dtype)
    for i in range(x.shape[0]):
        total = x[i, 0]
        for j in range(1, x.shape[1]):
            total += x[i, j]
        out[i] = total
    return out


def determinants(x: Any) -> Any:
    """Return the determinants of a stack."""
    return np.linalg.det(x)


def inverses(x: Any) -> Any:
    """Return the inverses of a stack."""
    return np.linalg.inv(x)


@dataclass(frozen=True)
class Row:
    """A kernel and its arguments.

    Attributes
    ----------
    name : str
        What is printed.
    function : callable
        What janusjit and, unless it is a loop over elements, NumPy are given.
    make : callable
        Returns arguments of an element type; arrays that it returns may be written.
    loop : callable, optional
        What Numba is given.
    """

    name: str
    function: Callable[..., Any]
    make: Callable[[np.random.Generator, str], tuple[Any, ...]]
    loop: Callable[..., Any] | None = None

    @property
    def is_loop(self) -> bool:
        """Whether plain Python takes a thousand times as long."""
        return self.function is self.loop


def of_elements(generator: np.random.Generator, dtype: str) -> tuple[Any, ...]:
    """Return two arrays, some elements of the second of which are 0, and one to be written."""
    x, y = generator.normal(size=(2, SIZE)).astype(dtype)
    y[2::5] = 0.0
    return x, y, np.zeros(SIZE, dtype)


def of_places(places: int) -> Callable[..., tuple[Any, ...]]:
    """Return what makes an array of so many elements, places in it, and what is to be stored there."""

    def make(generator: np.random.Generator, dtype: str) -> tuple[Any, ...]:
        index = generator.integers(0, places, SIZE)
        return np.zeros(places, dtype), index, generator.normal(size=SIZE).astype(dtype)

    return make


def of_windows(generator: np.random.Generator, dtype: str) -> tuple[Any, ...]:
    """Return an array and places where windows begin."""
    return generator.normal(size=SIZE).astype(dtype), generator.integers(0, SIZE - 16, STACK)


def of_shape(*shape: int) -> Callable[..., tuple[Any, ...]]:
    """Return what makes an array of a shape."""
    return lambda generator, dtype: (generator.normal(size=shape).astype(dtype),)


LOOPS = (rectified, clipped, divided, rooted, rising, positive_total, first_above)
ROWS = (
    *(Row(f"loop: {loop.__name__.replace('_', ' ')}", loop, of_elements, loop) for loop in LOOPS),
    *(Row(f"stencil in place, {size:,}", diffused, of_shape(size), diffused_by_loop) for size in (SIZE, 1_000_000)),
    *(Row(f"np.add.at, {size:,} places", scattered, of_places(size), scattered_by_loop) for size in (1_000, 100_000)),
    Row("stores at places", stored, of_places(100_000), stored_by_loop),
    Row("windows at places", picked_windows, of_windows, picked_windows_by_loop),
    *(Row(f"sums of rows, 1000×{n}", row_sums, of_shape(1000, n), row_sums_by_loop) for n in (64, 1000)),
    *(Row(f"determinants {n}×{n}", determinants, of_shape(STACK, n, n)) for n in (2, 3, 4)),
    *(Row(f"inverses {n}×{n}", inverses, of_shape(STACK, n, n)) for n in (2, 3, 4)),
)


def contestants(row: Row) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield who is timed, by name."""
    if not row.is_loop:
        yield "NumPy", row.function
    yield "janusjit", janusjit.jit(row.function, background=False, threads=1)
    if row.loop is not None and importlib.util.find_spec("numba") is not None:
        yield "Numba", importlib.import_module("numba").njit(row.loop)


def timed(row: Row, dtype: str) -> tuple[dict[str, float], bool]:
    """Return each one's microseconds in its quickest block, and whether janusjit gives what NumPy does, compiled."""
    callees = dict(contestants(row))
    rounds: dict[str, tuple[tuple[Any, ...], int]] = {}
    for name, callee in callees.items():
        arguments = row.make(np.random.default_rng(0), dtype)
        for _ in range(WARM_UP):
            callee(*arguments)
        started = time.perf_counter()
        callee(*arguments)
        rounds[name] = arguments, max(1, int(BLOCK_SECONDS / max(time.perf_counter() - started, 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in callees}
    for _ in range(ROUNDS):
        for name, (arguments, count) in rounds.items():
            callee, started = callees[name], time.perf_counter()
            for _ in range(count):
                callee(*arguments)
            found[name].append((time.perf_counter() - started) / count * 1e6)
    compiled: Any = callees["janusjit"]
    before = compiled.stats.graph_calls
    is_right = same(row, compiled, dtype) and compiled.stats.graph_calls > before
    return {name: min(times) for name, times in found.items()}, is_right


def same(row: Row, compiled: Callable[..., Any], dtype: str) -> bool:
    """Return whether a function gives, and leaves in its arguments, what NumPy does."""
    ours, theirs = (row.make(np.random.default_rng(1), dtype) for _ in range(2))
    results = [(*given, function(*given)) for function, given in ((compiled, ours), (row.function, theirs))]
    tolerance = 1e-3 if dtype == "f4" else 1e-9
    pairs = [(a, b) for a, b in zip(*results, strict=True) if a is not None]
    return all(np.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


def main(arguments: list[str]) -> int:
    """Print the rows whose names contain a word that is given, or all."""
    failed = False
    print(f"  {'':<38}{'NumPy':>12}{'janusjit':>12}{'Numba':>12}   time of NumPy, of Numba, over janusjit's")
    for row in ROWS:
        if arguments and not any(word in row.name for word in arguments):
            continue
        for dtype in ("f8", "f4"):
            times, is_right = timed(row, dtype)
            failed |= not is_right
            print(line(f"{row.name}, float{8 * int(dtype[1])}", times), "" if is_right else "NOT AS NUMPY", flush=True)
    return int(failed)


def line(name: str, times: Mapping[str, float]) -> str:
    """Return a row of the table."""
    cells = [f"{times[who]:9.1f} µs" if who in times else "" for who in ("NumPy", "janusjit", "Numba")]
    ratios = [f"{times[who] / times['janusjit']:.2f}" if who in times else "" for who in ("NumPy", "Numba")]
    return f"  {name:<38}" + "".join(f"{cell:>12}" for cell in cells) + "".join(f"{ratio:>9}" for ratio in ratios)
