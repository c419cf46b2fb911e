"""Eager against graph: the same answer, and how fast?

Owns `compare`. Invariants: both sides start from copies of the same arguments and neither touches the caller's; a
difference is reported first in bits, then in units in the last place, then as distance to a more precise run; where
Python is faster, that is what it says.
"""

from __future__ import annotations

import copy
import statistics
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from janusjit.api import Jitted
from janusjit.ir.boxes import ConstantBox, ExitRecipe
from janusjit.ir.graph import Graph, Node
from janusjit.ir.guards import GuardSet
from janusjit.report.text import duration
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.events import Stream

#: ULP by which sums and transcendental functions may differ from eager's, where nothing cancels
_ROUNDING = 4.0
_SECONDS = 0.3
_CALLS = 400


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a call takes: median, and the quartiles as its spread."""

    median: float
    lower: float
    upper: float
    calls: int

    def __str__(self) -> str:
        return f"{duration(self.median)} ({duration(self.lower)} to {duration(self.upper)}, {self.calls} calls)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs between the two sides.

    Attributes
    ----------
    path : str
        Where: ``result``, ``result[0]``, ``arguments[1]['W']``, ….
    what : str
        In words.
    ulp : float or None
        The largest difference in units in the last place of the eager value; None where that has no meaning.
    eager_error, graph_error : float or None
        The largest distance of each side to a run in higher precision; None where there is none.
    """

    path: str
    what: str
    ulp: float | None = None
    eager_error: float | None = None
    graph_error: float | None = None

    @property
    def rounding(self) -> bool:
        """Whether it is a difference of rounding: a few ULP, or no further from the precise run than eager, times 2."""
        if self.ulp is None:
            return False
        if self.ulp <= _ROUNDING:
            return True
        if self.eager_error is None or self.graph_error is None:
            return False
        return self.graph_error <= 2 * self.eager_error


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    function : str
        The function.
    in_graph : bool
        Whether the compared call ran in a graph.
    reason : str
        Why not, where it did not.
    differences : tuple of Difference
        Empty where every bit is the same.
    eager, graph : Timing or None
        Settled calls.
    cold : float
        Seconds of capture and compilation.
    guards : float or None
        Seconds of a call that checks the entry guards and does nothing else.
    """

    function: str
    in_graph: bool
    reason: str
    differences: tuple[Difference, ...]
    eager: Timing
    graph: Timing | None
    cold: float
    guards: float | None

    @property
    def identical(self) -> bool:
        """Whether every bit of the result and of the arguments afterwards is the same."""
        return not self.differences

    @property
    def agrees(self) -> bool:
        """Whether there are no differences but of rounding."""
        return all(difference.rounding for difference in self.differences)

    @property
    def speedup(self) -> float | None:
        """Eager time over graph time."""
        return None if self.graph is None else self.eager.median / self.graph.median

    @property
    def break_even(self) -> int | None:
        """The number of graph calls after which compilation has paid; None where it never does."""
        if self.graph is None or self.graph.median >= self.eager.median:
            return None
        return int(np.ceil(self.cold / (self.eager.median - self.graph.median)))

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Comparison:
    """Run a jitted function eagerly and from its graph, and compare answers and times.

    The arguments are copied deeply, so they and the jitted function's own state stay as they are. What the function
    changes elsewhere (globals, closures) it changes, as often as it is called.

    Parameters
    ----------
    function : Jitted
        A jitted function or a method of one.
    *args, **kwargs
        The arguments of the call.

    Returns
    -------
    Comparison
        Prints as text.

    Raises
    ------
    TypeError
        If ``function`` is not jitted.
    """
    if isinstance(function, types.MethodType):
        args = (function.__self__, *args)
        function = function.__func__
    if not isinstance(function, JitFunction):
        raise TypeError("compare takes a jitted function")
    plain = function.__wrapped__
    options = replace(function._options, background=False, policy="fallback")
    fresh: Jitted[..., Any] = Jitted(plain, options, function._compiler, Stream())
    for _ in range(options.warmup + 1):
        _call(fresh, copy.deepcopy((args, kwargs)))
    before = fresh.stats.graph_calls
    eager_side, graph_side = copy.deepcopy((args, kwargs)), copy.deepcopy((args, kwargs))
    eager_side = (*eager_side, _call(plain, eager_side))  # type: ignore[assignment]
    graph_side = (*graph_side, _call(fresh, graph_side))  # type: ignore[assignment]
    in_graph = fresh.stats.graph_calls > before and fresh.reason is None
    reference = _precise(plain, args, kwargs)
    differences = tuple(_differences(_view(eager_side), _view(graph_side), reference, ""))
    eager = _time(plain, copy.deepcopy((args, kwargs)))
    function.note_eager_seconds(eager.median)
    graph = _time(fresh, copy.deepcopy((args, kwargs))) if in_graph else None
    reason = "" if in_graph else fresh.reason.text if fresh.reason else "a guard failed again and again"
    guards = _guard_seconds(fresh, args, kwargs) if in_graph else None
    cold = fresh.stats.compile_seconds
    return Comparison(fresh.identity, in_graph, reason, differences, eager, graph, cold, guards)


def _call(function: Callable[..., Any], arguments: Any) -> Any:
    return function(*arguments[0], **arguments[1])


def _view(side: Any) -> dict[str, Any]:
    args, kwargs, result = side
    return {"result": result, "arguments": args, "keywords": kwargs}


def _time(function: Callable[..., Any], arguments: Any) -> Timing:
    timings: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(timings) < _CALLS and (len(timings) < 5 or time.perf_counter() < end):
        started = time.perf_counter()
        _call(function, arguments)
        timings.append(time.perf_counter() - started)
    settled = timings[len(timings) // 5 :]
    lower, median, upper = statistics.quantiles(settled, n=4)
    return Timing(median, lower, upper, len(settled))


def _guard_seconds(function: Jitted[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Time a function that has the entry guards of the specialization in front, and an empty body."""
    captured = function.specializations[0].captured
    empty = Graph(captured.name, captured.parameters, captured.inputs, symbols=captured.symbols, span=captured.span)
    empty.guards = GuardSet(captured.guards.entry)
    empty.body.parameters = captured.body.parameters
    empty.body.nodes = [Node("exit", attributes={"recipe": ExitRecipe(ConstantBox(None))})]
    entry = function._compiler.compile(empty, exact=True).compiled.entry
    bound = function._binder(args, kwargs)
    timings = []
    for _ in range(200):
        started = time.perf_counter_ns()
        for _ in range(10):
            entry(*bound)
        timings.append((time.perf_counter_ns() - started) / 10)
    return statistics.median(timings) / 1e9


