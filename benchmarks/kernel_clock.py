"""Times of the cases in one framework and one process: `measure` is what the child processes of `kernels` do.

Every time is the best of many batches, as the machine's limits are. `call` is a call from Python; `kernel` (graphc only) the
same native function called by a compiled loop, whose own time is taken off, so what it leaves out is Python's part of a call.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.kernel_cases import Case
from benchmarks.kernel_eager import numpy_runner, torch_runner
from benchmarks.kernel_traced import graphc_runner, jax_runner

FRAMEWORKS = ("graphc", "numpy", "torch", "jax")
BATCH = 5e-5  # seconds: long beside the clock's resolution, short beside what disturbs


def best_of(batch: Callable[[int], object], seconds: float) -> float:
    """Seconds of one of the runs that `batch(count)` does."""
    count = 1
    while (once := _timed(batch, count)) < BATCH and count < 1 << 20:
        count = max(2 * count, min(int(count * BATCH / max(once, 1e-9)), 1 << 20))
    best, stop, runs = once, time.perf_counter() + seconds, 0
    while runs < 3 or time.perf_counter() < stop:
        best = min(best, _timed(batch, count))
        runs += 1
    return best / count


def _timed(batch: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    batch(count)
    return time.perf_counter() - start


def of_calls(run: Callable[[], object], seconds: float) -> float:
    def batch(count: int) -> None:
        for _ in range(count):
            run()

    return best_of(batch, seconds)


def of_kernel(executable: Any, seconds: float) -> float:
    """The native function alone, on the arrays of the last call: its frame still points to them."""
    from benchmarks.peak import repeater

    native = executable._native.executable
    frame, entry, repeat = native._free[-1], native.entry, repeater()
    return max(best_of(lambda count: repeat(entry, frame.address, count), seconds) - _empty_repeat(), 0.0)


def _empty_repeat() -> float:
    """The loop's own time for a function that returns at once."""
    from benchmarks.peak import nothing, repeater

    repeat, function = repeater(), ctypes.cast(nothing(), ctypes.c_void_p)  # type: ignore[arg-type] # it is one of C
    return best_of(lambda count: repeat(function, 0, count), 0.001)


def runner(framework: str, case: Case, arrays: list[np.ndarray], threads: int) -> tuple[Callable[[], Any] | None, Any]:
    """A function that runs the case once, to its end (None where the framework has no such function), and graphc's executable."""
    if framework == "graphc":
        return graphc_runner(case, arrays, threads)
    if framework == "numpy":
        return numpy_runner(case, arrays), None
    return torch_runner(case, arrays, threads) if framework == "torch" else jax_runner(case, arrays), None


def as_arrays(results: Any) -> list[np.ndarray]:
    return [np.asarray(result) for result in (results if isinstance(results, (list, tuple)) else [results])]


def check(framework: str, case: Case, got: list[np.ndarray]) -> None:
    """Refuse to time what is wrong: every framework gives NumPy's result, where NumPy has the function and nothing is drawn."""
    reference = None if case.family == "dropout" else numpy_runner(case, case.operands())
    if reference is not None:
        for ours, expected in zip(got, as_arrays(reference()), strict=True):
            scale = float(np.abs(expected).max()) or 1.0
            if ours.shape != expected.shape or not np.allclose(ours, expected, rtol=1e-3, atol=1e-4 * scale):
                raise SystemExit(f"{framework}: {case.name} gives another result than NumPy")


def measure(framework: str, cases: list[Case], threads: int, seconds: float) -> dict[str, dict[str, float]]:
    """Seconds by case: {"call": ..., "kernel": ..., "reads": ..., "writes": ...}."""
    machine.pin(machine.processors()[:threads])
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        arrays = case.operands()
        run, executable = runner(framework, case, arrays, threads)
        if run is None:
            continue
        results = as_arrays(run())
        check(framework, case, results)
        found[case.name] = {"call": of_calls(run, seconds)}
        if executable is not None:
            reads, writes = case.traffic(arrays, results)
            found[case.name] |= {"kernel": of_kernel(executable, seconds), "reads": reads, "writes": writes}
    return found
