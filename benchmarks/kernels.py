"""Kernel families over sizes, beside NumPy, PyTorch and JAX on the same operands, as a share of the machine's limit.

    python -m benchmarks kernels --families contraction softmax --threads 1 2

Contractions are counted in FLOPs against the FMA peak, everything else in compulsory bytes (each operand and result once)
against the triad.
Every framework runs in a process of its own. Prints a table and writes `out/kernels.json`, and `out/kernels.png` where
matplotlib is there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine

FRAMEWORKS = ("graphc", "numpy", "torch", "jax")


@dataclass(frozen=True)
class Case:
    family: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.family} {'x'.join(map(str, self.shape))}"

    @property
    def flops(self) -> float:
        return 2.0 * math.prod(self.shape) if self.family == "contraction" else 0.0

    @property
    def bytes(self) -> float:
        """Compulsory traffic: operands and results, once each."""
        arrays = {
            "chain": 3,
            "softmax": 2,
            "softmax_backward": 3,
            "layer_norm": 2,
            "layer_norm_backward": 3,
            "column_sum": 1,
            "transpose": 2,
        }
        return 4.0 * math.prod(self.shape) * arrays.get(self.family, 0)

    def operands(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        if self.family == "contraction":
            m, k, n = self.shape
            return [rng.standard_normal(shape, np.float32) for shape in ((m, k), (n, k))]
        count = 2 if self.family == "chain" or self.family.endswith("backward") else 1
        return [rng.standard_normal(self.shape, np.float32) for _ in range(count)]


CASES = [
    *(Case("contraction", (n, n, n)) for n in (33, 40, 47, 48, 64, 256, 512, 1024)),
    Case("contraction", (128, 784, 512)),
    Case("contraction", (32, 64, 32)),
    Case("chain", (16_777_216,)),
    Case("chain", (10_000,)),
    *(
        Case(family, (4096, 512))
        for family in ("softmax", "softmax_backward", "layer_norm", "layer_norm_backward", "column_sum", "transpose")
    ),
]


def formula(xp: Any, family: str, arrays: list[Any], ops: dict[str, Callable[..., Any]]) -> Any:
    """What a case computes, in the functions of a framework."""
    if family == "contraction":
        return ops["matmul"](arrays[0], ops["t"](arrays[1]))
    if family == "chain":
        x, y = arrays
        return ops["maximum"](x * y + 0.5 * x - y, 0.25 * y)
    x = arrays[0]
    if family in ("softmax", "softmax_backward"):
        e = ops["exp"](x - ops["max"](x))
        p = e / ops["sum"](e)
        return p if family == "softmax" else p * (arrays[1] - ops["sum"](p * arrays[1]))
    if family in ("layer_norm", "layer_norm_backward"):
        width = x.shape[-1]
        d = x - ops["sum"](x) * (1.0 / width)
        inverse = 1.0 / ops["sqrt"](ops["sum"](d * d) * (1.0 / width) + 1e-5)
        z = d * inverse
        if family == "layer_norm":
            return z
        v = arrays[1]
        return inverse * (v - ops["sum"](v) * (1.0 / width) - z * (ops["sum"](v * z) * (1.0 / width)))
    if family == "column_sum":
        return x.sum(0)
    return ops["copy_t"](x)


def runner(framework: str, case: Case, threads: int) -> Callable[[], Any]:
    arrays = case.operands()
    if framework == "graphc":
        import graphc

        tensors = [graphc.input(f"x{i}", array.shape) for i, array in enumerate(arrays)]
        ops = {
            "matmul": graphc.matmul, "t": lambda x: x.T, "maximum": graphc.maximum, "exp": graphc.exp, "sqrt": graphc.sqrt,
            "max": lambda x: graphc.max(x, axis=-1, keepdims=True), "sum": lambda x: graphc.sum(x, axis=-1, keepdims=True),
            "copy_t": lambda x: x.T,
        }  # fmt: skip
        compiled = graphc.compile(formula(graphc, case.family, tensors, ops), inputs=tensors, threads=threads)
        out = compiled(*arrays)
        return lambda: compiled(*arrays, out=out)
    if framework == "numpy":
        ops = {
            "matmul": np.matmul, "t": lambda x: x.T, "maximum": np.maximum, "exp": np.exp, "sqrt": np.sqrt,
            "max": lambda x: x.max(-1, keepdims=True), "sum": lambda x: x.sum(-1, keepdims=True),
            "copy_t": lambda x: np.ascontiguousarray(x.T),
        }  # fmt: skip
        return lambda: formula(np, case.family, list(arrays), ops)
    if framework == "torch":
        import torch

        torch.set_num_threads(threads)
        ops = {
            "matmul": torch.matmul, "t": lambda x: x.T, "maximum": torch.maximum, "exp": torch.exp, "sqrt": torch.sqrt,
            "max": lambda x: x.amax(-1, keepdim=True), "sum": lambda x: x.sum(-1, keepdim=True),
            "copy_t": lambda x: x.T.contiguous(),
        }  # fmt: skip
        tensors = [torch.from_numpy(array) for array in arrays]
        return lambda: formula(torch, case.family, tensors, ops)
    import jax
    import jax.numpy as jnp

    ops = {
        "matmul": jnp.matmul, "t": lambda x: x.T, "maximum": jnp.maximum, "exp": jnp.exp, "sqrt": jnp.sqrt,
        "max": lambda x: x.max(-1, keepdims=True), "sum": lambda x: x.sum(-1, keepdims=True), "copy_t": lambda x: x.T,
    }  # fmt: skip
    held = [jnp.asarray(array) for array in arrays]
    compiled_jax = jax.jit(lambda *xs: formula(jnp, case.family, list(xs), ops))
    return lambda: compiled_jax(*held).block_until_ready()


def measure(framework: str, names: list[str], threads: int, seconds: float = 0.4) -> dict[str, float]:
    """Microseconds of each case in this process: the median of single calls, or of batches of short ones."""
    found = {}
    for case in CASES:
        if case.name not in names:
            continue
        run = runner(framework, case, threads)
        start = time.perf_counter()
        run()
        run()
        once = max((time.perf_counter() - start) / 2, 1e-7)
        batch = max(1, int(2e-5 / once))
        for _ in range(max(2, int(0.05 / once / batch))):
            run()
        times = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times) < 5:
            begin = time.perf_counter()
            for _ in range(batch):
                run()
            times.append((time.perf_counter() - begin) / batch)
        found[case.name] = float(np.median(times)) * 1e6
    return found


def in_process(framework: str, names: list[str], threads: int) -> dict[str, float]:
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    prefix = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if framework == "jax" and threads == 1 else []
    command = [
        *prefix,
        sys.executable,
        "-m",
        "benchmarks.kernels",
        "--measure",
        framework,
        "--threads",
        str(threads),
        "--names",
        *names,
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{framework} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    families = list(dict.fromkeys(case.family for case in CASES))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks kernels", description="kernel families beside NumPy, PyTorch and JAX"
    )
    parser.add_argument("--families", nargs="+", choices=families, default=families)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="*", choices=FRAMEWORKS[1:], default=list(FRAMEWORKS[1:]))
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--measure", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--names", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.names, options.threads[0])))
        return
    frameworks = ["graphc", *options.peers]
    names = [case.name for case in CASES if case.family in options.families]
    print(machine.describe())
    rows = []
    for threads in options.threads:
        best: dict[str, dict[str, float]] = {framework: {} for framework in frameworks}
        peak, triad = 0.0, 0.0
        for _ in range(options.turns):
            peak, triad = max(peak, machine.fma_peak(threads)), max(triad, machine.triad(threads=threads))
            for framework in frameworks:
                for name, microseconds in in_process(framework, names, threads).items():
                    best[framework][name] = min(microseconds, best[framework].get(name, math.inf))
        print(f"\n{threads} threads: FMA peak {peak:.0f} GFLOP/s, triad {triad:.0f} GB/s; microseconds, share of the limit")
        print(f"{'':30}" + "".join(f"{framework:>12}" for framework in frameworks) + f"{'limit':>8}{'vs best peer':>14}")
        for case in CASES:
            if case.name not in names:
                continue
            ours = best["graphc"][case.name]
            share = case.flops / (ours * 1e3) / peak if case.flops else case.bytes / (ours * 1e3) / triad
            peers = [best[peer][case.name] for peer in options.peers]
            ratio = f"{min(peers) / ours:13.2f}x" if peers else ""
            print(f"{case.name:30}" + "".join(f"{best[one][case.name]:12.1f}" for one in frameworks) + f"{share:8.0%}{ratio}")
            rows.append(
                {"case": case.name, "threads": threads, "share": share, **{one: best[one][case.name] for one in frameworks}}
            )
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "kernels.json").write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1))
    print(f"written to {out / 'kernels.json'}")
    plot(rows, out / "kernels.png")


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    try:
        from matplotlib import pyplot
    except ImportError:
        return
    first = [row for row in rows if row["threads"] == rows[0]["threads"]]
    figure, axes = pyplot.subplots(figsize=(9, 0.35 * len(first) + 1))
    axes.barh([row["case"] for row in first], [row["share"] for row in first])
    axes.invert_yaxis()
    axes.set_xlabel(f"share of the machine's limit, {first[0]['threads']} threads")
    figure.tight_layout()
    figure.savefig(path)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
