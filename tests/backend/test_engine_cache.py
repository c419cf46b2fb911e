"""Object code on disk is used only when it is the very code that would be compiled."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from janusjit.backend.llvm import engine, engine_cache
from janusjit.config import override
from janusjit.ir.boxes import ScalarBox
from janusjit.ir.guards import ScalarTypeIs
from tests.backend.entry_only import arguments, compile_entry, entry_graph

SOURCE = "define i64 @f(i64 %x) {{ %y = add i64 %x, {} ret i64 %y }}"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with override(cache=tmp_path / "objects"):
        yield tmp_path / "objects"


def call(loaded: engine.LoadedModule, value: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.function_address("f"))(value)


def was_compiled(loaded: engine.LoadedModule) -> bool:
    return loaded.times.total > 0


def test_code_is_compiled_once(directory: Path) -> None:
    first, second = engine.load(SOURCE.format(5)), engine.load(SOURCE.format(5))
    assert was_compiled(first) and not was_compiled(second)
    assert call(first, 1) == call(second, 1) == 6
    assert "add" in second.llvm_ir and "f:" in second.assembly
    assert not directory.stat().st_mode & 0o077


def test_nothing_is_kept_unless_asked_for() -> None:
    assert was_compiled(engine.load(SOURCE.format(6)))
    assert was_compiled(engine.load(SOURCE.format(6)))


def test_another_text_level_or_target_is_another_object(directory: Path) -> None:
    assert was_compiled(engine.load(SOURCE.format(5)))
    assert was_compiled(engine.load(SOURCE.format(6)))
    assert was_compiled(engine.load(SOURCE.format(5), level=1))
    triple, cpu, features = engine.host_target()
    names = {engine_cache.key("t", target, 3) for target in ((triple, cpu, features), (triple, "x", features))}
    assert len(names) == 2


def test_a_damaged_object_is_compiled_again(directory: Path) -> None:
    engine.load(SOURCE.format(5))
    (path,) = directory.iterdir()
    content = path.read_bytes()
    for damaged in (b"", content[:40], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        loaded = engine.load(SOURCE.format(5))
        assert was_compiled(loaded) and call(loaded, 1) == 6
    assert not was_compiled(engine.load(SOURCE.format(5)))


def test_a_directory_others_can_write_to_is_not_trusted(directory: Path) -> None:
    engine.load(SOURCE.format(5))
    directory.chmod(0o777)
    assert was_compiled(engine.load(SOURCE.format(5)))
    assert "other users can write to it" in engine_cache.refusal()
    assert engine_cache.refusal() in engine_cache.usage().problems


def test_a_directory_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with override(cache=tmp_path / "file" / "objects"):
        assert call(engine.load(SOURCE.format(5)), 1) == 6
        assert any("file" in problem for problem in engine_cache.usage().problems)


def test_the_oldest_objects_go_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache, "SIZE_LIMIT_BYTES", 4000)
    monkeypatch.setattr(engine_cache, "_WRITES_BETWEEN_PRUNINGS", 1)
    for number in range(4):
        engine_cache.write(f"{number}", bytes(1000))
        if number < 3:
            os.utime(directory / f"{number}.code", (number, number))
    assert {path.name for path in directory.iterdir()} == {"3.code"}


SCRIPT = """
from tests.backend.test_engine_cache import entry_of_an_int
native = entry_of_an_int()
assert native.entry(41) == 41 and native.entry("x") is native.DEOPTIMIZED
print(native._payload.module.times.total > 0)
"""


def entry_of_an_int() -> object:
    (place,) = arguments(1)
    return compile_entry(entry_graph(1, (ScalarTypeIs(place=place, kind="int"),), ScalarBox(0, "int")))


def test_entries_are_loaded_by_another_process(tmp_path: Path) -> None:
    """Objects live at other addresses there, and strings hash differently."""
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ
            | {"PYTHONHASHSEED": seed, "JANUSJIT_CACHE": "1", "JANUSJIT_CACHE_DIR": str(tmp_path / "objects")},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert found == ["True", "False"]


def test_objects_carry_their_digest(directory: Path) -> None:
    engine.load(SOURCE.format(5))
    (path,) = directory.iterdir()
    content = path.read_bytes()
    assert hashlib.sha256(path.stem.encode() + b"\0" + content[32:]).digest() == content[:32]


def test_code_under_another_name_is_not_used(directory: Path) -> None:
    engine.load(SOURCE.format(5))
    (path,) = directory.iterdir()
    engine_cache.write("other", b"code")
    path.write_bytes((directory / "other.code").read_bytes())
    assert was_compiled(engine.load(SOURCE.format(5)))


def test_clearing_removes_nothing_else(directory: Path) -> None:
    engine.load(SOURCE.format(5))
    (directory / "notes.txt").write_text("mine")
    assert engine_cache.clear() == 1
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
