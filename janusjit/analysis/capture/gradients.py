"""Gradients of functions that are called.

Owns `differentiate`, and the capture of calls of `Differentiated` functions. Invariant: a gradient is taken by copies
of the arguments, so that other uses of the same values do not count; its parts have the types of what it is taken by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from janusjit.analysis.capture.arrays import as_array, new_array, read, scalar_value
from janusjit.analysis.capture.calls import DIFFERENTIATE, Model, invoke, models
from janusjit.analysis.capture.containers import from_python
from janusjit.analysis.capture.leaves import open_regions
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.structures import changed, float_kind
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    EitherValue,
    Known,
    ModelledCallable,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.capture.variables import holds_variable, without_variables
from janusjit.analysis.differentiated import Differentiated, grad, stop_gradient, unwrapped, value_and_grad
from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.ir.builder import GraphBuilder
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Node, Value, walk
from janusjit.ir.types import TensorType
from janusjit.ops.identities import ENDS_OF_RECORDS
from janusjit.spans import NotedSpan
from janusjit.transform.activity import Activity
from janusjit.transform.autodiff import AutodiffError, gradients
from janusjit.transform.autodiff_forward import tangents
from janusjit.transform.typed import infer

Appended = TypeVar("Appended")
Run = Callable[[list[AbstractValue], dict[str, AbstractValue]], AbstractValue]


Finish = Callable[[AbstractValue, "Copies"], AbstractValue]
"""Returns a derivative, given what the function returned and the copies it was given."""

#: set by `janusjit.analysis.capture.derivatives`: what is done for derivatives other than gradients, before the call
DERIVATIVES: dict[str, Callable[[Machine, Differentiated, AbstractValue | None, Sequence[AbstractValue]], Finish]] = {}


def call_differentiated(
    machine: Machine,
    function: Differentiated,
    arguments: Sequence[AbstractValue],
    keywords: Sequence[tuple[str, AbstractValue]],
) -> AbstractValue:
    """Capture the call of a gradient function."""
    target = function.function
    if has_plain_attributes(type(target)):  # an object that can be called
        place = machine.externals.constant_place(target, type(target).__name__)
        return _differentiated_call(machine, function, machine.externals.read(place, target), arguments, dict(keywords))
    return _differentiated_call(machine, function, from_python(machine, target), arguments, dict(keywords))


def _differentiated_call(
    machine: Machine,
    function: Differentiated,
    target: AbstractValue,
    arguments: Sequence[AbstractValue],
    keywords: dict[str, AbstractValue],
) -> AbstractValue:
    def run(given: list[AbstractValue], named: dict[str, AbstractValue]) -> AbstractValue:
        return invoke(machine, target, given, [*named.items()], of_any_kind=True)

    return differentiate(machine, function, list(arguments), keywords, run)


DIFFERENTIATE.append(call_differentiated)


def _gradient_of(with_value: bool) -> Model:
    """Return the model of `grad` or `value_and_grad`, called inside a function: of any callable."""

    def model(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        target = machine.resolve(arguments[0])
        argnums = arguments[1] if len(arguments) > 1 else keywords.get("argnums", Known(None))
        aux = keywords.get("has_aux", Known(False))
        numbers = machine.constant(argnums, "argnums")
        names = machine.constant(keywords.get("argnames", Known(None)), "argnames")
        if numbers is not None and names is not None:
            raise machine.python_error(TypeError, "argnums and argnames are both given")
        spec = Differentiated(_nothing, numbers, with_value, bool(machine.constant(aux, "has_aux")), argnames=names)
        if isinstance(target, Known):
            spec.function = unwrapped(target.value)
            return Known(spec)
        name = "value_and_grad" if with_value else "grad"

        def called(machine: Machine, given: Any, named: Any) -> AbstractValue:
            return _differentiated_call(machine, spec, target, given, dict(named))

        return ModelledCallable(name, called)

    return model


def _nothing() -> None:
    """Stand for a function that exists in the graph only."""


_OPTIONS = frozenset({"argnums", "has_aux", "argnames"})
models(grad, keywords=_OPTIONS)(_gradient_of(False))
models(value_and_grad, keywords=_OPTIONS)(_gradient_of(True))


@models(Differentiated, keywords=None)
def _model_differentiated(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """Make a gradient function of a callable, with the parameters of the class."""
    names = ("function", "argnums", "with_value", "has_aux", "seeded", "argnames", "derivative", "mode")
    values = dict(zip(names, arguments, strict=False)) | keywords
    target = machine.resolve(values.pop("function"))
    spec = Differentiated(_nothing, **{name: machine.constant(value, name) for name, value in values.items()})
    if isinstance(target, Known):
        spec.function = unwrapped(target.value)
        return Known(spec)
    return ModelledCallable(
        "gradient",
        lambda machine, given, named: _differentiated_call(machine, spec, target, given, dict(named)),
    )


@models(unwrapped, keywords=None)
def _model_unwrapped(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    target = machine.resolve(arguments[0])
    return Known(unwrapped(target.value)) if isinstance(target, Known) else target


@models(stop_gradient, keywords=None)
def _model_stop_gradient(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    value = machine.resolve(arguments[0])
    if isinstance(value, ArrayValue):
        return new_array(machine, machine.emit("stop_gradient", read(machine, value)))
    if isinstance(value, Scalar):
        return Scalar(machine.emit("stop_gradient", value.value), value.kind, sample=value.sample)
    return value


def differentiate(
    machine: Machine,
    function: Differentiated,
    arguments: list[AbstractValue],
    keywords: dict[str, AbstractValue],
    run: Run,
) -> AbstractValue:
    """Return what a gradient function returns.

    Parameters
    ----------
    machine : Machine
        Receives the operations.
    function : Differentiated
        What is called.
    arguments : list of AbstractValue
        Its positional arguments.
    keywords : dict of str to AbstractValue
        Its keyword arguments; at least those differentiated by.
    run : callable
        Calls the function itself with these arguments, those differentiated by replaced.
    """
    machine.gradients.levels += 1
    try:
        return _differentiate(machine, function, arguments, keywords, run)
    finally:
        machine.gradients.levels -= 1


def _differentiate(
    machine: Machine,
    function: Differentiated,
    arguments: list[AbstractValue],
    keywords: dict[str, AbstractValue],
    run: Run,
) -> AbstractValue:
    seed = arguments.pop(0) if function.seeded else None
    if function.function is _nothing and not keywords.keys() >= set(function.names):
        raise machine.unsupported("autodiff.argnames", "grad", "a function made here is differentiated by position")
    try:
        chosen = function.chosen(len(arguments), frozenset(keywords))
    except TypeError as error:
        raise machine.python_error(TypeError, str(error)) from error
    copies = Copies(machine)
    given: dict[int | str, AbstractValue] = dict(enumerate(arguments))
    given.update(keywords.items())
    places = [place + len(arguments) if isinstance(place, int) and place < 0 else place for place in chosen]
    wanted = [given[place] for place in places]
    for place, value in zip(places, wanted, strict=True):
        given[place] = copies.copy(value)
    made = [given[place] for place in places]
    other = DERIVATIVES.get(function.derivative)
    finish = None if other is None else other(machine, function, seed, made)
    region, begin = machine.region, len(machine.region.nodes)
    try:
        passed = [given[i] for i in range(len(arguments))]
        returned = _returned(machine, run(passed, {name: given[name] for name in keywords}))
    finally:
        machine.gradients.sources.difference_update(copies.values)
    _note_recorded(region.nodes[begin:] if machine.region is region else machine.region.nodes, copies.values)
    if finish is not None:
        return finish(machine.resolve(returned), copies)
    result, aux = _parts(machine, function, returned)
    found = iter(_backward(machine, result, seed, copies.values))
    parts = [copies.gradient(value, found) for value in wanted]
    gradient = parts[0] if function.single else TupleValue(tuple(parts))
    if not function.with_value:
        return gradient if aux is None else TupleValue((gradient, aux))
    value = result if aux is None else TupleValue((result, aux))
    return TupleValue((value, gradient))


def _returned(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return what a function returned, with the data of variables in their places."""
    value = _settled(machine, value)
    if isinstance(value, EitherValue) or not holds_variable(machine, value):
        return value
    return changed(machine, value, lambda part: without_variables(machine, part))


