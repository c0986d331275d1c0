"""Give every arena buffer an offset in one block of memory.

Buffers whose lifetimes overlap do not overlap in memory; a buffer that dies where another is born gives it its place, where the
kernel reads each element only at the point that writes it. Placement is greedy, largest first, at the lowest offset that is free.

    t0 [0, 2]  4 KB     t1 [1, 3]  4 KB     t2 [3, 5]  4 KB        t0 at 0, t1 at 4096, t2 at 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.kernel_verify import accesses, in_place
from graphc.nesting import Lifetime, lifetimes
from graphc.options import Options
from graphc.program import Arena, Buffer, Launch, Program, Space

ALIGNMENT = 64  # a cache line, and the widest vector


def rounded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def live_peak(spans: Sequence[Lifetime], count: int) -> int:
    """The largest sum of rounded sizes alive at one launch: no plan can be smaller, short of sharing within a launch."""
    change = [0] * (count + 1)
    for span in spans:
        size = rounded(span.buffer.type.nbytes, ALIGNMENT)
        change[span.first] += size
        change[span.last + 1] -= size
    live = peak = 0
    for delta in change:
        live += delta
        peak = max(peak, live)
    return peak


def memory(program: Program, options: Options) -> Program:
    spans, launches, count = lifetimes(program.body)
    heirs = _heirs(launches, spans)
    # a chain of buffers that hand their place on is placed as one
    root: dict[Buffer, Buffer] = {}
    chains: dict[Buffer, list[Lifetime]] = {}
    for span in spans:
        root[span.buffer] = root[heirs[span.buffer]] if span.buffer in heirs else span.buffer
        chains.setdefault(root[span.buffer], []).append(span)
    blocks = [Lifetime(head, min(s.first for s in chain), max(s.last for s in chain)) for head, chain in chains.items()]
    offsets = _place(blocks)
    size = max((offsets[b.buffer] + rounded(b.buffer.type.nbytes, ALIGNMENT) for b in blocks), default=0)
    bound = live_peak(blocks, count)
    return replace(program, arena=Arena({span.buffer: offsets[root[span.buffer]] for span in spans}, size, bound, ALIGNMENT))


def _heirs(launches: Sequence[tuple[int, Launch]], spans: Sequence[Lifetime]) -> Mapping[Buffer, Buffer]:
    """For a buffer, the one of the same size that dies in the launch that writes it, and whose place it may take."""
    last = {span.buffer: span.last for span in spans}
    first = {span.buffer: span.first for span in spans}
    taken: set[Buffer] = set()
    heirs: dict[Buffer, Buffer] = {}
    for i, launch in launches:
        slots = {buffer: slot for slot, buffer in enumerate(launch.args)}
        dying = [
            old for old in launch.reads if old.space is Space.ARENA and last[old] == i and first[old] < i and old not in taken
        ]
        if not dying:
            continue
        found = accesses(launch.kernel)
        for new in launch.writes:
            if new.space is not Space.ARENA or first[new] != i or not new.type.size:
                continue
            for old in dying:
                if old.type.nbytes != new.type.nbytes or old.type.dtype.itemsize != new.type.dtype.itemsize:
                    continue
                if in_place(launch.kernel, slots[old], slots[new], found):
                    heirs[new] = old
                    taken.add(old)
                    dying.remove(old)
                    break
    return heirs


def _place(blocks: Sequence[Lifetime]) -> dict[Buffer, int]:
    """Offsets by best fit: large blocks first, each into the smallest gap that is free over its whole life."""
    offsets: dict[Buffer, int] = {}
    # columns: start, end, first, last of what is placed, in order of start; arrays, as programs may have 100,000 buffers
    placed = np.empty((4, len(blocks)), np.int64)
    for count, block in enumerate(sorted(blocks, key=lambda block: (-block.buffer.type.nbytes, block.first))):
        size = rounded(block.buffer.type.nbytes, ALIGNMENT)
        starts, ends, firsts, lasts = placed[:, :count]
        busy = (firsts <= block.last) & (lasts >= block.first)
        tops = np.maximum.accumulate(np.concatenate([[0], ends[busy]]))
        gaps = starts[busy] - tops[:-1]
        fitting = np.where(gaps >= size, gaps, np.iinfo(np.int64).max)
        best = int(fitting.argmin()) if gaps.size else 0
        at = int(tops[best] if gaps.size and gaps[best] >= size else tops[-1])
        offsets[block.buffer] = at
        where = int(np.searchsorted(starts, at, side="right"))
        placed[:, where + 1 : count + 1] = placed[:, where:count].copy()
        placed[:, where] = at, at + size, block.first, block.last
    return offsets
