"""Simple statements: moves, globals, cells, jumps.

Owns the capture rules of the Core nodes that neither compute nor call.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.signals import Unwinding
from janusjit.analysis.capture.state import Cell, ControlEntry, GraphLoopEntry, LoopEntry, Namespace, TryEntry
from janusjit.analysis.capture.suspension import commit_behind, suspend
from janusjit.analysis.capture.values import AbstractValue, FunctionValue, HostValue, Known, Reference
from janusjit.analysis.core import (
    Break,
    Continue,
    DeleteCell,
    DeleteGlobalName,
    DeleteLocal,
    LoadCell,
    LoadGlobal,
    MakeFunction,
    Move,
    Return,
    StoreCell,
    StoreGlobal,
)
from janusjit.ir.places import MISSING


@executes(Move)
def execute_move(machine: Machine, instruction: Move) -> None:
    """``target = value``."""
    machine.set(instruction.target, machine.hand_on(instruction.value))


@executes(DeleteLocal)
def execute_delete_local(machine: Machine, instruction: DeleteLocal) -> None:
    """``del name``."""
    before = machine.frame.locals.pop(instruction.name, None)
    machine.let_go(instruction.name, before)
    if before is None:
        raise machine.python_error(UnboundLocalError, f"cannot access local variable '{instruction.name}'")


@executes(LoadGlobal)
def execute_load_global(machine: Machine, instruction: LoadGlobal) -> None:
    """Read a global or builtin."""
    machine.set(instruction.target, read_global(machine, instruction.name))


def read_global(machine: Machine, name: str) -> AbstractValue:
    """Return a global of the top frame's module as it is now, or a builtin."""
    namespace: Namespace = machine.heap(machine.externals.namespace(machine.frame.namespace))
    if name in namespace.names:
        value = namespace.names[name]
    else:
        value = machine.externals.read_global(machine.frame.namespace, name)
    if value is None:
        raise machine.python_error(NameError, f"name '{name}' is not defined")
    return machine.settle(value)


@executes(StoreGlobal)
def execute_store_global(machine: Machine, instruction: StoreGlobal) -> None:
    """Write a global."""
    _write_global(machine, instruction.name, machine.hand_on(instruction.value))


@executes(DeleteGlobalName)
def execute_delete_global(machine: Machine, instruction: DeleteGlobalName) -> None:
    """``del`` of a global."""
    read_global(machine, instruction.name)
    namespace: Namespace = machine.heap(machine.externals.namespace(machine.frame.namespace))
    if instruction.name not in namespace.names and instruction.name not in machine.frame.namespace:
        raise machine.python_error(NameError, f"name '{instruction.name}' is not defined")  # it is a builtin
    _write_global(machine, instruction.name, None)


def _write_global(machine: Machine, name: str, value: AbstractValue | None) -> None:
    reference = machine.externals.namespace(machine.frame.namespace)
    namespace: Namespace = machine.heap(reference)
    namespace.names[name] = value
    namespace.changed[name] = None
    namespace.written = True


def cell_of(machine: Machine, name: str) -> Cell:
    """Return the cell a name of the top frame stands for."""
    reference = machine.frame.cells[name]
    assert isinstance(reference, Reference)
    cell: Cell = machine.heap(reference)
    return cell


@executes(LoadCell)
def execute_load_cell(machine: Machine, instruction: LoadCell) -> None:
    """Read a closure variable."""
    cell = cell_of(machine, instruction.name)
    value = cell.value
    if value is None and cell.live is not None and not cell.written:
        value = machine.externals.read_cell(cell)
    if value is None or (isinstance(value, Known) and value.value is MISSING):
        raise _unbound_cell(machine, instruction.name)
    machine.set(instruction.target, machine.settle(value))


def _unbound_cell(machine: Machine, name: str) -> Exception:
    """Return the error of reading or deleting a closure variable that is not bound, the function's own or another's."""
    if name in machine.frame.core.cells:
        return machine.python_error(UnboundLocalError, f"cannot access local variable '{name}'")
    return machine.python_error(NameError, f"cannot access free variable '{name}'")


@executes(StoreCell)
def execute_store_cell(machine: Machine, instruction: StoreCell) -> None:
    """Write a closure variable."""
    cell = cell_of(machine, instruction.name)
    cell.value = machine.hand_on(instruction.value)
    cell.written = True


@executes(DeleteCell)
def execute_delete_cell(machine: Machine, instruction: DeleteCell) -> None:
    """``del`` of a closure variable."""
    cell = cell_of(machine, instruction.name)
    if cell.live is not None:
        raise machine.unsupported("python.closure", "del", "a variable of an outer function is deleted")
    if cell.value is None:
        raise _unbound_cell(machine, instruction.name)
    cell.value = None


@executes(MakeFunction)
def execute_make_function(machine: Machine, instruction: MakeFunction) -> None:
    """A nested function, lambda or generator expression."""
    core = instruction.function
    cells = tuple((name, machine.frame.cells[name]) for name in core.free)
    defaults = tuple(machine.get(atom) for atom in instruction.defaults)
    keyword_defaults = tuple((name, machine.get(atom)) for name, atom in instruction.keyword_defaults)
    code = core.code
    machine.set(
        instruction.target,
        FunctionValue(core, machine.frame.namespace, cells, defaults, keyword_defaults, code),
    )


@executes(Break)
def execute_break(machine: Machine, instruction: Break) -> None:
    """``break``."""
    _leave(machine, instruction, Unwinding("break"))


@executes(Continue)
def execute_continue(machine: Machine, instruction: Continue) -> None:
    """``continue``."""
    machine.unwind(Unwinding("continue"))


@executes(Return)
def execute_return(machine: Machine, instruction: Return) -> None:
    """``return value``."""
    _leave(machine, instruction, Unwinding("return", machine.hand_on(instruction.value)))


def _leave(machine: Machine, instruction: Break | Return, unwinding: Unwinding) -> None:
    """Leave loops. Where one draws from a generator of Python's, that is dropped here, and may have code to run.

    So the graph ends here, and the runtime lets go of it.
    """
    frame, blocks = machine.frame, list(machine.frame.blocks)
    entries = [entry for entry in blocks if isinstance(entry, LoopEntry | GraphLoopEntry)]
    left = entries[-1:] if unwinding.kind == "break" else entries
    drawing = [entry for entry in left if machine.nested == 0 and frame.draws_from_python(entry.instruction)]
    if drawing and unwinding.kind == "return":
        _refuse_managers(machine, blocks[: blocks.index(drawing[-1])])
    names = [entry.instruction.iterator.name for entry in drawing]  # type: ignore[attr-defined]
    dropped = [frame.locals[name] for name in names]
    machine.unwind(unwinding)
    if dropped:
        reason = "a generator of Python's is dropped"
        raise suspend(machine, "commit", instruction, reason, "python.iterator", dropped=dropped)
    if unwinding.kind == "break" and left:
        commit_behind(machine, left[0].instruction)


def _refuse_managers(machine: Machine, blocks: Sequence[ControlEntry]) -> None:
    """Let Python enter the managers that would be left, here and now, before a generator is dropped."""
    for entry in blocks:
        if isinstance(entry, TryEntry) and entry.manager is not None and not isinstance(entry.manager, HostValue):
            failure = machine.unsupported("python.generator", "return", "a generator is dropped before a with is left")
            failure.instruction = entry.instruction
            raise failure
