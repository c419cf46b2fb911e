"""BLAS routines as symbols of compiled code: NumPy's own where they can be found, else SciPy's.

Owns `blas_routine`. Invariant: a routine is handed out only if it is known to have the C signature of its declaration
(Fortran conventions, Level 1 results by value): SciPy's capsules say so, and the OpenBLAS in NumPy's wheels is built
that way. Integers may be of 32 or 64 bits: callers pass the addresses of 64-bit integers that fit 32, which in
little-endian memory are both.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import sys

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
    """Return the declaration of a BLAS routine, or None if no BLAS has the interface that is expected.

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


def register_blas(symbol: str) -> bool:
    """Make the symbol of a BLAS routine known, if it is one and there is one; return whether it is."""
    for routine in _SIGNATURES:
        for dtype in _PREFIX:
            if symbol == _symbol(routine, dtype):
                return _registered_symbol(routine, dtype) is not None
    return False


@functools.cache
def thread_count_function() -> int | None:
    """Return the address of the function without arguments that says how many threads NumPy's products may use.

    None if NumPy does not have the OpenBLAS of its wheels.
    """
    return _address(("scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads"))


def thread_count() -> int:
    """Return how many threads NumPy's products may use now; 0 if that is not known."""
    address = thread_count_function()
    return 0 if address is None else int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


@functools.cache
def library_text() -> str:
    """Return what the OpenBLAS of NumPy's wheels says of itself; empty if NumPy has another library."""
    address = _address(("scipy_openblas_get_config64_", "scipy_openblas_get_config"))
    if address is None:
        return ""
    text: bytes = ctypes.CFUNCTYPE(ctypes.c_char_p)(address)() or b""
    return text.decode(errors="replace")


def _symbol(routine: str, dtype: str) -> str:
    return f"janus.blas.{_PREFIX[dtype]}{routine}"


@functools.cache
def _registered_symbol(routine: str, dtype: str) -> str | None:
    symbol = _symbol(routine, dtype)
    address = _address_in_numpy(routine, dtype) or _address_in_scipy(routine, dtype)
    if address is None:
        return None
    engine.register_symbol(symbol, address)
    return symbol


def _address_in_numpy(routine: str, dtype: str) -> int | None:
    """Return the address of the routine NumPy's products call, if NumPy has the OpenBLAS of its wheels."""
    if sys.byteorder != "little":
        return None
    return _address((f"scipy_{_PREFIX[dtype]}{routine}_64_", f"scipy_{_PREFIX[dtype]}{routine}_"))


def _address(names: tuple[str, ...]) -> int | None:
    """Return the address of the first of these functions that NumPy is linked to."""
    path = importlib.import_module("numpy._core._multiarray_umath").__file__
    library = ctypes.CDLL(path)  # symbols of what it is linked to are found too
    for name in names:
        function = getattr(library, name, None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


def _address_in_scipy(routine: str, dtype: str) -> int | None:
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
    address: int | None = address_of(capsule, signature)
    return address
