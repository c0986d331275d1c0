"""Registers of elements and the memory they come from: how many lanes, which LLVM type, and the loads and stores that packing and
register tiles are made of.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.builder import Function
from graphc.codegen.target import Target
from graphc.codegen.values import Value
from graphc.types import is_bool

MEMORY = {"f": {4: "float", 8: "double"}, "i": {4: "i32", 8: "i64"}, "b": {1: "i8"}}


def memory_type(dtype: np.dtype) -> str:
    """The LLVM type of an element in memory; a bool is a byte of 0 or 1."""
    return MEMORY[dtype.kind][dtype.itemsize]


def lanes_of(target: Target, dtype: np.dtype) -> int:
    """Elements in a register. A register of bools is kept as short as one of 32-bit elements: so many meet other types in the
    epilogue."""
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


def lanes_below(fn: Function, lanes: int, count: str) -> str:
    """The mask of lanes numbered below the i64 `count`."""
    vector = f"<{lanes} x i64>"
    numbers = ", ".join(f"i64 {lane}" for lane in range(lanes))
    single = fn.op(f"insertelement {vector} poison, i64 {count}, i64 0")
    splat = fn.op(f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer")
    return fn.op(f"icmp slt {vector} <{numbers}>, {splat}")


def masked_load(fn: Function, vector: str, element: str, size: int, at: str, mask: str) -> str:
    """The text of a load of the lanes in `mask`; the others are zero and their memory is not touched."""
    lanes, suffix = _suffix(vector, element)
    full = f"@llvm.masked.load.{suffix}.p0"
    fn.module.declare(full, f"{vector} {full}(ptr, <{lanes} x i1>, {vector})")
    return f"call {vector} {full}(ptr align {size} {at}, <{lanes} x i1> {mask}, {vector} zeroinitializer)"


def masked_store(fn: Function, vector: str, element: str, size: int, value: str, at: str, mask: str) -> str:
    """The text of a store of the lanes in `mask`."""
    lanes, suffix = _suffix(vector, element)
    full = f"@llvm.masked.store.{suffix}.p0"
    fn.module.declare(full, f"void {full}({vector}, ptr, <{lanes} x i1>)")
    return f"call void {full}({vector} {value}, ptr align {size} {at}, <{lanes} x i1> {mask})"


def _suffix(vector: str, element: str) -> tuple[int, str]:
    lanes = int(vector[1 : vector.index(" ")])
    return lanes, f"v{lanes}" + {"float": "f32", "double": "f64"}.get(element, element)


def joined(fn: Function, element: str, width: int, parts: list[str], lanes: int) -> str:
    """One register of `lanes` lanes from parts of `width`, side by side; lanes that no part fills are those of the last."""
    parts = parts + [parts[-1]] * (lanes // width - len(parts))
    while len(parts) > 1:
        order = ", ".join(f"i32 {lane}" for lane in range(2 * width))
        part = f"<{width} x {element}>"
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [fn.op(f"shufflevector {part} {x}, {part} {y}, <{2 * width} x i32> <{order}>") for x, y in pairs]
        width *= 2
    return parts[0]
