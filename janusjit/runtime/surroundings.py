"""Where a call comes from.

Owns `is_one_of_many`. Invariant: it looks at code objects and globals only, which no program can notice. Why: what a
call may miss, because its function is made ready beside it, later ones have; a call that stands alone may be all there
is to the program.
"""

from __future__ import annotations

import builtins
import opcode
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

from janusjit.analysis.twin import is_user_code

#: so many calls are not few
MANY = 32
#: frames that are looked at
_DEPTH = 64
#: code is made of words of two bytes: an operation and its argument, or something kept for the interpreter, here zero
_WORD = 2
_BACKWARD = frozenset(
    operation for name, operation in opcode.opmap.items() if "JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name
)
_CACHES: Any = getattr(opcode, "_inline_cache_entries", ())
_EXTENDED = opcode.opmap["EXTENDED_ARG"]
_HANDLER = opcode.opmap["PUSH_EXC_INFO"]
#: whether handlers stand behind everything else, and jump back from there without there being a loop
_HANDLERS_ARE_LAST = sys.version_info >= (3, 12)
#: what stands between the arguments of a call and the call
_BESIDES = frozenset({"CACHE", "EXTENDED_ARG", "PRECALL", "KW_NAMES"})
#: how far in front of a loop it is looked what it goes over
_BEFORE = 32 * _WORD


class _Instruction(NamedTuple):
    name: str
    argument: int


def is_one_of_many(frame: FrameType | None = None) -> bool:
    """Return whether the call that runs is made in a loop of the user's, unless the loop has few turns to all seeming.

    Parameters
    ----------
    frame : frame, optional
        The caller's; that of whoever asks when not given.
    """
    frame = sys._getframe(1) if frame is None else frame
    turns, inside, depth = 1, False, 0
    while frame is not None and depth < _DEPTH:
        if is_user_code(frame.f_code):
            for found in _turns_around(frame.f_code, frame.f_lasti, frame.f_globals):
                inside, turns = True, turns * (MANY if found is None else found)
        frame, depth = frame.f_back, depth + 1
    return inside and turns >= MANY


def _turns_around(code: CodeType, offset: int, names: dict[str, Any]) -> Iterator[int | None]:
    """Yield for each loop around an instruction how many turns it makes, None where that is not in its code."""
    text = code.co_code
    handlers = next(_places(text, _HANDLER, 0), len(text))
    last = handlers if _HANDLERS_ARE_LAST and offset < handlers else len(text)
    heads = set()
    for operation in _BACKWARD:
        for place in _places(text, operation, offset):
            head = place + _WORD * (1 + _caches(operation) - _argument(text, place))
            if place < last and head <= offset and head not in heads:
                heads.add(head)
                yield _turns(code, text, head, names)


def _places(text: bytes, operation: int, start: int) -> Iterator[int]:
    """Yield where an operation stands in code, from ``start`` on."""
    place = text.find(operation, max(start, 0))
    while place >= 0:
        if place % _WORD == 0:
            yield place
        place = text.find(operation, place + 1)


def _argument(text: bytes, place: int) -> int:
    """Return the argument of the instruction at a place."""
    argument, shift, before = text[place + 1], 8, place - _WORD
    while before >= 0 and text[before] == _EXTENDED:
        argument |= text[before + 1] << shift
        shift, before = shift + 8, before - _WORD
    return argument


def _caches(operation: int) -> int:
    """Return how many words of the interpreter's own are behind an instruction."""
    if isinstance(_CACHES, dict):
        return int(_CACHES.get(opcode.opname[operation], 0))
    return int(_CACHES[operation]) if operation < len(_CACHES) else 0


def _turns(code: CodeType, text: bytes, head: int, names: dict[str, Any]) -> int | None:
    """Return how many turns the loop makes that begins at a place: over a display, or a range of constants."""
    places = range(max(head - _BEFORE, 0), head, _WORD)
    named = [_Instruction(opcode.opname[text[place]], _argument(text, place)) for place in places]
    *before, last = [item for item in named if item.name not in _BESIDES] or [_Instruction("", 0)]
    if last.name != "GET_ITER" or not before:
        return None
    *before, iterable = before
    if iterable.name == "LOAD_CONST":
        found = code.co_consts[iterable.argument]
        return len(found) if isinstance(found, tuple | frozenset | str) else None
    if iterable.name in ("BUILD_LIST", "BUILD_TUPLE", "BUILD_SET"):
        return iterable.argument
    count = iterable.argument if iterable.name == "CALL" else 0
    if not 0 < count <= 3 or len(before) <= count or not _is_range(code, before[: len(before) - count], names):
        return None
    arguments = [_integer(code, item, names) for item in before[len(before) - count :]]
    known = [argument for argument in arguments if argument is not None]
    return len(range(*known)) if len(known) == count and (count < 3 or known[2]) else None


def _is_range(code: CodeType, before: list[_Instruction], names: dict[str, Any]) -> bool:
    named = [item for item in before[-2:] if item.name in ("LOAD_GLOBAL", "LOAD_NAME")]
    return bool(named) and _name(code, named[-1]) == "range" and names.get("range", builtins.range) is builtins.range


def _name(code: CodeType, instruction: _Instruction) -> str:
    return code.co_names[instruction.argument >> (instruction.name == "LOAD_GLOBAL")]


def _integer(code: CodeType, instruction: _Instruction, names: dict[str, Any]) -> int | None:
    found: Any = None
    if instruction.name == "LOAD_CONST":
        found = code.co_consts[instruction.argument]
    elif instruction.name == "LOAD_SMALL_INT":
        found = instruction.argument
    elif instruction.name in ("LOAD_GLOBAL", "LOAD_NAME"):
        found = names.get(_name(code, instruction))
    return found if type(found) is int else None
