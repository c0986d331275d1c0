"""The largest error of every native math function, in ULP, over a dense sample: `python -m benchmarks.math_ulp [samples]
[levels]`.

f32 is compared with NumPy's float64, f64 with its long double; erf in f64 with mpmath at 160 bits, on fewer points. The last
columns are measured on one core: nanoseconds per element for a sweep over arrays that fit the L1 cache.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from graphc.codegen.target import runnable_levels
from tests.math_native import BINARY, NAMES, Native, exact, mpmath_error, native, samples, ulp_error

MPMATH_POINTS = 4000


def largest_error(name: str, dtype: np.dtype, level: str, count: int) -> tuple[float, tuple[float, ...]]:
    """The error, and where it is."""
    args = samples(name, dtype, count, seed=1)
    want = exact(name, *args)
    if want is None:
        args = tuple(arg[np.isfinite(arg)][:: max(1, len(arg) // MPMATH_POINTS)] for arg in args)
    got = native(dtype, level)[name](*args)
    error = mpmath_error(name, got, *args) if want is None else ulp_error(got, want)
    worst = int(np.argmax(error))
    return float(error[worst]), tuple(float(arg[worst]) for arg in args)


def nanoseconds(functions: Native, name: str) -> float:
    """Time per element on operands from 0.1 to 3, less that of an empty call."""
    n = 2048
    rng = np.random.default_rng(0)
    x, y, result = (np.ascontiguousarray(rng.uniform(0.1, 3, n), functions.dtype) for _ in range(3))
    best = {}
    for size in (0, n):
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(50):
                functions.run(name, x, y, result, size)
            seconds.append(time.perf_counter() - start)
        best[size] = min(seconds)
    return (best[n] - best[0]) / 50 / n * 1e9


def main(count: int = 100_000, levels: tuple[str, ...] = ()) -> None:
    levels = levels or tuple(runnable_levels())
    print(f"{'':8} {'dtype':8}" + "".join(f"{'ULP ' + level[-2:]:>8} {'ns':>7}" for level in levels) + "   worst at")
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        for name in sorted(NAMES, key=lambda name: (name == BINARY, name)):
            rows = [(*largest_error(name, dtype, level, count), nanoseconds(native(dtype, level), name)) for level in levels]
            worst = max(rows)[1]
            cells = "".join(f"{error:8.3f} {ns:7.3f}" for error, _, ns in rows)
            print(f"{name:8} {dtype.name:8}{cells}   {', '.join(f'{v:.9g}' for v in worst)}", flush=True)


if __name__ == "__main__":
    main(*(int(arg) for arg in sys.argv[1:2]), tuple(sys.argv[2:]))
