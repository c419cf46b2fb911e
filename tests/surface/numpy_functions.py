"""Functions of NumPy, one a program."""

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python


@graph
def interp(v, xs):
    return np.interp(v, np.array([-1.0, 0.0, 1.0]), np.array([3.0, 1.0, 2.0]))


@graph
def interp_with_ends(v):
    return np.interp(v, [-1.0, 0.0, 1.0], [3.0, 1.0, 2.0], left=-5.0, right=5.0)


@graph
def interp_of_a_number(t):
    return np.interp(t, [-1.0, 0.0, 1.0], [3.0, 1.0, 2.0])


@graph
def digitize(v):
    return np.digitize(v, np.array([-1.0, 0.0, 1.0])) * 2


@graph
def digitize_right(v):
    return np.digitize(v, np.array([-1.0, 0.0, 1.0]), right=True) * 2


@graph
def searchsorted(v):
    return np.searchsorted(np.sort(v), 0.5), np.searchsorted(np.sort(v), v, side="right")


@graph
def convolve(v, w):
    return np.convolve(v, w) * 2


@graph
def convolve_same(v):
    return np.convolve(v, np.array([1.0, 2.0, 1.0]), mode="same") * 2


@graph
def convolve_valid(v):
    return np.convolve(v, np.array([1.0, 2.0, 1.0]), "valid") * 2


@graph
def correlate(v, w):
    return np.correlate(v, w), np.correlate(v, w[:3], mode="full")


@graph
def lexsort(v, i):
    return np.lexsort((v, i)) + 1


@graph
def partition(v):
    return np.sort(np.partition(v, 2)[:3]) * 2


@graph
def argpartition(v):
    return v[np.argpartition(v, 3)[3]] * 2


@graph
def cross(arrays):
    return np.cross(arrays[0], arrays[1]) * 2


@graph
def cross_of_rows(x):
    return np.cross(x[:, :3], x[:, 2:]) * 2


@graph
def delete(v):
    return np.delete(v, 2) * 2


@graph
def delete_many(x):
    return np.delete(x, [0, 2], axis=1) * 2


@graph
def delete_where_smallest(v):
    return np.delete(v, np.argmin(v)) * 2


@graph
def insert(v, t):
    return np.insert(v, 1, t) * 2


@graph
def insert_column(x):
    return np.insert(x, 0, 1.0, axis=1) * 2


@graph
def append(v, t):
    return np.append(v, t) * 2


@graph
def polyfit(v, w):
    return np.polyfit(v, w, 2) * 2


@graph
def polyval(v):
    return np.polyval([1.0, -2.0, 0.5], v) * 2


@graph
def polyder(v):
    return np.polyder(v) * 2


@graph
def polyint(v):
    return np.polyint(v) * 2


@host
def polymul(v, w):
    return np.polymul(v, w) * 2


@graph
def polyadd(v, w):
    return np.polyadd(v, w[:3]) * 2


@host
def roots(v):
    return np.abs(np.roots(v)).sum() * 2


@graph
def modf(v):
    fraction, whole = np.modf(v)
    return fraction * 2, whole


@graph
def frexp(v):
    mantissa, exponent = np.frexp(v)
    return mantissa * 2, exponent


@graph
def ldexp(v, i):
    return np.ldexp(v, i) * 2


@graph
def divmod_of_arrays(v):
    quotient, rest = np.divmod(v, 0.5)
    return quotient * 2, rest


@graph
def gcd_and_lcm(i):
    return np.gcd(i, 12) * 2, np.lcm(i, 4)


@graph
def nextafter(v):
    return np.nextafter(v, 10.0) * 2, np.spacing(v)


@graph
def logaddexp2(v, w):
    return np.logaddexp2(v, w) * 2


@graph
def float_power(v):
    return np.float_power(np.abs(v), 1.5) * 2


@graph
def fabs(v):
    return np.fabs(v) * 2


@graph
def bitwise_count(i):
    return np.bitwise_count(i) * 2


@graph
def ravel_multi_index(i, j):
    return np.ravel_multi_index((i, j), (6, 7)) * 2


