"""Exceptions and context managers.

Owns the capture rules of `Raise`, `Try` and `With`. Invariant: only exceptions whose raising is known at capture are
handled here; one that depends on run-time data is a failed guard, and Python raises it.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture.blame import blamed_for
from janusjit.analysis.capture.construction import instantiate
from janusjit.analysis.capture.descriptors import bind
from janusjit.analysis.capture.machine import FINISH, UNWIND_TRY, Machine, executes
from janusjit.analysis.capture.managers import suspend_to_leave
from janusjit.analysis.capture.protocols import invoke, truth
from janusjit.analysis.capture.signals import PythonRaise, Unwinding
from janusjit.analysis.capture.state import Instance, TryEntry
from janusjit.analysis.capture.values import NONE, AbstractValue, HostValue, Known, Reference, TupleValue
from janusjit.analysis.core import Block, Handler, Raise, Try, With
from janusjit.ir.places import MISSING

_EMPTY = Block()


@executes(Raise)
def execute_raise(machine: Machine, instruction: Raise) -> None:
    """``raise``."""
    if instruction.exception is None:
        raise _current(machine)
    value = machine.get(instruction.exception)
    if isinstance(value, Known) and isinstance(value.value, type) and issubclass(value.value, BaseException):
        made = instantiate(machine, value.value, [], (), None)
        assert made is not None
        raise PythonRaise(value.value, made)
    if isinstance(value, Known) and isinstance(value.value, BaseException):
        raise PythonRaise(type(value.value), value)
    if isinstance(value, Reference) and isinstance(machine.heap(value), Instance):
        type_ = machine.heap(value).type_
        if issubclass(type_, BaseException):
            raise PythonRaise(type_, value)
    if isinstance(value, HostValue):
        raise machine.unsupported("python.host_object", "raise", "the exception was made by Python")
    raise machine.python_error(TypeError, "exceptions must derive from BaseException")


def _current(machine: Machine) -> PythonRaise:
    for frame in reversed(machine.state.frames):
        for entry in reversed(frame.blocks):
            if isinstance(entry, TryEntry) and entry.phase == "handler" and isinstance(entry.pending, Unwinding):
                raised: PythonRaise = entry.pending.value
                return raised
    return machine.python_error(RuntimeError, "No active exception to reraise")


@executes(Try)
def execute_try(machine: Machine, instruction: Try) -> None:
    """``try``: the entry under the body catches what unwinds."""
    machine.frame.blocks.append(TryEntry(_EMPTY, instruction=instruction))
    machine.push(instruction.body)


@executes(With)
def execute_with(machine: Machine, instruction: With) -> None:
    """``with``: enter the manager; the entry under the body exits it."""
    manager = machine.get(instruction.manager)
    leave = _type_method(machine, manager, "__exit__")
    entered = invoke(machine, _type_method(machine, manager, "__enter__"))
    if instruction.target is not None:
        machine.set(instruction.target, entered)
    modes = getattr(machine.heap(manager).type_, "error_modes", ())  # type: ignore[arg-type]
    machine.frame.blocks.append(TryEntry(_EMPTY, instruction=instruction, manager=leave, error_modes=modes))
    machine.push(instruction.body)


def _type_method(machine: Machine, manager: AbstractValue, name: str) -> AbstractValue:
    item = machine.heap(manager) if isinstance(manager, Reference) else None
    if not isinstance(item, Instance):
        raise machine.unsupported("python.context_manager", "with", "the context manager is not a Python object")
    found = machine.externals.on_class(item, name)  # not of the instance, which Python does not ask
    method = bind(machine, found, manager, item.type_) if found is not MISSING else None
    if method is None:
        raise machine.unsupported("python.context_manager", "with", f"its class has no method {name}")
    return method


def _finish_try(machine: Machine, entry: TryEntry) -> None:
    """What ran above a try entry ended normally."""
    instruction = entry.instruction
    if isinstance(instruction, With):
        machine.frame.blocks.pop()
        assert entry.manager is not None
        if isinstance(entry.manager, HostValue):
            raise suspend_to_leave(machine, instruction, entry.manager, None)
        invoke(machine, entry.manager, NONE, NONE, NONE)
        return
    assert isinstance(instruction, Try)
    if entry.phase == "body":
        entry.phase = "orelse"
        machine.push(instruction.orelse)
    elif entry.phase in ("orelse", "handler"):
        entry.phase, entry.pending = "final", None
        machine.push(instruction.final)
    else:
        machine.frame.blocks.pop()
        if entry.pending is not None:
            machine.unwind(entry.pending)


FINISH[TryEntry] = _finish_try


def unwind_try(machine: Machine, entry: TryEntry, unwinding: Unwinding) -> bool:
    """Let a popped try entry stop an unwinding; tell whether it did."""
    instruction = entry.instruction
    if isinstance(instruction, With):
        return _unwind_with(machine, entry, unwinding)
    assert isinstance(instruction, Try)
    if unwinding.kind == "raise" and entry.phase == "body":
        handler = _matching(machine, instruction, unwinding.value)
        if handler is not None:
            replacement = TryEntry(
                _EMPTY, instruction=instruction, phase="handler", pending=unwinding, handled=unwinding.value.exception
            )
            machine.frame.blocks.append(replacement)
            if handler.name is not None:
                if unwinding.value.approximate:
                    raise _handled_by_python(machine, instruction, handler.name)
                machine.set(handler.name, unwinding.value.exception)
            machine.push(handler.body)
            return True
    if entry.phase != "final" and instruction.final.instructions:
        machine.frame.blocks.append(TryEntry(_EMPTY, instruction=instruction, phase="final", pending=unwinding))
        machine.push(instruction.final)
        return True
    return False


def _handled_by_python(machine: Machine, instruction: Try, name: str) -> Exception:
    """Leave a ``try`` to Python, whose handler takes an exception whose text capture does not know."""
    if machine.nested:
        return machine.fail("python.exception", f"except … as {name}", "no exception")
    failure = machine.unsupported("python.handler", f"except … as {name}", "what the exception says is Python's to say")
    failure.instruction = blamed_for(machine, instruction, machine.frame)
    return failure


UNWIND_TRY.append(unwind_try)


def _unwind_with(machine: Machine, entry: TryEntry, unwinding: Unwinding) -> bool:
    assert entry.manager is not None
    if isinstance(entry.manager, HostValue):
        if unwinding.kind == "raise":
            raise machine.fail("python.exception", "raise inside with", "no exception")
        assert isinstance(entry.instruction, With)
        raise suspend_to_leave(machine, entry.instruction, entry.manager, unwinding)
    if unwinding.kind != "raise":
        invoke(machine, entry.manager, NONE, NONE, NONE)
        return False
    raised: PythonRaise = unwinding.value
    suppressed = truth(machine, invoke(machine, entry.manager, Known(raised.type_), raised.exception, NONE))
    if not isinstance(suppressed, bool):
        raise machine.unsupported("python.context_manager", "with", "whether the exception is suppressed varies")
    return suppressed


def _matching(machine: Machine, instruction: Try, raised: PythonRaise) -> Handler | None:
    for handler in instruction.handlers:
        if handler.exception_type is None:
            return handler
        machine.run_block(handler.matcher)
        wanted = machine.get(handler.exception_type)
        classes = wanted.items if isinstance(wanted, TupleValue) else (wanted,)
        for class_ in classes:
            python_class: Any = machine.constant(class_, "an exception class")
            if issubclass(raised.type_, python_class):
                return handler
    return None
