"""Gradients that users declare themselves.

Owns `Rule`, which makes a user's rule the gradient rule of a node ``custom_gradient``, and the models of
`call_with_rule` and `in_their_places`. Invariant: the node has for inputs what the rule's forward function returned,
the arguments, and everything else the backward function needs, so that the backward pass may be wherever it likes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from janusjit.analysis.capture.binding import bind
from janusjit.analysis.capture.calls import function_defaults, invoke, models
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import PythonRaise, Terminated
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.structures import fitting, none, parts_of, take_apart
from janusjit.analysis.capture.values import (
    AbstractValue,
    FunctionValue,
    Known,
    Reference,
    TupleValue,
)
from janusjit.analysis.declared_gradients import call_with_rule, in_their_places, named_after
from janusjit.analysis.source import load
from janusjit.analysis.variables import Variable
from janusjit.ir.graph import Value
from janusjit.ops.gradient import Cotangent, Pullback, Term


class Rule:
    """A user's rule.

    Parameters
    ----------
    machine : Machine
        Receives the operations.
    forward : callable
        Runs the forward function on arguments.
    backward : callable
        Runs the backward function on what it needs and a cotangent.
    """

    def __init__(
        self,
        machine: Machine,
        forward: Callable[[TupleValue], AbstractValue],
        backward: Callable[[AbstractValue, AbstractValue], AbstractValue],
    ) -> None:
        self._machine, self._forward, self._backward = machine, forward, backward

    def call(self, function: Callable[[TupleValue], AbstractValue], arguments: TupleValue) -> AbstractValue:
        """Return the result for some arguments, whose gradient will be by this rule.

        A call in a forward function is seen by gradients of gradients only, and may be that of the very function: so
        the function itself runs, and the forward function when there is such a gradient.
        """
        machine = self._machine
        wrt, make_arguments = take_apart(machine, arguments, floats=True)  # a join may let go of them
        if machine.gradients.forward_functions:
            result, needed = function(arguments), None
        else:
            result, needed = self._both(arguments)
        outputs, make_result = take_apart(machine, result, floats=True, known_floats=True)
        if not outputs:
            return result
        residuals, make_residuals = ([], None) if needed is None else take_apart(machine, needed, floats=False)
        _, make_cotangent = take_apart(machine, result, floats=True, known_floats=True, otherwise=none)

        def rule(pullback: Pullback) -> list[Cotangent]:
            inputs = [term.value for term in pullback.inputs[len(outputs) :]]
            at, kept = inputs[: len(wrt)], inputs[len(wrt) :]
            emit = pullback.emit
            terms = zip(pullback.cotangents, pullback.results, strict=True)
            given = [emit.zeros(result.type) if term is None else term for term, result in terms]

            def run() -> list[Value | None]:
                if make_residuals is None:
                    needed = self._both(_tuple(make_arguments(iter(at))))[1]
                else:
                    needed = make_residuals(iter(kept))
                returned = self._backward(needed, make_cotangent(term.value for term in given))
                return list(self._cotangents(returned, _tuple(make_arguments(iter(at)))))

            cotangents = [None if value is None else Term(emit, value) for value in self._there(pullback, run)]
            return [*[None] * len(outputs), *cotangents, *[None] * len(residuals)]

        attributes = {"rule": rule, "outputs": len(outputs)}
        node = machine.emit_node("custom_gradient", (*outputs, *wrt, *residuals), attributes)
        return make_result(iter(node.results))

    def _both(self, arguments: TupleValue) -> tuple[AbstractValue, AbstractValue]:
        """Run the forward function; return the result, and what the backward function needs."""
        machine = self._machine
        machine.gradients.forward_functions += 1
        try:
            returned = machine.resolve(self._forward(arguments))
        finally:
            machine.gradients.forward_functions -= 1
        if not isinstance(returned, TupleValue) or len(returned.items) != 2:
            what = "the forward function of a custom_vjp has to return a pair: the result, and what backward needs"
            raise machine.python_error(TypeError, what)
        return returned.items[0], returned.items[1]

    def _there(self, pullback: Pullback, run: Callable[[], list[Value | None]]) -> list[Value | None]:
        """Run functions of the rule where the backward pass is."""
        machine = self._machine
        before = machine.region, machine.span, machine.site
        machine.region = pullback.emit.builder.region  # type: ignore[attr-defined]
        machine.span = pullback.node.span
        try:
            return run()
        except (Terminated, PythonRaise) as signal:
            if machine.unrolls():
                raise
            # it may be raised in a branch or a loop of the backward pass: Python knows
            what = "the backward function raises an exception"
            raise machine.unsupported("gradient.rule", "custom_vjp", what) from signal
        finally:
            machine.region, machine.span, machine.site = before

    def _cotangents(self, returned: AbstractValue, at: TupleValue) -> Iterator[Value | None]:
        """Yield the cotangent of each float of the arguments."""
        machine, arguments = self._machine, at.items
        parts = parts_of(machine, machine.resolve(returned))
        if parts is None:
            what = "the backward function of a custom_vjp has to return a tuple: a cotangent for each argument"
            raise machine.python_error(TypeError, what)
        if len(parts) != len(arguments):
            what = (
                f"the backward function of a custom_vjp returned {len(parts)} cotangents for {len(arguments)} arguments"
            )
            raise machine.python_error(TypeError, what)
        for number, (argument, part) in enumerate(zip(arguments, parts, strict=True)):
            yield from fitting(machine, argument, part, f"the cotangent of argument {number} of a custom_vjp")


def _tuple(value: AbstractValue) -> TupleValue:
    assert isinstance(value, TupleValue)
    return value


# ---------------------------------------------------------------------- calls in compiled code


@models(call_with_rule)
def _model_call(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    function, forward, backward, passed = map(machine.resolve, arguments)
    assert isinstance(passed, TupleValue)
    if _has_variable(machine, passed):
        raise machine.unsupported("gradient.rule", "custom_vjp", "it is called with a Variable")
    if not machine.differentiates(take_apart(machine, passed, floats=True)[0]):
        return invoke(machine, function, passed.items, ())
    rule = Rule(
        machine,
        lambda given: invoke(machine, forward, given.items, ()),
        lambda residuals, cotangent: invoke(machine, backward, [residuals, cotangent], ()),
    )
    return rule.call(lambda given: invoke(machine, function, given.items, ()), passed)


def _has_variable(machine: Machine, value: AbstractValue) -> bool:
    value = machine.resolve(value)
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, Instance) and issubclass(item.type_, Variable):
        return True
    return any(_has_variable(machine, part) for part in parts_of(machine, value) or ())


@models(in_their_places)
def _model_places(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    function, passed, named = map(machine.resolve, arguments)
    assert isinstance(passed, TupleValue) and isinstance(named, Reference)
    held = machine.heap(named).items
    if isinstance(function, FunctionValue):
        core, defaults, by_name = function.core, function.defaults, dict(function.keyword_defaults)
    elif isinstance(function, Known) and hasattr(function.value, "__code__"):
        core = load(function.value)
        defaults, by_name = function_defaults(machine, function.value)
    elif held:
        raise machine.unsupported("gradient.rule", "custom_vjp", "keyword arguments of a function without source")
    else:
        return passed
    parameters = core.parameters
    if parameters.keyword_only or parameters.variadic_keyword is not None:
        raise machine.python_error(TypeError, "a custom_vjp function has no parameters passed by keyword only")
    bound = bind(machine, core, passed.items, [*held.items()], defaults, by_name)
    rest = bound[parameters.variadic] if parameters.variadic is not None else TupleValue(())
    assert isinstance(rest, TupleValue)
    names = (*parameters.positional_only, *parameters.positional)
    return TupleValue((*(bound[name] for name in names), *rest.items))


@models(named_after)
def _model_named_after(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    made, function = map(machine.resolve, arguments)
    if isinstance(function, Known):
        invoke(machine, Known(functools.update_wrapper), [made, function], [("updated", TupleValue(()))])
    return made  # names of functions made inside are seen by nobody
