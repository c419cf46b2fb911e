"""What users call.

Owns `jit` and the functions that look at everything that was jitted. Invariant: nothing here decides anything; it names
what the layers below do.
"""

from __future__ import annotations

import atexit
import functools
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

from janusjit.analysis.differentiated import Differentiated
from janusjit.config import available_threads, current
from janusjit.errors import ConfigurationError
from janusjit.report.model import Report, build_report
from janusjit.runtime.call import Options, Policy
from janusjit.runtime.dispatch import FUNCTIONS, JitFunction, wait_for
from janusjit.runtime.events import STREAM, Cause, Counted, Event, environment
from janusjit.runtime.journal import follow, write_journal
from janusjit.runtime.logs import log_events
from janusjit.runtime.pipeline import Pipeline

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_PIPELINE = Pipeline()


class Jitted(JitFunction[Parameters, Result]):
    """A jitted function, with its report."""

    __slots__ = ()

    def report(self) -> Report:
        """Return the report of this function alone."""
        events = [event for event in STREAM.events() if event.function == self._lifecycle.publisher.identity]
        return build_report([*events, counted(self)], environment(), STREAM.dropped)


@overload
def jit(function: Callable[Parameters, Result], /) -> Jitted[Parameters, Result]: ...


@overload
def jit(
    *,
    warmup: int = ...,
    policy: Policy = ...,
    background: bool | None = ...,
    static: Iterable[str] = ...,
    exact: bool = ...,
    memory_limit: int | None = ...,
    threads: int | None = ...,
    measure: bool | None = ...,
) -> Callable[[Callable[Parameters, Result]], Jitted[Parameters, Result]]: ...


def jit(
    function: Callable[..., Any] | None = None,
    /,
    *,
    warmup: int = 2,
    policy: Policy = "fallback",
    background: bool | None = None,
    static: Iterable[str] = (),
    exact: bool = True,
    memory_limit: int | None = None,
    threads: int | None = None,
    measure: bool | None = None,
) -> Any:
    """Run a function from compiled code wherever what it did so far tells what it will do.

    The first calls run in Python under a profiler. Then the function is captured into a graph that assumes what has
    been seen, compiled, and called instead. Every assumption is checked at each call; when one fails, the call runs in
    plain Python, or in a further specialization, and the assumption is not made again.

    Parameters
    ----------
    function : function
        A Python function or method; leave out to give options.
    warmup : int
        Calls to profile, at least 1.
    policy : {"fallback", "warn", "raise"}
        What to do when a call after warm-up would run in plain Python: run it, run it and warn
        (`janusjit.errors.DegradedWarning`), or raise `janusjit.errors.GuardError` before anything has run.
        An exception that the function itself raises is raised whatever the policy.
    background : bool
        Compile on another thread while calls go on in Python, instead of within the call that needs it. Which calls
        then run where depends on timing, and with it the last bits of results; `wait` waits for the compiler. True
        unless ``JANUSJIT_BACKGROUND=0``, and False under ``policy="raise"``, which would refuse the calls meanwhile.
    static : iterable of str
        Parameters whose values are constants of a specialization.
    exact : bool
        Keep to NumPy's results as `docs/architecture.md` defines; False allows rewrites tagged relaxed.
    memory_limit : int, optional
        Bytes of intermediate arrays that should be alive at a time. Past that, values are computed again where they are
        used again, as far as that helps; and loops that are gone back through keep of each turn only what its other
        values cannot be computed from. ``specialization.kept`` says what is kept. Results are the same bits, but for
        products that sum over many rows, which are added up in blocks that depend on what is kept.
    threads : int, optional
        Threads that kernels with enough work may run on, with the same bits; ``JANUSJIT_NUM_THREADS``,
        ``OMP_NUM_THREADS`` or all processors when not given; fewer while threadpoolctl limits NumPy's BLAS to fewer.
    measure : bool, optional
        Have compiled code time its kernels, which costs some 50 ns a kernel: the report then says what each took beside
        what it was expected to take. Results are the same bits. False unless ``JANUSJIT_MEASURE=1``.

    Returns
    -------
    Jitted
        An object that behaves like the function. Class methods and static methods are returned as such.

    Raises
    ------
    TypeError
        If ``function`` is not a Python function, or has no parameter named in ``static``.
    ConfigurationError
        If an option has no meaning.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> @jj.jit
    ... def step(weights, gradient, rate=0.1):
    ...     weights -= rate * gradient
    >>> weights = np.zeros(3)
    >>> for _ in range(4):
    ...     step(weights, np.ones(3))
    """
    options = _options(warmup, policy, background, static, exact, memory_limit, threads, measure)

    return functools.partial(_decorate, options) if function is None else _decorate(options, function)


