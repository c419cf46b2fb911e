"""Python needed inside ``except`` and ``finally``: the statement is Python's, what follows it is compiled."""

import numpy as np
import pytest

import janusjit as jj

space = {}
exec("def note(log, what):\n    log.append(what)\n", space)
note = space["note"]


def exception_is_read(x, table, log):
    y = x * 2
    value = 0.0
    try:
        value = table["a" if x[0] > 3 else "b"]
    except KeyError as error:
        note(log, str(error))
        value = -1.0
    return (y + value).sum()


def in_a_loop(x, table, log):
    total = 0.0
    for key in ("a", "b", "a"):
        value = 1.0
        try:
            value = table[key]
        except KeyError:
            note(log, key)
        finally:
            note(log, "finally")
        total += (x * value).sum()
    return total


def pending_return(x, table, log):
    try:
        return (x * 2).sum()
    finally:
        note(log, "done")


def bound_in_the_handler(x, table, log):
    try:
        z = table["b"]
    except KeyError:
        note(log, "miss")
        z = 3.0
    return (x * z).sum()


def jumps(x, table, log):
    total = 0.0
    for key in ("a", "b", "a", "c"):
        try:
            total += (x * table[key]).sum()
        except KeyError as error:
            note(log, error.args)
            if key == "c":
                break
            continue
        total += 1.0
    return total


def unbound_before(x, table, log):
    total = 0.0
    for key in ("a", "b", "a"):
        try:
            z = table[key]
        except KeyError as error:
            note(log, str(error))
            z = -1.0
        total += (x * z).sum()
    return total


def unbound_afterwards(x, table, log):
    try:
        z = table["b"]
    except KeyError:
        note(log, "miss")
    try:
        return (x * z).sum()
    except NameError as missing:
        note(log, type(missing).__name__)
    return (x * 2.0).sum()


def handler_name_is_gone(x, table, log):
    error = 3.0
    y = x * error
    try:
        y = y + table["b"]
    except KeyError as error:
        note(log, "miss")
    try:
        return y * error
    except NameError:
        note(log, "gone")
        return y


def deletes(x, table, log):
    z = 2.0
    try:
        w = table["b"]
    except KeyError:
        note(log, "miss")
        del z
        w = 1.0
    try:
        return (x * z).sum() + w
    except NameError:
        note(log, "gone")
    return w


def returns_in_a_loop(x, table, log):
    total = 0.0
    for number, key in enumerate(("a", "b", "a", "c", "a")):
        y = x * number
        try:
            total += (y * table[key]).sum()
        except KeyError as error:
            note(log, error.args)
            if number > 2 and x[0] > 4:
                return total, number
            if number > 2:
                break
            total += 0.5
            continue
        finally:
            note(log, "finally")
        total += 1.0
    else:
        total = -total
    return total


def inner_loop_jumps(x, table, log):
    total = 0.0
    for key in ("a", "b"):
        try:
            for other in ("a", "b", "c"):
                if other == "b":
                    continue
                if other == "c":
                    break
                total += (x * table[other]).sum()
            note(log, table[key])
        except KeyError:
            note(log, "miss")
            break
    return total


PROGRAMS = [
    exception_is_read,
    in_a_loop,
    pending_return,
    bound_in_the_handler,
    jumps,
    unbound_before,
    unbound_afterwards,
    handler_name_is_gone,
    deletes,
    returns_in_a_loop,
    inner_loop_jumps,
]


@pytest.mark.parametrize("function", PROGRAMS)
def test_same_results_and_log(function):
    step, plain, jitted = jj.jit(function, background=False), [], []
    for number in range(10):
        x = np.arange(3.0) + number
        np.testing.assert_array_equal(step(x, {"a": 2.0}, jitted), function(x, {"a": 2.0}, plain))
        assert plain == jitted
    assert step.reason is None
    assert step.stats.graph_calls == 8
    assert step.stats.host_calls >= 8


@pytest.mark.parametrize("function", PROGRAMS)
def test_only_the_statement_is_left_to_python(function):
    step = jj.jit(function, background=False)
    for number in range(10):
        step(np.arange(3.0) + number, {"a": 2.0}, [])
    assert "python" not in {point.kind for point in step._lifecycle.prepared.sites.points.values()}
