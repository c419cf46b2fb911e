"""Strings that vary: a few names of what to do have code each, texts and lists of words are left to Python."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.runtime import pipeline


@pytest.fixture
def captured(monkeypatch):
    """Return the names of the functions that were captured from their beginning, one for each time."""
    names = []
    capture = pipeline.capture

    def noted(function, *rest):
        names.append(function.__name__)
        return capture(function, *rest)

    monkeypatch.setattr(pipeline, "capture", noted)
    return names


def letters(text, weights):
    total = np.float64(0.0)
    for letter in text:
        total += weights.get(letter, 0.5)
    return total


def counted(words, x):
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts, (x * len(counts)).sum()


def activated(x, how):
    if how == "relu":
        return np.maximum(x, 0.0)
    if how == "square":
        return x * x
    return x if how == "linear" else np.tanh(x)


def texts(number):
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcde "), size=100)) for _ in range(number)]


def test_a_text_that_varies_is_no_constant_of_the_code(captured):
    weights = {"a": 1.0, "b": 2.0}
    compiled = jj.jit(background=False)(letters)
    for text in texts(12):
        assert compiled(text, weights) == letters(text, weights)
    assert captured == ["letters"] * 2  # it was once for each text, until there were too many
    assert compiled.stats.graph_calls == 10


def test_words_that_vary_together_are_no_constants_of_the_code(captured):
    compiled = jj.jit(background=False)(counted)
    x = np.arange(4.0)
    for text in texts(12):
        words = text.split()[:8]
        words += ["e"] * (8 - len(words))
        assert compiled(words, x) == counted(words, x)
    assert captured == ["counted"] * 2
    assert compiled.stats.graph_calls == 10


def test_names_of_what_to_do_have_code_of_their_own(captured):
    compiled = jj.jit(background=False)(activated)
    x = np.linspace(-1.0, 1.0, 9)
    for how in ("relu", "square", "linear") * 4:
        assert np.array_equal(compiled(x, how), activated(x, how))
    assert captured == ["activated"] * 3
    assert compiled.stats.graph_calls == 10 and compiled.stats.host_calls == 0
