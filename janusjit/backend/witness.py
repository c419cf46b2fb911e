"""What plain Python would have said of a floating-point error that compiled code has met.

Owns `Witness`, which compiled code calls when it finds a flag raised: it lets the call go on, gives the warnings, or
has the call given up. Invariant: a warning is given here only where it is known which operation NumPy would name, or
where the call cannot be given up any more.

The operations of a fused step are told apart by doing them again, one by one, in NumPy. Where what one was computed
from has been overwritten, its result tells: an overflow or a division by zero leaves an infinity, an invalid value NaN.
"""

from __future__ import annotations

import ctypes
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.backend.buffers import planned
from janusjit.backend.plan import FusedStep, NodeStep, Step, element_source, is_identity, nodes_of, walk
from janusjit.backend.storage import Placement
from janusjit.backend.tracking import is_of_numbers, is_overwritten, operands_of
from janusjit.ir.floating_point import ERRORS, FlagsGuard, warned_errors
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops import OPS
from janusjit.ops.indexing import symbols_in
from janusjit.spans import NotedSpan
from janusjit.transform.facts import errors_of, flags_guard, may_raise

#: actions by which a warning that has been given is not given again
_GIVEN_ONCE = frozenset({"default", "module", "once"})
#: what NumPy calls operations that are no ufuncs here
_NAMES = {"sum": "reduce", "prod": "reduce", "cast": "cast"}
Finding = tuple[Node, str]


