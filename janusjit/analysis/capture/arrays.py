"""Arrays in capture: storages with versions, views of them, reads and writes.

Owns `read`, `write`, `new_array`, `view` and the conversion of abstract values to graph values. Invariant: an in-
place write makes a new version of the storage, so every view of it, and the caller's array, see it; results of
operations are storages of their own.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from janusjit.analysis.capture.followed import assumed
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_memory import first_copy
from janusjit.analysis.capture.sharing import frozen_reason, refusal
from janusjit.analysis.capture.state import ListObject, Mirror, Storage
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
    concrete,
    known,
)
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.types import BOOL, FLOAT, INT, TensorType, dtype_name
from janusjit.ops import OPS
from janusjit.ops.indexing import FrozenArray, PathStep, Range

#: set by `janusjit.analysis.capture.packed`: the items of an outside list whose length varies, as one array
PACKED: list[Any] = []
#: set by `janusjit.analysis.capture.numpy_grids`: the numbers of a range with bounds known at run time, as an array
RANGED: list[Any] = []

PYTHON_TYPES = {"int": INT, "float": FLOAT, "bool": BOOL}


def read(machine: Machine, array: ArrayValue) -> Value:
    """Return the graph value of an array as it is now."""
    storage: Storage = machine.state.at(array.storage)
    version = storage.version
    if storage.mirrors is not None and _outdated(machine, storage.mirrors):
        source = storage.mirrors.source
        if source.operands:  # they may belong to a turn of a loop that is over
            check_mirror(machine, storage)
        version = storage.mirrors.compute(machine, read(machine, source))
    return read_path(machine, version, array)


def _outdated(machine: Machine, mirror: Mirror) -> bool:
    """Whether what a read-only view shows was written since it was taken."""
    storage: Storage = machine.state.at(mirror.source.storage)
    further = storage.mirrors is not None and _outdated(machine, storage.mirrors)
    return further or storage.version is not mirror.version


def check_mirror(machine: Machine, storage: Storage) -> None:
    """Refuse a read-only view after the array it views was written."""
    if storage.mirrors is not None and _outdated(machine, storage.mirrors):
        raise machine.unsupported("array.alias", "view", "the array was written since the view of it was taken")


def read_path(machine: Machine, version: Value, array: ArrayValue) -> Value:
    """Return the part of a storage's version that an array views."""
    value, used = version, 0
    for step in array.path:
        extras = array.operands[used : used + step.extras]
        used += step.extras
        value = machine.emit(step.op, value, *extras, **dict(step.attributes))
    return value


def new_array(machine: Machine, value: Value) -> ArrayValue:
    """Return a new ndarray object that owns a graph value."""
    reference = machine.state.allocate(Storage(version=value))
    return ArrayValue(reference.index, (), value.type)


def wrap(machine: Machine, value: Value) -> AbstractValue:
    """Return what NumPy returns for a result: an array, or a NumPy scalar where it has no dimensions."""
    return new_array(machine, value) if value.type.shape else Scalar(value, f"numpy.{value.type.dtype}")


def view(machine: Machine, array: ArrayValue, step: PathStep, operands: tuple[Value, ...] = ()) -> ArrayValue:
    """Return a view of a view."""
    inputs = (array.type, *(v.type for v in operands))
    (type_,) = OPS[step.op].infer(inputs, dict(step.attributes))
    return ArrayValue(array.storage, (*array.path, step), type_, (*array.operands, *operands))


def whole_view(machine: Machine, array: ArrayValue) -> ArrayValue:
    """Return a new ndarray object that views all of an array."""
    return view(machine, array, PathStep.of("view", index=tuple(Range(0, size) for size in array.type.shape)))


def write(machine: Machine, array: ArrayValue, value: Value) -> None:
    """Set the elements an array views to ``value`` (broadcast, already of the array's dtype)."""
    storage = writeable_storage(machine, array)
    if array.path and storage.version.type.rank == 0:
        if array.type.size not in (0, 1):
            raise machine.unsupported("array.index", "[] =", "how much of a single element is written is not known")
        # to compiled code it is a number, which has no parts: a view is the whole of it, or nothing
        if array.type.size == 1:
            value = machine.emit("reshape", value, shape=()) if value.type.rank else value
            storage.version = machine.emit("update", storage.version, value, path=())
        return
    cut = first_copy(storage.version.type.shape, array.path) if array.storage >= 0 else None
    if cut is not None:
        _write_by_copies(machine, array, cut, value)
        return
    storage.version = machine.emit("update", storage.version, value, *array.operands, path=array.path)


