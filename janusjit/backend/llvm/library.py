"""Operations done by calling their eager function from compiled code.

Owns `LibraryCall`, `emit_library` and `emit_library_count`. Invariants: the function sees inputs it cannot write to; a
result is accepted only if its dtype and shape are the node's; no reference and no exception is left behind, whatever
the function does; and the floating-point flags are afterwards what they were before, since NumPy reports its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm.python_api import I8, I32, I64, NULL, POINTER, array_descriptor
from janusjit.backend.llvm.values import ArrayValue, Extent, KernelContext, Operand, as_i64
from janusjit.ir.graph import Node
from janusjit.ops.indexing import symbols_in
from janusjit.ops.registry import OPS

WRITEABLE = 0x0400  # NPY_ARRAYWRITEABLE
ENVIRONMENT_BYTES = 64  # at least sizeof(fenv_t): 32 with glibc on x86-64, 8 on AArch64


class LibraryResultError(TypeError):
    """An eager function gave another dtype or shape than its op's type rule. Compiled code takes it for a failure."""

    code = "backend.library_result"


class LibraryCall:
    """An eager function that puts its results into given arrays.

    Parameters
    ----------
    function : callable
        The op's eager function.
    attributes : mapping
        Its keyword arguments.
    arity : int
        How many of the arrays it is called with are inputs.
    """

    __slots__ = ("_bound", "arity", "attributes", "function")

    def __init__(self, function: Callable[..., Any], attributes: Mapping[str, Any], arity: int) -> None:
        self.function = function
        self.attributes = dict(attributes)
        self.arity = arity
        self._bound = functools.partial(function, **self.attributes) if attributes else function

    def __call__(self, *arrays: np.ndarray) -> None:
        """Compute from the first arrays into the others.

        Raises
        ------
        LibraryResultError
            If a result has not the dtype and shape of the array it is meant for.
        """
        results = self._bound(*arrays[: self.arity])
        if type(results) is np.ndarray and len(arrays) == self.arity + 1:
            out = arrays[-1]
            if results.dtype is out.dtype and results.shape == out.shape:  # the common case, and the fast one
                out[...] = results
                return
        outputs = arrays[self.arity :]
        for result, out in zip(results if isinstance(results, tuple) else (results,), outputs, strict=True):
            value = np.asarray(result)
            if value.dtype != out.dtype or value.shape != out.shape:
                raise LibraryResultError(f"{value.dtype}{value.shape} instead of {out.dtype}{out.shape}")
            out[...] = value


def emit_library(
    context: KernelContext, node: Node, inputs: Sequence[Operand], outputs: Sequence[ArrayValue]
) -> None:
    """Emit a node as a call of its op's eager function.

    Parameters
    ----------
    context : KernelContext
        The function to emit into, which returns ``i1``: the requirement fails if the eager function raises, also for
        ops that are not declared fallible (there may be no memory).
    node : Node
        The operation; no attribute mentions a symbolic dimension.
    inputs : sequence of Operand
        Its inputs, of any layout.
    outputs : sequence of ArrayValue
        Memory for each result, of rank 0 for scalars, that overlaps no input.
    """
    if symbols_in(node.attributes):
        raise ValueError(f"{node.op} has symbolic attributes, which a call of the library cannot be given")
    eager = OPS[node.op].eager
    # a ufunc takes the arrays for its results itself; its loop is that of their dtypes
    call = eager if isinstance(eager, np.ufunc) else LibraryCall(eager, node.attributes, len(inputs))
    emit_call(context, call, [context.as_array(operand) for operand in inputs], outputs)


def emit_library_count(context: KernelContext, node: Node, inputs: Sequence[Operand]) -> ir.Value:
    """Emit the length (``i64``) that the attribute ``symbol`` of a node stands for, by computing the node's results."""

    def length(*arrays: np.ndarray, **attributes: Any) -> np.int64:
        results = OPS[node.op].eager(*arrays, **attributes)
        return np.int64(len(results[0] if isinstance(results, tuple) else results))

    count = ArrayValue("i64", context.stack_slot(I64), (), ())
    call = LibraryCall(length, node.attributes, len(inputs))
    emit_call(context, call, [context.as_array(operand) for operand in inputs], [count])
    return context.builder.load(count.pointer, typ=I64)


def emit_call(
    context: KernelContext, call: LibraryCall | np.ufunc, inputs: Sequence[ArrayValue], outputs: Sequence[ArrayValue]
) -> None:
    """Emit ``call`` on ndarrays over the memory of inputs and outputs; the requirement is that it raises nothing."""
    builder, api = context.builder, context.python.api
    arguments = context.stack_slot(ir.ArrayType(POINTER, max(len(inputs) + len(outputs), 1)), align=8)
    made: ir.Value = ir.Constant(ir.IntType(1), 1)
    for position, array in enumerate([*inputs, *outputs]):
        wrapper = array_wrapper(context, array, 0 if position < len(inputs) else WRITEABLE)
        builder.store(wrapper, api.address(builder, arguments, 8 * position))
        made = builder.and_(made, builder.not_(api.is_null(builder, wrapper)))
    result = context.stack_slot(POINTER, align=8)
    builder.store(NULL, result)
    with builder.if_then(made, likely=True):
        count = ir.Constant(I64, len(inputs) + len(outputs))
        environment = context.stack_slot(I8, ENVIRONMENT_BYTES)
        builder.call(context.declare("fegetenv", I32, [POINTER]), [environment])
        returned = api.call(builder, "PyObject_Vectorcall", api.object(builder, call), arguments, count, NULL)
        builder.call(context.declare("fesetenv", I32, [POINTER]), [environment])
        builder.store(returned, result)
    succeeded = builder.not_(api.is_null(builder, builder.load(result, typ=POINTER)))
    with builder.if_then(builder.not_(succeeded), likely=False):
        api.call(builder, "PyErr_Clear")
    api.decref_unless_null(builder, builder.load(result, typ=POINTER))
    for position in range(len(inputs) + len(outputs)):
        wrapper = builder.load(api.address(builder, arguments, 8 * position), typ=POINTER)
        api.decref_unless_null(builder, wrapper)
    context.require(succeeded)


def array_wrapper(context: KernelContext, array: ArrayValue, flags: int) -> ir.Value:
    """Emit an ndarray over an array's memory: a new reference, or null with an exception set."""
    builder, api = context.builder, context.python.api
    descriptor = api.object(builder, array_descriptor(array.dtype))
    api.incref(builder, descriptor)  # the call takes it over
    return api.call(
        builder,
        "PyArray_NewFromDescr",
        *(api.object(builder, np.ndarray), descriptor, ir.Constant(I32, array.rank)),
        *(_extents(context, array.dims), _extents(context, array.strides) if array.strides else NULL),
        *(array.pointer, ir.Constant(I32, flags), NULL),
    )


def _extents(context: KernelContext, extents: Sequence[Extent]) -> ir.Value:
    """Emit a C array of ``npy_intp`` on the stack."""
    slot = context.stack_slot(ir.ArrayType(I64, max(len(extents), 1)), align=8)
    for position, extent in enumerate(extents):
        context.builder.store(as_i64(extent), context.python.api.address(context.builder, slot, 8 * position))
    return slot
