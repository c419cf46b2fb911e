"""Transcendental functions of floats in compiled code.

Owns `emit_function`. Invariant: within 2 ULP of the true value over the whole domain of ``f32`` and ``f64``, NumPy's
special values.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm.values import declare, register_type

#: functions of the C library (suffix ``f`` for f32) by NumPy's name
C_NAMES = {
    **{name: name for name in ("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "cbrt", "hypot", "pow")},
    **{name: name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
}


def emit_function(builder: ir.IRBuilder, name: str, dtype: str, operands: tuple[ir.Value, ...]) -> ir.Value:
    """Emit the function of `janusjit.ops.emitter.FUNCTIONS` called ``name`` on floats of ``dtype``."""
    if name == "fmod":
        return builder.frem(*operands)
    if name == "logaddexp":
        raise NotImplementedError(name)
    return builder.call(library_function(builder.module, name, dtype, len(operands)), operands)


def library_function(module: ir.Module, name: str, dtype: str, arity: int) -> ir.Function:
    """Return the declaration of the C library's function for NumPy's function ``name``."""
    type_ = register_type(dtype)
    function = declare(module, C_NAMES[name] + ("f" if dtype == "f32" else ""), type_, [type_] * arity)
    for attribute in ("nounwind", "readnone"):
        function.attributes.add(attribute)
    return function
