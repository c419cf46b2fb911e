"""When objects are dropped and names unbound: finalizers, weak references and ``del`` see it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side

CALLS = 7


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value


def finalized(log: list[Any]) -> type:
    class Finalized(Plain):
        def __del__(self) -> None:
            log.append(self.value)

    return Finalized


def kept_to_the_end(log: list[Any]) -> Callable[..., Any]:
    made = finalized(log)

    def step(x, number):
        held = made(number)  # noqa: F841 - it lives until the function ends
        log.append("between")
        return x.sum()

    return step


def rebound(log: list[Any]) -> Callable[..., Any]:
    made = finalized(log)

    def step(x, number):
        held = made(number)
        held = None  # noqa: F841 - what it was is dropped here
        log.append("between")
        made(-number)
        return x.sum()

    return step


def made_in_a_callee(log: list[Any]) -> Callable[..., Any]:
    made = finalized(log)

    def inner(number):
        return made(number).value * 2

    def step(x, number):
        doubled = inner(number)
        log.append("between")
        return x * doubled

    return step


def referred_to_weakly(log: list[Any]) -> Callable[..., Any]:
    def step(x, number):
        held = Plain(x)
        reference = weakref.ref(held)
        other = held
        held = None
        log.append(reference() is not None)
        del other
        log.append(reference() is None)
        return x.sum()

    return step


def in_a_weak_set(log: list[Any]) -> Callable[..., Any]:
    everything = weakref.WeakSet()

    def step(x, number):
        held = Plain(x)
        everything.add(held)
        print(number)
        log.append(len(everything))
        return x.sum()

    return step


@pytest.mark.parametrize("build", [kept_to_the_end, rebound, made_in_a_callee, referred_to_weakly, in_a_weak_set])
def test_what_sees_objects_dropped_is_left_to_python(build: Callable[[list[Any]], Callable[..., Any]]) -> None:
    sides, steps = [], []
    for decorate in (lambda function: function, jj.jit(background=False)):
        log: list[Any] = []
        steps.append(decorate(build(log)))
        sides.append(Side(steps[-1], lambda n: (np.arange(4.0) + n, n), None, lambda log=log: list(log)))
    assert run_side_by_side(*sides, CALLS) == []
    assert steps[1].stats.graph_calls == 0 and steps[1].reason.code == "python.lifetime"


def test_a_finalizer_that_a_class_gets_later_is_seen() -> None:
    log: list[Any] = []

    class Later(Plain):
        pass

    @jj.jit(background=False)
    def step(x, number):
        return x * Later(number).value

    for number in range(5):
        np.testing.assert_array_equal(step(np.ones(2), number), np.full(2, float(number)))
    assert step.stats.graph_calls == 3
    Later.__del__ = lambda self: log.append(self.value)
    for number in range(3):
        np.testing.assert_array_equal(step(np.ones(2), number), np.full(2, float(number)))
    assert log == [0, 1, 2] and step.stats.graph_calls <= 4


def test_a_weak_reference_to_a_function_is_made_by_python_in_the_middle() -> None:
    @jj.jit(background=False)
    def step(x):
        return x * (weakref.ref(finalized)() is finalized)

    for _ in range(5):
        np.testing.assert_array_equal(step(np.ones(2)), np.ones(2))
    assert step.stats.graph_calls == 3 and step.stats.host_calls > 0


def test_a_name_is_deleted_after_python_has_run_a_part() -> None:
    def step(x, number):
        first = second = x + 1.0
        os.getpid()
        del first
        made = [second * 2.0]
        os.getpid()
        del made, second
        try:
            return first  # noqa: F821 - that is the point
        except UnboundLocalError as error:
            return str(error), x * 2.0

    jitted = jj.jit(step, background=False)
    sides = [Side(function, lambda n: (np.arange(4.0) + n, n)) for function in (step, jitted)]
    assert run_side_by_side(*sides, CALLS) == []
    assert jitted.stats.graph_calls == CALLS - 2 and jitted.stats.host_calls >= 2 * (CALLS - 2)


def test_a_name_is_deleted_on_one_way_through_a_loop() -> None:
    def step(x, number):
        total = 0.0
        for turn in range(4):
            part = x * turn
            os.getpid()
            if turn == number % 4:
                del part
            else:
                total += part.sum()
        return total

    jitted = jj.jit(step, background=False)
    sides = [Side(function, lambda n: (np.arange(4.0) + n, n)) for function in (step, jitted)]
    assert run_side_by_side(*sides, CALLS) == []
    assert jitted.stats.graph_calls >= 3
