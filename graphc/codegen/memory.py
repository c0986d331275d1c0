"""Vectors in memory: loads and stores of consecutive or scattered lanes, whole or masked.

A bool is one byte in memory and one bit in a register; any byte but 0 is true. Addresses are aligned to their elements only.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import ELEMENT, Value, lane_steps, llvm_type, type_suffix
from graphc.types import bool_, int32, is_bool

STORAGE = {dtype: "i8" if dtype == bool_ else name for dtype, name in ELEMENT.items()}

ALL = "splat (i1 true)"
STREAMING = "!0 = !{i32 1}"  # what marks a store as one past the caches


def storage_type(dtype: np.dtype, lanes: int) -> str:
    return STORAGE[dtype] if lanes == 1 else f"<{lanes} x {STORAGE[dtype]}>"


def _suffix(dtype: np.dtype, lanes: int) -> str:
    return f"v{lanes}i8" if is_bool(dtype) else type_suffix(dtype, lanes)


def live_mask(live: int, lanes: int) -> Value:
    """The first `live` lanes."""
    return Value("<" + ", ".join("i1 true" if lane < live else "i1 false" for lane in range(lanes)) + ">", bool_, lanes)


def from_storage(b: LaneBuilder, name: str, dtype: np.dtype, lanes: int) -> Value:
    """What was loaded, as a register value."""
    if is_bool(dtype):
        name = b.fn.op(f"icmp ne {storage_type(dtype, lanes)} {name}, {'0' if lanes == 1 else 'zeroinitializer'}")
    return Value(name, dtype, lanes)


def to_storage(b: LaneBuilder, x: Value) -> str:
    if not is_bool(x.dtype):
        return x.name
    return b.fn.op(f"zext {llvm_type(bool_, x.lanes)} {x.name} to {storage_type(bool_, x.lanes)}")


def load(b: LaneBuilder, dtype: np.dtype, lanes: int, pointer: str, mask: Value | None = None, fill: str = "poison") -> Value:
    """Consecutive lanes; those out of `mask` are not read and hold `fill`, a constant of the storage type."""
    return from_storage(b, load_storage(b, dtype, lanes, pointer, mask, fill), dtype, lanes)


def load_storage(b: LaneBuilder, dtype: np.dtype, lanes: int, pointer: str, mask: Value | None, fill: str) -> str:
    """What `load` reads, as memory holds it."""
    type_, align = storage_type(dtype, lanes), dtype.itemsize
    if mask is None:
        return b.fn.op(f"load {type_}, ptr {pointer}, align {align}")
    name = f"@llvm.masked.load.{_suffix(dtype, lanes)}.p0"
    b.fn.module.declare(name, f"{type_} {name}(ptr, <{lanes} x i1>, {type_})")
    where = f"ptr align {align} {pointer}, <{lanes} x i1> {mask.name}"
    return b.fn.op(f"call {type_} {name}({where}, {type_} {fill})")


def store(b: LaneBuilder, x: Value, pointer: str, mask: Value | None = None) -> None:
    """Consecutive lanes."""
    store_storage(b, to_storage(b, x), x.dtype, x.lanes, pointer, mask)


def store_storage(b: LaneBuilder, stored: str, dtype: np.dtype, lanes: int, pointer: str, mask: Value | None) -> None:
    """What `store` writes, as memory holds it."""
    type_, align = storage_type(dtype, lanes), dtype.itemsize
    if mask is None:
        b.fn.do(f"store {type_} {stored}, ptr {pointer}, align {align}")
        return
    name = f"@llvm.masked.store.{_suffix(dtype, lanes)}.p0"
    b.fn.module.declare(name, f"void {name}({type_}, ptr, <{lanes} x i1>)")
    b.fn.do(f"call void {name}({type_} {stored}, ptr align {align} {pointer}, <{lanes} x i1> {mask.name})")


def store_streaming(b: LaneBuilder, x: Value, pointer: str) -> None:
    """Consecutive lanes in whole vectors of the target, to an address aligned to those, past the caches."""
    b.fn.module.add_global(STREAMING)
    stored = f"{storage_type(x.dtype, x.lanes)} {to_storage(b, x)}"
    b.fn.do(f"store {stored}, ptr {pointer}, align {b.target.vector_bytes}, !nontemporal !0")


def store_first(b: LaneBuilder, x: Value, pointer: str, live: int) -> None:
    """The first `live` lanes, as one or two stores of just their bytes, the second from the last lane back: a masked store
    holds up whatever reads soon after from where its dead lanes lie, as the next row does when rows are short."""
    stored, size = to_storage(b, x), 1 << (live.bit_length() - 1)
    for first in dict.fromkeys((0, live - size)):
        part = _lanes(b, stored, x.dtype, x.lanes, first, size)
        at = b.fn.op(f"getelementptr {STORAGE[x.dtype]}, ptr {pointer}, i64 {first}") if first else pointer
        store_storage(b, part, x.dtype, size, at, None)


def _lanes(b: LaneBuilder, stored: str, dtype: np.dtype, lanes: int, first: int, count: int) -> str:
    type_ = storage_type(dtype, lanes)
    if count in (1, lanes):
        return stored if count == lanes else b.fn.op(f"extractelement {type_} {stored}, i64 {first}")
    order = ", ".join(f"i32 {lane}" for lane in range(first, first + count))
    return b.fn.op(f"shufflevector {type_} {stored}, {type_} poison, <{count} x i32> <{order}>")


def gather(b: LaneBuilder, dtype: np.dtype, lanes: int, pointers: str, mask: Value | None, fill: str) -> Value:
    type_ = storage_type(dtype, lanes)
    name = f"@llvm.masked.gather.{_suffix(dtype, lanes)}.v{lanes}p0"
    b.fn.module.declare(name, f"{type_} {name}(<{lanes} x ptr>, <{lanes} x i1>, {type_})")
    where = f"<{lanes} x ptr> align {dtype.itemsize} {pointers}, <{lanes} x i1> {mask.name if mask else ALL}"
    return from_storage(b, b.fn.op(f"call {type_} {name}({where}, {type_} {fill})"), dtype, lanes)


def scatter(b: LaneBuilder, x: Value, pointers: str, mask: Value | None) -> None:
    type_ = storage_type(x.dtype, x.lanes)
    name = f"@llvm.masked.scatter.{_suffix(x.dtype, x.lanes)}.v{x.lanes}p0"
    b.fn.module.declare(name, f"void {name}({type_}, <{x.lanes} x ptr>, <{x.lanes} x i1>)")
    where = f"<{x.lanes} x ptr> align {x.dtype.itemsize} {pointers}, <{x.lanes} x i1> {mask.name if mask else ALL}"
    b.fn.do(f"call void {name}({type_} {to_storage(b, x)}, {where})")


def reverse(b: LaneBuilder, x: Value) -> Value:
    type_, order = llvm_type(x.dtype, x.lanes), lane_steps(int32, -1, x.lanes - 1, x.lanes)
    return Value(b.fn.op(f"shufflevector {type_} {x.name}, {type_} poison, <{x.lanes} x i32> {order.name}"), x.dtype, x.lanes)
