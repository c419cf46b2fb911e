"""Going back through recorded operations in capture.

Owns the models of `Variable.backward` and `GradientTape`. Invariant: a gradient is a transform of the nodes that the
recorded operations have become; what eager would have freed by then cannot be gone back through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.arrays import as_array, broadcast_to, cast, constant, new_array
from janusjit.analysis.capture.attributes import get_attribute, write_instance
from janusjit.analysis.capture.boxing import ATTRIBUTES
from janusjit.analysis.capture.calls import models
from janusjit.analysis.capture.gradient_modes import mode, set_mode
from janusjit.analysis.capture.gradients import recorded_backward
from janusjit.analysis.capture.leaves import Reached
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import guard_structure
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.values import NONE, AbstractValue, ArrayValue, Known, Reference, Scalar, TupleValue
from janusjit.analysis.capture.variables import (
    Arguments,
    Named,
    history,
    is_variable,
    made,
    opened,
    requires_grad,
)
from janusjit.analysis.recording_mode import mode_with
from janusjit.analysis.tapes import GradientTape, Pause
from janusjit.analysis.variables import FREED, IN_GRAPH, Variable
from janusjit.ir.graph import Value

# ---------------------------------------------------------------------- backward


@models(Variable.backward, keywords=("gradient", "retain_graph"))
def _model_backward(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    given = dict(zip(("owner", "gradient", "retain_graph"), arguments, strict=False)) | keywords
    owner = given["owner"]
    assert isinstance(owner, Reference)
    if not requires_grad(machine, owner):
        raise machine.python_error(RuntimeError, "backward() of a variable that requires no gradients")
    origin = history(machine, owner)
    if origin is FREED:
        raise machine.python_error(RuntimeError, "the recorded operations have been freed")
    output = as_array(machine, get_attribute(machine, owner, "_data"))
    assert output is not None
    gradient = given.get("gradient", NONE)
    if isinstance(gradient, Known) and gradient.value is None and output.type.size != 1:
        raise machine.python_error(RuntimeError, "backward() needs the cotangent")
    seed = _seed(machine, gradient, output)
    if origin is None:
        _accumulate(machine, owner, seed)
        return NONE
    reached = _reached(machine, [output])
    for copy, found in zip(reached.copies, recorded_backward(machine, [output], [seed], reached.copies), strict=True):
        if found is not None:
            _accumulate(machine, _leaf(machine, copy), found)
    if not machine.constant(given.get("retain_graph", Known(False)), "retain_graph"):
        _free(machine, reached.active)
    return NONE


def _reached(machine: Machine, outputs: Sequence[Value], seen: Callable[[Value], bool] = lambda value: True) -> Reached:
    """Return what led to results, if eager would not have freed it."""
    reached = Reached(machine, outputs, seen)
    if not machine.state.freed.isdisjoint(reached.active):
        raise machine.unsupported("gradient.freed", "Variable", "some of the recorded operations have been freed")
    return reached


def _seed(machine: Machine, gradient: AbstractValue, output: Value) -> Value:
    """Return the cotangent of a result: what is given, or ones."""
    if isinstance(gradient, Known) and gradient.value is None:
        return broadcast_to(machine, constant(machine, 1.0, output.type.dtype), output.type.shape)
    value = as_array(machine, opened(machine, gradient, False))
    if value is None:
        raise machine.unsupported("gradient.cotangent", "backward", "the cotangent is no array")
    if value.type.shape != output.type.shape:
        raise machine.python_error(RuntimeError, "the cotangent has to have the result's shape")
    return cast(machine, value, output.type.dtype)


def _leaf(machine: Machine, copy: Value) -> Reference:
    index = machine.recorded.leaves[copy]
    if index not in machine.state.heap and index not in machine.state.templates:
        raise machine.unsupported("gradient.leaf", "Variable", "which variable it is, is known at run time only")
    return Reference(index)


def _accumulate(machine: Machine, leaf: Reference, gradient: Value) -> None:
    """Add to the gradient of a leaf; no variable's backward pass goes through that."""
    found: AbstractValue = new_array(machine, machine.emit("detach", gradient))
    before = get_attribute(machine, leaf, "grad")
    if not (isinstance(before, Known) and before.value is None):
        total = as_array(machine, operators.binary(machine, "+", before, found))
        assert total is not None
        found = new_array(machine, total)
    write_instance(machine, leaf, "grad", found)


