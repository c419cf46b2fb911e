"""From a call's arguments to the full positional list.

Owns `Binder`. Invariant: binding accepts exactly the calls the function accepts, and gives its parameters, defaults
filled in, in the order of its signature (``*args`` as one tuple, ``**kwargs`` as one dict).
"""

from __future__ import annotations

import inspect
import types
from typing import Any


class Binder:
    """Binds calls of one function.

    Python itself does the binding: a small function with the same parameters, which shares the defaults, returns them
    as a tuple. That is some ten times faster than ``inspect.Signature.bind``.

    Attributes
    ----------
    names : tuple of str
        The parameters, in order.
    arity : int
        The number of arguments of a call that needs no binding, or -1 where every call does.
    """

    def __init__(self, function: types.FunctionType) -> None:
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        rest = iter(code.co_varnames[code.co_argcount + code.co_kwonlyargcount :])
        variadic = next(rest) if code.co_flags & inspect.CO_VARARGS else None
        variadic_keyword = next(rest) if code.co_flags & inspect.CO_VARKEYWORDS else None
        self.names: tuple[str, ...] = (
            *positional,
            *((variadic,) if variadic else ()),
            *keyword_only,
            *((variadic_keyword,) if variadic_keyword else ()),
        )
        self.arity = len(positional) if len(self.names) == len(positional) else -1
        self._function = function
        self._bind = _binding_function(positional, code.co_posonlyargcount, variadic, keyword_only, variadic_keyword)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the full argument tuple.

        Raises
        ------
        TypeError
            If the function does not take these arguments. The message is not the one a call gives.
        """
        bind, function = self._bind, self._function
        if bind.__defaults__ is not function.__defaults__:
            bind.__defaults__ = function.__defaults__
        if bind.__kwdefaults__ is not function.__kwdefaults__:
            bind.__kwdefaults__ = function.__kwdefaults__
        bound: tuple[Any, ...] = bind(*args, **kwargs)
        return bound


def _binding_function(
    positional: tuple[str, ...],
    positional_only: int,
    variadic: str | None,
    keyword_only: tuple[str, ...],
    variadic_keyword: str | None,
) -> types.FunctionType:
    parts = [*positional]
    if positional_only:
        parts.insert(positional_only, "/")
    if variadic or keyword_only:
        parts.append(f"*{variadic or ''}")
    parts += keyword_only
    if variadic_keyword:
        parts.append(f"**{variadic_keyword}")
    names = [*positional, *([variadic] if variadic else []), *keyword_only]
    names += [variadic_keyword] if variadic_keyword else []
    source = f"lambda {', '.join(parts)}: ({''.join(name + ', ' for name in names)})"
    function = eval(compile(source, "<janusjit binding>", "eval"), {"__builtins__": {}})
    assert isinstance(function, types.FunctionType)
    return function
