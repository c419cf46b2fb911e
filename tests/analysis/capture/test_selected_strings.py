"""Strings that are put together of run-time values, and items of dicts and sequences at run-time keys."""

import random

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side

LETTERS = dict(enumerate("hello wrd"))
WEIGHTS = {3: 0.5, 4: 1.5, 5: -2.0}


def concatenation(n, x):
    line = "step " + str(n) + " | loss: "
    line += f"{x[0]:.3f}"
    print(line + " " * 3 + "|", round(float(x[1]), 2))
    return line


def letters_of_a_dict(n, x):
    drawn = [int(np.random.choice(range(9), p=x / x.sum())) for _ in range(6)]
    return "".join(LETTERS[number] for number in drawn), "<" + LETTERS[n] + ">"


def numbers_of_a_dict(n, x):
    return WEIGHTS[n % 3 + 3] * x.sum()


def a_key_that_is_missing(n, x):
    try:
        return WEIGHTS[n] * x.sum()
    except KeyError as error:
        return str(error)


def a_negative_key_is_no_position(n, x):
    return {0: "a", 1: "b", 2: "c"}.get(0) + {0: "a", 1: "b", 2: "c"}[n - 2 if n < 4 else 0]


def names_at_positions(n, x):
    names = ["rock", "paper", "scissors"]
    print("best:", names[int(np.argmax(x[:3]))])
    return names[n % 3 - 3]


def choices(n, x):
    dx, dy = random.choice([(0, 1), (1, 0), (0, -1), (-1, 0)])
    return random.choice("abcd") + random.choice(["x", "yy"]), dx, dy


def a_choice_that_decides(n, x):
    total = 0.0
    for _ in range(4):
        if random.choice("ab") == "a":
            total += x[n]
    return total


COMPILED = [concatenation, letters_of_a_dict, numbers_of_a_dict, names_at_positions, choices]
OTHERS = [a_key_that_is_missing, a_negative_key_is_no_position, a_choice_that_decides]


@pytest.mark.parametrize("program", COMPILED + OTHERS, ids=lambda program: program.__name__)
def test_strings_and_items_are_those_of_plain_python(program):
    def arguments(number):
        generator = np.random.default_rng(number)
        return int(generator.integers(8)), generator.random(9)

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 24) == []
    if program in COMPILED:
        assert step.stats.graph_calls >= 15 and step.stats.host_calls == 0


def test_keys_of_a_dict_from_outside_are_looked_at_in_each_call():
    def program(names, n):
        return names[n] + "!"

    def arguments(number):
        names = {0: "a", 1: "b"} if number < 8 else {1: "a", 0: "c"} if number < 12 else {0: "a", 1: "b", 2: number}
        return names, number % 2

    step = jj.jit(program, background=False)
    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 20) == []
    assert step.stats.graph_calls > 0


def test_what_looks_into_a_string_is_left_to_python():
    def program(n, x):
        return "1.25 2.5".find(f"{x[n]:.1f}"), b"%d" % n, "ab".startswith("a" + str(n))

    step = jj.jit(program, background=False)

    def arguments(number):
        return number % 3, np.array([2.5, 1.0, 7.0])

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 9) == []
