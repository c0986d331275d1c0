"""`python -m benchmarks calls`: microseconds of one call of the smallest steps, where overhead is all there is. Target: 3."""

from __future__ import annotations

import time

import numpy as np

import graphc
from graphc import optim


def median_us(call: object, count: int = 20_000) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(count // 20):
            call()  # type: ignore[operator]
        times.append((time.perf_counter() - start) / (count // 20))
    return float(np.median(times)) * 1e6


def main() -> None:
    x = graphc.input("x", (1,))
    value = np.ones(1, np.float32)
    double = graphc.compile(2 * x)
    out = double(x=value)
    weight = graphc.nn.Parameter(np.ones(1, np.float32))
    step = graphc.train_step((weight * x).sum(), optim.SGD([weight], lr=1e-3))
    step(x=value)
    print(f"compile(2 * x), one element:           {median_us(lambda: double(x=value)):.2f} us a call")
    print(f"the same with out=:                    {median_us(lambda: double(x=value, out=out)):.2f} us a call")
    print(f"train_step of one weight, one element: {median_us(lambda: step(x=value)):.2f} us a call")


if __name__ == "__main__":
    main()
