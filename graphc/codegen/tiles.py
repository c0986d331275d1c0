"""Sweeps over square tiles of two axes, where memory runs along the lanes' axis in some places and along another in others.

    outer (512, 4096), s1[4096*a0 + a1] = s0[a0 + 512*a1]      rows along a0, lanes along a1

A tile's rows are the copies of the body, so a tile is one basic block, and `turn` swaps its rows and lanes in registers. A unit
is a block of a few tiles, so that cache lines of which a tile has used a half are still there for the next one.
"""

from __future__ import annotations

import math
from collections import Counter

from graphc.codegen.address import Copy
from graphc.codegen.rows import RowEmitter
from graphc.kernel import Store, Sweep, instructions

# Tiles of a unit, down and across. Rows that compete for the few places of a set of the first cache are written a few at a time,
# and so are those that go to memory, which likes longer runs.
BLOCK, BLOCK_OF_FEW_ROWS = (8, 1), (1, 4)
WAY, LINE = 4096, 64  # bytes after which sets repeat, and of one
COMPETING = 4  # rows of a tile in the same set
LARGE = 1 << 24  # bytes


def emit_tiles(rows: RowEmitter, axis: int) -> int:
    """Tiles over an outer axis and the lanes' axis. Returns the number of units."""
    plan, fn, addresses = rows.plan, rows.fn, rows.addresses
    outer, lane = plan.kernel.outer, len(plan.kernel.outer) - 1
    height, width, size = outer[axis], plan.lane_extent, plan.lanes
    deep, wide = _block(plan.kernel, axis)
    down, across = -(-height // (size * deep)), -(-width // (size * wide))
    others = [number for number in range(lane) if number != axis]

    def tiles(first: str, stop: str, count: int, left: str, right: str) -> None:
        """The tiles of `count` rows each from row `first` on, and lanes from `left` on."""
        with fn.loop(first, stop, size) as row:
            addresses.axis[axis] = row.index
            addresses.copies = tuple(Copy(0, size, number) for number in range(count))
            rows.enter_unit()
            with fn.loop(left, right, size) as column:
                addresses.axis[lane] = column.index
                rows.row()
            if width % size:
                addresses.copies = tuple(Copy(0, width % size, number) for number in range(count))
                with fn.when(fn.op(f"icmp eq i64 {block_across}, {across - 1}")):
                    addresses.axis[lane] = str(width - width % size)
                    rows.row()

    with fn.loop("%begin", "%end") as unit:
        block_across = fn.op(f"urem i64 {unit.index}, {across}")
        above = fn.op(f"udiv i64 {unit.index}, {across}")
        block_down = fn.op(f"urem i64 {above}, {down}")
        rest = fn.op(f"udiv i64 {above}, {down}")
        for number in reversed(others[1:]):
            addresses.axis[number] = fn.op(f"urem i64 {rest}, {outer[number]}")
            rest = fn.op(f"udiv i64 {rest}, {outer[number]}")
        if others:
            addresses.axis[others[0]] = rest
        first, stop = _span(rows, block_down, size * deep, height // size * size)
        left, right = _span(rows, block_across, size * wide, width // size * size)
        tiles(first, stop, size, left, right)
        if height % size:
            with fn.when(fn.op(f"icmp eq i64 {block_down}, {down - 1}")):
                tiles(str(height - height % size), str(height), height % size, left, right)
    return math.prod(outer[number] for number in others) * down * across


def _block(kernel: Sweep, axis: int) -> tuple[int, int]:
    stores = [instr for instr in instructions(kernel) if isinstance(instr, Store)]
    large = math.prod(kernel.outer) * max((instr.dtype.itemsize for instr in stores), default=0) > LARGE
    compete = any(_in_one_set(instr.offset.coefficient(axis) * instr.dtype.itemsize) >= COMPETING for instr in stores)
    return BLOCK_OF_FEW_ROWS if large or compete else BLOCK


def _in_one_set(step: int) -> int:
    """The most of sixteen rows `step` bytes apart that fall into one set."""
    return max(Counter(row * step % WAY // LINE for row in range(16)).values()) if abs(step) >= LINE else 1


def _span(rows: RowEmitter, number: str, size: int, limit: int) -> tuple[str, str]:
    """Where a block begins and ends, below `limit`."""
    fn = rows.fn
    fn.module.declare("@llvm.smin.i64", "i64 @llvm.smin.i64(i64, i64)")
    first = fn.op(f"mul i64 {number}, {size}")
    after = fn.op(f"add i64 {first}, {size}")
    return first, fn.op(f"call i64 @llvm.smin.i64(i64 {after}, i64 {limit})")
