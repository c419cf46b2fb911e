"""Nodes without a place get that of the node they are in."""

import ast
import copy
import random
from pathlib import Path

import pytest

import janusjit
from janusjit.analysis.generate.places import complete_places

FILES = sorted(Path(janusjit.__file__).parent.joinpath("analysis", "lower").glob("*.py"))
PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_places_are_those_that_python_would_give(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    draw = random.Random(path.name)
    taken = 0
    for node in ast.walk(tree):
        if node._attributes and draw.random() < 0.5:
            taken += 1
            for name in PLACE:
                delattr(node, name)
    expected = ast.fix_missing_locations(copy.deepcopy(tree))
    complete_places(tree)
    assert ast.dump(tree, include_attributes=True) == ast.dump(expected, include_attributes=True)
    assert not taken or compile(tree, str(path), "exec")
