"""Modules of the standard library still pass CPython's own tests when all their functions are generated from Core."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import functools, importlib, sys, types, unittest
from janusjit.analysis.generate import Mode, generate, instantiate
from janusjit.analysis.overloads import Overloads
from janusjit.analysis.source import SourceError, load
from janusjit.profiler.recorder import Probe, Recorder

module, probes = importlib.import_module(sys.argv[1]), sys.argv[2] == "probes"
recorder, swapped = Recorder(), 0

def generated(function):
    global swapped
    try:
        made = generate(load(function), Mode(probes, probes))
    except SourceError:
        return function
    if probes:
        probe = Probe(recorder.counters(function.__code__), lambda callee: callee)
        made.runtime.attach(probe, Overloads(lambda f: f, lambda f: True))
    swapped += 1
    return instantiate(made, function)

def swap(owner):
    for name, value in list(vars(owner).items()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            setattr(owner, name, generated(value))
        elif isinstance(value, (staticmethod, classmethod)) and isinstance(value.__func__, types.FunctionType):
            setattr(owner, name, type(value)(generated(value.__func__)))
        elif type(value) is property:
            parts = (value.fget, value.fset, value.fdel)
            setattr(owner, name, property(*[part and generated(part) for part in parts], value.__doc__))
        elif isinstance(value, type) and value.__module__ == module.__name__ and value is not owner:
            swap(value)

swap(module)
tests = importlib.import_module("test.test_" + sys.argv[1])
result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromModule(tests))
assert swapped >= int(sys.argv[3]), swapped
assert not probes or recorder.codes()
sys.exit(not result.wasSuccessful())
"""


@pytest.mark.parametrize("mode", ["plain", "probes"])
@pytest.mark.parametrize(("name", "functions"), [("textwrap", 14), ("fractions", 50)])
def test_module(name, functions, mode, tmp_path):
    if importlib.util.find_spec(f"test.test_{name}") is None:
        pytest.skip("this Python comes without its own tests")
    path = tmp_path / "run_generated.py"
    path.write_text(SCRIPT, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); exec(open({str(path)!r}).read())"]
    done = subprocess.run(
        [*command, name, mode, str(functions)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
