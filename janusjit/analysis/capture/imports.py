"""Imports inside a function.

Owns the capture rule of the import statements among `Opaque`. Invariant: a module is only taken from ``sys.modules``
where it has been imported before, and that it stays there is assumed; anything else is run by Python.
"""

from __future__ import annotations

import ast
import sys
import types

from janusjit.analysis.capture.attributes import get_attribute
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.values import AbstractValue, Known
from janusjit.analysis.core import Opaque


@executes(Opaque)
def execute_opaque(machine: Machine, instruction: Opaque) -> None:
    """A statement only Python can run leaves the function in Python; an import of what is there binds its names."""
    if instruction.construct == "import":
        (statement,) = ast.parse(instruction.source).body
        core = machine.frame.core
        elsewhere = core.cells | set(core.free) | core.declared_globals
        if isinstance(statement, ast.Import | ast.ImportFrom) and elsewhere.isdisjoint(instruction.writes):
            for name, value in _bound(machine, statement):
                machine.set(name, value)
            return
    raise _left_to_python(machine, instruction.construct)


def _left_to_python(machine: Machine, construct: str) -> Exception:
    return machine.unsupported("python.construct", construct, f"the statement ({construct}) is run by Python only")


def _bound(machine: Machine, statement: ast.Import | ast.ImportFrom) -> list[tuple[str, AbstractValue]]:
    """Return the names an import binds, each with its value."""
    if isinstance(statement, ast.ImportFrom):
        if statement.level or statement.module is None:
            raise _left_to_python(machine, "import")
        module = _module(machine, statement.module)
        return [(alias.asname or alias.name, _from(machine, module, alias.name)) for alias in statement.names]
    found = []
    for alias in statement.names:
        first, *rest = alias.name.split(".")
        _module(machine, alias.name)
        value: AbstractValue = _module(machine, first)
        if alias.asname is not None:
            for part in rest:
                value = get_attribute(machine, value, part)
        found.append((alias.asname or first, value))
    return found


def _module(machine: Machine, name: str) -> Known:
    """Return an imported module, assumed to stay."""
    live = sys.modules.get(name)
    if not isinstance(live, types.ModuleType):
        raise _left_to_python(machine, "import")
    externals = machine.externals
    table = externals.constant_place(sys.modules, "sys.modules")
    value = externals.read(externals.item_place(table, name), live)
    assert isinstance(value, Known)
    return value


def _from(machine: Machine, module: Known, name: str) -> AbstractValue:
    if name == "*" or name not in vars(module.value):
        raise _left_to_python(machine, "import")
    return get_attribute(machine, module, name)
