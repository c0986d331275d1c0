"""Packing: an operand's rows laid side by side, so that one step of the depth is contiguous.

    panel[k, r] = source[r * row + k * step]        r < count, k < depth; the panel has `pitch` bytes a step

Two functions a module holds once per element type: `@pack_copy` where the rows are neighbours in memory, `@pack_turn` where the depth
is contiguous: it transposes square blocks in registers. Columns from `count` to the end of a register are zero. Both write whole
registers in ascending k, and `pack_turn` whole blocks, so a panel needs room for `panel_bytes`. Neither reads outside the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.codegen.builder import Function, Module
from graphc.codegen.registers import lanes_below, lanes_of, masked_load, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES

COPY_PARAMS = (("ptr", "source"), ("i64", "step"), ("ptr", "panel"), ("i64", "pitch"), ("i64", "count"), ("i64", "depth"))
TURN_PARAMS = (("ptr", "source"), ("i64", "row"), ("ptr", "panel"), ("i64", "pitch"), ("i64", "count"), ("i64", "depth"))


def panel_bytes(target: Target, dtype: np.dtype, width: int, depth: int) -> int:
    """Room for a panel of `width` elements a step, including what whole registers and blocks write past its end."""
    lanes = lanes_of(target, dtype)
    return _round_up((_round_up(depth, lanes) * width + lanes) * dtype.itemsize, 64)


def copy_function(module: Module, target: Target, dtype: np.dtype) -> str:
    """`@pack_copy`: source rows are adjacent elements, `step` bytes lie between steps of the depth."""
    name = f"pack_copy_{SHORT_NAMES[dtype]}"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, COPY_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    vector = f"<{lanes} x {element}>"

    def group(source: str, panel: str, load: Callable[[str], str]) -> None:
        with fn.loop("0", "%depth", carried=[("ptr", source), ("ptr", panel)]) as k:
            value = fn.op(load(k.carried[0]))
            fn.do(f"store {vector} {value}, ptr {k.carried[1]}, align {size}")
            k.next(*(fn.op(f"getelementptr i8, ptr {at}, i64 {by}") for at, by in zip(k.carried, ("%step", "%pitch"), strict=True)))

    full = fn.op(f"and i64 %count, {-lanes}")
    with fn.loop("0", full, lanes) as column:
        source, panel = (_element(fn, base, column.index, size) for base in ("%source", "%panel"))
        group(source, panel, lambda at: f"load {vector}, ptr {at}, align {size}")
    with fn.when(fn.op(f"icmp slt i64 {full}, %count")):
        source, panel = (_element(fn, base, full, size) for base in ("%source", "%panel"))
        mask = lanes_below(fn, lanes, fn.op(f"sub i64 %count, {full}"))
        group(source, panel, lambda at: masked_load(fn, vector, element, size, at, mask))
    fn.ret()
    return name


def turn_function(module: Module, target: Target, dtype: np.dtype) -> str:
    """`@pack_turn`: the depth is contiguous in the source, `row` bytes lie between rows."""
    name = f"pack_turn_{SHORT_NAMES[dtype]}"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, TURN_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    vector = f"<{lanes} x {element}>"
    # A block that the source does not fill is first copied here, masked, so that both kinds share the transposing code.
    edge = fn.op(f"alloca [{lanes * lanes} x {element}], align 64", "edge")
    with fn.loop("0", "%count", lanes) as r:
        rows = fn.op(f"getelementptr i8, ptr %source, i64 {fn.op(f'mul i64 {r.index}, %row')}")
        columns = _element(fn, "%panel", r.index, size)
        rows_left = fn.op(f"sub i64 %count, {r.index}")
        rows_full = fn.op(f"icmp sge i64 {rows_left}, {lanes}")
        with fn.loop("0", "%depth", lanes) as k:
            block = _element(fn, rows, k.index, size)
            depth_left = fn.op(f"sub i64 %depth, {k.index}")
            depth_full = fn.op(f"icmp sge i64 {depth_left}, {lanes}")
            full = fn.op(f"and i1 {rows_full}, {depth_full}")
            start = fn.block
            partial, turn = fn.label("partial"), fn.label("turn")
            fn.branch(full, turn, partial)
            fn.start(partial)
            mask = lanes_below(fn, lanes, depth_left)
            with fn.loop("0", str(lanes), carried=[("ptr", block)]) as i:
                inside = fn.op(f"icmp slt i64 {i.index}, {rows_left}")
                row_mask = fn.op(f"select i1 {inside}, <{lanes} x i1> {mask}, <{lanes} x i1> zeroinitializer")
                value = fn.op(masked_load(fn, vector, element, size, i.carried[0], row_mask))
                fn.do(f"store {vector} {value}, ptr {_element(fn, edge, fn.op(f'mul i64 {i.index}, {lanes}'), size)}, align {size}")
                i.next(fn.op(f"getelementptr i8, ptr {i.carried[0]}, i64 %row"))
            copied = fn.block
            fn.jump(turn)
            fn.start(turn)
            origin = fn.op(f"phi ptr [ {block}, %{start} ], [ {edge}, %{copied} ]")
            row = fn.op(f"phi i64 [ %row, %{start} ], [ {lanes * size}, %{copied} ]")
            values = []
            for i in range(lanes):
                values.append(fn.op(f"load {vector}, ptr {origin}, align {size}"))
                if i + 1 < lanes:
                    origin = fn.op(f"getelementptr i8, ptr {origin}, i64 {row}")
            target_row = fn.op(f"getelementptr i8, ptr {columns}, i64 {fn.op(f'mul i64 {k.index}, %pitch')}")
            for i, value in enumerate(transposed(fn, values, element, size)):
                fn.do(f"store {vector} {value}, ptr {target_row}, align {size}")
                if i + 1 < lanes:
                    target_row = fn.op(f"getelementptr i8, ptr {target_row}, i64 %pitch")
    fn.ret()
    return name


def transposed(fn: Function, rows: Sequence[str], element: str, size: int) -> list[str]:
    """The columns of a square of registers: within 128-bit parts by unpacking, then whole parts. Each step is one instruction."""
    lanes = len(rows)
    per_part = max(min(16 // size, lanes), 1)
    vector = f"<{lanes} x {element}>"
    starts = range(0, lanes, per_part)

    def shuffle(x: str, y: str, order: Sequence[int]) -> str:
        mask = ", ".join(f"i32 {lane}" for lane in order)
        return fn.op(f"shufflevector {vector} {x}, {vector} {y}, <{lanes} x i32> <{mask}>")

    half = per_part // 2
    low = [lane for start in starts for i in range(half) for lane in (start + i, lanes + start + i)]
    high = [lane + half for lane in low]
    groups = [list(rows[start : start + per_part]) for start in starts]
    for _ in range(per_part.bit_length() - 1):
        groups = [[shuffle(g[i], g[i + half], order) for i in range(half) for order in (low, high)] for g in groups]

    parts = len(groups)
    even = [source + start + i for source in (0, lanes) for start in starts[::2] for i in range(per_part)]
    odd = [lane + per_part for lane in even]
    columns: list[list[str]] = []  # by place in a part, then by part
    for place in range(per_part):
        column = [group[place] for group in groups]
        for _ in range(parts.bit_length() - 1):
            pairs = list(zip(column[::2], column[1::2], strict=True))
            column = [shuffle(x, y, even) for x, y in pairs] + [shuffle(x, y, odd) for x, y in pairs]
        columns.append(column)
    return [columns[i % per_part][i // per_part] for i in range(lanes)]


def _element(fn: Function, base: str, index: str, size: int) -> str:
    return fn.op(f"getelementptr i8, ptr {base}, i64 {fn.op(f'mul i64 {index}, {size}')}")


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