@graph
def unravel_index(i):
    row, column = np.unravel_index(i, (3, 4))
    return row * 2, column * 2


@graph
def unravel_argmax(x):
    row, column = np.unravel_index(np.argmax(x), x.shape)
    return x[row, column] * 2, row


@graph
def unique(i):
    return np.unique(i) * 2


@graph
def unique_with_everything(i):
    return np.unique(i, return_index=True, return_inverse=True, return_counts=True)


@host
def unique_rows(i, j):
    return np.unique(np.stack([i, j], axis=1), axis=0) * 2


@graph
def unique_counts(i):
    found = np.unique_counts(i)
    return found.values * 2, found.counts


@graph
def bincount(i):
    return np.bincount(i, minlength=6) * 2


@graph
def bincount_with_weights(i, v):
    return np.bincount(i, weights=v, minlength=6) * 2


@graph
def histogram(v):
    counts, edges = np.histogram(v, bins=4, range=(-3.0, 3.0))
    return counts * 2, edges


@graph
def histogram_with_own_range(v):
    counts, edges = np.histogram(v, bins=4)
    return counts * 2, edges


@graph
def histogram_with_edges(v):
    counts, edges = np.histogram(v, bins=[-1.0, 0.0, 1.0])
    return counts * 2, edges


@graph
def histogram_density(v):
    return np.histogram(v, bins=4, range=(-3.0, 3.0), density=True)[0] * 2


@host
def histogram2d(v, w):
    return np.histogram2d(v, w, bins=3)[0] * 2


@graph
def percentile(v):
    return np.percentile(v, 30) * 2


@graph
def percentile_many(v):
    return np.percentile(v, [25, 50, 75]) * 2


@graph
def quantile_along_an_axis(x):
    return np.quantile(x, 0.3, axis=0) * 2, np.quantile(x, [0.1, 0.9], axis=1)


@host
def quantile_method(v):
    return np.quantile(v, 0.3, method="nearest") * 2


@graph
def median(x):
    return np.median(x) * 2, np.median(x, axis=1)


@graph
def cov(x):
    return np.cov(x) * 2


@graph
def cov_of_two(v, w):
    return np.cov(v, w)[0, 1] * 2


@graph
def cov_of_columns(x):
    return np.cov(x, rowvar=False) * 2, np.cov(x.T, bias=True)


@graph
def corrcoef(v, w):
    return np.corrcoef(v, w)[0, 1] * 2


@graph
def gradient(v):
    return np.gradient(v) * 2


@graph
def gradient_of_a_field(x):
    down, across = np.gradient(x)
    return down * 2, across


@graph
def gradient_with_spacing(x):
    return np.gradient(x, 0.1, axis=1) * 2


@graph
def trapezoid(v, p):
    return np.trapezoid(v) * 2, np.trapezoid(v, np.cumsum(p)), np.trapezoid(v, dx=0.1)


@graph
def roll(x):
    return np.roll(x, 1) * 2, np.roll(x, -2, axis=1), np.roll(x, (1, 2), axis=(0, 1))


@graph
def roll_by_an_argument(x, n):
    return np.roll(x, n, axis=1) * 2


@graph
def rot90_and_flips(x):
    return np.rot90(x) * 2, np.flip(x), np.flip(x, 1), np.fliplr(x), np.flipud(x)


@graph
def triangles(x):
    return np.tril(x) * 2, np.triu(x, 1), np.tri(3)


@graph
def triangle_indices(m):
    return m[np.triu_indices(4, 1)] * 2, m[np.tril_indices(4)]


@graph
def triangle_indices_from(m):
    return m[np.triu_indices_from(m, k=1)] * 2


@graph
def diagonal_indices(m):
    return m[np.diag_indices(4)] * 2


@graph
def mask_indices(m):
    return m[np.mask_indices(4, np.triu)] * 2


@graph
def meshgrid(v, w):
    across, down = np.meshgrid(v, w)
    return across * 2, down


@graph
def meshgrid_by_matrix_indices(v, w):
    across, down = np.meshgrid(v, w[:3], indexing="ij", sparse=True)
    return across * down


