"""Four ways to a derivative, in plain NumPy: by hand, by differences, by symbols, and by automatic differentiation.

The polynomial is the logistic map ``l[n+1] = 4 l[n] (1 - l[n])``, ``l[1] = x`` (Baydin et al., JMLR 2018, figure 2).
Expanded it has twice as many coefficients each turn, and they cancel; as a program it differentiates turn by turn,
forward or backward. ``ln x1 + x1 x2 - sin x2`` is traced both ways, each intermediate value with its derivative.
``--eager`` runs it without janusjit.
"""

import argparse

import numpy as np

STEP = 1e-6


def logistic(x, turns):
    """Return ``l[turns + 1]`` at each of ``x``."""
    value = x
    for _ in range(turns):
        value = 4.0 * value * (1.0 - value)
    return value


def manual(x):
    """Return the derivative after three turns as worked out on paper, by the product rule."""
    a, b = 1.0 - 2.0 * x, 1.0 - 8.0 * x + 8.0 * x * x
    first = 128.0 * x * (1.0 - x) * (16.0 * x - 8.0) * a**2 * b
    second = 64.0 * (1.0 - x) * a**2 * b**2 - 64.0 * x * a**2 * b**2
    return first + second - 256.0 * x * (1.0 - x) * a * b**2


def numerical(x, turns):
    """Return the central difference quotient."""
    return (logistic(x + STEP, turns) - logistic(x - STEP, turns)) / (2.0 * STEP)


def symbolic(x, turns):
    """Expand the polynomial, differentiate term by term, and evaluate by Horner's rule."""
    coefficients = np.array([0.0, 1.0])
    for _ in range(turns):
        expanded = np.zeros(2 * len(coefficients) - 1)
        for power in range(len(coefficients)):
            expanded[power : power + len(coefficients)] -= 4.0 * coefficients[power] * coefficients
        expanded[: len(coefficients)] += 4.0 * coefficients
        coefficients = expanded
    derivative = coefficients[1:] * np.arange(1, len(coefficients))
    value = np.zeros_like(x)
    for power in range(len(derivative) - 1, -1, -1):
        value = value * x + derivative[power]
    return value


def forward(x, turns):
    """Carry the derivative along with the value."""
    value, tangent = x, np.ones_like(x)
    for _ in range(turns):
        value, tangent = 4.0 * value * (1.0 - value), 4.0 * tangent * (1.0 - value) - 4.0 * value * tangent
    return tangent


def reverse(x, turns):
    """Keep the value of each turn, and go back through them."""
    values = np.zeros((turns + 1, len(x)))
    values[0] = x
    for turn in range(turns):
        values[turn + 1] = 4.0 * values[turn] * (1.0 - values[turn])
    adjoint = np.ones_like(x)
    for turn in range(turns - 1, -1, -1):
        adjoint = adjoint * (4.0 * (1.0 - values[turn]) - 4.0 * values[turn])
    return adjoint


def forward_trace(x1, x2, dx1, dx2):
    """Return the intermediate values of ``ln x1 + x1 x2 - sin x2``, and their derivatives in a direction."""
    v1, dv1 = np.log(x1), dx1 / x1
    v2, dv2 = x1 * x2, dx1 * x2 + x1 * dx2
    v3, dv3 = np.sin(x2), np.cos(x2) * dx2
    v4, dv4 = v1 + v2, dv1 + dv2
    v5, dv5 = v4 - v3, dv4 - dv3
    return np.array([v1, v2, v3, v4, v5]), np.array([dv1, dv2, dv3, dv4, dv5])


def reverse_trace(x1, x2):
    """Return the derivatives of the result by each intermediate value, last first, and by both arguments."""
    a5 = 1.0
    a4, a3 = a5, -a5
    a2, a1 = a4, a4
    ax2 = a3 * np.cos(x2) + a2 * x1
    ax1 = a2 * x2 + a1 / x1
    return np.array([a5, a4, a3, a2, a1]), np.array([ax1, ax2])


def derivatives(x, turns, x1, x2):
    """Return the derivatives of the polynomial in all ways, and the traces at ``(x1, x2)``."""
    values, tangents = forward_trace(x1, x2, 1.0, 0.0)
    adjoints, gradient = reverse_trace(x1, x2)
    return {
        "manual": manual(x),
        "numerical": numerical(x, turns),
        "symbolic": symbolic(x, turns),
        "forward": forward(x, turns),
        "reverse": reverse(x, turns),
        "values": values,
        "tangents": tangents,
        "adjoints": adjoints,
        "gradient": gradient,
    }


def run(jit=None, calls=8, turns=3):
    """Return the derivatives at other points each call; ``jit`` decorates `derivatives`, None leaves it plain."""
    function = derivatives if jit is None else jit(derivatives)
    found = []
    for call in range(calls):
        x = np.linspace(0.0, 1.0, 9) * (1.0 - call / 20.0)
        found.append(function(x, turns, 2.0 + call, 5.0 - call / 4.0))
    return found


def main():
    """Print the derivatives from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    for name, value in run(jit)[0].items():
        print(f"{name:10}", np.array2string(value, precision=6, max_line_width=120))


if __name__ == "__main__":
    main()
