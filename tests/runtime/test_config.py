"""Configuration: every variable is understood, and what is not is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from janusjit import config
from janusjit.errors import CaptureFailure, ConfigurationError, JanusError
from janusjit.spans import Span


def test_every_variable_is_read():
    environment = {
        "JANUSJIT_DISABLE": "1",
        "JANUSJIT_LOG": "guard, deopt",
        "JANUSJIT_DUMP": "/tmp/dump",
        "JANUSJIT_VERIFY": "yes",
        "JANUSJIT_BACKEND": "reference",
        "JANUSJIT_EVENTS": "run.jsonl",
        "JANUSJIT_QUIET": "on",
        "JANUSJIT_NUM_THREADS": "3",
        "OMP_NUM_THREADS": "4",
        "OTHER": "1",
    }
    assert config.from_environment(environment) == config.Config(
        disable=True,
        log=frozenset({"guard", "deopt"}),
        dump=Path("/tmp/dump"),
        verify=True,
        backend="reference",
        events=Path("run.jsonl"),
        quiet=True,
        threads=3,
    )


def test_nothing_set():
    assert config.from_environment({}) == config.Config()


@pytest.mark.parametrize(
    ("text", "threads"), [("4", 4), ("2,1", 2), (" 1 ", 1), ("", None), ("0", None), ("many", None)]
)
def test_threads_of_openmp_are_those_of_compiled_code(text, threads):
    configuration = config.from_environment({"OMP_NUM_THREADS": text})
    assert configuration.threads == threads
    assert config.from_environment({"OMP_NUM_THREADS": text, "JANUSJIT_NUM_THREADS": "5"}).threads == 5
    with config.override(threads=configuration.threads):
        assert config.available_threads() == (threads or len(os.sched_getaffinity(0)))


def test_all_topics():
    assert config.from_environment({"JANUSJIT_LOG": "all"}).log == config.TOPICS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("JANUSJIT_DISABLED", "1"),
        ("JANUSJIT_LOG", "everything"),
        ("JANUSJIT_VERIFY", "maybe"),
        ("JANUSJIT_BACKEND", "fortran"),
        ("JANUSJIT_NUM_THREADS", "0"),
        ("JANUSJIT_NUM_THREADS", "two"),
    ],
)
def test_what_has_no_meaning_is_refused(name, text):
    with pytest.raises(ConfigurationError, match="JANUSJIT_"):
        config.from_environment({name: text})


def test_override_is_undone():
    before = config.current()
    with pytest.raises(RuntimeError, match="stop"), config.override(verify=not before.verify) as inside:
        assert config.current() is inside
        assert inside.verify is not before.verify
        raise RuntimeError("stop")
    assert config.current() is before


def test_errors_have_codes_and_categories():
    failure = CaptureFailure("capture.yield", "fundamental", Span("a.py", 3, 5), "yield", "it keeps a frame", "no")
    assert str(failure) == "a.py:3:5: yield: it keeps a frame (no)"
    with pytest.raises(ValueError, match="code"):
        JanusError("", "nameless")
    with pytest.raises(ValueError, match="category"):
        CaptureFailure("a", "mystery", Span("a.py", 1, 1), "b", "c")