class Witness:
    """Answers for one graph.

    Parameters
    ----------
    graph : Graph
        The graph the code was made from.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        guard = flags_guard(graph)
        assert guard is not None
        self._warned = frozenset(warned_errors(guard))
        self._namespaces: Mapping[str, dict[str, Any]] = guard.namespaces if isinstance(guard, FlagsGuard) else {}
        self._planned: Placement | None = None
        self._steps: dict[int, Step] = {}

    def __call__(self, raised: int, time: int = -1, address: int = 0, may_give_up: bool = True) -> bool:
        """Return whether the call may go on; warn where it does.

        Parameters
        ----------
        raised : int
            The errors that have happened, a bit for each of `ERRORS`.
        time : int
            The step at which; -1 where it was some step.
        address : int
            Of what the step was computed from and what it has stored, as 64-bit words (`_Words`); 0 if it is gone.
        may_give_up : bool
            Whether plain Python could do the call again.
        """
        errors = [name for number, name in enumerate(ERRORS) if raised & 1 << number]
        if not self._warned.issuperset(errors):
            return False
        if all(map(_is_ignored, errors)):
            return True
        if time < 0:
            return not any(errors_of(node).intersection(errors) for node in self._graph.walk())
        placement = self._placement()
        step = self._steps[time]
        inquiry = _Inquiry(step, errors, placement)
        found = inquiry.run(address)
        if found is None or (may_give_up and inquiry.is_guess):
            return False
        given = [_Warning.of(node, error, self._namespaces) for node, error in found]
        if may_give_up and not all(warning.is_sure and warning.is_given_once() for warning in given):
            return False
        for warning in given:
            if warning.is_certain:
                warning.give()
        return True

    def _placement(self) -> Placement:
        """Return where the arrays of the plan live, which is made again; its steps are known afterwards."""
        if self._planned is None:
            plan, self._planned = planned(self._graph)
            self._steps = {step.time: step for step in walk(plan.steps)}
        return self._planned


@dataclass(frozen=True)
class _Warning:
    """A warning that plain Python gives.

    Attributes
    ----------
    message, file, line, namespace
        What it says, and where; ``namespace`` are the globals there.
    is_sure : bool
        Whether plain Python says just that.
    is_certain : bool
        Whether it gives one at all: operations on numbers may be Python's own, of which NumPy says nothing.
    """

    message: str
    file: str
    line: int
    namespace: dict[str, Any]
    is_sure: bool
    is_certain: bool

    @staticmethod
    def of(node: Node, error: str, namespaces: Mapping[str, dict[str, Any]]) -> _Warning:
        """Return the warning of an error that a node met."""
        operation, span = OPS[node.op].eager, node.span
        namespace = namespaces.get(span.file, {})
        is_ufunc = isinstance(operation, np.ufunc)
        noted = span if isinstance(span, NotedSpan) else None
        called = noted.operation if noted else ""
        numpys = bool(called) or any(value.type.rank > 0 for value in (node.results[0], *_reduced(node)))
        is_certain = numpys and bool(namespace) and not (noted and noted.is_doubtful)
        name = called or (operation.__name__ if isinstance(operation, np.ufunc) else _NAMES.get(node.op, node.op))
        is_sure = is_certain and (is_ufunc or bool(called)) and not (noted and noted.is_replaced)
        message = f"{ERRORS[error]} encountered in {name}"
        return _Warning(message, span.file, span.line, namespace, is_sure, is_certain)

    @property
    def module(self) -> str:
        return str(self.namespace.get("__name__", "<string>"))

    def is_given_once(self) -> bool:
        """Return whether the filters would drop it, or give it once for this place."""
        for action, message, category, module, line in warnings.filters:
            if (
                (message is None or message.match(self.message))
                and issubclass(RuntimeWarning, category)
                and (module is None or module.match(self.module))
                and line in (0, self.line)
            ):
                return action == "ignore" or action in _GIVEN_ONCE
        return getattr(warnings, "defaultaction", "default") in _GIVEN_ONCE

    def give(self) -> None:
        """Give it, as NumPy does."""
        registry = self.namespace.setdefault("__warningregistry__", {})
        warnings.warn_explicit(self.message, RuntimeWarning, self.file, self.line, self.module, registry)


def _reduced(node: Node) -> Sequence[Value]:
    """Return the arrays that a node adds up or multiplies, which may come to a number."""
    return node.inputs if node.op in ("sum", "prod") else ()


def _is_ignored(error: str) -> bool:
    """Return whether the first filter that may apply to warnings of an error drops them all."""
    start = f"{ERRORS[error]} encountered in "
    for action, message, category, module, line in warnings.filters:
        if issubclass(RuntimeWarning, category) and (message is None or _may_match(message, start)):
            return action == "ignore" and message is None and module is None and line == 0
    return False


def _may_match(expression: Any, start: str) -> bool:
    """Return whether an expression may match a message of which the beginning is known."""
    literal = re.match(r"[\w ]+", expression.pattern)
    if literal is None or "|" in expression.pattern:
        return True
    known = literal.group().lower()[:-1]  # the last character may be optional
    return start.startswith(known) or known.startswith(start)


class _Inquiry:
    """Which operations of a step met errors; ``is_guess`` tells whether others may have as well, or instead."""

    def __init__(self, step: Step, errors: Sequence[str], placement: Placement) -> None:
        self._step, self._errors, self._placement = step, errors, placement
        self.is_guess = False
        self._met: dict[Node, set[str]] = {}
        self._open: list[Node] = []
        self._values: dict[Value, Any] = {}

    def run(self, address: int) -> list[Finding] | None:
        """Return what was met where, in program order; None if it is not to be found out."""
        nodes = nodes_of(self._step)
        capable = {error: [node for node in nodes if may_raise(node, error)] for error in self._errors}
        if address and is_of_numbers(self._step):
            self._repeat(self._step, address)
            met = {(node, error) for node, errors in self._met.items() for error in errors}
            return None if self._open else [(n, e) for n in nodes for e in self._errors if (n, e) in met]
        if all(len(found) <= 1 for found in capable.values()):
            met = {(node, error) for error, found in capable.items() for node in found}
        elif address == 0 or not isinstance(self._step, FusedStep):
            return None
        else:
            self._repeat(self._step, address)
            met = {(node, error) for error in self._errors for node in self._who(error, capable[error])}
        return [(n, e) for n in nodes for e in self._errors if (n, e) in met and e in errors_of(n)]

    def _who(self, error: str, capable: list[Node]) -> list[Node]:
        """Return the nodes that met an error."""
        sure = [node for node in capable if error in self._met.get(node, ())]
        if sure:
            self.is_guess |= any(node in capable and self._may_have_met(node, error) for node in self._open)
            return sure
        possible = [node for node in self._open if node in capable and self._may_have_met(node, error)]
        self.is_guess |= len(possible) > 1
        shown = [node for node in possible if node.result in self._values]
        return (shown or possible)[:1]

    def _may_have_met(self, node: Node, error: str) -> bool:
        """Return whether an operation that could not be repeated may have met an error, by its result."""
        type_ = node.result.type
        if error == "over" and type_.is_float and self._bound_by(node) <= np.finfo(type_.numpy_dtype).max:
            return False
        result = self._values.get(node.result)
        if result is None or result.dtype.kind != "f" or error == "under":
            return True
        shown = np.isnan(result) if error == "invalid" else np.isinf(result)
        for operand in filter(_is_float, map(self._value, node.inputs)):  # which may have brought it along
            shown = shown & ~(np.isnan(operand) if error == "invalid" else ~np.isfinite(operand))
        return bool(shown.any())

    def _bound(self, value: Value) -> Any:
        """Return what the finite elements of a value do not exceed, as far as is known."""
        if not value.type.is_float:
            return np.longdouble(np.inf)
        known = self._value(value)
        if known is not None:
            magnitudes = np.abs(known[np.isfinite(known)] if np.ndim(known) else known)
            return np.longdouble(np.max(magnitudes, initial=0.0))
        if value.node is not None and value.node in self._open:
            return self._bound_by(value.node)
        return np.longdouble(np.finfo(value.type.numpy_dtype).max)

    def _bound_by(self, node: Node) -> Any:
        """Return what the results of an operation do not exceed, by its operands."""
        bounds = [self._bound(given) for given in node.inputs]
        combine = _BOUNDS.get(node.op)
        return np.longdouble(np.inf) if combine is None else combine(*bounds)

    def _repeat(self, step: Step, address: int) -> None:
        """Do the operations of a step again, but for those of which an operand is gone."""
        assert isinstance(step, FusedStep | NodeStep)
        operands, stored = operands_of(step), step.stores if isinstance(step, FusedStep) else []
        given = _read_words(address, [value.type.rank for value in (*operands, *stored)])
        results: dict[Value, Any] = {}
        for value, words in zip((*operands, *stored), given, strict=True):
            array = _operand(value, words)
            if value in stored and value.node is not None:
                results[value.node.inputs[1] if value.node.op == "update" else value] = array
            elif isinstance(step, NodeStep) or not is_overwritten(value, step, self._placement):
                self._values[value] = array
        for node in nodes_of(step):
            self._repeat_node(node, results)

    def _repeat_node(self, node: Node, results: dict[Value, Any]) -> None:
        if node.op == "update" or is_identity(node):
            source = self._value(element_source(node) if is_identity(node) else node.inputs[1])
            if source is not None:
                self._values[node.result] = source
            return
        inputs = [self._value(value) for value in node.inputs]
        if any(one is None for one in inputs) or symbols_in(node.attributes):
            self._open.append(node)
            if node.result in results:
                self._values[node.result] = results[node.result]
            return
        met = self._met.setdefault(node, set())
        with np.errstate(all="call", call=lambda words, _: met.add(_ERRORS[words])):
            self._values[node.result] = np.asarray(OPS[node.op].eager(*inputs, **node.attributes))

    def _value(self, value: Value) -> Any:
        if value.node is not None and value.node.op == "constant":
            return value.type.numpy_dtype.type(value.node.attributes["value"])
        return self._values.get(value)


#: what the results of operations on bounded operands do not exceed
_BOUNDS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "subtract"), lambda x, y: x + y),
    "multiply": lambda x, y: x * y,
    "square": lambda x: x * x,
    **dict.fromkeys(("negative", "absolute", "positive"), lambda x: x),
}


def _is_float(value: Any) -> bool:
    return value is not None and value.dtype.kind == "f"


_ERRORS = {words: name for name, words in ERRORS.items()}


def _read_words(address: int, ranks: Sequence[int]) -> Iterator[list[int]]:
    """Yield the words of each value: address, sizes and strides of an array; the bits of a number."""
    for rank in ranks:
        count = 2 * rank + 1
        yield list((ctypes.c_int64 * count).from_address(address))
        address += 8 * count


class _Memory:
    """Memory that compiled code has, for NumPy to read."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def _operand(value: Value, words: list[int]) -> Any:
    dtype, rank = value.type.numpy_dtype, value.type.rank
    if rank == 0:
        return np.array(words).view(np.uint8)[: dtype.itemsize].view(dtype)[0]
    shape, strides = tuple(words[1 : 1 + rank]), tuple(words[1 + rank :])
    interface = {"version": 3, "typestr": dtype.str, "shape": shape, "strides": strides, "data": (words[0], True)}
    return np.asarray(_Memory(interface))
