"""The figures the cost model goes by: kept and believed with care, and followed by choices that change no result."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import janusjit as jj
from janusjit.__main__ import main
from janusjit.backend import calibration
from janusjit.backend.calibration import Calibration, ImplausibleError, LibraryTime, using
from janusjit.backend.llvm import calibrating, engine_cache, measurement, measurement_code, thread_pool_state, threads
from janusjit.backend.llvm.gemm_estimates import (
    LEAST_DIVIDED,
    Product,
    library_nanoseconds,
    packed_nanoseconds,
    packed_threads,
    product_nanoseconds,
    quickest,
)
from janusjit.backend.llvm.gemm_tiling import Machine as Processor
from janusjit.backend.parallel import Division
from janusjit.config import override
from tests.backend.test_blas import assert_as_good_as_numpy, random_operands
from tests.backend.test_threads import wake

QUICK_LIBRARY = tuple(
    LibraryTime(dtype, form, 64**3, 1000.0) for dtype in ("f32", "f64") for form in ("thin", "narrow", "square")
)
SLOW_LIBRARY = tuple(replace(time_, nanoseconds=1e7) for time_ in QUICK_LIBRARY)
MADE_UP = Calibration("made up", 0.002, 0.004, 0.005, 0.01, 0.02, 300.0, 0.25, 0.35, 60.0, QUICK_LIBRARY)


class Machine:
    """Stands for the measuring: counts how often it is asked for, and gives or raises what it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.outcome: Calibration | Exception = MADE_UP

    def __call__(self, threads: int, origin: str) -> Calibration:
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """Yield what is measured by processes that begin with a cache of their own."""
    made = Machine()
    monkeypatch.setattr(calibrating, "measure", made)
    before = calibrating._explanation
    with override(cache=tmp_path / "cache", calibration=True):
        calibrating.forget()
        yield made
    calibrating.forget()
    calibrating._explanation = before


def decided() -> Calibration:
    """Return what another process goes by."""
    calibrating.forget()
    calibrating.calibrate()
    return calibration.current()


def filed() -> Path:
    (path,) = (path for path, _ in engine_cache.contents())
    return path


def test_a_machine_is_measured_once(machine: Machine) -> None:
    assert [decided(), decided(), decided()] == [MADE_UP] * 3 and machine.asked == 1
    machine.outcome = replace(MADE_UP, near=0.004)
    assert calibrating.measure_again() == machine.outcome == decided() and machine.asked == 2


def test_the_command_measures_whatever_is_filed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.outcome = measurement.DisturbedError("too busy")
    assert main(["calibrate"]) == 1 and "too busy" in capsys.readouterr().err
    machine.outcome = MADE_UP
    assert main(["calibrate"]) == 0 and "BLAS, f64, narrow" in capsys.readouterr().out
    machine.outcome = replace(MADE_UP, library=())
    assert main(["calibrate"]) == 0 and "BLAS was not measured" in capsys.readouterr().out
    assert decided() == machine.outcome and machine.asked == 3
    assert "threads" in calibrating.explanation()


def test_a_process_goes_by_what_it_began_with(machine: Machine) -> None:
    assert decided() == MADE_UP
    machine.outcome = replace(MADE_UP, near=0.004)
    calibrating.measure_again()
    calibrating.calibrate()
    assert calibration.current() == MADE_UP


def test_other_settings_are_another_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    decided()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "made up")
    decided()
    with override(threads=7):
        decided()
    assert machine.asked == 3
    monkeypatch.setenv("MKL_NUM_THREADS", "7")  # how many threads there are is known otherwise
    decided()
    assert machine.asked == 3


@pytest.mark.parametrize("damage", ["byte", "emptied", "other quantities", "implausible", "no calibration", "not JSON"])
def test_what_is_damaged_or_out_of_date_is_measured_again(machine: Machine, damage: str) -> None:
    decided()
    path = filed()
    name, content = path.stem, path.read_bytes()
    told = json.loads(MADE_UP.to_json())
    if damage == "byte":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        texts = {
            "other quantities": json.dumps({**told, "latency": 1.0}),
            "implausible": json.dumps({**told, "cycle": 1e9}),
            "no calibration": "[1, 2]",
            "not JSON": "cycle = 1",
        }
        engine_cache.write(name, texts[damage].encode())
    assert decided() == MADE_UP and machine.asked == 2
    assert decided() == MADE_UP and machine.asked == 2


