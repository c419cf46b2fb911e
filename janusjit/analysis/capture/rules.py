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
from janusjit.analysis.capture.gradient_modes import mode, set_mode
from janusjit.analysis.capture.gradients import MachineBuilder
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import PythonRaise, Terminated
from janusjit.analysis.capture.structures import changed, fitting, none, parts_of, take_apart
from janusjit.analysis.capture.values import (
    AbstractValue,
    FunctionValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.capture.variables import dressed, holds_variable, is_variable, opened, requires_grad
from janusjit.analysis.declared_gradients import call_with_rule, in_their_places, named_after
from janusjit.analysis.recording_mode import mode_with
from janusjit.analysis.source import load
from janusjit.ir.graph import Value
from janusjit.ops.gradient import Cotangent, Pullback, Term


class Rule:
    """A user's rule.

    It is of no machine: the backward pass may be on another one than the call was.

    Parameters
    ----------
    forward : callable
        Runs the forward function on arguments.
    backward : callable
        Runs the backward function on what it needs and a cotangent.
    """

    def __init__(
        self,
        forward: Callable[[Machine, TupleValue], AbstractValue],
        backward: Callable[[Machine, AbstractValue, AbstractValue], AbstractValue],
    ) -> None:
        self._forward, self._backward = forward, backward

    def call(
        self, machine: Machine, function: Callable[[Machine, TupleValue], AbstractValue], arguments: TupleValue
    ) -> AbstractValue:
        """Return the result for some arguments, whose gradient will be by this rule.

        A call in a forward function is seen by gradients of gradients only, and may be that of the very function: so
        the function itself runs, and the forward function when there is such a gradient.
        """
        wrt, make_arguments = take_apart(machine, arguments, floats=True)  # a join may let go of them
        later = machine.gradients.forward_functions > 0
        if later:
            residuals, make_residuals = take_apart(machine, arguments, floats=not machine.unrolls())
            result = function(machine, arguments)
        else:
            result, needed = self._both(machine, arguments)
            residuals, make_residuals = take_apart(machine, needed, floats=False)
        outputs, make_result = take_apart(machine, result, floats=True, known_floats=True)
        if not outputs:
            return result
        first, count = len(outputs), len(wrt)  # the rule keeps no values: it would keep what made them
        _, make_cotangent = take_apart(machine, result, floats=True, known_floats=True, otherwise=none)

        def rule(pullback: Pullback) -> list[Cotangent]:
            inputs = [term.value for term in pullback.inputs[first:]]
            at, kept = inputs[:count], inputs[count:]
            emit = pullback.emit
            terms = zip(pullback.cotangents, pullback.results, strict=True)
            given = [emit.zeros(result.type) if term is None else term for term, result in terms]

            def run(machine: Machine) -> list[Value | None]:
                needed = make_residuals(machine, iter(kept))
                if later:
                    needed = self._both(machine, _tuple(needed))[1]
                returned = self._backward(machine, needed, make_cotangent(machine, (term.value for term in given)))
                return list(_cotangents(machine, returned, _tuple(make_arguments(machine, iter(at)))))

            cotangents = [None if value is None else Term(emit, value) for value in _there(pullback, run)]
            return [*[None] * first, *cotangents, *[None] * len(kept)]

        attributes = {"rule": rule, "outputs": len(outputs)}
        node = machine.emit_node("custom_gradient", (*outputs, *wrt, *residuals), attributes)
        return make_result(machine, iter(node.results))

    def _both(self, machine: Machine, arguments: TupleValue) -> tuple[AbstractValue, AbstractValue]:
        """Run the forward function; return the result, and what the backward function needs."""
        machine.gradients.forward_functions += 1
        try:
            returned = machine.resolve(self._forward(machine, arguments))
        finally:
            machine.gradients.forward_functions -= 1
        if not isinstance(returned, TupleValue) or len(returned.items) != 2:
            what = "the forward function of a custom_vjp has to return a pair: the result, and what backward needs"
            raise machine.python_error(TypeError, what)
        return returned.items[0], returned.items[1]


def _there(pullback: Pullback, run: Callable[[Machine], list[Value | None]]) -> list[Value | None]:
    """Run functions of a rule where the backward pass is."""
    builder = pullback.emit.builder
    assert isinstance(builder, MachineBuilder)
    machine = builder.machine
    before = machine.region, machine.span, machine.site
    machine.region = builder.region
    machine.span = pullback.node.span
    try:
        return run(machine)
    except (Terminated, PythonRaise) as signal:
        if machine.unrolls():
            raise
        # it may be raised in a branch or a loop of the backward pass: Python knows
        what = "the backward function raises an exception"
        raise machine.unsupported("gradient.rule", "custom_vjp", what) from signal
    finally:
        machine.region, machine.span, machine.site = before


def _cotangents(machine: Machine, returned: AbstractValue, at: TupleValue) -> Iterator[Value | None]:
    """Yield the cotangent of each float of the arguments."""
    arguments = at.items
    parts = parts_of(machine, machine.resolve(returned))
    if parts is None:
        what = "the backward function of a custom_vjp has to return a tuple: a cotangent for each argument"
        raise machine.python_error(TypeError, what)
    if len(parts) != len(arguments):
        what = f"the backward function of a custom_vjp returned {len(parts)} cotangents for {len(arguments)} arguments"
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
    if _requires_grad(machine, passed) and mode(machine).enabled:
        return _on_variables(machine, function, forward, backward, passed)
    bare = passed
    if holds_variable(machine, passed):
        bare = _tuple(changed(machine, passed, lambda part: opened(machine, part, False)))
    if not machine.differentiates(take_apart(machine, bare, floats=True)[0]):
        return invoke(machine, function, passed.items, ())
    rule = Rule(
        lambda machine, given: invoke(machine, forward, given.items, ()),
        lambda machine, residuals, cotangent: invoke(machine, backward, [residuals, cotangent], ()),
    )
    result = rule.call(machine, lambda machine, given: invoke(machine, function, given.items, ()), bare)
    return result if bare is passed else changed(machine, result, lambda part: dressed(machine, part, False))


def _on_variables(
    machine: Machine,
    function: AbstractValue,
    forward: AbstractValue,
    backward: AbstractValue,
    passed: TupleValue,
) -> AbstractValue:
    """Record a call as one operation: what its functions see is plain, and what they do is not recorded."""

    def unrecorded(called: AbstractValue) -> Callable[[Machine, TupleValue], AbstractValue]:
        def run(machine: Machine, given: TupleValue) -> AbstractValue:
            before = mode(machine)
            set_mode(machine, mode_with(False, before.tapes))
            try:
                returned = invoke(machine, called, given.items, ())
                return changed(machine, returned, lambda part: opened(machine, part, False))
            finally:
                set_mode(machine, before)

        return run

    run_backward = unrecorded(backward)
    rule = Rule(
        unrecorded(forward), lambda machine, kept, cotangent: run_backward(machine, TupleValue((kept, cotangent)))
    )
    given = changed(machine, passed, lambda part: opened(machine, part, True))
    result = rule.call(machine, unrecorded(function), _tuple(given))
    return changed(machine, result, lambda part: dressed(machine, _numpy(part), True))


def _requires_grad(machine: Machine, value: AbstractValue) -> bool:
    """Whether a value is, or holds, a variable that requires gradients."""
    value = machine.resolve(value)
    if isinstance(value, Reference) and is_variable(machine, value):
        return requires_grad(machine, value)
    return any(_requires_grad(machine, part) for part in parts_of(machine, value) or ())


def _numpy(value: AbstractValue) -> AbstractValue:
    """Return a float of Python's as NumPy's: of it a variable can be made."""
    if isinstance(value, Scalar) and value.kind == "float":
        return Scalar(value.value, f"numpy.{value.value.type.dtype}")
    return value


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