def _write_by_copies(machine: Machine, array: ArrayValue, cut: int, value: Value) -> None:
    """Write an array whose step ``cut`` is a reshape that is a view in eager's memory order only, not in C order."""
    used = sum(step.extras for step in array.path[:cut])
    outer = ArrayValue(array.storage, (), machine.state.at(array.storage).version.type)
    operands = iter(array.operands)
    for step in array.path[:cut]:
        outer = view(machine, outer, step, tuple(itertools.islice(operands, step.extras)))
    reshape = dict(array.path[cut].attributes)
    inner = machine.emit("reshape", read(machine, outer), **reshape)
    inner = machine.emit("update", inner, value, *array.operands[used:], path=array.path[cut + 1 :])
    write(machine, outer, machine.emit("reshape", inner, shape=outer.type.shape))


def writeable_storage(machine: Machine, array: ArrayValue) -> Storage:
    """Return the storage of an array that is about to be written.

    Raises
    ------
    PythonRaise
        ``ValueError`` if it is a read-only result.
    Terminated
        If it is read-only and from outside: no guard says that it stays so, and Python raises what there is to raise.
    CaptureFailure
        If an alias that capture lost track of may exist.
    """
    storage: Storage = machine.state.at(array.storage)
    if not storage.writeable and array.storage < 0:
        raise machine.fail("python.exception", f"{storage.place}.flags.writeable", "True")
    if not storage.writeable:
        raise machine.python_error(ValueError, "assignment destination is read-only")
    frozen = frozen_reason(machine, array.storage)
    if frozen:
        raise refusal(machine, array.storage, "in-place write", f"the array is written in place, and {frozen}")
    storage.written = True
    if array.storage < 0:
        machine.written.add(array.storage)
    return storage


def constant(machine: Machine, value: Any, dtype: str) -> Value:
    """Emit a 0-d constant."""
    return machine.emit("constant", value=value, dtype=dtype)


def scalar_value(machine: Machine, value: AbstractValue) -> Value | None:
    """Return the 0-d graph value of a Python or NumPy number, in its own dtype; None if it is no number we hold."""
    value = assumed(machine, value)
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, Known):
        number = value.value
        if type(number) is bool:
            return constant(machine, number, "bool")
        if type(number) is int and -(2**63) <= number < 2**63:
            return constant(machine, number, "i64")
        if type(number) is float:
            return constant(machine, number, "f64")
        if isinstance(number, np.generic) and (name := dtype_name(number.dtype)):
            return constant(machine, number.item(), name)
    return None


def is_number(value: AbstractValue) -> bool:
    """Whether the value is a Python or NumPy number."""
    return isinstance(value, Scalar) or (
        isinstance(value, Known) and isinstance(value.value, bool | int | float | np.generic)
    )


def is_python_number(value: AbstractValue) -> bool:
    """Whether the value is exactly a Python int, float or bool."""
    if isinstance(value, Scalar):
        return value.is_python
    return isinstance(value, Known) and type(value.value) in (bool, int, float)


def is_array_like(value: AbstractValue) -> bool:
    """Whether NumPy computes with the value: an array or NumPy scalar."""
    return isinstance(value, ArrayValue) or (is_number(value) and not is_python_number(value))


def as_array(machine: Machine, value: AbstractValue) -> Value | None:
    """Return the graph value of anything ``np.asarray`` takes that capture can follow; None otherwise.

    Lists and tuples (nested) become stacked arrays; Python numbers have their default dtype.
    """
    value = machine.resolve(value)
    if isinstance(value, ArrayValue):
        return read(machine, value)
    number = scalar_value(machine, value)
    if number is not None:
        return number
    if isinstance(value, RangeValue):
        if known(value):
            return machine.emit("constant_array", value=FrozenArray(np.arange(*_range_parts(value))))
        return RANGED[0](machine, value)  # type: ignore[no-any-return]
    together = PACKED[0](machine, value)
    if together is not None:
        return together.value  # type: ignore[no-any-return]
    items = sequence_items(machine, value)
    if items is None:
        return None
    folded = _constant_array(machine, value)
    if folded is not None:
        return folded
    parts = [as_array(machine, item) for item in items]
    if not parts or any(part is None for part in parts):
        return None
    return stack(machine, [part for part in parts if part is not None])


def _range_parts(value: RangeValue) -> tuple[int, int, int]:
    python_range = concrete(value)
    return python_range.start, python_range.stop, python_range.step


def stack(machine: Machine, parts: list[Value], axis: int = 0) -> Value:
    """Return ``np.stack`` of values after promotion to their common dtype."""
    dtype = np.result_type(*(part.type.numpy_dtype for part in parts))
    name = dtype_name(dtype)
    shape = parts[0].type.shape
    if any(dim.symbols() for part in parts for dim in part.type.shape if isinstance(dim, DimExpr)) and any(
        part.type.shape != shape for part in parts
    ):
        raise machine.unsupported("array.shape", "array", "whether rows have one length is known at run time only")
    if name is None or any(part.type.shape != shape for part in parts):
        raise machine.python_error(ValueError, "all input arrays must have the same shape")
    rows = [
        machine.emit("reshape", cast(machine, part, name), shape=(*shape[:axis], 1, *shape[axis:])) for part in parts
    ]
    return machine.emit("concatenate", *rows, axis=axis)


