"""Large results lie on memory that is kept, and are nobody's but their user's."""

from __future__ import annotations

import ctypes
import gc
import pickle
import resource
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from numpy._core import multiarray

import janusjit as jj
from janusjit import config
from janusjit.backend.llvm import array_memory, workspace

SIZE = 50_000


def shifted(x):
    return x * 2.0 + 1.0


def turned(x):
    return x.T * 2.0 + 1.0


def both(x, y):
    return x - y, x + y


@pytest.fixture(autouse=True)
def empty_pool():
    gc.collect()
    jj.release_memory()
    yield
    workspace.limit_kept(config.current().kept_memory)
    jj.release_memory()


def compiled(function, *arguments):
    made = jj.jit(background=False)(function)
    for _ in range(4):
        made(*arguments)
    assert made.stats.graph_calls == 2
    return made


def test_a_dropped_result_is_the_memory_of_a_later_one():
    x = np.linspace(0.0, 1.0, SIZE)
    step = compiled(shifted, x)
    kept = step(x)
    where = step(x).ctypes.data
    again = step(x)
    assert again.ctypes.data == where != kept.ctypes.data
    del kept
    gone = again.ctypes.data
    del again
    again = step(x)
    assert again.ctypes.data == gone, "the one that was dropped last"
    np.testing.assert_array_equal(again, shifted(x))
    assert step.stats.graph_calls == 6


@pytest.mark.skipif(sys.platform != "linux", reason="counts the page faults of Linux")
def test_settled_calls_take_no_memory_from_the_system():
    x = np.linspace(0.0, 1.0, 2_000_000)
    step = compiled(shifted, x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        y = step(x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4000  # 4000 pages make one result
    np.testing.assert_array_equal(y, shifted(x))
    assert step.stats.graph_calls == 12


@pytest.mark.parametrize("function", [shifted, turned])
@pytest.mark.parametrize("shape", [(SIZE,), (300, 200), (200, 1, 300), (20, 30, 100)])
def test_results_are_as_those_numpy_allocates(function, shape):
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    found, wanted = compiled(function, x)(x), function(x)
    np.testing.assert_array_equal(found, wanted)
    assert repr(found.flags) == repr(wanted.flags)
    for dim, step, expected in zip(wanted.shape, found.strides, wanted.strides, strict=True):
        assert step == expected or dim == 1
    assert sys.getsizeof(found) == sys.getsizeof(wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)), wanted)
    assert multiarray.get_handler_name(found) == "janusjit"
    assert multiarray.get_handler_name(found.copy()) == "default_allocator"


def test_results_begin_where_large_arrays_of_the_c_library_do():
    """Of which each has pages of its own: where the stores of a loop are aligned, its loads are then."""
    x = np.linspace(0.0, 1.0, 10 * SIZE)
    step = compiled(shifted, x)
    assert step(x).ctypes.data % 64 == array_memory.OFFSET
    assert step.stats.graph_calls == 3


def test_a_result_can_be_resized():
    x = np.linspace(0.0, 1.0, SIZE)
    result = compiled(shifted, x)(x)
    result.resize(2 * SIZE, refcheck=False)
    np.testing.assert_array_equal(result, np.r_[shifted(x), np.zeros(SIZE)])
    result.resize(10, refcheck=False)
    np.testing.assert_array_equal(result, shifted(x)[:10])
    result.resize(0, refcheck=False)
    assert result.size == 0


def test_results_of_varying_size():
    step = jj.jit(background=False)(shifted)
    held = []
    for size in (10, 100, 20_000, 9_000, 8_000, 30_000, 20_000, 8_191, 8_192, 8_193, 0, 50_000):
        x = np.random.default_rng(size).normal(size=size)
        held.append((step(x), shifted(x)))
        step(x)
    for found, wanted in held:
        np.testing.assert_array_equal(found, wanted)
        assert found.flags.owndata
    assert step.stats.graph_calls > 12


