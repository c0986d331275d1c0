"""Loads and stores at byte offsets, plain and atomic, for native code that works on structures rather than tensors."""

from __future__ import annotations

from graphc.codegen.builder import Function


def at(fn: Function, base: str, offset: int) -> str:
    """`base`, so many bytes on."""
    return fn.op(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base


def load(fn: Function, type_: str, base: str, offset: int) -> str:
    return fn.op(f"load {type_}, ptr {at(fn, base, offset)}")


def read(fn: Function, type_: str, base: str, offset: int, order: str = "monotonic") -> str:
    """An atomic load."""
    size = 4 if type_ == "i32" else 8
    return fn.op(f"load atomic {type_}, ptr {at(fn, base, offset)} {order}, align {size}")


def write(fn: Function, type_: str, value: str, base: str, offset: int, order: str = "monotonic") -> None:
    """An atomic store."""
    size = 4 if type_ == "i32" else 8
    fn.do(f"store atomic {type_} {value}, ptr {at(fn, base, offset)} {order}, align {size}")
