"""The text that modules are compiled from, and what is used again from module to module."""

import ctypes
import gc
import re
import sys
import weakref

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

import janusjit as jj
from janusjit.backend.llvm import engine, lanes, machine_code, module_parts
from janusjit.backend.llvm.module_text import text_of
from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api_shared import load_shared, shared, shared_address
from janusjit.backend.llvm.values import F64, I1, I32, I64, POINTER, VOID


def module_with_all_kinds(make_builder=PacedBuilder) -> ir.Module:
    """Return a module with instructions of all kinds that are written here, with flags and without."""
    module = engine.create_module("kinds")
    quoted = ir.Function(module, ir.FunctionType(VOID, [I64]), 'with "quotes" and \\')
    function = ir.Function(module, ir.FunctionType(F64, [POINTER, I64, F64]), "function")
    pointer, count, number = function.args
    entry, body, after = (function.append_basic_block(name) for name in ("entry", "body", "after"))
    builder = make_builder(entry)
    vector = lanes.splat(builder, number, ir.VectorType(F64, 8))
    total = builder.fadd(vector, vector, flags=("reassoc", "nsz"))
    total = builder.select(builder.fcmp_ordered("<", total, vector, flags=("nnan",)), total, vector)
    first = builder.extract_element(total, ir.Constant(I32, 0))
    builder.call(quoted, [count])
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    place = builder.gep(pointer, [index], inbounds=True, source_etype=F64)
    builder.store(builder.fmul(builder.load(place, typ=F64, align=8), first), place, align=8)
    builder.store(number, builder.gep(pointer, [count], source_etype=F64))
    following = builder.add(index, ir.Constant(I64, 1), flags=("nsw",))
    index.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, count), body, after).set_weights([9, 1])
    builder.position_at_end(after)
    root = ir.Function(module, ir.FunctionType(F64, [F64]), "llvm.sqrt.f64")
    builder.ret(builder.call(root, [builder.sitofp(builder.zext(ir.Constant(I1, 1), I64), F64)], fastmath=("fast",)))
    return module


def test_it_is_what_llvmlite_writes() -> None:
    module = module_with_all_kinds()
    mine, theirs = (str(llvm.parse_assembly(text)) for text in (text_of(module), str(module)))
    assert mine.count("\n") > 30 and mine.splitlines()[1:] == theirs.splitlines()[1:]


def test_values_without_a_name_are_numbered_in_order() -> None:
    text = text_of(module_with_all_kinds())
    defined = [int(number) for number in re.findall(r"^  %(\d+) = ", text, re.M)]
    assert "(ptr %0, i64 %1, double %2)" in text
    assert defined == list(range(3, 3 + len(defined))) and len(defined) > 10
    assert not re.search(r'^  .*%"\.', text, re.M)


def test_builders_with_pauses_emit_what_llvmlites_do() -> None:
    assert text_of(module_with_all_kinds()) == text_of(module_with_all_kinds(ir.IRBuilder))


def instructions_of_all_kinds(make_builder) -> tuple[str, list[ir.Value]]:
    """Return a module's text, and its values, of each method that makes instructions by itself here."""
    module = engine.create_module("all")
    wide = ir.VectorType(F64, 4)
    function = ir.Function(module, ir.FunctionType(VOID, [I64, I64, F64, F64, POINTER, wide]), "all")
    m, n, x, y, pointer, vector = function.args
    blocks = [function.append_basic_block(name) for name in ("first", "second", "third")]
    builder = make_builder(blocks[0])
    of_two = ("add", "sub", "mul", "and_", "or_", "xor", "shl", "lshr", "ashr")
    made = [getattr(builder, name)(m, n) for name in of_two]
    made += [getattr(builder, name)(x, y, flags=("nnan",)) for name in ("fadd", "fsub", "fmul", "fdiv")]
    narrow = builder.trunc(m, I32, "narrow")
    made += [narrow, builder.zext(narrow, I64), builder.sext(narrow, I64, "narrow"), builder.bitcast(m, F64)]
    made += [builder.ptrtoint(pointer, I64), builder.inttoptr(m, POINTER), builder.sitofp(m, F64), builder.zext(m, I64)]
    made += [builder.load(pointer, typ=I64, align=4), builder.load(pointer, "l", typ=F64)]
    made += [builder.store(m, pointer), builder.store(m, pointer, align=2)]
    made += [builder.gep(pointer, [m], source_etype=F64), builder.gep(pointer, [n], True, "place", F64)]
    made += [builder.icmp_signed(sign, m, n) for sign in ("==", "!=", "<", "<=", ">", ">=")]
    less = builder.icmp_unsigned("<", m, n, "less")
    made += [less, builder.fcmp_ordered("<", x, y)]
    made += [builder.fcmp_ordered("uno", x, y)]
    made += [builder.fcmp_ordered(">=", vector, vector), builder.fcmp_ordered("==", x, y, flags=("nnan",))]
    made += [builder.branch(blocks[1])]
    builder.position_at_end(blocks[1])
    phi = builder.phi(F64, "phi", flags=("nnan",))
    phi.add_incoming(x, blocks[0])
    made += [phi, builder.cbranch(less, blocks[1], blocks[2])]
    phi.add_incoming(y, blocks[1])
    builder.position_at_end(blocks[2])
    made.append(builder.ret_void())
    return text_of(module), made


