"""Effects in compiled code: the writes an exit commits.

Owns the emission of every `Effect` kind. Invariant: each effect has two halves, ``prepare``, which makes every object
the effect needs, and ``commit``, which writes; all are prepared before the first is committed, so what can fail for
want of memory fails while plain Python can still run the call from its beginning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import boxing_arrays as arrays
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.boxing import Exit, as_scalar, new_list
from janusjit.backend.llvm.entry_places import place_key
from janusjit.backend.llvm.python_api import I64, NULL, POINTER
from janusjit.backend.llvm.values import ArrayValue, store
from janusjit.errors import CompileError
from janusjit.ir import boxes as kinds

Commit = Callable[[], None]

_WHOLE_LIST = 2**63 - 1  # PY_SSIZE_T_MAX: the slice [0:…] covers any list


def prepare(exit_: Exit, effect: kinds.Effect) -> Commit:
    """Emit the making of what ``effect`` needs; return what emits the write itself.

    Raises
    ------
    CompileError
        If the kind of effect is unknown.
    """
    preparer = _PREPARERS.get(type(effect))
    if preparer is None:
        raise CompileError("backend.effect", f"{type(effect).__name__} has no native form")
    return preparer(exit_, effect)


def _set_attribute(exit_: Exit, effect: kinds.SetAttribute) -> Commit:
    owner, value = exit_.box(effect.owner), exit_.box(effect.value)
    return lambda: exit_.require("PyObject_SetAttr", owner, exit_.object(sys.intern(effect.name)), value)


def _delete_attribute(exit_: Exit, effect: kinds.DeleteAttribute) -> Commit:
    owner = exit_.box(effect.owner)
    return lambda: exit_.require("PyObject_SetAttr", owner, exit_.object(sys.intern(effect.name)), NULL)


def _set_item(exit_: Exit, effect: kinds.SetItem) -> Commit:
    owner, key, value = exit_.box(effect.owner), exit_.box(effect.key), exit_.box(effect.value)
    return lambda: exit_.require("PyObject_SetItem", owner, key, value)


def _delete_item(exit_: Exit, effect: kinds.DeleteItem) -> Commit:
    owner, key = exit_.box(effect.owner), exit_.box(effect.key)
    return lambda: exit_.require("PyObject_DelItem", owner, key)


def _list_append(exit_: Exit, effect: kinds.ListAppend) -> Commit:
    owner, value = exit_.box(effect.owner), exit_.box(effect.value)
    return lambda: exit_.require("PyList_Append", owner, value)


def _replace_contents(exit_: Exit, effect: kinds.ReplaceContents) -> Commit:
    owner = exit_.box(effect.owner)
    items = [exit_.box(item) for item in effect.items]
    replacement = new_list(exit_, items)

    def commit() -> None:
        builder = exit_.builder
        is_list = exit_.frame.api.has_type(builder, owner, list)
        with builder.if_else(is_list, likely=True) as (for_list, for_set):
            with for_list:
                whole = ir.Constant(I64, _WHOLE_LIST)
                exit_.require("PyList_SetSlice", owner, ir.Constant(I64, 0), whole, replacement)
            with for_set:
                exit_.require("PySet_Clear", owner)
                for item in items:
                    exit_.require("PySet_Add", owner, item)

    return commit


def _set_global(exit_: Exit, effect: kinds.SetGlobal) -> Commit:
    value = exit_.box(effect.value)
    name = sys.intern(effect.name)
    return lambda: exit_.require("PyDict_SetItem", exit_.object(effect.namespace), exit_.object(name), value)


def _delete_global(exit_: Exit, effect: kinds.DeleteGlobal) -> Commit:
    name = sys.intern(effect.name)
    return lambda: exit_.require("PyDict_DelItem", exit_.object(effect.namespace), exit_.object(name))


def _set_cell(exit_: Exit, effect: kinds.SetCell) -> Commit:
    value = exit_.box(effect.value)
    return lambda: exit_.require("PyCell_Set", exit_.object(effect.cell), value)


def is_in_place(exit_: Exit, effect: kinds.Effect) -> bool:
    """Return whether an effect has been made already, by updates in the memory of the very array it speaks of."""
    if not isinstance(effect, kinds.WriteArray):
        return False
    operand = exit_.operands[effect.operand]
    if not isinstance(operand, ArrayValue) or operand.input_index is None:
        return False
    return place_key(exit_.inputs[operand.input_index].place) == place_key(effect.place)


def _reads_an_input(exit_: Exit, number: int) -> bool:
    """Return whether an operand lies in an array of the caller's, which an effect before its own may write."""
    operand = exit_.operands[number]
    if isinstance(operand, ArrayValue) and operand.input_index is not None:
        return True
    root = arrays.root_of_view(exit_.values[number])
    return any(root is input_.value for input_ in exit_.inputs)


def _write_array(exit_: Exit, effect: kinds.WriteArray) -> Commit:
    if is_in_place(exit_, effect):
        return lambda: None
    target = exit_.places.read(effect.place).value
    operand = exit_.operands[effect.operand]
    frame, api = exit_.frame, exit_.frame.api
    if isinstance(operand, ArrayValue) and operand.rank > 0:
        if _reads_an_input(exit_, effect.operand):
            copy = arrays.fresh_array(exit_, operand)
            return lambda: exit_.require("PyArray_CopyInto", target, copy)
        source = exit_.take(arrays.new_array(api, frame, operand.dtype, operand.dims, operand.strides, operand.pointer))
        return lambda: exit_.require("PyArray_CopyInto", target, source)

    def commit() -> None:
        data = api.field(exit_.builder, target, layout.ARRAY_DATA, POINTER)
        store(exit_.builder, as_scalar(exit_.builder, operand), data)

    return commit


def _call_function(exit_: Exit, effect: kinds.CallFunction) -> Commit:
    function = exit_.box(effect.function)
    positional = [exit_.box(argument) for argument in effect.arguments]
    named = [exit_.box(value) for _, value in effect.keywords]
    names = tuple(sys.intern(name) for name, _ in effect.keywords)

    def commit() -> None:
        arguments = exit_.vector([*positional, *named])
        keywords = exit_.object(names) if names else NULL
        count = ir.Constant(I64, len(positional))
        api, builder = exit_.frame.api, exit_.builder
        result = api.call(builder, "PyObject_Vectorcall", function, arguments, count, keywords)
        exit_.failed(api.is_null(builder, result))
        api.decref(builder, result)

    return commit


_PREPARERS: Mapping[type[kinds.Effect], Callable[[Exit, Any], Commit]] = {
    kinds.SetAttribute: _set_attribute,
    kinds.DeleteAttribute: _delete_attribute,
    kinds.SetItem: _set_item,
    kinds.DeleteItem: _delete_item,
    kinds.ListAppend: _list_append,
    kinds.ReplaceContents: _replace_contents,
    kinds.SetGlobal: _set_global,
    kinds.DeleteGlobal: _delete_global,
    kinds.SetCell: _set_cell,
    kinds.WriteArray: _write_array,
    kinds.CallFunction: _call_function,
}
