"""Kernel families over sizes, beside NumPy, PyTorch and JAX on the same operands, as a share of the machine's limit.

    python -m benchmarks kernels --families contraction softmax --threads 1 2
    GRAPHC_CPU=x86-64-v3 python -m benchmarks kernels

The machine comes first, and again after each turn: multiply-adds in registers and bytes from each cache level, at the
instruction-set level in use. Each framework runs the cases in a process of its own, on as many processors as threads, one after
the other, in `--turns` turns; the best time of each case counts, and the best of each limit. NumPy and PyTorch write into arrays
made beforehand where their functions take `out=`, as graphc does; JAX has no such thing, so its times include fresh results.

Prints tables and targets, and writes `kernels.json` and, where matplotlib is installed, `kernels.png`. A whole run takes some
four minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import kernel_report, machine
from benchmarks.kernel_cases import CASES, FAMILIES, Case, odd_sizes, round_sizes
from benchmarks.kernel_clock import FRAMEWORKS, measure
from graphc.codegen.target import host_target

ODD = "odd_sizes"


def main() -> None:
    options = parse()
    if options.measure:
        cases = chosen(options)
        print(json.dumps(measure(options.measure, cases, options.threads[0], options.seconds)))
        return
    level = f"{host_target().cpu}{' (GRAPHC_CPU)' if os.environ.get('GRAPHC_CPU') else ''}"
    print(f"{machine.describe()}\ninstruction-set level {level}; the peers use what the processor has")
    frameworks = ["graphc", *options.peers]
    report: dict[str, Any] = {"machine": machine.describe(), "level": level, "limits": [], "rows": [], "targets": [], "odd": []}
    for threads in options.threads:
        if threads > len(machine.processors()):
            print(f"\n{threads} threads: skipped, there are {len(machine.processors())} processors")
            continue
        limits, found = turns(options, frameworks, threads)
        rows = [kernel_report.row_of(case, found, limits) for case in CASES if case.name in found["graphc"]]
        odd = kernel_report.odd_shares(found["graphc"])
        kernel_report.print_limits(limits)
        kernel_report.print_table(rows, frameworks)
        reached = kernel_report.print_targets(rows, limits, odd)
        bandwidth = {f"{level} {kind}": rate for (level, kind), rate in limits.bandwidth.items()}
        report["limits"].append({"threads": threads, "gflops": limits.fma, "gbytes": bandwidth})
        report["targets"].append({"threads": threads, "targets": reached})
        report["odd"].append({"threads": threads, "shares": odd})
        report["rows"] += rows
    write(report, Path(options.out))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks kernels", description="kernel families beside NumPy, PyTorch and JAX"
    )
    parser.add_argument("--families", nargs="+", choices=[*FAMILIES, ODD], default=[*FAMILIES, ODD])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="*", choices=FRAMEWORKS[1:], default=list(FRAMEWORKS[1:]))
    parser.add_argument("--turns", type=int, default=2, help="alternations of the frameworks")
    parser.add_argument("--seconds", type=float, default=0.06, help="for each time that is taken")
    parser.add_argument("--largest", type=float, default=1e11, help="leave out cases with more multiply-adds or bytes")
    parser.add_argument("--all-odd-sizes", action="store_true", help="all 3,375 products of sizes 33 to 47: some minutes more")
    parser.add_argument("--out", default="out", help="folder of kernels.json and kernels.png")
    parser.add_argument("--measure", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases of one framework's process; only graphc runs the odd sizes."""
    cases = [case for case in CASES if case.family in options.families and case.size <= options.largest]
    if options.measure == "graphc" and ODD in options.families:
        cases += [case for case in odd_sizes(options.all_odd_sizes) + round_sizes() if case not in cases]
    return cases


def turns(
    options: argparse.Namespace, frameworks: list[str], threads: int
) -> tuple[machine.Limits, dict[str, kernel_report.Times]]:
    """The best of all turns: limits, and times by framework and case."""
    limits = machine.measure(threads, options.seconds)
    found: dict[str, kernel_report.Times] = {framework: {} for framework in frameworks}
    for _ in range(options.turns):
        for framework in frameworks:
            for name, times in in_process(framework, threads).items():
                earlier = found[framework].get(name, times)
                found[framework][name] = {key: min(value, earlier[key]) for key, value in times.items()}
        limits = limits.best(machine.measure(threads, options.seconds))
    return limits, found


def in_process(framework: str, threads: int) -> kernel_report.Times:
    """One framework's times, from a process of its own with the same options."""
    env = dict(os.environ)
    env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'false' if threads == 1 else 'true'}"
    command = [sys.executable, "-m", "benchmarks.kernels", *sys.argv[1:], "--measure", framework, "--threads", str(threads)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{framework} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(report: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernels.json").write_text(json.dumps(report, indent=1))
    print(f"\nwritten to {folder / 'kernels.json'}")
    if report["rows"] and kernel_report.plot(report["rows"], folder / "kernels.png"):
        print(f"written to {folder / 'kernels.png'}")


if __name__ == "__main__":
    main()
