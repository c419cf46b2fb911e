"""The report: made from events, the same in every face, and right about what happened."""

from __future__ import annotations

import importlib.util
import io
import json
from importlib import resources

import jsonschema
import numpy as np
import pytest

from janusjit.errors import CaptureFailure
from janusjit.ir.guards import InGraphGuard
from janusjit.report.model import build_report
from janusjit.report.text import Style, duration, format_report
from janusjit.runtime.call import Options
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.events import KINDS, Cause, Counted, Stream, environment, record, started
from janusjit.runtime.journal import JournalError, follow, read_journal, write_journal
from janusjit.spans import NotedSpan, Span
from tests.runtime.tiny_compiler import TinyCompiler


def eventful_stream():
    """Return a stream in which every kind of event has happened but those of the environment."""
    stream = Stream()
    branch = InGraphGuard("branch", "x.sum() > 0", "true", span=Span("train.py", 3, 8), relaxation="b")
    compiler = TinyCompiler(inside=((branch, lambda args: args[0].sum() < 0),))
    step = JitFunction(lambda x, y: x, Options(), compiler, stream)
    for size in [32] * 4 + [17] + [9] + [32]:
        step(np.ones(size), 1.0)
    step(np.ones(32, "f4"), 2)
    step(-np.ones(32), 1.0)
    for rank in range(2, 12):
        step(np.ones((1,) * rank), 1.0)

    def refuse(arguments, relaxations):
        return CaptureFailure("capture.yield", "fundamental", Span("train.py", 7, 5), "yield", "not now", "a list")

    plain = JitFunction(lambda x: x, Options(), TinyCompiler(refuse=refuse), stream)
    for _ in range(4):
        plain(1)
    return stream, step


@pytest.fixture(scope="module")
def stream_and_step():
    return eventful_stream()


def report_of(stream, *more):
    return build_report([*stream.events(), *more], environment(), stream.dropped)


def rows(report, name="eventful_stream.<locals>.<lambda>"):
    return [row for function in report.functions if function.function.name.endswith(name) for row in function.rows]


def test_rows_say_what_was_assumed_and_what_came(stream_and_step):
    stream, _ = stream_and_step
    by_expression = {row.expression: row for row in rows(report_of(stream))}
    shape = by_expression["x.shape[0]"]
    assert (shape.code, shape.expected, shape.got, shape.count) == ("array.shape", "32", ("17",), 1)
    assert str(shape.where) == "user.py:10:5"
    assert shape.action == "assumption relaxed, recompiled"
    assert "drop or pad" in shape.hint.edit
    dtype = by_expression["x.dtype"]
    assert (dtype.expected, dtype.got) == ("float64", ("float32",))
    assert [d.expression for d in dtype.also] == ["y"]  # simultaneous causes are all listed
    branch = by_expression["x.sum() > 0"]
    assert (branch.expected, branch.got, branch.action) == ("true", ("false",), "ran in Python, assumption relaxed")
    assert by_expression["yield"].hint.edit == "a list"


def test_benefit_is_replayed_from_the_history(stream_and_step):
    stream, step = stream_and_step
    shape = next(row for row in rows(report_of(stream)) if row.expression == "x.shape[0]")
    assert shape.hint.benefit == f"would have avoided 1 of {step.stats.deopts} failed guards"


def test_most_time_lost_first(stream_and_step):
    for function in report_of(stream_and_step[0]).functions:
        lost = [row.lost for row in function.rows]
        assert lost == sorted(lost, reverse=True)


def test_counts_agree_with_the_counters(stream_and_step):
    stream, step = stream_and_step
    function = next(f for f in report_of(stream).functions if f.plain is None)
    assert function.deopts == step.stats.deopts == sum(row.count for row in function.rows if row.history)
    assert function.profiled == step.stats.profiled_calls
    assert function.compile_seconds == pytest.approx(step.stats.compile_seconds)


