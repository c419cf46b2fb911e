"""Random functions: whatever they do, in whatever order, generated code does too."""

from __future__ import annotations

import itertools
import linecache
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janusjit.analysis.source import code_of, load
from tests.analysis.outcomes import assert_same

NAMES = ("a", "b", "c", "xs", "d")
_numbers = itertools.count()


class Trace:
    """Records the order of what a function does, and stops one that does too much."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, key: int, value: Any = 0) -> Any:
        self.seen.append(key)
        if len(self.seen) > 300:
            raise RuntimeError("too long")
        return value

    def __repr__(self) -> str:
        return f"Trace({self.seen})"

    def __deepcopy__(self, memo: Any) -> Trace:
        return Trace()


class Source:
    """Writes a random function, drawing every choice from hypothesis."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.budget = 40
        self.keys = itertools.count()

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def name(self) -> str:
        return self.pick(*NAMES)

    def expression(self, depth: int = 0) -> str:
        self.budget -= 1
        if depth > 3 or self.budget < 0:
            return self.pick(self.name(), "0", "1", "2", "-3", "None", "True", "'s'")
        kind = self.pick(*_EXPRESSIONS)
        return f"({kind(self, depth + 1)})"

    def block(self, indent: int, loop: bool) -> list[str]:
        lines = []
        for _ in range(self.draw(st.integers(1, 4))):
            lines += self.statement(indent, loop)
        return lines

    def statement(self, indent: int, loop: bool) -> list[str]:
        self.budget -= 1
        if indent > 3 or self.budget < 0:
            return [f"{'    ' * indent}{self.name()} = t({next(self.keys)}, {self.name()})"]
        return self.pick(*_STATEMENTS)(self, indent, loop)


def _traced(s: Source, depth: int) -> str:
    return f"t({next(s.keys)}, {s.expression(depth)})"


def _binary(s: Source, depth: int) -> str:
    operator = s.pick("+", "-", "*", "//", "%", "==", "<", ">=", "in", "is not", "and", "or", "and", "or", "<<")
    return f"{s.expression(depth)} {operator} {s.expression(depth)}"


def _comprehension(s: Source, depth: int) -> str:
    variable = s.pick("a", "k", "m")
    element = s.pick(variable, f"t({next(s.keys)}, {variable})", s.expression(depth), f"(lambda: {variable})()")
    condition = s.pick("", f" if {s.expression(depth)}", f" if {variable}")
    inner = f"{element} for {variable} in {s.pick('range(3)', 'xs', s.expression(depth))}{condition}"
    return s.pick(f"[{inner}]", f"sorted({{{inner}}}, key=repr)", f"{{{variable}: {inner}}}", f"list({inner})")


_EXPRESSIONS = [
    _traced,
    _traced,
    _binary,
    _binary,
    lambda s, d: f"{s.expression(d)} if {s.expression(d)} else {s.expression(d)}",
    lambda s, d: f"{s.expression(d)} < {s.expression(d)} <= {s.expression(d)}",
    lambda s, d: f"not {s.expression(d)}",
    lambda s, d: f"-{s.expression(d)}",
    lambda s, d: f"{s.name()} := {s.expression(d)}",
    lambda s, d: f"xs[{s.expression(d)}]",
    lambda s, d: f"d[{s.expression(d)}:{s.expression(d)}]",
    lambda s, d: f"[{s.expression(d)}, *{s.expression(d)}, {s.expression(d)}]",
    lambda s, d: f"({s.expression(d)}, {s.expression(d)})",
    lambda s, d: f"{{{s.expression(d)}: {s.expression(d)}, **{{1: {s.expression(d)}}}}}",
    lambda s, d: f"g({s.expression(d)}, *{s.pick('xs', '[a, b]')}, k={s.expression(d)})",
    lambda s, d: f"f'{{{s.name()}!r}} {{{s.expression(d)[1:-1].replace(chr(39), chr(34)).replace(':=', '==')}}}'",
    lambda s, d: f"(lambda a, b={s.expression(d)}: {s.expression(d)})({s.expression(d)})",
    _comprehension,
]


def _assign(s: Source, indent: int, loop: bool) -> list[str]:
    target = s.pick(s.name(), f"xs[{s.expression(2)}]", "a, b", "(a, *b), c", f"d[t({next(s.keys)})]", "a = xs[0]")
    return [f"{'    ' * indent}{target} = {s.expression()}"]


def _augmented(s: Source, indent: int, loop: bool) -> list[str]:
    target = s.pick(s.name(), s.name(), f"xs[{s.expression(2)}]")
    return [f"{'    ' * indent}{target} {s.pick('+', '-', '*', '//')}= {s.expression(1)}"]


