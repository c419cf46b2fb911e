"""Capturing and interpreting, for the tests of capture.

A captured graph is run by the reference backend, on copies of the arguments, and compared with plain Python.
"""

import contextlib
import copy
import io

import numpy as np

from janusjit.analysis.capture import capture
from janusjit.analysis.source import load
from janusjit.backend.reference import interpret
from janusjit.ir.relaxations import Relaxations
from janusjit.profiler.profile import Profile


def graph_of(function, *arguments, relaxed=(), profile=None):
    """Return the graph of a call with these arguments; a profile of nothing makes every branch a fork."""
    relaxations = Relaxations(frozenset(relaxed))
    return capture(function, load(function), profile or Profile(), list(arguments), relaxations)


def same(left, right):
    """Whether two results are equal in type, dtype, shape, value and structure."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if hasattr(left, "__dict__"):
        return same(vars(left), vars(right))
    return bool(left == right) or (left != left and right != right)


def assert_captured(function, *arguments, relaxed=(), calls=(), graph=None):
    """Assert that a call is captured and gives what Python gives: result, arguments' state, printed output.

    ``calls`` are further argument tuples for which the same graph has to be right.
    """
    graph = graph or graph_of(function, *copy.deepcopy(arguments), relaxed=relaxed)
    for given in (arguments, *calls):
        for_graph, for_python = copy.deepcopy(given), copy.deepcopy(given)
        with contextlib.redirect_stdout(io.StringIO()) as graph_output:
            result = interpret(graph, list(for_graph))
        with contextlib.redirect_stdout(io.StringIO()) as python_output:
            expected = function(*for_python)
        assert same(result, expected), (result, expected)
        assert same(list(for_graph), list(for_python)), (for_graph, for_python)
        assert graph_output.getvalue() == python_output.getvalue()
    return graph


def operations(graph):
    """Return the names of the graph's operations, in order."""
    return [node.op for node in graph.walk()]
