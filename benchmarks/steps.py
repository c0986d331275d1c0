"""Whole training steps beside PyTorch and JAX: each framework in a process of its own, one after the other, in turns.

    python -m benchmarks steps --models mlp_tiny mlp_784 --threads 1 2 --peers jax torch

Prints a table and writes `out/steps.json`. Times are milliseconds of one step (forward, backward, update), median over many
steps, the best of the turns' medians. `compile` is the time from the first declaration to the end of the first step, without
graphc's cache on disk; `again` is the same in a second process, which finds the object there. All start from the same weights,
and their losses at the first step must agree.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.models import MODELS

FRAMEWORKS = ("graphc", "jax", "torch")


def measure(framework: str, model: str, threads: int, cache: str = "") -> dict[str, Any]:
    """One measurement in a fresh process, with graphc's cache in a directory or off."""
    env = dict(os.environ, GRAPHC_CACHE="1" if cache else "0", GRAPHC_CACHE_DIR=cache, OMP_NUM_THREADS=str(threads))
    env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("false" if threads == 1 else "true")
    prefix: list[str] = []
    if threads == 1 and framework == "jax" and hasattr(os, "sched_setaffinity"):
        # JAX has no setting for the size of its pool but the processors that it sees
        prefix = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    command = [*prefix, sys.executable, "-m", f"benchmarks.run_{framework}", model, str(threads)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def agree(model: str, losses: dict[str, float]) -> None:
    """Same weights, same data: whoever computes another loss computes something else, and its time means nothing."""
    tolerance = 2e-2 if MODELS[model].kind == "vae" else 1e-4  # a VAE draws numbers, each framework its own
    if any(not math.isclose(loss, losses["graphc"], rel_tol=tolerance) for loss in losses.values()):
        raise SystemExit(f"{model}: losses at the first step differ: {losses}")


def main() -> None:
    usual = sorted(name for name, model in MODELS.items() if not model.long)
    parser = argparse.ArgumentParser(prog="python -m benchmarks steps", description="training steps beside PyTorch and JAX")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=usual)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="*", choices=FRAMEWORKS[1:], default=list(FRAMEWORKS[1:]))
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print(machine.describe())
    peaks = {threads: machine.fma_peak(threads) for threads in options.threads}
    print("float32 FMA peak, GFLOP/s: " + ", ".join(f"{threads} threads {peak:.0f}" for threads, peak in peaks.items()))
    print(f"triad, one thread: {machine.triad():.0f} GB/s")
    rows = []
    columns = [f"{name + ' ms':>11} {'compile s':>9}" for name in ("graphc", *options.peers)]
    print(f"{'model':12} {'threads':>7} {columns[0]} {'again s':>7} " + " ".join(columns[1:]) + "   vs best   of peak")
    for model in options.models:
        for threads in options.threads:
            found: dict[str, dict[str, Any]] = {}
            for _ in range(options.turns):
                for framework in ("graphc", *options.peers):
                    result = measure(framework, model, threads)
                    best = found.get(framework)
                    if best is None or result["median_ms"] < best["median_ms"]:
                        found[framework] = result
            with tempfile.TemporaryDirectory() as cache:
                _, *again = (measure("graphc", model, threads, cache) for _ in range(options.turns + 1))
            agree(model, {name: result["loss"] for name, result in found.items()})
            found["graphc"]["again_s"] = min(result["compile_s"] for result in again)
            ours = found["graphc"]["median_ms"]
            peers = [found[name]["median_ms"] for name in options.peers]
            share = found["graphc"]["flops"] / (ours * 1e6) / peaks[threads]
            cells = [f"{found[name]['median_ms']:11.4f} {found[name]['compile_s']:9.2f}" for name in ("graphc", *options.peers)]
            cells.insert(1, f"{found['graphc']['again_s']:7.2f}")
            ratio = f"{ours / min(peers):8.2f}x" if peers else "        -"
            print(f"{model:12} {threads:7} {' '.join(cells)} {ratio} {share:8.0%}", flush=True)
            rows.append({"model": model, "threads": threads, "peak_gflops": peaks[threads], **found})
    path = Path("out/steps.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
