"""Products of few rows or few columns whose operands are both contiguous in k: registers run along k, and are summed at the end.

    void @dot_f32_4x3(ptr a, i64 row, i64 step, ptr b, i64 pitch, i64 depth, ptr start, ptr c, i64 stride, i64 columns, i64 rows)

    c[i, j] = start[i, j] + sum over k < depth of a[i * row + k] * b[j * pitch + k]      strides in bytes; the others are unused

Called like a register tile, but b is read as it lies, which saves packing it, and columns cost nothing that are not there. Each
register holds every lanes-th product of one element; the order in which they are added depends on the depth alone. c must have
room for whole blocks of 4 x 3, here; what lies outside `rows` and `columns` is written with copies of the first row and column.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen import integers as i64
from graphc.codegen.builder import Function, Module
from graphc.codegen.loops import repeat
from graphc.codegen.microkernel import TILE_PARAMS, multiply_add, plus
from graphc.codegen.registers import lanes_below, lanes_of, masked_load, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES


def dot_shape(target: Target, lanes: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns that are summed side by side: enough of them to hide latency, few enough for their pointers to stay in
    registers."""
    if rows == 1:
        return 1, min(8, columns)
    if columns == 1:
        return min(8, rows), 1
    sums = 20 if target.vector_registers >= 32 else 8
    # Blocks of columns must not reach past a panel, which is a whole number of registers.
    across = columns if columns < 4 else 5 if columns % 5 == 0 and columns <= lanes and sums >= 20 else min(4, lanes)
    most = min(4, sums // across)
    return -(-rows // -(-rows // most)), across


def dot_function(module: Module, target: Target, dtype: np.dtype, rows: int, columns: int) -> str:
    name = f"dot_{SHORT_NAMES[dtype]}_{rows}x{columns}"
    if all(fn.name != name for fn in module.functions):
        _emit(module, target, dtype, rows, columns, name)
    return name


def _emit(module: Module, target: Target, dtype: np.dtype, height: int, width: int, name: str) -> None:
    fn = module.function(name, TILE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    vector = f"<{lanes} x {element}>"
    full = fn.op(f"and i64 %depth, {-lanes}")
    mask = lanes_below(fn, lanes, fn.op(f"sub i64 %depth, {full}"))
    count = height * width

    with repeat(fn, "0", "%columns", width) as column, repeat(fn, "0", "%rows", height) as row:
        a = [_line(fn, "%a", "%row", row.index, i, "%rows") for i in range(height)]
        b = [_line(fn, "%b", "%pitch", column.index, j, "%columns") for j in range(width)]

        def products(sums: list[str], load, a=a, b=b) -> list[str]:
            left, right = [load(at) for at in a], [load(at) for at in b]
            return [multiply_add(fn, target, dtype, lanes, left[t // width], right[t % width], sums[t]) for t in range(count)]

        with fn.loop("0", full, lanes, carried=[(vector, "zeroinitializer")] * count) as k:
            offset = i64.mul(fn, k.index, size)
            k.next(*products(k.carried, lambda at: fn.op(f"load {vector}, ptr {i64.step(fn, at, offset)}, align {size}")))
        end = i64.mul(fn, full, size)
        sums = products(k.results, lambda at: fn.op(masked_load(fn, vector, element, size, i64.step(fn, at, end), mask)))

        place = i64.add(fn, i64.mul(fn, row.index, "%stride"), i64.mul(fn, column.index, size))
        _store(fn, dtype, lanes, sums, width, place)
    fn.ret()


def _line(fn: Function, base: str, stride: str, first: str, nth: int, count: str) -> str:
    """The address of a row of a or b; of one that exists."""
    number = i64.add(fn, first, nth)
    if nth:
        number = i64.select(fn, fn.op(f"icmp slt i64 {number}, {count}"), number, first)
    return i64.step(fn, base, i64.mul(fn, number, stride))


def _store(fn: Function, dtype: np.dtype, lanes: int, sums: list[str], width: int, place: str) -> None:
    """Fold every register to its sum, and add the sums to what was there."""
    element, size = memory_type(dtype), dtype.itemsize
    across = min(width, lanes)
    # Pieces of rows, each in one folded register, together with as many others as fit.
    pieces = [(i, j, min(across, width - j)) for i in range(len(sums) // width) for j in range(0, width, across)]
    together = lanes // across
    fresh = fn.op("icmp eq ptr %start, null")
    for first in range(0, len(pieces), together):
        some = pieces[first : first + together]
        folded = _folded(fn, lanes, element, plus(dtype), [sums[i * width + j + t] for i, j, count in some for t in range(count)])
        for nth, (i, j, count) in enumerate(some):
            type_ = f"<{count} x {element}>" if count > 1 else element
            offset = i64.add(fn, i64.add(fn, place, i64.mul(fn, "%stride", i)), j * size)
            value = _part(fn, lanes, element, folded, nth * across, count)
            before = fn.op(f"select i1 {fresh}, ptr @zeros_{fn.name}, ptr {i64.step(fn, '%start', offset)}")
            value = fn.op(f"{plus(dtype)} {type_} {fn.op(f'load {type_}, ptr {before}, align {size}')}, {value}")
            fn.do(f"store {type_} {value}, ptr {i64.step(fn, '%c', offset)}, align {size}")
    fn.module.add_global(f"@zeros_{fn.name} = private unnamed_addr constant <{across} x {element}> zeroinitializer, align 64")


def _part(fn: Function, lanes: int, element: str, x: str, first: int, width: int) -> str:
    if width == 1:
        return fn.op(f"extractelement <{lanes} x {element}> {x}, i64 {first}")
    order = ", ".join(f"i32 {first + lane}" for lane in range(width))
    return fn.op(f"shufflevector <{lanes} x {element}> {x}, <{lanes} x {element}> poison, <{width} x i32> <{order}>")


def _folded(fn: Function, lanes: int, element: str, add: str, registers: list[str]) -> str:
    """A register whose lane t is the sum of the lanes of register t. Two registers are halved and joined at a time."""
    vector = f"<{lanes} x {element}>"

    def halved(x: str, y: str, block: int, blocks: int) -> str:
        """Blocks of `block` lanes, folded in the middle: those of x, then those of y."""

        def shuffle(shift: int) -> str:
            order = [
                source + start * block + i + shift for source in (0, lanes) for start in range(blocks) for i in range(block // 2)
            ]
            order = (order * lanes)[:lanes]
            return fn.op(
                f"shufflevector {vector} {x}, {vector} {y}, <{lanes} x i32> <{', '.join(f'i32 {lane}' for lane in order)}>"
            )

        return fn.op(f"{add} {vector} {shuffle(0)}, {shuffle(block // 2)}")

    block, blocks = lanes, 1
    while len(registers) > 1:
        if len(registers) % 2:
            registers = [*registers, registers[-1]]
        registers = [halved(x, y, block, blocks) for x, y in zip(registers[::2], registers[1::2], strict=True)]
        block, blocks = block // 2, blocks * 2
    while block > 1:
        registers = [halved(registers[0], registers[0], block, blocks)]
        block //= 2
    return registers[0]
