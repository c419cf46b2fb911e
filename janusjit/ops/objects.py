"""Python objects read at run time, by their address.

Owns `ObjectIdentity` and the ops ``object.*``, which walk structures whose shape is known only when the graph runs. An
address (``i64[]``) is a borrowed reference. Invariants, of which whoever emits a read is one party: the address is that
of a living object; what is read is kept by the object it is read from; and while the graph runs nothing changes what
its reads can see. The other party are the passes: a read happens where it stands, or not at all if nobody wants it, so
that what stands before it protects it.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import DimExpr
from janusjit.ir.guards import find_on_type, scalar_type
from janusjit.ir.types import BOOL, DTYPES, FLOAT, INT, TensorType
from janusjit.ops.generators import ObjectAddress
from janusjit.ops.registry import ZERO, Attributes, ObjectRead, Op, declare
from janusjit.ops.samples import Exactly, Made, Sample
from janusjit.ops.type_rules import TypeRuleError

#: kinds of numbers that are Python's own
PYTHON_KINDS = {"int": INT, "float": FLOAT, "bool": BOOL}
#: objects that attributes of nodes may hold as they are: one of each in a process
_SINGLETONS = (None, True, False)


class ObjectIdentity:
    """A Python object as an attribute of a node: equal to nothing but the same object, whatever its type says."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectIdentity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"ObjectIdentity({type(self.value).__name__} at {id(self.value):#x})"


def identified(item: Any) -> Any:
    """Return the object that the attribute ``object`` of ``object.is`` stands for."""
    return item.value if isinstance(item, ObjectIdentity) else item


def object_at(address: Any) -> Any:
    """Return the living object at an address."""
    if isinstance(address, ObjectAddress):
        return address.object
    return ctypes.cast(int(address), ctypes.py_object).value


# ---------------------------------------------------------------------- type rules

Check = Callable[[Any], bool]


def _is_text(item: Any) -> bool:
    return type(item) is str


def _is_type(item: Any) -> bool:
    """Whether it is a class; not if its metaclass says which classes are equal, since attributes are compared."""
    comparison = ("__eq__", "__hash__")
    plain = all(find_on_type(type(item), name) is find_on_type(type, name) for name in comparison)
    return isinstance(item, type) and plain


def _is_object(item: Any) -> bool:
    return isinstance(item, ObjectIdentity) or any(item is one for one in _SINGLETONS)


def _is_kind(item: Any) -> bool:
    return isinstance(item, str) and _type_of_kind(item).dtype in DTYPES


def _is_dtype(item: Any) -> bool:
    return isinstance(item, str) and item in DTYPES


def _is_shape(item: Any) -> bool:
    return isinstance(item, tuple) and all(isinstance(dim, (int, DimExpr)) for dim in item)


def _type_of_kind(kind: str) -> TensorType:
    """Return the type of a number: ``int``, ``float``, ``bool``, or ``numpy.<dtype>``."""
    known = PYTHON_KINDS.get(kind)
    return known if known is not None else TensorType(kind.removeprefix("numpy.") if kind[:6] == "numpy." else "")


def _declare(
    name: str,
    eager: Callable[..., Any],
    result: TensorType | Callable[[Attributes], TensorType],
    samples: tuple[Sample, ...],
    checks: dict[str, Check],
    more_inputs: int = 0,
    fallible: bool = True,
) -> None:
    """Declare a read of the object at input 0; each attribute has a check."""

    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if inputs != (INT,) * (1 + more_inputs):
            raise TypeRuleError(f"{name} of {', '.join(map(str, inputs))}: it takes {1 + more_inputs} i64[]")
        if attributes.keys() != checks.keys():
            raise TypeRuleError(f"{name} has the attributes {', '.join(checks) or 'none'}")
        for attribute, check in checks.items():
            if not check(attributes[attribute]):
                raise TypeRuleError(f"{name}: {attribute} is a {type(attributes[attribute]).__name__} of no use")
        return (result if isinstance(result, TensorType) else result(attributes),)

    declare(
        Op(
            name=name,
            family="objects",
            eager=eager,
            infer=infer,
            lowering=ObjectRead(),
            samples=samples,
            fallible=fallible,
            gradient=ZERO,
        )
    )


def _of(value: Any, *more: Any, **attributes: Any) -> Sample:
    """Return the sample that reads an object."""
    address = Made(lambda generator: ObjectAddress.of(value))
    return Sample((address, *map(Exactly, more)), attributes)


# ---------------------------------------------------------------------- what an object is


def _eager_is_type(address: Any, **attributes: Any) -> np.bool_:
    return np.bool_(type(object_at(address)) is attributes["type"])


def _eager_is(address: Any, **attributes: Any) -> np.bool_:
    return np.bool_(object_at(address) is identified(attributes["object"]))


def _eager_is_text(address: Any, text: str) -> np.bool_:
    found = object_at(address)
    return np.bool_(type(found) is str and found == text)


_TYPES = _of(1.5, type=float), _of(1.5, type=int)
_OBJECTS = _of(None, object=None), _of(None, object=ObjectIdentity(()))
_TEXTS = _of("add", text="add"), _of("add", text="sub")
_declare("object.is_type", _eager_is_type, BOOL, _TYPES, {"type": _is_type}, fallible=False)
_declare("object.is", _eager_is, BOOL, _OBJECTS, {"object": _is_object}, fallible=False)
_declare("object.is_text", _eager_is_text, BOOL, _TEXTS, {"text": _is_text}, fallible=False)



def _eager_has_method(address: Any, name: str, function: Any) -> np.bool_:
    found = object.__getattribute__(object_at(address), name)
    return np.bool_(type(found) is types.MethodType and found.__func__ is identified(function))


class _Exemplar:
    def method(self) -> None:
        """Nothing."""


_METHODS = (_of(_Exemplar(), name="method", function=ObjectIdentity(_Exemplar.method)),)
_declare(
    "object.has_method", _eager_has_method, BOOL, _METHODS, {"name": _is_text, "function": _is_object}, fallible=False
)

# ---------------------------------------------------------------------- what waits for the interpreter


def _eager_is_free(address: Any) -> np.bool_:
    return np.True_  # Python looks by itself


#: whether neither a signal nor another thread has waited long for the interpreter; it looks at no object
_declare("interpreter.is_free", _eager_is_free, BOOL, (_of(None),), {}, fallible=False)

# ---------------------------------------------------------------------- what it holds


def _eager_attribute(address: Any, name: str) -> ObjectAddress:
    owner = object_at(address)
    try:
        found = object.__getattribute__(owner, name)
        again = object.__getattribute__(owner, name)
    except Exception as error:
        raise LookupError(name) from error
    if found is not again:
        raise LookupError(f"{name} is made anew by each access")
    return ObjectAddress.of(found)


def _eager_length(address: Any) -> np.int64:
    return np.int64(len(_sequence(address)))


def _eager_item(address: Any, index: Any) -> ObjectAddress:
    items = _sequence(address)
    if not 0 <= index < len(items):
        raise IndexError(int(index))
    return ObjectAddress.of(items[int(index)])


def _sequence(address: Any) -> Any:
    found = object_at(address)
    if type(found) is not list and type(found) is not tuple:
        raise TypeError(f"a {type(found).__name__} is neither a list nor a tuple")
    return found


_OWNERS = (_of(types.SimpleNamespace(left=None), name="left"),)
_SEQUENCES = _of([1, 2, 3]), _of(())
_ITEMS = _of([1, 2, 3], np.int64(2)), _of(("a", "b"), np.int64(0))
_declare("object.attribute", _eager_attribute, INT, _OWNERS, {"name": _is_text})
_declare("object.length", _eager_length, INT, _SEQUENCES, {})
_declare("object.item", _eager_item, INT, _ITEMS, {}, more_inputs=1)

# ---------------------------------------------------------------------- what its value is


def _eager_number(address: Any, kind: str) -> Any:
    found = object_at(address)
    if type(found) is not scalar_type(kind):
        raise TypeError(f"a {type(found).__name__} is no {kind}")
    return DTYPES[_type_of_kind(kind).dtype].type(found)


def _eager_array(address: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    found = object_at(address)
    if type(found) is not np.ndarray or found.shape != shape:
        raise TypeError(f"a {type(found).__name__} is no array of shape {shape}")
    same = found.dtype == DTYPES[dtype] and found.dtype.isnative
    if not (same and found.flags.c_contiguous and found.flags.aligned):
        raise TypeError(f"an array of {found.dtype} is none of {dtype} that lies in one piece")
    return found.copy() if shape else found[()]


_NUMBERS = (
    *(_of(value, kind=type(value).__name__) for value in (7, 1.5, True)),
    *(_of(DTYPES[name].type(1), kind=f"numpy.{name}") for name in ("f64", "f32", "i64", "bool")),
)
_ARRAYS = (
    _of(np.arange(6.0).reshape(2, 3), dtype="f64", shape=(2, 3)),
    _of(np.array(True), dtype="bool", shape=()),
)
_declare("object.number", _eager_number, lambda given: _type_of_kind(given["kind"]), _NUMBERS, {"kind": _is_kind})
_declare(
    "object.array",
    _eager_array,
    lambda given: TensorType(given["dtype"], given["shape"]),
    _ARRAYS,
    {"dtype": _is_dtype, "shape": _is_shape},
)