# ---------------------------------------------------------------------- differences


def _precise(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Run a function on copies of its arguments in higher precision; None where it does not run on those."""
    wider = _widened(copy.deepcopy((args, kwargs)), {})
    try:
        result = _call(function, wider)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, ArithmeticError, np.exceptions.AxisError):
        return None
    return _view((*wider, result))


_WIDER = {np.dtype("float16"): np.float64, np.dtype("float32"): np.float64, np.dtype("float64"): np.longdouble}


def _widened(value: Any, seen: dict[int, Any]) -> Any:
    """Return a value whose floating-point arrays, in containers and attributes too, have a wider type."""
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, np.ndarray):
        wide = _WIDER.get(value.dtype)
        seen[id(value)] = value if wide is None else value.astype(wide)
    elif isinstance(value, dict):
        seen[id(value)] = value
        for key, item in value.items():
            value[key] = _widened(item, seen)
    elif isinstance(value, list):
        seen[id(value)] = value
        value[:] = [_widened(item, seen) for item in value]
    elif type(value) is tuple:
        return tuple(_widened(item, seen) for item in value)
    elif hasattr(value, "__dict__") and not isinstance(value, type | types.FunctionType | types.ModuleType):
        seen[id(value)] = value
        for name, item in vars(value).items():
            setattr(value, name, _widened(item, seen))
    return seen.get(id(value), value)


def _differences(eager: Any, graph: Any, reference: Any, path: str) -> Iterator[Difference]:
    if type(eager) is not type(graph):
        yield Difference(path, f"{type(eager).__name__} eagerly, {type(graph).__name__} from the graph")
    elif isinstance(eager, np.ndarray | np.generic | float):
        yield from _number_differences(np.asarray(eager), np.asarray(graph), reference, path)
    elif isinstance(eager, dict):
        if list(eager) != list(graph):
            yield Difference(path, f"keys {list(eager)} eagerly, {list(graph)} from the graph")
        for key in eager.keys() & graph.keys():
            inner = f"{path}[{key!r}]" if path else str(key)
            yield from _differences(eager[key], graph[key], _part(reference, key), inner)
    elif isinstance(eager, list | tuple):
        if len(eager) != len(graph):
            yield Difference(path, f"{len(eager)} items eagerly, {len(graph)} from the graph")
        for index, (left, right) in enumerate(zip(eager, graph, strict=False)):
            yield from _differences(left, right, _part(reference, index), f"{path}[{index}]")
    elif isinstance(eager, bool | int | str | bytes | None):
        if eager != graph:
            yield Difference(path, f"{eager!r} eagerly, {graph!r} from the graph")
    elif hasattr(eager, "__dict__"):
        attributes = vars(reference) if hasattr(reference, "__dict__") else None
        for name in vars(eager).keys() & vars(graph).keys():
            yield from _differences(vars(eager)[name], vars(graph)[name], _part(attributes, name), f"{path}.{name}")


def _part(reference: Any, key: Any) -> Any:
    try:
        return None if reference is None else reference[key]
    except (KeyError, IndexError, TypeError):
        return None


def _number_differences(eager: Any, graph: Any, reference: Any, path: str) -> Iterator[Difference]:
    if eager.dtype != graph.dtype or eager.shape != graph.shape:
        left, right = (f"{a.dtype}{list(a.shape)}" for a in (eager, graph))
        yield Difference(path, f"{left} eagerly, {right} from the graph")
        return
    if eager.tobytes() == graph.tobytes():
        return
    if eager.dtype.kind != "f":
        yield Difference(path, f"{int((eager != graph).sum())} of {eager.size} items differ")
        return
    unequal = ~((eager == graph) | (np.isnan(eager) & np.isnan(graph)))
    count = int(unequal.sum())
    if not count:
        yield Difference(path, "equal values with other bits (signs of zero, payloads of NaN)", 0.0)
        return
    ulp = float(np.max(np.abs(graph[unequal] - eager[unequal]) / np.spacing(np.abs(eager[unequal]))))
    errors: list[float | None] = [None, None]
    if isinstance(reference, np.ndarray | np.generic | float) and np.shape(reference) == eager.shape:
        exact = np.asarray(reference)[unequal]
        errors = [float(np.max(np.abs(side[unequal] - exact))) for side in (eager, graph)]
    yield Difference(path, f"{count} of {eager.size} items differ", ulp, *errors)


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"{comparison.function}"
    if not comparison.in_graph:
        yield f"  runs in plain Python: {comparison.reason}"
        yield f"  eager         {comparison.eager}"
        return
    assert comparison.graph is not None
    assert comparison.speedup is not None
    if comparison.identical:
        yield "  same answer   to the last bit"
    elif comparison.agrees:
        yield "  same answer   within rounding"
    for difference in comparison.differences:
        yield f"  {'rounding' if difference.rounding else 'differs':<12}  {_difference_text(difference)}"
    yield f"  eager         {comparison.eager}"
    yield f"  graph         {comparison.graph}"
    if comparison.guards is not None:
        yield f"  guards        {duration(comparison.guards)} of that, with the call"
    yield f"  cold          {duration(comparison.cold)} for capture and compilation"
    if comparison.break_even is None:
        yield f"  eager wins    by {1 / comparison.speedup:.2f}×: leave this function without @jit"
    else:
        yield f"  graph wins    by {comparison.speedup:.2f}×, has paid for itself after {comparison.break_even} calls"


def _difference_text(difference: Difference) -> str:
    parts = [f"{difference.path}: {difference.what}"]
    if difference.ulp is not None and difference.ulp > 0:
        parts.append(f"by up to {difference.ulp:.3g} ULP")
    if difference.eager_error is not None and difference.graph_error is not None:
        parts.append(f"error {difference.eager_error:.2g} eagerly, {difference.graph_error:.2g} from the graph")
    return "; ".join(parts)
