"""Times one compilation in this process, and prints the seconds of each stage as one line of JSON.

Owns where the stages begin and end: the functions between which `janusjit.runtime.pipeline` passes a program on.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import janusjit
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.rows import ROWS
from janusjit.analysis import twin
from janusjit.backend.llvm import engine
from janusjit.runtime import pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
OPERATIONS = ("x * y", "x + 1.5", "np.maximum(x, y)", "x - y", "np.tanh(x)")
EVERY_PRODUCT = 50  #: there is one matrix product in so many operations
BRANCH = 10  #: so many operations are in each branch
TURNS = 1000  #: of a loop
SHAPES = ("line", "products", "branches", "loop")


class Stages:
    """Adds up the processor time of functions, less that of other stages inside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []

    def time(self, owner: Any, name: str, stage: str) -> None:
        """Let a function's time count for a stage."""
        function = getattr(owner, name)
        self.seconds.setdefault(stage, 0.0)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            started = time.process_time()
            self._inside.append(0.0)
            try:
                return function(*arguments, **keywords)
            finally:
                taken = time.process_time() - started
                self.seconds[stage] += taken - self._inside.pop()
                if self._inside:
                    self._inside[-1] += taken

        setattr(owner, name, timed)


def time_stages() -> Stages:
    """Return the stages of janusjit's compiler, timed from now on."""
    stages = Stages()
    stages.time(pipeline.Pipeline, "prepare", "source and twin")
    stages.time(twin.Twins, "of", "source and twin")
    stages.time(pipeline, "capture", "capture")
    stages.time(pipeline, "optimize", "transforms")
    stages.time(pipeline, "compile_graph", "emission")
    stages.time(engine, "load", "LLVM")
    stages.time(engine, "load_filed", "LLVM")
    return stages


def time_calls(call: Callable[[], Any], is_compiled: Callable[[], bool], stages: Stages) -> dict[str, float]:
    """Call until a call was compiled; return the seconds of each stage."""
    started = time.process_time()
    for _ in range(50):
        call()
        if is_compiled():
            break
    else:
        raise RuntimeError("the program is not compiled")
    total = time.process_time() - started
    return stages.seconds | {"other": total - sum(stages.seconds.values()), "total": total}


def program(shape: str, size: int, folder: str, module: str, name: str) -> Callable[..., Any]:
    """Return a function of ``size`` operations, from a file of its own.

    ``shape``: ``line``, all of it elementwise but for few products; ``products``, of which every third operation is
    one; ``branches``, with an ``if`` around each ten operations; ``loop``, with all of them in a loop.
    """
    every = 3 if shape == "products" else EVERY_PRODUCT
    deep = shape in ("loop", "branches")
    lines = [f"import {module} as np\n\n\ndef program(x, y, turns):"]
    if shape == "loop":
        lines.append("    for _ in range(turns):")
    for number, operation in zip(range(1, size), itertools.cycle(OPERATIONS), strict=False):
        if shape == "branches" and number % BRANCH == 1:
            lines.append(f"    if x.sum() > -{number}e9:")
        lines.append(f"    {'    ' * deep}x = {operation if number % every else 'x @ y'}")
    path = Path(folder, f"{name}.py")
    path.write_text("\n".join([*lines, "    return x.sum()"]) + "\n")
    sys.path.insert(0, folder)
    function: Callable[..., Any] = importlib.import_module(name).program
    return function


def measure_program(shape: str, size: int) -> dict[str, float]:
    """Time a program of a shape."""
    stages = time_stages()
    with tempfile.TemporaryDirectory() as folder:
        jitted = janusjit.jit(background=False)(program(shape, size, folder, "numpy", "program_of_numpy"))
        x, y = np.linspace(-1, 1, 64).reshape(8, 8), np.eye(8) * 0.9
        return time_calls(lambda: jitted(x, y, TURNS), lambda: jitted.stats.graph_calls > 0, stages)


def measure_example(name: str) -> dict[str, float]:
    """Time an example's step: its own run, with the decorator that is measured."""
    sys.path.insert(0, str(EXAMPLES))
    module = importlib.import_module(name)
    stages = time_stages()
    found: list[dict[str, float]] = []

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        jitted = janusjit.jit(background=False)(function)
        spent = 0.0

        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal spent
            started = time.process_time()
            result = jitted(*arguments, **keywords)
            spent += time.process_time() - started
            if not found and jitted.stats.graph_calls:
                found.append(stages.seconds | {"other": spent - sum(stages.seconds.values()), "total": spent})
            return result

        return call

    module.run(decorate)
    return found[0]


def measure_jax(size: int) -> dict[str, float]:
    """Time `jax.jit` on a straight-line function."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    x, y = jax.numpy.linspace(-1, 1, 64).reshape(8, 8), jax.numpy.eye(8) * 0.9
    with tempfile.TemporaryDirectory() as folder:
        jitted = jax.jit(program("line", size, folder, "jax.numpy", "program_of_jax"), static_argnums=2)
        return time_calls(lambda: jitted(x, y, TURNS).block_until_ready(), lambda: True, Stages())


def measure_torch(size: int) -> dict[str, float]:
    """Time `torch.compile` on a straight-line function."""
    torch = importlib.import_module("torch")
    x, y = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(8, 8), torch.eye(8, dtype=torch.float64) * 0.9
    with tempfile.TemporaryDirectory() as folder:
        jitted = torch.compile(program("line", size, folder, "torch", "program_of_torch"))
        return time_calls(lambda: jitted(x, y, TURNS), lambda: True, Stages())


def measure_step(argument: str) -> dict[str, float]:
    """Time a contestant's step, from before it is decorated to the end of the first call that ran compiled.

    Importing the libraries, and what they do once in a process before they can compute at all, is not counted.
    """
    contestant, row_name, dtype = argument.split("|")
    row = next(row for row in ROWS if row.name == row_name)
    if contestant == "jax.jit":
        jax = importlib.import_module("jax")
        jax.block_until_ready(jax.device_put(np.zeros(2)))
    if contestant == "torch.compile":
        importlib.import_module("torch._inductor.compile_fx")
    arguments = row.arguments(dtype)
    clock, processor = time.perf_counter(), _processor_time()
    step = CONTESTANTS[contestant](row, arguments)
    for _ in range(50):
        step.run(1)
        if step.counts is None or step.counts():
            break
    else:
        raise RuntimeError("the program is not compiled")
    return {"clock": time.perf_counter() - clock, "processor": _processor_time() - processor}


def _processor_time() -> float:
    """Return the processor time of this process and of those it has started and waited for, as C++ compilers."""
    return sum(os.times()[:4])


PEERS = {"jax": measure_jax, "torch": measure_torch}


def main() -> None:
    """Run from the command line: what to measure, and which or how large."""
    kind, argument = sys.argv[1:]
    if kind == "example":
        found = measure_example(argument)
    elif kind == "step":
        found = measure_step(argument)
    elif kind in SHAPES:
        found = measure_program(kind, int(argument))
    else:
        found = PEERS[kind](int(argument))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
