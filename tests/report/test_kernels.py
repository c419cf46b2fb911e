"""The kernels in the report: how each is done, what was expected of it, and what it took, without changing a result."""

from __future__ import annotations

import io
import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import clock, engine_cache
from janusjit.config import from_environment, override
from janusjit.report.model import build_report
from janusjit.runtime.events import STREAM, record
from janusjit.runtime.journal import read_journal, write_journal
from janusjit.spans import Span

pytestmark = pytest.mark.skipif(not clock.is_there(), reason="this system has no clock for compiled code")

NUMBERS = np.random.default_rng(3)
TURNS = 40


def step(x, w, n):  # type: ignore[no-untyped-def]
    total = 0.0
    for _ in range(n):
        w = w - 0.01 * (x.T @ np.tanh(x @ w))
        total += (w * w).sum()
    largest = np.sort(w[:, 0])[-1]
    return total, w, x[int(largest > 1e9) * 1000, 0], (x - x.mean(axis=1, keepdims=True)).sum()


def arguments() -> tuple[np.ndarray, np.ndarray, int]:
    return NUMBERS.normal(size=(60, 20)), NUMBERS.normal(size=(20, 7)), TURNS


def text_of(report) -> str:  # type: ignore[no-untyped-def]
    file = io.StringIO()
    report.print(file, width=400)
    return file.getvalue()


def test_a_measured_function_gives_the_same_bits_and_its_times() -> None:
    given = arguments()
    measured = jj.jit(background=False, measure=True)(step)
    plain = jj.jit(background=False)(step)
    for _ in range(6):
        for one, other, eager in zip(measured(*given), plain(*given), step(*given), strict=True):
            assert type(one) is type(eager)
            np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, eager, rtol=1e-9)
    assert measured.stats.graph_calls == plain.stats.graph_calls == 4
    kernels = {kernel.step: kernel for kernel in measured.specializations[0].kernels}
    run = [kernel for kernel in kernels.values() if kernel.runs]
    assert {kernel.runs for kernel in run} <= {4, 4 * TURNS, 4 * (TURNS - 1)} and len(run) >= 5
    for kernel in run:
        assert kernel.least is not None and kernel.measured is not None and 0 < kernel.least <= kernel.measured
        assert kernel.where.startswith("test_kernels.py:")
    products = [kernel for kernel in run if kernel.text.startswith("matmul")]
    assert products and all(kernel.expected and " by register tiles" in kernel.text for kernel in products)
    fused = [kernel for kernel in run if "fused" in kernel.text]
    assert fused and all(kernel.expected for kernel in fused)
    (sort,) = (kernel for kernel in run if kernel.text == "sort")
    assert sort.expected is None
    texts = [kernel.text for kernel in plain.specializations[0].kernels]
    assert texts == [kernel.text for kernel in measured.specializations[0].kernels]
    assert all(k.runs == 0 and k.measured is None and k.least is None for k in plain.specializations[0].kernels)


def test_the_report_shows_estimates_and_times_in_every_face(tmp_path: Path) -> None:
    given = arguments()
    measured, plain = (jj.jit(background=False, measure=measure)(step) for measure in (True, False))
    for _ in range(4):
        np.testing.assert_array_equal(measured(*given)[1], plain(*given)[1])
    assert measured.stats.graph_calls == plain.stats.graph_calls == 2
    text, without = text_of(measured.report()), text_of(plain.report())
    assert "measured    at best    runs  where, what, how" in text and "measured" not in without
    for line in (text, without):
        assert "matmul by register tiles" in line and "expected" in line
    assert "  sort" in text and "  sort" not in without  # where nothing was chosen, there is nothing to say
    counted = [jj.api.counted(function) for function in (measured, plain)]
    schema = json.loads(resources.files("janusjit.report").joinpath("event.schema.json").read_text())
    for event in counted:
        assert event.kernels
        jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(record(event, STREAM.run))))
    write_journal(counted, tmp_path / "run.jsonl", STREAM.run)
    assert build_report(read_journal(tmp_path / "run.jsonl")[1:], {}) == build_report(counted, {})
    assert measured.report().to_dict()["functions"][0]["kernels"][0].keys() >= {"expected", "measured", "text"}


def test_what_is_given_up_is_not_counted() -> None:
    """A kernel before an index out of bounds has run, one after it has not."""

    def pick(x, i):  # type: ignore[no-untyped-def]
        y = np.tanh(x) * 2.0
        kept = np.sort(y)
        return np.exp(x * kept[i]).sum()

    measured = jj.jit(background=False, measure=True)(pick)
    x = NUMBERS.normal(size=50)
    for index in (1, 2, 3, 4):
        assert measured(x, index) == pytest.approx(pick(x, index), rel=1e-12)
    before = {kernel.step: kernel.runs for kernel in measured.specializations[0].kernels}
    with pytest.raises(IndexError):
        measured(x, 50)
    assert measured.stats.deopts == 1
    after = [kernel.runs for kernel in measured.specializations[0].kernels]
    assert list(before.values()) == [2, 2, 2] and after == [3, 3, 2]


def test_kernels_of_code_on_disk(tmp_path: Path) -> None:
    given = arguments()
    found = []
    with override(cache=tmp_path / "cache"):
        for measure in (True, False, True, False):
            hits = engine_cache.usage().hits
            function = jj.jit(background=False, measure=measure)(step)
            for _ in range(4):
                function(*given)
            assert function.stats.graph_calls == 2
            kernels = function.specializations[0].kernels
            assert any(kernel.runs for kernel in kernels) == measure
            found.append(([(k.step, k.text, k.where, k.expected) for k in kernels], engine_cache.usage().hits > hits))
    assert found[0][0] == found[1][0] == found[2][0] == found[3][0]
    assert [hit for _, hit in found[2:]] == [True, True]


def test_settings() -> None:
    assert from_environment({"JANUSJIT_MEASURE": "1"}).measure and not from_environment({}).measure
    assert not from_environment({"JANUSJIT_CALIBRATION": "0"}).calibration and from_environment({}).calibration
    with override(measure=True):
        function = jj.jit(background=False)(lambda x: np.sin(x) + 1.0)
    for _ in range(4):
        function(np.ones(9))
    assert function.stats.graph_calls == 2
    assert [kernel.runs for kernel in function.specializations[0].kernels] == [2]
    assert isinstance(function.specializations[0].captured.span, Span)