@graph
def mgrid():
    rows, columns = np.mgrid[0:3, 0:4]
    return rows * 2, columns


@graph
def ogrid():
    rows, columns = np.ogrid[0:3, 0:4]
    return rows * columns


@graph
def open_mesh(x):
    return x[np.ix_([0, 2], [1, 3])] * 2


@host
def joining_shorthands(v, w):
    return np.c_[v, w] * 2, np.r_[v, 1.0, w], np.r_[0:3]


@graph
def kron(m):
    return np.kron(m, np.eye(2)) * 2


@graph
def block(m):
    return np.block([[m, np.zeros((4, 1))], [np.ones((1, 4)), np.eye(1)]]) * 2


@graph
def pad(x):
    return np.pad(x, 1) * 2, np.pad(x, ((1, 0), (0, 2)), constant_values=3.0)


@graph
def pad_modes(x):
    return np.pad(x, 1, mode="edge") * 2, np.pad(x, 1, mode="reflect"), np.pad(x, 1, mode="wrap")


@graph
def pad_symmetric(x):
    return np.pad(x, ((1, 1), (0, 0)), "symmetric") * 2


@graph
def einsum(x, y):
    return np.einsum("ij,ij->i", x, y) * 2, np.einsum("ij,kj", x, y)


@graph
def einsum_of_three(x, y, m):
    return np.einsum("ij,kj,kl->il", x, y, m, optimize=True) * 2


@graph
def tensordot(cube):
    return np.tensordot(cube, cube, axes=([0, 1], [0, 1])) * 2, np.tensordot(cube, cube[0], 2)


@graph
def select(v):
    return np.select([v < -1, v > 1], [v * 2, v**2], default=0.0) * 2


@graph
def piecewise(v):
    return np.piecewise(v, [v < 0, v >= 0], [lambda part: -part, lambda part: part * 2]) * 2


@graph
def piecewise_of_constants(v):
    return np.piecewise(v, [v < 0, v >= 0], [-1, 1]) * 2


@graph
def choose(j, v, w):
    return np.choose(j % 2, [v, w]) * 2


@graph
def where(v, w):
    return np.where(v > 0, v, w) * 2, np.where(v > 0)[0]


@host
def extract_and_place(v):
    positive = np.extract(v > 0, v) * 2
    np.place(v, v > 1, [0.0])
    return positive


@graph
def putmask(v):
    np.putmask(v, v > 0, 0.0)
    return v * 2


@graph
def put(v):
    np.put(v, [0, 2], [1.0, 2.0])
    return v * 2


@graph
def put_along_axis(x):
    np.put_along_axis(x, np.argmax(x, axis=1)[:, None], 0.0, axis=1)
    return x * 2


@graph
def take_along_axis(x):
    return np.take_along_axis(x, np.argsort(x, axis=1), axis=1) * 2


@graph
def apply_along_axis(x):
    return np.apply_along_axis(lambda row: row.sum() * 2, 1, x) * 2


@graph
def apply_along_axis_to_rows(x):
    return np.apply_along_axis(lambda row: row / row.max(), 1, x) * 2


@graph
def vectorize(v):
    return np.vectorize(lambda value: value * 2.0 if value > 0 else 0.0)(v) * 2


@python
def frompyfunc(v):
    return np.frompyfunc(lambda a, b: a + b, 2, 1)(v, v).astype(float) * 2


@graph
def fromiter(v):
    return np.fromiter((value * 2 for value in range(5)), dtype=float) * 2


@graph
def fromiter_of_values(v):
    return np.fromiter((value * 2 for value in v), dtype=float, count=6) * 2


@graph
def fromfunction(v):
    return np.fromfunction(lambda row, column: row + column, (3, 4)) * 2


@graph
def ndindex(x):
    total = 0.0
    for row, column in np.ndindex(x.shape):
        total += x[row, column] * (row + 1)
    return total


@graph
def ndenumerate(x):
    total = 0.0
    for (row, column), value in np.ndenumerate(x):
        total += value * (row + column)
    return total


