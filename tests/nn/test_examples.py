"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from janusjit import nn

MODULES = [f"janusjit.nn.{module.name}" for module in pkgutil.iter_modules(nn.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_function_has_an_example() -> None:
    for name in nn.__all__:
        text = getattr(nn, name).__doc__
        assert all(section in text for section in ("Parameters", "Returns", "Examples")), name
