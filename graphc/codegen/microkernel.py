"""The register tile: `rows` x `vectors` accumulators that stay in registers over the whole depth.

    void @tile_f32_14x2(ptr a, i64 row, i64 step, ptr b, i64 pitch, i64 depth, ptr start, ptr c, i64 stride)

    c[i, :] = start[i, :] + sum over k < depth of a[i * row + k * step] * b[k * pitch : ]        strides in bytes, depth >= 1

Each step loads `vectors` registers of b and broadcasts one element of a per row, so nothing but b needs to be contiguous. `start` is
null for a sum that begins at zero; else a dense tile, which may be `c` itself. The sum runs over ascending k in every element, so
its bits do not depend on the tile's shape. Strides are arguments, and a module holds each tile once, for all its contractions.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.builder import Function, Module
from graphc.codegen.target import Target
from graphc.codegen.values import Value
from graphc.types import SHORT_NAMES, is_bool, is_float, is_integer

# One register holds the broadcast element and one is spare: the next broadcast, or the product where there is no FMA.
_WORKING_REGISTERS = 2
_MAX_ROWS = 28
# Rows whose addresses follow one another by additions: a longer chain would take longer than the multiplications.
_ROWS_PER_POINTER = 7

MEMORY = {"f": {4: "float", 8: "double"}, "i": {4: "i32", 8: "i64"}, "b": {1: "i8"}}


def memory_type(dtype: np.dtype) -> str:
    """The LLVM type of an element in memory; a bool is a byte of 0 or 1."""
    return MEMORY[dtype.kind][dtype.itemsize]


def lanes_of(target: Target, dtype: np.dtype) -> int:
    """Elements in a register. A register of bools is kept as short as one of 32-bit elements: so many meet other types in the epilogue."""
    return target.lanes(4 if is_bool(dtype) else dtype.itemsize)


def load_lanes(fn: Function, dtype: np.dtype, lanes: int, pointer: str) -> Value:
    """A register of elements from scratch memory."""
    vector = f"<{lanes} x {memory_type(dtype)}>"
    name = fn.op(f"load {vector}, ptr {pointer}, align {dtype.itemsize}")
    return Value(fn.op(f"icmp ne {vector} {name}, zeroinitializer") if is_bool(dtype) else name, dtype, lanes)


def store_lanes(fn: Function, value: Value, pointer: str) -> None:
    """A register of elements to scratch memory."""
    vector = f"<{value.lanes} x {memory_type(value.dtype)}>"
    name = fn.op(f"zext <{value.lanes} x i1> {value.name} to {vector}") if is_bool(value.dtype) else value.name
    fn.do(f"store {vector} {name}, ptr {pointer}, align {value.dtype.itemsize}")


def most_rows(target: Target, vectors: int) -> int:
    """The tallest tile of that many vectors that leaves every accumulator in a register."""
    return min((target.vector_registers - _WORKING_REGISTERS - vectors) // vectors, _MAX_ROWS)


def tile_function(module: Module, target: Target, dtype: np.dtype, rows: int, vectors: int) -> str:
    """The name of the register tile's function, emitted at its first use in the module."""
    name = f"tile_{SHORT_NAMES[dtype]}_{rows}x{vectors}"
    if all(fn.name != name for fn in module.functions):
        _emit(module, target, dtype, rows, vectors, name)
    return name


TILE_PARAMS = (
    ("ptr", "a"), ("i64", "row"), ("i64", "step"), ("ptr", "b"), ("i64", "pitch"), ("i64", "depth"), ("ptr", "start"), ("ptr", "c"), ("i64", "stride"),
)  # fmt: skip


def _emit(module: Module, target: Target, dtype: np.dtype, rows: int, vectors: int, name: str) -> None:
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
    fn.jump("depth_loop")

    fn.start("depth_loop")
    phis = len(fn.lines)
    sums = [fn.fresh("sum") for _ in places]
    columns = [load_vector("%bk", j * lanes * size) for j in range(vectors)]
    pointer = "%ak"
    updated = []
    for i in range(rows):
        scalar = fn.op(f"load {element}, ptr {pointer}, align {size}")
        single = fn.op(f"insertelement {vector} poison, {element} {scalar}, i64 0")
        splat = fn.op(f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer")
        for j in range(vectors):
            updated.append(_multiply_add(fn, target, dtype, lanes, splat, columns[j], sums[i * vectors + j]))
        if i + 1 < rows:
            pointer = fn.op(f"getelementptr i8, ptr {pointer}, i64 %row")
    next_a = fn.op("getelementptr i8, ptr %ak, i64 %step")
    next_b = fn.op("getelementptr i8, ptr %bk, i64 %pitch")
    left = fn.op("add nsw i64 %togo, -1")
    fn.branch(fn.op(f"icmp eq i64 {left}, 0"), "finish", "depth_loop")
    lines = [
        f"  %ak = phi ptr [ %a, %fresh ], [ {next_a}, %depth_loop ]",
        f"  %bk = phi ptr [ %b, %fresh ], [ {next_b}, %depth_loop ]",
        f"  %togo = phi i64 [ %depth, %fresh ], [ {left}, %depth_loop ]",
    ]
    for total, first, following in zip(sums, initial, updated, strict=True):
        lines.append(f"  {total} = phi {vector} [ {first}, %fresh ], [ {following}, %depth_loop ]")
    fn.lines[phis:phis] = lines

    fn.start("finish")
    row = "%c"
    for i in range(rows):
        for j in range(vectors):
            at = fn.op(f"getelementptr i8, ptr {row}, i64 {j * lanes * size}") if j else row
            fn.do(f"store {vector} {updated[i * vectors + j]}, ptr {at}, align {size}")
        if i + 1 < rows:
            row = fn.op(f"getelementptr i8, ptr {row}, i64 %stride")
    fn.ret()


def _multiply_add(fn: Function, target: Target, dtype: np.dtype, lanes: int, x: str, y: str, total: str) -> str:
    vector = f"<{lanes} x {memory_type(dtype)}>"
    if is_float(dtype) and target.has_fma:
        full = f"@llvm.fma.v{lanes}{SHORT_NAMES[dtype]}"
        fn.module.declare(full, f"{vector} {full}({vector}, {vector}, {vector})")
        return fn.op(f"call {vector} {full}({vector} {x}, {vector} {y}, {vector} {total})")
    times, plus = ("fmul", "fadd") if is_float(dtype) else ("mul", "add") if is_integer(dtype) else ("and", "or")
    product = fn.op(f"{times} {vector} {x}, {y}")
    return fn.op(f"{plus} {vector} {total}, {product}")
