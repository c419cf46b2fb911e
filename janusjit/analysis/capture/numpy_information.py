"""Models of functions that tell about arrays and types, and of ``np.errstate``.

Owns ``shape``, ``ndim``, ``size``, ``finfo``, ``dtype`` and their kin. Invariant: nothing here computes with elements.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from janusjit.analysis.capture.arrays import dim_value, is_array_like, is_python_number, shape_value, type_of
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.numpy_arguments import array, axes_of, axis_of, given, integer, numpy_function
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, Known, Scalar
from janusjit.ir.dims import product
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.types import TensorType


def _type(machine: Machine, value: AbstractValue) -> TensorType:
    """Return the type of ``np.asarray(value)``."""
    found = type_of(machine, machine.resolve(value))
    return array(machine, value).type if found is None else found


@numpy_function(np.shape)
def _model_shape(machine: Machine, a: AbstractValue) -> AbstractValue:
    return shape_value(machine, _type(machine, a).shape)


@numpy_function(np.ndim)
def _model_ndim(machine: Machine, a: AbstractValue) -> AbstractValue:
    return Known(_type(machine, a).rank)


@numpy_function(np.size)
def _model_size(machine: Machine, a: AbstractValue, axis: AbstractValue = NONE) -> AbstractValue:
    shape = _type(machine, a).shape
    return dim_value(machine, product(shape[at] for at in axes_of(machine, axis, len(shape))))


@numpy_function(np.isscalar)
def _model_isscalar(machine: Machine, element: AbstractValue) -> AbstractValue:
    value = machine.resolve(element)
    if isinstance(value, Scalar):
        return TRUE
    return Known(np.isscalar(value.value)) if isinstance(value, Known) else FALSE


@numpy_function(np.iscomplexobj)
def _model_iscomplexobj(machine: Machine, x: AbstractValue) -> AbstractValue:
    return Known(_type(machine, x).numpy_dtype.kind == "c")


@numpy_function(np.isrealobj)
def _model_isrealobj(machine: Machine, x: AbstractValue) -> AbstractValue:
    return Known(_type(machine, x).numpy_dtype.kind != "c")


def _type_or_constant(machine: Machine, value: AbstractValue) -> Any:
    """Return a dtype argument, or what stands for an array or number in ``np.result_type``."""
    value = machine.resolve(value)
    if isinstance(value, Known):
        return value.value
    if is_python_number(value):
        assert isinstance(value, Scalar)
        return {"int": 0, "float": 0.0, "bool": False}[value.kind]
    if is_array_like(value):
        return _type(machine, value).numpy_dtype
    return machine.constant(value, "a type")


def _of_types(function: Any) -> None:
    """Register a function that looks at the dtypes of its arguments only."""

    def model(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        positional = [_type_or_constant(machine, argument) for argument in arguments]
        named = {name: machine.constant(value, name) for name, value in keywords.items()}
        return Known(fold(machine, lambda: function(*positional, **named)))

    MODELS[function] = model


for _function in (np.result_type, np.promote_types, np.issubdtype, np.dtype, np.finfo, np.iinfo):
    _of_types(_function)


@numpy_function(normalize_axis_index)
def _model_normalize_axis_index(
    machine: Machine, axis: AbstractValue, ndim: AbstractValue, msg_prefix: AbstractValue = NONE
) -> AbstractValue:
    return Known(axis_of(machine, axis, integer(machine, ndim, "ndim")))


@numpy_function(np.can_cast)
def _model_can_cast(
    machine: Machine, from_: AbstractValue, to: AbstractValue, casting: AbstractValue = Known("safe")
) -> AbstractValue:
    if is_python_number(from_) or not given(to):
        raise machine.unsupported("numpy.argument", "np.can_cast", "the value of a number decides")
    parts = [_type_or_constant(machine, part) for part in (from_, to, casting)]
    return Known(fold(machine, lambda: np.can_cast(*parts)))


@numpy_function(np.may_share_memory, np.shares_memory)
def _model_shares_memory(machine: Machine, a: AbstractValue, b: AbstractValue) -> AbstractValue:
    raise machine.unsupported("numpy.function", "np.shares_memory", "memory is asked about, not values")


# ---------------------------------------------------------------------- error state


class _QuietErrors:
    """What ``np.errstate`` comes to where errors are ignored or warned of: what is in its body is noted to be so."""

    #: as given to ``np.errstate``; in subclasses
    error_modes: tuple[tuple[str, str], ...] = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        return None


@numpy_function(np.errstate)
def _model_errstate(machine: Machine, **modes: AbstractValue) -> AbstractValue:
    given = {name: machine.constant(mode, name) for name, mode in modes.items()}
    every = given.pop("all", None)
    wanted = {**(dict.fromkeys(ERRORS, every) if every else {}), **{name: m for name, m in given.items() if m}}
    outside: dict[str, Any] = dict(np.geterr())
    for name, mode in wanted.items():
        if name not in ERRORS or mode not in ("ignore", outside[name]):
            raise machine.unsupported("environment.errstate", "np.errstate", "a floating-point error is to be acted on")
    machine.externals.sets_error_modes = True
    machine.externals.error_mode_setters.append(machine.blamed())
    return machine.state.allocate(Instance(type_=_quiet_errors(tuple(wanted.items()))))


@functools.cache
def _quiet_errors(modes: tuple[tuple[str, str], ...]) -> type:
    return type("_QuietErrors", (_QuietErrors,), {"error_modes": modes})


@numpy_function(np.seterr)
def _model_seterr(machine: Machine, **modes: AbstractValue) -> AbstractValue:
    raise machine.unsupported("environment.errstate", "np.seterr", "the error state changes for code outside too")
