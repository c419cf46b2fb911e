"""Compiled code on disk.

Owns the files of the cache directory (``JANUSJIT_CACHE_DIR``). Invariants: content is filed under a digest of all it
depends on, and is used only if its own digest is right; a file appears whole or not at all, so processes need no
locks; nobody but the user can put files there; whatever goes wrong with the directory costs a compilation, never a
call, and is told (`usage`, and the log of topic ``compile``).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import platform
import stat
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from janusjit.config import current

_FORMAT = "janusjit 3"
_DIGEST_BYTES = 32
_SUFFIX = ".code"
_TEMPORARY = ".writing-"
_WRITES_BETWEEN_PRUNINGS = 32

#: the directory is pruned, least recently used files first, to half of this
SIZE_LIMIT_BYTES = 256 << 20

_log = logging.getLogger("janusjit.compile")
_lock = threading.Lock()
_writes = itertools.count()


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process has had of the cache.

    Attributes
    ----------
    hits, misses, writes : int
        Files that were used, that were not there or not usable, and that were made.
    problems : tuple of str
        What was wrong with the directory or with files in it, each said once.
    """

    hits: int = 0
    misses: int = 0
    writes: int = 0
    problems: tuple[str, ...] = field(default=())


_usage = Usage()


def usage() -> Usage:
    """Return what this process has had of the cache so far."""
    return _usage


def key(text: str, target: tuple[str, str, str], level: int) -> str:
    """Return the name under which the object code of a module's text is filed."""
    return digest((*compiler_versions(), *target, str(level), text))


@functools.cache
def compiler_versions() -> tuple[str, ...]:
    """Return the versions of what makes machine code of a module's text, and of what that is linked with."""
    system = (platform.system(), platform.machine(), *platform.libc_ver())
    return (_FORMAT, llvmlite.__version__, ".".join(map(str, llvm.llvm_version_info)), *system)


def digest(parts: Iterable[str]) -> str:
    """Return a name made of all the parts, and of where each of them ends."""
    made = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        made.update(b"%d:" % len(content))
        made.update(content)
    return made.hexdigest()


def read(name: str) -> bytes | None:
    """Return what is filed under ``name``; None if there is nothing, or nothing that can be trusted."""
    directory = current().cache
    if directory is None:
        return None
    path = directory / (name + _SUFFIX)
    content = _read_private(directory, path)
    if content is not None:
        expected, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if _seal(name, code) == expected:
            _count(hits=1)
            return code
        _problem(f"{path.name} is damaged: it is compiled again")
    _count(misses=1)
    return None


def _read_private(directory: Path, path: Path) -> bytes | None:
    try:
        refusal = _refusal(directory)
        if refusal:
            _problem(refusal)
            return None
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _problem(f"{path} cannot be read: {error.strerror}")
        return None
    try:
        os.utime(path)
    except OSError as error:  # a directory that is read only serves as well, until it is pruned
        _log.info("cache: the time of use of %s cannot be set: %s", path.name, error.strerror)
    return content


def write(name: str, code: bytes, first: bool = False) -> None:
    """File content under ``name``, unless the directory cannot be written to.

    Of several processes that file something as the ``first``, one does.
    """
    directory = current().cache
    if directory is None:
        return
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        refusal = _refusal(directory)
        if refusal:
            _problem(refusal)
            return
        _write_whole(directory, directory / (name + _SUFFIX), _seal(name, code) + code, first)
        _count(writes=1)
        if next(_writes) % _WRITES_BETWEEN_PRUNINGS == 0:
            _prune(directory)
    except OSError as error:
        _problem(f"{directory} cannot be written to: {error.strerror}")


def _write_whole(directory: Path, path: Path, content: bytes, first: bool) -> None:
    handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if first:
            _link(temporary, path)
        else:
            Path(temporary).replace(path)  # atomic: another process reads all of it or nothing
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _link(temporary: str, path: Path) -> None:
    """Give a file its name unless another has it; as atomic as a renaming."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        Path(temporary).replace(path)
    Path(temporary).unlink(missing_ok=True)


def _seal(name: str, code: bytes) -> bytes:
    """Return the digest that content carries: of its name too, so that a renamed file is no other file's content."""
    return hashlib.sha256(name.encode() + b"\0" + code).digest()


def _refusal(directory: Path) -> str:
    """Return why code in the directory is not to be run: somebody but this user can put it there. Empty if not so."""
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is no directory"
    if not hasattr(os, "getuid"):
        return ""
    if status.st_uid != os.getuid():
        return f"{directory} is not used: it belongs to another user"
    if status.st_mode & 0o022:
        return f"{directory} is not used: other users can write to it (chmod go-w)"
    return ""


def refusal() -> str:
    """Return why the cache is not used at present; empty if it is."""
    directory = current().cache
    if directory is None:
        return "off"
    try:
        return _refusal(directory)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{directory} cannot be looked at: {error.strerror}"


def is_writable() -> bool:
    """Return whether something can be filed at present, as far as can be told without doing it."""
    directory = current().cache
    if directory is None or refusal():
        return False
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def contents() -> list[tuple[Path, os.stat_result]]:
    """Return the files of the cache, the least recently used first.

    Raises
    ------
    OSError
        If the directory cannot be read.
    """
    directory = current().cache
    if directory is None or not directory.exists():
        return []
    return _files(directory)


def clear() -> int:
    """Remove the files of the cache, and nothing else; return how many there were.

    Raises
    ------
    OSError
        If they cannot be removed.
    """
    files = contents()
    for path, _ in files:
        path.unlink(missing_ok=True)
    return len(files)


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in directory.iterdir():
        if path.suffix != _SUFFIX and not path.name.startswith(_TEMPORARY):
            continue
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:  # another process has pruned
            continue
    return sorted(found, key=lambda entry: entry[1].st_mtime)


def _prune(directory: Path) -> None:
    files = _files(directory)
    total = sum(status.st_size for _, status in files)
    if total <= SIZE_LIMIT_BYTES:
        return
    for path, status in files:
        path.unlink(missing_ok=True)
        total -= status.st_size
        if total <= SIZE_LIMIT_BYTES // 2:
            return


def _count(hits: int = 0, misses: int = 0, writes: int = 0) -> None:
    global _usage
    with _lock:
        _usage = replace(
            _usage, hits=_usage.hits + hits, misses=_usage.misses + misses, writes=_usage.writes + writes
        )


def _problem(text: str) -> None:
    global _usage
    with _lock:
        if text in _usage.problems:
            return
        _usage = replace(_usage, problems=(*_usage.problems, text))
    _log.info("cache: %s", text)
