"""Values, shapes and dtypes: numbers out of arrays, changing lengths, ranks and dtypes, in-place writes."""

import numpy as np

from tests.constructs.construct import Construct


def vector(number, length=6):
    return np.arange(length) * 0.25 - 0.5 + 0.01 * number


def float_of_tensor(x):
    scale = float(x.max())
    return x / (scale + 2.0), scale


def int_of_tensor_as_bound(x):
    total = np.zeros_like(x)
    for i in range(int(x[0])):
        total = total + x * i
    return total


def int_of_tensor_as_size(x):
    buffer = np.ones(int(x[0]))
    return buffer * x.sum()


def boolean_mask(x):
    kept = x[x > 0.1]
    return kept * 2.0, kept.sum()


def length_varies(x):
    return np.tanh(x) - x.mean()


def rank_varies(x):
    return (x * 2.0).sum(axis=-1)


def dtype_varies(x):
    return x * x + 1


def float_argument_varies(x, rate):
    return x - rate * x * x


def int_becomes_float(x):
    total = 0
    while x.sum() > 1.0:
        total = total + x.sum()
        x = x * 0.5
    return total


def none_on_one_branch(x):
    extra = None
    if x.sum() > 0:
        extra = x * 2.0
    if extra is None:
        return x
    return x + extra


def shape_grows(x):
    sequence = x
    while sequence.sum() < 10.0:
        sequence = np.concatenate([sequence, x])
    return sequence


def item_assignment_on_copy(x):
    y = x.copy()
    y[0] = 5.0
    y[1:3] = y[3:5] * 2.0
    return y


def in_place_add(x, y):
    x += y
    x *= 2.0


def write_through_view(x):
    row = x[1]
    row[:] = row * 2.0
    column = x.T[0]
    column -= 1.0
    return x.sum()


def same_array_twice(x, y):
    x[0] = y[1] + 1.0
    y[2] = x[0] * 2.0
    return x + y


def twins(number):
    one = vector(number)
    return one, one


CONSTRUCTS = [
    Construct("float(tensor) then used", float_of_tensor, lambda n: (vector(n),)),
    Construct("int(tensor) as a loop bound", int_of_tensor_as_bound, lambda n: (vector(n) + 2.6 + n % 4,)),
    Construct("int(tensor) as an allocation size", int_of_tensor_as_size, lambda n: (vector(n) + 2.6 + n % 4,)),
    Construct("boolean-mask indexing", boolean_mask, lambda n: (vector(n) * (1 + n % 3),)),
    Construct("length varies over 4 sizes", length_varies, lambda n: (vector(n, (6, 4, 9, 1)[n % 4]),)),
    Construct("rank varies", rank_varies, lambda n: (vector(n, 12).reshape(((12,), (3, 4), (2, 2, 3))[n % 3]),)),
    Construct(
        "dtype varies", dtype_varies, lambda n: ((vector(n) * 8).astype((np.float64, np.float32, np.int64)[n % 3]),)
    ),
    Construct("float argument varies each call", float_argument_varies, lambda n: (vector(n), 0.1 / (1 + n))),
    Construct(
        "variable turns int → float in a tensor-bounded loop",
        int_becomes_float,
        lambda n: (np.abs(vector(n)) * (n % 4),),
    ),
    Construct("None on one branch", none_on_one_branch, lambda n: (vector(n) * (-1.0) ** n,)),
    Construct("shape grows in a tensor-bounded loop", shape_grows, lambda n: (np.abs(vector(n)) + n % 3,)),
    Construct("x[i] = v on a local copy", item_assignment_on_copy, lambda n: (vector(n),)),
    Construct("x += v seen by the caller", in_place_add, lambda n: (vector(n), vector(n + 1))),
    Construct("write through a view", write_through_view, lambda n: (vector(n, 12).reshape(3, 4),)),
    Construct("same array passed twice, one written", same_array_twice, twins),
]
