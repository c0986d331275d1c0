"""Squares of elements turned in registers, for loads and stores whose memory runs along the rows' axis, not the lanes'.

    rows a0, lanes a1, load s[a0 + 512*a1]     a vector along a0 for each lane; turned, a vector along a1 for each row

Vectors interleaved with those half their number further on, log2(lanes) times over, are transposed.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen import memory
from graphc.codegen.address import Addresses
from graphc.codegen.memory import live_mask, storage_type
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import Value
from graphc.kernel import Instr, Load, Store

MOST_PICKED = 4  # the largest stride of lanes for which vectors are loaded whole


def crosses(instr: Instr, rows: int, lanes: int) -> bool:
    """Whether memory runs along the axis `rows`, and not along `lanes`."""
    if not isinstance(instr, (Load, Store)) or instr.offset.coefficient(rows) != 1:
        return False
    stride = abs(instr.offset.coefficient(lanes))
    return stride > 1 if isinstance(instr, Store) else stride > MOST_PICKED and not instr.where and not instr.gather


def turned_load(b: LaneBuilder, a: Addresses, instr: Load) -> tuple[Value, ...]:
    """For each copy, which is a row, its lanes."""
    lanes, rows, stride = a.lanes, len(a.copies), a.lane_stride(instr.offset)
    origin = a.pointer(instr.slot, instr.offset)
    mask = live_mask(rows, lanes) if rows < lanes else None
    columns = []
    for lane in range(a.copies[0].live):
        at = a.step(instr.slot, origin, str(lane * stride))
        columns.append(memory.load_storage(b, instr.dtype, lanes, at, mask, "zeroinitializer"))
    turned = _turned(b, columns + ["zeroinitializer"] * (lanes - len(columns)), instr.dtype)
    return tuple(memory.from_storage(b, name, instr.dtype, lanes) for name in turned[:rows])


def turned_store(b: LaneBuilder, a: Addresses, instr: Store, values: list[Value]) -> None:
    """`values` are those of the copies, each of which is a row."""
    lanes, rows, stride = a.lanes, len(a.copies), a.lane_stride(instr.offset)
    origin = a.pointer(instr.slot, instr.offset)
    mask = live_mask(rows, lanes) if rows < lanes else None
    stored = [memory.to_storage(b, b.splat(x, lanes)) for x in values]
    turned = _turned(b, stored + ["zeroinitializer"] * (lanes - rows), instr.dtype)
    for lane in range(a.copies[0].live):
        at = a.step(instr.slot, origin, str(lane * stride))
        memory.store_storage(b, turned[lane], instr.dtype, lanes, at, mask)


def _turned(b: LaneBuilder, vectors: list[str], dtype: np.dtype) -> list[str]:
    lanes = len(vectors)
    type_, half = storage_type(dtype, lanes), lanes // 2
    orders = [", ".join(f"i32 {start + i // 2 + i % 2 * lanes}" for i in range(lanes)) for start in (0, half)]
    for _ in range(lanes.bit_length() - 1):
        vectors = [
            b.fn.op(f"shufflevector {type_} {vectors[i]}, {type_} {vectors[i + half]}, <{lanes} x i32> <{order}>")
            for i in range(half)
            for order in orders
        ]
    return vectors
