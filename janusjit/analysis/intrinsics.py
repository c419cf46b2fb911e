"""The steps of ``match`` that Python code cannot name.

Owns what the `Intrinsic` instruction runs. Each function does what the CPython opcode of the same purpose does
(``MATCH_SEQUENCE``, ``MATCH_MAPPING``, ``GET_LEN``, ``MATCH_KEYS``, ``MATCH_CLASS``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SEQUENCE_FLAG = 1 << 5  # Py_TPFLAGS_SEQUENCE
MAPPING_FLAG = 1 << 6  # Py_TPFLAGS_MAPPING
MATCH_SELF_FLAG = 1 << 22  # _Py_TPFLAGS_MATCH_SELF
_MISSING = object()


def is_sequence(subject: object) -> bool:
    """Whether a sequence pattern may match ``subject``."""
    return bool(type(subject).__flags__ & SEQUENCE_FLAG)


def is_mapping(subject: object) -> bool:
    """Whether a mapping pattern may match ``subject``."""
    return bool(type(subject).__flags__ & MAPPING_FLAG)


def match_keys(subject: Any, keys: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the values of ``keys`` in a mapping, or None if one is absent; ValueError on a repeated key."""
    seen: set[Any] = set()
    values = []
    if not keys:
        return ()
    get = subject.get
    for key in keys:
        if key in seen:
            raise ValueError(f"mapping pattern checks duplicate key ({key!r})")
        seen.add(key)
        value = get(key, _MISSING)
        if value is _MISSING:
            return None
        values.append(value)
    return tuple(values)


def mapping_rest(subject: Any, keys: tuple[Any, ...]) -> dict[Any, Any]:
    """Return what ``**rest`` of a mapping pattern binds."""
    rest: dict[Any, Any] = {}
    rest.update(subject)
    for key in keys:
        del rest[key]
    return rest


def match_class(subject: Any, kind: Any, count: int, names: tuple[str, ...]) -> tuple[Any, ...] | None:
    """Return the attributes a class pattern looks at, or None if it does not match.

    Raises
    ------
    TypeError
        If ``kind`` is no class, or takes fewer positional patterns than ``count``, or one attribute is named twice.
    """
    if not isinstance(kind, type):
        raise TypeError("called match pattern must be a class")
    if not isinstance(subject, kind):
        return None
    seen: set[str] = set()
    values: list[Any] = []
    if count and not _match_positional(subject, kind, count, seen, values):
        return None
    for name in names:
        if not _match_attribute(subject, kind, name, seen, values):
            return None
    return tuple(values)


def _match_positional(subject: Any, kind: type, count: int, seen: set[str], values: list[Any]) -> bool:
    arguments = getattr(kind, "__match_args__", _MISSING)
    whole = False
    if arguments is _MISSING:
        arguments = ()
        whole = bool(kind.__flags__ & MATCH_SELF_FLAG)
    if type(arguments) is not tuple:
        raise TypeError(f"{kind.__name__}.__match_args__ must be a tuple (got {type(arguments).__name__})")
    allowed = 1 if whole else len(arguments)
    if allowed < count:
        plural = "" if allowed == 1 else "s"
        raise TypeError(f"{kind.__name__}() accepts {allowed} positional sub-pattern{plural} ({count} given)")
    if whole:
        values.append(subject)
        return True
    for name in arguments[:count]:
        if type(name) is not str:
            raise TypeError(f"__match_args__ elements must be strings (got {type(name).__name__})")
        if not _match_attribute(subject, kind, name, seen, values):
            return False
    return True


def _match_attribute(subject: Any, kind: type, name: str, seen: set[str], values: list[Any]) -> bool:
    if name in seen:
        raise TypeError(f"{kind.__name__}() got multiple sub-patterns for attribute {name!r}")
    seen.add(name)
    try:
        values.append(getattr(subject, name))
    except AttributeError:
        return False
    return True


INTRINSICS: dict[str, Callable[..., Any]] = {
    "is_sequence": is_sequence,
    "is_mapping": is_mapping,
    "length": len,
    "match_keys": match_keys,
    "mapping_rest": mapping_rest,
    "match_class": match_class,
}