def _if(s: Source, indent: int, loop: bool) -> list[str]:
    pad = "    " * indent
    lines = [f"{pad}if {s.expression(1)}:", *s.block(indent + 1, loop)]
    if s.pick(True, False):
        lines += [f"{pad}elif {s.expression(1)}:", *s.block(indent + 1, loop)]
    if s.pick(True, False):
        lines += [f"{pad}else:", *s.block(indent + 1, loop)]
    return lines


def _loop(s: Source, indent: int, loop: bool) -> list[str]:
    pad = "    " * indent
    target = s.pick("a", "c", "(a, b)", "xs[0]", "k")
    iterable = s.pick("range(3)", "xs", "[(1, 2), (3, 4)]", s.expression(2))
    head = s.pick(f"for {target} in {iterable}:", f"while t({next(s.keys)}, {s.expression(2)}):")
    lines = [f"{pad}{head}", *s.block(indent + 1, True)]
    if s.pick(True, False):
        lines += [f"{pad}else:", *s.block(indent + 1, loop)]
    return lines


def _jump(s: Source, indent: int, loop: bool) -> list[str]:
    jumps = ["break", "continue"] if loop else []
    jump = s.pick(*jumps, f"return {s.expression(1)}", f"raise ValueError({s.name()})", "pass", f"del {s.name()}")
    return [f"{'    ' * indent}if {s.expression(2)}: {jump}"]


def _try(s: Source, indent: int, loop: bool) -> list[str]:
    pad = "    " * indent
    lines = [f"{pad}try:", *s.block(indent + 1, loop)]
    kind = s.pick("(TypeError, IndexError)", "ZeroDivisionError", "NameError", "Exception")
    if s.pick(True, True, False):
        lines += [f"{pad}except {kind}{s.pick('', ' as a', ' as error')}:", *s.block(indent + 1, loop)]
        if s.pick(True, False):
            lines += [f"{pad}else:", *s.block(indent + 1, loop)]
        if s.pick(True, False):
            return lines
    return [*lines, f"{pad}finally:", *s.block(indent + 1, False)]


def _function(s: Source, indent: int, loop: bool) -> list[str]:
    pad = "    " * indent
    declared = s.pick("", "", f"nonlocal {s.name()}")
    lines = [f"{pad}def g(*args, k={s.expression(2)}):"]
    if declared:
        lines.append(f"{pad}    {declared}")
    return [*lines, *s.block(indent + 1, False), f"{pad}    return {s.expression(1)}"]


def _match(s: Source, indent: int, loop: bool) -> list[str]:
    pad, case = "    " * indent, "    " * (indent + 1)
    patterns = [
        "1 | 2",
        "[a, *c]",
        "[_, b]",
        "{1: c, **d}",
        "int(c)",
        "str() as a",
        "None",
        "[1, [b]] | {'k': b}",
        "-3",
    ]
    lines = [f"{pad}match {s.expression(1)}:"]
    for _ in range(s.draw(st.integers(1, 3))):
        guard = s.pick("", f" if {s.expression(2)}")
        lines += [f"{case}case {s.pick(*patterns)}{guard}:", *s.block(indent + 2, loop)]
    return lines


def _small(s: Source, indent: int, loop: bool) -> list[str]:
    text = s.pick(f"assert {s.expression(1)}, {s.expression(2)}", f"{s.expression(1)}", f"print({s.expression(1)})")
    return ["    " * indent + text]


_STATEMENTS = [_assign, _assign, _augmented, _if, _if, _loop, _jump, _try, _function, _match, _small]


@st.composite
def sources(draw: Any) -> str:
    """Draw the source of a function ``f(t, a, b, xs)``."""
    source = Source(draw)
    lines = ["def f(t, a, b, xs):", "    d = {'k': b}"]
    if draw(st.booleans()):
        lines.append("    def g(*args, k=0): return args, k, a")
    for _ in range(draw(st.integers(2, 6))):
        lines += source.statement(1, False)
    return "\n".join([*lines, "    return a, b, xs, d"]) + "\n"


def compiled(source: str) -> FunctionType | None:
    """Compile a source so that its lines can be found; None if Python refuses it."""
    file = f"<random {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {}
    try:
        exec(compile(source, file, "exec"), names)
    except SyntaxError:
        return None
    function = names["f"]
    assert isinstance(function, FunctionType)
    return function


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=120)
@given(sources())
def test_random_function(source: str) -> None:
    function = compiled(source)
    if function is None:
        return
    assert load(function).code is code_of(function)
    try:
        assert_same(function, (Trace(), 1, 2, [3, 0, 1]), (Trace(), 0, "s", []), (Trace(), [1, 2], None, [[4], 5]))
    finally:
        linecache.cache.pop(function.__code__.co_filename, None)
