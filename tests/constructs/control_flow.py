"""Control flow: branches, loops, recursion, exceptions, context managers, generators, coroutines."""

# ruff: noqa: SIM108 - the programs are written as people write them

import contextlib

import numpy as np

from tests.constructs.construct import Construct


def vector(number, length=6):
    """Return values of both signs that differ from call to call; even calls sum to more than 0, odd ones to less."""
    sign = 1.0 if number % 2 == 0 else -1.0
    return sign * (np.arange(length) * 0.25 - 0.5) + 0.01 * number


def if_on_python_bool(x, double):
    if double:
        return x * 2.0
    return x - 1.0


def if_on_tensor(x):
    y = x * 3.0
    if y.sum() > 0:
        y = y + 1.0
    else:
        y = y - 10.0
    return y


def ternary_on_tensor(x):
    scale = 2.0 if x.sum() > 0 else 0.5
    return x * scale


def early_return_on_tensor(x):
    if np.max(x) > 0.75:
        return x
    y = np.tanh(x)
    return y * y


def logic_on_tensors(x):
    if (x.sum() > 0 and x[0] < 0) or not x[1] > -5:
        return x + 1.0
    return x - 1.0


def if_on_shape(x):
    if x.shape[0] > 4:
        return x[:4] * 2.0
    return x.sum()


def for_over_constant_range(x):
    total = np.zeros_like(x)
    for i in range(5):
        total = total + x * i
    return total


def for_over_changing_range(x, n):
    for i in range(n):
        x = x * 0.5 + i
    return x


def while_on_tensor(x):
    steps = 0
    while np.abs(x).sum() > 1.0:
        x = x * 0.5
        steps += 1
    return x, steps


def for_over_rows(matrix):
    total = np.zeros(matrix.shape[1])
    for row in matrix:
        total = total + row * row
    return total


def break_and_continue_on_tensor(x):
    total = 0.0
    for value in x:
        if value < 0:
            continue
        if total > 0.6:
            break
        total = total + value
    return total


def recursion_on_int(x, depth):
    if depth == 0:
        return x
    return recursion_on_int(x * 0.5 + depth, depth - 1)


class Tree:
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right


TREE = Tree(1.0, Tree(2.0), Tree(3.0, Tree(4.0), Tree(5.0)))


def recursion_over_tree(tree, x):
    if tree.left is None:
        return x * tree.value
    return np.tanh(recursion_over_tree(tree.left, x) + recursion_over_tree(tree.right, x)) + tree.value


def recursion_until_small(x):
    if np.abs(x).max() < 0.1:
        return x
    return recursion_until_small(x * 0.5)


def match_on_value(x, mode):
    match mode:
        case "square":
            return x * x
        case ("shift", amount):
            return x + amount
        case _:
            return -x


def assert_on_tensor(x):
    assert x.sum() > 0, "the sum must be positive"
    return np.sqrt(np.abs(x))


DEFAULTS = {"rate": 0.1}


def except_key_error(x, name):
    try:
        rate = DEFAULTS[name]
    except KeyError:
        rate = 1.0
    return x * rate


class Diverged(Exception):
    pass


def raise_chosen_by_tensor(x):
    try:
        if x.sum() > 0:
            raise Diverged("sum")
        return x * 2.0
    except Diverged:
        return np.zeros_like(x)


FINISHED = []


def try_finally(x):
    try:
        return x * 2.0
    finally:
        FINISHED.append(len(FINISHED))


DEPTH = {"now": 0, "deepest": 0}


@contextlib.contextmanager
def nested():
    DEPTH["now"] += 1
    DEPTH["deepest"] = max(DEPTH["deepest"], DEPTH["now"])
    try:
        yield DEPTH["now"]
    finally:
        DEPTH["now"] -= 1


def context_manager_from_generator(x):
    with nested() as depth:
        y = x * depth
        with nested() as deeper:
            y = y + deeper
    return y


def generator_inside(x):
    def powers():
        value = x
        for _ in range(3):
            yield value
            value = value * x

    return sum(powers())


STREAM = iter(range(100))


def next_on_outside_iterator(x):
    return x * next(STREAM)


def async_driven_inside(x):
    async def double(value):
        return value * 2.0

    async def compute():
        return await double(x) + await double(x * x)

    coroutine = compute()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


CONSTRUCTS = [
    Construct("if on a Python bool argument", if_on_python_bool, lambda n: (vector(n), n % 3 == 0)),
    Construct("if on a tensor", if_on_tensor, lambda n: (vector(n),)),
    Construct("ternary on a tensor", ternary_on_tensor, lambda n: (vector(n),)),
    Construct("early return on a tensor", early_return_on_tensor, lambda n: (vector(n),)),
    Construct("and/or/not on tensor bools", logic_on_tensors, lambda n: (vector(n),)),
    Construct("if on a shape", if_on_shape, lambda n: (vector(n, 3 if n % 2 else 7),)),
    Construct("for over a constant range", for_over_constant_range, lambda n: (vector(n),)),
    Construct("for over range(n), n changes", for_over_changing_range, lambda n: (vector(n), 2 + n % 7)),
    Construct("while on a tensor", while_on_tensor, lambda n: (vector(n) * (1 + n % 4),)),
    Construct("for over a tensor's rows", for_over_rows, lambda n: (vector(n, 12).reshape(4, 3),)),
    Construct("break/continue on a tensor in a Python for", break_and_continue_on_tensor, lambda n: (vector(n),)),
    Construct("recursion on a Python int", recursion_on_int, lambda n: (vector(n), 3)),
    Construct("recursion over a Python tree object", recursion_over_tree, lambda n: (TREE, vector(n))),
    Construct("recursion ended by a tensor value", recursion_until_small, lambda n: (vector(n) * (1 + n % 3),)),
    Construct(
        "match on a Python value", match_on_value, lambda n: (vector(n), ("square", ("shift", 0.5), None)[n % 3])
    ),
    Construct("assert on a tensor", assert_on_tensor, lambda n: (np.abs(vector(n)) - (100.0 if n == 9 else 0.0),)),
    Construct("except KeyError around a dict read", except_key_error, lambda n: (vector(n), ("rate", "none")[n % 2])),
    Construct("raise/except chosen by a tensor value", raise_chosen_by_tensor, lambda n: (vector(n),)),
    Construct("try/finally with a side effect", try_finally, lambda n: (vector(n),), observe=lambda: FINISHED),
    Construct(
        "user context manager written as a generator",
        context_manager_from_generator,
        lambda n: (vector(n),),
        observe=lambda: DEPTH,
    ),
    Construct("generator made and consumed inside", generator_inside, lambda n: (vector(n),)),
    Construct("next() on an iterator from outside", next_on_outside_iterator, lambda n: (vector(n),)),
    Construct("async/await driven inside", async_driven_inside, lambda n: (vector(n),)),
]
