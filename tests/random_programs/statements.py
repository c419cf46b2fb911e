"""Random programs as source text: blocks of statements over the random expressions.

Owns `program_sources`. Invariant: a program ends (every loop is bounded by its text), and reads nothing but its
arguments, the globals that `Environment` sets, and what it made itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.random_programs.expressions import Draw, Expressions

HEADER = """\
def helper(v, s):
    return v * 2 - s


def other_helper(v, s):
    if s > 0:
        return v + s
    return v


def program(x, y, m, k, r, state):
"""

#: Nesting of blocks, statements in a block, nesting of expressions.
BLOCK_DEPTH, BLOCK_LENGTH, EXPRESSION_DEPTH = 2, 4, 2


class Statements:
    """Draws statements; keeps track of the names they bind."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._expressions = Expressions(draw)
        self._names = 0
        self._in_loop = 0

    def body(self) -> list[str]:
        """Draw a whole function body."""
        lines = []
        if self._draw(st.integers(0, 4)) == 4:
            lines += ["global COUNT", "COUNT += 1"]
        lines += self._block(BLOCK_DEPTH, self._draw(st.integers(1, BLOCK_LENGTH + 2)))
        lines.append(f"return {self._result()}")
        return lines

    def _result(self) -> str:
        scope = self._expressions
        names = [*scope.vectors, *scope.numbers, *scope.integers, "m", "None", "m[0]", "m.T"]
        chosen = [scope.choose(names[::-1]) for _ in range(self._draw(st.integers(1, 3)))]
        return ", ".join(chosen) if len(chosen) > 1 else chosen[0]

    def _block(self, depth: int, length: int) -> list[str]:
        lines: list[str] = []
        for _ in range(length):
            rules = self._simple_rules() if depth <= 0 else self._simple_rules() + self._compound_rules(depth - 1)
            lines += self._expressions.choose(rules)()
        return lines

    def _nested(self, depth: int) -> list[str]:
        """Draw an indented block; what it binds stays visible in one of four cases (it may then be unbound)."""
        scope = self._expressions
        before = list(scope.vectors), list(scope.numbers), list(scope.integers)
        lines = [f"    {line}" for line in self._block(depth, self._draw(st.integers(1, BLOCK_LENGTH - 1)))]
        if self._draw(st.integers(0, 3)) < 3:
            scope.vectors, scope.numbers, scope.integers = before
        return lines

    def _fresh(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _vector(self) -> str:
        return self._expressions.vector(self._draw(st.integers(0, EXPRESSION_DEPTH)))

    def _number(self) -> str:
        return self._expressions.number(self._draw(st.integers(0, EXPRESSION_DEPTH)))

    def _simple_rules(self) -> list[Callable[[], list[str]]]:
        return [
            self._bind_vector,
            self._bind_vector,
            self._bind_number,
            self._bind_integer,
            self._bind_view,
            self._write_item,
            self._write_slice,
            self._write_mask,
            self._write_matrix,
            self._augment,
            self._out_argument,
            self._write_state,
            self._write_container,
            self._print,
            self._raise,
            self._leave,
        ]

    def _compound_rules(self, depth: int) -> list[Callable[[], list[str]]]:
        return [
            lambda: self._if(depth),
            lambda: self._if(depth),
            lambda: self._for_range(depth),
            lambda: self._for_items(depth),
            lambda: self._while(depth),
            lambda: self._try(depth),
            self._accumulate,
        ]

    def _bind_vector(self) -> list[str]:
        value, scope = self._vector(), self._expressions
        name = self._fresh("v") if self._draw(st.booleans()) else scope.choose(scope.vectors)
        if name not in scope.vectors:
            scope.vectors.append(name)
        return [f"{name} = {value}"]

    def _bind_number(self) -> list[str]:
        value, scope = self._number(), self._expressions
        name = self._fresh("s") if self._draw(st.booleans()) else scope.choose(scope.numbers)
        if name not in scope.numbers:
            scope.numbers.append(name)
        return [f"{name} = {value}"]

    def _bind_integer(self) -> list[str]:
        value, name = self._expressions.integer(EXPRESSION_DEPTH), self._fresh("i")
        self._expressions.integers.append(name)
        return [f"{name} = {value}"]

    def _bind_view(self) -> list[str]:
        scope = self._expressions
        base, name = scope.choose([*scope.vectors, "m[1]", "m[:, 0]"]), self._fresh("w")
        scope.vectors.append(name)
        return [f"{name} = {base}[{scope.slice()}]"]

    def _write_item(self) -> list[str]:
        scope = self._expressions
        return [f"{scope.choose(scope.vectors)}[{scope.index()}] {scope.choose(['=', '+=', '*='])} {self._number()}"]

    def _write_slice(self) -> list[str]:
        scope = self._expressions
        part, target = scope.slice(), scope.choose(scope.vectors)
        value = scope.choose([self._number(), f"{scope.choose(scope.vectors)}[{part}]", f"{self._vector()}[{part}]"])
        return [f"{target}[{part}] {scope.choose(['=', '+=', '-=', '*='])} {value}"]

    def _write_mask(self) -> list[str]:
        scope = self._expressions
        target = scope.choose(scope.vectors)
        mask = f"{self._vector()} {scope.choose(['>', '<', '=='])} {scope.number(0)}"
        return [f"{target}[{mask}] {scope.choose(['=', '+=', '*='])} {self._number()}"]

    def _write_matrix(self) -> list[str]:
        scope = self._expressions
        targets = [f"m[{scope.index()}]", f"m[:, {scope.index()}]", "m[...]", f"m.T[{scope.slice()}]", "m[1:, :-1]"]
        value = scope.choose([self._number(), self._vector()])
        return [f"{scope.choose(targets)} {scope.choose(['=', '+=', '*='])} {value}"]

    def _augment(self) -> list[str]:
        scope = self._expressions
        target = scope.choose([*scope.vectors, *scope.numbers, "state.array"])
        return [f"{target} {scope.choose(['+=', '-=', '*='])} {scope.choose([self._number(), self._vector()])}"]

    def _out_argument(self) -> list[str]:
        scope = self._expressions
        target, function = scope.choose(scope.vectors), scope.choose(["add", "multiply", "maximum", "subtract"])
        out = scope.choose([f", out={target}", f", {target}"])
        return [f"np.{function}({self._vector()}, {self._vector()}{out})"]

    def _write_state(self) -> list[str]:
        return [
            self._expressions.choose(
                [
                    "state.count += 1",
                    f"state.count = {self._expressions.integer(1)}",
                    f"state.array = {self._vector()}",
                    f"state.scale = {self._number()}",
                    "state.flag = not state.flag",
                ]
            )
        ]

    def _write_container(self) -> list[str]:
        return [
            self._expressions.choose(
                [
                    f"state.items.append({self._expressions.choose([self._number(), self._vector()])})",
                    f"state.table['last'] = {self._vector()}",
                    f"state.table[k] = {self._number()}",
                    "state.table.pop('last', None)",
                    f"state.items = [{self._number()}, {self._number()}]",
                ]
            )
        ]

    def _print(self) -> list[str]:
        value = self._expressions.integer(1)
        return [self._expressions.choose(["print('here')", f"print('value', {value})"])]

    def _raise(self) -> list[str]:
        condition = self._expressions.condition(1)
        error = self._expressions.choose(["ValueError('no')", "KeyError(k)", "ZeroDivisionError"])
        return self._expressions.choose(
            [[f"if {condition}:", f"    raise {error}"], [f"assert {condition} or k > 0, 'failed'"]]
        )

    def _leave(self) -> list[str]:
        condition = self._expressions.condition(1)
        how = ["break", "continue"] if self._in_loop else [f"return {self._result()}"]
        return [f"if {condition}:", f"    {self._expressions.choose([*how, f'return {self._result()}'])}"]

    def _if(self, depth: int) -> list[str]:
        lines = [f"if {self._expressions.condition(EXPRESSION_DEPTH)}:", *self._nested(depth)]
        if self._draw(st.booleans()):
            lines += ["else:", *self._nested(depth)]
        return lines

    def _loop_body(self, depth: int) -> list[str]:
        self._in_loop += 1
        lines = self._nested(depth)
        self._in_loop -= 1
        return lines

    def _for_range(self, depth: int) -> list[str]:
        scope = self._expressions
        name, bound = self._fresh("i"), scope.choose(["3", "k", "len(x)", "2", "k + 1"])
        scope.integers.append(name)
        lines = [f"for {name} in range({bound}):", *self._loop_body(depth)]
        if name in scope.integers:
            scope.integers.remove(name)
        return lines

    def _for_items(self, depth: int) -> list[str]:
        scope = self._expressions
        kind = scope.choose(["number", "vector", "zip"])
        if kind == "zip":
            one, other = self._fresh("e"), self._fresh("e")
            scope.numbers += [one, other]
            header, bound, names = f"for {one}, {other} in zip({self._vector()}, y):", [one, other], scope.numbers
        else:
            name = self._fresh("e")
            source = self._vector() if kind == "number" else scope.choose(["m", "[x, y]", "(x, m[0])", "m.T"])
            names = scope.numbers if kind == "number" else scope.vectors
            header, bound = f"for {name} in {source}:", [name]
            names.append(name)
        lines = [header, *self._loop_body(depth)]
        for held in (scope.numbers, scope.vectors):
            held[:] = [name for name in held if name not in bound]
        return lines

    def _accumulate(self) -> list[str]:
        """Draw a loop that takes in some items of an array: the number is Python's or NumPy's, as the items decide."""
        scope = self._expressions
        name, item = self._fresh("s"), self._fresh("e")
        start = scope.choose(["0.0", "0", "-1e9", "True", "np.float32(1)", self._number()])
        condition = scope.choose([f"{item} > {name}", f"{item} > {scope.number(0)}", f"{item} != 0 and {name} < 3"])
        taken = [f"{name} += {item}", f"{name} = {item}", f"{name} = max({name}, {item})", f"{name} = {item} - {name}"]
        left = ["pass", f"{name} *= 2", f"{name} = {scope.number(0)}", f"state.scale = {name}", "continue"]
        lines = [f"{name} = {start}", f"for {item} in {self._vector()}:", f"    if {condition}:"]
        lines += [f"        {scope.choose(taken)}", "    else:", f"        {scope.choose(left)}"]
        scope.numbers.append(name)
        return lines

    def _while(self, depth: int) -> list[str]:
        counter = self._fresh("n")
        condition = self._expressions.condition(1)
        body = [f"    {counter} += 1", *self._loop_body(depth)]
        return [f"{counter} = 0", f"while {condition} and {counter} < 4:", *body]

    def _try(self, depth: int) -> list[str]:
        error = self._expressions.choose(["ValueError", "(IndexError, ZeroDivisionError)", "Exception"])
        lines = ["try:", *self._nested(depth), f"except {error}:", *self._nested(0)]
        if self._draw(st.integers(0, 3)) == 3:
            lines += ["finally:", "    state.count += 1"]
        return lines


@st.composite
def program_sources(draw: Any) -> str:
    """Draw a program, with the marks of `Expressions` still in it."""
    return HEADER + "".join(f"    {line}\n" for line in Statements(draw).body())
