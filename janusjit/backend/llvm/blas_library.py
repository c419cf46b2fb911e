"""The BLAS that SciPy ships, as symbols of compiled code.

Owns `blas_routine`. Invariant: a routine is handed out only if SciPy's capsule says it has the very C signature that
the declaration has (32-bit integers, Fortran conventions, Level 1 results by value).
"""

from __future__ import annotations

import ctypes
import functools
import re

from llvmlite import ir
from scipy.linalg import cython_blas

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.values import POINTER, VOID, declare, register_type

_PREFIX = {"f32": "s", "f64": "d"}

#: routine without its precision letter → C signature, ``R`` standing for the real type
_SIGNATURES = {
    "gemm": "void (char *, char *, int *, int *, int *, R *, R *, int *, R *, int *, R *, R *, int *)",
    "gemv": "void (char *, int *, int *, R *, R *, int *, R *, int *, R *, R *, int *)",
    "dot": "R (int *, R *, int *, R *, int *)",
}


def blas_routine(module: ir.Module, routine: str, dtype: str) -> ir.Function | None:
    """Return the declaration of a BLAS routine, or None if SciPy's BLAS has another interface than expected.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where it is declared.
    routine : {"gemm", "gemv", "dot"}
        Without the precision letter. All arguments are pointers, matrices are column-major.
    dtype : {"f32", "f64"}
        Element type.
    """
    name = _registered_symbol(routine, dtype)
    if name is None:
        return None
    signature = _SIGNATURES[routine]
    result = VOID if signature.startswith("void") else register_type(dtype)
    return declare(module, name, result, [POINTER] * signature.count("*"))


@functools.cache
def _registered_symbol(routine: str, dtype: str) -> str | None:
    capsule = cython_blas.__pyx_capi__.get(_PREFIX[dtype] + routine)
    if capsule is None:
        return None
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    signature: bytes = name_of(capsule)
    # Cython spells the real type as a typedef of its module, whose last letter is the precision's
    spelled = re.sub(rf"__pyx_t_\w+_{_PREFIX[dtype]}\b", "R", signature.decode())
    if spelled != _SIGNATURES[routine]:
        return None
    symbol = f"janus.blas.{_PREFIX[dtype]}{routine}"
    engine.register_symbol(symbol, address_of(capsule, signature))
    return symbol
