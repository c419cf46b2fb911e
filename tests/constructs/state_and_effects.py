"""State and effects: outside lists, dicts, objects and globals; printing, clocks, files, random numbers, libraries."""

import atexit
import json
import random
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.special

from tests.constructs.construct import Construct


def vector(number, length=6):
    return np.arange(length) * 0.25 - 0.5 + 0.01 * number


COUNTS = []


def append_int_outside(x):
    COUNTS.append(len(COUNTS) * 2)
    return x + COUNTS[-1]


HISTORY = []


def append_tensor_outside(x):
    y = np.tanh(x)
    HISTORY.append(y)
    return y.sum()


CACHE = {"hits": 0}


def write_outside_dict(x):
    CACHE["hits"] = CACHE["hits"] + 1
    CACHE["last"] = x * 2.0
    return x.sum()


class Settings:
    def __init__(self):
        self.rate = 0.5
        self.calls = 0
        self.hidden = np.zeros(6)


SETTINGS = Settings()


def attribute_changed_between_calls(x):
    return x * SETTINGS.rate


def attribute_holds_rnn_state(x):
    SETTINGS.hidden = np.tanh(SETTINGS.hidden * 0.5 + x)
    return SETTINGS.hidden.sum()


def object_counter(x):
    SETTINGS.calls += 1
    return x / SETTINGS.calls


RATE = 1.0


def global_changed_between_calls(x):
    return x * RATE


STEP = 0


def global_write(x):
    global STEP
    STEP += 1
    return x + STEP


def activation(x):
    return np.tanh(x)


def other_activation(x):
    return x * 2.0


def swapped_function(x):
    return activation(x) + 1.0


def print_constant(x):
    print("step")
    return x * 2.0


def print_tensor(x):
    total = (x * 4.0).sum()
    print("total", total)
    return x - total


LOG = []


def clock_logging(x):
    started = time.perf_counter()
    y = x @ x
    LOG.append(time.perf_counter() - started >= 0.0)
    return y


FILE = Path(tempfile.mkdtemp(prefix="janusjit-construct-")) / "log.txt"
atexit.register(shutil.rmtree, FILE.parent)


def file_write(x):
    y = x * 2.0
    with FILE.open("a") as log:
        log.write("line\n")
    return y + 1.0


def python_random(x):
    if random.random() < 0.5:
        return x * random.uniform(1.0, 2.0)
    return x


def numpy_random(x):
    noise = np.random.randn(*x.shape)
    keep = np.random.rand(*x.shape) < 0.8
    return (x + 0.1 * noise) * keep


def numpy_on_constants(x):
    grid = np.linspace(0.0, 1.0, 6)
    kernel = np.array([1.0, 2.0, 1.0, 0.0, 1.0, 2.0]) / np.sqrt(7.0)
    return x * grid + kernel


def third_party_on_tensor(x):
    y = x * 2.0
    z = scipy.special.expit(y)
    return z + y


def json_and_re(x):
    options = json.loads('{"scale": 2.5, "name": "layer12"}')
    depth = int(re.search(r"\d+", options["name"]).group())
    return x * options["scale"] + depth


def set_rate(number):
    SETTINGS.rate = 0.5 + number * 0.1


def set_global(number):
    global RATE
    RATE = 1.0 + number * 0.25


def swap_function(number):
    global activation
    if number in (7, 12):
        activation, globals()["other_activation"] = other_activation, activation


def read_file():
    return FILE.read_text() if FILE.exists() else ""


def arguments(number):
    return (vector(number),)


CONSTRUCTS = [
    Construct("append a Python int to an outside list", append_int_outside, arguments, observe=lambda: COUNTS),
    Construct("append a tensor to an outside list", append_tensor_outside, arguments, observe=lambda: HISTORY),
    Construct("write an outside dict", write_outside_dict, arguments, observe=lambda: CACHE),
    Construct("object attribute read, changed between calls", attribute_changed_between_calls, arguments, set_rate),
    Construct("object attribute = tensor (RNN state)", attribute_holds_rnn_state, arguments, observe=lambda: SETTINGS),
    Construct("object counter += 1, used in the computation", object_counter, arguments, observe=lambda: SETTINGS),
    Construct("global read, changed between calls", global_changed_between_calls, arguments, set_global),
    Construct("global write", global_write, arguments, observe=lambda: STEP),
    Construct("function swapped between calls (monkey-patch)", swapped_function, arguments, swap_function),
    Construct("print a constant, every call", print_constant, arguments),
    Construct("print a tensor's value", print_tensor, lambda n: (np.arange(6) + 0.25 * n,)),
    Construct("time.perf_counter logging", clock_logging, arguments, observe=lambda: LOG),
    Construct("file write", file_write, arguments, observe=read_file),
    Construct("Python's random", python_random, arguments),
    Construct("NumPy's RNG", numpy_random, arguments),
    Construct("NumPy on constants", numpy_on_constants, arguments),
    Construct("NumPy / third party on a tensor mid-function", third_party_on_tensor, arguments),
    Construct("json, re and other C extensions on Python data", json_and_re, arguments),
]
