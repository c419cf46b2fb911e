"""Compiles and runs single kernels for the backend's tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.python_api import OBJECT_TABLE, PythonApi, fill_table
from janusjit.backend.llvm.python_api_shared import load_shared
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    VOID,
    ArrayValue,
    KernelContext,
    Scalar,
    load,
    memory_type,
    store,
)
from janusjit.ir.types import DTYPES, dtype_name


class ElementwiseKernel:
    """``out[i] = rule(emitter, *inputs[i])`` over contiguous arrays."""

    def __init__(self, rule: Callable[..., Scalar], dtypes: tuple[str, ...]) -> None:
        module = engine.create_module("kernel")
        signature = ir.FunctionType(VOID, [I64, *[POINTER] * (len(dtypes) + 1)])
        function = ir.Function(module, signature, "kernel")
        count, *pointers = function.args
        for pointer in pointers:
            pointer.add_attribute("noalias")
        entry, body, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
        builder = ir.IRBuilder(entry)
        builder.cbranch(builder.icmp_signed(">", count, I64(0)), body, done)
        builder.position_at_end(body)
        index = builder.phi(I64)
        index.add_incoming(I64(0), entry)
        scalars = [
            load(builder, dtype, builder.gep(pointer, [index], source_etype=memory_type(dtype)))
            for dtype, pointer in zip(dtypes, pointers[:-1], strict=True)
        ]
        result = rule(LLVMScalarEmitter(builder), *scalars)
        self.result_dtype = result.dtype
        store(builder, result, builder.gep(pointers[-1], [index], source_etype=memory_type(result.dtype)))
        following = builder.add(index, I64(1))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), body, done)
        builder.position_at_end(done)
        builder.ret_void()
        self.module = engine.load(module)
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(dtypes) + 1))(
            self.module.function_address("kernel")
        )

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        arrays = tuple(np.ascontiguousarray(a) for a in np.broadcast_arrays(*arrays))
        out = np.empty(arrays[0].shape, DTYPES[self.result_dtype])
        self.run(*arrays, out)
        return out

    def run(self, *arrays: np.ndarray) -> None:
        """Run on contiguous arrays of one size, the last of which receives the result."""
        self._call(arrays[0].size, *[a.ctypes.data for a in arrays])


def elementwise(rule: Callable[..., Scalar], *arrays: np.ndarray) -> np.ndarray:
    """Compile ``rule`` for the arrays' dtypes and run it on them, broadcast."""
    names = tuple(dtype_name(a.dtype) or "" for a in arrays)
    with np.errstate(all="ignore"):
        return ElementwiseKernel(rule, names)(*arrays)


class KernelPython:
    """The part of `PythonEmitter` that kernels use."""

    checks_flags = True

    def __init__(self, module: ir.Module) -> None:
        self.api = PythonApi(module)


class ArrayKernel:
    """A compiled kernel that takes ndarrays, emitted for their very shapes and strides or for any (``dynamic``).

    ``emit(context, *operands)`` is given an `ArrayValue` for each array.
    """

    def __init__(self, emit: Callable[..., None], arrays: Sequence[np.ndarray], dynamic: bool = False) -> None:
        module = engine.create_module("kernel")
        function = ir.Function(module, ir.FunctionType(I1, [POINTER] * (2 if dynamic else 1)), "kernel")
        self.python = KernelPython(module)
        context = KernelContext(function, self.python)
        operands, position = [], 0
        for number, array in enumerate(arrays):
            extents: list[Any] = []
            for extent in (*array.shape, *array.strides):
                slot = context.builder.gep(function.args[-1], [I64(position)], source_etype=I64)
                known = not dynamic or extent == 1  # in a graph, a dimension that broadcasts is always known
                extents.append(extent if known else context.builder.load(slot, typ=I64))
                position += 1
            pointer = context.builder.gep(function.args[0], [I64(number)], source_etype=POINTER)
            data = context.builder.load(pointer, typ=POINTER)
            dims, strides = tuple(extents[: array.ndim]), tuple(extents[array.ndim :])
            operands.append(ArrayValue(dtype_name(array.dtype) or "", data, dims, strides))
        emit(context, *operands)
        context.finish()
        self.python.api.finish_table()
        self.dynamic = dynamic
        load_shared()
        self.module = engine.load(module)
        fill_table(self.module.global_address(OBJECT_TABLE), self.python.api.objects)
        # PYFUNCTYPE keeps the GIL, which kernels that call Python need
        self._call = ctypes.PYFUNCTYPE(ctypes.c_bool, *[ctypes.c_void_p] * (2 if dynamic else 1))(
            self.module.function_address("kernel")
        )

    def __call__(self, *arrays: np.ndarray) -> bool:
        """Run on arrays laid out like those it was emitted for; return whether its requirements held."""
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        extents = [extent for a in arrays for extent in (*a.shape, *a.strides)]
        layout = [(ctypes.c_int64 * len(extents))(*extents)] if self.dynamic else []
        return bool(self._call(ctypes.addressof(pointers), *[ctypes.addressof(x) for x in layout]))
