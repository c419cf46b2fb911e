"""A dict from outside that holds an object's attributes, or a module's globals, is not taken for another thing."""

import numpy as np
import pytest

import janusjit as jj

scale = 1.0


class Holder:
    def __init__(self):
        self.k = np.zeros(3)
        self.n = 1.0


def own_table(holder, table, x):
    table = holder.__dict__
    table["k"] = x * 2
    table["n"] = 5.0
    result = holder.k + holder.n
    holder.n = 7.0
    return result, table["n"]


def passed_table(holder, table, x):
    table["k"] = x * 2
    result = holder.k + holder.n
    holder.n = 7.0
    return result, table["n"]


def grown(holder, table, x):
    holder.fresh = x
    return list(table), len(table)


def updated(holder, table, x):
    table.update(n=x.sum())
    return holder.n


def global_name(holder, table, x):
    table["scale"] = 3.0
    return scale + x


def call(function, table_of, number):
    global scale
    scale = 1.0
    holder = Holder()
    return function(holder, table_of(holder), np.arange(3.0) + number)


def apart(holder):
    return {"k": np.zeros(3), "n": 1.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("function", "table_of"),
    [
        (own_table, vars),
        (passed_table, vars),
        (grown, vars),
        (updated, vars),
        (global_name, lambda holder: globals()),
    ],
)
@pytest.mark.parametrize("before", [0, 6])
def test_what_one_name_writes_the_other_reads(function, table_of, before):
    jitted = jj.jit(function, background=False)
    for number in range(12):
        table = apart if number < before else table_of
        expected = call(function, table, number)
        assert repr(call(jitted, table, number)) == repr(expected)
    if before and function is not own_table:
        assert jitted.stats.graph_calls >= 4
        assert jitted.stats.deopts


def test_tables_whose_names_differ_are_read_in_compiled_code():
    @jj.jit(background=False)
    def step(holder, table, x):
        table["total"] = table["total"] + x.sum()
        holder.n = holder.n + 1.0
        return table["total"]

    holder, table = Holder(), {"total": 0.0}
    results = [step(holder, table, np.ones(3)) for _ in range(6)]
    assert results == [3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert holder.n == 7.0
    assert step.stats.graph_calls == 4
    assert "DistinctObjects" not in str(step.specializations[0].guards)
