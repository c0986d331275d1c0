"""What an LLVM register of lanes is called: its type, its literals, and the `Value` that names it with its element type.

Value("%v7", float32, 8)     a register <8 x float>
Value("0x3FF0000000000000", float32, 1)     the literal 1.0
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from graphc.codegen.builder import float_literal
from graphc.types import bool_, float32, float64, int32, int64, is_bool, is_float

ELEMENT: dict[np.dtype, str] = {float32: "float", float64: "double", int32: "i32", int64: "i64", bool_: "i1"}
_SUFFIX: dict[np.dtype, str] = {float32: "f32", float64: "f64", int32: "i32", int64: "i64", bool_: "i1"}
# The integer as wide as a float, and the float as wide as an integer.
TWIN: dict[np.dtype, np.dtype] = {float32: int32, float64: int64, int32: float32, int64: float64}
# The NaN with all bits set.
ONES: dict[np.dtype, str] = {float32: "0xFFFFFFFFE0000000", float64: "0xFFFFFFFFFFFFFFFF"}


class Value(NamedTuple):
    """An LLVM register (`%v7`) or, for one lane, a literal."""

    name: str
    dtype: np.dtype
    lanes: int

    @property
    def is_literal(self) -> bool:
        return self.lanes == 1 and self.name[0] != "%"


@cache
def llvm_type(dtype: np.dtype, lanes: int = 1) -> str:
    """The register type: `float`, `<8 x i1>`."""
    return ELEMENT[dtype] if lanes == 1 else f"<{lanes} x {ELEMENT[dtype]}>"


@cache
def type_suffix(dtype: np.dtype, lanes: int) -> str:
    """How an intrinsic's name ends: `f32`, `v8i64`."""
    return _SUFFIX[dtype] if lanes == 1 else f"v{lanes}{_SUFFIX[dtype]}"


@lru_cache(maxsize=4096)
def lane_steps(dtype: np.dtype, stride: int, first: int, lanes: int) -> Value:
    """The constant vector first, first + stride, ..."""
    element = ELEMENT[dtype]
    return Value("<" + ", ".join(f"{element} {first + lane * stride}" for lane in range(lanes)) + ">", dtype, lanes)


@lru_cache(maxsize=4096)
def _literal(value: float | bool, dtype: np.dtype, sign: str) -> str:
    if is_float(dtype):
        with np.errstate(over="ignore"):
            return float_literal(float(dtype.type(value)), dtype.itemsize * 8)
    if is_bool(dtype):
        return "true" if value else "false"
    width = dtype.itemsize * 8
    return str((int(value) + (1 << width - 1)) % (1 << width) - (1 << width - 1))


def literal(value: float | bool, dtype: np.dtype) -> str:
    """An exact constant; integers wrap."""
    return _literal(value, dtype, "" if value else str(value))  # 0.0 == -0.0, but they are two constants


def literal_value(x: Value) -> float:
    """The number that a literal stands for."""
    if is_float(x.dtype):
        return float(np.uint64(int(x.name, 16)).view(np.float64))
    return {"true": 1, "false": 0}[x.name] if is_bool(x.dtype) else int(x.name)
