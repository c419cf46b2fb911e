"""Operations done by calling their eager function from compiled code.

Owns `emit_library`. Invariants: the function is one that does not write to its inputs; a result is accepted only if its
dtype and shape are the node's; no reference and no exception is left behind, whatever the function does; and where the
graph looks at the floating-point flags, they are afterwards what they were before, since NumPy reports its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.call_results import take_array, take_number
from janusjit.backend.llvm.python_api import I1, I8, I32, I64, NULL, POINTER, VOID, array_descriptor
from janusjit.backend.llvm.values import ArrayValue, Extent, KernelContext, Operand, as_i64
from janusjit.ir.graph import Node
from janusjit.ops.indexing import symbols_in
from janusjit.ops.registry import OPS

_C_ORDER, _QUICKSORT = 0, 0  # NPY_CORDER, NPY_QUICKSORT
WRITEABLE = 0x0400  # NPY_ARRAYWRITEABLE
READS_MXCSR = engine.host_target()[0].startswith(("x86_64", "amd64", "i686"))
ENVIRONMENT_BYTES = 64  # at least sizeof(fenv_t): 32 with glibc on x86-64, 8 on AArch64


def emit_library(context: KernelContext, node: Node, inputs: Sequence[Operand], outputs: Sequence[ArrayValue]) -> None:
    """Emit a node as a call of its op's eager function.

    Parameters
    ----------
    context : KernelContext
        The function to emit into, which returns ``i1``: the requirement fails if the eager function raises, also for
        ops that are not declared fallible (there may be no memory).
    node : Node
        The operation; no attribute mentions a symbolic dimension.
    inputs : sequence of Operand
        Its inputs, of any layout. An array with a ``reference`` is passed as that very object.
    outputs : sequence of ArrayValue
        For each result that is an array, memory for a reference to it, with the dimensions that it must have
        (`janusjit.backend.llvm.call_results.ANY_EXTENT` for those that depend on the data); memory for each number.
    """
    attributes = {name: value for name, value in node.attributes.items() if name != "symbol"}
    if symbols_in(attributes):
        raise ValueError(f"{node.op} has symbolic attributes, which a call of the library cannot be given")
    if node.op == "sort":
        emit_call(context, OPS[node.op].eager, {}, inputs, outputs, partial(_sorted_copy, axis=attributes["axis"]))
    else:
        emit_call(context, OPS[node.op].eager, attributes, inputs, outputs)


def _sorted_copy(context: KernelContext, vector: ir.Value, axis: int) -> ir.Value:
    """Emit what the eager function of ``sort`` does, by NumPy's C API."""
    builder, api = context.builder, context.python.api
    made = context.stack_slot(POINTER, align=8)
    x = builder.load(vector, typ=POINTER)
    with keeping_flags(context):
        builder.store(api.call(builder, "PyArray_NewCopy", x, ir.Constant(I32, _C_ORDER)), made)
        copied = builder.load(made, typ=POINTER)
        with builder.if_then(builder.not_(api.is_null(builder, copied)), likely=True):
            status = api.call(builder, "PyArray_Sort", copied, ir.Constant(I32, axis), ir.Constant(I32, _QUICKSORT))
            with builder.if_then(builder.icmp_signed("<", status, ir.Constant(I32, 0)), likely=False):
                api.decref(builder, copied)
                builder.store(NULL, made)
    return builder.load(made, typ=POINTER)


def emit_call(
    context: KernelContext,
    function: Callable[..., Any],
    attributes: Mapping[str, Any],
    inputs: Sequence[Operand],
    outputs: Sequence[ArrayValue],
    by_api: Callable[[KernelContext, ir.Value], ir.Value] | None = None,
) -> None:
    """Emit a call of a function of arrays, with attributes by name; the requirement is that its results are right.

    ``by_api`` emits what does the same by the C API, given the address of the arguments.
    """
    builder, api = context.builder, context.python.api
    for out in outputs:
        if out.rank:
            builder.store(NULL, out.pointer)
    vector = context.stack_slot(ir.ArrayType(POINTER, max(len(inputs) + len(attributes), 1)), align=8)
    wrappers = _store_arguments(context, vector, inputs, list(attributes.values()))
    made: ir.Value = ir.Constant(I1, 1)
    for wrapper in wrappers:
        made = builder.and_(made, builder.not_(api.is_null(builder, wrapper)))
    succeeded = context.stack_slot(I1, align=1)
    builder.store(ir.Constant(I1, 0), succeeded)
    with builder.if_then(made, likely=True):
        if by_api is None:
            result = vectorcall(context, function, vector, len(inputs), tuple(attributes))
        else:
            result = by_api(context, vector)
        with builder.if_then(builder.not_(api.is_null(builder, result)), likely=True):
            if len(outputs) == 1:
                builder.store(_take(context, result, outputs[0]), succeeded)
                api.decref(builder, result)
            else:
                _take_tuple(context, result, outputs, succeeded)
    held = builder.load(succeeded, typ=I1)
    with builder.if_then(builder.not_(held), likely=False):
        api.call(builder, "PyErr_Clear")
        for out in outputs:
            if out.rank:
                api.decref_unless_null(builder, builder.load(out.pointer, typ=POINTER))
    for wrapper in wrappers:
        api.decref_unless_null(builder, wrapper)
    context.require(held)