def _free(machine: Machine, values: Iterable[Value]) -> None:
    """Let recorded operations, and the variables they made, be used up."""
    gone = set(values)
    machine.state.freed |= gone
    for index, item in [*machine.state.heap.items()]:
        if isinstance(item, Instance) and issubclass(item.type_, Variable) and _computed_value(machine, item) in gone:
            write_instance(machine, Reference(index), "_history", Known(FREED))


def _computed_value(machine: Machine, item: Instance) -> Value | None:
    """Return the value of a variable whose operations are in the graph."""
    origin, data = item.attributes.get("_history"), item.attributes.get("_data")
    if not isinstance(origin, Known) or origin.value is not IN_GRAPH:
        return None
    if isinstance(data, ArrayValue):
        version: Value = machine.state.at(data.storage).version
        return version
    return data.value if isinstance(data, Scalar) else None


# ---------------------------------------------------------------------- tapes

#: the attributes that a tape has in capture only: the mode it was entered in, and the numbers of values there were when
#: it began and ended to record, time and again
_BEFORE, _SPANS = "_before", "_spans"


@models(GradientTape, keywords=("persistent",))
def _model_tape(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    given = dict(zip(("persistent",), arguments, strict=False)) | keywords
    persistent = Known(bool(machine.constant(given.get("persistent", Known(False)), "persistent")))
    attributes: dict[str, AbstractValue] = {"persistent": persistent, "used": Known(False)}
    attributes |= {_BEFORE: NONE, _SPANS: Known(())}
    return machine.state.allocate(Instance(type_=GradientTape, attributes=attributes))


def _tape(machine: Machine, value: AbstractValue) -> Reference:
    if not isinstance(value, Reference) or value.index < 0:
        raise machine.unsupported("gradient.tape", "GradientTape", "the tape is from outside the function")
    return value


def _field(machine: Machine, tape: Reference, name: str) -> Any:
    found = machine.resolve(machine.heap(tape).attributes[name])
    if not isinstance(found, Known):
        raise machine.unsupported("gradient.tape", "GradientTape", "the state of the tape varies")
    return found.value


@models(GradientTape.__enter__)
def _model_enter(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    tape = _tape(machine, arguments[0])
    if _field(machine, tape, _BEFORE) is not None:
        raise machine.python_error(ValueError, "the tape is recording already")
    before = mode(machine)
    write_instance(machine, tape, _BEFORE, Known(before))
    _begin(machine, tape)
    set_mode(machine, mode_with(before.enabled, (*before.tapes, tape.index)))
    return tape


@models(GradientTape.__exit__)
def _model_exit(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    tape = _tape(machine, arguments[0])
    before = _field(machine, tape, _BEFORE)
    if tape.index in mode(machine).tapes:
        _end(machine, tape)
    set_mode(machine, before)
    write_instance(machine, tape, _BEFORE, NONE)
    return NONE


@models(Pause.__enter__)
def _model_pause(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    present, tape = mode(machine), _tape(machine, get_attribute(machine, arguments[0], "tape"))
    if tape.index not in present.tapes:
        raise machine.python_error(ValueError, "the tape is not recording")
    _stop(machine, tape)
    return NONE


@models(Pause.__exit__)
def _model_resume(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    tape, present = _tape(machine, get_attribute(machine, arguments[0], "tape")), mode(machine)
    if not _field(machine, tape, "used"):
        _begin(machine, tape)
        set_mode(machine, mode_with(present.enabled, (*present.tapes, tape.index)))
    return NONE


def _stop(machine: Machine, tape: Reference) -> None:
    """Let a tape that is recording record no more."""
    present = mode(machine)
    _end(machine, tape)
    set_mode(machine, mode_with(present.enabled, tuple(index for index in present.tapes if index != tape.index)))


def _begin(machine: Machine, tape: Reference) -> None:
    spans = _field(machine, tape, _SPANS)
    write_instance(machine, tape, _SPANS, Known((*spans, (len(machine.births), None))))


def _end(machine: Machine, tape: Reference) -> None:
    *spans, (start, _) = _field(machine, tape, _SPANS)
    write_instance(machine, tape, _SPANS, Known((*spans, (start, len(machine.births)))))


def _saw(machine: Machine, tape: Instance, value: Value) -> bool:
    """Whether a tape recorded the operation that made a value."""
    spans = tape.attributes[_SPANS]
    if not isinstance(spans, Known):
        return True
    birth = machine.births.get(value, -1)
    return any(start <= birth and (end is None or birth < end) for start, end in spans.value)


def _tapes(machine: Machine) -> Iterator[Instance]:
    for item in machine.state.heap.values():
        if isinstance(item, Instance) and item.type_ is GradientTape:
            yield item


@models(GradientTape.watch)
def _model_watch(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    _tape(machine, arguments[0])
    return _watched(machine, machine.resolve(arguments[1]))


def _watched(machine: Machine, value: AbstractValue) -> AbstractValue:
    value = machine.resolve(value)
    if is_variable(machine, value):
        assert isinstance(value, Reference)
        if requires_grad(machine, value):
            return value
        value = opened(machine, value, False)
    if isinstance(value, TupleValue):
        return TupleValue(tuple(_watched(machine, item) for item in value.items), value.type_)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject | DictObject) and item.type_ in (list, dict):
            guard_structure(machine, item)
            if isinstance(item, ListObject):
                return machine.state.allocate(ListObject(items=[_watched(machine, part) for part in item.items]))
            parts = {key: _watched(machine, part) for key, part in item.items.items()}
            return machine.state.allocate(DictObject(items=parts))
        raise machine.unsupported("gradient.watch", "watch", "an object of this kind is watched")
    if isinstance(value, Known) and not isinstance(value.value, float):
        return value
    array = as_array(machine, value) if isinstance(value, ArrayValue | Scalar | Known) else None
    if array is None or not array.type.is_float:
        return value
    return made(machine, new_array(machine, machine.emit("copy", array)), True, None)


_PARAMETERS = ("tape", "target", "sources", "output_gradients", "unconnected_gradients")


@models(GradientTape.gradient, keywords=_PARAMETERS[1:])
def _model_gradient(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    given = dict(zip(_PARAMETERS, arguments, strict=False)) | keywords
    tape = _tape(machine, given["tape"])
    if _field(machine, tape, "used") or not _field(machine, tape, _SPANS):
        raise machine.unsupported("gradient.tape", "gradient", "the tape has been used, or never entered")
    persistent = _field(machine, tape, "persistent")
    unconnected = machine.constant(given.get("unconnected_gradients", Known("none")), "unconnected_gradients")
    targets, sources = ([*_parts(machine, given[name])] for name in ("target", "sources"))
    if unconnected not in ("none", "zero") or not all(is_variable(machine, source) for source in sources):
        raise machine.unsupported("gradient.source", "gradient", "Python raises an exception")
    seeds = given.get("output_gradients", NONE)
    none = isinstance(seeds, Known) and seeds.value is None
    cotangents = [NONE] * len(targets) if none else [*_parts(machine, seeds)]
    if len(cotangents) != len(targets):
        raise machine.python_error(ValueError, "output_gradients has to be built like the target")
    present = mode(machine)
    if not persistent and tape.index in present.tapes:
        _stop(machine, tape)
    found = _pulled(machine, tape, [*zip(targets, cotangents, strict=True)], sources)
    if not persistent:
        write_instance(machine, tape, "used", Known(True))
        _free(machine, _only_of(machine, tape))
    results = iter([_result(machine, source, part, unconnected) for source, part in zip(sources, found, strict=True)])
    return _rebuilt(machine, given["sources"], results)


def _only_of(machine: Machine, tape: Reference) -> list[Value]:
    """Return the results of operations that a tape recorded, and no other one that is still to be used."""
    own: Instance = machine.heap(tape)
    others = [item for item in _tapes(machine) if item is not own and not _used(item)]
    begin = _field(machine, tape, _SPANS)[0][0]
    found: list[Value] = []
    for value, birth in reversed(machine.births.items()):
        if value in machine.recorded.leaves:
            continue
        if birth < begin:
            break
        if _saw(machine, own, value) and not any(_saw(machine, item, value) for item in others):
            found.append(value)
    return found


def _used(tape: Instance) -> bool:
    used = tape.attributes["used"]
    return isinstance(used, Known) and bool(used.value)


def _parts(machine: Machine, value: AbstractValue) -> Iterator[AbstractValue]:
    """Yield what `janusjit.analysis.tapes.leaves` gives."""
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        for part in value.items:
            yield from _parts(machine, part)
        return
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, ListObject | DictObject):
        guard_structure(machine, item)
        for part in [*(item.items.values() if isinstance(item, DictObject) else item.items)]:
            yield from _parts(machine, part)
        return
    yield value


def _rebuilt(machine: Machine, value: AbstractValue, found: Iterator[AbstractValue]) -> AbstractValue:
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        return TupleValue(tuple([_rebuilt(machine, item, found) for item in value.items]), value.type_)
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, ListObject):
        return machine.state.allocate(ListObject(items=[_rebuilt(machine, part, found) for part in item.items]))
    if isinstance(item, DictObject):
        parts = {key: _rebuilt(machine, part, found) for key, part in item.items.items()}
        return machine.state.allocate(DictObject(items=parts))
    return next(found)


def _pulled(
    machine: Machine,
    tape: Reference,
    targets: Sequence[tuple[AbstractValue, AbstractValue]],
    sources: Sequence[AbstractValue],
) -> list[Value | None]:
    """Return the gradient by each source."""
    item: Instance = machine.heap(tape)
    begin = len(machine.births)
    outputs: list[Value] = []
    seeds: list[Value] = []
    direct: list[tuple[int, Value]] = []
    for target, cotangent in targets:
        if not isinstance(target, Reference) or not is_variable(machine, target):
            continue
        is_leaf = history(machine, target) is None
        made_of = _computed_value(machine, machine.heap(target))
        if not is_leaf and (made_of is None or not _saw(machine, item, made_of)):
            continue
        value = as_array(machine, get_attribute(machine, target, "_data"))
        assert value is not None
        seed = _seed(machine, cotangent, value)
        if is_leaf:
            direct.append((target.index, seed))
        else:
            outputs.append(value)
            seeds.append(seed)
    reached = _reached(machine, outputs, lambda value: machine.born_since(value, begin) or _saw(machine, item, value))
    wrt = [*reached.copies, *reached.constants]
    copies = recorded_backward(machine, outputs, seeds, wrt) if reached.copies else []
    by_leaf = [(machine.recorded.leaves[copy], part) for copy, part in zip(reached.copies, copies, strict=False)]
    found: list[Value | None] = []
    for source in sources:
        assert isinstance(source, Reference)
        total: Value | None = None
        if history(machine, source) is not None and outputs:
            value = _source_value(machine, source)
            total = recorded_backward(machine, outputs, seeds, [value, *reached.constants])[0]
        for index, part in (*by_leaf, *direct):
            if index == source.index and part is not None:
                total = part if total is None else machine.emit("add", total, part)
        found.append(total)
    return found


def _source_value(machine: Machine, source: AbstractValue) -> Value:
    """Return the value of a recorded result that a gradient is taken by."""
    assert isinstance(source, Reference)
    data = get_attribute(machine, source, "_data")
    shown = isinstance(data, ArrayValue) and (data.path or machine.state.at(data.storage).mirrors is not None)
    value = _computed_value(machine, machine.heap(source))
    if shown or value is None:
        raise machine.unsupported("gradient.source", "gradient", "a gradient is taken by a view or what has been freed")
    return value


def _result(machine: Machine, source: AbstractValue, found: Value | None, unconnected: str) -> AbstractValue:
    if found is None:
        if unconnected == "none":
            return NONE
        value = as_array(machine, opened(machine, source, False))
        assert value is not None
        zero = constant(machine, 0.0, value.type.dtype)
        return new_array(machine, broadcast_to(machine, zero, value.type.shape))
    present = mode(machine)
    if present.enabled and present.tapes:
        return made(machine, new_array(machine, machine.emit("copy", found)), True, IN_GRAPH)
    return new_array(machine, machine.emit("detach", found))


def _attributes(machine: Machine, item: Instance) -> dict[str, AbstractValue]:
    """Return what an instance holds when it has left the graph: of a variable, what a tape recorded is gone with it.

    Raises
    ------
    CaptureFailure
        If it is the result of operations that it could be gone back through later.
    """
    value = _computed_value(machine, item) if issubclass(item.type_, Variable) else None
    if item.type_ is GradientTape or (value is not None and not any(_saw(machine, t, value) for t in _tapes(machine))):
        raise machine.unsupported("gradient.recorded", item.type_.__name__, "what is recorded is in the graph")
    return item.attributes if value is None else item.attributes | {"_history": Known(FREED)}


ATTRIBUTES.append(_attributes)
