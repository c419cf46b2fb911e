"""What lies on a tape is found there, and what comes of it lives on where the next push does not go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from janusjit.ir.graph import Value
from janusjit.ir.types import INT
from janusjit.ops.indexing import Range
from tests.backend.lowering import Program, check, path

X, Y = np.arange(1.0, 13.0), np.linspace(-1.0, 1.0, 12)
TAPE = {"tape": 1}


def kept_by_a_branch(p: Program, popped: Value, x: Value) -> Value:
    wanted = p.greater(p.reduce("sum", x), 0.0)
    return p.branch(wanted, lambda: p.end("yield", popped), lambda: p.end("yield", popped))[0]


def changed_by_a_loop(p: Program, popped: Value, x: Value) -> Value:
    def body(turn: Value, carried: Value) -> None:
        following = p.add(turn, p.constant(1, "i64"))
        changed = p.multiply(carried, x)
        done = p.equal(following, p.constant(3, "i64"))
        p.branch(done, lambda: p.end("break", changed), lambda: p.end("continue", following, changed))
        p.end("unreachable")

    return p.loop((p.constant(0, "i64"), popped), body, [popped.type])[0]


def kept_by_a_loop(p: Program, popped: Value, x: Value) -> Value:
    def body(turn: Value, carried: Value) -> None:
        following = p.add(turn, p.constant(1, "i64"))
        done = p.equal(following, p.constant(3, "i64"))
        p.branch(done, lambda: p.end("break", carried), lambda: p.end("continue", following, carried))
        p.end("unreachable")

    return p.loop((p.constant(0, "i64"), popped), body, [popped.type])[0]


def updated(p: Program, popped: Value, x: Value) -> Value:
    part = p.emit("view", x, index=(Range(0, 3, 1),))
    return p.emit("update", popped, part, path=path(Range(2, 3, 1)))


@pytest.mark.parametrize("changed", [kept_by_a_branch, changed_by_a_loop, kept_by_a_loop, updated])
@pytest.mark.parametrize("again", [False, True])
def test_what_came_from_a_tape_is_not_pushed_over(changed: Callable[..., Value], again: bool) -> None:
    p = Program()
    x, y = p.input(X), p.input(Y)

    def push(token: Value, value: Value) -> Value:
        return p.builder.emit("tape_push", (token, value), TAPE, result_types=(INT,)).result

    def pop(token: Value) -> tuple[Value, ...]:
        return p.builder.emit("tape_pop", (token,), TAPE, result_types=(INT, x.type)).results

    token, popped = pop(push(p.builder.emit("tape_new", (), TAPE, result_types=(INT,)).result, p.multiply(x, 2.0)))
    result = changed(p, popped, x)
    if again:
        _, popped = pop(push(token, p.multiply(y, 3.0)))
        check(p.finish(result, p.add(result, popped)), X, Y)
    else:
        check(p.finish(result), X, Y)
