"""Tapes that record operations on variables.

Owns `GradientTape`. Invariant: a tape gives gradients through what it recorded only; what it recorded is freed when it
has been used up, or with it, unless another tape wants it too.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from janusjit.analysis.recording_mode import MODE, Mode, mode_with
from janusjit.analysis.variables import Variable, plain

_numbers = itertools.count()
#: set by `janusjit.analysis.recorded_tapes`: the gradients of targets by sources, freeing what a tape recorded, and
#: what becomes of a result then
PULL: list[Callable[[GradientTape, list[Variable], list[Any], list[Variable]], list[Any]]] = []
FREE: list[Callable[[GradientTape], None]] = []
SETTLE: list[Callable[[Variable], None]] = []


class GradientTape:
    """Records operations on variables, to give gradients through them, in the manner of TensorFlow.

    Parameters
    ----------
    persistent : bool
        Whether `gradient` may be called more than once.

    Notes
    -----
    A `Variable` that requires gradients is watched without being asked for. What is watched of plain arrays is what
    `watch` returns: an array itself cannot be followed. Tapes nest: what an inner one's `gradient` computes while an
    outer one records is differentiated by that. What is recorded lives as long as the tape, and of one that is not
    persistent until `gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> with jj.GradientTape() as tape:
    ...     x = tape.watch(np.array([1.0, 2.0]))
    ...     loss = (x**2).sum()
    >>> tape.gradient(loss, x)
    array([2., 4.])
    >>> w, b = jj.Variable([1.0, 2.0]), jj.Variable(0.5)
    >>> with jj.GradientTape() as tape:
    ...     loss = (w * 3.0).sum()
    >>> tape.gradient(loss, {"w": w, "b": b})
    {'w': array([3., 3.]), 'b': None}
    """

    def __init__(self, persistent: bool = False) -> None:
        self.persistent = persistent
        self.number = next(_numbers)
        self.records: weakref.WeakSet[Any] = weakref.WeakSet()
        self.used = False
        self._before: Mode | None = None
        TAPES[self.number] = self

    def __enter__(self) -> GradientTape:
        if self._before is not None:
            raise ValueError("the tape is recording already")
        self._before = MODE.get()
        MODE.set(mode_with(self._before.enabled, (*self._before.tapes, self)))
        return self

    def __exit__(self, *raised: Any) -> None:
        assert self._before is not None
        MODE.set(self._before)
        self._before = None

    def __del__(self) -> None:
        if FREE:
            FREE[0](self)

    def watch(self, value: Any) -> Any:
        """Return a value such that gradients can be taken by it.

        Parameters
        ----------
        value : array, float, Variable, or a tuple, list or dict of them
            What to watch. Integers, and whatever is no number, stay as they are.

        Returns
        -------
        Variable, or what is built like ``value``
            New variables; a variable that requires gradients is returned itself.

        Examples
        --------
        >>> import numpy as np
        >>> import janusjit as jj
        >>> with jj.GradientTape() as tape:
        ...     p = tape.watch({"w": np.array([1.0, 2.0]), "steps": 3})
        ...     loss = (p["w"] ** p["steps"]).sum()
        >>> tape.gradient(loss, p["w"])
        array([ 3., 12.])
        """
        if isinstance(value, Variable):
            return value if value.requires_grad else Variable(value)
        if isinstance(value, float | np.floating):
            return Variable(value)
        if isinstance(value, list | tuple):
            make: Any = getattr(type(value), "_make", type(value))
            return make([self.watch(part) for part in value])
        if isinstance(value, dict):
            return {key: self.watch(part) for key, part in value.items()}
        floats = hasattr(value, "dtype") and hasattr(value, "shape") and value.dtype in (np.float64, np.float32)
        return Variable(value) if floats else value

    def stop_recording(self) -> Pause:
        """Return a context in which the tape records nothing; entering it raises ValueError if it records nothing now.

        Examples
        --------
        >>> import janusjit as jj
        >>> w = jj.Variable(3.0)
        >>> with jj.GradientTape() as tape:
        ...     y = w * w
        ...     with tape.stop_recording():
        ...         z = y * w
        >>> tape.gradient(z, w) is None
        True
        """
        return Pause(self)

    def gradient(
        self, target: Any, sources: Any, output_gradients: Any = None, unconnected_gradients: str = "none"
    ) -> Any:
        """Return the gradients of a target by sources.

        Parameters
        ----------
        target : Variable, or a tuple, list or dict of them
            What is differentiated: the sum of its elements, and of its parts.
        sources : Variable, or a tuple, list or dict of them
            What it is differentiated by: watched values, variables, and results of recorded operations that are no
            views.
        output_gradients : array, or what is built like ``target``, optional
            The cotangents; ones, if not given.
        unconnected_gradients : {"none", "zero"}
            Whether None or zeros stand for the gradient by what the target does not depend on.

        Returns
        -------
        ndarray, or what is built like ``sources``
            Of the shape and dtype of each source: an array; a `Variable` where an outer tape is recording.

        Raises
        ------
        RuntimeError
            If the tape is not persistent and has been used.
        TypeError
            If a source is no variable.

        Examples
        --------
        >>> import janusjit as jj
        >>> x = jj.Variable(3.0)
        >>> with jj.GradientTape() as outer:
        ...     with jj.GradientTape() as inner:
        ...         y = x**3
        ...     slope = inner.gradient(y, x)
        >>> float(outer.gradient(slope, x))
        18.0
        """
        if self.used:
            raise RuntimeError("the tape has been used: GradientTape(persistent=True) gives more than one gradient")
        if unconnected_gradients not in ("none", "zero"):
            raise ValueError(f"unconnected_gradients is 'none' or 'zero', not {unconnected_gradients!r}")
        targets, wanted = leaves(target), leaves(sources)
        seeds = [None] * len(targets) if output_gradients is None else leaves(output_gradients)
        if len(seeds) != len(targets):
            raise ValueError("output_gradients has to be built like the target")
        if not all(isinstance(source, Variable) for source in wanted):
            raise TypeError("a gradient is taken by variables: pass what watch() returned, not what it was given")
        pairs = [(part, seed) for part, seed in zip(targets, seeds, strict=True) if isinstance(part, Variable)]
        if not self.persistent:
            self.stop()
        found = PULL[0](self, [part for part, _ in pairs], [seed for _, seed in pairs], wanted)
        if not self.persistent:
            self.used = True
            FREE[0](self)
            for part, _ in pairs:
                SETTLE[0](part)
        if unconnected_gradients == "zero":
            zeros = [np.zeros_like(plain(source)) for source in wanted]
            found = [zero if part is None else part for part, zero in zip(found, zeros, strict=True)]
        return rebuilt(sources, iter(found))

    def stop(self) -> None:
        """Record no more."""
        present = MODE.get()
        if self in present.tapes:
            MODE.set(mode_with(present.enabled, tuple(tape for tape in present.tapes if tape is not self)))


class Pause:
    """A context in which a tape records nothing.

    Parameters
    ----------
    tape : GradientTape
        The tape.
    """

    def __init__(self, tape: GradientTape) -> None:
        self.tape = tape
        self._before: Mode | None = None

    def __enter__(self) -> None:
        self._before = MODE.get()
        if self.tape not in self._before.tapes:
            raise ValueError("the tape is not recording")
        self.tape.stop()

    def __exit__(self, *raised: Any) -> None:
        assert self._before is not None
        if not self.tape.used:
            MODE.set(self._before)


#: the tapes that somebody still has, by number
TAPES: weakref.WeakValueDictionary[int, GradientTape] = weakref.WeakValueDictionary()


def leaves(value: Any) -> list[Any]:
    """Return the parts of a value that are no tuples, lists or dicts."""
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    return [value]


def rebuilt(value: Any, found: Iterator[Any]) -> Any:
    """Return a value with its `leaves` replaced in order."""
    if isinstance(value, list | tuple):
        make: Any = getattr(type(value), "_make", type(value))
        return make([rebuilt(part, found) for part in value])
    if isinstance(value, dict):
        return {key: rebuilt(part, found) for key, part in value.items()}
    return next(found)
