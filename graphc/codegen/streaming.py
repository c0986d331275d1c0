"""Results too large for the caches, stored past them: their lines are then not read before they are written.

    out[0 .. 16M) = x + y      a plain store moves 4 arrays between memory and caches, a streaming one 3

Streaming stores want whole aligned vectors, and results are aligned to their elements only. So groups of columns begin where the
results are aligned, which is found when the kernel runs; the first and the last group are done again, plainly, from the very
first column and to the very last one. That needs results that share their alignment and overlap no operand; others, and small
ones, are stored plainly throughout.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.codegen import integers as i64
from graphc.codegen.rows import RowEmitter
from graphc.codegen.sweep_plan import Groups
from graphc.index import Index
from graphc.kernel import Load, Store, indices, instructions
from graphc.types import is_bool

LARGE = 1 << 25  # bytes, about what the last cache holds

Columns = Callable[[str], None]  # a group of columns from one on


def streams(rows: RowEmitter) -> bool:
    """Whether the results of an elementwise sweep over one axis may be stored past the caches."""
    plan, target = rows.plan, rows.b.target
    if plan.kernel.inner or plan.checks or plan.lane_axis is None or not target.triple.startswith("x86_64"):
        return False
    body = list(instructions(plan.kernel))
    results = [instr for instr in body if isinstance(instr, Store)]
    whole = Index.axis(plan.lane_axis, plan.lane_extent)
    for instr in results:
        size = plan.lane_extent * instr.dtype.itemsize
        if instr.offset != whole or is_bool(instr.dtype) or size < LARGE:
            return False
        if plan.lanes * instr.dtype.itemsize % target.vector_bytes:
            return False
    # Other maps count on vectors that begin at multiples of their lanes.
    used = [index for instr in body if not isinstance(instr, Store) for index in indices(instr)]
    return all(index.stride(plan.lane_axis) is not None for index in used)


def emit_streaming(
    rows: RowEmitter, groups: Groups, per_block: int, blocks: int, group: Columns, plainly: Callable[[], None]
) -> None:
    """The blocks [%begin, %end) of columns; `plainly` emits them without streaming stores."""
    fn, extent, size = rows.fn, rows.plan.lane_extent, groups.size
    results = list(dict.fromkeys(i for i in instructions(rows.plan.kernel) if isinstance(i, Store)))
    skipped = [_columns_to_alignment(rows, instr) for instr in results]
    fits = _disjoint(rows)
    for other in skipped[1:]:
        fits = fn.op(f"and i1 {fits}, {i64.equal(fn, skipped[0], other)}")
    with fn.when(fits):
        first, main = skipped[0], _whole_groups(rows, skipped[0], size)
        start = i64.add(fn, first, i64.mul(fn, "%begin", per_block * size))
        stop = i64.add(fn, first, i64.minimum(fn, i64.mul(fn, "%end", per_block * size), main))
        rows.body.streamed = frozenset(instr.slot for instr in results)
        with fn.loop(start, stop, size) as loop:
            group(loop.index)
        rows.body.streamed = frozenset()
        fn.module.declare("@llvm.x86.sse.sfence", "void @llvm.x86.sse.sfence()")
        fn.do("call void @llvm.x86.sse.sfence()")
        with fn.when(i64.equal(fn, "%begin", 0)):
            group("0")
        with fn.when(i64.equal(fn, "%end", blocks)):
            group(str(extent - size))
    with fn.when(fn.op(f"xor i1 {fits}, true")):
        plainly()


def _columns_to_alignment(rows: RowEmitter, result: Store) -> str:
    fn, bytes_ = rows.fn, rows.b.target.vector_bytes
    address = fn.op(f"ptrtoint ptr {rows.addresses.base(result.slot)} to i64")
    misses = fn.op(f"and i64 {i64.sub(fn, 0, address)}, {bytes_ - 1}")
    return fn.op(f"udiv i64 {misses}, {result.dtype.itemsize}")


def _whole_groups(rows: RowEmitter, first: str, size: int) -> str:
    """Columns in the groups that there are from `first` on."""
    left = i64.sub(rows.fn, rows.plan.lane_extent, first)
    return i64.sub(rows.fn, left, i64.mod(rows.fn, left, size))


def _disjoint(rows: RowEmitter) -> str:
    """Whether no result shares memory with an operand."""
    fn, slots = rows.fn, rows.plan.kernel.slots
    body = list(instructions(rows.plan.kernel))
    result = "true"
    for written in sorted({i.slot for i in body if isinstance(i, Store)}):
        for read in sorted({i.slot for i in body if isinstance(i, Load)}):
            ends = []
            for one, other in ((written, read), (read, written)):
                end = i64.step(fn, rows.addresses.base(one), slots[one].size * slots[one].dtype.itemsize)
                ends.append(fn.op(f"icmp ule ptr {end}, {rows.addresses.base(other)}"))
            result = fn.op(f"and i1 {result}, {fn.op(f'or i1 {ends[0]}, {ends[1]}')}")
    return result
