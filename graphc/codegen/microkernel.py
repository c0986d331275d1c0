"""The register tile: `rows` x `vectors` accumulators that stay in registers over the whole depth.

    void @tile_f32_14x2(ptr a, i64 row, i64 step, ptr b, i64 pitch, i64 depth, ptr start, ptr c, i64 stride,
                           i64 columns, i64 rows, ptr ahead, i64 ahead_step)

    c[i, :] = start[i, :] + sum over k < depth of a[i * row + k * step] * b[k * pitch : ]        strides in bytes, depth >= 1

Each step loads `vectors` registers of b and broadcasts one element of a per row, so nothing but b needs to be contiguous. `start`
is null for a sum that begins at zero; else a dense tile, which may be `c` itself. The sum runs over ascending k in every element,
so its bits do not depend on the tile's shape. Strides are arguments, and a module holds each tile once, for all its contractions.
`columns` matter to a masked tile only, and `rows` to none: they are there to be called like `dotkernel`. Each step asks for the
cache line at `ahead`, which moves on by `ahead_step`: what the tiles of the next panel read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.codegen.builder import Function, Module
from graphc.codegen.registers import joined, lanes_below, lanes_of, masked_load, masked_store, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES, is_float, is_integer

# One register holds the broadcast element and one is spare: the next broadcast, or the product where there is no FMA. Where
# multiply-adds take no operand from memory, LLVM has up to four broadcasts on their way.
_WORKING_REGISTERS = {True: 2, False: 4}
_MAX_ROWS = 28
# Rows whose addresses follow one another by additions: a longer chain would take longer than the multiplications.
_ROWS_PER_POINTER = 7


def most_rows(target: Target, vectors: int) -> int:
    """The tallest tile of that many vectors that leaves every accumulator in a register."""
    if vectors == row_vectors(target):
        return 1
    return min((target.vector_registers - _WORKING_REGISTERS[target.memory_operands] - vectors) // vectors, _MAX_ROWS)


def row_vectors(target: Target) -> int:
    """The widest tile of one row: each register of the right operand is used once."""
    return target.vector_registers // (2 if target.memory_operands else 4)


def tile_function(
    module: Module, target: Target, dtype: np.dtype, rows: int, vectors: int, masked: bool = False, shared_by: int = 1
) -> str:
    """The name of the register tile's function, emitted at its first use in the module. A masked one reads and stores no more
    than `columns`. The last register across holds the columns of `shared_by` rows."""
    name = f"tile_{SHORT_NAMES[dtype]}_{rows}x{vectors}" + f"_by{shared_by}" * (shared_by > 1) + "_masked" * masked
    if all(fn.name != name for fn in module.functions):
        _emit(module, target, Tile(dtype, rows, vectors, lanes_of(target, dtype), shared_by, masked), name)
    return name


@dataclass(frozen=True, slots=True)
class Tile:
    dtype: np.dtype
    rows: int
    vectors: int
    lanes: int
    shared_by: int  # rows that share the last register across
    masked: bool

    @property
    def tail(self) -> int:
        """Columns of the last register across."""
        return self.lanes // self.shared_by

    @property
    def asks_ahead(self) -> bool:
        """Where loads are not what limits it."""
        return self.vectors > 1

    def sharing(self, j: int) -> int:
        return self.shared_by if j == self.vectors - 1 else 1

    @property
    def places(self) -> list[tuple[int, int, int]]:
        """(first row, rows, register across) of every sum, by the last row."""
        found = []
        for i in range(self.rows):
            for j in range(self.vectors):
                first = i - i % self.sharing(j)
                if i + 1 == min(first + self.sharing(j), self.rows):
                    found.append((first, i + 1 - first, j))
        return found


TILE_PARAMS = (
    ("ptr", "a"), ("i64", "row"), ("i64", "step"), ("ptr", "b"), ("i64", "pitch"), ("i64", "depth"), ("ptr", "start"),
    ("ptr", "c"), ("i64", "stride"), ("i64", "columns"), ("i64", "rows"), ("ptr", "ahead"), ("i64", "ahead_step"),
)  # fmt: skip


def zero_tile_function(module: Module) -> str:
    """What a tile is where there is nothing to sum."""
    name = "tile_zero"
    if all(fn.name != name for fn in module.functions):
        fn = module.function(name, TILE_PARAMS, "void", "nounwind")
        fn.linkage = "internal"
        module.declare("@llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        fn.do(f"call void @llvm.memset.p0.i64(ptr %c, i8 0, i64 {fn.op('mul i64 %rows, %stride')}, i1 false)")
        fn.ret()
    return name


def _emit(module: Module, target: Target, tile: Tile, name: str) -> None:
    fn = module.function(name, TILE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    dtype, rows, lanes = tile.dtype, tile.rows, tile.lanes
    element, size = memory_type(dtype), dtype.itemsize
    vector, wide = f"<{lanes} x {element}>", lanes * size
    mask = lanes_below(fn, tile.tail, fn.op(f"sub i64 %columns, {(tile.vectors - 1) * lanes}")) if tile.masked else ""

    def load_tail(at: str) -> str:
        part = f"<{tile.tail} x {element}>"
        if tile.masked and target.masked_loads:
            return fn.op(masked_load(fn, part, element, size, at, mask))
        return fn.op(f"load {part}, ptr {at}, align {size}")

    fn.branch(fn.op("icmp eq ptr %start, null"), "fresh", "resume")
    fn.start("resume")
    started = []
    for first, count, j in tile.places:
        pieces = []
        for i in range(first, first + count):
            at = fn.op(f"getelementptr i8, ptr %start, i64 {(i * tile.vectors + j) * wide}")
            pieces.append(fn.op(f"load <{lanes // tile.sharing(j)} x {element}>, ptr {at}, align {size}"))
        started.append(joined(fn, element, lanes // tile.sharing(j), pieces, lanes))
    resumed = fn.block
    fn.jump("fresh")

    fn.start("fresh")
    initial = [fn.op(f"phi {vector} [ zeroinitializer, %entry ], [ {value}, %{resumed} ]") for value in started]
    groups = range(0, rows, _ROWS_PER_POINTER)
    firsts = ["%a"]
    for group in groups[1:]:
        # Through an integer, or LLVM would see that all pointers are one and add up its way through all the rows.
        number = fn.op(f"add i64 {fn.op('ptrtoint ptr %a to i64')}, {fn.op(f'mul i64 %row, {group}')}")
        firsts.append(fn.op(f"inttoptr i64 {number} to ptr"))
    fn.jump("depth_loop")

    fn.start("depth_loop")
    phis = len(fn.lines)
    sums = [fn.fresh("sum") for _ in tile.places]
    columns = []
    for j in range(tile.vectors):
        at = fn.op(f"getelementptr i8, ptr %bk, i64 {j * wide}") if j else "%bk"
        if j + 1 < tile.vectors:
            columns.append(fn.op(f"load {vector}, ptr {at}, align {size}"))
        else:
            columns.append(joined(fn, element, tile.tail, [load_tail(at)] * tile.shared_by, lanes))
    pointer, splats = "", []
    updated: list[str] = []
    for i in range(rows):
        pointer = fn.op(f"getelementptr i8, ptr {pointer}, i64 %row") if i not in groups else f"%ak{i}"
        scalar = fn.op(f"load {element}, ptr {pointer}, align {size}")
        single = fn.op(f"insertelement {vector} poison, {element} {scalar}, i64 0")
        splats.append(fn.op(f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer"))
        for first, count, j in tile.places:
            if first + count - 1 == i:
                factor = _blended(fn, vector, lanes, tile.tail, splats[first:]) if tile.sharing(j) > 1 else splats[i]
                total = sums[len(updated)]
                updated.append(multiply_add(fn, target, dtype, lanes, factor, columns[j], total))
    if tile.asks_ahead:
        fn.module.declare("llvm.prefetch.p0", "void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        fn.do("call void @llvm.prefetch.p0(ptr %aheadk, i32 0, i32 2, i32 1)")
    next_ahead = fn.op("getelementptr i8, ptr %aheadk, i64 %ahead_step")
    next_a = [fn.op(f"getelementptr i8, ptr %ak{group}, i64 %step") for group in groups]
    next_b = fn.op("getelementptr i8, ptr %bk, i64 %pitch")
    left = fn.op("add nsw i64 %togo, -1")
    fn.branch(fn.op(f"icmp eq i64 {left}, 0"), "finish", "depth_loop")
    lines = [
        *(
            f"  %ak{g} = phi ptr [ {first}, %fresh ], [ {after}, %depth_loop ]"
            for g, first, after in zip(groups, firsts, next_a, strict=True)
        ),
        f"  %bk = phi ptr [ %b, %fresh ], [ {next_b}, %depth_loop ]",
        f"  %aheadk = phi ptr [ %ahead, %fresh ], [ {next_ahead}, %depth_loop ]",
        f"  %togo = phi i64 [ %depth, %fresh ], [ {left}, %depth_loop ]",
    ]
    for total, first_value, following in zip(sums, initial, updated, strict=True):
        lines.append(f"  {total} = phi {vector} [ {first_value}, %fresh ], [ {following}, %depth_loop ]")
    fn.lines[phis:phis] = lines

    fn.start("finish")
    row = "%c"
    for i in range(rows):
        for (first, count, j), value in zip(tile.places, updated, strict=True):
            if not first <= i < first + count:
                continue
            at = fn.op(f"getelementptr i8, ptr {row}, i64 {j * wide}") if j else row
            width = lanes // tile.sharing(j)
            part = f"<{width} x {element}>"
            if width < lanes:
                order = ", ".join(f"i32 {(i - first) * width + lane}" for lane in range(width))
                value = fn.op(f"shufflevector {vector} {value}, {vector} poison, <{width} x i32> <{order}>")
            if tile.masked and j == tile.vectors - 1:
                fn.do(masked_store(fn, part, element, size, value, at, mask))
            else:
                fn.do(f"store {part} {value}, ptr {at}, align {size}")
        if i + 1 < rows:
            row = fn.op(f"getelementptr i8, ptr {row}, i64 %stride")
    fn.ret()


def _blended(fn: Function, vector: str, lanes: int, tail: int, splats: list[str]) -> str:
    """The register whose n-th `tail` lanes are those of the n-th splat, or of the last."""
    value = splats[-1]
    for nth, splat in reversed(list(enumerate(splats[:-1]))):
        chosen = ", ".join(f"i1 {int(lane < (nth + 1) * tail)}" for lane in range(lanes))
        value = fn.op(f"select <{lanes} x i1> <{chosen}>, {vector} {splat}, {vector} {value}")
    return value


def plus(dtype: np.dtype) -> str:
    """The instruction that adds; for bool, or."""
    return "fadd" if is_float(dtype) else "add" if is_integer(dtype) else "or"


def multiply_add(fn: Function, target: Target, dtype: np.dtype, lanes: int, x: str, y: str, total: str) -> str:
    vector = f"<{lanes} x {memory_type(dtype)}>"
    if is_float(dtype) and target.has_fma:
        full = f"@llvm.fma.v{lanes}{SHORT_NAMES[dtype]}"
        fn.module.declare(full, f"{vector} {full}({vector}, {vector}, {vector})")
        return fn.op(f"call {vector} {full}({vector} {x}, {vector} {y}, {vector} {total})")
    times = "fmul" if is_float(dtype) else "mul" if is_integer(dtype) else "and"
    return fn.op(f"{plus(dtype)} {vector} {total}, {fn.op(f'{times} {vector} {x}, {y}')}")
