"""A neural ordinary differential equation: learn a spiral from points on it, through a fixed-step Runge-Kutta solver.

Chen, Rubanova, Bettencourt, Duvenaud: "Neural Ordinary Differential Equations", 2018. The solver is a ``while`` loop,
and the gradient goes back through its steps. ``--eager`` leaves out `@jit` only.
"""

import argparse
import time

import numpy as np

import janusjit
from janusjit import optim

HIDDEN_SIZE = 16
DURATION = 1.0
STEPS = 4


def load(count=32, seed=0):
    """Return starts, and where a spiral takes each of them in `DURATION`, both ``(count, 2)``."""
    start = np.random.default_rng(seed).uniform(-2.0, 2.0, (count, 2))
    shrink, cosine, sine = np.exp(-0.1 * DURATION), np.cos(2.0 * DURATION), np.sin(2.0 * DURATION)
    return start, shrink * start @ np.array([[cosine, -sine], [sine, cosine]])


def initialize(seed=0):
    """Return the parameters of the field."""
    rng = np.random.default_rng(seed)
    return {
        "dense1": rng.standard_normal((2, HIDDEN_SIZE)) * np.sqrt(0.5),
        "bias1": np.zeros(HIDDEN_SIZE),
        "dense2": rng.standard_normal((HIDDEN_SIZE, 2)) * np.sqrt(1.0 / HIDDEN_SIZE),
        "bias2": np.zeros(2),
    }


def field(p, state):
    """Return the derivative of the state by time."""
    return np.tanh(state @ p["dense1"] + p["bias1"]) @ p["dense2"] + p["bias2"]


def solve(p, state, duration, steps):
    """Return the state after ``duration``, by the classic Runge-Kutta method of fourth order."""
    h = duration / steps
    step = 0
    while step < steps:
        k1 = field(p, state)
        k2 = field(p, state + 0.5 * h * k1)
        k3 = field(p, state + 0.5 * h * k2)
        k4 = field(p, state + h * k3)
        state = state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        step += 1
    return state


def loss(p, start, end):
    """Return the mean squared distance from where the starts should end."""
    return np.mean((solve(p, start, DURATION, STEPS) - end) ** 2)


def train_step(p, optimizer, start, end):
    """Take one step in place; return the loss."""
    value, gradients = janusjit.value_and_grad(loss)(p, start, end)
    optimizer.step(p, gradients)
    return value


def run(jit=None, steps=100, seed=0):
    """Train, and return the trajectory: the loss and copies of the parameters, one dict a step."""
    step = train_step if jit is None else jit(train_step)
    start, end = load()
    p = initialize(seed)
    optimizer = optim.Adam(p, lr=0.01)
    trajectory = []
    for _ in range(steps):
        value = step(p, optimizer, start, end)
        trajectory.append({"loss": value, **{name: array.copy() for name, array in p.items()}})
    return trajectory


def main():
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without @jit")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    started = time.perf_counter()
    trajectory = run(None if options.eager else janusjit.jit, options.steps)
    seconds = time.perf_counter() - started
    print(f"{options.steps} steps in {seconds:.2f} s, loss {trajectory[0]['loss']:.3f} -> {trajectory[-1]['loss']:.3f}")


if __name__ == "__main__":
    main()
