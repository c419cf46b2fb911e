"""Linear algebra and Fourier transforms, one function a program."""

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python


@graph
def lstsq(x, v):
    solution, residuals, rank, singular = np.linalg.lstsq(x.T, x[:, 0].repeat(2)[:5], rcond=None)
    return solution * 2, rank, singular


@graph
def lstsq_solution(x, v):
    return np.linalg.lstsq(x.T, v[:5], rcond=None)[0] * 2


@graph
def svd(x):
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    return (left * singular) @ right * 2


@graph
def svd_full(x):
    return np.linalg.svd(x)[1] * 2, np.linalg.svd(x, compute_uv=False), np.linalg.svdvals(x)


@graph
def eigh(m):
    values, vectors = np.linalg.eigh(m)
    return values * 2, np.abs(vectors), np.linalg.eigvalsh(m)


@host
def eig(m):
    values, vectors = np.linalg.eig(m)
    return np.sort(values) * 2


@host
def eigvals(m):
    return np.sort(np.linalg.eigvals(m)) * 2


@graph
def qr(x):
    q, r = np.linalg.qr(x)
    return q @ r * 2


@host
def qr_modes(x):
    return np.linalg.qr(x, mode="r") * 2


@graph
def cholesky(m):
    return np.linalg.cholesky(m) * 2


@graph
def inverse(m, x):
    return np.linalg.inv(m) * 2, np.linalg.pinv(x)


@graph
def determinants(m):
    sign, logarithm = np.linalg.slogdet(m)
    return np.linalg.det(m) * 2, sign, logarithm


@graph
def solve(m, x):
    return np.linalg.solve(m, x) * 2, np.linalg.solve(m, x[:, 0])


@graph
def norms(v, x):
    return (
        np.linalg.norm(v) * 2,
        np.linalg.norm(v, 1),
        np.linalg.norm(v, np.inf),
        np.linalg.norm(v, ord=3),
        np.linalg.norm(x, axis=1),
        np.linalg.norm(x, axis=1, keepdims=True),
        np.linalg.norm(x, "fro"),
    )


@graph
def matrix_norms(x):
    return np.linalg.norm(x, 2) * 2, np.linalg.norm(x, "nuc"), np.linalg.norm(x, 1), np.linalg.norm(x, -np.inf)


@graph
def norms_of_the_array_standard(x):
    return np.linalg.vector_norm(x, axis=1) * 2, np.linalg.matrix_norm(x)


@graph
def matrix_rank(x):
    return np.linalg.matrix_rank(x) * 2


@graph
def matrix_power(m):
    return np.linalg.matrix_power(m, 3) * 2, np.linalg.matrix_power(m, -1)


@graph
def cond(m):
    return np.linalg.cond(m) * 2, np.linalg.cond(m, 1)


@graph
def multi_dot(x, m):
    return np.linalg.multi_dot([x.T, m, x]) * 2


@graph
def linalg_products(x, arrays):
    return (
        np.linalg.outer(arrays[0], arrays[1]) * 2,
        np.linalg.cross(arrays[0], arrays[1]),
        np.linalg.matmul(x.T, x),
        np.linalg.trace(x),
        np.linalg.diagonal(x) * 2,
    )


@graph
def tensorsolve(cube):
    return np.linalg.tensorinv(np.eye(24).reshape(6, 4, 8, 3), ind=2).sum() * cube[0, 0, 0]


@python
def singular_matrix_is_caught(x):
    try:
        return np.linalg.inv(np.zeros((2, 2)) + x[0, 0])
    except np.linalg.LinAlgError:
        return "singular"


@host
def fft(v):
    return np.fft.fft(v)


@host
def fft_there_and_back(v):
    return np.fft.ifft(np.fft.fft(v)).real * 2


@host
def real_fft(v):
    return np.abs(np.fft.rfft(v)) * 2


@host
def real_fft_filter(v):
    spectrum = np.fft.rfft(v)
    spectrum[2:] = 0
    return np.fft.irfft(spectrum, n=6) * 2


@host
def fft2(x):
    return np.fft.fft2(x).real * 2


@host
def fftn(cube):
    return np.fft.ifftn(np.fft.fftn(cube)).real * 2


@graph
def fft_frequencies(v):
    return np.fft.fftfreq(6, 0.1) * v, np.fft.rfftfreq(6)


@graph
def fft_shift(v, x):
    return np.fft.fftshift(v) * 2, np.fft.ifftshift(x)


@host
def poisson_by_fft(x):
    wave = np.fft.fftfreq(5) + 1.0
    return np.real(np.fft.ifft(np.fft.fft(x, axis=1) / wave, axis=1)) * 2


@host
def complex_arithmetic(z):
    z = z * z + 1
    return (z * z.conj()).real * 2, z.imag


@host
def complex_mandelbrot(x):
    c = x + 1j * x
    z = np.zeros_like(c)
    for _ in range(3):
        z = z * z + c
    return np.abs(z) * 2


@host
def python_complex(t):
    number = complex(t, 1.0)
    return abs(number), number.real * 2
