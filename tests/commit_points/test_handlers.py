"""Python needed inside ``except`` and ``finally``: the statement is Python's, what follows it is compiled."""

# ruff: noqa: B012 - jumps out of a finally are what is tested

import traceback

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


def out_of_the_finally(x, table, log):
    total = 0.0
    for number, key in enumerate(("a", "b", "a", "c", "a")):
        try:
            total += (x * table[key]).sum()
            note(log, key)
        finally:
            if number == 1:
                continue
            if number == 3:
                break
        total += 1.0
    else:
        total = -total
    return total


def returns_out_of_the_finally(x, table, log):
    for number in range(3):
        try:
            note(log, table["b" if number else "a"])
            x = x + 1.0
        finally:
            note(log, "finally")
            if number == 2:
                return (x * number).sum()
            if number == 1:
                continue
    return x.sum()


def found_in(x, table, log):
    for number in range(3):
        try:
            for key in ("c", "b", "a"):
                for scale in (1.0, 2.0):
                    if key in table and x[0] > number + scale:
                        return (x * table[key]).sum()
                note(log, table.get(key, key))
            x = x + 0.5
        except ValueError:
            note(log, "never")
        finally:
            note(log, "finally")
    return x.max()


def returns_out_of_inner_loops(x, table, log):
    found = found_in(x, table, log)
    log.append("found")
    return found + (x * 2.0).sum()


def overridden(x, table, log):
    """What is returned, and then not."""
    total = 0.0
    for key in ("a", "b", "a", "c"):
        try:
            for number in range(3):
                try:
                    if number == 1:
                        return table[key] * 100.0
                    note(log, number)
                finally:
                    total += (x * number).sum()
                    if key == "a":
                        break
            note(log, "behind")
        except KeyError as error:
            note(log, error.args)
            return total
        finally:
            note(log, "finally")
            if key == "b":
                continue
        total += 0.25
    return total


def bound_after_the_return(x, table, log):
    y = x
    for number in range(2):
        try:
            return (y * 3.0).sum()
        finally:
            y = y + 1.0
            note(log, "finally")
            if number == 0:
                continue
    return y


def returns_inside_a_try_in_the_finally(x, table, log):
    """The second return is overridden by an exception, so that what was returned before is returned after all."""
    total = 0.0
    for key in ("a", "b"):
        try:
            return (x * 2.0).sum()
        finally:
            try:
                try:
                    return total
                finally:
                    note(log, table["b"])
            except KeyError:
                note(log, key)
    return total


def returns_again(x, table, log):
    """Which of the returns counts depends on what is in the table, and on the turn."""
    for number, key in enumerate(("b", "a", "c")):
        y = x * number
        try:
            if number != 1:
                return y.sum()
            note(log, "passes")
        finally:
            for other in ("c", key):
                try:
                    try:
                        return (y + 1.0).sum(), other
                    finally:
                        log.append(table[other])
                        if x[0] > 5.0:
                            continue
                except KeyError:
                    note(log, other)
                finally:
                    if number == 0 and x[0] < 3.0:
                        break
            else:
                note(log, "else")
                if number == 1:
                    continue
            if x[0] < 2.0:
                continue
        log.append("behind")
    return x.sum()


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
    out_of_the_finally,
    returns_out_of_the_finally,
    returns_out_of_inner_loops,
    overridden,
    bound_after_the_return,
    returns_inside_a_try_in_the_finally,
    returns_again,
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


def raises_in_the_statement(x, table, log):
    total = 0.0
    for key in ("a", "b"):
        try:
            for number in range(3):
                if number == 2 and key == "c":
                    return total
                total += (x * table[key]).sum()
        finally:
            note(log, "finally")
    return total


def test_an_exception_leaves_the_statement_as_it_is():
    step = jj.jit(raises_in_the_statement, background=False)
    logs, lines = ([], []), ([], [])
    for number in range(8):
        x = np.arange(3.0) + number
        table = {"a": 2.0, "b": 3.0} if number % 2 == 0 else {"a": 2.0}
        for side, called in enumerate((step, raises_in_the_statement)):
            try:
                logs[side].append(called(x, table, logs[side]))
            except KeyError as error:
                logs[side].append(repr(error))
                frames = traceback.extract_tb(error.__traceback__)
                lines[side].append([frame.lineno for frame in frames if frame.name == "raises_in_the_statement"])
    assert logs[0] == logs[1] and lines[0] == lines[1] and lines[0]
    assert step.reason is None and step.stats.graph_calls == 6