def test_all_kinds_of_instructions_are_made_as_llvmlite_makes_them() -> None:
    (mine, made), (theirs, expected) = map(instructions_of_all_kinds, (PacedBuilder, ir.IRBuilder))
    assert mine == theirs and [one.type for one in made] == [one.type for one in expected]
    llvm.parse_assembly(mine).verify()
    for one, other in zip(made, expected, strict=True):
        assert type(one) is type(other) and vars(one).keys() >= vars(other).keys()


@pytest.mark.parametrize("make_builder", [ir.IRBuilder, PacedBuilder])
def test_operands_of_other_types_are_refused(make_builder) -> None:
    function = ir.Function(engine.create_module("refused"), ir.FunctionType(VOID, [I64, F64]), "function")
    builder = make_builder(function.append_basic_block())
    with pytest.raises(ValueError, match="Operands must be the same type"):
        builder.add(*function.args)
    with pytest.raises(TypeError, match="cannot load from value of type"):
        builder.load(function.args[0], typ=F64)
    with pytest.raises(TypeError, match="cannot store to value of type"):
        builder.store(*function.args)
    with pytest.raises(ValueError, match="invalid comparison"):
        builder.icmp_signed("is", function.args[0], function.args[0])


def test_an_instruction_takes_few_calls() -> None:
    function = ir.Function(engine.create_module("calls"), ir.FunctionType(VOID, [I64, POINTER]), "function")
    number, pointer = function.args

    def count_calls(make_builder) -> int:
        builder = make_builder(function.append_basic_block())
        events = []
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            builder.store(builder.add(number, number), builder.gep(pointer, [number], source_etype=I64))
        finally:
            sys.setprofile(None)
        return events.count("call")

    assert count_calls(PacedBuilder) < 0.7 * count_calls(ir.IRBuilder)


def test_names_are_given_as_llvmlite_gives_them() -> None:
    names = []
    for make_builder in (ir.IRBuilder, PacedBuilder):
        module = engine.create_module("names")
        function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "function")
        builder = make_builder(function.append_basic_block())
        values = [builder.add(*function.args, name=name) for name in ("", ".5", "", "sum", "", "sum", ".5", "", "")]
        names.append([*(value.name for value in values), builder.append_basic_block().name])
    assert names[0] == names[1] and len(set(names[0])) == len(names[0])


def test_blocks_are_not_named_after_those_they_lie_in() -> None:
    module = engine.create_module("nested")
    function = ir.Function(module, ir.FunctionType(I64, [I64]), "nested")
    builder = PacedBuilder(function.append_basic_block("entry"))
    (x,) = function.args

    def is_above(bound: int) -> ir.Value:
        return builder.icmp_signed(">", x, ir.Constant(I64, bound))

    with builder.if_then(is_above(0), likely=True):
        with builder.if_then(is_above(1)):
            with builder.if_else(is_above(2), likely=False) as (above, below):
                with above:
                    builder.ret(ir.Constant(I64, 3))
                with below:
                    builder.ret(ir.Constant(I64, 2))
            builder.unreachable()
        with builder.if_else(builder.icmp_signed("==", x, ir.Constant(I64, 7))) as (equal, other):
            with equal:
                builder.ret(ir.Constant(I64, 7))
            with other:
                pass
        builder.ret(ir.Constant(I64, 1))
    builder.ret(ir.Constant(I64, 0))
    loaded = engine.load(text_of(module))
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.function_address("nested"))
    assert [call(x) for x in (-5, 1, 2, 3, 9)] == [0, 1, 2, 3, 3]
    assert max(len(block.name) for block in function.blocks) < 10


