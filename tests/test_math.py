"""Native exp, log, tanh and so on: at most 2 ULP from the exact value in f32 and 4 in f64, special values as C has them."""

from __future__ import annotations

import numpy as np
import pytest
from math_native import BINARY, NAMES, exact, kernel_text, mpmath_error, native, samples, ulp_error

from graphc.codegen import llvm
from graphc.codegen.target import LEVELS, level_target, runnable_levels

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
BOUND = {F32: 2.0, F64: 4.0}
INF, NAN = np.inf, np.nan

each_dtype = pytest.mark.parametrize("dtype", (F32, F64), ids=("f32", "f64"))
each_level = pytest.mark.parametrize("level", runnable_levels())
each_name = pytest.mark.parametrize("name", NAMES)


@each_name
@each_dtype
@each_level
def test_error_against_a_wider_type(name: str, dtype: np.dtype, level: str) -> None:
    args = samples(name, dtype, 4000)
    want = exact(name, *args)
    if want is None:
        pytest.skip("NumPy has no wider type here; the comparison with mpmath stands alone")
    error = ulp_error(native(dtype, level)[name](*args), want)
    worst = int(np.argmax(error))
    assert error[worst] <= BOUND[dtype], [arg[worst] for arg in args]


@each_name
@each_dtype
@each_level
def test_error_against_mpmath(name: str, dtype: np.dtype, level: str) -> None:
    args = samples(name, dtype, 60, seed=2)
    finite = np.all([np.isfinite(arg) for arg in args], axis=0)
    # Poles and undefined points are for test_special_values.
    x = args[0]
    finite &= {"log": x > 0, "log1p": x > -1, BINARY: (x > 0) | (x < 0) & (args[-1] == np.floor(args[-1]))}.get(name, True)
    args = tuple(arg[finite] for arg in args)
    error = mpmath_error(name, native(dtype, level)[name](*args), *args)
    worst = int(np.argmax(error))
    assert error[worst] <= BOUND[dtype], [arg[worst] for arg in args]


SPECIAL: dict[str, list[tuple[float, ...]]] = {  # operands and result
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e4, INF), (-1e4, 0.0), (NAN, NAN)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (1e4, INF), (-1e4, -1.0), (NAN, NAN)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e4, 1.0), (-1e4, 0.0), (NAN, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0), (NAN, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0), (NAN, NAN)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-1e-40, NAN), (-INF, NAN), (NAN, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-1.5, NAN), (-INF, NAN), (NAN, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "power": [
        *((x, y, 1.0) for x in (0.0, -0.0, 2.0, -2.0, INF, -INF, NAN) for y in (0.0, -0.0)),
        *((1.0, y, 1.0) for y in (-3.5, INF, -INF, NAN)),
        *((-1.0, y, 1.0) for y in (INF, -INF, 2.0, -4.0, 1e30)),
        *((-1.0, y, -1.0) for y in (1.0, -3.0)),
        *((0.0, y, INF) for y in (-1.0, -2.0, -0.5, -INF)),
        *((0.0, y, 0.0) for y in (1.0, 2.0, 0.5, INF)),
        *((-0.0, y, r) for y, r in ((-1.0, -INF), (-2.0, INF), (-0.5, INF), (-INF, INF), (3.0, -0.0), (2.0, 0.0), (0.5, 0.0))),
        *((INF, y, r) for y, r in ((2.0, INF), (0.5, INF), (-1.0, 0.0), (INF, INF), (-INF, 0.0))),
        *((-INF, y, r) for y, r in ((-3.0, -0.0), (-2.0, 0.0), (-0.5, 0.0), (3.0, -INF), (2.0, INF), (0.5, INF), (INF, INF))),
        *((x, y, r) for x, y, r in ((0.5, INF, 0.0), (0.5, -INF, INF), (-0.5, -INF, INF), (2.0, INF, INF), (-2.0, -INF, 0.0))),
        *((x, y, NAN) for x, y in ((-2.0, 0.5), (-1e-40, 1.5), (-1.0, 0.5), (NAN, 1.0), (-1.0, NAN), (0.0, NAN), (2.0, NAN))),
        *((x, y, r) for x, y, r in ((-2.0, 3.0, -8.0), (-2.0, -2.0, 0.25), (-10.0, 1001.0, -INF), (-10.0, -1001.0, -0.0))),
    ],
}


@each_name
@each_dtype
@each_level
def test_special_values(name: str, dtype: np.dtype, level: str) -> None:
    *args, want = (np.array(column, dtype) for column in zip(*SPECIAL[name], strict=True))
    got = native(dtype, level)[name](*args)
    np.testing.assert_array_equal(got, want)
    signed = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(want[signed]))


@pytest.mark.parametrize("name", ("sin", "cos"))
@each_dtype
@each_level
def test_large_angles_stay_on_the_circle(name: str, dtype: np.dtype, level: str) -> None:
    x = np.exp2(np.random.default_rng(3).uniform(20, np.finfo(dtype).maxexp - 0.01, 5000)).astype(dtype)
    got = native(dtype, level)[name](np.concatenate([x, -x]))
    assert np.all(np.abs(got) <= 1)


@each_name
@each_dtype
@each_level
def test_bits_do_not_depend_on_the_lanes(name: str, dtype: np.dtype, level: str) -> None:
    args = samples(name, dtype, 50, seed=4)
    want = native(dtype, level)[name](*args)
    for lanes in (1, 2 * level_target(level).lanes(dtype.itemsize)):
        got = native(dtype, level, lanes)[name](*args)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


@pytest.mark.parametrize("y", (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0))
@each_dtype
@each_level
def test_power_of_a_constant(y: float, dtype: np.dtype, level: str) -> None:
    x = samples(BINARY, dtype, 1000, seed=5)[0]
    got = native(dtype, level, operands=(None, y))[BINARY](x)
    want = native(dtype, level)[BINARY](x, np.full_like(x, y))
    np.testing.assert_array_max_ulp(got[~np.isnan(want)], want[~np.isnan(want)], 3)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
    exactly = exact(BINARY, x, np.full_like(x, y))
    assert exactly is None or np.max(ulp_error(got, exactly)) <= BOUND[dtype]


@each_name
@each_dtype
def test_constant_operands(name: str, dtype: np.dtype) -> None:
    level = runnable_levels()[-1]
    x, y = 0.7, -1.3
    got = native(dtype, level, operands=(x, y))[name](np.zeros(1, dtype))
    want = native(dtype, level)[name](np.array([x], dtype), np.array([y], dtype))
    np.testing.assert_array_equal(got, want)


@each_dtype
@pytest.mark.parametrize("level", LEVELS)
def test_no_function_is_called(dtype: np.dtype, level: str) -> None:
    assembly = llvm.emit_assembly(kernel_text(dtype, level), level_target(level, "Linux"))
    words = {line.split()[0] for line in assembly.splitlines() if line.startswith("\t")}
    assert not words & {"call", "callq", "bl", "blr"}
