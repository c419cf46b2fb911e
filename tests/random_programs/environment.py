"""What a random program is called with, call by call, and running it.

Owns `CallInputs`, `call_sequences` and `Environment`. Invariant: inputs follow from a `CallInputs` alone, so both sides
of a comparison get equal inputs that share nothing.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.differential import Side
from tests.random_programs.expressions import CLOSE, OPEN, UNMARKED, ZERO_CLOSE, ZERO_OPEN

_numbers = itertools.count()


@dataclass(frozen=True)
class CallInputs:
    """One call: sizes, dtype, memory layout, aliasing, numbers, and changes to what is read from outside."""

    seed: int = 0
    length: int = 4
    dtype: str = "float64"
    layout: str = "contiguous"
    alias: str = "none"
    k: int = 2
    r: Any = 0.5
    gain: Any = 1.5
    flag: bool | None = None
    swap_helper: bool = False


def _changes() -> st.SearchStrategy[dict[str, Any]]:
    """Draw one or two ways in which a call differs from the usual one."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "k": st.integers(0, 4),
        "r": st.sampled_from(
            [-1.0, 0.0, 2, np.float64(0.25), np.float32(1.5), float("nan"), float("inf"), True, 10**20]
        ),
        "length": st.sampled_from([3, 1, 6, 2, 0, 4, 17]),
        "dtype": st.sampled_from(["float32", "int64", "bool", "int8", "uint8"]),
        "layout": st.sampled_from(["reversed", "strided", "readonly", "transposed"]),
        "alias": st.sampled_from(["same", "overlapping", "row"]),
        "gain": st.sampled_from([-2.0, 3, 0.0, np.float64(0.5)]),
        "flag": st.booleans(),
        "swap_helper": st.just(True),
    }
    return st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )


@st.composite
def call_sequences(draw: Any) -> list[CallInputs]:
    """Draw a sequence: the usual call until it is compiled, then broken speculations among usual calls."""
    usual = CallInputs(
        length=draw(st.sampled_from([4, 3, 5])),
        k=draw(st.integers(1, 3)),
        dtype=draw(st.sampled_from(["float64", "float32"])),
    )
    calls = [usual] * 4
    for changes in draw(st.lists(_changes(), min_size=2, max_size=4)):
        calls += [replace(usual, **changes), usual] if draw(st.booleans()) else [replace(usual, **changes)] * 2
    return [replace(item, seed=number) for number, item in enumerate([*calls, usual])]


class State:
    """The object a program keeps its state in."""

    def __init__(self) -> None:
        self.array = np.zeros(0)
        self.count = 0
        self.scale = 0.5
        self.flag = True
        self.items: list[Any] = []
        self.table: dict[Any, Any] = {}


def make_arguments(inputs: CallInputs) -> tuple[Any, ...]:
    """Return ``x, y, m, k, r`` for a call: multiples of 1/4, so that short sums are exact in any order."""
    rng = np.random.default_rng(inputs.seed)
    n = inputs.length
    x, y = ((rng.integers(-8, 9, n) / 4).astype(inputs.dtype) for _ in range(2))
    m = (rng.integers(-8, 9, (n, n)) / 4).astype(inputs.dtype)
    if inputs.layout == "reversed":
        x, m = x[::-1], m[::-1]
    elif inputs.layout == "strided":
        x, m = np.repeat(x, 2)[::2], np.repeat(m, 3, axis=1)[:, ::3]
    elif inputs.layout == "transposed":
        m = m.T
    if inputs.alias == "same":
        y = x
    elif inputs.alias == "overlapping":
        memory = np.concatenate([x, y[:1]])
        x, y = memory[:n], memory[1 : n + 1]
    elif inputs.alias == "row" and n:
        y = m[0]
    if inputs.layout == "readonly":
        x.flags.writeable = False
    return x, y, m, inputs.k, inputs.r


class Environment:
    """A program made real: its own globals and state, and how it is called."""

    def __init__(self, source: str, calls: list[CallInputs], jit: Callable[[Any], Any] | None = None) -> None:
        self._build(source.translate(UNMARKED), calls, jit, {})

    def _build(
        self, text: str, calls: list[CallInputs], jit: Callable[[Any], Any] | None, extra: dict[str, Any]
    ) -> None:
        file = f"<random program {next(_numbers)}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        self.globals: dict[str, Any] = {"np": np, "GAIN": 1.5, "COUNT": 0, "__name__": "random_program", **extra}
        exec(compile(text, file, "exec"), self.globals)
        self._helpers = [self.globals["helper"], self.globals["other_helper"]]
        self.state = State()
        self.function = self.globals["program"]
        if jit is not None:
            self.function = self.globals["program"] = jit(self.function)
        self._calls = calls
        self.side = Side(self.function, self._arguments, self._before, self._observe)

    def _before(self, number: int) -> None:
        inputs = self._calls[number]
        self.globals["GAIN"] = inputs.gain
        self.globals["helper"] = self._helpers[inputs.swap_helper]
        if inputs.flag is not None:
            self.state.flag = inputs.flag
        if self.state.array.shape != (inputs.length,):
            self.state.array = np.zeros(inputs.length)
        self.state.count = int(self.state.count) % 5
        del self.state.items[3:]

    def _arguments(self, number: int) -> tuple[Any, ...]:
        return (*make_arguments(self._calls[number]), self.state)

    def _observe(self) -> Any:
        return self.globals["COUNT"], self.globals["GAIN"]


class NoisyEnvironment(Environment):
    """The plain program with another rounding wherever the grammar allows for one."""

    def __init__(self, source: str, calls: list[CallInputs], seed: int) -> None:
        rng = np.random.default_rng(seed)
        calls_of_marks = {OPEN: "_noisy(", CLOSE: ")", ZERO_OPEN: "_either_zero(", ZERO_CLOSE: ")"}
        functions = {
            "_noisy": lambda value: add_noise(value, rng),
            "_either_zero": lambda value: flip_zeros(value, rng),
        }
        self._build(source.translate(str.maketrans(calls_of_marks)), calls, None, functions)


def add_noise(value: Any, rng: np.random.Generator) -> Any:
    """Move floating-point values by up to 2 ULP, but for those so short that any order of summation is exact."""
    if not isinstance(value, float | np.floating | np.ndarray) or np.asarray(value).dtype.kind != "f":
        return value
    array = np.asarray(value)
    with np.errstate(all="ignore"):
        exact = ~np.isfinite(array) | ((array * 1024 == np.rint(array * 1024)) & (np.abs(array) < 2**10))
        moved = array * (1 + rng.integers(-2, 3, array.shape) * np.finfo(array.dtype).eps)
    noisy = np.where(exact, array, moved).astype(array.dtype)
    return noisy if isinstance(value, np.ndarray) else type(value)(noisy)


def flip_zeros(value: Any, rng: np.random.Generator) -> Any:
    """Give floating-point zeros either sign."""
    if not isinstance(value, float | np.floating | np.ndarray) or np.asarray(value).dtype.kind != "f":
        return value
    array = np.asarray(value)
    flipped = np.where((array == 0) & (rng.random(array.shape) < 0.5), -array, array)
    return flipped if isinstance(value, np.ndarray) else type(value)(flipped)
