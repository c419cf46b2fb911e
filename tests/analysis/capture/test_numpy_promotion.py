"""Operands of every kind: results have NumPy's dtypes, and what NumPy refuses is never made."""

import copy
import warnings

import numpy as np
import pytest

from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.errors import CaptureFailure
from tests.analysis.capture.numpy_cases import captured, made, operands
from tests.differential import Comparison

KINDS = ("b", "e[:4]", "i", "f", "x", "a", "n", "s", "h", "z", "2", "2.5")
BINARY = (
    "{} + {}",
    "{} / {}",
    "{} // {}",
    "{} ** {}",
    "{} < {}",
    "{} & {}",
    "np.maximum({}, {})",
    "np.hypot({}, {})",
)
UNARY = ("-{}", "np.exp({})", "np.square({})", "np.sign({})", "np.invert({})", "np.isnan({})", "np.floor({})")
EXPRESSIONS = [text.format(left, right) for text in BINARY for left in KINDS[:-2] for right in KINDS]
EXPRESSIONS += [text.format(right, left) for text in BINARY for left in KINDS[:-2] for right in KINDS[-2:]]
EXPRESSIONS += [text.format(operand) for text in UNARY for operand in KINDS[:-2]]


@pytest.mark.parametrize("start", range(0, len(EXPRESSIONS), 100))
def test_dtypes(start):
    for expression in EXPRESSIONS[start : start + 100]:
        function = made(expression)
        arguments = [operands()[name] for name in function.__code__.co_varnames]
        raised, expected = None, None
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = function(*copy.deepcopy(arguments))
            except (TypeError, ValueError, OverflowError) as error:
                raised = error
        try:
            result = interpret(captured(function, arguments), arguments)
        except (CaptureFailure, DeoptimizationSignal) as left:
            if raised is None and "computed in float16" not in str(left):
                pytest.fail(f"{expression}: {left}")
            continue
        assert raised is None, (expression, raised)
        comparison = Comparison()
        comparison.compare(expected, result, expression)
        assert not comparison.found, comparison.found


REFUSED = (
    "x + np.ones(3)",
    "x @ x",
    "x.reshape(5, 5)",
    "x.reshape(-1, -1)",
    "x.sum(axis=2)",
    "x.sum(axis=(0, 0))",
    "np.concatenate([x, t])",
    "np.concatenate([x, v[None, :2]])",
    "np.max(x[:0])",
    "np.argmax(x[:0])",
    "x[3]",
    "x[:, 9]",
    "x[k, np.arange(3)]",
    "x[np.array([5])]",
    "np.linalg.inv(np.zeros((2, 2)))",
    "np.linalg.inv(x)",
    "np.take(v, [7])",
    "i ** -1",
    "np.power(i, -k)",
    "np.transpose(x, (0, 0))",
    "np.zeros(-1)",
    "np.stack([x, y[:2]])",
    "np.split(x, 3, axis=1)",
    "np.arange(3)[np.array([0.5])]",
    "np.dot(x, y)",
    "np.broadcast_to(x, (2, 4))",
    "np.squeeze(x, axis=0)",
    "x.foo",
    "np.average(v, weights=np.zeros(4))",
    "np.add(e, 300)",
    "np.searchsorted(x, 1.0)",
    "np.bincount(np.array([-1]))",
    "np.unravel_index(12, (3, 4))",
    "np.nanargmax(np.full(3, np.nan))",
    "np.testing.assert_allclose(x, y)",
    "i += 0.5\nreturn i",
    "np.add(x, 1, out=np.zeros(2))",
    "np.broadcast_to(v, (2, 4))[0] = 1\nreturn v",
    "np.diag(p)[0] = 1\nreturn p",
)


@pytest.mark.parametrize("body", REFUSED)
def test_what_numpy_refuses_is_left_to_python(body):
    function = made(body)
    arguments = [operands()[name] for name in function.__code__.co_varnames[: function.__code__.co_argcount]]
    before = copy.deepcopy(arguments)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever NumPy raises
        function(*copy.deepcopy(arguments))
    with pytest.raises((CaptureFailure, DeoptimizationSignal)):
        interpret(captured(function, arguments), arguments)
    comparison = Comparison()
    comparison.compare(before, arguments, "arguments")
    assert not comparison.found


UNSUPPORTED = {
    "np.add(x, y, where=b)": "array.uninitialized",
    "x.view(np.int64)": "array.order",
    "np.frompyfunc(abs, 1, 1)(x)": "python.callee",
    "np.sqrt(e)": "array.dtype",
    "np.zeros(3, dtype=complex)": "array.dtype",
    "np.zeros((2, 3), order='F')": "array.order",
    "np.seterr(all='raise')": "environment.errstate",
    "np.mean(x[:0])": "array.empty",
    "np.diag(p)": "array.alias",
}


@pytest.mark.parametrize("body", UNSUPPORTED)
def test_what_has_no_rule_says_so(body):
    function = made(body)
    arguments = [operands()[name] for name in function.__code__.co_varnames[: function.__code__.co_argcount]]
    with pytest.raises(CaptureFailure) as failure:
        captured(function, arguments)
    assert failure.value.code == UNSUPPORTED[body]
