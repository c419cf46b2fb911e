"""Gradients that users declare themselves.

Owns `Rule`, which makes a user's rule the gradient rule of a node ``custom_gradient``, and the models of
`call_with_rule` and `in_their_places`. Invariant: the node has for inputs what the rule's forward function returned,
the arguments, and everything else the backward function needs, so that the backward pass may be wherever it likes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from janusjit.analysis.capture.arrays import as_array, new_array, read
from janusjit.analysis.capture.binding import bind
from janusjit.analysis.capture.calls import function_defaults, invoke, models
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import PythonRaise, Terminated
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    FunctionValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.declared_gradients import call_with_rule, in_their_places, named_after
from janusjit.analysis.source import load
from janusjit.analysis.variables import Variable
from janusjit.ir.graph import Value
from janusjit.ops.gradient import Cotangent, Pullback, Term

Make = Callable[[Iterator[Value]], AbstractValue]
"""Makes an abstract value of the graph values that `take_apart` found in one, in the same order."""


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
        outputs, make_result = take_apart(machine, result, floats=True)
        if not outputs:
            return result
        residuals, make_residuals = ([], None) if needed is None else take_apart(machine, needed, floats=False)
        _, make_cotangent = take_apart(machine, result, floats=True, otherwise=NONE)

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
        parts = _parts(machine, machine.resolve(returned))
        if parts is None:
            what = "the backward function of a custom_vjp has to return a tuple: a cotangent for each argument"
            raise machine.python_error(TypeError, what)
        if len(parts) != len(arguments):
            what = (
                f"the backward function of a custom_vjp returned {len(parts)} cotangents for {len(arguments)} arguments"
            )
            raise machine.python_error(TypeError, what)
        for number, (argument, part) in enumerate(zip(arguments, parts, strict=True)):
            yield from self._by(argument, part, f"the cotangent of argument {number} of a custom_vjp")

    def _by(self, argument: AbstractValue, part: AbstractValue, name: str) -> Iterator[Value | None]:
        """Yield the cotangent of each float of an argument."""
        machine = self._machine
        argument, part = machine.resolve(argument), machine.resolve(part)
        zero = isinstance(part, Known) and part.value is None
        if (value := _float(machine, argument)) is not None:
            yield None if zero else self._fitting(value, part, name)
            return
        inner = _parts(machine, argument)
        if inner is None:
            return
        parts = [NONE] * len(inner) if zero else _parts(machine, part)
        if parts is None or len(parts) != len(inner) or (not zero and not _alike(machine, argument, part)):
            raise machine.python_error(TypeError, f"{name} is not built like the argument")
        for one, other in zip(inner, parts, strict=True):
            yield from self._by(one, other, name)

    def _fitting(self, value: Value, part: AbstractValue, name: str) -> Value:
        machine = self._machine
        found = as_array(machine, part)
        if found is None:
            raise machine.python_error(TypeError, f"{name} is neither an array nor a number nor None")
        if found.type.shape != value.type.shape:
            what = f"{name} has the shape {found.type.shape}, and the argument {value.type.shape}"
            raise machine.python_error(TypeError, what)
        same = found.type.dtype == value.type.dtype
        return found if same else machine.emit("cast", found, dtype=value.type.dtype)


def _tuple(value: AbstractValue) -> TupleValue:
    assert isinstance(value, TupleValue)
    return value


def _float(machine: Machine, value: AbstractValue) -> Value | None:
    """Return the graph value of an array of floats or a float known at run time."""
    if isinstance(value, ArrayValue) and value.type.is_float:
        return read(machine, value)
    return value.value if isinstance(value, Scalar) and value.value.type.is_float else None


def _parts(machine: Machine, value: AbstractValue) -> list[AbstractValue] | None:
    """Return what is in a tuple, list, dict (by the order of the keys) or dataclass; None of anything else."""
    if isinstance(value, TupleValue):
        return list(value.items)
    if not isinstance(value, Reference):
        return None
    item = machine.heap(value)
    if isinstance(item, ListObject):
        return list(item.items)
    if isinstance(item, DictObject):
        if item.place is not None:
            machine.externals.guard_keys(item.place, tuple(item.original))
        return [item.items[key] for key in _in_order(item)]
    if isinstance(item, Instance) and hasattr(item.type_, "__dataclass_fields__"):
        return [_attribute(machine, item, value, name) for name in item.type_.__dataclass_fields__]
    return None


def _in_order(table: DictObject) -> list[Any]:
    """Return the keys of a dict, in an order that does not depend on how it was made."""
    return sorted(table.items, key=lambda key: (type(key).__name__, str(key)))


def _attribute(machine: Machine, item: Instance, reference: Reference, name: str) -> AbstractValue:
    held = item.attributes.get(name)
    if held is None and item.place is not None:
        held = machine.externals.read_attribute(item, reference.index, name)
    return NONE if held is None else held


def _alike(machine: Machine, one: AbstractValue, other: AbstractValue) -> bool:
    """Whether two containers are of one kind, with the same keys."""
    if isinstance(one, TupleValue) or isinstance(other, TupleValue):
        return type(one) is type(other)
    assert isinstance(one, Reference)
    if not isinstance(other, Reference):
        return False
    held, given = machine.heap(one), machine.heap(other)
    if isinstance(held, DictObject) and isinstance(given, DictObject):
        return held.items.keys() == given.items.keys()
    return type(held) is type(given)


def take_apart(
    machine: Machine, value: AbstractValue, floats: bool, otherwise: AbstractValue | None = None
) -> tuple[list[Value], Make]:
    """Return the arrays and run-time numbers in a value, and what makes such a value of others.

    Parameters
    ----------
    machine : Machine
        The machine.
    value : AbstractValue
        Tuples, lists, dicts and dataclasses of anything.
    floats : bool
        Whether only floats count.
    otherwise : AbstractValue, optional
        What stands for everything else in what is made; else it is kept.
    """
    value = machine.resolve(value)
    if isinstance(value, ArrayValue) and (value.type.is_float or not floats):
        return [read(machine, value)], lambda values: new_array(machine, next(values))
    if isinstance(value, Scalar) and (value.value.type.is_float or not floats):
        return [value.value], lambda values: Scalar(next(values), value.kind)
    parts = _parts(machine, value)
    if parts is None:
        if isinstance(value, Reference) and not floats and machine.heap(value).place is None:
            what = f"{type(machine.heap(value)).__name__} is kept for the backward function"
            raise machine.unsupported("gradient.rule", "custom_vjp", what)
        return [], lambda values: value if otherwise is None else otherwise
    taken = [take_apart(machine, part, floats, otherwise) for part in parts]
    put_together = _putting_together(machine, value)
    return [found for values, _ in taken for found in values], lambda values: put_together(
        [make(values) for _, make in taken]
    )


def _putting_together(machine: Machine, value: AbstractValue) -> Callable[[list[AbstractValue]], AbstractValue]:
    """Return what makes a container like a given one, of its parts."""
    if isinstance(value, TupleValue):
        return lambda parts: TupleValue(tuple(parts), value.type_)
    assert isinstance(value, Reference)
    item = machine.heap(value)
    if isinstance(item, ListObject):
        return lambda parts: machine.state.allocate(ListObject(items=parts))
    if isinstance(item, DictObject):
        keys, kind = _in_order(item), item.type_
        order = list(item.items)

        def table(parts: list[AbstractValue]) -> AbstractValue:
            held = dict(zip(keys, parts, strict=True))
            return machine.state.allocate(DictObject(items={key: held[key] for key in order}, type_=kind))

        return table
    type_: Any = item.type_
    names = list(type_.__dataclass_fields__)
    return lambda parts: machine.state.allocate(Instance(type_=type_, attributes=dict(zip(names, parts, strict=True))))


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
    return any(_has_variable(machine, part) for part in _parts(machine, value) or ())


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
