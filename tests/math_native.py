"""The math functions as native code over arrays, and how far they are from the exact values. For test_math.py and
benchmarks/math_ulp.py.

exp = native(np.float32, "x86-64-v3")["exp"]
ulp_error(exp(x), exact("exp", x))     # in units of the last place of the exact values
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache

import mpmath
import numpy as np
from llvmlite import binding

from graphc.codegen import llvm
from graphc.codegen import math as vector_math
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.target import level_target
from graphc.codegen.values import ELEMENT, Value, llvm_type

NAMES = tuple(vector_math.__all__)
BINARY = "power"

# Where a function is neither constant nor out of range, f32 and f64.
RANGES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "exp": ((-105, 90), (-747, 711)),
    "expm1": ((-19, 90), (-39, 711)),
    "sigmoid": ((-105, 20), (-747, 40)),
    "tanh": ((-10, 10), (-20, 20)),
    "erf": ((-4, 4), (-6, 6)),
    "log": ((0, 4), (0, 4)),
    "log1p": ((-1, 4), (-1, 4)),
    "sin": ((-(2.0**20), 2.0**20), (-(2.0**20), 2.0**20)),
    "cos": ((-(2.0**20), 2.0**20), (-(2.0**20), 2.0**20)),
    "power": ((0, 4), (0, 4)),
}


Operands = tuple[float | None, float | None]


def kernel_text(dtype: np.dtype, level: str, lanes: int = 0, operands: Operands = (None, None)) -> str:
    """A module with a function `name(ptr x, ptr y, ptr result, i64 n)` for every math function; n is a multiple of the lanes,
    which fill a register unless stated. An operand may be a constant instead of an array."""
    target = level_target(level)
    lanes = lanes or target.lanes(dtype.itemsize)
    vector = llvm_type(dtype, lanes)
    module = llvm.new_module(target)
    for name in NAMES:
        fn = module.function(name, [("ptr", "x"), ("ptr", "y"), ("ptr", "result"), ("i64", "n")])
        with fn.loop("0", "%n", lanes) as loop:
            at = [fn.op(f"getelementptr {ELEMENT[dtype]}, ptr %{base}, i64 {loop.index}") for base in ("x", "y", "result")]
            b = LaneBuilder(fn, target)
            args = [
                Value(fn.op(f"load {vector}, ptr {p}, align {dtype.itemsize}"), dtype, lanes) if v is None else b.const(v, dtype)
                for p, v in list(zip(at, operands, strict=False))[: 2 if name == BINARY else 1]
            ]
            result = b.splat(getattr(vector_math, name)(b, *args), lanes)
            fn.do(f"store {vector} {result.name}, ptr {at[2]}, align {dtype.itemsize}")
            loop.next()
        fn.ret()
    return str(module)


class Native:
    """The functions of one dtype and level, by name; calling one maps arrays to an array."""

    def __init__(self, dtype: np.dtype, level: str, lanes: int, operands: Operands):
        self.dtype = dtype
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        code = llvm.emit_object(kernel_text(dtype, level, lanes, operands), level_target(level))
        library = binding.JITLibraryBuilder().add_object_img(code)
        for name in NAMES:
            library.export_symbol(name)
        self._compiler = binding.create_lljit_compiler()
        self._code = library.link(self._compiler, f"math_{dtype}_{level}")
        pointer = ctypes.c_void_p
        signature = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, ctypes.c_int64)
        self._kernels = {name: signature(self._code[name]) for name in NAMES}

    def run(self, name: str, x: np.ndarray, y: np.ndarray, result: np.ndarray, size: int) -> None:
        """The first `size` elements, a multiple of the lanes, of arrays of this dtype."""
        self._kernels[name](x.ctypes.data, y.ctypes.data, result.ctypes.data, size)

    def __getitem__(self, name: str) -> Callable[..., np.ndarray]:
        def call(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
            padded = [np.pad(v.astype(self.dtype), (0, -len(v) % 64), constant_values=1) for v in (x, x if y is None else y)]
            result = np.empty_like(padded[0])
            self.run(name, padded[0], padded[1], result, len(result))
            return result[: len(x)]

        return call


@cache
def native(dtype: np.dtype, level: str, lanes: int = 0, operands: Operands = (None, None)) -> Native:
    return Native(np.dtype(dtype), level, lanes, operands)


def samples(name: str, dtype: np.dtype, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Operands: all special values, uniform in bits, uniform over the interesting range, near 0 and 1, logarithmic."""
    dtype = np.dtype(dtype)
    rng, info = np.random.default_rng(seed), np.finfo(dtype)
    integer = np.dtype(f"i{dtype.itemsize}")
    low, high = RANGES[name][dtype.itemsize // 8]
    x = np.concatenate(
        [
            specials(dtype),
            rng.integers(np.iinfo(integer).min, np.iinfo(integer).max, count, integer, endpoint=True).view(dtype),
            rng.uniform(low, high, count).astype(dtype),
            rng.uniform(-2, 2, count).astype(dtype),
            (1 + rng.uniform(-0.4, 0.5, count)).astype(dtype),
            (np.exp2(rng.uniform(-30, 20, count)) * rng.choice([-1, 1], count)).astype(dtype),
        ]
    )
    if name in ("sin", "cos"):
        # The floats nearest to multiples of pi/2, where the result is smallest.
        x = np.concatenate([x, (rng.integers(-667000, 667000, count) * (np.pi / 2)).astype(dtype)])
        return (x[~(np.isfinite(x) & (np.abs(x) > 2.0**20))],)
    if name != BINARY:
        return (x,)
    # Exponents of every size, whole and half ones, and those that put the result anywhere between 0 and infinity.
    lowest, highest = math.log(float(info.smallest_subnormal)) - 1, math.log(float(info.max)) + 1
    reached = rng.uniform(lowest, highest, len(x))
    with np.errstate(all="ignore"):
        y = np.nan_to_num(reached / np.log(np.abs(x.astype(np.float64))))
        y = np.where(rng.random(len(x)) < 0.6, y, np.round(2 * rng.uniform(-20, 20, len(x))) / 2).astype(dtype)
    grid = np.meshgrid(specials(dtype), specials(dtype))
    return np.concatenate([x, grid[0].ravel()]), np.concatenate([y, grid[1].ravel()])


def specials(dtype: np.dtype) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [0, info.smallest_subnormal, info.smallest_normal, info.max, np.inf, 0.5, 1, 2, 2.5, 3]
    positive += [1 + info.eps, 1 - info.eps / 2, 2.0**20]
    return np.array([*positive, *(-np.array(positive, dtype)), np.nan], dtype)


def wider(dtype: np.dtype) -> np.dtype | None:
    """NumPy's type that has at least ten bits more, if there is one."""
    wide: np.dtype = np.dtype("f8" if dtype.itemsize == 4 else "g")
    return wide if np.finfo(wide).nmant >= np.finfo(dtype).nmant + 10 else None


def exact(name: str, *args: np.ndarray) -> np.ndarray | None:
    """Values in the next wider type, which are exact for this purpose; None where NumPy has no such function or type."""
    wide = wider(args[0].dtype)
    if wide is None or (name == "erf" and wide != np.float64):
        return None
    with np.errstate(all="ignore"):
        x, *rest = (arg.astype(wide) for arg in args)
        if name == "erf":
            return np.vectorize(math.erf, otypes=[wide])(x)
        if name == "sigmoid":
            e = np.exp(-np.abs(x))
            return np.where(x < 0, e, 1) / (1 + e)
        return getattr(np, name)(x, *rest)


def mpmath_error(name: str, got: np.ndarray, *args: np.ndarray) -> np.ndarray:
    """As `ulp_error`, for finite `args` at which the function is finite, against mpmath at 160 bits."""
    function = (lambda x: 1 / (1 + mpmath.exp(-x))) if name == "sigmoid" else getattr(mpmath, name)
    info = np.finfo(got.dtype)
    errors = []
    with mpmath.workprec(160):
        for result, *operands in zip(got, *args, strict=True):
            value = function(*(mpmath.mpf(float(v)) for v in operands))
            exponent = max(int(mpmath.frexp(value)[1]) - 1, info.minexp) if value else info.minexp
            if exponent >= info.maxexp:
                errors.append(0.0 if np.isinf(result) else math.inf)
                continue
            unit = mpmath.ldexp(1, exponent - info.nmant)
            errors.append(float(abs(mpmath.mpf(float(result)) - value) / unit) if np.isfinite(result) else math.inf)
    return np.array(errors)


def ulp_error(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """|got - want| in units of the last place of `want`, which is of a wider type; infinite for a wrong NaN or sign of zero.
    Overflow counts as the power of two beyond the largest float."""
    info, wide = np.finfo(got.dtype), want.dtype.type
    with np.errstate(all="ignore"):
        top = wide(2) ** info.maxexp
        exponent = np.clip(np.frexp(np.abs(want))[1] - 1, info.minexp, info.maxexp - 1)
        unit = np.ldexp(wide(1), exponent - info.nmant)
        error = np.abs(np.clip(got.astype(wide), -top, top) - np.clip(want, -top, top)) / unit
    error = np.where(np.isnan(got) & np.isnan(want), 0, error)
    rounded_zero = (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
    return np.where((np.isnan(got) != np.isnan(want)) | rounded_zero, np.inf, error).astype(np.float64)
