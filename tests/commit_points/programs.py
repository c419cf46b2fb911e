"""Programs in which Python is needed in the middle.

Each takes arrays and a `Host`, whose methods capture cannot enter. Invariant: a program's every effect is in its
arguments or in what it returns.
"""

from __future__ import annotations

import contextlib

import numpy as np


class Host:
    """What only Python can call: code without source."""

    def __init__(self):
        self.seen = []
        space = {"seen": self.seen, "np": np}
        make = "lambda value: (seen.append(np.asarray(value).copy().tolist()), value)[1]"
        self.note = eval(make, space)
        self.total = eval("lambda value: float(np.asarray(value).sum())", space)
        self.halve = eval("lambda array: array.__imul__(0.5)", space)
        self.fail = eval("lambda number: seen.append('fail') or (1 / number)", space)
        self.more = eval("lambda limit: len(seen) < limit", space)


PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


@program
def in_the_middle(host, x, w):
    hidden = np.tanh(x @ w)
    host.note(hidden)
    w -= 0.1 * (x.T @ hidden)
    return hidden.sum()


@program
def result_is_used(host, x, w):
    scale = host.total(x * 2.0)
    return x * scale + 1.0


@program
def several_in_a_row(host, x, w):
    a = host.total(x)
    y = x + a
    b = host.total(y)
    z = y * b
    host.note(z[0])
    return z - a


@program
def host_changes_what_it_gets(host, x, w):
    y = x + 1.0
    view = y[:1]
    host.halve(y)
    return y.sum() + view.sum(), y


@program
def host_changes_an_argument(host, x, w):
    before = x.sum()
    host.halve(x)
    return before, x.sum()


def _inner(host, x, scale=2.0):
    y = x * scale
    noted = host.total(y)
    return y + noted


@program
def in_a_callee(host, x, w):
    a = _inner(host, x)
    b = _inner(host, a, scale=0.5)
    return a + b


class Layer:
    def __init__(self, host, weight):
        self.weight = weight * 2.0
        self.noted = host.total(weight)
        self.bias = self.weight.sum() + self.noted

    def forward(self, host, x):
        self.last = x @ self.weight
        host.note(self.bias)
        return self.last + self.bias


@program
def in_a_constructor(host, x, w):
    layer = Layer(host, w)
    y = layer.forward(host, x)
    return y, layer.last.sum(), layer.bias


@program
def object_survives(host, x, w):
    layers = [Layer(host, w), Layer(host, w + 1.0)]
    for layer in layers:
        x = layer.forward(host, x)
    return x


@program
def in_a_short_loop(host, x, w):
    total = 0.0
    for i in range(3):
        total += host.total(x * i)
    return total + x


@program
def in_a_long_loop(host, x, w):
    y = x.copy()
    for i in range(40):
        y = y * 0.9 + i
        if i % 10 == 3:
            host.note(y.sum())
    return y


@program
def every_turn_of_a_long_loop(host, x, w):
    y = x.copy()
    for i in range(25):
        y += host.total(w) * 0.01 * i
    else:
        y -= 1.0
    return y


@program
def loop_over_a_list_of_arrays(host, x, w):
    total = x.sum()
    for row, scale in zip([w[0], w[1], w[2]], (1.0, 2.0, 3.0)):
        total = total + (row * scale).sum() + host.total(row)
    return total


@program
def loop_over_rows(host, x, w):
    total = 0.0
    for i, row in enumerate(w):
        total = total + i * host.total(row) + row[0]
    return total


@program
def break_and_continue(host, x, w):
    y = x.copy()
    for i in range(30):
        if i % 2:
            continue
        y = y + host.total(x)
        if y.sum() > 200.0:
            host.note(i)
            break
    else:
        y = -y
    return y


@program
def nested_loops(host, x, w):
    y = x.copy()
    for i in range(4):
        for j in range(i + 1):
            y += host.total(w) * (i - j)
        y *= 0.5
    return y


@program
def while_with_host_test(host, x, w):
    y = x.copy()
    limit = len(host.seen) + 4
    while host.more(limit):
        y = y * 1.5
        host.note(y.sum())
    else:
        y = y - 1.0
    return y


@program
def while_on_a_tensor(host, x, w):
    y = np.abs(x) + 1.0
    while y.sum() < 500.0:
        y = y * 1.7
        y = y + host.total(w) * 0.0
    return y


@program
def iterator_from_outside(host, x, w):
    batches = map(host.note, [x, x + 1.0, x * 2.0, x - 3.0])
    total = 0.0
    for batch in batches:
        total = total + (batch * 2.0).sum()
    return total


