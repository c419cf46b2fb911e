"""The LLVM engine and the C API declarations."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir

from janusjit.backend.llvm import engine, python_api
from janusjit.backend.llvm import python_api_layout as layout
from janusjit.errors import CompileError

DOUBLE = ir.DoubleType()
I64 = ir.IntType(64)


def add_module(name: str = "add") -> ir.Module:
    module = engine.create_module(name)
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "add")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.add(*function.args))
    return module


def test_a_module_is_compiled_and_can_be_called() -> None:
    loaded = engine.load(add_module())
    add = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(loaded.function_address("add"))
    assert add(2, 40) == 42
    assert "define" in loaded.llvm_ir
    assert "add:" in loaded.assembly
    assert loaded.times.total > 0


def test_two_modules_with_one_name_do_not_meet() -> None:
    first, second = engine.load(add_module()), engine.load(add_module())
    assert first.function_address("add") != second.function_address("add")


def test_a_malformed_module_is_refused() -> None:
    with pytest.raises(CompileError) as error:
        engine.load("define i64 @f() { ret i32 0 }")
    assert error.value.code == "backend.llvm"


def test_a_call_of_an_unknown_function_is_refused() -> None:
    with pytest.raises(CompileError, match="janusjit_nowhere"):
        engine.load("declare void @janusjit_nowhere() define void @f() { call void @janusjit_nowhere() ret void }")


def test_loops_are_vectorised_as_wide_as_the_machine_allows() -> None:
    source = """
    define void @scale(ptr noalias %x, ptr noalias %y) {
    entry:
      br label %loop
    loop:
      %i = phi i64 [ 0, %entry ], [ %n, %loop ]
      %p = getelementptr float, ptr %x, i64 %i
      %q = getelementptr float, ptr %y, i64 %i
      %v = load float, ptr %p
      %w = fmul float %v, 3.0
      store float %w, ptr %q
      %n = add i64 %i, 1
      %more = icmp ult i64 %n, 4096
      br i1 %more, label %loop, label %done
    done:
      ret void
    }
    """
    triple, _, _ = engine.host_target()
    loaded = engine.load(f'target triple = "{triple}"\ntarget datalayout = "{engine.data_layout()}"\n' + source)
    widths = [int(width) for width in re.findall(r"<(\d+) x float>", loaded.llvm_ir)]
    assert max(widths) * 4 == engine.vector_bytes()


def test_symbols_stand_for_one_address() -> None:
    engine.register_symbol("janusjit_test_symbol", 4096)
    engine.register_symbol("janusjit_test_symbol", 4096)
    with pytest.raises(ValueError, match="already"):
        engine.register_symbol("janusjit_test_symbol", 8192)
    with pytest.raises(ValueError, match="no address"):
        engine.register_symbol("janusjit_test_null", 0)


def test_this_interpreter_is_supported() -> None:
    assert layout.unsupported_reason() is None


@pytest.mark.parametrize("name", layout._PROBES)
def test_a_layout_that_differs_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.unsupported_reason.cache_clear()
    monkeypatch.setitem(layout._PROBES, name, lambda: False)
    with pytest.raises(CompileError, match=name) as error:
        layout.require_supported()
    assert error.value.code == "environment.interpreter"
    layout.unsupported_reason.cache_clear()


@pytest.mark.parametrize(
    ("offset", "probe"),
    [
        ("LIST_ITEMS", "lists and tuples"),
        ("TUPLE_ITEMS", "lists and tuples"),
        ("DICT_USED", "dicts and sets"),
        ("SET_USED", "dicts and sets"),
        ("CELL_CONTENTS", "closure cells"),
        ("INT_DIGITS", "ints"),
        ("ARRAY_DESCR", "NumPy arrays"),
        ("ARRAY_BASE", "NumPy arrays"),
        ("ARRAY_FLAGS", "NumPy arrays"),
        ("NUMPY_SCALAR_VALUE", "NumPy scalars"),
        ("TYPE_NEW", "types"),
    ],
)
def test_probes_notice_a_wrong_offset(offset: str, probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert layout._PROBES[probe]()
    monkeypatch.setattr(layout, offset, getattr(layout, offset) - 8)
    if offset.endswith("ITEMS"):
        monkeypatch.setattr(layout, offset, 8)
    assert not layout._PROBES[probe]()


def test_numpy_function_indices_are_those_of_its_header() -> None:
    header = Path(np.get_include(), "numpy", "__multiarray_api.h").read_text()
    for name, (index, _, _) in python_api._NUMPY_FUNCTIONS.items():
        found = re.search(rf"#define {name} \\\n.*\\\n\s*PyArray_API\[(\d+)\]", header)
        assert found is not None and int(found.group(1)) == index, name


def test_every_declared_function_exists() -> None:
    for name in (*python_api._PYTHON_FUNCTIONS, *python_api._NUMPY_FUNCTIONS):
        assert python_api._prototype(name)[2], name
