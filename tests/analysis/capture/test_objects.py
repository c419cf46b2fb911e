"""Containers, classes, closures and generators disappear at capture; what outside sees of them is committed."""

from collections import namedtuple
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from tests.analysis.capture.capturing import assert_captured, operations

X = np.arange(4.0) + 1


def unrolled(x):
    parts = []
    for i in range(3):
        parts.append(x * i)
    return parts, sum(parts), len(parts)


def dictionary(x, table):
    table["w"] = table["w"] - x
    table["n"] += 1
    return {key: value for key, value in table.items()}  # noqa: C416 - the construct under test


class Net:
    def __init__(self, weights):
        self.weights, self.count = weights, 0

    def forward(self, x):
        return x * self.weights

    def step(self, x):
        self.count += 1
        self.weights = self.weights - 0.1 * self.forward(x)
        return self.weights


def stateful_object(x, net):
    return net.step(x)


def closure(x):
    factor = 1.5

    def scale(y):
        nonlocal factor
        factor += 1
        return y * factor

    return scale(x) + scale(x)


def generator(x):
    def multiples():
        for i in range(3):
            yield x * i

    total = 0
    for value in multiples():
        total = total + value
    return total


def handled(x, table):
    try:
        factor = table["missing"]
    except KeyError:
        factor = 3.0
    finally:
        x = x + 1
    return x * factor


def views(x):
    part = x[1:, ::2]
    part += 1
    first = part[0]
    first[...] = 7
    return part


def advanced_indexing(x, i):
    taken = x[i]
    x[i] = 0
    large = x[x > 1]
    x[x < 0.5] = 9
    return taken, large


def printing(x, rate):
    print("rate", rate)
    if rate > 0.05:
        print("x", x)
    return x


def matching(x, pattern):
    match pattern:
        case 1:
            return x
        case [scale, shift]:
            return x * scale + shift
        case {"scale": scale}:
            return x * scale
        case _:
            return -x


def unpacking(x):
    first, *rest = [x * i for i in range(4) if i != 2]
    return first, rest


def outside_list(x, log):
    log.append(x * 2)
    log.append(3)


@dataclass
class Box:
    width: object
    height: float = 2.0

    def area(self):
        return self.width * self.height


Pair = namedtuple("Pair", "first second")


def records(x):
    box = Box(x)
    box.height += 1
    pair = Pair(x, 1)._replace(second=3)
    return box.area() * pair.second, box, pair


class Managed:
    def __init__(self):
        self._value = 1.0

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        self._value = value * 2

    def __getattr__(self, name):
        if name == "extra":
            return 5
        raise AttributeError(name)

    def __len__(self):
        return 3

    def __call__(self, x):
        return x * self.value


def descriptors(x, managed):
    managed.value = 3.0
    return managed(x) * len(managed) * managed.extra, hasattr(managed, "nothing"), getattr(managed, "_value")  # noqa: B009 - the construct under test


class Base:
    def scale(self, x):
        return x + 1


class Derived(Base):
    def scale(self, x):
        return super().scale(x) * 2


def inherited(x, derived):
    return derived.scale(x)


@contextmanager
def three():
    yield 3


def managed_context(x):
    with three() as factor:
        x = x * factor
    return x + 1


def factorial(n):
    return 1 if n <= 1 else n * factorial(n - 1)


def recursive(x, n):
    return x * factorial(n)


def flexible(x, *others, **named):
    return x + others[0] + named["k"]


def star_call(x):
    return flexible(x, *(1, 2), **{"k": 3})


def coroutines(x):
    async def double(y):
        return y * 2

    async def outer(y):
        return (await double(y)) + 1

    running = outer(x)
    try:
        running.send(None)
    except StopIteration as stop:
        return stop.value


def sorting(x):
    table = {"b": x, "a": x * 2}
    return [table[key] for key in sorted(table)], [v for _, v in sorted(table.items(), key=lambda pair: pair[0])]


class Tensor:
    def __init__(self, data, parents=(), backward=None):
        self.data, self.gradient, self.parents, self.step = data, 0.0, parents, backward

    def __mul__(self, other):
        result = Tensor(self.data * other.data, (self, other))

        def step():
            self.gradient = self.gradient + other.data * result.gradient
            other.gradient = other.gradient + self.data * result.gradient

        result.step = step
        return result

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for parent in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.gradient = 1.0
        for node in reversed(order):
            if node.step:
                node.step()


def own_engine(x, w):
    left, right = Tensor(x), Tensor(w)
    product = left * right * left
    product.backward()
    return left.gradient, right.gradient, product.data


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (unrolled, (X,)),
        (dictionary, (X, {"w": X * 3, "n": 2})),
        (stateful_object, (X, Net(X + 1))),
        (closure, (X,)),
        (generator, (X,)),
        (handled, (X, {"a": 1})),
        (views, (np.arange(12.0).reshape(3, 4),)),
        (advanced_indexing, (X, np.array([1, 2]))),
        (printing, (X, 0.3)),
        (printing, (X, 0.01)),
        (matching, (X, 1)),
        (matching, (X, [2, 3.0])),
        (matching, (X, {"scale": 2.5})),
        (matching, (X, "other")),
        (unpacking, (X,)),
        (outside_list, (X, [1, 2])),
        (records, (X,)),
        (descriptors, (X, Managed())),
        (inherited, (X, Derived())),
        (managed_context, (X,)),
        (recursive, (X, 5)),
        (star_call, (X,)),
        (coroutines, (X,)),
        (sorting, (X,)),
        (own_engine, (X, X + 1)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_captured_whole(function, arguments):
    assert_captured(function, *arguments)


def test_an_engine_leaves_only_arithmetic():
    graph = assert_captured(own_engine, X, X + 1)
    assert set(operations(graph)) <= {"multiply", "add", "cast", "constant", "exit"}
