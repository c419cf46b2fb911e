"""Generators and coroutines made and consumed inside the function.

Owns the capture rules of `Yield` and `YieldFrom` and resumption. Invariant: a suspended generator is a frame on the
heap; while it runs, that frame is on the machine's stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from janusjit.analysis.capture.calls import take_returned
from janusjit.analysis.capture.iteration import RESUME, draw
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.methods import GENERATOR_METHOD
from janusjit.analysis.capture.protocols import invoke, iterator_over
from janusjit.analysis.capture.python_types import python_type
from janusjit.analysis.capture.signals import PythonRaise, Unwinding
from janusjit.analysis.capture.state import GeneratorObject, GraphLoopEntry, Instance
from janusjit.analysis.capture.values import NONE, AbstractValue, Known, Reference, TupleValue
from janusjit.analysis.core import Yield, YieldFrom


def resume(machine: Machine, reference: Reference, sent: AbstractValue) -> AbstractValue | None:
    """Run a generator to its next ``yield`` and return what it yields, or None when it returns."""
    return _run(machine, reference, sent, None)


RESUME.append(resume)


def _run(
    machine: Machine, reference: Reference, sent: AbstractValue, thrown: PythonRaise | None
) -> AbstractValue | None:
    generator: GeneratorObject = machine.heap(reference)
    if generator.running:
        raise machine.python_error(ValueError, "generator already executing")
    if generator.frame is None:
        machine.state.returned = NONE
        return None
    stop = machine.state.depth
    frame = generator.frame
    if generator.started and frame.target is not None:
        frame.locals[frame.target] = sent
    frame.target, frame.result = None, "invoked"
    generator.frame, generator.running, generator.started = None, True, True
    machine.state.frames.append(frame)
    if thrown is not None:
        machine.unwind(Unwinding("raise", thrown))
    machine.run_nested(stop)
    after: GeneratorObject = machine.heap(reference)
    if after.frame is None:
        return None
    return take_returned(machine)


@executes(Yield)
def execute_yield(machine: Machine, instruction: Yield) -> None:
    """``yield``: take the frame off the stack and keep it on the heap."""
    suspend(machine, instruction.target, machine.get(instruction.value))


def suspend(machine: Machine, target: str, value: AbstractValue) -> None:
    """Suspend the generator whose frame is on top; ``target`` receives what is sent to it."""
    frame = machine.state.frames.pop()
    if frame.generator is None:
        raise machine.unsupported("python.construct", "yield", "the jitted function itself is a generator")
    if any(isinstance(entry, GraphLoopEntry) for entry in frame.blocks):
        # what resumes the generator goes on after this turn of the loop, which the graph would not know
        raise machine.unsupported("python.generator", "yield", "a loop kept in the graph yields")
    generator: GeneratorObject = machine.state.at(frame.generator)
    frame.target = target
    generator.frame, generator.running = frame, False
    machine.state.returned = value


@executes(YieldFrom)
def execute_yield_from(machine: Machine, instruction: YieldFrom) -> None:
    """``yield from`` and ``await``: pass on what the inner iterator yields, one resumption at a time."""
    value = machine.get(instruction.value)
    inner = value if instruction.kind == "await" else iterator_over(machine, value)
    inner = _awaitable(machine, inner)
    item = draw(machine, inner)
    frame = machine.frame
    if item is None:
        frame.locals[instruction.target] = machine.state.returned
        return
    entry = frame.blocks[-1]
    entry.index -= 1  # the same instruction goes on with the inner iterator at the next resumption
    holder = getattr(instruction.value, "name", None)
    if holder is None:
        raise machine.unsupported("python.construct", "yield from", "a literal is iterated over")
    frame.locals[holder] = inner
    suspend(machine, instruction.target, item)


def _awaitable(machine: Machine, value: AbstractValue) -> AbstractValue:
    if isinstance(value, Reference):
        return value
    raise machine.unsupported("python.construct", "await", "what is awaited is not a coroutine made inside")


def generator_method(
    machine: Machine, owner: Reference, name: str, arguments: Sequence[AbstractValue]
) -> AbstractValue:
    """``send``, ``__next__``, ``throw`` and ``close`` of a generator."""
    generator: GeneratorObject = machine.heap(owner)
    if name == "close":
        if generator.unfinished:
            raise machine.unsupported("python.generator", ".close()", "a generator is closed inside a try or with")
        generator.frame = None
        return NONE
    if name == "throw":
        thrown: Any = arguments[0]
        if len(arguments) > 1 and not (isinstance(arguments[1], Known) and arguments[1].value is None):
            thrown = arguments[1]  # an exception behind its type
        if isinstance(thrown, Known) and isinstance(thrown.value, type) and issubclass(thrown.value, BaseException):
            thrown = invoke(machine, thrown)
        type_ = python_type(machine, thrown)
        if type_ is None or not issubclass(type_, BaseException):
            raise machine.unsupported("python.generator", ".throw()", "what is thrown is no exception")
        result = _run(machine, owner, NONE, PythonRaise(type_, thrown))
    elif name in ("send", "__next__"):
        result = _run(machine, owner, arguments[0] if arguments else NONE, None)
    else:
        raise machine.unsupported("python.method", f".{name}()", "the generator method is not modelled yet")
    if result is None:
        raise stop_iteration(machine)
    return result


def stop_iteration(machine: Machine) -> PythonRaise:
    """Return the StopIteration that carries what the generator returned."""
    returned = machine.state.returned
    plain = isinstance(returned, Known) and returned.value is None
    attributes = {"value": returned, "args": TupleValue(() if plain else (returned,))}
    return PythonRaise(StopIteration, machine.state.allocate(Instance(type_=StopIteration, attributes=attributes)))


GENERATOR_METHOD.append(generator_method)
