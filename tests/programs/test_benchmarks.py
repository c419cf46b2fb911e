"""The benchmarks measure what they say, and the cost of a settled call stays what it is said to be."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from benchmarks.__main__ import combine, duration
from benchmarks.cases import CASES, OVERHEAD
from benchmarks.plot import write_plot
from benchmarks.worker import equal, measure


def test_a_settled_call_with_twelve_arrays_costs_less_than_five_microseconds():
    row = measure(OVERHEAD, blocks=15, block_seconds=0.002)
    assert row["in_graph"]
    assert row["equal"]
    assert row["jit_seconds"] < 5e-6


def test_a_small_chain_is_timed_in_the_graph():
    case = next(case for case in CASES if case.name == "chain of 8, 100 float64")
    row = measure(case, blocks=2, block_seconds=0.001)
    assert row["in_graph"]
    assert row["equal"]
    assert row["compile_seconds"] > 0
    json.dumps(row)


def test_arguments_are_fresh_for_each_block():
    for case in CASES:
        if case.group == "programs":
            before = case.arguments()
            case.function(*before)
            again = case.arguments()
            assert all(one is not other for one, other in zip(before, again, strict=True) if not np.isscalar(one))


def test_the_ratio_is_to_the_faster_eager_time():
    def result(eager, jit):
        row = {"name": "a", "group": "g", "eager_seconds": eager, "jit_seconds": jit}
        return {"rows": [{**row, "compile_seconds": 0.1, "in_graph": True, "equal": True}]}

    (row,) = combine({"one": result(8.0, 1.0), "other": result(6.0, 2.0)})
    assert row["ratio"] == 6.0


@pytest.mark.parametrize(
    ("expected", "actual"), [(1.0, 1.1), (np.zeros(2), np.ones(2)), ((1.0, 2.0), (1.0,)), (None, 1)]
)
def test_a_different_result_is_seen(expected, actual):
    assert not equal(expected, actual)
    assert equal(expected, expected)


def test_durations_are_printed_in_their_unit():
    assert [duration(s).split() for s in (2.0, 3e-3, 4.5e-6, 127e-9)] == [
        ["2.00", "s"],
        ["3.00", "ms"],
        ["4.50", "µs"],
        ["127.0", "ns"],
    ]


def test_the_plot_is_well_formed(tmp_path):
    rows = [{"name": f"a < {i}", "group": "g", "ratio": 0.5 + i, "in_graph": i != 1} for i in range(3)]
    environment = {"processor": "P", "threads": 1, "python": "3", "numpy": "2"}
    write_plot(rows, environment, tmp_path / "plot.svg")
    bars = ElementTree.parse(tmp_path / "plot.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(bar.get("width")) for bar in bars[1:]]
    assert widths == sorted(widths)
    assert len(widths) == 3
