"""NumPy through capture: every expression and body of the tables gives what NumPy gives."""

from pathlib import Path

import pytest

from tests.analysis.capture.numpy_cases import check

HERE = Path(__file__).parent
EXPRESSIONS = (HERE / "numpy_expressions.txt").read_text().splitlines()
BODIES = (HERE / "numpy_bodies.txt").read_text().strip().split("\n\n")
#: what needs sizes that are known, all of it; what NumPy raises is caught
LIBRARY = [
    *(HERE / "numpy_library_expressions.txt").read_text().splitlines(),
    *(HERE / "numpy_library_bodies.txt").read_text().strip().split("\n\n"),
]
#: what needs a size that is known
STATIC = {
    "p.trace(1)",
    "np.linalg.svd(x)",
    "np.array_split(v, 3)",
    "v.tolist()",
    "x.tolist()",
    "np.median(x)",
    "np.median(x, axis=0)",
    "np.median(x, axis=1)",
    "np.median(v, keepdims=True)",
    "np.median(i)",
    "np.percentile(x, 50)",
    "np.percentile(x, 30, axis=0)",
    "np.quantile(f, 0.75, axis=1)",
    "np.quantile(i, 0.9)",
    "np.array([np.sum(c1) for c1 in x])",
    "np.linalg.norm(x, ord=2)",
    "np.linalg.norm(x, 2)",
    "np.linalg.svd(x, compute_uv=False)",
    "return [float(r) for r in v], [int(r) for r in k], v.tolist()",
    "return max(x.max(), y.max()), min(v), sum(v)",
    # whether NumPy copies depends on the sizes, and so does what the result shares memory with
    "x.T.reshape(2, -1)",
    "g.reshape(2, 6)",
}


@pytest.mark.parametrize("body", [*EXPRESSIONS, *BODIES])
def test_known_dimensions(body):
    check(body)


@pytest.mark.parametrize("body", [body for body in (*EXPRESSIONS, *BODIES) if body not in STATIC])
def test_symbolic_dimensions(body):
    check(body, symbolic=True)


@pytest.mark.parametrize("body", LIBRARY)
def test_functions_called_as_they_are(body):
    check(body)
