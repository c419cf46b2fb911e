"""The steps of ``match``.

Owns the capture rule of `Intrinsic`.
"""

from __future__ import annotations

from collections.abc import Callable

from janusjit.analysis import intrinsics
from janusjit.analysis.capture.attributes import attribute_or_none
from janusjit.analysis.capture.containers import dict_has
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.protocols import guard_structure, length
from janusjit.analysis.capture.python_types import python_type
from janusjit.analysis.capture.state import DictObject
from janusjit.analysis.capture.values import NONE, AbstractValue, Known, Reference, TupleValue
from janusjit.analysis.core import Intrinsic


@executes(Intrinsic)
def execute_intrinsic(machine: Machine, instruction: Intrinsic) -> None:
    """``target = name(*arguments)``."""
    arguments = [machine.get(atom) for atom in instruction.arguments]
    machine.set(instruction.target, _RULES[instruction.name](machine, *arguments))


def _type_of(machine: Machine, subject: AbstractValue) -> type:
    type_ = python_type(machine, subject)
    if type_ is None:
        raise machine.unsupported("python.match", "match", "the class of the subject is not known to capture")
    return type_


def _is_sequence(machine: Machine, subject: AbstractValue) -> AbstractValue:
    return Known(bool(_type_of(machine, subject).__flags__ & intrinsics.SEQUENCE_FLAG))


def _is_mapping(machine: Machine, subject: AbstractValue) -> AbstractValue:
    return Known(bool(_type_of(machine, subject).__flags__ & intrinsics.MAPPING_FLAG))


def _table(machine: Machine, subject: AbstractValue) -> DictObject:
    item = machine.heap(subject) if isinstance(subject, Reference) else None
    if not isinstance(item, DictObject):
        raise machine.unsupported("python.match", "match", "a mapping pattern meets a mapping that is not a dict")
    return item


def _match_keys(machine: Machine, subject: AbstractValue, keys: AbstractValue) -> AbstractValue:
    table = _table(machine, subject)
    wanted = machine.constant(keys, "pattern keys")
    found = [dict_has(machine, table, key) for key in wanted]  # each lookup is guarded
    if not all(found):
        return NONE
    return TupleValue(tuple(machine.resolve(table.items[key]) for key in wanted))


def _mapping_rest(machine: Machine, subject: AbstractValue, keys: AbstractValue) -> AbstractValue:
    table = _table(machine, subject)
    guard_structure(machine, table)
    used = machine.constant(keys, "pattern keys")
    return machine.state.allocate(DictObject(items={k: v for k, v in table.items.items() if k not in used}))


def _match_class(
    machine: Machine, subject: AbstractValue, kind: AbstractValue, count: AbstractValue, names: AbstractValue
) -> AbstractValue:
    class_ = machine.constant(kind, "a class pattern")
    if not isinstance(class_, type):
        raise machine.python_error(TypeError, "called match pattern must be a class")
    if not issubclass(_type_of(machine, subject), class_):
        return NONE
    positional, values = machine.constant(count, "a pattern"), []
    attributes = list(machine.constant(names, "pattern names"))
    if positional and class_.__flags__ & intrinsics.MATCH_SELF_FLAG and not hasattr(class_, "__match_args__"):
        values.append(subject)
    elif positional:
        attributes = [*getattr(class_, "__match_args__", ())[:positional], *attributes]
        if len(attributes) < positional:
            raise machine.python_error(TypeError, f"{class_.__name__}() accepts fewer positional sub-patterns")
    for name in attributes:
        found = attribute_or_none(machine, subject, name)
        if found is None:
            return NONE
        values.append(machine.resolve(found))
    return TupleValue(tuple(values))


_RULES: dict[str, Callable[..., AbstractValue]] = {
    "is_sequence": _is_sequence,
    "is_mapping": _is_mapping,
    "length": length,
    "match_keys": _match_keys,
    "mapping_rest": _mapping_rest,
    "match_class": _match_class,
}
