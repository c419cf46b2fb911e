"""Events as JSON Lines.

Owns writing the stream to a file and reading it back. Invariant: what is read is equal to what was written, so that a
report made from a file is the report made in the process.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TextIO, TypeVar, Union

from janusjit.errors import JanusError
from janusjit.runtime.events import KINDS, SCHEMA_VERSION, STREAM, Event, Stream, record, started
from janusjit.spans import UNKNOWN_SPAN, Span

Item = TypeVar("Item")


class JournalError(JanusError):
    """A file is not a journal of events this version can read."""


def write_event(event: Event, run: str, file: TextIO) -> None:
    """Append one event as a line."""
    file.write(json.dumps(record(event, run), allow_nan=False) + "\n")


def write_journal(events: Iterable[Event], path: Path, run: str) -> None:
    """Write events to a file, one line each, after one that describes the environment.

    Parameters
    ----------
    events : iterable of Event
        In order.
    path : Path
        Replaced if it exists.
    run : str
        Identity of the run they belong to.
    """
    with path.open("w", encoding="utf-8") as file:
        write_event(started(), run, file)
        for event in events:
            write_event(event, run, file)


def follow(path: Path, stream: Stream = STREAM) -> None:
    """Append every event of a stream to a file from now on; each line is on disk when its event has been published."""
    with path.open("a", encoding="utf-8") as file:
        write_event(started(), stream.run, file)

    def append(event: Event) -> None:
        with path.open("a", encoding="utf-8") as file:
            write_event(event, stream.run, file)

    stream.subscribe(append)


def read_journal(path: Path) -> list[Event]:
    """Return the events of a file.

    Raises
    ------
    JournalError
        If a line is not an event, or of another schema version.
    OSError
        If the file cannot be read.
    """
    with path.open(encoding="utf-8") as file:
        return list(_events(file, path))


def _events(lines: Iterable[str], path: Path) -> Iterator[Event]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            version = data["schema_version"]
            if version != SCHEMA_VERSION:
                text = f"{path}:{number}: schema version {version}, not {SCHEMA_VERSION}"
                raise JournalError("journal.version", text)
            yield _read(KINDS[data["event"]], data)
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError("journal.format", f"{path}:{number}: not an event of janusjit ({error!r})") from error


def _read(kind: type[Item], data: Mapping[str, Any]) -> Item:
    hints = typing.get_type_hints(kind)
    values = {item.name: _value(hints[item.name], data[item.name]) for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**values)


def _value(hint: Any, data: Any) -> Any:
    if hint is Span:
        return UNKNOWN_SPAN if data is None else _read(Span, data)
    if is_dataclass(hint):
        return _read(typing.cast(type[Any], hint), data)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple(_value(arguments[0], item) for item in data)
    if origin in (Union, UnionType):
        (only,) = (argument for argument in arguments if argument is not NoneType)
        return None if data is None else _value(only, data)
    return data