def _decorate(options: Options, target: Any) -> Any:
    """Return what `jit` makes of a function, or of what is made of one."""
    if isinstance(target, classmethod | staticmethod):
        return type(target)(_decorate(options, target.__func__))
    if isinstance(target, JitFunction | Differentiated):
        return _decorate(options, target.__wrapped__ if isinstance(target, JitFunction) else _calling(target))
    if not isinstance(target, types.FunctionType):
        raise TypeError(f"jit takes a Python function, not {type(target).__name__}")
    return Jitted(target, options, _PIPELINE)


def _options(
    warmup: int,
    policy: Policy,
    background: bool | None,
    static: Iterable[str],
    exact: bool,
    memory_limit: int | None,
    threads: int | None,
    measure: bool | None,
) -> Options:
    """Return what `jit` was asked for, once it has a meaning."""
    if warmup < 1:
        raise ConfigurationError(f"warmup={warmup}: at least one call has to be profiled")
    if policy not in ("fallback", "warn", "raise"):
        raise ConfigurationError(f"policy={policy!r}: one of 'fallback', 'warn', 'raise'")
    if memory_limit is not None and memory_limit < 0:
        raise ConfigurationError(f"memory_limit={memory_limit}: a number of bytes")
    if threads is not None and threads < 1:
        raise ConfigurationError(f"threads={threads}: a number of threads, at least 1")
    names = frozenset([static] if isinstance(static, str) else static)
    beside = current().background if background is None else background
    count = available_threads() if threads is None else threads
    measured = current().measure if measure is None else measure
    return Options(warmup, policy, beside and policy != "raise", names, exact, memory_limit, count, measured)


def _calling(gradient: Differentiated) -> Callable[..., Any]:
    """Return a Python function that is the gradient function, for what `janusjit.grad` returns is none."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return gradient(*args, **kwargs)

    call.__name__ = call.__qualname__ = f"gradient_of_{getattr(gradient.function, '__name__', 'function')}"
    return call


def wait(timeout: float | None = None) -> bool:
    """Wait until the background compilations that are under way are done.

    Parameters
    ----------
    timeout : float, optional
        Seconds to wait at most.

    Returns
    -------
    bool
        Whether they are done.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.wait()
    True
    """
    return wait_for(list(FUNCTIONS), timeout)


def report() -> Report:
    """Return the report of every jitted function of this process."""
    return build_report([*STREAM.events(), *map(counted, list(FUNCTIONS))], environment(), STREAM.dropped)


def on_event(callback: Callable[[Event], object]) -> Callable[[], None]:
    """Call ``callback`` with every event from now on, in order.

    Parameters
    ----------
    callback : callable
        Takes an `janusjit.runtime.events.Event`. It runs inside the call that made the event, so it should be quick,
        and what it raises that call raises.

    Returns
    -------
    callable
        Takes nothing; ends the subscription.
    """
    return STREAM.subscribe(callback)


def save_events(path: str | Path) -> None:
    """Write the events kept so far, and the counters, to a file of JSON Lines for ``python -m janusjit report``.

    Parameters
    ----------
    path : path
        Replaced if it exists.
    """
    write_journal([*STREAM.events(), *map(counted, list(FUNCTIONS))], Path(path), STREAM.run)


def counted(function: JitFunction[..., Any]) -> Counted:
    """Return a function's counters as an event."""
    stats = function.stats
    return Counted(
        function=function._lifecycle.publisher.identity,
        cause=Cause("environment.counters", "environment", "the counters"),
        call=stats.calls,
        kernels=tuple(kernel for item in function.specializations for kernel in item.kernels),
        **{name: getattr(stats, name) for name in type(stats).__slots__},
    )


def _say_what_degraded() -> None:
    """Print one line at exit if functions ended in plain Python, or publish counters for the event file."""
    configuration = current()
    if configuration.events is not None:
        for function in list(FUNCTIONS):
            STREAM.publish(counted(function))
    degraded = [function for function in list(FUNCTIONS) if function.reason is not None and function.stats.calls > 0]
    if degraded and not configuration.quiet:
        first = degraded[0]
        assert first.reason is not None
        more = f" and {len(degraded) - 1} more" if len(degraded) > 1 else ""
        text = f"janusjit: {first.identity}{more} ran in plain Python: {first.reason.text}"
        print(text, file=sys.stderr)  # noqa: T201 - no quiet degradation


def _start() -> None:
    configuration = current()
    log_events(STREAM, configuration.log)
    if configuration.events is not None:
        follow(configuration.events)
    atexit.register(_say_what_degraded)


_start()
