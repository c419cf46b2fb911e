"""Checks the gradient of a random program.

Owns `check`. Invariant: what is compared with differences is so in float64, and where differences at two step sizes
agree; tolerances follow from how much the gradient changes when the inputs do by some units in the last place.
"""

from __future__ import annotations

import itertools
import linecache
import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import janusjit as jj
from tests.random_gradients.programs import Program

_numbers = itertools.count()
_STEP = """
def step(x, m, s, k):
    return value_and_grad(program, (0, 1, 2))(x, m, s, k)


def second(x, m, s, k, dx, dm, ds):
    def along(x, m, s):
        gx, gm, gs = grad(program, (0, 1, 2))(x, m, s, k)
        return np.sum(gx * dx) + np.sum(gm * dm) + gs * ds

    return grad(along, (0, 1, 2))(x, m, s)
"""
#: calls until a program has seen all its branches both ways; the last ones have to be in the graph
_CALLS = 24
Arguments = tuple[Any, ...]


def made(source: str, numpy: Any = np, grad: Any = jj.grad) -> dict[str, Any]:
    """Return the globals of a program that has been executed."""
    text = source + _STEP
    file = f"<random gradient {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {
        "np": numpy,
        "single": np.float32,
        "math": math,
        "grad": grad,
        "value_and_grad": jj.value_and_grad,
        "__name__": file,
    }
    exec(compile(text, file, "exec"), space)
    return space


def inputs(program: Program, number: int, dtype: Any = np.float64) -> Arguments:
    """Return the arguments of one call."""
    rng = np.random.default_rng((program.seed, number))
    s = dtype(rng.normal())  # a float that joins a NumPy number behind a branch would not have one type
    return (
        rng.normal(size=program.length).astype(dtype),
        rng.normal(size=program.shape).astype(dtype),
        s,
        number % 4,
    )


def copied(arguments: Arguments) -> Arguments:
    """Return arguments that may be written."""
    return tuple(np.array(part) if isinstance(part, np.ndarray) else part for part in arguments)


def moved(arguments: Arguments, direction: Arguments, distance: float) -> Arguments:
    """Return the arguments a distance away."""
    *floats, turns = arguments
    return (*(part + distance * along for part, along in zip(floats, direction, strict=True)), turns)


def flat(value: Any) -> Any:
    """Return a value, or the parts of a gradient, as one vector."""
    parts = value if isinstance(value, tuple) else (value,)
    return np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts])


