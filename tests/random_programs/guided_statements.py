"""Statements of random programs that are guided by values.

Owns `guided_program`. Invariant: a branch that is not taken is drawn on copies of the values, and what it binds is not
seen behind it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

from tests.random_programs.expressions import UNMARKED
from tests.random_programs.guided import (
    ATTEMPTS,
    HEADER,
    KEPT_FAILURES,
    PARAMETERS,
    PROLOGUE,
    Guided,
    NothingFits,
    is_array,
    is_number,
    is_small,
)

#: nesting of blocks, and how often a statement is a compound one
DEPTH, COMPOUND = 2, 0.4
ERRORS = ["ValueError('no')", "KeyError(k)", "IndexError", "ZeroDivisionError"]


class GuidedStatements(Guided):
    """Draws blocks of statements."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.loops = 0

    def run(self, lines: list[str]) -> None:
        with self.quietly():
            exec("\n".join(lines).translate(UNMARKED), self.values)

    def program(self) -> str:
        """Return the source of a whole program."""
        lines = PROLOGUE.splitlines() + self.block(DEPTH, self.rng.randint(3, 7))
        results = [self.choose(*self.names) for _ in range(2)] + self.names[-2:]
        body = "".join(f"    {line}\n" for line in [*lines, f"return {', '.join(results)}"])
        return f"{HEADER}def program({', '.join(PARAMETERS)}):\n{body}"

    def block(self, depth: int, length: int) -> list[str]:
        """Draw statements, and run them."""
        lines: list[str] = []
        for _ in range(length):
            rules = self.compound_rules if depth > 0 and self.happens(COMPOUND) else None
            try:
                lines += self.simple() if rules is None else self.choose(*rules)(depth - 1)
            except NothingFits:
                lines += self.simple()
        return lines

    def nested(self, depth: int, taken: bool = True) -> list[str]:
        """Draw an indented block; what it binds is seen behind it only if it is taken, and then not always."""
        names, values = list(self.names), self.values
        if not taken:
            self.values = values | {name: copy.deepcopy(values[name]) for name in names if name in values}
        try:
            lines = [f"    {line}" for line in self.block(depth, self.rng.randint(1, 3))]
        finally:
            self.values = values
        if not taken or self.happens(0.6):
            self.names = names
        return lines

    # ------------------------------------------------------------------ simple statements

    def simple(self) -> list[str]:
        """Draw a statement that runs; or one that does not, now and then."""
        for _ in range(2 * ATTEMPTS):
            try:
                lines = self.choose(*self.simple_rules)()
                known = set(self.values)
                self.run(lines)
            except NothingFits:
                continue
            except Exception:  # noqa: BLE001 - what a statement raises is what the program raises
                if not self.happens(KEPT_FAILURES):
                    continue
            self.names += sorted(name for name in set(self.values) - known if name[0] == "t")
            for name in self.names:
                if not is_small(self.values.get(name, 0)):  # in the program it grows on; here it is done with
                    self.values[name] = 1.0
            return lines
        return ["pass"]

    def anything(self) -> str:
        return self.choose(
            lambda: self.array(2),
            lambda: self.number_(2),
            lambda: f"[{self.number_(1)}, {self.array(0)}]",
            lambda: f"({self.array(1)}, {self.number_(1)})",
            lambda: f"{{'a': {self.array(1)}, 'n': {self.number_(0)}}}",
            lambda: f"Pair({self.array(1)}, {self.number_(1)})",
            lambda: f"[q * 2 for q in {self.array(0)}]",
            lambda: f"f'{{{self.number_(1)}:.2f}}'",
        )()

    def target(self) -> str:
        source = self.place(lambda value: is_array(value) and value.flags.writeable)
        return source + self.choose("", "", ".T", "[::-1]", ".reshape(-1)")

    @property
    def simple_rules(self) -> list[Callable[[], list[str]]]:
        array, number, place, choose = self.array, self.number_, self.place, self.choose
        return [
            lambda: [f"{self.fresh()} = {self.anything()}"],
            lambda: [f"{self.fresh()} = {self.anything()}"],
            lambda: [f"{self.choose(*self.names[:-1])} = {self.anything()}"],
            lambda: [f"{self.fresh()} = {array(0)}{choose('[1:]', '[::-1]', '.T', '[0]', '[None]', '[...]')}"],
            self.store,
            self.store,
            self.overlap,
            lambda: (lambda one: [f"{one} {choose('+=', '-=', '*=', '/=')} {self.fitting(one, 1)}"])(place(is_array)),
            lambda: [f"{place(is_number)} {choose('+=', '*=')} {number(1)}"],
            self.out,
            lambda: [f"{self.target()}.{choose(f'fill({number(1)})', 'sort()')}"],
            lambda: [f"np.add.at({self.target()}, [0, 0, -1], {number(0)})"],
            lambda: [f"np.copyto({self.target()}, {number(0)}, where={array(1)} > 0)"],
            self.list_change,
            lambda: [f"state.table[{choose(*'abn', 'k')!r}] = {self.anything()}"],
            lambda: [f"state.array = {array(1)}", f"state.flag = {number(0)} > 0"],
            lambda: [f"state.scale = {number(1)}"],
            lambda: [f"state.items = [{self.anything()}, {number(1)}]"],
            lambda: [choose("state.count += 1", "state.scale *= 2", "state.table.pop('n', None)")],
            lambda: [f"print({choose(repr('here'), number(1))})"],
            lambda: [f"{self.fresh()}, *{self.fresh()} = {place(lambda value: isinstance(value, list | tuple))}"],
            lambda: (lambda one, other: [f"{one}, {other} = {other}, {one}"])(*self.rng.sample(self.names, 2)),
            lambda: [f"assert {self.condition(1)} or k < 9"],
        ]

    def store(self) -> list[str]:
        target = self.target()
        part = f"{target}[{self.index(target)}]"
        return [f"{part} {self.choose('=', '=', '+=', '*=', '-=')} {self.fitting(part, 1)}"]

    def overlap(self) -> list[str]:
        pairs = [(":-1", "1:"), ("1:", ":-1"), ("::-1", ":"), (":k", "-k:"), ("0", "-1")]
        (here, there), target = self.choose(*pairs), self.target()
        return [f"{target}[{here}] {self.choose('=', '+=')} {target}[{there}]{self.choose('', ' * 2')}"]

    def out(self) -> list[str]:
        target = self.target()
        operands = f"{self.fitting(target, 1)}, {self.fitting(target, 1)}"
        where = self.choose("", "", f", where={target} > {self.number_(0)}")
        return [f"np.{self.choose('add', 'multiply', 'maximum', 'subtract')}({operands}, out={target}{where})"]

    def list_change(self) -> list[str]:
        items = self.place(lambda value: isinstance(value, list))
        value = self.choose(self.array, self.number_)(1)
        last = f"{items}[0], {items}[-1] = {items}[-1], {items}[0]"
        changes = [f"append({value})", f"insert(0, {value})", "pop()", "reverse()", f"extend([{value}])", "clear()"]
        return [self.choose(*(f"{items}.{change}" for change in changes), f"{items}[0] = {value}", last)]

    # ------------------------------------------------------------------ compound statements

    def leave(self) -> str:
        jump = self.choose("break", "continue") if self.loops and self.happens(0.6) else None
        return jump or self.choose(f"return {self.choose(*self.names)}", f"raise {self.choose(*ERRORS)}")

    @property
    def compound_rules(self) -> list[Callable[[int], list[str]]]:
        often = [self.if_, self.for_, self.try_]
        return [*often, *often, self.leaving, self.while_, self.with_, self.function]

    def holds(self, condition: str) -> bool:
        try:
            return bool(self.value(condition))
        except Exception as error:
            raise NothingFits from error

    def if_(self, depth: int) -> list[str]:
        condition = self.condition(2)
        holds = self.holds(condition)
        lines = [f"if {condition}:", *self.nested(depth, holds)]
        return lines + (["else:", *self.nested(depth, not holds)] if self.happens(0.5) else [])

    def leaving(self, depth: int) -> list[str]:
        condition = self.condition(1)
        return [f"if {'not ' * self.holds(condition)}({condition}):", f"    {self.leave()}"]

    def for_(self, depth: int) -> list[str]:
        item, other = self.fresh(), self.fresh()
        single = ["range(3)", "range(k)", "range(len(x))", "range(6)", "x", "reversed(x)", "m", "items_of(x, 3)"]
        double = ["enumerate(x)", "zip(x, reversed(y))", "enumerate(reversed(m))"]
        head = self.choose(*(f"for {item} in {s}" for s in single), *(f"for {item}, {other} in {s}" for s in double))
        try:
            self.run([f"{head}: break"])
            self.value(item)
        except Exception as error:
            raise NothingFits from error
        self.names += [name for name in (item, other) if name in self.values]
        lines = [f"{head}:", *self.body(depth)]
        self.names = self.names if self.happens(0.3) else [name for name in self.names if name not in (item, other)]
        return lines + (["else:", *self.nested(0, False)] if self.happens(0.2) else [])

    def body(self, depth: int) -> list[str]:
        self.loops += 1
        try:
            lines = self.nested(depth)
            if self.happens(0.3):
                lines += [f"    if {self.condition(1)}:", f"        {self.choose('break', 'continue')}"]
        finally:
            self.loops -= 1
        return lines

    def while_(self, depth: int) -> list[str]:
        counter = self.fresh()
        self.run([f"{counter} = 0"])
        lines = [f"{counter} = 0", f"while {counter} < {self.choose('3', 'k', '5')}:", f"    {counter} += 1"]
        lines += self.body(depth)
        self.names.append(counter)
        return lines

    def try_(self, depth: int) -> list[str]:
        lines = ["try:", *self.nested(depth)]
        if self.happens(0.5):
            lines += [f"    if {self.condition(1)}:", f"        raise {self.choose(*ERRORS)}"]
        caught = self.choose("(ValueError, IndexError)", "LookupError", "Exception", "ArithmeticError", "")
        aside = ["    time.perf_counter()"] if self.happens(0.3) else []
        if caught:
            lines += [f"except {caught}:", *aside, *self.nested(0, False)]
        if not caught or self.happens(0.4):
            lines += ["finally:", *aside, *self.nested(0)]
        return lines

    def with_(self, depth: int) -> list[str]:
        seen = self.fresh()
        self.run([f"{seen} = []"])
        self.names.append(seen)
        return [f"{seen} = []", f"with Log({seen}):", *self.nested(depth)]

    def function(self, depth: int) -> list[str]:
        name, result = self.fresh("f"), self.fresh()
        lines = [f"def {name}(u, w={self.number_(0)}):", f"    return u * w + {self.number_(0)}"]
        lines += [f"{result} = {name}({self.choose(self.array, self.number_)(1)})"]
        self.run(lines)
        self.names.append(result)
        return lines


def guided_program(rng: random.Random) -> str:
    """Return the source of a program, with marks."""
    while True:
        source = GuidedStatements(rng).program()
        try:
            compile(source.translate(UNMARKED), "<guided>", "exec")
        except SyntaxError:  # a name that is read in one place and bound by a comprehension in another, for example
            continue
        return source
