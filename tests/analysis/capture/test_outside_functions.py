"""Functions that come from outside as other objects at other calls, made anew by the same definition."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


def adding(number):
    return lambda x: x + number


def scaling(number, times=2.0):
    def scaled(x, factor=times):
        return x * factor * number

    return scaled


def squared(number):
    return lambda x: (x * x * number).sum()


def applied(function, x):
    return function(x) * 2.0


def applied_twice(function, x):
    held = [function, function]
    return held[0](held[1](x))


def differentiated(function, x):
    return jj.grad(function)(x)


def given_back(function, x):
    return function, function(x)


class Node:
    """As an autograd engine has it: a node carries a closure of its own."""

    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)
        self.backward = lambda: None

    def __mul__(self, other):
        made = Node(self.data * other.data)

        def backward():
            self.grad = self.grad + other.data * made.grad
            other.grad = other.grad + self.data * made.grad

        made.backward = backward
        return made


def engine_step(nodes, _):
    product = nodes[0] * nodes[1]
    product.grad = np.ones(3)
    for node in (product, *nodes):
        node.backward()
    return nodes[0].grad, nodes[1].grad


CASES = [
    (applied, adding),
    (applied, scaling),
    (applied_twice, adding),
    (differentiated, squared),
]


@pytest.mark.parametrize(("program", "make"), CASES, ids=lambda part: part.__name__)
def test_one_specialization_serves_all_functions_of_a_definition(program, make):
    step = jj.jit(program, background=False)
    x = np.arange(3.0)
    for number in range(12):
        np.testing.assert_allclose(step(make(number + 0.5), x), program(make(number + 0.5), x), rtol=1e-15)
    assert step.stats.graph_calls == 10 and step.stats.deopts == 1 and step.stats.host_calls == 0
    assert len(step.specializations) == 2


def test_a_function_of_another_definition_has_a_specialization_of_its_own():
    step = jj.jit(applied, background=False)
    x = np.arange(3.0)
    for number in range(8):
        for make in (adding, scaling):
            np.testing.assert_array_equal(step(make(number), x), applied(make(number), x))
    assert step.reason is None and len(step.specializations) <= 4
    before = step.stats.deopts
    for make in (adding, scaling, adding):
        np.testing.assert_array_equal(step(make(100), x), applied(make(100), x))
    assert step.stats.deopts == before


def test_defaults_and_cells_are_read_at_each_call():
    step = jj.jit(applied, background=False)
    x = np.arange(3.0)
    for number in range(6):
        function = scaling(number, times=float(number))
        np.testing.assert_array_equal(step(function, x), applied(function, x))
    function.__defaults__ = (100.0,)
    np.testing.assert_array_equal(step(function, x), applied(function, x))
    function.__closure__[0].cell_contents = -1.0
    np.testing.assert_array_equal(step(function, x), applied(function, x))
    assert step.stats.deopts <= 2 and step.stats.graph_calls == 6


def test_a_function_is_given_back_as_the_object_it_is():
    step = jj.jit(given_back, background=False)
    for number in range(6):
        function = adding(number)
        found, value = step(function, np.ones(2))
        assert found is function
        np.testing.assert_array_equal(value, function(np.ones(2)))
    assert step.stats.graph_calls == 4


def compared(one, other, x):
    return one is other, one(x) + other(x)


def test_whether_two_of_them_are_one_object_is_checked():
    step = jj.jit(compared, background=False)
    for number in range(6):
        assert step(adding(number), adding(1), 1.0) == compared(adding(number), adding(1), 1.0)
    same = adding(3)
    assert step(same, same, 1.0) == compared(same, same, 1.0) == (True, 8.0)
    assert step(adding(1), same, 1.0) == (False, 6.0)
    assert step.stats.graph_calls >= 4


def test_an_engine_whose_leaves_carry_closures_is_compiled_once():
    step = jj.jit(engine_step, background=False)
    rng = np.random.default_rng(0)
    for _ in range(12):
        a, b = rng.normal(size=3), rng.normal(size=3)
        for found, expected in zip(step([Node(a), Node(b)], 0), engine_step([Node(a), Node(b)], 0), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert step.stats.graph_calls == 10 and step.stats.deopts <= 2 and step.stats.host_calls == 0


def test_a_function_with_attributes_is_known_by_its_identity():
    step = jj.jit(applied, background=False)
    for number in range(6):
        function = adding(number)
        function.label = number
        assert step(function, 1.0) == applied(function, 1.0)
    assert len(step.specializations) == 4
