"""Transcendental functions of floats in compiled code.

Owns `emit_function`. Invariant: within 2 ULP of the true value over the whole domain of ``f32`` and ``f64``, NumPy's
special values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm import vector_math_error as error
from janusjit.backend.llvm import vector_math_exponential as exponential
from janusjit.backend.llvm import vector_math_inverse as inverse
from janusjit.backend.llvm import vector_math_inverse_tables as inverse_tables
from janusjit.backend.llvm import vector_math_logarithm as logarithm
from janusjit.backend.llvm import vector_math_logarithm_f32 as logarithm_f32
from janusjit.backend.llvm import vector_math_pieces as pieces
from janusjit.backend.llvm import vector_math_power as power
from janusjit.backend.llvm import vector_math_remainder as remainder
from janusjit.backend.llvm import vector_math_tables as tables
from janusjit.backend.llvm import vector_math_tangent as tangent
from janusjit.backend.llvm import vector_math_trigonometry as trigonometry
from janusjit.backend.llvm.values import I32, declare, register_type
from janusjit.backend.llvm.vector_math_code import F32_FORMAT, F64_FORMAT, FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_library import Precautions, SharedMath

#: branch-free formulas, which are inlined wherever they are used
FORMULAS: dict[str, Callable[..., Real]] = {
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "tanh": exponential.tanh,
    "log": logarithm.log,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "log1p": logarithm.log1p,
    "logaddexp": logarithm.logaddexp,
    "cbrt": power.cbrt,
    "erf": error.erf,
    "arctan": trigonometry.arctan,
    "arcsin": inverse.arcsin,
    "arccos": inverse.arccos,
    "arcsinh": inverse.arcsinh,
    "arccosh": inverse.arccosh,
    "arctanh": inverse.arctanh,
}
#: functions that are called: the formula, and where it holds
SHARED: dict[str, tuple[Callable[..., Real], Callable[..., Truth] | None]] = {
    "sin": (trigonometry.sin, trigonometry.is_reducible),
    "cos": (trigonometry.cos, trigonometry.is_reducible),
    "tan": (trigonometry.tan, trigonometry.is_reducible),
    "arctan2": (trigonometry.arctan2, trigonometry.is_plain_point),
    "fmod": (remainder.fmod, remainder.is_plain_division),
    "pow": (power.power, power.is_plain_power),
}
#: what is done where operands are not the usual ones
PRECAUTIONS = {
    "arctan2": Precautions(trigonometry.is_common_point, trigonometry.without_origin),
    "pow": Precautions(power.is_common_power, power.prepared, power.finished),
}
#: functions that are called in f32 only: the formula, and what is done where operands are not the usual ones
SHARED_F32: dict[str, tuple[Callable[..., Real], Precautions | None]] = {
    name: (formula, Precautions(logarithm_f32.is_common, logarithm_f32.prepared, logarithm_f32.finished))
    for name, formula in (("log2", logarithm_f32.log2), ("log10", logarithm_f32.log10))
}
_POSITIVE = (logarithm_f32.is_common, logarithm_f32.prepared, logarithm_f32.finished)
_ABOVE_MINUS_ONE = (pieces.is_common_for_log1p, pieces.prepared_for_log1p, pieces.finished_log1p)
_NORMAL = (tables.is_common_for_cbrt, tables.prepared_for_cbrt, tables.finished_cbrt)
#: functions that are called where AVX-512 picks numbers from tables in registers, by name and dtype: as above
BY_TABLES: dict[tuple[str, str], tuple[Callable[..., Real], Precautions | None]] = {
    ("log", "f32"): (pieces.log, Precautions(*_POSITIVE)),
    ("log2", "f32"): (pieces.log2, Precautions(*_POSITIVE)),
    ("log10", "f32"): (pieces.log10, Precautions(*_POSITIVE)),
    ("log1p", "f32"): (pieces.log1p, Precautions(*_ABOVE_MINUS_ONE)),
    ("tanh", "f32"): (pieces.tanh, None),
    ("log", "f64"): (tables.log, Precautions(*_POSITIVE)),
    ("log2", "f64"): (tables.log2, Precautions(*_POSITIVE)),
    ("log10", "f64"): (tables.log10, Precautions(*_POSITIVE)),
    ("log1p", "f64"): (tables.log1p, Precautions(*_ABOVE_MINUS_ONE)),
    **{
        (name, dtype): (getattr(inverse_tables, name), precautions)
        for name, precautions in inverse_tables.PRECAUTIONS.items()
        for dtype in ("f32", "f64")
        if (name, dtype) != ("arctanh", "f32")  # its own formula has no logarithm for half of the numbers
    },
    **{("tan", dtype): (tangent.tan, None) for dtype in ("f32", "f64")},
    **{("cbrt", dtype): (tables.cbrt, Precautions(*_NORMAL)) for dtype in ("f32", "f64")},
}

#: functions of the C library (suffix ``f`` for f32) by NumPy's name
C_NAMES = {
    **{name: name for name in ("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "cbrt", "erf", "hypot", "pow")},
    **{name: name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "fmod")},
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
}


def emit_function(
    builder: ir.IRBuilder,
    name: str,
    dtype: str,
    operands: tuple[ir.Value, ...],
    is_alone: bool = False,
    lanes: int = 1,
) -> ir.Value:
    """Emit the function of `janusjit.ops.emitter.FUNCTIONS` called ``name`` on floats of ``dtype``.

    With more ``lanes`` than one, operands and result are vectors. Where it ``is_alone``, in no loop over elements,
    functions that are called are the C library's.
    """
    if is_alone and (name in SHARED or (dtype == "f32" and name in SHARED_F32)):
        return builder.call(library_function(builder.module, name, dtype, len(operands)), operands)
    shared = _shared(name, dtype, len(operands), is_alone)
    if shared is not None:
        return shared.emit_call(builder, operands) if lanes == 1 else shared.emit_vector_call(builder, operands, lanes)
    if name in FORMULAS and lanes > 1:
        return _formula(builder, name, dtype, operands, lanes)
    if name in FORMULAS:
        return builder.call(_inlined_function(builder.module, name, dtype, len(operands)), operands)
    function = library_function(builder.module, name, dtype, len(operands))
    return builder.call(function, operands) if lanes == 1 else _lane_by_lane(builder, function, operands, lanes)


def is_called(op: str, dtype: str) -> bool:
    """Return whether an operation on the elements of arrays takes calls of a function."""
    name = {"power": "pow"}.get(op, op)
    return name in C_NAMES and dtype in ("f32", "f64") and _shared(name, dtype, 1, False) is not None


def _shared(name: str, dtype: str, arity: int, is_alone: bool) -> SharedMath | None:
    """Return the function that is called, if one is."""
    known = None if is_alone else _known_by_tables(name, dtype)
    if known is None and dtype == "f32":
        known = SHARED_F32.get(name)
    if known is not None:
        formula, precautions = known
        _, is_regular = SHARED.get(name, (None, None))
        return SharedMath(name, dtype, arity, formula, is_regular, c_symbol(name, dtype), precautions=precautions)
    if name in FORMULAS or name not in SHARED:
        return None
    formula, is_regular = SHARED[name]
    return SharedMath(name, dtype, arity, formula, is_regular, c_symbol(name, dtype), PRECAUTIONS.get(name))


def _formula(
    builder: ir.IRBuilder, name: str, dtype: str, operands: Sequence[ir.Value], lanes: int
) -> ir.Value:
    code = FloatCode(builder, F64_FORMAT if dtype == "f64" else F32_FORMAT, lanes)
    return FORMULAS[name](code, *(Real(code, operand) for operand in operands)).value


def _lane_by_lane(
    builder: ir.IRBuilder, function: ir.Function, operands: Sequence[ir.Value], lanes: int
) -> ir.Value:
    """Emit a call of a function of scalars for each lane."""
    result: ir.Value = ir.Constant(operands[0].type, ir.Undefined)
    for lane in range(lanes):
        position = ir.Constant(I32, lane)
        element = builder.call(function, [builder.extract_element(operand, position) for operand in operands])
        result = builder.insert_element(result, element, position)
    return result


def _known_by_tables(name: str, dtype: str) -> tuple[Callable[..., Real], Precautions | None] | None:
    return BY_TABLES.get((name, dtype)) if engine.vector_bytes() == 64 else None


def _inlined_function(module: ir.Module, name: str, dtype: str, arity: int) -> ir.Function:
    symbol = f"janus.{name}.{dtype}"
    known = module.globals.get(symbol)
    if known is not None:
        return known
    type_ = register_type(dtype)
    function = ir.Function(module, ir.FunctionType(type_, [type_] * arity), symbol)
    function.linkage = "internal"
    for attribute in ("alwaysinline", "nounwind", "readnone"):
        function.attributes.add(attribute)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    builder.ret(_formula(builder, name, dtype, function.args, 1))
    return function


def c_symbol(name: str, dtype: str) -> str:
    """Return the C library's name for NumPy's function ``name``."""
    return C_NAMES[name] + ("f" if dtype == "f32" else "")


def library_function(module: ir.Module, name: str, dtype: str, arity: int) -> ir.Function:
    """Return the declaration of the C library's function for NumPy's function ``name``."""
    type_ = register_type(dtype)
    function = declare(module, c_symbol(name, dtype), type_, [type_] * arity)
    for attribute in ("nounwind", "readnone"):
        function.attributes.add(attribute)
    return function
