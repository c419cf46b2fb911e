"""Functions: closures, comprehensions, decorators, argument passing, higher-order builtins, eval."""

# ruff: noqa: RET504, B905 - the programs are written as people write them

import copy
import functools

import numpy as np

from tests.constructs.construct import Construct


def vector(number, length=6):
    return np.arange(length) * 0.25 - 0.5 + 0.01 * number


def make_scaler(scale):
    return lambda x: x * scale


double, halve = make_scaler(2.0), make_scaler(0.5)


def lambda_and_closure(x):
    offset = x.sum()
    shift = lambda y: y + offset
    return shift(double(x)) - halve(x)


def make_counter():
    count = 0

    def increment(x):
        nonlocal count
        count += 1
        return x * count

    return increment, lambda: count


increment, read_count = make_counter()


def nonlocal_mutation(x):
    y = increment(x)
    return increment(y)


def dict_comprehension(x):
    parts = {f"part{i}": x[i] * 2.0 for i in range(3)}
    return parts


def list_comprehension(x):
    squares = [value * value for value in (x, x + 1.0, x - 1.0)]
    return squares[0] + squares[1] * squares[2]


def returned_closure(x):
    total = x.sum()

    def apply(y):
        return y * total

    return apply


def returned_closure_called(x):
    return returned_closure(x)(x + 1.0)


def traced(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs) + 1.0

    return wrapper


@traced
def scaled_sum(x, y, scale=1.0):
    return x * scale + y


scaled_by_three = functools.partial(scaled_sum, scale=3.0)


def partial_and_wraps(x):
    return scaled_by_three(x, x * x)


def combine(first, *rest, weight=1.0, **named):
    total = first * weight
    for item in rest:
        total = total + item
    for value in named.values():
        total = total - value
    return total


def star_arguments(x):
    pieces = (x, x + 1.0)
    options = {"weight": 2.0, "bias": x * 0.1}
    return combine(*pieces, x * x, **options)


def higher_order_builtins(x):
    rows = [x, x * 2.0, x * 3.0]
    total = np.zeros_like(x)
    for i, (a, b) in enumerate(zip(rows, reversed(rows))):
        total = total + a * b * i
    for scale in sorted([3, 1, 2], key=lambda value: -value):
        total = total * 0.5 + scale
    return total + sum(map(np.max, rows))


CONFIGURATION = {"rate": 0.1, "layers": [1, 2], "nested": {"scale": 2.0}}


def deepcopied_configuration(x):
    mine = copy.deepcopy(CONFIGURATION)
    mine["nested"]["scale"] = mine["nested"]["scale"] + 1.0
    mine["layers"].append(3)
    return x * mine["rate"] * mine["nested"]["scale"] * len(mine["layers"])


def evaluated(x):
    return eval("x * 2.0 + offset", {"offset": 1.0}, {"x": x})


CONSTRUCTS = [
    Construct("lambda and closure capture", lambda_and_closure, lambda n: (vector(n),)),
    Construct("nonlocal mutation", nonlocal_mutation, lambda n: (vector(n),), observe=lambda: read_count()),
    Construct("dict comprehension", dict_comprehension, lambda n: (vector(n),)),
    Construct("list comprehension of tensors", list_comprehension, lambda n: (vector(n),)),
    Construct("returned closure called by the caller", returned_closure_called, lambda n: (vector(n),)),
    Construct("functools.partial and a wraps decorator", partial_and_wraps, lambda n: (vector(n),)),
    Construct("*args/**kwargs", star_arguments, lambda n: (vector(n),)),
    Construct("map/zip/enumerate/reversed/sorted(key)", higher_order_builtins, lambda n: (vector(n),)),
    Construct(
        "copy.deepcopy of a config", deepcopied_configuration, lambda n: (vector(n),), observe=lambda: CONFIGURATION
    ),
    Construct("eval", evaluated, lambda n: (vector(n),)),
]
