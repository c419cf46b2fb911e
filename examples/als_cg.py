"""Alternating least squares by conjugate gradients: matrix factorisation, in plain NumPy.

A line by line translation of the program that introduces SystemML (Boehm et al., VLDB 2016): factor a matrix of
ratings ``X`` into ``U @ V``, looking only at the entries that were given (``W = X != 0``), with two nested while loops
whose lengths the data decides. The ratings are scikit-learn's digits read as such: each image rates 64 pixels with 1 to
16, and 0 means "no rating". ``--eager`` runs it without janusjit.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

RANK = 8
IMAGES = 400


def load_ratings():
    """Return the ratings, float64 of shape (400, 64); about half are 0, not given."""
    return load_digits().data[:IMAGES].copy()


def factorize(X, U, V, regularization, max_iterations, losses):
    """Improve the factors ``U`` (rows, rank) and ``V`` (rank, columns) of ``X`` in ``max_iterations`` half steps.

    ``losses[i]`` receives the regularised squared error before half step ``i``. Returns the new factors and the number
    of conjugate-gradient steps taken.
    """
    W = (X != 0).astype(X.dtype)
    max_inner = U.shape[1]
    is_U = True
    i = 0
    inner_steps = 0
    while i < max_iterations:
        error = W * (U @ V - X)
        losses[i] = np.sum(error**2) + regularization * (np.sum(U**2) + np.sum(V**2))
        i = i + 1
        ii = 1
        if is_U:  # noqa: SIM108 - as the paper writes it
            G = error @ V.T + regularization * U
        else:
            G = U.T @ error + regularization * V
        norm_G2 = np.sum(G**2)
        norm_R2 = norm_G2
        R = -G
        S = R
        while norm_R2 > 10e-9 * norm_G2 and ii <= max_inner:
            if is_U:
                HS = (W * (S @ V)) @ V.T + regularization * S
                alpha = norm_R2 / np.sum(S * HS)
                U = U + alpha * S
            else:
                HS = U.T @ (W * (U @ S)) + regularization * S
                alpha = norm_R2 / np.sum(S * HS)
                V = V + alpha * S
            R = R - alpha * HS
            old_norm_R2 = norm_R2
            norm_R2 = np.sum(R**2)
            S = R + (norm_R2 / old_norm_R2) * S
            ii = ii + 1
        inner_steps += ii - 1
        is_U = not is_U
    return U, V, inner_steps


def run(jit=None, calls=8, half_steps=6, seed=0):
    """Follow a path of decreasing regularisation, each fit starting from the last; return the trajectory.

    Parameters
    ----------
    jit : callable, optional
        Decorator for `factorize`; None leaves it plain Python.
    calls : int
        Regularisations tried: 10, 5, 2.5, …
    half_steps : int
        Outer iterations a call, alternating between U and V.
    seed : int
        Seeds the initial factors.

    Returns
    -------
    list of dict
        One entry a call: ``losses`` (one number a half step), ``inner_steps``, ``U`` and ``V``.
    """
    fit = factorize if jit is None else jit(factorize)
    X = load_ratings()
    rng = np.random.default_rng(seed)
    U = rng.uniform(-1.0, 1.0, (X.shape[0], RANK))
    V = rng.uniform(-1.0, 1.0, (RANK, X.shape[1]))
    regularization = 10.0
    trajectory = []
    for _ in range(calls):
        losses = np.zeros(half_steps)
        U, V, inner_steps = fit(X, U, V, regularization, half_steps, losses)
        trajectory.append({"losses": losses, "inner_steps": inner_steps, "U": U.copy(), "V": V.copy()})
        regularization /= 2.0
    return trajectory


def main():
    """Factorise from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    parser.add_argument("--calls", type=int, default=30)
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    started = time.perf_counter()
    trajectory = run(jit, options.calls)
    seconds = time.perf_counter() - started
    X = load_ratings()
    error = (X != 0) * (trajectory[-1]["U"] @ trajectory[-1]["V"] - X)
    rmse = np.sqrt((error**2).sum() / np.count_nonzero(X))
    steps = sum(entry["inner_steps"] for entry in trajectory)
    print(
        f"{options.calls} calls, {steps} conjugate-gradient steps in {seconds:.2f} s, "
        f"error of a rating {rmse:.3f} (root mean square)"
    )


if __name__ == "__main__":
    main()
