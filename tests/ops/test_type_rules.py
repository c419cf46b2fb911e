"""Type rules on symbolic dimensions, and their refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from janusjit.ir.dims import Dim, symbol
from janusjit.ir.types import TensorType
from janusjit.ops import OPS
from janusjit.ops.indexing import NewAxis, Operand, PathStep, Pick, Range
from janusjit.ops.type_rules import TypeRuleError, broadcast_shapes, loop_dtypes

N, M = symbol("n"), symbol("m")
C = symbol("c", 0)


def f64(*shape: Dim) -> TensorType:
    return TensorType("f64", shape)


INDEX = TensorType("i64")


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "shape"),
    [
        ("add", (f64(N, 3), f64(3)), {}, (N, 3)),
        ("add", (f64(N, 1), f64(1, M)), {}, (N, M)),
        ("multiply", (f64(N, 3), f64()), {}, (N, 3)),
        ("matmul", (f64(N, 3), f64(3, M)), {}, (N, M)),
        ("matmul", (f64(N), f64(N)), {}, ()),
        ("sum", (f64(N, 3),), {"axes": (0,), "keepdims": True}, (1, 3)),
        ("sum", (f64(C, 3),), {"axes": (0,), "keepdims": False}, (3,)),
        ("transpose", (f64(N, 3),), {"axes": (1, 0)}, (3, N)),
        ("reshape", (f64(N, 28, 28),), {"shape": (N, 784)}, (N, 784)),
        ("reshape", (f64(N),), {"shape": (N // 4, 4)}, (N // 4, 4)),
        ("broadcast", (f64(3),), {"shape": (N, 3)}, (N, 3)),
        ("concatenate", (f64(N, 3), f64(M, 3)), {"axis": 0}, (N + M, 3)),
        ("view", (f64(N, 3),), {"index": (Range(1, N - 1), Pick(0), NewAxis())}, (N - 1, 1)),
        ("view", (f64(N, 3), INDEX), {"index": (Pick(Operand(0)), Range(0, 3))}, (3,)),
        ("update", (f64(N, 3), f64(3)), {"path": (PathStep.of("view", index=(Range(0, N), Range(0, 3))),)}, (N, 3)),
        ("repeat", (f64(N),), {"repeats": 3, "axis": 0}, (3 * N,)),
        ("pad", (f64(N), f64()), {"widths": ((1, 2),)}, (N + 3,)),
        ("take", (f64(5, 3), TensorType("i64", (N,))), {"axis": 0}, (N, 3)),
        ("linalg.solve", (f64(N, N), f64(N)), {}, (N,)),
        ("full", (f64(),), {"shape": (N, M)}, (N, M)),
        ("einsum", (f64(N, 3), f64(3, M)), {"subscripts": "ij,jk->ik"}, (N, M)),
        ("diag", (f64(N),), {"k": -1}, (N + 1, N + 1)),
    ],
)
def test_shapes_with_symbols(
    op: str, inputs: tuple[TensorType, ...], attributes: dict[str, Any], shape: tuple[Dim, ...]
) -> None:
    (result,) = OPS[op].infer(inputs, attributes)
    assert result.shape == shape


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("add", (f64(N), f64(M)), {}),
        ("add", (f64(N), f64(3)), {}),
        ("add", (f64(3), TensorType("f32", (3,))), {}),
        ("add", (f64(3),), {}),
        ("sqrt", (TensorType("i64", (3,)),), {}),
        ("subtract", (TensorType("bool"), TensorType("bool")), {}),
        ("power", (TensorType("i64"), TensorType("i64")), {}),
        ("where", (f64(3), f64(3), f64(3)), {}),
        ("clip", (f64(3), f64(3), f64()), {}),
        ("matmul", (f64(N, 3), f64(4, M)), {}),
        ("matmul", (f64(), f64(3)), {}),
        ("sum", (TensorType("bool", (3,)),), {"axes": (0,), "keepdims": False}),
        ("sum", (f64(3),), {"axes": (1,), "keepdims": False}),
        ("max", (f64(3, 0),), {"axes": (1,), "keepdims": False}),
        ("transpose", (f64(3, 4),), {"axes": (1,)}),
        ("reshape", (f64(3, 4),), {"shape": (5,)}),
        ("broadcast", (f64(N),), {"shape": (3,)}),
        ("concatenate", (f64(N, 3), f64(M, 4)), {"axis": 0}),
        ("view", (f64(3),), {"index": ()}),
        ("view", (f64(3),), {"index": (Range(1, 3),)}),
        ("view", (f64(3),), {"index": (Range(2, 3, -2),)}),
        ("view", (f64(3),), {"index": (Pick(3),)}),
        ("view", (f64(3),), {"index": (Pick(Operand(0)),)}),
        ("view", (f64(3), TensorType("i32")), {"index": (Pick(Operand(0)),)}),
        ("update", (f64(3), f64(2)), {"path": ()}),
        ("update", (f64(3), TensorType("f32", (3,))), {"path": ()}),
        ("update", (f64(3), f64(), INDEX), {"path": ()}),
        ("update", (f64(3), f64()), {"path": (PathStep.of("add"),)}),
        ("gather", (f64(3, 4), INDEX), {"axes": (0, 1)}),
        ("compress", (f64(3), TensorType("bool", (4,))), {"symbol": None}),
        ("pad", (f64(C), f64()), {"widths": ((1, 2),)}),
        ("diagonal", (f64(N, M),), {"offset": 0, "axis1": 0, "axis2": 1}),
        ("linalg.inv", (f64(3, 4),), {}),
        ("linalg.inv", (TensorType("i64", (3, 3)),), {}),
        ("einsum", (f64(3),), {"subscripts": "i"}),
        ("einsum", (f64(3), f64(4)), {"subscripts": "i,i->"}),
    ],
)
def test_refusals(op: str, inputs: tuple[TensorType, ...], attributes: dict[str, Any]) -> None:
    with pytest.raises(TypeRuleError):
        OPS[op].infer(inputs, attributes)


def test_broadcasting_is_numpys_on_ints() -> None:
    for shapes in (((2, 3), (3,)), ((0, 1), (4,)), ((), (1,)), ((5, 1, 2), (3, 1)), ()):
        assert broadcast_shapes(*shapes) == np.broadcast_shapes(*shapes)


def test_loops_follow_nep_50() -> None:
    assert loop_dtypes(np.add, ("f32", float)) == ("f32", "f32", "f32")
    assert loop_dtypes(np.add, ("f32", "f64")) == ("f64", "f64", "f64")
    assert loop_dtypes(np.add, ("u8", int)) == ("u8", "u8", "u8")
    assert loop_dtypes(np.divide, ("i64", int)) == ("f64", "f64", "f64")
    assert loop_dtypes(np.less, ("i64", "u64")) == ("i64", "u64", "bool")
    with pytest.raises(TypeRuleError, match="float16"):
        loop_dtypes(np.sqrt, ("i8",))
    with pytest.raises(TypeRuleError, match="not defined"):
        loop_dtypes(np.subtract, ("bool", "bool"))


def test_what_may_fail() -> None:
    axes = {"axes": (0,), "keepdims": False}
    assert OPS["max"].may_fail((f64(C),), axes)
    assert not OPS["max"].may_fail((f64(N),), axes)
    assert not OPS["max"].may_fail((f64(C, 3),), {"axes": (1,), "keepdims": False})
    assert OPS["take"].may_fail((f64(3), INDEX), {"axis": 0})
    assert not OPS["add"].may_fail((f64(), f64()), {})
    mask = TensorType("bool", (3,))
    assert OPS["update_mask"].may_fail((f64(3), mask, f64(N)), {})
    assert not OPS["update_mask"].may_fail((f64(3), mask, f64()), {})