@host
def nditer(x):
    total = 0.0
    for value in np.nditer(x):
        total += float(value)
    return total * 2


@graph
def errstate(v):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(v) * 2


@graph
def nan_functions(v):
    v[1] = np.nan
    return np.nansum(v) * 2, np.nanmean(v), np.nanmax(v), np.nanmin(v), np.nanargmax(v), np.nanargmin(v)


@graph
def nan_spread(v):
    v[1] = np.nan
    return np.nanstd(v) * 2, np.nanvar(v)


@host
def nan_median(v):
    v[1] = np.nan
    return np.nanmedian(v) * 2


@host
def nan_percentile(v):
    v[1] = np.nan
    return np.nanpercentile(v, 30) * 2


@graph
def nan_cumulative(v):
    v[1] = np.nan
    return np.nancumsum(v) * 2, np.nancumprod(v)


@graph
def set_operations(i, j):
    return np.intersect1d(i, j) * 2, np.union1d(i, j), np.setdiff1d(i, j), np.isin(i, j)


@graph
def setxor1d(i, j):
    return np.setxor1d(i, j) * 2


@host
def differences(v):
    return np.diff(v) * 2, np.ediff1d(v), np.diff(v, n=2), np.diff(v, prepend=0.0)


@graph
def cumulative(v):
    return np.cumsum(v) * 2, np.cumprod(v), np.cumulative_sum(v)


@graph
def windows():
    return np.hanning(5) * 2, np.hamming(5), np.blackman(5), np.bartlett(5)


@graph
def spaces(t):
    return np.linspace(0, 1, 5) * t, np.logspace(0, 2, 4), np.geomspace(1, 100, 3), np.linspace(0.0, t, 4)


@graph
def sinc(v):
    return np.sinc(v) * 2


@graph
def unwrap(v):
    return np.unwrap(v * 4) * 2


@graph
def vander(v):
    return np.vander(v, 3) * 2, np.vander(v, increasing=True)


@graph
def diagflat(v):
    return np.diagflat(v) * 2, np.diag(v, 1)


@graph
def resize(v):
    return np.resize(v, (2, 5)) * 2


@graph
def trim_zeros(i):
    return np.trim_zeros(i) * 2


@graph
def classify(v):
    return np.isposinf(v), np.isneginf(v), np.isreal(v), np.iscomplex(v), np.iscomplexobj(v)


@host
def array_equiv(v, w):
    return np.array_equiv(v, w), np.array_equal(v, v), np.allclose(v, w), np.isclose(v, w)


@graph
def splits(v, x):
    first, second = np.split(v, 2)
    return first * 2, second, np.array_split(v, 4), np.hsplit(x, [2]), np.vsplit(x, 2)


@graph
def stacks(v, w):
    return np.hstack([v, w]) * 2, np.vstack([v, w]), np.dstack([v, w]), np.column_stack([v, w]), np.stack([v, w], 1)


@graph
def sliding_window_view(v):
    w = v * 1.0
    windows = np.lib.stride_tricks.sliding_window_view(w, 3)
    w[1] = 7.0
    images = np.lib.stride_tricks.sliding_window_view(np.outer(v, w), (2, 3))
    rows = np.lib.stride_tricks.sliding_window_view(np.outer(w, v), 2, axis=-1)
    return windows.mean(axis=1) * 2, images.shape, images.max(axis=(2, 3)), rows.sum(axis=0)


@graph
def as_strided(v):
    return np.lib.stride_tricks.as_strided(v, (4, 3), (8, 8)).sum(axis=1) * 2


@graph
def moving_axes(cube):
    return np.moveaxis(cube, 0, -1) * 2, np.rollaxis(cube, 2), np.swapaxes(cube, 0, 1), np.transpose(cube, (2, 0, 1))


@graph
def shapes(x):
    return np.shape(x), np.ndim(x), np.size(x), np.size(x, 1), np.expand_dims(x, 0) * 2, np.squeeze(x[None]) * 2


