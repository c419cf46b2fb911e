"""Work memory is kept between calls: by nobody twice, within the limit, and until it is asked back."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

import janusjit as jj
from janusjit import config
from janusjit.backend.llvm import kernel_memory, values, workspace

SIZE = 20_000


def spread(x, host):
    """Keeps a large intermediate array over a host call, and another one after it."""
    centred = x - x.mean()
    inner = host(centred)
    return (np.sqrt(centred * centred + 1.0) @ centred + inner, np.cumsum(centred)[::-1] * inner)


def long_loop(x, count):
    for _ in range(count):
        x = x + 0.001 * np.sin(x) * x
    return x.sum()


def gradient(x, count):
    return jj.value_and_grad(long_loop)(x, count)


@pytest.fixture(autouse=True)
def empty_pool():
    jj.release_memory()
    yield
    workspace.limit_kept(config.current().kept_memory)
    jj.release_memory()


def products(x):
    y = np.sort(x)
    z = np.cumsum(y)
    return z[::-1] * np.sort(z - y), np.cumsum(z).sum()


def test_kept_and_given_back():
    step = jj.jit(background=False)(products)
    for number in range(6):
        x = np.random.default_rng(number).normal(size=SIZE)
        for found, wanted in zip(step(x), products(x), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert step.stats.graph_calls == 4
    kept = workspace.kept_memory()
    assert kept >= 8 * SIZE
    assert jj.release_memory() == kept
    assert workspace.kept_memory() == 0
    np.testing.assert_allclose(step(x)[0], products(x)[0], rtol=1e-9)
    assert workspace.kept_memory() == kept


def test_results_are_nobody_elses():
    step = jj.jit(background=False)(products)
    inputs = [np.random.default_rng(number).normal(size=SIZE) for number in range(6)]
    found = [step(x)[0] for x in inputs]
    for array, x in zip(found, inputs, strict=True):
        assert array.flags.owndata
        np.testing.assert_allclose(array, products(x)[0], rtol=1e-9)


def test_a_call_inside_a_call_has_memory_of_its_own():
    space = {}
    exec("def host(a):\n    return float(step(a[:-1], shallow)[0]) if len(a) > 19_998 else 0.5", space)
    space["shallow"] = lambda a: 0.25
    step = space["step"] = jj.jit(background=False)(spread)
    for number in range(5):
        x = np.random.default_rng(number).normal(size=SIZE)
        found = step(x, space["host"])
        space["step"] = spread
        wanted = spread(x, space["host"])
        space["step"] = step
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8)
    assert step.stats.graph_calls > 0


def test_no_more_than_the_limit():
    step = jj.jit(background=False)(products)
    for _ in range(4):
        step(np.ones(SIZE))
    workspace.limit_kept(1000)
    assert workspace.kept_memory() == 0
    np.testing.assert_allclose(step(np.ones(SIZE))[0], products(np.ones(SIZE))[0])
    assert workspace.kept_memory() == 0


def test_the_setting():
    assert config.from_environment({"JANUSJIT_KEPT_MEMORY": "4096"}).kept_memory == 4096
    assert config.from_environment({}).kept_memory == workspace.LIMIT


def test_tapes_grow_and_stay():
    step = jj.jit(background=False)(gradient)
    x = np.linspace(0.1, 1.0, 1000)
    for count in (5, 5, 5, 300, 20, 300):
        value, slope = step(x, count)
        near = (long_loop(x + 1e-6, count) - long_loop(x - 1e-6, count)) / 2e-6
        np.testing.assert_allclose(slope.sum(), near, rtol=1e-6)
        np.testing.assert_allclose(value, long_loop(x, count), rtol=1e-12)
    assert step.stats.graph_calls >= 3
    assert workspace.kept_memory() >= 300 * 8000


@pytest.mark.skipif(sys.platform != "linux", reason="counts the page faults of Linux")
def test_settled_calls_take_no_memory_from_the_system():
    step = jj.jit(background=False)(gradient)
    x = np.linspace(0.1, 1.0, 10_000)
    for _ in range(4):
        step(x, 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(x, 100)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages < 500  # a call needs 16 MB, which are 4000 pages
    assert step.stats.graph_calls == 7


def rows_of_windows(x, w):
    length = x.shape[2] - w.shape[2] + 1
    windows = np.stack([x[:, :, k : k + length] for k in range(w.shape[2])], axis=-1)
    return np.einsum("nclk,ock->nol", windows, w)


def test_what_kernels_work_in_is_kept():
    step = jj.jit(background=False)(rows_of_windows)
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(16, 8, 256)), generator.normal(size=(16, 8, 15))
    for _ in range(20):
        found = step(x, w)
    np.testing.assert_allclose(found, rows_of_windows(x, w), rtol=1e-9, atol=1e-9)
    assert workspace.kept_memory() > x.nbytes  # the windows of all images, whether laid out at once or not
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step(x, w)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 200
    assert step.stats.graph_calls == 38
    assert jj.release_memory() > 0 and workspace.kept_memory() == 0
    np.testing.assert_allclose(step(x, w), found, rtol=0)


def test_kernels_on_threads_take_memory_side_by_side():
    def convolved(x, w):
        return jj.nn.conv2d(x, w)

    step = jj.jit(background=False, threads=2)(convolved)
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(16, 8, 40, 40)), generator.normal(size=(16, 8, 3, 3))
    for _ in range(30):
        np.testing.assert_allclose(step(x, w), convolved(x, w), rtol=1e-9, atol=1e-9)
    assert step.stats.graph_calls == 28
    assert workspace.kept_memory() > 0


_NO_MEMORY_FOR_KERNELS = """
import resource
import numpy as np
import janusjit as jj

def convolved(x, w):
    length = x.shape[2] - w.shape[2] + 1
    windows = np.stack([x[:, :, k : k + length] for k in range(w.shape[2])], axis=-1)
    return np.einsum("nclk,ock->nol", windows, w).max()

def in_place(x, w, out):
    out *= 0.5
    out += convolved(x, w)

x, w, out = np.ones((64, 8, 1024)), np.ones((16, 8, 15)), np.zeros(100_000)
steps = [jj.jit(background=False)(function) for function in (convolved, in_place)]
for _ in range(4):
    steps[0](x, w), steps[1](x, w, out)
jj.release_memory()
assert [step.stats.graph_calls for step in steps] == [2, 2]
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (now + 10_000_000, before[1]))
for step, arguments in zip(steps, ((x, w), (x, w, out))):
    try:
        step(*arguments)
    except MemoryError:
        print("MemoryError", end=" ")
resource.setrlimit(resource.RLIMIT_AS, before)
print(*(step.stats.graph_calls for step in steps), steps[0].stats.deopts)
out[:] = 0
print(steps[0](x, w), steps[1](x, w, out), out[0], out[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_kernels_without_memory_end_as_python_does(tmp_path):
    script = tmp_path / "none.py"
    script.write_text(_NO_MEMORY_FOR_KERNELS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["MemoryError MemoryError 3 2 1", "120.0 None 120.0 120.0"]


def test_kernels_call_what_the_workspace_has():
    called = [function.symbol for function in (kernel_memory.scratch_at, kernel_memory.scratch_back)]
    assert called == [values.SCRATCH_AT, values.SCRATCH_BACK]
