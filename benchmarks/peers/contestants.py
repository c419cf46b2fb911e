"""The contestants: what makes a step of a program out of a library.

Owns `CONTESTANTS`. Each entry takes a row and its arguments and returns a `Step`; it raises ImportError where its
library is not there, and `NotExpressed` where nobody has written the program for it. Invariant: a step's work is done
when `Step.run` returns, whatever the library defers.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import janusjit
from benchmarks.peers import functional_programs, gradients, namespaces, numba_loops, numpy_programs
from benchmarks.peers.gradients import has_gradients
from benchmarks.peers.network_losses import NETWORKS
from benchmarks.peers.network_programs import BY_HAND
from benchmarks.peers.rows import Row

Arrays = list[np.ndarray[Any, Any]]


class NotExpressed(Exception):
    """The program is not there for this contestant."""


@dataclass
class Step:
    """A prepared program.

    Attributes
    ----------
    run : callable
        Makes a number of steps in a row; the state goes from one to the next.
    results : callable
        Makes one more step, and returns state and output as arrays.
    counts : callable
        How many calls ran in a graph, where that can be asked.
    """

    run: Callable[[int], None]
    results: Callable[[], Arrays]
    counts: Callable[[], int] | None = None


def threads() -> int:
    """Return how many threads a contestant may use; libraries that read it from the environment find it there."""
    return int(os.environ["OMP_NUM_THREADS"])


def in_place(function: Callable[..., Any], row: Row, arguments: Arrays) -> Step:
    """Return a step that changes its leading arguments."""

    def run(calls: int) -> None:
        for _ in range(calls):
            function(*arguments)

    def results() -> Arrays:
        output = function(*arguments)
        outputs = output if isinstance(output, tuple) else () if output is None else (output,)
        return [np.array(one) for one in (*arguments[: row.state], *outputs)]

    return Step(run, results)


def functional(step: Callable[..., Any], wait: Callable[[Any], Any], row: Row, arguments: list[Any]) -> Step:
    """Return a step whose function returns the new state."""
    state = row.state

    def run(calls: int) -> None:
        for _ in range(calls):
            made = step(*arguments)
            arguments[:state] = made[:state]
        wait(made)

    def results() -> Arrays:
        made = step(*arguments)
        arguments[:state] = made[:state]
        return [np.array(one) for one in made]

    return Step(run, results)


def eager(row: Row, arguments: Arrays) -> Step:
    """Plain NumPy; it finds no gradients, so networks have theirs written by hand."""
    if row.program not in BY_HAND and has_gradients(row):
        raise NotExpressed("NumPy finds no gradients")
    return in_place(BY_HAND.get(row.program) or getattr(numpy_programs, row.program), row, arguments)


def jitted(row: Row, arguments: Arrays) -> Step:
    """The same function under `janusjit.jit`, or one that finds gradients."""
    program = gradients.descending(row) if has_gradients(row) else getattr(numpy_programs, row.program)
    function = janusjit.jit(program, background=False)
    step = in_place(function, row, arguments)
    step.counts = lambda: function.stats.graph_calls
    return step


def jax_jit(row: Row, arguments: Arrays) -> Step:
    """`jax.jit`, the state's buffers donated."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    if has_gradients(row):
        program = gradients.jax_descending(row)
    else:
        program = partial(getattr(functional_programs, row.program), namespaces.jax_namespace())
    step = jax.jit(program, donate_argnums=tuple(range(row.state)))
    return functional(step, jax.block_until_ready, row, [jax.device_put(array) for array in arguments])


def torch_eager(row: Row, arguments: Arrays) -> Step:
    """Eager PyTorch, without gradients being recorded."""
    return _torch(row, arguments, lambda program: program)


def torch_compile(row: Row, arguments: Arrays) -> Step:
    """`torch.compile` with its default backend."""
    torch = importlib.import_module("torch")
    torch.compiler.reset()  # else it takes the next program for the same function with other shapes
    return _torch(row, arguments, partial(torch.compile, dynamic=False))


def _torch(row: Row, arguments: Arrays, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Step:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads())
    if has_gradients(row):
        step = wrap(gradients.torch_descending(row))
        return functional(step, lambda made: None, row, [torch.from_numpy(array) for array in arguments])
    program = getattr(functional_programs, row.program)
    namespace = namespaces.torch_namespace()

    def call(*arrays: Any) -> Any:
        return program(namespace, *arrays)

    compiled = wrap(call)

    def step(*arrays: Any) -> Any:
        with torch.inference_mode():
            return compiled(*arrays)

    return functional(step, lambda made: None, row, [torch.from_numpy(array) for array in arguments])


def autograd_eager(row: Row, arguments: Arrays) -> Step:
    """The package `autograd`, for rows that want gradients."""
    if not has_gradients(row):
        raise NotExpressed(row.program)
    return in_place(gradients.autograd_descending(row), row, arguments)


def numba_njit(row: Row, arguments: Arrays) -> Step:
    """Loops by hand under `numba.njit`, the outer ones parallel where there are threads for it."""
    numba = importlib.import_module("numba")
    if row.program not in numba_loops.LOOPS:
        raise NotExpressed(row.program)
    numba_loops.prange = numba.prange
    parallel = threads() > 1 and row.program in numba_loops.PARALLEL
    function = numba.njit(fastmath=numba_loops.FAST_MATH, parallel=parallel)(numba_loops.LOOPS[row.program])
    return in_place(function, row, arguments)


def pytensor_function(row: Row, arguments: Arrays) -> Step:
    """A PyTensor function in its default mode; inputs are trusted."""
    pytensor = importlib.import_module("pytensor")
    if row.program in NETWORKS and "conv2d" in NETWORKS[row.program].__code__.co_names:
        raise NotExpressed("PyTensor has no convolutions")
    symbols = [pytensor.tensor.tensor(dtype=array.dtype, shape=array.shape) for array in arguments]
    lengths = {id(one): array.shape[0] for one, array in zip(symbols, arguments, strict=True)}
    if has_gradients(row):
        made = gradients.pytensor_descending(row)(*symbols)
    else:
        made = getattr(functional_programs, row.program)(namespaces.pytensor_namespace(lengths), *symbols)
    made = [one.astype(arguments[0].dtype) for one in made]
    inputs = [pytensor.In(one, mutable=number < row.state, borrow=True) for number, one in enumerate(symbols)]
    function = pytensor.function(inputs, [pytensor.Out(one, borrow=True) for one in made])
    function.trust_input = True
    return functional(function, lambda made: None, row, arguments)


CONTESTANTS: dict[str, Callable[[Row, Arrays], Step]] = {
    "NumPy": eager,
    "janusjit": jitted,
    "autograd": autograd_eager,
    "jax.jit": jax_jit,
    "torch": torch_eager,
    "torch.compile": torch_compile,
    "Numba": numba_njit,
    "PyTensor": pytensor_function,
}
