"""Transcendental functions: error in ULP against extended precision over the whole domain, and special values."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform

import mpmath
import numpy as np
import pytest
import scipy.special

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.values import Scalar
from janusjit.backend.llvm.vector_math import BY_TABLES, FORMULAS, SHARED, SHARED_F32
from janusjit.backend.llvm.vector_math_code import F32_FORMAT, F64_FORMAT, FloatCode, Real
from janusjit.ir.types import DTYPES
from janusjit.ops.emitter import FUNCTIONS
from tests.backend.kernel_harness import ElementwiseKernel


def erf(x: np.ndarray) -> np.ndarray:
    """SciPy's function, and for extended precision mpmath's."""
    if x.dtype != np.longdouble:
        return scipy.special.erf(x)
    with mpmath.workprec(80):
        exact = np.array([np.longdouble(str(mpmath.erf(float(one)))) for one in x.ravel()]).reshape(x.shape)
    return np.copysign(exact, x)  # mpmath has one zero


NUMPY = {name: {"pow": np.power, "erf": erf}.get(name) or getattr(np, name) for name in FUNCTIONS}
EVERYWHERE = ["exp", "log", "log2", "log10", "log1p", "cbrt", "tanh", "sin", "cos", "tan", "erf"]
EVERYWHERE += ["arcsinh", "arccosh", "arctanh"]
INVALID, DIVIDE_BY_ZERO, OVERFLOW = 0x01, 0x04, 0x08  # of x86's flags

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs an extended-precision reference")


def kernel(name: str, dtype: str) -> ElementwiseKernel:
    return ElementwiseKernel(lambda e, *x: e.call(name, *x), (dtype,) * FUNCTIONS[name])


def special_values(dtype: str) -> np.ndarray:
    limits = np.finfo(DTYPES[dtype])
    positive = [0.0, limits.smallest_subnormal, 3 * limits.tiny / 4, limits.tiny, limits.eps, limits.max, np.inf]
    positive += [0.25, 0.5, np.sqrt(0.5), 1, np.sqrt(2), 2, 3, 3.5, 4, 20, 22, 37, 88.73, 104, 709.79, 745.2, 1e6, 1e15]
    return np.array([*positive, *(-x for x in positive), np.nan], DTYPES[dtype])


def sample(dtype: str, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return random bit patterns, uniform numbers of several ranges, and numbers near 0 and 1."""
    numpy_dtype = DTYPES[dtype]
    patterns = np.frombuffer(generator.bytes(count * numpy_dtype.itemsize), numpy_dtype)
    uniform = [generator.uniform(-bound, bound, count) for bound in (1.5, 12, 120, 800)]
    near_one = 1 + generator.uniform(-0.01, 0.01, count)
    near_zero = generator.uniform(-1, 1, count) * 10.0 ** generator.uniform(-12, 0, count)
    return np.concatenate([patterns, *(part.astype(numpy_dtype) for part in (*uniform, near_one, near_zero))])


def error_in_ulp(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the distance of finite results from the exact values in units of the results' last place."""
    limits = np.finfo(got.dtype)
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), np.longdouble(limits.tiny))))
    with np.errstate(all="ignore"):
        return np.abs(got.astype(np.longdouble) - exact) / np.exp2(exponent - limits.nmant)


def assert_accurate(name: str, operands: list[np.ndarray], got: np.ndarray, bound: float) -> None:
    with np.errstate(all="ignore"):
        exact = np.asarray(NUMPY[name](*[x.astype(np.longdouble) for x in operands]))
        rounded = exact.astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    # a result at the edge of the range may round to infinity or to the largest number
    largest = np.finfo(got.dtype).max
    regular = np.isfinite(rounded) & np.isfinite(got)
    clipped = [np.clip(x, -largest, largest)[~regular] for x in (got, rounded)]
    np.testing.assert_array_equal(*clipped)
    np.testing.assert_array_equal(np.signbit(got[exact == 0]), np.signbit(exact[exact == 0]))
    with np.errstate(all="ignore"):
        error = np.where(regular, error_in_ulp(got, exact), 0)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, [x[worst] for x in operands]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("fmod", "logaddexp")])
