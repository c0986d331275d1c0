"""Time a step in this process and print the result as one line of JSON."""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any


def report(start: float, step: Callable[[], Any], flops: float, seconds: float = 1.5, **more: Any) -> None:
    """`start` is when declaration began; `step` runs one step to its end and returns the loss."""
    loss = float(step())
    compile_s = time.perf_counter() - start
    for _ in range(20):
        step()
    times = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 20:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "median_ms": statistics.median(times) * 1e3,
                "min_ms": min(times) * 1e3,
                "steps": len(times),
                "compile_s": compile_s,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "flops": flops,
                "loss": loss,
                **more,
            }
        )
    )
