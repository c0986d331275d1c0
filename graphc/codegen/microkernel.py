"""The register tile: `rows` x `vectors` accumulators that stay in registers over the whole depth.

    void @tile_f32_14x2(ptr a, i64 row, i64 step, ptr b, i64 pitch, i64 depth, ptr start, ptr c, i64 stride,
                           i64 columns, i64 rows)

    c[i, :] = start[i, :] + sum over k < depth of a[i * row + k * step] * b[k * pitch : ]        strides in bytes, depth >= 1

Each step loads `vectors` registers of b and broadcasts one element of a per row, so nothing but b needs to be contiguous. `start`
is null for a sum that begins at zero; else a dense tile, which may be `c` itself. The sum runs over ascending k in every element,
so its bits do not depend on the tile's shape. Strides are arguments, and a module holds each tile once, for all its contractions.
`columns` matter to a masked tile only, and `rows` to none: they are there to be called like `dotkernel`.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.builder import Function, Module
from graphc.codegen.registers import lanes_below, lanes_of, masked_store, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES, is_float, is_integer

# One register holds the broadcast element and one is spare: the next broadcast, or the product where there is no FMA.
_WORKING_REGISTERS = 2
_MAX_ROWS = 28
# Rows whose addresses follow one another by additions: a longer chain would take longer than the multiplications.
_ROWS_PER_POINTER = 7


def most_rows(target: Target, vectors: int) -> int:
    """The tallest tile of that many vectors that leaves every accumulator in a register."""
    return min((target.vector_registers - _WORKING_REGISTERS - vectors) // vectors, _MAX_ROWS)


def tile_function(module: Module, target: Target, dtype: np.dtype, rows: int, vectors: int, masked: bool = False) -> str:
    """The name of the register tile's function, emitted at its first use in the module. A masked one stores no more than
    `columns`."""
    name = f"tile_{SHORT_NAMES[dtype]}_{rows}x{vectors}" + "_masked" * masked
    if all(fn.name != name for fn in module.functions):
        _emit(module, target, dtype, rows, vectors, masked, name)
    return name


TILE_PARAMS = (
    ("ptr", "a"), ("i64", "row"), ("i64", "step"), ("ptr", "b"), ("i64", "pitch"), ("i64", "depth"), ("ptr", "start"),
    ("ptr", "c"), ("i64", "stride"), ("i64", "columns"), ("i64", "rows"),
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


def _emit(module: Module, target: Target, dtype: np.dtype, rows: int, vectors: int, masked: bool, name: str) -> None:
    fn = module.function(name, TILE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    vector = f"<{lanes} x {element}>"
    places = [(i, j) for i in range(rows) for j in range(vectors)]

    def load_vector(base: str, offset: int) -> str:
        at = fn.op(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base
        return fn.op(f"load {vector}, ptr {at}, align {size}")

    fn.branch(fn.op("icmp eq ptr %start, null"), "fresh", "resume")
    fn.start("resume")
    started = [load_vector("%start", (i * vectors + j) * lanes * size) for i, j in places]
    fn.jump("fresh")

    fn.start("fresh")
    initial = [fn.op(f"phi {vector} [ zeroinitializer, %entry ], [ {value}, %resume ]") for value in started]
    groups = range(0, rows, _ROWS_PER_POINTER)
    firsts = ["%a"]
    for group in groups[1:]:
        # Through an integer, or LLVM would see that all pointers are one and add up its way through all the rows.
        number = fn.op(f"add i64 {fn.op('ptrtoint ptr %a to i64')}, {fn.op(f'mul i64 %row, {group}')}")
        firsts.append(fn.op(f"inttoptr i64 {number} to ptr"))
    fn.jump("depth_loop")

    fn.start("depth_loop")
    phis = len(fn.lines)
    sums = [fn.fresh("sum") for _ in places]
    columns = [load_vector("%bk", j * lanes * size) for j in range(vectors)]
    pointer = ""
    updated = []
    for i in range(rows):
        pointer = fn.op(f"getelementptr i8, ptr {pointer}, i64 %row") if i not in groups else f"%ak{i}"
        scalar = fn.op(f"load {element}, ptr {pointer}, align {size}")
        single = fn.op(f"insertelement {vector} poison, {element} {scalar}, i64 0")
        splat = fn.op(f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer")
        for j in range(vectors):
            updated.append(multiply_add(fn, target, dtype, lanes, splat, columns[j], sums[i * vectors + j]))
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
        f"  %togo = phi i64 [ %depth, %fresh ], [ {left}, %depth_loop ]",
    ]
    for total, first, following in zip(sums, initial, updated, strict=True):
        lines.append(f"  {total} = phi {vector} [ {first}, %fresh ], [ {following}, %depth_loop ]")
    fn.lines[phis:phis] = lines

    fn.start("finish")
    row = "%c"
    mask = lanes_below(fn, lanes, fn.op(f"sub i64 %columns, {(vectors - 1) * lanes}")) if masked else ""
    for i in range(rows):
        for j in range(vectors):
            at = fn.op(f"getelementptr i8, ptr {row}, i64 {j * lanes * size}") if j else row
            value = updated[i * vectors + j]
            if masked and j == vectors - 1:
                fn.do(masked_store(fn, vector, element, size, value, at, mask))
            else:
                fn.do(f"store {vector} {value}, ptr {at}, align {size}")
        if i + 1 < rows:
            row = fn.op(f"getelementptr i8, ptr {row}, i64 %stride")
    fn.ret()


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
