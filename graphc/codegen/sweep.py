"""Sweeps as units of work: what a unit is, and the loops over units and over groups of columns.

    lanes along the last outer axis      units are the points of the other outer axes, times blocks of columns
    lanes along the last inner axis      units are rows

What happens in a row is emitted by `rows.RowEmitter`. Extents are constants, so every split is decided here, by shape; no result
depends on how units are dealt to threads, for no sum crosses rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from graphc.codegen.address import Copy
from graphc.codegen.builder import Module
from graphc.codegen.keep import keep
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.loops import repeat
from graphc.codegen.rows import RowEmitter
from graphc.codegen.streaming import emit_streaming, streams
from graphc.codegen.sweep_plan import Groups, column_groups, plan_sweep
from graphc.codegen.target import Target
from graphc.codegen.tiles import emit_tiles
from graphc.kernel import Sweep

PARALLEL_WORK = 16384  # instructions, some microseconds: less is over before another thread has begun
UNIT_WORK = 4096  # instructions on elements
MANY_ROWS = 64  # leading rows that are enough units without cutting rows

PARAMS = [("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch")]


def emit_sweep(module: Module, target: Target, kernel: Sweep, name: str) -> KernelCode:
    fn = module.function(name, PARAMS, attributes="nounwind")
    args = len(kernel.slots)
    kernel = keep(kernel)
    if 0 in kernel.outer:
        fn.ret()
        return KernelCode((Phase(name, 0, 1),))
    plan = plan_sweep(kernel, target)
    rows = RowEmitter(fn, target, plan, args)
    units = _columns(rows) if plan.columns else _rows(rows)
    fn.ret()
    if plan.checks:  # one thread, so that the first failing element is the one reported
        return KernelCode((Phase(name, units, units),), worker_scratch=rows.scratch)
    work = -(-max(plan.row_cost, 1) * math.prod(kernel.outer) // plan.lanes)
    return KernelCode((Phase(name, units, max(PARALLEL_WORK * units // work, 1)),), worker_scratch=rows.scratch)


def _rows(rows: RowEmitter) -> int:
    """Lanes along the last inner axis. Returns the number of units."""
    outer = rows.plan.kernel.outer
    if math.prod(outer) == 1:
        rows.enter_unit()
        rows.row()
    else:
        with repeat(rows.fn, "%begin", "%end") as loop:
            _locate(rows, loop.index, outer)
            rows.enter_unit()
            rows.row()
    return math.prod(outer)


def _columns(rows: RowEmitter) -> int:
    """Lanes along the last outer axis. Returns the number of units."""
    plan, fn = rows.plan, rows.fn
    leading = plan.kernel.outer[:-1]
    count = math.prod(leading)
    if plan.tile_axis is not None:
        return emit_tiles(rows, plan.tile_axis)
    if count > 1 and plan.transposes and not plan.checks:
        return _tiles(rows)
    groups = column_groups(plan)
    per_block = max(groups.main, 1)
    if count < MANY_ROWS:
        per_block = min(per_block, -(-UNIT_WORK // max(plan.row_cost * groups.size, 1)))
    blocks = max(-(-groups.main // per_block), 1)
    if count == 1:
        rows.enter_unit()
        if blocks == 1:
            _all_columns(rows, groups)
        elif streams(rows):
            plainly = partial(_some_columns, rows, groups, "%begin", "%end", per_block, blocks)
            emit_streaming(rows, groups, per_block, blocks, lambda at: _group(rows, at, groups.copies), plainly)
        else:
            _some_columns(rows, groups, "%begin", "%end", per_block, blocks)
        return blocks
    with repeat(fn, "%begin", "%end") as loop:
        if blocks == 1:
            _locate(rows, loop.index, leading)
            rows.enter_unit()
            _all_columns(rows, groups)
        else:
            _locate(rows, fn.op(f"udiv i64 {loop.index}, {blocks}"), leading)
            rows.enter_unit()
            block = fn.op(f"urem i64 {loop.index}, {blocks}")
            _some_columns(rows, groups, block, fn.op(f"add i64 {block}, 1"), per_block, blocks)
    return count * blocks


def _tiles(rows: RowEmitter) -> int:
    """A vector of columns at a time, down all rows of the axis before: so a cache line that the lanes of one row touch is used
    up by the rows that follow. Returns the number of units."""
    plan, fn = rows.plan, rows.fn
    *leading, height = plan.kernel.outer[:-1]
    groups = Groups(plan.lane_extent, plan.lanes, 1)
    blocks = groups.main + bool(groups.rest)
    with repeat(fn, "%begin", "%end") as loop:
        tile = fn.op(f"udiv i64 {loop.index}, {height}")
        block = fn.op(f"urem i64 {tile}, {blocks}")
        if leading:
            _locate(rows, fn.op(f"udiv i64 {tile}, {blocks}"), leading)
        rows.addresses.axis[len(leading)] = fn.op(f"urem i64 {loop.index}, {height}")
        rows.enter_unit()
        if not groups.rest:
            _group(rows, fn.op(f"mul i64 {block}, {groups.size}"), groups.copies)
        else:
            if groups.main:
                with fn.when(fn.op(f"icmp ne i64 {block}, {groups.main}")):
                    _group(rows, fn.op(f"mul i64 {block}, {groups.size}"), groups.copies)
            with fn.when(fn.op(f"icmp eq i64 {block}, {groups.main}")):
                _group(rows, str(groups.main * groups.size), groups.rest)
    return math.prod(plan.kernel.outer[:-1]) * blocks


def _locate(rows: RowEmitter, flat: str, extents: Sequence[int]) -> None:
    """The values of the axes that a unit's number stands for."""
    for axis in reversed(range(1, len(extents))):
        rows.addresses.axis[axis] = rows.fn.op(f"urem i64 {flat}, {extents[axis]}")
        flat = rows.fn.op(f"udiv i64 {flat}, {extents[axis]}")
    rows.addresses.axis[0] = flat


def _all_columns(rows: RowEmitter, groups: Groups) -> None:
    if groups.main == 1:
        _group(rows, "0", groups.copies)
    elif groups.main:
        with repeat(rows.fn, "0", str(groups.main * groups.size), groups.size) as loop:
            _group(rows, loop.index, groups.copies)
    if groups.rest:
        _group(rows, str(groups.main * groups.size), groups.rest)


def _some_columns(rows: RowEmitter, groups: Groups, first: str, after: str, per_block: int, blocks: int) -> None:
    """The blocks [first, after) of columns; the last block ends with the columns that fill no group."""
    fn = rows.fn
    size = per_block * groups.size
    fn.module.declare("@llvm.smin.i64", "i64 @llvm.smin.i64(i64, i64)")
    start, limit = (fn.op(f"mul i64 {block}, {size}") for block in (first, after))
    stop = fn.op(f"call i64 @llvm.smin.i64(i64 {limit}, i64 {groups.main * groups.size})")
    with repeat(fn, start, stop, groups.size) as loop:
        _group(rows, loop.index, groups.copies)
    if groups.rest:
        with fn.when(fn.op(f"icmp eq i64 {after}, {blocks}")):
            _group(rows, str(groups.main * groups.size), groups.rest)


def _group(rows: RowEmitter, at: str, copies: tuple[Copy, ...]) -> None:
    rows.addresses.copies = copies
    rows.addresses.axis[len(rows.plan.kernel.outer) - 1] = at
    rows.row()
