"""Lanes whose elements do not lie side by side: registers made of several loads, addresses for each lane, single lanes.

picked      lanes 2, 3 or 4 elements apart    contiguous vectors, from which a shuffle takes the lanes
strided     another constant stride           a scalar load for each lane
pointers    anything                          a vector of addresses, for a gather or a scatter
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from graphc.codegen import memory
from graphc.codegen.memory import STORAGE, live_mask
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import Value, lane_steps, llvm_type
from graphc.types import bool_, int32, int64


def picked(b: LaneBuilder, dtype: np.dtype, pointer: str, stride: int, lanes: int, live: int) -> Value:
    """Lanes `stride` apart, from contiguous vectors that end with the last of them."""
    fn = b.fn
    span = stride * (live - 1) + 1
    parts = []
    for first in range(0, span, lanes):
        at = fn.op(f"getelementptr {STORAGE[dtype]}, ptr {pointer}, i64 {first}") if first else pointer
        mask = live_mask(span - first, lanes) if first + lanes > span else None
        parts.append(memory.load_storage(b, dtype, lanes, at, mask, "zeroinitializer"))
    held = lanes
    while len(parts) > 1:  # joined two by two
        parts += ["poison"] * (len(parts) % 2)
        vector, order = memory.storage_type(dtype, held), ", ".join(f"i32 {i}" for i in range(2 * held))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [fn.op(f"shufflevector {vector} {x}, {vector} {y}, <{2 * held} x i32> <{order}>") for x, y in pairs]
        held *= 2
    vector = memory.storage_type(dtype, held)
    order = ", ".join(f"i32 {stride * lane if lane < live else 0}" for lane in range(lanes))
    name = fn.op(f"shufflevector {vector} {parts[0]}, {vector} poison, <{lanes} x i32> <{order}>")
    return memory.from_storage(b, name, dtype, lanes)


def strided(b: LaneBuilder, dtype: np.dtype, places: Iterable[str], lanes: int, live: int) -> Value:
    """The elements at some addresses, one for each of the first `live` lanes; zeros in the others."""
    storage = STORAGE[dtype]
    vector, name = memory.storage_type(dtype, lanes), "poison" if live == lanes else "zeroinitializer"
    for lane, at in enumerate(places):
        one = b.fn.op(f"load {storage}, ptr {at}, align {dtype.itemsize}")
        name = b.fn.op(f"insertelement {vector} {name}, {storage} {one}, i64 {lane}")
    return memory.from_storage(b, name, dtype, lanes)


def pointers(b: LaneBuilder, dtype: np.dtype, pointer: str, stride: int, irregular: Value | None, lanes: int) -> str:
    """The address of each lane's element, `stride` elements apart and moved by `irregular` ones."""
    wide = int64 if abs(stride) * lanes >= 1 << 30 or (irregular is not None and irregular.dtype == int64) else int32
    offset = lane_steps(wide, stride, 0, lanes)
    if irregular is not None:
        offset = b.add(b.cast(irregular, wide), offset) if stride else irregular
    return b.fn.op(f"getelementptr {STORAGE[dtype]}, ptr {pointer}, {llvm_type(offset.dtype, lanes)} {offset.name}")


def every(b: LaneBuilder, mask: Value, by: int, first: int) -> Value:
    """Every `by`-th lane of a mask."""
    count = mask.lanes // by
    if count == 1:
        return lane_of(b, mask, f"i64 {first}")
    type_, order = llvm_type(bool_, mask.lanes), lane_steps(int32, by, first, count)
    return Value(b.fn.op(f"shufflevector {type_} {mask.name}, {type_} poison, <{count} x i32> {order.name}"), bool_, count)


def lane_of(b: LaneBuilder, x: Value, lane: str) -> Value:
    """One lane, named with its type."""
    return Value(b.fn.op(f"extractelement {llvm_type(x.dtype, x.lanes)} {x.name}, {lane}"), x.dtype, 1)
