"""Calling a jitted function without a frame of Python's.

Owns `install`, which gives `janusjit.runtime.dispatch.JitFunction` a ``__call__`` in machine code once there is
compiled code to call. Invariant: it does what the method in Python does, which it calls where a call is not settled;
where CPython's structures are not as expected, the method in Python stays.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Callable
from typing import Any

from janusjit.backend.llvm import jitted_calls
from janusjit.backend.llvm.python_api_layout import MethodDefinition, word
from janusjit.runtime.switch import COVERAGE, DEBUGGER, DISABLED, TOOL

_METH_FASTCALL_KEYWORDS = 0x82
#: where a descriptor of a slot has its definition, and that where in instances the slot is
_MEMBER, _OFFSET = 40, 16
#: where a builtin has its definition and what it is called with, and the definition its function
_DEFINITION, _SELF, _FUNCTION = 16, 24, 8


_new_method = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)(
    ("PyDescr_NewMethod", ctypes.pythonapi)
)
#: what the code refers to, which lives as long as the process
_KEPT: list[Any] = []


def install(
    type_: type, example: Any, slots: dict[str, str], fallback: Callable[..., Any], retry: Callable[..., Any]
) -> bool:
    """Give the type of jitted functions the ``__call__`` in machine code; return whether there is nothing left to do.

    Parameters
    ----------
    type_, example
        The type, and an instance.
    slots : dict of str
        Which of its slots are ``lifecycle``, ``function``, ``code``, ``arity`` and ``sentinel``.
    fallback : callable
        Called with the instance and the arguments of a call that is not settled.
    retry : callable
        Called with the instance, the entry that has refused, and the arguments.
    """
    if not jitted_calls.is_there():
        return False
    offsets = {name: _offset(vars(type_)[slot]) for name, slot in slots.items()}
    builtins = [sys.gettrace, *([] if TOOL is None else [TOOL])]
    as_expected = all(word(id(example) + at) == id(getattr(example, slots[name])) for name, at in offsets.items())
    if not as_expected or not all(map(_is_laid_out, builtins)):
        return True
    names = [sys.intern(name) for name in ("entries", "plain", "tally", "plain_calls", "review_at")]
    objects: dict[str, Any] = dict(zip(names, names, strict=True))
    objects |= {"fallback": fallback, "retry": retry, "disabled": DISABLED, "debugger": DEBUGGER, "coverage": COVERAGE}
    words = {name: id(value) for name, value in objects.items()} | offsets
    words["tracer"], words["tracer_self"] = _function(sys.gettrace)
    words["tool"], words["tool_self"] = (0, 0) if TOOL is None else _function(TOOL)
    jitted_calls.set_state(words)
    definition = MethodDefinition(b"__call__", jitted_calls.address(), _METH_FASTCALL_KEYWORDS, None)
    _KEPT.extend([*objects.values(), definition])
    type.__setattr__(type_, "__call__", _new_method(type_, ctypes.addressof(definition)))
    return True


def _is_laid_out(builtin: Any) -> bool:
    """Return whether a builtin is what the offsets are of."""
    name = ctypes.string_at(word(word(id(builtin) + _DEFINITION)))
    return name == builtin.__name__.encode() and word(id(builtin) + _SELF) == id(builtin.__self__)


def _offset(slot: types.MemberDescriptorType) -> int:
    return word(word(id(slot) + _MEMBER) + _OFFSET)


def _function(builtin: Any) -> tuple[int, int]:
    """Return the addresses of a builtin's function and of the object it is called with."""
    return word(word(id(builtin) + _DEFINITION) + _FUNCTION), word(id(builtin) + _SELF)
