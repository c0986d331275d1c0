"""What was measured -> rows, a table, the targets beside what was reached, and a plot.

A case's limit is the longer of two times: its multiply-adds at the peak of registers, and its bytes at the bandwidth of the cache
levels where its data lies, for the stream with the nearest mix of reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import peak
from benchmarks.kernel_cases import CASES, Case, nearest_round, odd_sizes
from benchmarks.machine import LEVELS, Limits, nearest_stream

Times = dict[str, dict[str, float]]  # of one framework: by case, in seconds
Row = dict[str, Any]
SHORT = {"float32": "f32", "float64": "f64"}
PRODUCT_SHARES = {
    1: {"64x64x64": 0.80, "128x784x512": 0.88, "256x256x256": 0.88, "512x512x512": 0.92, "1024x1024x1024": 0.92},
    2: {"512x512x512": 0.88, "1024x1024x1024": 0.88},
}
TRIAD_SHARES = {"chain": 0.85, "softmax": 0.7, "softmax backward": 0.7, "layer_norm": 0.7, "layer_norm backward": 0.7}
TRIAD_CASES = [case.name for case in CASES if case.family in TRIAD_SHARES and case.shape[0] in (4096, 32_768, 16_777_216)]
ODD_SHARE = 0.7
AHEAD = {"numpy": 1.5, "torch": 1.5, "jax": 1.0}


def limit_of(case: Case, reads: float, writes: float, limits: Limits) -> tuple[str, float]:
    """What bounds a case, in words, and the seconds that it takes at least."""
    footprint = reads if case.in_place else reads + writes
    stream = nearest_stream(reads, writes, case.in_place)
    moving = limits.moving(stream, reads + writes, footprint)
    computing = case.flops / limits.fma[case.dtype] / 1e9
    if computing > moving:
        return f"FMA {SHORT[case.dtype]}", computing
    return f"{'/'.join(limits.placed(footprint))} {stream}", moving


def row_of(case: Case, found: dict[str, Times], limits: Limits) -> Row:
    ours = found["graphc"][case.name]
    reads, writes, kernel = ours["reads"], ours["writes"], ours["kernel"]
    row: Row = {"case": case.name, "family": case.family, "threads": limits.threads, "bytes": reads + writes, "kernel": kernel}
    row |= {name: times[case.name]["call"] for name, times in found.items() if case.name in times}
    row["limit"], row["share"] = "", None
    if case.family == "math":
        row["rate"] = f"{kernel / case.shape[0] * 1e9:.3f} ns each"
    elif case.flops:
        row["rate"] = f"{case.flops / kernel / 1e9:.0f} GFLOP/s"
    else:
        row["rate"] = f"{(reads + writes) / kernel / 1e9:.0f} GB/s"
    if case.family != "math":
        row["limit"], least = limit_of(case, reads, writes, limits)
        row["share"], row["call_share"] = least / kernel, least / ours["call"]
    peers = {name: row[name] for name in found if name != "graphc" and name in row}
    if peers:
        row["best peer"] = min(peers, key=lambda name: peers[name])
        row["ahead"] = peers[row["best peer"]] / row["graphc"]
    return row


def print_limits(limits: Limits) -> None:
    gflops = ", ".join(f"{SHORT[dtype]} {rate:.0f}" for dtype, rate in limits.fma.items())
    print(f"\n{plural(limits.threads)}; GFLOP/s in registers: {gflops}")
    for kind in peak.STREAMS:
        found = {level: limits.bandwidth[level, kind] for level in LEVELS if (level, kind) in limits.bandwidth}
        print(f"GB/s, {kind + ':':17}" + ", ".join(f"{level} {rate:.0f}" for level, rate in found.items()))


def print_table(rows: list[Row], frameworks: list[str]) -> None:
    """Microseconds of a call in each framework and of graphc's kernel alone; the kernel's share of its limit."""
    names = [name for name in frameworks if name != "graphc"]
    print(f"{'microseconds':36}{'kernel':>10}{'rate':>15}{'share':>7} of {'limit':14}{'call':>10}", end="")
    print("".join(f"{name:>10}" for name in names) + ("   best peer / graphc" if names else ""))
    for row in rows:
        share = f"{row['share']:7.0%} of {row['limit']:14}" if row["limit"] else f"{'':25}"
        print(f"{row['case']:36}{row['kernel'] * 1e6:10.2f}{row['rate']:>15}{share}{row['graphc'] * 1e6:10.2f}", end="")
        print("".join(f"{row[name] * 1e6:10.2f}" if name in row else f"{'-':>10}" for name in names), end="")
        print(f"   {row['ahead']:.2f} ({row['best peer']})" if "ahead" in row else "")


def odd_shares(times: Times) -> dict[str, float]:
    """Each odd size's FLOP/s as a share of that of the nearest multiples of 16."""
    shares = {}
    for case in odd_sizes(full=True):
        near = nearest_round(case)
        if case.name in times and near.name in times:
            rate, reference = (one.flops / times[one.name]["kernel"] for one in (case, near))
            shares[case.name] = rate / reference
    return shares


