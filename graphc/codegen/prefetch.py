"""The lines that the epilogue of a tile reads and writes, asked for before the tile is computed.

    void @contract_0_prefetch(ptr args, i64 batch, i64 m0, i64 rows, i64 strip, i64 strip_after)

A tile touches a few lines in each of many rows, which no hardware prefetcher foresees, and it touches them all at once, behind a
loop over k that reads none of them. Asked for before that loop, they arrive while it runs (measured, with the update of a weight
as the epilogue: 5 to 10 % of the time where its moments lie in memory or in the last cache).
"""

from __future__ import annotations

from graphc.codegen import integers as i64
from graphc.codegen.builder import Module
from graphc.codegen.flat import BATCH, Flat, M, N
from graphc.codegen.registers import lanes_of
from graphc.codegen.target import Target
from graphc.index import Index
from graphc.kernel import Load, Store

PREFETCH_PARAMS = (
    ("ptr", "args"),
    ("i64", "batch"),
    ("i64", "m0"),
    ("i64", "rows"),
    ("i64", "strip"),
    ("i64", "strip_after"),
)
FAR = 1 << 18  # bytes: a smaller buffer lies in a near cache anyway


def prefetch_function(module: Module, target: Target, flat: Flat, name: str) -> str:
    """Emits the function; returns its name as a table holds it, null where there is nothing to ask for."""
    wanted = _rows(flat)
    if not wanted:
        return "null"
    fn = module.function(name, PREFETCH_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    module.declare("llvm.prefetch.p0", "void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    lanes = lanes_of(target, flat.dtype)
    columns = i64.mul(fn, "%strip", lanes)
    first: list[tuple[str, str]] = []
    for slot, (index, size, _) in wanted.items():
        at = i64.add(fn, columns, index.substitute({BATCH: Index(), M: Index(), N: Index()}).const)
        for axis, value in ((BATCH, "%batch"), (M, "%m0")):
            at = i64.add(fn, at, i64.mul(fn, value, index.stride(axis) or 0))
        base = fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * slot)}")
        first.append(("ptr", i64.step(fn, base, i64.mul(fn, at, size))))
    strips = i64.sub(fn, "%strip_after", "%strip")
    with fn.loop("0", "%rows", carried=first) as row:
        with fn.loop("0", strips) as strip:
            for at, (_, size, written) in zip(row.carried, wanted.values(), strict=True):
                line = i64.step(fn, at, i64.mul(fn, strip.index, lanes * size))
                fn.do(f"call void @llvm.prefetch.p0(ptr {line}, i32 {int(written)}, i32 3, i32 1)")
            strip.next()
        steps = ((index.stride(M) or 0) * size for index, size, _ in wanted.values())
        row.next(*(i64.step(fn, at, step) for at, step in zip(row.carried, steps, strict=True)))
    fn.ret()
    return f"@{name}"


def _rows(flat: Flat) -> dict[int, tuple[Index, int, bool]]:
    """By slot: where its elements lie, their size, and whether they are written; of large buffers that are walked row by row."""
    found: dict[int, tuple[Index, int, bool]] = {}
    for instr in flat.epilogue:
        if not isinstance(instr, (Load, Store)) or (isinstance(instr, Load) and (instr.where or instr.gather)):
            continue
        index, size = instr.offset, instr.dtype.itemsize
        if index.stride(N) != 1 or not index.stride(M) or index.stride(BATCH) is None:
            continue
        if flat.slots[instr.slot].size * size >= FAR:
            found[instr.slot] = (index, size, isinstance(instr, Store))  # stores come last
    return found
