"""What real programs call, one function a program: right, and as far in the graph as it says."""

import pytest

from tests.surface import arrays, linear_algebra, most_used, numpy_functions, operands, standard_library
from tests.surface.harness import run

MODULES = (most_used, numpy_functions, arrays, linear_algebra, standard_library, operands)
ENTRIES = [(function, way) for module in MODULES for function, way in module.PROGRAMS.entries]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "way"), ENTRIES, ids=lambda item: getattr(item, "__name__", ""))
def test_program(function, way):
    found, difference, _ = run(function)
    assert not difference
    assert found == way