def targets(rows: list[Row], limits: Limits, odd: dict[str, float]) -> Iterator[tuple[str, float, float]]:
    """(what, wanted, reached) for all that was measured. Products and sweeps by their kernels, peers by calls."""
    by_name = {row["case"]: row for row in rows}
    for shape, wanted in PRODUCT_SHARES.get(limits.threads, {}).items():
        if row := by_name.get(f"contraction nt {shape}"):
            yield f"{row['case']}: share of the FMA peak", wanted, row["share"]
    for name in TRIAD_CASES:
        if row := by_name.get(name):
            for level, stream in triads(row["bytes"], limits):
                share = row["bytes"] / row["kernel"] / 1e9 / limits.bandwidth[level, stream]
                yield f"{name}: share of the {stream} from {level}", TRIAD_SHARES[row["family"]], share
    if odd:
        worst = min(odd, key=lambda name: odd[name])
        yield f"worst of {len(odd)} products of sizes 33 to 47 beside multiples of 16: {worst}", ODD_SHARE, odd[worst]
    ahead = [row for row in rows if row["family"] == "contraction" and "ahead" in row]
    for peer in dict.fromkeys(row["best peer"] for row in ahead):
        against = [row for row in ahead if row["best peer"] == peer]
        least = min(against, key=lambda row: row["ahead"])
        met = sum(row["ahead"] >= AHEAD[peer] for row in against)
        what = f"calls of {len(against)} products where {peer} is the best peer ({met} met): {least['case']}"
        yield what, AHEAD[peer], least["ahead"]


def triads(nbytes: float, limits: Limits) -> list[tuple[str, str]]:
    """What a share of triad may mean: for data in memory, with plain stores or past the caches; for data in L3, also there."""
    if "memory" in limits.placed(nbytes):
        return [("memory", "triad"), ("memory", "streaming triad")]
    return [("L3", "triad"), ("memory", "triad")]


def print_targets(rows: list[Row], limits: Limits, odd: dict[str, float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"what": what, "wanted": wanted, "reached": reached} for what, wanted, reached in targets(rows, limits, odd)
    ]
    print(f"\n{f'targets, {plural(limits.threads)}':88}{'target':>8}{'reached':>9}")
    for one in found:
        verdict = "met" if one["reached"] >= one["wanted"] else "NOT MET"
        print(f"{one['what']:88}{one['wanted']:8.2f}{one['reached']:9.2f}  {verdict}")
    return found


def plural(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def plot(rows: list[Row], path: Path) -> bool:
    """Shares by case, a bar for each number of threads; False without matplotlib."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return False
    names = list(dict.fromkeys(row["case"] for row in rows if row["limit"]))
    counts = sorted({row["threads"] for row in rows})
    figure, axes = pyplot.subplots(figsize=(9, 0.25 * len(names) + 1))
    for position, threads in enumerate(counts):
        shares = {row["case"]: row["share"] for row in rows if row["threads"] == threads}
        height = 0.8 / len(counts)
        places = [at + position * height for at in range(len(names))]
        axes.barh(places, [shares.get(name) or 0 for name in names], height, label=plural(threads))
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("share of the machine's limit, kernels alone")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    return True