class Check:
    """The check of one program."""

    def __init__(self, program: Program, totals: Counter[str]) -> None:
        self.program = program
        self.totals = totals
        self.space = made(program.source)
        self.rng = np.random.default_rng(program.seed)
        self.found: list[str] = []

    def value(self, arguments: Arguments) -> float:
        """Return the program's result."""
        return float(self.space["program"](*copied(arguments)))

    def gradient(self, arguments: Arguments) -> Any:
        """Return the value and the gradient in plain Python, as one vector."""
        value, gradient = self.space["step"](*copied(arguments))
        for part, given in zip(gradient, arguments, strict=False):
            if np.shape(part) != np.shape(given) or np.asarray(part).dtype != np.asarray(given).dtype:
                self.found.append(f"the gradient's parts are {[np.asarray(part).dtype for part in gradient]}")
        return np.append(flat(gradient), value)

    def noise(self, arguments: Arguments, size: float) -> float:
        """Return how much the gradient changes when each input does by some relative error."""
        here, worst = self.gradient(arguments), 0.0
        for _ in range(3):
            *floats, turns = arguments
            near = [np.asarray(part * (1 + size * self.rng.choice([-1, 1], np.shape(part)))) for part in floats]
            there = self.gradient((near[0], near[1], near[2][()], turns))
            worst = max(worst, np.abs(there - here).max())
        return worst

    def differences(self, arguments: Arguments) -> None:
        """Compare with finite differences along a random direction."""
        direction = tuple(self.rng.normal(size=np.shape(part)) for part in arguments[:3])
        found = self.gradient(arguments)
        along = float(found[:-1] @ flat(direction))
        first, second = (
            (self.value(moved(arguments, direction, h)) - self.value(moved(arguments, direction, -h))) / (2 * h)
            for h in (1e-5, 2e-5)
        )
        wanted, error = (4 * first - second) / 3, abs(first - second)
        scale = max(1.0, np.nanmax(abs(found)))
        if error > 1e-4 * scale:
            self.totals["kinks"] += 1
        elif (
            not abs(along - wanted) <= 1e-6 * scale + 10 * error
        ):  # of the differences: rounding 1e-11, truncation 1e-10
            self.found.append(f"differences: {wanted}, gradient: {along}, at {arguments}")

    def autograd(self, arguments: Arguments, package: Any) -> None:
        """Compare with the package `autograd`."""
        space = made(self.program.source, package.numpy, package.grad)
        try:
            wanted = flat(package.grad(space["program"], (0, 1, 2))(*arguments))
        except (NotImplementedError, AssertionError, AttributeError, TypeError, ValueError, IndexError):
            return  # it has no rule for something, or a wrong one
        if np.isfinite(wanted).all():
            self.compare("autograd", wanted, self.gradient(arguments)[:-1], 1e-10)
            self.totals["autograd"] += 1

    def compare(self, name: str, wanted: Any, found: Any, tolerance: float) -> None:
        """Report a difference."""
        with np.errstate(invalid="ignore"):
            apart = np.abs(wanted - found)
        if not (apart <= tolerance * max(1.0, np.abs(wanted).max())).all():
            self.found.append(f"{name}: {wanted}, gradient: {found}")

    def second_order(self, arguments: Arguments) -> None:
        """Compare the derivative of the gradient along a direction with differences of the gradient."""
        direction = tuple(self.rng.normal(size=np.shape(part)) for part in arguments[:3])
        found = flat(self.space["second"](*copied(arguments), *direction))
        first, twice = (
            (self.gradient(moved(arguments, direction, h)) - self.gradient(moved(arguments, direction, -h)))[:-1]
            / (2 * h)
            for h in (1e-5, 2e-5)
        )
        wanted, error = (4 * first - twice) / 3, np.abs(first - twice).max()
        scale = max(1.0, np.abs(wanted).max())
        if error > 1e-4 * scale:
            self.totals["kinks"] += 1
            return
        self.compare("second order", wanted, found, 1e-6 + 10 * error / scale)  # of the differences
        step = jj.jit(self.space["second"], warmup=1, background=False)
        for _ in range(2):
            self.compare("compiled second order", found, flat(step(*copied(arguments), *direction)), 1e-9)
        if (step.stats.graph_calls, step.stats.host_calls) != (1, 0):
            self.found.append(f"the second order is not in the graph: {step.reason}, {step.stats}")
        self.totals["second order"] += 1

    def compiled(self, dtype: Any, function: Callable[..., Any], plain: Callable[..., Any]) -> None:
        """Compare compiled with plain gradients; the last calls have to be wholly in the graph."""
        step = jj.jit(function, warmup=2, background=False)
        unit = 1e-16 if dtype is np.float64 else 6e-8
        given = [inputs(self.program, number, dtype) for number in range(4)]
        results = [plain(*copied(arguments)) for arguments in given]
        for number in range(_CALLS):
            before = step.stats.graph_calls, step.stats.host_calls
            value, gradient = step(*copied(given[number % 4]))
            wanted, theirs = results[number % 4]
            one, other = np.append(flat(theirs), wanted), np.append(flat(gradient), value)
            if not np.allclose(one, other, rtol=0, atol=1e3 * unit * max(1.0, np.abs(one).max()), equal_nan=True):
                noise = self.noise(inputs(self.program, number % 4), 10 * unit)
                self.compare(f"call {number} in plain Python", one, other, 1e3 * unit + 10 * noise)
            kinds = [(type(part), np.shape(part), np.asarray(part).dtype) for part in (value, *gradient)]
            expected = [(type(part), np.shape(part), np.asarray(part).dtype) for part in (wanted, *theirs)]
            if kinds != expected:
                self.found.append(f"types: {expected}, compiled: {kinds}")
            if number >= _CALLS - 4 and (step.stats.graph_calls, step.stats.host_calls) != (before[0] + 1, before[1]):
                causes = {row.code: row.text for found in step.report().functions for row in found.rows}
                if "array.alias" not in causes:
                    self.found.append(f"call {number} is not in the graph: {step.reason}, {causes}")
                    return
                self.totals["aliases"] += 1  # an array that is another name's or a new one, and is then written
                return
            if self.found:
                return


def check(
    program: Program, totals: Counter[str], package: Any = None, dtype: Any = np.float64, second: bool = False
) -> list[str]:
    """Return what is wrong with the gradient of a program, as sentences."""
    totals["programs"] += 1
    checked = Check(program, totals)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if any(not np.isfinite(checked.value(inputs(program, number))) for number in range(4)):
            totals["not finite"] += 1
            return []
        for number in range(2):
            checked.differences(inputs(program, number))
        if package is not None and not program.foreign:
            checked.autograd(inputs(program, 1), package)
        if not checked.found:
            space = checked.space if dtype is np.float64 else made(program.in_float32())
            checked.compiled(dtype, space["step"], space["step"])
            totals["compiled"] += 1
        if second and not checked.found:
            checked.second_order(inputs(program, 1))
    return checked.found
