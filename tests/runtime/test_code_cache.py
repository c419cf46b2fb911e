"""A second process starts with the compiled code of the first, if everything the code depends on is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = '''
import json, sys
import numpy as np
import janusjit as jj
from janusjit.backend.llvm import engine_cache

SCALE = {scale}
TABLE = np.arange(5.0)
NAMES = ("first", "second")


class Model:
    def __init__(self):
        self.weights = np.linspace(0.0, 1.0, 20, dtype="{dtype}").reshape(4, 5)
        self.steps = 0


def activation(x):
    return np.tanh(x) {operator} SCALE + np.array([{bias}, 1.0, 1.5, 2.0, 2.5], dtype=x.dtype)


@jj.jit(background=False, exact={exact})
def step(model, x, state):
    hidden = activation(x @ model.weights)
    model.weights -= 0.1 * (x.T @ hidden)
    model.steps += 1
    state["last"] = hidden.sum()
    state["sorted"] = np.sort(hidden, axis=None)
    return NAMES[0], hidden, {{"norm": float((hidden * hidden).sum())}}


def run(function):
    model, state, results = Model(), {{}}, []
    state["last"], state["sorted"] = np.{dtype}(0), np.zeros(1, "{dtype}")
    for number in range(6):
        results.append(function(model, np.linspace(-1.0, 1.0, 8, dtype="{dtype}").reshape(2, 4) + number, state))
    return model, state, results


def same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if not isinstance(a, (np.ndarray, float, np.generic)):
        return a == b
    # tanh and products are not NumPy's to the bit; in sums of either sign that shows relative to the largest term
    return np.allclose(a, b, rtol=0, atol=2e-5 * np.max(np.abs(b)))


model, state, results = run(step)
plain = run(step.__wrapped__)
assert same([results, state], [plain[2], plain[1]]) and same(model.weights, plain[0].weights) and model.steps == 6
assert results[0][0] is NAMES[0]
assert "define" in step.specializations[0].llvm_ir and step.specializations[0].plan
(specialization,) = step.specializations
try:
    step(model, "no array", state)
    raise SystemExit("no error")
except (TypeError, ValueError, np.exceptions.DTypePromotionError) as error:
    pass
usage = engine_cache.usage()
print(json.dumps({{
    "graph_calls": step.stats.graph_calls, "hits": usage.hits, "misses": usage.misses, "writes": usage.writes,
    "compiled": specialization.compiled.code.times.total > 0, "problems": usage.problems,
}}))
'''


class Runner:
    """Runs variants of the program in processes that share a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"

    def start(
        self,
        scale: str = "2.0",
        dtype: str = "float64",
        exact: bool = True,
        operator: str = "*",
        bias: str = "0.5",
        **environment: str,
    ) -> subprocess.Popen[str]:
        path = self.folder / "program.py"
        path.write_text(PROGRAM.format(scale=scale, dtype=dtype, exact=exact, operator=operator, bias=bias))
        variables = {"JANUSJIT_CACHE": "1", "JANUSJIT_CACHE_DIR": str(self.cache), **environment}
        return subprocess.Popen(
            [sys.executable, str(path)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **changes: str) -> dict[str, object]:
        return finish(self.start(**changes))


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert found["graph_calls"] >= 4
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A folder in which the first process has run, and what it said."""
    folder = tmp_path_factory.mktemp("first")
    return folder, Runner(folder).run()


@pytest.fixture
def runner(tmp_path: Path, first: tuple[Path, dict[str, object]]) -> Runner:
    """A second process's view of a copy of the first one's cache."""
    made = Runner(tmp_path)
    shutil.copytree(first[0] / "cache", made.cache)
    made.cache.chmod(0o700)
    return made


def test_the_second_process_compiles_nothing(runner: Runner, first: tuple[Path, dict[str, object]]) -> None:
    second = runner.run(PYTHONHASHSEED="7")
    assert first[1]["compiled"] and first[1]["writes"] and not first[1]["hits"]
    assert not second["compiled"] and second["hits"] and not second["misses"] and not second["writes"]


def test_code_that_reads_a_value_serves_another_value(runner: Runner) -> None:
    assert not runner.run(scale="3.0")["compiled"]


@pytest.mark.parametrize(
    "change", [{"operator": "-"}, {"bias": "0.25"}, {"dtype": "float32"}, {"exact": False}], ids=str
)
def test_what_code_depends_on_is_in_its_key(runner: Runner, change: dict[str, str]) -> None:
    assert runner.run(**change)["misses"]


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "foreign"])
def test_damaged_files_are_compiled_again(runner: Runner, damage: str) -> None:
    for path in runner.cache.iterdir():
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 1
        kept = {"truncate": content[:-9], "empty": b"", "flip": content, "foreign": b"something else" * 9}[damage]
        path.write_bytes(kept)
    found = runner.run()
    assert found["compiled"] and found["writes"] and found["problems"] and not found["hits"]


def test_missing_objects_are_compiled_again(runner: Runner) -> None:
    largest = max(runner.cache.iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    assert runner.run()["compiled"]
    assert not runner.run()["compiled"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of POSIX")
def test_a_directory_others_can_write_to_is_refused(runner: Runner) -> None:
    runner.cache.chmod(0o770)
    found = runner.run()
    assert found["compiled"] and not found["hits"] and not found["writes"]
    assert any("other users can write" in problem for problem in found["problems"])


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="nothing is read only for root")
def test_a_directory_that_is_read_only_is_read(runner: Runner) -> None:
    runner.cache.chmod(0o500)
    assert not runner.run()["compiled"]
    found = runner.run(operator="-")
    assert found["compiled"] and any("cannot be written to" in problem for problem in found["problems"])
    runner.cache.chmod(0o700)


def test_a_directory_that_cannot_be_is_told_of(runner: Runner) -> None:
    shutil.rmtree(runner.cache)
    runner.cache.write_text("a file")
    found = runner.run()
    assert found["compiled"] and found["problems"] and not found["hits"]


def test_it_can_be_switched_off(runner: Runner) -> None:
    found = runner.run(JANUSJIT_CACHE="0")
    assert found["compiled"] and not found["hits"] and not found["misses"] and not found["writes"]


def test_processes_at_once_do_not_disturb_each_other(runner: Runner) -> None:
    shutil.rmtree(runner.cache)
    for found in [finish(process) for process in [runner.start() for _ in range(3)]]:
        assert not found["problems"]
    assert not runner.run()["compiled"]
    assert not [path for path in runner.cache.iterdir() if path.suffix != ".code"]