@program
def generator_expression_of_hosts(host, x, w):
    parts = [host.total(row) for row in (w[0], w[1])]
    return x * parts[0] + parts[1]


@program
def in_a_branch(host, x, w):
    y = x * 2.0
    if y.sum() > 0:
        y = y + host.total(y)
    else:
        y = y - host.total(y) - 1.0
    return y * 2.0


@program
def short_circuit(host, x, w):
    if x.sum() > 0 and host.total(x) > 1.0:
        return x + 1.0
    return x - 1.0


@program
def ternary(host, x, w):
    y = (host.total(x) if x[0, 0] > 0 else host.total(w)) + x
    return y


@program
def inside_try_finally(host, x, w):
    try:
        y = x * 2.0
        host.note(y.sum())
        y = y + 1.0
    finally:
        host.seen.append("finally")
    return y


@program
def host_raises_and_is_handled(host, x, w):
    y = x + 1.0
    try:
        host.fail(0)
        y = y * 100.0
    except ZeroDivisionError:
        y = y - 5.0
    return y


@program
def host_raises_in_a_callee(host, x, w):
    def attempt(value):
        doubled = value * 2.0
        host.fail(0)
        return doubled

    y = x * 3.0
    try:
        y = attempt(y)
    except ZeroDivisionError as error:
        y = y + len(str(error))
    return y


@program
def host_raises(host, x, w):
    x += 1.0
    host.fail(0)
    return x


@program
def raises_in_the_second_call(host, x, w):
    x += 1.0
    total = host.total(x)
    x[0, 0] = total
    host.fail(len(host.seen) % 3)
    return x


@program
def in_a_with(host, x, w):
    with contextlib.suppress(ZeroDivisionError):
        y = x * 2.0
        host.note(y.sum())
        x += y
        host.fail(0)
        x += 100.0
    return x


class Scope:
    def __init__(self, log):
        self.log = log

    def __enter__(self):
        self.log.append("enter")
        return 2.0

    def __exit__(self, *raised):
        self.log.append("exit")
        return False


@program
def in_a_users_with(host, x, w):
    with Scope(host.seen) as factor:
        y = x * factor
        host.note(y.sum())
        y = y + 1.0
    return y


@program
def closures(host, x, w):
    scale = x.sum()
    count = 0

    def scaled(value):
        nonlocal count
        count += 1
        return value * scale

    y = scaled(x)
    host.note(y.sum())
    scale = scale + 1.0
    z = scaled(y)
    host.note(count)
    return z, count


@program
def bound_method_and_function_values(host, x, w):
    results = []
    add = results.append
    double = lambda value: value * 2.0  # noqa: E731
    host.note(1)
    add(double(x))
    host.note(2)
    add(x.sum())
    return results


@program
def dicts_and_lists_made_inside(host, x, w):
    state = {"a": x * 2.0, "b": [x.sum()]}
    alias = state["b"]
    host.note(3)
    alias.append(4.0)
    state["c"] = state["a"] + len(state["b"])
    host.note(state["b"])
    return state


@program
def text_between(host, x, w):
    message = f"sum {x.sum():.3f}"
    host.note(0)
    host.seen.append(message + "!")
    return x


@program
def star_and_keywords(host, x, w):
    arguments = (x.sum(),)
    return host.note(*arguments) + x


@program
def unknown_number_function(host, x, w):
    y = x * 2.0
    text = str(np.array2string(y, precision=3))
    host.seen.append(text)
    return y + len(text)


@program
def variable_unbound_on_one_path(host, x, w):
    if x.sum() > 1e9:
        late = 1.0
    host.note(0)
    try:
        return x * late
    except UnboundLocalError:
        return -x


@program
def recursion_with_host(host, x, w):
    def descend(value, depth):
        if depth == 0:
            return host.total(value)
        return descend(value * 0.5, depth - 1) + depth

    return descend(x, 3) + x


@program
def global_and_attribute_effects_before(host, x, w):
    host.counter = getattr(host, "counter", 0) + 1
    y = x + host.counter
    host.note(y.sum())
    host.counter += 1
    return y * host.counter


@program
def class_made_inside(host, x, w):
    class Point:
        def __init__(self, value):
            self.value = value

        def shifted(self):
            return self.value + 1.0

    return Point(x).shifted() * 2.0


@program
def complex_numbers_in_the_middle(host, x, w):
    spectrum = np.fft.fft(x[0])
    power = np.abs(spectrum) ** 2
    return x + power.sum()
