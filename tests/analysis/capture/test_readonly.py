"""What happens because an array is read-only is not taken for granted at the next call."""

import numpy as np

import janusjit as jj
from tests.analysis.capture.capturing import same


def fill(x, y):
    try:
        x[0] = 0.5
    except ValueError:
        y += 1.0


def test_a_write_refused_once_is_made_when_the_array_is_writeable():
    step = jj.jit(fill, background=False)
    for readonly in (True, True, True, True, False, False, True, False):
        arrays = [np.ones(3), np.ones(3)], [np.ones(3), np.ones(3)]
        for x, _ in arrays:
            x.flags.writeable = not readonly
        fill(*arrays[0])
        step(*arrays[1])
        assert same(*arrays)
    assert step.stats.graph_calls > 0
