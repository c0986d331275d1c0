"""What the machine can do, measured in the same run as what is claimed: float32 FMA peak and memory triad."""

from __future__ import annotations

import os
import platform
import time

import numpy as np


def describe() -> str:
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {processors} processors, load {os.getloadavg()[0]:.1f}"


def fma_peak(threads: int = 1, seconds: float = 0.3) -> float:
    """GFLOP/s of independent float32 multiply-adds in registers, through graphc's own code generation."""
    from concurrent.futures import ThreadPoolExecutor

    from benchmarks.peak import fma_loop

    run, flops = fma_loop()

    def best() -> float:
        rates = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop:
            start = time.perf_counter()
            run()
            rates.append(flops / (time.perf_counter() - start))
        return max(rates)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: best(), range(threads))) / 1e9


def triad(megabytes: int = 192, repeats: int = 5, threads: int = 1) -> float:
    """GB/s of a = b + s * c from memory through a compiled sweep; counts three arrays."""
    import graphc

    size = megabytes * (1 << 20) // 12
    b, c = graphc.input("b", (size,)), graphc.input("c", (size,))
    sweep = graphc.compile(b + 2.5 * c, threads=threads)
    arrays = {name: np.ones(size, np.float32) for name in "bc"}
    out = sweep(**arrays)
    best = 1e9
    for _ in range(repeats):
        start = time.perf_counter()
        sweep(out=out, **arrays)
        best = min(best, time.perf_counter() - start)
    return 3 * 4 * size / best / 1e9
