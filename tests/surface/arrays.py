"""Attributes and methods of arrays and of ufuncs."""

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python


@graph
def accumulate(v):
    return np.add.accumulate(v) * 2, np.multiply.accumulate(v)


@graph
def accumulate_maximum(x):
    return np.maximum.accumulate(x, axis=1) * 2, np.minimum.accumulate(x)


@host
def reduceat(v):
    return np.add.reduceat(v, [0, 2, 4]) * 2


@graph
def outer(v, w):
    return np.subtract.outer(v, w) * 2, np.multiply.outer(v, w)


@graph
def reduce(x):
    return np.add.reduce(x) * 2, np.multiply.reduce(x, axis=1), np.maximum.reduce(x), np.logical_and.reduce(x > 0)


@graph
def reduce_of_a_list(arrays):
    return np.add.reduce(arrays) * 2


@graph
def scatter_add(v, i, w):
    np.add.at(v, i, w)
    return v * 2


@graph
def scatter_subtract(v, i):
    np.subtract.at(v, i, 1.0)
    return v * 2


@graph
def scatter_maximum(v, i, w):
    np.maximum.at(v, i, w)
    return v * 2


@host
def view_as_other_dtype(v):
    return v.view(np.int64) * 2


@host
def view_as_bytes(i):
    return i.view(np.uint8).sum() * 2


@graph
def view_without_arguments(v):
    other = v.view()
    other += 1
    return v * 2


@graph
def flat_item(x):
    return x.flat[3] * 2


@graph
def flat_slice(x):
    return x.flat[1:4] * 2


@graph
def flat_store(x):
    x.flat[3] = 0.0
    return x * 2


@graph
def flat_loop(x):
    total = 0.0
    for value in x.flat:
        total += value
    return total


@graph
def strides(x):
    return x.strides, x.itemsize, x.nbytes, x.size, x.ndim, x.dtype.name, x.dtype.kind


@host
def flags(x):
    return x.flags.c_contiguous, x.flags["C_CONTIGUOUS"], x.flags.writeable, (x * 2).sum()


@graph
def transposes(cube, x):
    return cube.T * 2, cube.transpose(1, 0, 2), x.mT, cube.swapaxes(0, 1)


@host
def base(x):
    return x.base is None, (x * 2).sum()


@graph
def real_part(v):
    return v.real * 2, v.imag


@graph
def partition(v):
    v.partition(2)
    return v[2] * 2


@graph
def argpartition(v):
    return v[v.argpartition(2)[2]] * 2


@graph
def sort_in_place(x):
    x.sort(axis=0)
    return x * 2


@graph
def choose(j, v, w):
    return (j % 2).choose([v, w]) * 2


@graph
def compress(v):
    return v.compress(v > 0) * 2


@graph
def to_list(v):
    values = v.tolist()
    return values[0] * 2, values


@host
def to_bytes(v):
    return v.tobytes(), v.sum() * 2


@host
def resize_in_place(v):
    other = v.copy()
    other.resize(3, refcheck=False)
    return other * 2


@graph
def conversion(v, i):
    return v.astype(int) * 2, i.astype(np.float32), i.astype("float64"), v.astype(bool)


@graph
def item(x):
    return x.item(3) * 2, x[0, 0].item(), x.item(1, 2)


@graph
def methods_that_reduce(x):
    return x.sum() * 2, x.mean(0), x.std(axis=1), x.var(), x.max(), x.argmax(1), x.prod(), x.any(), x.all()


@graph
def methods_that_shape(x):
    return x.ravel() * 2, x.flatten(), x.reshape(5, 4), x.reshape(-1), x[None].squeeze(), x.repeat(2), x.take([0, 1])


@graph
def methods_that_search(v):
    return v.nonzero()[0], v.argsort(), np.sort(v).searchsorted(0.0), v.clip(-1, 1) * 2, v.round(2)


@graph
def iteration(x):
    total = 0.0
    for row in x:
        for value in row:
            total += value
    return total


@graph
def unpacking(arrays):
    first, second, third = arrays[0]
    return first + second * third


@graph
def membership(v, i):
    return 3 in i, v[0] in v, len(v), bool((v > 0).any())


@graph
def comparisons(v, w):
    return (v == w).all(), v is w, (v < w).sum(), v.dtype == np.float64, v.dtype == "float64", v.dtype is w.dtype


@graph
def bits(b, i):
    return ~b, b & (i > 2), b | (i > 2), b ^ b, i << 1, i >> 1, i & 1, -i


@graph
def floors(v, i):
    return v // 0.5, v % 0.5, i // 2, i % 2, v**2, v**-1, divmod(i, 3)


@graph
def indexing(x, i):
    return x[1:3, ::2] * 2, x[..., 0], x[:, None].sum(), x[[0, 2], [1, 3]], x[i % 4], x[::-1], x[-1, -1]


@graph
def stores(x, v):
    x[0] = 1.0
    x[:, 1] += 2.0
    x[x > 1] = 0.0
    x[[0, 1], [2, 3]] = 5.0
    x[1, ...] *= 3
    return x


@graph
def scalars(v):
    one = v[0]
    return one.shape, one.dtype, one.ndim, one.sum(), float(one) * 2, one.astype(int), one.item(), type(one)


@graph
def numpy_scalar_methods(v):
    return v.sum().round(2), v.mean().item(), np.float64(3).is_integer(), abs(v[1])


@host
def object_array(v):
    mixed = np.empty(2, dtype=object)
    mixed[0] = v
    mixed[1] = v * 2
    return mixed[1] * 2


@host
def half_precision(v):
    return v.astype(np.float16).astype(float) * 2


@host
def record_array(v):
    table = np.zeros(6, dtype=[("position", float), ("speed", float)])
    table["position"] = v
    return table["position"] * 2


@host
def matrix_class(m):
    return np.asarray(np.asmatrix(m) * np.asmatrix(m)) * 2


@host
def masked_array(v):
    return float(np.ma.masked_array(v, mask=v > 0).sum()) * 2


@host
def text_array(v):
    names = np.array(["a", "b"])
    return names[0], v * 2
