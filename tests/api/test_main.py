"""The command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

import janusjit as jj
from janusjit.__main__ import main


@jj.jit
def squared(x):
    return x * x


def test_report_of_a_file(tmp_path, capsys):
    for size in [3, 3, 3, 4]:
        squared(np.ones(size))
    path = tmp_path / "run.jsonl"
    jj.save_events(path)
    assert main(["report", str(path), "--width", "90"]) == 0
    text = capsys.readouterr().out
    assert "x.shape[0]: 3 → 4  [array.shape]" in text
    assert main(["report", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1


def test_a_file_that_is_none(tmp_path, capsys):
    assert main(["report", str(tmp_path / "missing.jsonl")]) == 2
    assert "missing.jsonl" in capsys.readouterr().err


def test_compare_a_function_by_name(tmp_path, capsys, monkeypatch):
    (tmp_path / "compared.py").write_text("import numpy as np\nx = np.ones(9)\ndef f(x, y):\n    return x * y + x\n")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "compared:f", "--arguments", "x, x * 2"]) == 0
    assert "same answer" in capsys.readouterr().out
    assert main(["compare", "compared:g"]) == 2
    assert main(["compare", "compared"]) == 2
    assert "MODULE:FUNCTION" in capsys.readouterr().err


def test_doctor_compiles_something(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "a function was compiled in" in text
    assert "BAD" not in text


def test_demo_agrees_and_reports_a_broken_guard(capsys):
    assert main(["demo", "--epochs", "2"]) == 0
    text = capsys.readouterr().out
    assert "calls in the graph" in text
    assert "64 → 28  [array.shape]" in text


def test_unknown_command():
    with pytest.raises(SystemExit) as left:
        main(["fly"])
    assert left.value.code == 2