def _store_arguments(
    context: KernelContext, vector: ir.Value, inputs: Sequence[Operand], attributes: Sequence[Any]
) -> list[ir.Value]:
    """Emit the arguments into a vector of borrowed references; return the arrays that were made for it."""
    builder, api = context.builder, context.python.api
    wrappers = []
    for position, operand in enumerate(inputs):
        array = context.as_array(operand)
        reference = array.reference
        if reference is None:
            reference = array_wrapper(context, array, 0)
            wrappers.append(reference)
        builder.store(reference, api.address(builder, vector, 8 * position))
    for position, value in enumerate(attributes, len(inputs)):
        builder.store(api.object(builder, value), api.address(builder, vector, 8 * position))
    return wrappers


def vectorcall(
    context: KernelContext, function: Callable[..., Any], vector: ir.Value, positional: int, names: tuple[str, ...]
) -> ir.Value:
    """Emit the call of a Python object; its result is a new reference, or null with an exception set.

    ``vector`` is the address of the ``positional`` arguments and of those that go by ``names``. The floating-point
    flags that an exit looks at, if it does, are afterwards what they were before.
    """
    builder, api = context.builder, context.python.api
    called, keywords = api.object(builder, function), api.object(builder, names) if names else NULL
    with keeping_flags(context):
        return api.call(builder, "PyObject_Vectorcall", called, vector, ir.Constant(I64, positional), keywords)


@contextmanager
def keeping_flags(context: KernelContext) -> Iterator[None]:
    """Emit what puts the flags back, if an exit looks at them, behind what the ``with`` body emits."""
    save, restore, state = _flags(context) if context.python.checks_flags else (None, None, NULL)
    if save is not None:
        context.builder.call(save, [state])
    yield
    if restore is not None:
        context.builder.call(restore, [state])


def _flags(context: KernelContext) -> tuple[ir.Function, ir.Function, ir.Value]:
    """Return what saves and restores the flags, and memory for them."""
    if READS_MXCSR:  # the flags of the x87 unit, which nobody looks at, take a hundred nanoseconds
        save, restore = (context.declare(f"llvm.x86.sse.{name}", VOID, [POINTER]) for name in ("stmxcsr", "ldmxcsr"))
        return save, restore, context.stack_slot(I32, align=4)
    save, restore = (context.declare(name, I32, [POINTER]) for name in ("fegetenv", "fesetenv"))
    return save, restore, context.stack_slot(I8, ENVIRONMENT_BYTES)


def _take(context: KernelContext, result: ir.Value, out: ArrayValue) -> ir.Value:
    return take_array(context, result, out) if out.rank else take_number(context, result, out)


def _take_tuple(context: KernelContext, result: ir.Value, outputs: Sequence[ArrayValue], succeeded: ir.Value) -> None:
    """Emit the taking of the items of a tuple, to which the call's reference is given up."""
    builder, api = context.builder, context.python.api
    size = ir.Constant(I64, len(outputs))
    is_tuple = api.has_type(builder, result, tuple)
    fits = builder.icmp_signed("==", api.field(builder, result, layout.VARIABLE_SIZE, I64), size)
    with builder.if_else(builder.and_(is_tuple, fits), likely=True) as (then, other):
        with then:
            items = [api.field(builder, result, layout.TUPLE_ITEMS + 8 * i, POINTER) for i in range(len(outputs))]
            for item in items:
                api.incref(builder, item)
            api.decref(builder, result)  # first: what is taken must be nobody else's
            taken: ir.Value = ir.Constant(I1, 1)
            for item, out in zip(items, outputs, strict=True):
                taken = builder.and_(taken, _take(context, item, out))
                api.decref(builder, item)
            builder.store(taken, succeeded)
        with other:
            api.decref(builder, result)


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
