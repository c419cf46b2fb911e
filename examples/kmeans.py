"""K-means (Lloyd's algorithm) on scikit-learn's digits, in plain NumPy.

Nearest centres by argmin, new centres by boolean masks, a cluster that lost all its points is moved to the point
farthest from its centre, and the loop ends when no centre moves any more. ``--eager`` runs it without janusjit.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

CLUSTERS = 10


def load_points():
    """Return the 1797 images as float64 rows of 64 features."""
    return load_digits().data


def squared_distances(points, centers):
    """Return the squared distance of each point to each centre."""
    squares = (points**2).sum(axis=1)[:, np.newaxis] + (centers**2).sum(axis=1)[np.newaxis, :]
    return squares - 2.0 * np.dot(points, centers.T)


def fit(points, centers, history, tolerance=1e-9):
    """Move ``centers`` (in place) until they rest.

    ``history[i]`` receives the inertia of iteration ``i``; its length bounds the iterations. Returns each point's
    cluster and the number of iterations done.
    """
    labels = np.zeros(len(points), dtype=np.int64)
    iterations = 0
    for iteration in range(len(history)):
        distances = squared_distances(points, centers)
        labels = np.argmin(distances, axis=1)
        nearest = distances.min(axis=1)
        history[iteration] = nearest.sum()
        moved = 0.0
        for cluster in range(len(centers)):
            members = labels == cluster
            if members.any():
                center = points[members].mean(axis=0)
            else:
                farthest = nearest.argmax()
                center = points[farthest].copy()
                nearest[farthest] = 0.0
            moved += ((center - centers[cluster]) ** 2).sum()
            centers[cluster] = center
        iterations = iteration + 1
        if moved < tolerance:
            break
    return labels, iterations


def run(jit=None, restarts=8, seed=0, max_iterations=60):
    """Cluster from several random starts, and return the trajectory.

    Parameters
    ----------
    jit : callable, optional
        Decorator for `fit`; None leaves it plain Python.
    restarts : int
        Random starts; every third one begins with a centre far from all points, whose cluster is empty.
    seed : int
        Seeds the starts.
    max_iterations : int
        Bound on the iterations of one start.

    Returns
    -------
    list of dict
        One entry a restart: ``inertia`` (one number an iteration), ``iterations``, ``labels`` and ``centers``.
    """
    fit_once = fit if jit is None else jit(fit)
    points = load_points()
    rng = np.random.default_rng(seed)
    trajectory = []
    for restart in range(restarts):
        centers = points[rng.choice(len(points), CLUSTERS, replace=False)].copy()
        if restart % 3 == 2:
            centers[0] = 1e3
        history = np.zeros(max_iterations)
        labels, iterations = fit_once(points, centers, history)
        trajectory.append(
            {"inertia": history[:iterations], "iterations": iterations, "labels": labels, "centers": centers}
        )
    return trajectory


def main():
    """Cluster from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    parser.add_argument("--restarts", type=int, default=20)
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    started = time.perf_counter()
    trajectory = run(jit, options.restarts)
    seconds = time.perf_counter() - started
    best = min(trajectory, key=lambda entry: entry["inertia"][-1])
    print(
        f"{options.restarts} restarts in {seconds:.2f} s, best inertia {best['inertia'][-1]:.1f} "
        f"after {best['iterations']} iterations"
    )


if __name__ == "__main__":
    main()