def test_within_two_ulp(name: str, dtype: str) -> None:
    generator = np.random.default_rng(7)
    values = np.concatenate([special_values(dtype), sample(dtype, 30_000, generator)])
    operands = [values, *(generator.permutation(values) for _ in range(FUNCTIONS[name] - 1))]
    assert_accurate(name, operands, kernel(name, dtype)(*operands), 2.0)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_so_many_numbers_of_32_bits(name: str) -> None:
    patterns = np.arange(np.random.default_rng(1).integers(997), 2**32, 997, dtype=np.uint64).astype(np.uint32)
    for x in np.array_split(patterns.view(np.float32), 8):
        with np.errstate(all="ignore"):
            exact = NUMPY[name](x.astype(np.float64))  # 29 bits more than are looked at
            got = kernel(name, "f32")(x)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
            regular = np.isfinite(exact.astype(np.float32)) & np.isfinite(got)
            np.testing.assert_array_equal(got[~regular], exact.astype(np.float32)[~regular])
            assert error_in_ulp(got[regular], exact[regular]).max(initial=0) <= 2.0


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if FUNCTIONS[name] == 2 and name != "logaddexp"])
def test_special_pairs(name: str, dtype: str) -> None:
    operands = [np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(special_values(dtype), special_values(dtype))]
    got = kernel(name, dtype)(*operands)
    if name == "fmod":
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, np.fmod(*operands))
    else:
        assert_accurate(name, operands, got, 2.0)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_logaddexp_is_as_good_as_numpy(dtype: str) -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([special_values(dtype), sample(dtype, 5000, generator)])
    operands = [values, generator.permutation(values)]
    got = kernel("logaddexp", dtype)(*operands)
    with np.errstate(all="ignore"):
        want = np.logaddexp(*operands)
    scale = np.maximum(np.abs(want), 1)  # where the terms cancel, the error is that of the larger one
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    regular = np.isfinite(want)
    np.testing.assert_array_equal(got[~regular], want[~regular])
    assert (np.abs(got[regular] - want[regular]) <= 4 * np.finfo(got.dtype).eps * scale[regular]).all()


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", ["exp", "exp2"])
def test_within_two_ulp_without_an_instruction_that_scales(name: str, dtype: str) -> None:
    def rule(emitter: LLVMScalarEmitter, x: Scalar) -> Scalar:
        code = FloatCode(emitter.builder, F64_FORMAT if dtype == "f64" else F32_FORMAT)
        code.has_scale_instruction = False
        return Scalar(dtype, FORMULAS[name](code, Real(code, x.value)).value)

    values = np.concatenate([special_values(dtype), sample(dtype, 20_000, np.random.default_rng(2))])
    assert_accurate(name, [values], ElementwiseKernel(rule, (dtype,))(values), 2.0)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (n, d)
        for n in sorted(FORMULAS)
        for d in ("f32", "f64")
        if (n, d) not in BY_TABLES and (d == "f64" or n not in SHARED_F32)
    ],
)
def test_loops_are_vectorised(name: str, dtype: str) -> None:
    register = {16: "xmm", 32: "ymm", 64: "zmm"}[engine.vector_bytes()]
    packed = "mulps" if dtype == "f32" else "mulpd"
    lines = kernel(name, dtype).module.assembly.splitlines()
    assert any(packed in line and register in line for line in lines)


