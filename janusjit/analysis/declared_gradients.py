"""Functions about whose gradients the user says something.

Owns `checkpoint` and `custom_vjp`. Invariant: called in plain Python where no gradient is taken, each is the function
it was made of; capture goes through their code as through the user's, to `call_checkpointed` and `call_with_rule`,
which it models.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from janusjit.analysis.differentiated import unwrapped
from janusjit.analysis.variables import Variable, recorded

#: set by `janusjit.analysis.recorded_rules`: call the rule of a function, for a recording
RECORD: list[Callable[..., Any]] = []
#: set by `janusjit.analysis.recorded_variable_rules`: call it on variables
RECORD_ON_VARIABLES: list[Callable[..., Any]] = []
#: set by `janusjit.analysis.recorded_checkpoints`: the result of a call, or None where no gradient is under way
RECORD_CHECKPOINT: list[Callable[..., tuple[Any] | None]] = []


class Checkpointed:
    """A function whose intermediate values are computed again; what `checkpoint` returns."""

    #: the attributes that hold functions of the user's
    CALLS = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return call_checkpointed(self.function, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose intermediate values the backward pass computes again instead of keeping.

    Parameters
    ----------
    function : callable
        Takes and returns arrays and floats, and tuples, lists and dicts of them.

    Returns
    -------
    callable
        Takes and returns what ``function`` does.

    Notes
    -----
    Memory is saved by what is computed from the arguments (Chen et al. 2016, "Training deep nets with sublinear memory
    cost"), in compiled code and in plain Python. There a gradient of a gradient, and forward mode, keep everything.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.grad(jj.checkpoint(lambda x: np.exp(2 * x)))(0.0)
    2.0
    """
    plain = unwrapped(function)
    made: Callable[..., Any] = named_after(Checkpointed(plain), plain)
    return made


def call_checkpointed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function, with the marks of a checkpoint around it where a gradient is taken."""
    found = RECORD_CHECKPOINT[0](function, args, kwargs) if RECORD_CHECKPOINT else None
    return function(*args, **kwargs) if found is None else found[0]


class custom_vjp:  # noqa: N801 - a decorator
    """A function with a gradient of one's own.

    Parameters
    ----------
    function : callable
        What is called where no gradient is taken. Its parameters can all be passed by position.

    Raises
    ------
    TypeError
        When called, if there is no rule yet (`defvjp`), or the rule returns something else than is asked of it there.

    Notes
    -----
    Keyword arguments and default values are put in their places before the rule sees them. Gradients of gradients go
    through what the rule does, and forward mode takes the transpose of ``backward``, which is linear in the cotangent.
    Inside a jitted function the rule is part of the graph. The interface is that of ``jax.custom_vjp``.

    Where arguments are or hold a `Variable` that requires gradients, the rule sees its data as a plain array, and the
    result is made of variables. Whatever else its functions use is constant: they run under `no_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> @jj.custom_vjp
    ... def clipped_gradient(x):
    ...     return x
    >>> clipped_gradient.defvjp(lambda x: (x, None), lambda residuals, g: (np.clip(g, -1.0, 1.0),))
    >>> jj.grad(lambda x: 5.0 * clipped_gradient(x))(3.0)
    1.0
    """

    #: the attributes that hold functions of the user's
    CALLS = ("function", "forward", "backward")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = unwrapped(function)
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        named_after(self, self.function)

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the rule.

        Parameters
        ----------
        forward : callable
            Takes the function's arguments. Returns a pair: what the function returns, and whatever ``backward`` needs
            (arrays, numbers, and tuples, lists and dicts of them).
        backward : callable
            Takes the second of the pair, and the cotangent of the first, built like it, with None in the place of what
            is no float. Returns a tuple with a cotangent for each argument: built like the argument, each of its shape,
            or None for zero.
        """
        self.forward = unwrapped(forward)
        self.backward = unwrapped(backward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        forward, backward = self.forward, self.backward
        if forward is None or backward is None:
            raise TypeError("a custom_vjp function is called before defvjp has given it a rule")
        return call_with_rule(self.function, forward, backward, in_their_places(self.function, args, kwargs))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def in_their_places(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Return all arguments of a call, default values too, by position."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise TypeError(f"a custom_vjp function has no parameters that are passed by keyword only: {[*bound.kwargs]}")
    return bound.args


def call_with_rule(
    function: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """Call a function, or, where a gradient is taken by an argument, its rule."""
    if _recorded(args):
        return RECORD_ON_VARIABLES[0](function, forward, backward, args)
    recording = recording_of(args)
    if recording is None:
        return function(*args)
    return RECORD[0](recording, function, forward, backward, args)


def recording_of(value: Any) -> Any:
    """Return the recording of a gradient by anything in a value, or None."""
    if isinstance(value, Variable):
        return recording_of(value.data)
    recording = getattr(value, "recording", None) if hasattr(type(value), "recording") else None
    if recording is not None:
        return recording if not recording.ended and recording.depends(value.abstract) else None
    return next((found for found in map(recording_of, _parts(value)) if found is not None), None)


def _parts(value: Any) -> list[Any]:
    """Return what is in a list, tuple, dict or dataclass."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return []


def holds_variable(value: Any) -> bool:
    """Whether a value is, or holds, a variable."""
    return isinstance(value, Variable) or any(map(holds_variable, _parts(value)))


def _recorded(value: Any) -> bool:
    """Whether a value is, or holds, a variable on which operations are recorded."""
    return recorded(value) if isinstance(value, Variable) else any(map(_recorded, _parts(value)))


def named_after(made: Any, function: Callable[..., Any]) -> Any:
    """Return an object with the name and signature of a function."""
    return functools.update_wrapper(made, function, updated=())
