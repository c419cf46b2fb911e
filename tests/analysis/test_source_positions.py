"""The positions of nodes are libcst's own."""

from __future__ import annotations

from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

import janusjit
from janusjit.analysis.source_positions import positions_of

FILES = sorted(Path(janusjit.__file__).parent.joinpath("analysis").glob("*.py"))[1:12]
TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
ODD = '''
def f(a, *, b: int = (1), **c) -> (  # a comment
        int):
    """Several
    lines."""
    x = [(y  ) for y in a
         if y]; del x
    \tz = f"{a !r:>{b}} and {c}" \\
        'more'
    async def g(): return (await (a))
    return lambda *, k = 1 : (k if a else b)  , (  yield  )
'''.replace("    \tz", "    z")


@pytest.mark.parametrize("text", [*TEXTS, ODD, ODD.replace("\n", "\r\n"), ODD.strip()])
def test_positions_are_those_of_libcst(text: str) -> None:
    module = cst.parse_module(text)
    found = positions_of(module)
    expected = PositionProvider()
    expected._gen_impl(module)
    assert len(found) == len(expected._computed) > 20
    for node, position in expected._computed.items():
        start, end = found[id(node)]
        assert (start, end) == ((position.start.line, position.start.column), (position.end.line, position.end.column))
    resolved = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    assert resolved[module.body[0]].start.line == found[id(module.body[0])].start[0]


def test_what_stops_it_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: cst.Name, state: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cst.Integer, "_codegen_impl", interrupted)
    with pytest.raises(KeyboardInterrupt):
        positions_of(cst.parse_module("def f(x):\n    return x + 1\n"))