def _settled(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return a result, which may be of one of several kinds if it is one graph value."""
    value = machine.settle(value)
    return value if isinstance(value, EitherValue) and value.shared is not None else machine.resolve(value)


def _note_recorded(nodes: Sequence[Node], sources: Sequence[Value]) -> None:
    """Note that plain Python, where it records operations, ignores their floating-point errors; as it may of others."""
    activity = Activity(sources)
    activity.spread(nodes)
    inside = (inner for node in nodes for region in node.regions for inner in walk(region))
    for node in (*nodes, *inside):
        recorded = any(value in activity for value in node.inputs)
        node.span = NotedSpan.of(node.span, frozenset(ERRORS if recorded else ()), is_doubtful=not recorded)


def _parts(
    machine: Machine, function: Differentiated, returned: AbstractValue
) -> tuple[AbstractValue, AbstractValue | None]:
    if not function.has_aux:
        return returned, None
    if not isinstance(returned, TupleValue) or len(returned.items) != 2:
        raise machine.python_error(TypeError, "has_aux: the function has to return a pair (result, aux)")
    return _settled(machine, returned.items[0]), returned.items[1]


def _backward(
    machine: Machine, result: AbstractValue, seed: AbstractValue | None, wrt: list[Value]
) -> list[Value | None]:
    """Append the backward pass of one result; return a cotangent for each value."""
    output = result.shared if isinstance(result, EitherValue) else as_array(machine, result)
    if output is None or not output.type.is_float:
        raise machine.python_error(TypeError, "only a function that returns floats has a gradient")
    if seed is None:
        if output.type.shape != ():
            raise machine.python_error(
                TypeError, f"the gradient of a function that returns an array of shape {output.type.shape}: use vjp"
            )
        cotangent = machine.emit("constant", value=1.0, dtype=output.type.dtype)
    else:
        cotangent = _seed(machine, seed, output.type)
    return backward(machine, [output], [cotangent], wrt)


def backward(machine: Machine, outputs: list[Value], cotangents: list[Value], wrt: list[Value]) -> list[Value | None]:
    """Append the backward pass; return a cotangent for each value, or None where nothing depends on it."""
    found = appended(machine, lambda builder: gradients(builder, outputs, cotangents, wrt))
    machine.catch_up(found)
    return found


def recorded_backward(
    machine: Machine, outputs: list[Value], cotangents: list[Value], wrt: list[Value]
) -> list[Value | None]:
    """Append the backward pass of operations on variables, which ends where values are detached from them."""
    return appended(machine, lambda builder: gradients(builder, outputs, cotangents, wrt, ENDS_OF_RECORDS))


def forward(
    machine: Machine, outputs: Sequence[Value], wrt: Sequence[Value], directions: Sequence[Value | None]
) -> list[Value | None]:
    """Add the tangents of a direction; return that of each output, or None where it depends on no value."""
    with going_forward(machine):
        found = appended(machine, lambda builder: tangents(builder, outputs, wrt, directions))
    machine.catch_up()
    return found


@contextlib.contextmanager
def going_forward(machine: Machine) -> Iterator[None]:
    """Let it be known, for the length of a ``with`` block, that tangents are added."""
    machine.gradients.forward_passes += 1
    try:
        yield
    finally:
        machine.gradients.forward_passes -= 1


class MachineBuilder(GraphBuilder):
    """The builder of a machine's backward pass, which rules that follow code find their machine by."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.graph, infer)
        self.machine = machine


def appended(machine: Machine, transform: Callable[[GraphBuilder], Appended]) -> Appended:
    """Return what a transform returns that appends to the machine's open regions."""
    builder = MachineBuilder(machine)
    try:
        with contextlib.ExitStack() as regions:
            for region in open_regions(machine)[-2::-1]:
                regions.enter_context(builder.inside(region))
            found = transform(builder)
    except AutodiffError as error:
        raise machine.unsupported(error.code, machine.span.text or "gradient", str(error)) from error
    for node in walk(machine.region):  # what was appended, and what loops and branches got for it
        for value in node.results:
            machine.births.setdefault(value, len(machine.births))
    return found


def _seed(machine: Machine, seed: AbstractValue, type_: TensorType) -> Value:
    value = as_array(machine, seed)
    if value is None or value.type.shape != type_.shape:
        raise machine.python_error(TypeError, f"the cotangent has to have the result's shape, {type_.shape}")
    return value if value.type.dtype == type_.dtype else machine.emit("cast", value, dtype=type_.dtype)


def _number_type(kind: str) -> TensorType:
    return TensorType("f64" if kind == "float" else kind.removeprefix("numpy."))


class Copies:
    """The values differentiated by, each a copy of what was given."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.values: list[Value] = []

    def copy(self, given: AbstractValue) -> AbstractValue:
        """Return a parameter with each float in it replaced by a copy."""
        machine = self.machine
        given = without_variables(machine, machine.resolve(given))
        kind = float_kind(given)
        number = None if kind is None else scalar_value(machine, given)
        if kind is not None and number is not None:
            return Scalar(self._note(number), kind)
        if isinstance(given, Scalar) and given.value.type.is_float:
            return Scalar(self._note(given.value), given.kind)
        if isinstance(given, ArrayValue) and given.type.is_float:
            return new_array(machine, self._note(read(machine, given)))
        if isinstance(given, TupleValue):
            return TupleValue(tuple(map(self.copy, given.items)), given.type_)
        if isinstance(given, Reference):
            return self._copy_object(given)
        return given

    def _note(self, value: Value) -> Value:
        self.values.append(self.machine.emit("copy", value))
        self.machine.differentiate_by(self.values[-1])
        return self.values[-1]

    def _copy_object(self, given: Reference) -> AbstractValue:
        machine, item = self.machine, self.machine.heap(given)
        if isinstance(item, ListObject) and item.type_ is list:
            return machine.state.allocate(ListObject(items=[self.copy(part) for part in item.items]))
        if isinstance(item, DictObject) and item.type_ is dict:
            return machine.state.allocate(DictObject(items={key: self.copy(part) for key, part in item.items.items()}))
        if isinstance(item, Instance) and hasattr(item.type_, "__dataclass_fields__"):
            return self._rebuilt(given, item, self.copy)
        return given

    def _rebuilt(self, given: Reference, item: Instance, change: Callable[[AbstractValue], AbstractValue]) -> Reference:
        machine = self.machine
        names = item.type_.__dataclass_fields__  # type: ignore[attr-defined]
        made = machine.state.allocate(Instance(type_=item.type_))
        for name in names:
            held = item.attributes.get(name)
            if held is None and item.place is not None:
                held = machine.externals.read_attribute(item, given.index, name)
            if held is not None:
                machine.heap(made).attributes[name] = change(machine.resolve(held))
        return made

    def gradient(self, given: AbstractValue, found: Any) -> AbstractValue:
        """Return the gradient by a parameter, built like it; ``found`` yields that by each float in order."""
        machine = self.machine
        given = without_variables(machine, machine.resolve(given))
        kind = float_kind(given)
        if kind is not None:
            return Scalar(self.filled(next(found), _number_type(kind)), kind)
        if isinstance(given, Scalar) and given.value.type.is_float:
            return Scalar(self.filled(next(found), given.value.type), given.kind)
        if isinstance(given, ArrayValue) and given.type.is_float:
            return new_array(machine, self.filled(next(found), given.type))
        if isinstance(given, TupleValue):
            return TupleValue(tuple(self.gradient(part, found) for part in given.items), given.type_)
        if isinstance(given, Reference):
            item = machine.heap(given)
            if isinstance(item, ListObject):
                return machine.state.allocate(ListObject(items=[self.gradient(part, found) for part in item.items]))
            if isinstance(item, DictObject) and item.type_ is dict:
                parts = {key: self.gradient(part, found) for key, part in item.items.items()}
                return machine.state.allocate(DictObject(items=parts))
            if isinstance(item, Instance) and hasattr(item.type_, "__dataclass_fields__"):
                return self._rebuilt(given, item, lambda part: self.gradient(part, found))
        return Known(None)

    def filled(self, value: Value | None, type_: TensorType) -> Value:
        """Return a gradient, or zeros where nothing depends on the value."""
        machine = self.machine
        if value is not None and machine.recorded.leaves:  # it may have come about through variables
            return machine.emit("detach", value)
        if value is not None:
            return machine.emit("copy", value) if value in self.values else value
        zero = machine.emit("constant", value=0.0, dtype=type_.dtype)
        return machine.emit("full", zero, shape=type_.shape) if type_.shape else zero