def test_no_more_than_an_eighth_is_spare():
    large, small = np.zeros(SIZE), np.zeros(SIZE // 2)
    step = jj.jit(background=False)(shifted)
    for x in (large, small) * 4:
        step(x)
    jj.release_memory()
    where = step(large).ctypes.data
    other = step(small)
    assert other.ctypes.data != where
    assert step(large[: SIZE - 100]).ctypes.data == where


def test_results_outlive_threads_and_go_in_others():
    x = np.linspace(0.0, 1.0, SIZE)
    step = compiled(shifted, x)
    found = []
    threads = [threading.Thread(target=lambda: found.append(step(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for array in found:
        np.testing.assert_array_equal(array, shifted(x))
    assert len({array.ctypes.data for array in found}) == 4
    dropping = threading.Thread(target=found.clear)
    dropping.start()
    dropping.join()
    del array
    assert workspace.kept_memory() >= 4 * 8 * SIZE
    assert step.stats.graph_calls == 6


def test_memory_is_counted_by_tracemalloc():
    x = np.linspace(0.0, 1.0, SIZE)
    step = compiled(shifted, x)
    tracemalloc.start()
    try:
        result = step(x)
        held = tracemalloc.get_traced_memory()[0]
        assert held >= result.nbytes
        del result
        assert tracemalloc.get_traced_memory()[0] <= held - 8 * SIZE
    finally:
        tracemalloc.stop()
    assert step.stats.graph_calls == 3


class _Handler(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("members", ctypes.c_void_p * 5)]


def _own_handler():
    """Return a handler of the user's, and the functions that must live as long as it does."""
    c = ctypes.CDLL(None)
    c.malloc.restype = c.calloc.restype = c.realloc.restype = ctypes.c_void_p
    any_, size = ctypes.c_void_p, ctypes.c_size_t
    functions = [
        ctypes.PYFUNCTYPE(any_, any_, size)(lambda _, n: c.malloc(size(n))),
        ctypes.PYFUNCTYPE(any_, any_, size, size)(lambda _, n, m: c.calloc(size(n), size(m))),
        ctypes.PYFUNCTYPE(any_, any_, any_, size)(lambda _, p, n: c.realloc(any_(p), size(n))),
        ctypes.PYFUNCTYPE(None, any_, any_, size)(lambda _, p, n: c.free(any_(p)) and None),
    ]
    members = (ctypes.c_void_p * 5)(None, *(ctypes.cast(function, ctypes.c_void_p) for function in functions))
    return _Handler(b"own", 1, members), functions


def _array_api(number, result, *parameters):
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = (ctypes.c_void_p * 310).from_address(get(multiarray._ARRAY_API, None))
    return ctypes.PYFUNCTYPE(result, *parameters)(table[number])


def test_a_handler_of_the_users_is_used():
    x = np.linspace(0.0, 1.0, SIZE)
    step = compiled(shifted, x)
    handler, functions = _own_handler()
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    capsule = new(("PyCapsule_New", ctypes.pythonapi))(ctypes.addressof(handler), b"mem_handler", None)
    set_handler = _array_api(304, ctypes.py_object, ctypes.py_object)
    before = set_handler(capsule)
    try:
        result = step(x)
    finally:
        set_handler(before)
    assert multiarray.get_handler_name(result) == "own"
    np.testing.assert_array_equal(result, shifted(x))
    assert multiarray.get_handler_name(step(x)) == "janusjit"
    assert step.stats.graph_calls == 4
    del result
    assert functions


def test_what_has_stayed_longest_goes_first():
    step = jj.jit(background=False)(shifted)
    sizes = [SIZE + 10_000 * number for number in range(8)]
    for size in sizes * 3:
        step(np.zeros(size))
    jj.release_memory()
    workspace.limit_kept(3 * 8 * SIZE)
    places = [step(np.zeros(size)).ctypes.data for size in sizes[:3]]  # there is room for two
    assert 8 * (sizes[1] + sizes[2]) <= workspace.kept_memory() <= 3 * 8 * SIZE
    assert step(np.zeros(sizes[2])).ctypes.data == places[2]
    assert step.stats.graph_calls > 3


def test_what_nobody_takes_goes():
    x, large = np.zeros(SIZE), np.zeros(8 * SIZE)
    step = jj.jit(background=False)(shifted)
    for _ in range(4):
        step(x)
        step(large)
    assert workspace.kept_memory() > 64 * SIZE
    for _ in range(workspace.AGE + 2):
        step(x)
    assert workspace.kept_memory() < 64 * SIZE
    assert step.stats.graph_calls > workspace.AGE


_SHORT_OF_MEMORY = """
import resource
import numpy as np
import janusjit as jj
from janusjit.backend.llvm import workspace

def shifted(x):
    return x * 2.0 + 1.0

step = jj.jit(background=False)(shifted)
small, large = np.zeros(3_000_000), np.zeros(20_000_000)
for x in (small, large) * 4:
    step(x)
jj.release_memory()
held = [step(small) for _ in range(8)]
del held
assert workspace.kept_memory() >= 8 * small.nbytes
calls = step.stats.graph_calls
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 100_000_000, resource.RLIM_INFINITY))
assert step(large)[-1] == 1.0
assert workspace.kept_memory() < small.nbytes or workspace.kept_memory() >= large.nbytes
assert step.stats.graph_calls == calls + 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_what_is_kept_goes_before_memory_ends(tmp_path):
    script = tmp_path / "short.py"
    script.write_text(_SHORT_OF_MEMORY)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


_ALIVE_AT_EXIT = """
import builtins, sys, threading
import numpy as np
import janusjit as jj

def shifted(x):
    return x * 2.0 + 1.0

step = jj.jit(background=False)(shifted)
x = np.linspace(0.0, 1.0, 50_000)
for _ in range(4):
    step(x)
assert step.stats.graph_calls == 2
held = step(x)
builtins.held = step(x)
sys.held = [step(x)]
class Last:
    held = step(x)
    def __del__(self):
        print("gone", self.held[-1])
last = Last()
last.itself = last
threading.current_thread().held = step(x)
del step, jj
"""


def test_results_alive_at_exit(tmp_path):
    script = tmp_path / "alive.py"
    script.write_text(_ALIVE_AT_EXIT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "gone 3.0\n")
