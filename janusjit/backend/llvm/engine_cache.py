"""Object code on disk.

Owns the directory of compiled objects. Invariants: an object is filed under a digest of everything its bytes depend on
(the module's text, which names no address of another process, target, LLVM, level), and is used only if its own digest
is right; whatever goes wrong with the directory costs a compilation, never a call.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

_FORMAT = "1"
_DIGEST_BYTES = 32

#: the directory is pruned, least recently used objects first, to half of this
SIZE_LIMIT_BYTES = 256 << 20

_directory: Path | None = None


def keep_objects_in(directory: Path | None) -> None:
    """Keep object code in ``directory`` from now on, or nowhere (None), which is how a process begins."""
    global _directory
    _directory = directory


def key(text: str, target: tuple[str, str, str], level: int) -> str:
    """Return the name under which the object code of a module's text is filed."""
    parts = (_FORMAT, llvmlite.__version__, ".".join(map(str, llvm.llvm_version_info)), *target, str(level), text)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """Return the object code filed under ``name``; None if there is none, or none that can be trusted."""
    directory = _directory
    if directory is None:
        return None
    path = directory / name
    try:
        if not _is_private(directory):
            return None
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def write(name: str, code: bytes) -> None:
    """File object code under ``name``, unless the directory cannot be written to."""
    directory = _directory
    if directory is None:
        return
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory):
            return
        handle, temporary = tempfile.mkstemp(dir=directory)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(temporary).replace(directory / name)  # atomic: another process reads all of it or nothing
        _prune(directory)
    except OSError:
        return


def _is_private(directory: Path) -> bool:
    """Return whether nobody but this user can put code into the directory."""
    status = directory.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _prune(directory: Path) -> None:
    files = [(path.stat(), path) for path in directory.iterdir()]
    total = sum(status.st_size for status, _ in files)
    if total <= SIZE_LIMIT_BYTES:
        return
    for status, path in sorted(files, key=lambda entry: entry[0].st_mtime):
        path.unlink(missing_ok=True)
        total -= status.st_size
        if total <= SIZE_LIMIT_BYTES // 2:
            return