def test_every_event_fits_the_published_schema(stream_and_step):
    stream, _ = stream_and_step
    schema = json.loads(resources.files("janusjit.report").joinpath("event.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    events = [started(), *stream.events()]
    for event in events:
        validator.validate(json.loads(json.dumps(record(event, stream.run))))
    assert {item["properties"]["event"]["const"] for item in schema["oneOf"]} == set(KINDS)
    assert {"profiled", "specialized", "guard_failed", "fell_back", "evicted"} <= {e.kind for e in events}


def test_a_journal_reads_back_to_the_same_report(stream_and_step, tmp_path):
    stream, _ = stream_and_step
    path = tmp_path / "run.jsonl"
    write_journal(stream.events(), path, stream.run)
    events = read_journal(path)
    assert tuple(events[1:]) == stream.events()
    assert build_report(events, {}) == build_report([started(), *stream.events()], {})


def test_following_writes_each_event_at_once(tmp_path):
    stream, path = Stream(), tmp_path / "run.jsonl"
    follow(path, stream)
    step = JitFunction(lambda x: x, Options(), TinyCompiler(), stream)
    for _ in range(4):
        step(1.0)
        assert tuple(read_journal(path)[1:]) == stream.events()
    assert len(stream.events()) == 3


@pytest.mark.parametrize("text", ["{}", "not json", '{"schema_version": 99, "event": "profiled"}'])
def test_what_is_no_journal_is_refused(tmp_path, text):
    path = tmp_path / "other.txt"
    path.write_text(text)
    with pytest.raises(JournalError, match=r"other\.txt:1"):
        read_journal(path)


def test_text_fits_the_width(stream_and_step):
    report = report_of(stream_and_step[0])
    for width in (60, 100):
        lines = list(format_report(report, Style(width, colored=False)))
        assert all(len(line) <= width or " " not in line.strip() for line in lines if "/" not in line)
        assert any("32 → 17" in line for line in lines)


def test_text_is_plain_off_a_terminal_and_under_no_color(stream_and_step, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    report = report_of(stream_and_step[0])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # as if Rich were not installed
    monkeypatch.setenv("TERM", "xterm")
    outputs = {}
    for name, file, no_color in [("file", io.StringIO(), ""), ("terminal", Terminal(), ""), ("mono", Terminal(), "1")]:
        monkeypatch.setenv("NO_COLOR", no_color)
        report.print(file, width=100)
        outputs[name] = file.getvalue()
    assert "\x1b[" in outputs["terminal"]
    assert outputs["file"] == outputs["mono"]
    assert "\x1b[" not in outputs["file"]


def test_tables_on_a_terminal_show_the_same_rows(stream_and_step, monkeypatch):
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    report, terminal = report_of(stream_and_step[0]), Terminal()
    report.print(terminal, width=160)
    text = terminal.getvalue()
    for name in ("lost", "count", "where", "assumed → got", "action", "hint"):
        assert name in text
    for row in rows(report):
        assert duration(row.lost) in text
        assert row.expression.split()[0] in text
    assert "32 → 17" in text


def test_to_dict_is_json(stream_and_step):
    report = report_of(stream_and_step[0])
    data = json.loads(report.to_json())
    assert data == report.to_dict()
    assert data["schema_version"] == 1
    assert data["environment"]["numpy"] == np.__version__
    assert data["functions"][0]["rows"][0]["code"]


def test_what_is_noted_of_warnings_is_no_part_of_a_report(tmp_path):
    def refuse(arguments, relaxations):
        span = NotedSpan.of(Span("train.py", 7, 5), ignored=frozenset({"over"}), operation="add")
        return CaptureFailure("array.alias", "supportable", span, "in-place write", "not now")

    stream = Stream()
    follow(tmp_path / "events.jsonl", stream)
    plain = JitFunction(lambda x: x, Options(), TinyCompiler(refuse=refuse), stream)
    assert [plain(number) for number in range(4)] == [0, 1, 2, 3]  # nor does the journal fail a call
    report = report_of(stream)
    assert json.loads(report.to_json()) == report.to_dict()
    assert [row.where for row in report.functions[0].rows] == [Span("train.py", 7, 5)]
    assert plain.stats.graph_calls == 0 and plain.stats.calls == 4


def test_counters_are_shown(stream_and_step):
    stream, step = stream_and_step
    stats = step.stats
    values = {name: getattr(stats, name) for name in type(stats).__slots__}
    identity = next(e.function for e in stream.events())
    event = Counted(function=identity, cause=Cause("environment.counters", "environment", ""), **values)
    text = "\n".join(format_report(report_of(stream, event), Style(200, colored=False)))
    assert f"{stats.calls} calls = {stats.graph_calls} graph + {stats.eager_calls} eager (2 profiled)" in text


def test_nothing_happened():
    (line,) = format_report(build_report([], {}), Style(80, colored=False))
    assert line == "janusjit: no jitted function has been called"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ns"), (5e-8, "50 ns"), (1.5e-6, "1.5 µs"), (0.0123, "12.3 ms"), (0.9999, "1000 ms"), (75, "75 s")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