@graph
def counting(v, i):
    return np.count_nonzero(i) * 2, np.flatnonzero(v > 0), np.argwhere(v > 0)


@host
def packbits(b):
    return np.packbits(b) * 2


@host
def asfortranarray(x):
    return (np.asfortranarray(x) * 2).sum()


@graph
def require(x):
    return np.require(x, dtype=np.float64, requirements="C") * 2


@graph
def as_float(i):
    return np.asarray(i, dtype=float) * 2, np.asarray_chkfinite(i) * 2


@host
def broadcast(v, x):
    return np.broadcast_to(v, (3, 6)) * 2, np.broadcast_shapes((3, 1), (1, 4)), np.broadcast(x, 1).shape


@host
def complex_numbers(z):
    return np.abs(z) * 2, np.real(z), np.imag(z), np.angle(z), np.conj(z)


@host
def euler(v):
    return np.exp(1j * v)


@graph
def real_of_real(v):
    return np.real(v) * 2, np.imag(v), np.conj(v)


@graph
def isscalar(v, t):
    return np.isscalar(t), np.isscalar(v), np.iterable(v), np.isscalar(v[0])


@graph
def constants(v):
    return v * np.pi + np.e, np.inf, np.newaxis, np.finfo(np.float64).eps, np.finfo(v.dtype).max, np.iinfo(int).max


@host
def array_to_text(v):
    return np.array2string(v, precision=3), np.sum(v) * 2


@graph
def apply_over_axes(cube):
    return np.apply_over_axes(np.sum, cube, [0, 2]) * 2


@graph
def ptp_and_average(x, p):
    return np.ptp(x) * 2, np.average(x, axis=0), np.average(p, weights=p)


@graph
def rounding(v):
    return np.round(v, 2) * 2, np.around(v), np.fix(v), np.rint(v), np.trunc(v), v.round(1)


@graph
def masked_store(x):
    x[1:-1, 1:-1][x[1:-1, 1:-1] > 0] = 1.0
    return x * 2


@host
def masked_reductions(v):
    return np.sum(v, where=v > 0) * 2, np.mean(v, where=v > -9), np.max(v, initial=0.0)


@graph
def fill_diagonal(m):
    np.fill_diagonal(m, 0.0)
    return m * 2


@graph
def copyto(v, w):
    np.copyto(v, w, where=w > 0)
    return v * 2


@graph
def nan_to_num(v):
    return np.nan_to_num(v / np.where(v > 0, 1.0, 0.0)) * 2 if False else np.nan_to_num(v) * 2


@host
def tile_and_repeat(v, i):
    return np.tile(v, 2) * 2, np.repeat(v, 3), np.repeat(v, i)


@graph
def maximum_with_positional_out(v):
    np.maximum(v, v * 0.1, v)
    return v * 2


@graph
def clip_with_out(v):
    np.clip(v, -0.5, 0.5, out=v)
    return v * 2


@host
def vecdot(x, y):
    return np.vecdot(x, y) * 2, np.matvec(x, x[0]), np.inner(x, y), np.vdot(x, y)


@host
def what_numpy_refuses(v, j):
    found = []
    try:
        np.interp(v, [], [])
    except ValueError:
        found.append("interp")
    try:
        np.partition(v, 9)
    except ValueError:
        found.append("partition")
    try:
        np.convolve(v, [])
    except ValueError:
        found.append("convolve")
    try:
        np.bincount(j, weights=v[:2])
    except ValueError:
        found.append("bincount")
    try:
        np.cross(v, v)
    except ValueError:
        found.append("cross")
    return found


@python
def what_numpy_refuses_by_value(v, j):
    found = []
    try:
        np.choose(j + 5, [v, v])
    except ValueError:
        found.append("choose")
    try:
        np.ravel_multi_index((j + 1, j), (1, 1))
    except ValueError:
        found.append("ravel_multi_index")
    try:
        np.digitize(v, [0.0, 2.0, 1.0])
    except ValueError:
        found.append("digitize")
    return found


@host
def flat_in_another_order(x):
    x.T.flat[1] = 3.0
    return x.T.flat[1], x
