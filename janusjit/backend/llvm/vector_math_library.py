"""Mathematical functions that compiled code calls, in a scalar and a vector version.

Owns `SharedMath`. Such functions are too long to be inlined, or have a rare case that takes a branch, which the loop
vectoriser would not allow inside a loop: it is told instead that a vector version of the scalar function exists.
Invariant: a function is compiled once in a process, at its first use, and never unloaded; both versions give the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import I32, POINTER, declare, item_size, register_type
from janusjit.backend.llvm.vector_math_code import F32_FORMAT, F64_FORMAT, ConstantPool, FloatCode, Real, Truth

Formula = Callable[..., Real]


def _unchanged(code: FloatCode, result: Real, *operands: Real) -> Real:
    return result


@dataclass(frozen=True, slots=True)
class Precautions:
    """What a formula needs for operands that are not the usual ones, and which takes a branch that is rarely taken.

    Attributes
    ----------
    is_common : callable
        ``is_common(code, *operands)``: where the formula holds for the operands as they are.
    prepared : callable
        ``prepared(code, *operands)`` gives operands for which it holds; where ``is_common``, the same ones.
    finished : callable
        ``finished(code, result, *operands)`` then gives the result; where ``is_common``, ``result`` itself.
    """

    is_common: Callable[..., Truth]
    prepared: Callable[..., tuple[Real, ...]]
    finished: Callable[..., Real] = _unchanged

_KEPT_SYMBOLS = "llvm.compiler.used"


@dataclass(frozen=True, slots=True)
class SharedMath:
    """A mathematical function.

    Attributes
    ----------
    name, dtype : str
        NumPy's name, and ``f32`` or ``f64``.
    arity : int
        Number of operands.
    formula : callable
        ``formula(code, *operands)``.
    is_regular : callable or None
        ``is_regular(code, *operands)``: where it is false the C library's function is called instead of the formula.
    c_name : str
        That function.
    precautions : Precautions or None
        What is done where not all operands are the usual ones.
    """

    name: str
    dtype: str
    arity: int
    formula: Formula
    is_regular: Callable[..., Truth] | None
    c_name: str
    precautions: Precautions | None = None

    @property
    def symbol(self) -> str:
        """The scalar version's symbol."""
        return f"janusjit_math_{self.name}_{self.dtype}"

    @property
    def lanes(self) -> int:
        """The number of elements the vector version takes: a register's."""
        return engine.vector_bytes() // item_size(self.dtype)

    @property
    def vector_symbol(self) -> str:
        """The vector version's symbol."""
        return f"{HANDWRITTEN}{self.name}_{self.dtype}_v{self.lanes}"

    def emit_call(self, builder: ir.IRBuilder, operands: Sequence[ir.Value]) -> ir.Value:
        """Emit a call of the scalar version, which the loop vectoriser may turn into one of the vector version."""
        load_once((self.symbol,), lambda module: self._emit_body(self._declare(module, self.symbol, 1), 1))
        function = self._declare(builder.module, self.symbol, 1)
        load_once((self.vector_symbol,), self._emit_vector_version)
        vector = self._declare(builder.module, self.vector_symbol, self.lanes)
        _keep(builder.module, vector)
        call = builder.call(function, operands)
        variant = f"_ZGV_LLVM_N{self.lanes}{'v' * self.arity}_{self.symbol}({self.vector_symbol})"
        _add_attribute(call.attributes, f'"vector-function-abi-variant"="{variant}"')
        return call

    def emit_vector_call(self, builder: ir.IRBuilder, operands: Sequence[ir.Value], lanes: int) -> ir.Value:
        """Emit the function of ``lanes`` elements, by calls of the vector version."""
        load_once((self.vector_symbol,), self._emit_vector_version)
        function = self._declare(builder.module, self.vector_symbol, self.lanes)
        if lanes == self.lanes:
            return builder.call(function, operands)
        if lanes < self.lanes:  # what fills the vector up are copies, of which nothing new can be said
            filled = [self._shuffled(builder, x, [lane % lanes for lane in range(self.lanes)]) for x in operands]
            return self._shuffled(builder, builder.call(function, filled), range(lanes))
        parts = [
            builder.call(
                function, [self._shuffled(builder, x, range(first, first + self.lanes)) for x in operands]
            )
            for first in range(0, lanes, self.lanes)
        ]
        while len(parts) > 1:
            width = 2 * parts[0].type.count
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self._shuffled(builder, one, range(width), other) for one, other in pairs]
        return parts[0]

    @staticmethod
    def _shuffled(
        builder: ir.IRBuilder, x: ir.Value, lanes: Sequence[int], other: ir.Value | None = None
    ) -> ir.Value:
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined) if other is None else other, mask)

    def _declare(self, module: ir.Module, symbol: str, lanes: int) -> ir.Function:
        type_ = register_type(self.dtype) if lanes == 1 else ir.VectorType(register_type(self.dtype), lanes)
        function = declare(module, symbol, type_, [type_] * self.arity)
        for attribute in ("nounwind", "readnone", "willreturn"):
            _add_attribute(function.attributes, attribute)
        return function

    def _emit_vector_version(self, module: ir.Module) -> None:
        self._emit_body(self._declare(module, self.vector_symbol, self.lanes), self.lanes)

    def _emit_body(self, function: ir.Function, lanes: int) -> None:
        builder = PacedBuilder(function.append_basic_block("entry"))
        precision = F64_FORMAT if self.dtype == "f64" else F32_FORMAT
        pool = ConstantPool(builder.module, precision, lanes) if lanes > 1 else None
        self._emit_instructions(FloatCode(builder, precision, lanes, pool))
        if pool is not None:
            pool.finish()

    def _emit_instructions(self, code: FloatCode) -> None:
        builder, function = code.builder, code.builder.function
        operands = [Real(code, argument) for argument in function.args]
        if self.precautions is not None:
            self._emit_with_precautions(code, operands, self.precautions)
            return
        regular = None if self.is_regular is None else self.is_regular(code, *operands)
        if regular is not None:
            operands = _sanitized(code, operands, regular)
        result = self.formula(code, *operands).value
        if regular is not None:
            self._return_library_where_needed(builder, function.args, result, regular)
        builder.ret(result)

    def _emit_with_precautions(self, code: FloatCode, operands: list[Real], precautions: Precautions) -> None:
        """Emit the formula once, between two branches to what it needs for operands that are not the usual ones."""
        builder, function = code.builder, code.builder.function
        common = _all(builder, precautions.is_common(code, *operands))
        before = builder.block
        rare, main, last, usual = (function.append_basic_block(name) for name in ("rare", "main", "last", "usual"))
        weights = (99, 1)
        builder.cbranch(common, main, rare).set_weights(weights)
        builder.position_at_end(rare)
        usable = operands
        if self.is_regular is not None:
            usable = _sanitized(code, operands, self.is_regular(code, *operands))
        ready = precautions.prepared(code, *usable)
        builder.branch(main)
        builder.position_at_end(main)
        merged = [_merged(code, (x, before), (other, rare)) for x, other in zip(operands, ready, strict=True)]
        result = self.formula(code, *merged)
        builder.cbranch(common, usual, last).set_weights(weights)
        builder.position_at_end(usual)
        builder.ret(result.value)
        builder.position_at_end(last)
        finished = precautions.finished(code, result, *operands).value
        if self.is_regular is not None:
            regular = self.is_regular(code, *operands)
            self._return_library_where_needed(builder, function.args, finished, regular)
        builder.ret(finished)

    def _return_library_where_needed(
        self, builder: ir.IRBuilder, operands: Sequence[ir.Value], result: ir.Value, regular: Truth
    ) -> None:
        with builder.if_then(builder.not_(_all(builder, regular)), likely=False):
            builder.ret(self._with_library(builder, operands, result, regular))

    def _with_library(
        self, builder: ir.IRBuilder, operands: Sequence[ir.Value], result: ir.Value, regular: Truth
    ) -> ir.Value:
        """Emit the C library's result for the elements for which the formula does not hold."""
        type_ = register_type(self.dtype)
        function = declare(builder.module, self.c_name, type_, [type_] * self.arity)
        if regular.code.lanes == 1:
            return builder.call(function, operands)
        slot = builder.alloca(result.type)
        builder.store(result, slot)
        for lane in range(regular.code.lanes):
            position = ir.Constant(I32, lane)
            kept = builder.extract_element(regular.value, position)
            with builder.if_then(builder.not_(kept)):
                value = builder.call(function, [builder.extract_element(x, position) for x in operands])
                builder.store(builder.insert_element(builder.load(slot), value, position), slot)
        return builder.load(slot)