@pytest.mark.parametrize("make_builder", [ir.IRBuilder, PacedBuilder])
def test_calls_with_other_arguments_are_refused(make_builder) -> None:
    module = engine.create_module("calls")
    callee = ir.Function(module, ir.FunctionType(I64, [I64, ir.VectorType(F64, 8)]), "callee")
    function = ir.Function(module, ir.FunctionType(I64, [I64, ir.VectorType(F64, 8)]), "function")
    builder = make_builder(function.append_basic_block())
    with pytest.raises(TypeError, match="Type of #2 arg mismatch"):
        builder.call(callee, [function.args[0], function.args[0]])
    with pytest.raises((TypeError, IndexError)):
        builder.call(callee, function.args[:1])
    assert builder.call(callee, function.args).type == I64


def test_what_has_been_compiled_is_let_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[weakref.ref[ir.Block]] = []
    load = engine.load

    def noted(module, *level):
        blocks.extend(weakref.ref(block) for function in module.functions for block in function.blocks)
        return load(module, *level)

    monkeypatch.setattr(engine, "load", noted)

    @jj.jit(background=False)
    def program(x):
        return np.tanh(x) @ x.T + x.sum(axis=1)

    x = np.linspace(-1, 1, 30).reshape(6, 5)
    gc.disable()
    try:
        for _ in range(4):
            np.testing.assert_allclose(program(x), np.tanh(x) @ x.T + x.sum(axis=1), rtol=1e-12)
        left = sum(block() is not None for block in blocks)
    finally:
        gc.enable()
    assert program.stats.graph_calls == 2 and len(blocks) > 20 and left < len(blocks) / 10


def test_target_machines_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "define i64 @f(i64 %x) {{\n  %y = mul i64 %x, {}\n  ret i64 %y\n}}\n"
    engine.load(source.format(2))
    made = []
    create = engine.create_target_machine
    monkeypatch.setattr(engine, "create_target_machine", lambda *level: made.append(level) or create(*level))
    loaded = [engine.load(source.format(factor)) for factor in (3, 5)]
    results = [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(one.function_address("f"))(7) for one in loaded]
    assert results == [21, 35] and made == []


def test_parts_take_turns_with_target_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "_thread_count", lambda parts: 1)
    monkeypatch.setattr(module_parts, "LINES_A_PART", 1)
    made: list[int] = []
    create = engine.create_target_machine
    machines = machine_code.TargetMachines(lambda level: made.append(level) or create(level))
    monkeypatch.setattr(engine, "MACHINES", machines)
    text = "".join(f"define i64 @f{n}(i64 %x) {{\n  %y = mul i64 %x, {n}\n  ret i64 %y\n}}\n" for n in range(2, 7))
    assert len(module_parts.parts_of(text)) == 5
    loaded = engine.load(text)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    assert [call(loaded.function_address(f"f{n}"))(7) for n in range(2, 7)] == [14, 21, 28, 35, 42] and made == [2]


def test_engines_have_no_module_to_make_code_of() -> None:
    loaded = engine.load("define i64 @f() {\n  ret i64 17\n}\n")
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(loaded.function_address("f"))() == 17 and not loaded._engine._modules


def test_shared_functions_that_are_hot_are_compiled_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(factor: int):
        def emit(api, function: ir.Function) -> None:
            builder = ir.IRBuilder(function.append_basic_block("entry"))
            builder.ret(builder.mul(function.args[0], ir.Constant(I64, factor)))

        emit.__name__ = f"_times_{factor}"
        return shared(I64, I64, is_hot=True)(emit)

    modules = []
    load = engine.load
    monkeypatch.setattr(engine, "load", lambda module: modules.append(module) or load(module))
    functions = [times(factor) for factor in (2, 3)]
    load_shared({function.symbol for function in functions})
    assert len(modules) == 1
    addresses = [shared_address(function) for function in functions]
    assert [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(one)(7) for one in addresses] == [14, 21]
