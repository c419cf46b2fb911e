"""Calling a jitted function without a frame of Python's.

Owns `install`, which gives `janusjit.runtime.dispatch.JitFunction` a ``__call__`` in machine code once there is
compiled code to call, and `make_room` and `attach`, by which CPython calls that without a look at the type's methods:
by its protocol for such calls ("vectorcall"), which Python code has no way to say that a class of it has. Invariant: it
does what the method in Python does, which it calls where a call is not settled; where CPython's structures are not as
expected, the method in Python stays.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from janusjit.backend.llvm import jitted_calls
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.python_api_layout import MethodDefinition, word
from janusjit.config import current
from janusjit.runtime.switch import COVERAGE, DEBUGGER, DISABLED, SWITCHED, TOOL

_METH_FASTCALL_KEYWORDS = 0x82
#: where a descriptor of a slot has its definition, and that where in instances the slot is
_MEMBER, _OFFSET = 40, 16


_new_method = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)(
    ("PyDescr_NewMethod", ctypes.pythonapi)
)
#: what the code refers to, which lives as long as the process
_KEPT: list[Any] = []
#: where instances of a type, and of those that inherit from it, have room for the address of what calls them
_ROOMS: dict[type, int] = {}
#: the types whose instances are called by machine code
_CALLED: set[type] = set()


def prepare() -> None:
    """Compile the machine code of calls, unless that has been done, or there is no compiled code to call.

    Calls need it from the second one of compiled code on: the first does not wait for it.
    """
    if current().backend == "llvm":
        jitted_calls.load()


def make_room(type_: type) -> None:
    """Let instances of a type have a further word, null at first, if they are as expected.

    There must be no instances yet, and no types that inherit from it.
    """
    unlike = layout.TYPE_HAS_INLINE_VALUES | layout.TYPE_HAS_VECTORCALL
    if layout.unsupported_reason() is None and not type_.__itemsize__ and not type_.__flags__ & unlike:
        _ROOMS[type_] = type_.__basicsize__
        ctypes.c_int64.from_address(id(type_) + layout.TYPE_BASIC_SIZE).value += 8


def attach(instance: object) -> None:
    """Let CPython call the machine code where an instance is called, if there is any and room for its address."""
    type_ = type(instance)
    for base in _CALLED.intersection(_ROOMS).intersection(type_.__mro__):
        if type_.__call__ is base.__call__:
            if type_ not in _CALLED:
                _use_vectorcall(type_, _ROOMS[base])
            ctypes.c_uint64.from_address(id(instance) + _ROOMS[base]).value = jitted_calls.address()


def install(
    type_: type,
    example: Any,
    slots: dict[str, str],
    lifecycle: type,
    fallback: Callable[..., Any],
    retry: Callable[..., Any],
) -> bool:
    """Give the type of jitted functions the ``__call__`` in machine code; return whether there is nothing left to do.

    Parameters
    ----------
    type_, example
        The type, and an instance.
    slots : dict of str
        Which of its slots are ``lifecycle``, ``function``, ``code``, ``arity`` and ``sentinel``.
    lifecycle
        The type of lifecycles, which has a slot for ``entries``.
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
    offsets["entries"] = _offset(inspect.getattr_static(lifecycle, "entries"))
    state = getattr(example, slots["lifecycle"])
    as_expected = as_expected and word(id(state) + offsets["entries"]) == id(state.entries)
    if not as_expected or not all(map(_is_laid_out, builtins)):
        return True
    names = [sys.intern(name) for name in ("plain", "tally", "plain_calls", "review_at")]
    objects: dict[str, Any] = dict(zip(names, names, strict=True))
    objects |= {"fallback": fallback, "retry": retry, "disabled": DISABLED, "debugger": DEBUGGER, "coverage": COVERAGE}
    words = {name: id(value) for name, value in objects.items()} | offsets
    words["depth"] = 0
    words["switched"] = ctypes.addressof(SWITCHED)
    words["tracer"], words["tracer_self"] = _function(sys.gettrace)
    words["tool"], words["tool_self"] = (0, 0) if TOOL is None else _function(TOOL)
    jitted_calls.set_state(words)
    definition = MethodDefinition(b"__call__", jitted_calls.address(), _METH_FASTCALL_KEYWORDS, None)
    _KEPT.extend([*objects.values(), definition])
    type.__setattr__(type_, "__call__", _new_method(type_, ctypes.addressof(definition)))
    if type_ in _ROOMS:
        _use_vectorcall(type_, _ROOMS[type_])
    return True


def _use_vectorcall(type_: type, room: int) -> None:
    """Tell CPython where instances of a type have the address of what calls them; it looks on where that is null."""
    words = {layout.TYPE_VECTORCALL: room, layout.TYPE_FLAGS: type_.__flags__ | layout.TYPE_HAS_VECTORCALL}
    for offset, value in words.items():
        ctypes.c_uint64.from_address(id(type_) + offset).value = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(type_))
    _CALLED.add(type_)


def _is_laid_out(builtin: Any) -> bool:
    """Return whether a builtin is what the offsets are of."""
    name = ctypes.string_at(word(word(id(builtin) + layout.BUILTIN_DEFINITION)))
    return name == builtin.__name__.encode() and word(id(builtin) + layout.BUILTIN_SELF) == id(builtin.__self__)


def _offset(slot: types.MemberDescriptorType) -> int:
    return word(word(id(slot) + _MEMBER) + _OFFSET)


def _function(builtin: Any) -> tuple[int, int]:
    """Return the addresses of a builtin's function and of the object it is called with."""
    definition = word(id(builtin) + layout.BUILTIN_DEFINITION)
    return word(definition + layout.DEFINITION_FUNCTION), word(id(builtin) + layout.BUILTIN_SELF)
