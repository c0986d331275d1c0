"""What the machine can do, measured in the same run as what is claimed: multiply-adds in registers, bytes from each cache level.

A limit for several threads is measured with all of them at work at once, each on a processor of its own.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import peak

LEVELS = ("L1", "L2", "L3", "memory")
TYPICAL = {"L1": 32 * 1024, "L2": 1024 * 1024, "L3": 32 * 1024 * 1024}  # where the system does not say
MEMORY_BYTES = 192 << 20  # of the arrays from which memory's bandwidth is measured
PASSED_BYTES = {"L1": 256 << 20, "L2": 128 << 20, "L3": 64 << 20, "memory": 0}  # in one measurement: some milliseconds
APART = 17 * 64  # bytes between the arrays of a stream, so that they do not meet in the same cache sets


@dataclass(frozen=True)
class Limits:
    """GFLOP/s by dtype and GB/s by (cache level, stream), for a number of threads."""

    threads: int
    fma: dict[str, float]
    bandwidth: dict[tuple[str, str], float]
    caches: dict[str, int]

    def best(self, other: Limits) -> Limits:
        fma = {dtype: max(rate, other.fma[dtype]) for dtype, rate in self.fma.items()}
        bandwidth = {key: max(rate, other.bandwidth[key]) for key, rate in self.bandwidth.items()}
        return Limits(self.threads, fma, bandwidth, self.caches)

    def placed(self, nbytes: float) -> dict[str, float]:
        """The share of data of this size, passed over again and again, that each level serves: all where it fits (L1 and L2 are
        each core's own), less and less beyond, and nothing from three times the level's size on."""
        shares, left = {}, 1.0
        for level, cores in (("L1", self.threads), ("L2", self.threads), ("L3", 1)):
            fits = min(max((3 * self.caches[level] * cores / nbytes - 1) / 2, 0.0), 1.0) if nbytes else 1.0
            shares[level], left = left * fits, left * (1 - fits)
        return {level: share for level, share in (shares | {"memory": left}).items() if share}

    def moving(self, stream: str, nbytes: float, footprint: float) -> float:
        """The seconds that it takes to move bytes of data of some size; in memory the better of both kinds of stores."""
        rates = {
            level: max(self.bandwidth[level, stream], self.bandwidth.get((level, f"streaming {stream}"), 0))
            for level in self.placed(footprint)
        }
        return sum(nbytes * share / rates[level] / 1e9 for level, share in self.placed(footprint).items())


def nearest_stream(reads: float, writes: float, in_place: bool) -> str:
    """The stream whose mix of reads and writes is nearest."""
    if in_place:
        return "update"
    if reads > 4 * writes:
        return "read"
    return "fill" if writes > 4 * reads else "triad" if reads > 1.5 * writes else "copy"


def describe() -> str:
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {len(processors())} processors, load {os.getloadavg()[0]:.1f}"


def processors() -> list[int]:
    """Those that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def pin(cpus: Sequence[int]) -> None:
    """Keep this thread, and those that it starts, on some processors, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def caches() -> dict[str, int]:
    """Bytes of the data caches."""
    found = dict(TYPICAL)
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and f"L{level}" in found:
            found[f"L{level}"] = int(size.rstrip("KM")) * (1 << (20 if size.endswith("M") else 10))
    return found


def together(runs: Sequence[Callable[[], object]], seconds: float) -> float:
    """The best time of all of them run at once, from the first to start to the last to end."""
    start = time.perf_counter()
    for run in runs:
        run()
    rounds = max(3, int(seconds / (time.perf_counter() - start) * len(runs)))
    barrier = threading.Barrier(len(runs))
    times: list[list[tuple[float, float]]] = [[] for _ in runs]

    def work(position: int) -> None:
        pin([processors()[position % len(processors())]])
        for _ in range(rounds):
            barrier.wait()
            start = time.perf_counter()
            runs[position]()
            times[position].append((start, time.perf_counter()))

    workers = [threading.Thread(target=work, args=(position,)) for position in range(len(runs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return min(max(end for _, end in at) - min(start for start, _ in at) for at in zip(*times, strict=True))


def fma_peak(threads: int = 1, seconds: float = 0.2, dtype: str = "float32") -> float:
    """GFLOP/s of independent multiply-adds in registers."""
    run, flops = peak.fma_loop(dtype)
    return threads * flops / together([run] * threads, seconds) / 1e9


def bandwidth(level: str, kind: str, blocks: Sequence[np.ndarray], seconds: float = 0.06) -> float:
    """GB/s of a stream with one thread for each block: the best for parts of a cache level, or for the blocks, in memory."""
    threads, arrays = len(blocks), 1 if kind == "update" else peak.STREAMS[kind]
    if level == "memory":
        sizes = [sum(block.nbytes for block in blocks) - threads * 4 * APART]
    else:
        sizes = [caches()[level] // part * (1 if level == "L3" else threads) for part in (2, 4, 8)]
    return max(_stream_rate(kind, size, arrays, PASSED_BYTES[level], blocks, seconds / len(sizes)) for size in sizes)


def _stream_rate(kind: str, total: int, arrays: int, passed: int, blocks: Sequence[np.ndarray], seconds: float) -> float:
    threads = len(blocks)
    step = peak.UNROLL * 64
    size = total // threads // arrays // step * step
    times = max(1, passed // (size * arrays))
    stream, apart = peak.stream(kind), size + APART
    starts = [block.ctypes.data for block in blocks]
    runs = [partial(stream, at, at + apart, at + apart * min(arrays, 2), size, times) for at in starts]
    return threads * size * peak.STREAMS[kind] * times / together(runs, seconds) / 1e9


def aligned(nbytes: int) -> np.ndarray:
    """Bytes from the start of a page, all touched."""
    block = np.ones(nbytes + 4096, np.uint8)
    start = -block.ctypes.data % 4096
    return block[start : start + nbytes]


def blocks(threads: int) -> list[np.ndarray]:
    """Memory for the streams of each thread."""
    return [aligned(MEMORY_BYTES // threads) for _ in range(threads)]


def triad(threads: int = 1) -> float:
    """GB/s of a = b + s c from memory; counts three arrays."""
    return bandwidth("memory", "triad", blocks(threads))


def measure(threads: int, seconds: float = 0.06) -> Limits:
    """All limits for a number of threads, with so much time for each."""
    fma = {dtype: fma_peak(threads, 2 * seconds, dtype) for dtype in ("float32", "float64")}
    held = blocks(threads)
    kinds = dict.fromkeys(LEVELS, peak.PLAIN) | {"memory": tuple(peak.STREAMS)}
    rates = {(level, kind): bandwidth(level, kind, held, seconds) for level in LEVELS for kind in kinds[level]}
    return Limits(threads, fma, rates, caches())