def _constant_array(machine: Machine, value: AbstractValue) -> Value | None:
    python = literal(machine, value)
    if python is None:
        return None
    array = np.asarray(python)
    if array.dtype == object or dtype_name(array.dtype) is None:
        return None
    return machine.emit("constant_array", value=FrozenArray(array))


def literal(machine: Machine, value: AbstractValue) -> Any:
    """Return nested lists of numbers known at capture as Python lists; None if anything is not known."""
    value = machine.resolve(value)
    if isinstance(value, Known) and isinstance(value.value, bool | int | float | np.generic):
        return value.value
    items = sequence_items(machine, value)
    if items is None:
        return None
    parts = [literal(machine, item) for item in items]
    return None if any(part is None for part in parts) else parts


def sequence_items(machine: Machine, value: AbstractValue) -> list[AbstractValue] | None:
    """Return the items of a list or tuple (guarding an outside list's length); None for anything else."""
    if isinstance(value, TupleValue):
        return list(value.items)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject):
            if item.place is not None:
                guard_length(machine, item)
            return list(item.items)
    return None


def guard_length(machine: Machine, item: ListObject) -> None:
    """Assume the length that an outside list had at entry, unless it has had too many."""
    assert item.place is not None
    if machine.externals.length_keeps_varying(item.place) and not machine.nested:
        raise machine.unsupported("python.size", "list", "the list has another length in every call")
    machine.externals.guard_length(item.place, len(item.original))


def cast(machine: Machine, value: Value, dtype: str) -> Value:
    """Convert a graph value to a dtype; no node where it has it already."""
    return value if value.type.dtype == dtype else machine.emit("cast", value, dtype=dtype)


def broadcast_to(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> Value:
    """Broadcast a value to a shape; no node where it has it already."""
    return value if value.type.shape == shape else machine.emit("broadcast", value, shape=shape)


def dim_value(machine: Machine, dim: Dim) -> AbstractValue:
    """Return a dimension as the Python int that ``x.shape[i]`` gives."""
    if not isinstance(dim, DimExpr):
        return Known(dim)
    value = machine.emit("dim", types=(INT,), dim=dim)
    machine.dims[value] = dim
    return Scalar(value, "int", sample=machine.sample_dim(dim))


def as_dim(machine: Machine, value: AbstractValue, what: str) -> Dim:
    """Return an int as a dimension: known, symbolic, or bound to a new symbol at run time.

    Raises
    ------
    CaptureFailure
        If it is not an int.
    """
    value = machine.resolve(value)
    if isinstance(value, Known) and isinstance(value.value, int | np.integer) and not isinstance(value.value, bool):
        return int(value.value)
    if isinstance(value, Scalar) and value.value.type.dtype in ("i64", "i32"):
        known_dim = machine.dims.get(value.value)
        if known_dim is not None:
            return known_dim
        if machine.may_specialize(value):
            return int(machine.specialize(value))
        return bind_dim(machine, value.value, what)
    raise machine.unsupported("array.shape", what, "a size is not an int that capture can follow")


def bind_dim(machine: Machine, value: Value, what: str) -> Dim:
    """Make a new symbol for a run-time size (guarded not to be negative)."""
    value = cast(machine, value, "i64")
    zero = constant(machine, 0, "i64")
    machine.require(machine.emit("greater_equal", value, zero), machine.guard("value", what, "a size ≥ 0"))
    made = machine.new_symbol(0)
    machine.emit_node("bind_dim", (value,), {"symbol": next(iter(made.symbols()))}, None, ())
    machine.dims[value] = made
    return made


def shape_of(machine: Machine, value: AbstractValue, what: str = "shape") -> tuple[Dim, ...]:
    """Return the dimensions a shape argument means: an int or a sequence of ints."""
    items = sequence_items(machine, value)
    if items is None:
        return (as_dim(machine, value, what),)
    return tuple(as_dim(machine, item, what) for item in items)


def shape_value(machine: Machine, shape: tuple[Dim, ...]) -> AbstractValue:
    """Return a shape as the tuple Python sees."""
    return TupleValue(tuple(dim_value(machine, dim) for dim in shape))


def type_of(machine: Machine, value: AbstractValue) -> TensorType | None:
    """Return the tensor type NumPy sees in a value without emitting anything; None if it is no array or number."""
    if isinstance(value, ArrayValue):
        return value.type
    if isinstance(value, Scalar):
        return value.value.type
    if isinstance(value, Known) and isinstance(value.value, np.generic):
        name = dtype_name(value.value.dtype)
        return TensorType(name) if name else None
    if is_python_number(value):
        return PYTHON_TYPES[type(value.value).__name__]  # type: ignore[attr-defined]
    return None
