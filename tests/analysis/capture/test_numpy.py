"""Every expression of the table gives through capture what NumPy gives, with dimensions known and symbolic."""

from pathlib import Path

import pytest
from tests.analysis.capture.numpy_cases import check

EXPRESSIONS = (Path(__file__).parent / "numpy_expressions.txt").read_text().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression(expression):
    check(expression)
