"""Packing: an operand's rows laid side by side, so that one step of the depth is contiguous.

    void @pack_...(ptr args, ptr scratch, i64 batch, ptr source, i64 stride, ptr panel, i64 pitch, i64 first, i64 count, i64 k0,
    i64 depth)

    panel[k, r] = source[r, k]        r < count, k < depth; from step to step the panel has `pitch` bytes

Two functions a module holds once per element type: `@pack_copy` where neighbouring rows are neighbours in memory, `@pack_turn`
where neighbouring steps are: it transposes blocks in registers. `stride` is the bytes along the other axis. Columns from `count`
to the end of a register hold anything. Both write whole registers in ascending k, and `pack_turn` whole blocks: a panel needs
room for `panel_bytes`, and a pitch of whole registers unless `count` fits in one. Neither reads outside the source. The other
arguments are for packs that evaluate a map: see `evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.codegen import integers as i64
from graphc.codegen.builder import Function, Module
from graphc.codegen.registers import joined, lanes_below, lanes_of, masked_load, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES

# Steps that are taken together where many panels are packed at a time: few enough for the hardware's prefetchers, which do not
# see the next ones coming. A step asks for its place in those.
PACK_STEPS = 8
PART_BYTES = 16  # what one unpacking instruction works within

PACK_PARAMS = (
    ("ptr", "args"), ("ptr", "scratch"), ("i64", "batch"), ("ptr", "source"), ("i64", "stride"), ("ptr", "panel"),
    ("i64", "pitch"), ("i64", "first"), ("i64", "count"), ("i64", "k0"), ("i64", "depth"),
)  # fmt: skip


def panel_bytes(target: Target, dtype: np.dtype, width: int, depth: int) -> int:
    """Room for a panel of `width` elements a step, including what whole registers and blocks write past its end."""
    lanes = lanes_of(target, dtype)
    return _round_up((_round_up(depth, lanes) * width + lanes) * dtype.itemsize, 64)


def copy_function(module: Module, target: Target, dtype: np.dtype) -> str:
    """`@pack_copy`: source rows are adjacent elements, `stride` bytes lie between steps of the depth."""
    name = f"pack_copy_{SHORT_NAMES[dtype]}"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, PACK_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    vector = f"<{lanes} x {element}>"

    module.declare("llvm.prefetch.p0", "void @llvm.prefetch.p0(ptr, i32, i32, i32)")

    def group(source: str, panel: str, load: Callable[[str], str]) -> None:
        with fn.loop("0", "%depth", carried=[("ptr", source), ("ptr", panel)]) as k:
            fn.do(f"call void @llvm.prefetch.p0(ptr {i64.step(fn, k.carried[0], ahead)}, i32 0, i32 3, i32 1)")
            value = fn.op(load(k.carried[0]))
            fn.do(f"store {vector} {value}, ptr {k.carried[1]}, align {size}")
            k.next(
                *(fn.op(f"getelementptr i8, ptr {at}, i64 {by}") for at, by in zip(k.carried, ("%stride", "%pitch"), strict=True))
            )

    full = fn.op(f"and i64 %count, {-lanes}")
    ahead = i64.mul(fn, "%stride", PACK_STEPS)
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
    """`@pack_turn`: the depth is contiguous in the source, `stride` bytes lie between rows."""
    name = f"pack_turn_{SHORT_NAMES[dtype]}"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, PACK_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    element, size, lanes = memory_type(dtype), dtype.itemsize, lanes_of(target, dtype)
    steps = min(PART_BYTES // size, lanes)
    part = f"<{steps} x {element}>"
    # A block that the source does not fill is first copied here, masked, so that both kinds share the transposing code.
    edge = fn.op(f"alloca [{lanes} x {part}], align 64", "edge")
    fn.do(f"store [{lanes} x {part}] zeroinitializer, ptr {edge}, align 64")
    last_row, last_step = i64.sub(fn, "%count", lanes), i64.sub(fn, "%depth", steps)
    fits = fn.op(f"and i1 {fn.op(f'icmp sge i64 {last_row}, 0')}, {fn.op(f'icmp sge i64 {last_step}, 0')}")
    most_row, most_step = (i64.select(fn, fits, most, size_) for most, size_ in ((last_row, "%count"), (last_step, "%depth")))
    with fn.loop("0", "%count", lanes) as r:
        # The last blocks end where the source does, and do again what those before them did, if one block fits at all.
        row0 = i64.minimum(fn, r.index, most_row)
        rows = i64.step(fn, "%source", i64.mul(fn, row0, "%stride"))
        columns = i64.step(fn, "%panel", i64.mul(fn, row0, size))
        present = i64.minimum(fn, i64.sub(fn, "%count", r.index), lanes)
        with fn.loop("0", "%depth", steps) as k:
            k0 = i64.minimum(fn, k.index, most_step)
            block = i64.step(fn, rows, i64.mul(fn, k0, size))
            depth_left = i64.sub(fn, "%depth", k.index)
            start, partial, turn = fn.block, fn.label("partial"), fn.label("turn")
            fn.branch(fits, turn, partial)
            fn.start(partial)
            mask = lanes_below(fn, steps, depth_left)
            with fn.loop("0", present, carried=[("ptr", block), ("ptr", edge)]) as i:
                value = fn.op(masked_load(fn, part, element, size, i.carried[0], mask))
                fn.do(f"store {part} {value}, ptr {i.carried[1]}, align {size}")
                i.next(i64.step(fn, i.carried[0], "%stride"), i64.step(fn, i.carried[1], steps * size))
            copied = fn.block
            fn.jump(turn)
            fn.start(turn)
            origin = fn.op(f"phi ptr [ {block}, %{start} ], [ {edge}, %{copied} ]")
            row = fn.op(f"phi i64 [ %stride, %{start} ], [ {steps * size}, %{copied} ]")
            into = i64.step(fn, columns, i64.mul(fn, k0, "%pitch"))
            for value in _turned(fn, origin, row, element, lanes, steps):
                fn.do(f"store <{lanes} x {element}> {value}, ptr {into}, align {size}")
                into = i64.step(fn, into, "%pitch")
    fn.ret()
    return name


def _turned(fn: Function, origin: str, row: str, element: str, lanes: int, steps: int) -> list[str]:
    """`lanes` rows of `steps` elements, 16 bytes, as `steps` registers of `lanes`: parts of rows that are `steps` apart are
    loaded next to each other, and squares within parts transposed by unpacking. Each is one instruction."""
    part, vector = f"<{steps} x {element}>", f"<{lanes} x {element}>"
    parts = []
    for i in range(lanes):
        parts.append(fn.op(f"load {part}, ptr {origin}, align 1"))
        if i + 1 < lanes:
            origin = i64.step(fn, origin, row)
    registers = [joined(fn, element, steps, parts[i::steps], lanes) for i in range(steps)]

    half = steps // 2
    low = [lane for start in range(0, lanes, steps) for i in range(half) for lane in (start + i, lanes + start + i)]
    orders = [", ".join(f"i32 {lane + shift}" for lane in low) for shift in (0, half)]
    for _ in range(steps.bit_length() - 1):
        registers = [
            fn.op(f"shufflevector {vector} {registers[i]}, {vector} {registers[i + half]}, <{lanes} x i32> <{order}>")
            for i in range(half)
            for order in orders
        ]
    return registers


def _element(fn: Function, base: str, index: str, size: int) -> str:
    return fn.op(f"getelementptr i8, ptr {base}, i64 {fn.op(f'mul i64 {index}, {size}')}")


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
