"""The demonstration: a network on handwritten digits, trained in plain Python and under `@jit`.

Owns `run_demo`. Invariant: the program that is trained is `examples/digits_mlp.py` itself, unchanged, and every figure
printed was measured in the run that prints it.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from janusjit.api import Jitted, jit
from janusjit.report.text import duration


@dataclass
class TimedStep:
    """A training step that keeps the duration of each call."""

    function: Callable[..., Any]
    seconds: list[float] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = self.function(*args, **kwargs)
        self.seconds.append(time.perf_counter() - started)
        return result

    @property
    def total(self) -> float:
        """Seconds in all calls."""
        return sum(self.seconds)

    @property
    def typical(self) -> float:
        """Median of the second half of the calls, in seconds: settled ones."""
        return statistics.median(self.seconds[len(self.seconds) // 2 :])


def run_demo(epochs: int = 10, file: TextIO | None = None) -> bool:
    """Train eagerly and under `@jit`; print the comparison and the report.

    Parameters
    ----------
    epochs : int
        Passes over the training images.
    file : text file, optional
        Where to print; standard output when not given.

    Returns
    -------
    bool
        Whether both runs agree and the jitted one ran from the graph.

    Raises
    ------
    ImportError
        If scikit-learn, whose digits are the data, is not installed.
    """
    program = _load_program()
    target = sys.stdout if file is None else file
    steps: list[TimedStep] = []

    def timed(function: Callable[..., Any]) -> TimedStep:
        steps.append(TimedStep(function))
        return steps[-1]

    eager_run = program.run(timed, epochs)
    graph_run = program.run(lambda function: timed(jit(background=False)(function)), epochs)
    eager, graph = steps
    step = graph.function
    assert isinstance(step, Jitted)
    step.note_eager_seconds(eager.typical)
    difference = trajectory_difference(eager_run, graph_run)
    rows = _rows(program, eager, graph, step, (eager_run, graph_run), difference)
    target.write(f"scikit-learn's digits, two hidden layers, Adam: {len(eager_run)} steps of {epochs} epochs\n\n")
    target.write("\n".join(_table(("", "plain NumPy", "@jit"), rows)) + "\n\n")
    step.report().print(target)
    if difference >= 1e-9:
        target.write("\nThe two runs do not agree: this is a bug of janusjit.\n")
    if not step.stats.graph_calls:
        target.write("\nThe step did not run from a graph.\n")
    return difference < 1e-9 and step.stats.graph_calls > 0


def _load_program() -> Any:
    """Load the example as the user's code: from its own directory, or from a copy if it is part of an installation."""
    path = Path(__file__).with_name("digits_mlp.py").resolve()
    if path.parent == Path(__file__).resolve().parent:
        copy = Path(tempfile.mkdtemp(prefix="janusjit-demo-")) / path.name
        path = Path(shutil.copy(path, copy))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    program = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = program
    specification.loader.exec_module(program)
    return program


def _rows(
    program: Any,
    eager: TimedStep,
    graph: TimedStep,
    step: Jitted[..., Any],
    runs: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    difference: float,
) -> list[tuple[str, str, str]]:
    stats = step.stats
    ratio = eager.typical / graph.typical
    saved = eager.typical - graph.typical
    pays = f"after {int(np.ceil(stats.compile_seconds / saved))} steps" if saved > 0 else "never: eager wins"
    last = runs[0][-1], runs[1][-1]
    return [
        ("one settled step, median", duration(eager.typical), f"{duration(graph.typical)}, {ratio:.2f}×"),
        ("all steps", duration(eager.total), f"{duration(graph.total)}, with compilation"),
        ("capture and compilation", "", f"{duration(stats.compile_seconds)}, has paid for itself {pays}"),
        ("calls in the graph", "", f"{stats.graph_calls} of {stats.calls} ({stats.profiled_calls} profiled)"),
        ("failed guards", "", str(stats.deopts)),
        ("last loss", f"{last[0]['loss']:.6f}", f"{last[1]['loss']:.6f}"),
        ("accuracy on test images", f"{_accuracy(program, last[0]):.3f}", f"{_accuracy(program, last[1]):.3f}"),
        ("largest difference of any value", "", f"{difference:.2g}"),
    ]


def _accuracy(program: Any, parameters: dict[str, Any]) -> float:
    _, _, images, labels = program.load_data()
    return float((program.forward(parameters, images)[-1].argmax(axis=1) == labels).mean())


def trajectory_difference(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> float:
    """Return the largest difference between two runs over all steps and values, relative to each array's largest."""
    if len(left) != len(right):
        return float("inf")
    worst = 0.0
    for one, other in zip(left, right, strict=True):
        for name, value in one.items():
            scale = max(float(np.max(np.abs(value))), 1e-12)
            worst = max(worst, float(np.max(np.abs(value - other[name]))) / scale)
    return worst


def _table(head: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return [lines[0].rstrip(), "-" * (sum(widths) + 4), *(line.rstrip() for line in lines[1:])]