@pytest.mark.parametrize(
    ("name", "dtype"), [*((n, d) for n in sorted(SHARED) for d in ("f32", "f64")), *((n, "f32") for n in SHARED_F32)]
)
def test_loops_call_the_vector_version(name: str, dtype: str) -> None:
    lanes = engine.vector_bytes() // DTYPES[dtype].itemsize
    vectorized = kernel(name, dtype).module.llvm_ir.partition("vector.body")[2]
    assert f"janusjit_handwritten.{name}_{dtype}_v{lanes}" in vectorized


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_value_has_one_result_wherever_it_stands(name: str, dtype: str) -> None:
    generator = np.random.default_rng(11)
    operands = [sample(dtype, 40, generator) for _ in range(FUNCTIONS[name])]
    run = kernel(name, dtype)
    whole = run(*operands)
    single = np.array([run(*[x[i : i + 1] for x in operands])[0] for i in range(whole.size)])
    np.testing.assert_array_equal(whole, single)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86's flags")
@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", [name for name in sorted(FUNCTIONS) if FUNCTIONS[name] == 1])
def test_floating_point_flags_are_those_numpy_warns_of(name: str, dtype: str, count: int) -> None:
    c_library = ctypes.CDLL(ctypes.util.find_library("m"))
    run, out = kernel(name, dtype), np.empty(count, DTYPES[dtype])
    for value in special_values(dtype):
        if not np.isfinite(value):
            continue  # LLVM's vector comparisons of NaN, and what infinity is clamped to, raise flags of their own
        x = np.full(count, value)
        wanted = 0
        for word, flag in (("invalid", INVALID), ("divide", DIVIDE_BY_ZERO), ("over", OVERFLOW)):
            try:
                with np.errstate(**{"all": "ignore", word: "raise"}):
                    NUMPY[name](x)
            except FloatingPointError:
                wanted |= flag
        c_library.feclearexcept(0x3F)
        run.run(x, out)
        raised = c_library.fetestexcept(INVALID | DIVIDE_BY_ZERO | OVERFLOW)
        c_library.feclearexcept(0x3F)
        assert raised & wanted == wanted, value
        if not wanted and abs(value) < 1e30:
            assert not raised, value


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", ["arcsin", "arccos", "arcsinh", "arccosh", "arctanh", "arctan", "log1p"])
def test_near_the_ends_of_the_domain(name: str, dtype: str) -> None:
    generator = np.random.default_rng(13)
    size = np.exp(generator.uniform(-40, 80, 20_000))
    near_one = 1 - np.exp(generator.uniform(-36, 0, 20_000))
    beyond_one = 1 + np.exp(generator.uniform(-36, 3, 20_000))
    values = np.concatenate([size, near_one, beyond_one, generator.uniform(0, 1, 20_000)])
    x = np.concatenate([values, -values]).astype(DTYPES[dtype])
    assert_accurate(name, [x], kernel(name, dtype)(x), 2.0)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_angles_of_points_on_the_axes_are_exact(dtype: str) -> None:
    zeros_and_ones = np.array([0.0, -0.0, 1.0, -1.0, 2.5e-30, -3e30], DTYPES[dtype])
    y, x = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(zeros_and_ones, zeros_and_ones))
    on_axis = (x == 0) | (y == 0)
    got, want = kernel("arctan2", dtype)(y, x), np.arctan2(y, x)
    np.testing.assert_array_equal(got[on_axis].view(f"i{got.itemsize}"), want[on_axis].view(f"i{got.itemsize}"))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_remainders_are_exact(dtype: str) -> None:
    generator = np.random.default_rng(17)
    numpy_dtype = DTYPES[dtype]
    spread = np.exp(generator.uniform(-60, 60, 40_000)) * generator.choice([-1, 1], 40_000)
    y = np.concatenate([spread, generator.uniform(-3, 3, 40_000)]).astype(numpy_dtype)
    y = np.concatenate([y, sample(dtype, 5000, generator)])
    with np.errstate(all="ignore"):
        times = np.round(np.exp(generator.uniform(-3, 40, y.size)))
        multiples = (y * times).astype(numpy_dtype)
        around = [np.nextafter(multiples, numpy_dtype.type(bound)) for bound in (0, np.inf)]
        for x in (multiples, *around, generator.permutation(y)):
            got, want = kernel("fmod", dtype)(x, y), np.fmod(x, y)
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