@pytest.mark.parametrize(
    "told",
    [
        {"near": float("nan")},
        {"library": [["f16", "thin", 10, 10.0]]},
        {"library": [["f32", "long", 10, 10.0]]},
        {"origin": None},
    ],
)
def test_implausible_figures_are_refused(told: dict[str, object]) -> None:
    text = MADE_UP.to_json()
    assert Calibration.from_json(text) == MADE_UP
    if told == {"origin": None}:
        text = text.replace('"origin"', '"source"')
    else:
        text = json.dumps({**json.loads(text), **told})
    with pytest.raises(ImplausibleError):
        Calibration.from_json(text)


def test_a_busy_machine_is_left_alone_for_a_while(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.outcome = measurement.DisturbedError("too busy")
    assert decided() == decided() == Calibration() and machine.asked == 1
    assert "too busy" in calibrating.explanation()
    now = time.time()
    machine.outcome = MADE_UP
    for moment in (now - 10 * calibrating.RESPITE, now + 2 * calibrating.RESPITE):  # a clock that was wrong, and later
        monkeypatch.setattr(calibrating.time, "time", lambda moment=moment: moment)
        assert decided() == MADE_UP
    assert machine.asked == 2


def test_a_library_that_was_kept_from_running_is_measured_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.outcome = without = replace(MADE_UP, library=())
    assert decided() == decided() == without and machine.asked == 1
    assert "but for the BLAS library" in calibrating.explanation()
    machine.outcome, now = MADE_UP, time.time()
    monkeypatch.setattr(calibrating.time, "time", lambda: now + 2 * calibrating.RESPITE)
    assert decided() == decided() == MADE_UP and machine.asked == 2


def test_the_first_figures_that_are_filed_hold(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has been quicker: this one goes by what that has measured."""
    theirs = replace(MADE_UP, near=0.006)

    def slow(threads: int, origin: str) -> Calibration:
        engine_cache.write(calibrating._name(), theirs.to_json().encode(), first=True)
        return MADE_UP

    monkeypatch.setattr(calibrating, "measure", slow)
    assert decided() == decided() == theirs


@pytest.mark.parametrize("why", ["off", "no cache", "others may write", "read only"])
def test_built_in_figures_where_none_can_be_kept(machine: Machine, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Path(str(calibrating.current().cache))
    if why == "others may write":
        directory.mkdir()
        directory.chmod(0o777)
    elif why == "read only":
        monkeypatch.setattr(engine_cache.os, "access", lambda path, mode: False)
    changes = {"off": {"calibration": False}, "no cache": {"cache": None}}.get(why, {})
    with override(**changes):
        assert decided() == Calibration() and machine.asked == 0
    words = {"off": "switched off", "no cache": "no cache", "others may write": "chmod", "read only": "cannot be"}
    assert words[why] in calibrating.explanation()


def test_choices_follow_the_figures() -> None:
    small, large = (Product(n, n, n, "f64") for n in (64, 512))
    assert quickest(small) == "tiles" and quickest(large) != "tiles"
    with using(replace(MADE_UP, library=SLOW_LIBRARY)):
        assert quickest(small) == "tiles" and quickest(Product(8, 8, 8, "f32")) == "tiles"
        assert quickest(replace(large, rows=64, columns=2048)) != "library"
    with using(MADE_UP):
        assert quickest(small) == quickest(large) == "library" and quickest(Product(8, 8, 8, "f64")) == "tiles"
    work = Division(0, 1000, 100_000, 0.09)
    assert not work.pays(2)
    with using(replace(MADE_UP, dispatch=500.0)):
        assert work.pays(2) and work.least_elements < 100_000
    with using(replace(MADE_UP, dispatch=5000.0)):
        assert not replace(work, elements=500_000).pays(2)
    assert Calibration().recompute_limit == 4
    assert replace(MADE_UP, addition=0.005).recompute_limit == 2 and replace(MADE_UP, near=0.1).recompute_limit == 8


def test_one_thread_does_not_share_anything() -> None:
    if Processor.host().vector_bytes != 64:
        pytest.skip("nothing is packed here")
    large = Product(2048, 2048, 2048, "f64")
    with using(replace(MADE_UP, call=0.0)) as made:
        alone = packed_nanoseconds(*large.sizes)
        each = LibraryTime("f64", "square", 64**3, 1.04 * alone / 2048**3 * 64**3)
        with using(replace(made, library=(each,))):
            assert 1.0 < library_nanoseconds(*large.sizes) / alone < 1.1
            assert quickest(large, threads=1) == "packed"


def test_threads_are_for_products_that_take_long_and_have_many_rows() -> None:
    limit = max(MADE_UP.parallel_nanoseconds, LEAST_DIVIDED)
    with using(MADE_UP):
        assert packed_threads(1000, limit / 2, 8) == 1 and packed_threads(1000, limit, 8) == 8
        assert packed_threads(100, limit, 8) == 2 and packed_threads(10, limit, 8) == 1


def test_estimates_grow_with_the_work_and_with_the_machine() -> None:
    for how in ("register tiles 6×32", "packed tiles", "inner products", "BLAS", "loops"):
        for dtype in ("f32", "f64"):
            small, large = (product_nanoseconds(how, 64, n, n, dtype) for n in (64, 512))
            assert 0 < 8 * small < large
    with using(MADE_UP):
        near, far = (MADE_UP.transfer(size) for size in (1 << 16, 1 << 26))
        assert near < far and MADE_UP.transfer(None) == near
        between = MADE_UP.library_nanoseconds(128, 128, 128, "f64")
        assert between == pytest.approx(60 + 128**3 * 1000 / 64**3)


@pytest.mark.parametrize(("library", "how"), [(QUICK_LIBRARY, "by BLAS"), (SLOW_LIBRARY, "by register tiles")])
def test_the_plan_follows_the_figures(library: tuple[LibraryTime, ...], how: str) -> None:
    @jj.jit(background=False)
    def product(a, b):  # type: ignore[no-untyped-def]
        return a @ b

    a, b = random_operands(((72, 300), (300, 200)), "f64")
    with using(replace(MADE_UP, library=library)):
        results = [product(a, b) for _ in range(5)]
    for result in results[2:]:
        assert_as_good_as_numpy(result, a, b)
        np.testing.assert_array_equal(result, results[-1])
    assert product.stats.graph_calls == 3 and how in product.specializations[0].plan


def test_kernels_do_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "PATIENCE", float("inf"))
    bench = measurement._Bench(1)
    found = {**bench.elements(), **bench.tiles()}
    Calibration(**found).check()  # type: ignore[arg-type]
    bench.elements()
    np.testing.assert_allclose(bench._memory[1024:2048], np.exp(bench._memory[:1024]), rtol=1e-15)
    bench.transfers()
    half = bench._memory.size // 2
    assert (bench._memory[half:] == bench._memory[:half] + 1).all()
    bench._memory[:] = 1
    bench._product("f64", (16, 64, 64))
    start = 16 * 64 + 64 * 64
    assert (bench._memory[start : start + 16 * 64] == 64).all() and bench._memory[start + 16 * 64] == 1


def test_jobs_are_done_that_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose result nobody sees would be left out by the compiler, and handing it over seem to be no use."""
    monkeypatch.setattr(measurement, "PATIENCE", float("inf"))
    bench = measurement._Bench(2)
    chain = 1.0
    for _ in range(measurement_code.JOB_STEPS):
        chain = chain * 0.999 + 1.0
    results = np.zeros(measurement_code.JOB_ROWS)
    context = (ctypes.c_int64 * 1)(results.ctypes.data)

    def run(kernel: str) -> None:
        assert bench._run(bench._loaded.function_address(kernel), context, 1, 1) > 0

    threads.prepare((thread_pool_state.PARALLEL_FOR,))
    wake()
    run(measurement_code.DIVIDED)
    np.testing.assert_allclose(results, chain, rtol=1e-12)
    run(measurement_code.ALONE)
    assert results[0] > results[1]  # one row after the other