def _sanitized(code: FloatCode, operands: list[Real], regular: Truth) -> list[Real]:
    """Return 1 for operands for which the formula does not hold: what it does with them may raise flags."""
    return [code.select(regular, x, 1.0) for x in operands]


def _merged(code: FloatCode, *alternatives: tuple[Real, ir.Block]) -> Real:
    """Return the number that is given with the block one comes from."""
    value = code.builder.phi(code.real_type)
    for number, block in alternatives:
        value.add_incoming(number.value, block)
    return Real(code, value)


def _all(builder: ir.IRBuilder, truth: Truth) -> ir.Value:
    lanes = truth.code.lanes
    if lanes == 1:
        return truth.value
    bits = ir.IntType(lanes)
    return builder.icmp_unsigned("==", builder.bitcast(truth.value, bits), ir.Constant(bits, (1 << lanes) - 1))


def _add_attribute(attributes: set[str], attribute: str) -> None:
    """Add an attribute that llvmlite does not know of."""
    set.add(attributes, attribute)


def _keep(module: ir.Module, function: ir.Function) -> None:
    """Keep an unused declaration until the loops are vectorised."""
    known = module.globals.get(_KEPT_SYMBOLS)
    names = list(known.initializer.constant) if known is not None else []
    if any(name is function for name in names):
        return
    names.append(function)
    type_ = ir.ArrayType(POINTER, len(names))
    kept = known if known is not None else ir.GlobalVariable(module, type_, _KEPT_SYMBOLS)
    kept.linkage, kept.section = "appending", "llvm.metadata"
    kept.value_type = type_
    kept.initializer = ir.Constant(type_, names)
