"""Tensor types: an element type and a static shape, printed `f32[32,784]`.

Element types are NumPy dtypes, five of them. Their order of kinds is bool < integer < float; within a kind the wider wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
int32 = np.dtype(np.int32)
int64 = np.dtype(np.int64)
bool_ = np.dtype(np.bool_)

DTYPES: dict[str, np.dtype] = {"f32": float32, "f64": float64, "i32": int32, "i64": int64, "bool": bool_}
SHORT_NAMES: dict[np.dtype, str] = {dtype: short for short, dtype in DTYPES.items()}

DEFAULT_FLOAT = float32
DEFAULT_INT = int64

# A shape larger than this cannot be addressed; it is refused at declaration rather than overflowing later.
MAX_ELEMENTS = 2**47
MAX_RANK = 64  # NumPy's


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f"


def is_integer(dtype: np.dtype) -> bool:
    return dtype.kind == "i"


def is_bool(dtype: np.dtype) -> bool:
    return dtype.kind == "b"


def as_dtype(spec: Any) -> np.dtype:
    """The element type named by `spec`: a short name (`f32`), a NumPy name or dtype, or Python's float, int, bool."""
    if isinstance(spec, str) and spec in DTYPES:
        return DTYPES[spec]
    if spec is float:
        return DEFAULT_FLOAT
    if spec is int:
        return DEFAULT_INT
    try:
        dtype = np.dtype(spec)
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if spec is None or dtype is None or dtype not in SHORT_NAMES or not dtype.isnative:
        raise DTypeError(f"no such element type: {spec!r}; graphc has {', '.join(d.name for d in SHORT_NAMES)}")
    return dtype


def as_shape(shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of Python integers; an integer stands for a vector of that length."""
    dims = (shape,) if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool) else shape
    if isinstance(dims, np.ndarray) and dims.ndim == 1:
        dims = tuple(dims)
    if not isinstance(dims, Sequence) or isinstance(dims, str):
        raise ShapeError(f"a shape is a tuple of integers, not {shape!r}")
    for dim in dims:
        if isinstance(dim, (bool, np.bool_)) or not isinstance(dim, (int, np.integer)):
            raise ShapeError(f"a shape is a tuple of integers, not {shape!r}")
        if dim < 0:
            raise ShapeError(f"a shape has no negative sizes: {shape!r}")
    dims = tuple(int(dim) for dim in dims)
    check_size(dims)
    return dims


def check_size(dims: tuple[int, ...]) -> None:
    """Refuse what NumPy cannot hold or memory cannot address."""
    if len(dims) > MAX_RANK:
        raise ShapeError(f"a tensor has at most {MAX_RANK} axes, not {len(dims)}")
    if math.prod(dim for dim in dims if dim) > MAX_ELEMENTS:
        raise ShapeError(f"a tensor of shape {dims} is too large to address")


@dataclass(frozen=True, slots=True)
class TensorType:
    dtype: np.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{SHORT_NAMES[self.dtype]}[{','.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Row-major strides, in elements."""
        return row_major_strides(self.shape)


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of a node with several results; only `get` reads one."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.items))
        return f"({inside},)" if len(self.items) == 1 else f"({inside})"


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    return _strides(tuple(shape))


@lru_cache(maxsize=4096)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """The element type of an operation between two tensors: float over integer over bool, then the wider."""
    rank = "bif"
    if a.kind != b.kind:
        return a if rank.index(a.kind) > rank.index(b.kind) else b
    return a if a.itemsize >= b.itemsize else b


def weak_dtype(kind: str, tensor_dtype: np.dtype) -> np.dtype:
    """The type that a Python scalar or NumPy array of NumPy kind `kind` adopts beside a tensor: the tensor's own where its
    kind can hold it, else the default of the higher kind."""
    if kind == "b":
        return bool_
    if kind in "iu":
        return DEFAULT_INT if is_bool(tensor_dtype) else tensor_dtype
    if kind == "f":
        return tensor_dtype if is_float(tensor_dtype) else DEFAULT_FLOAT
    raise DTypeError(f"a value of NumPy kind {kind!r} cannot enter a graph")


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's rule: align at the right; sizes must be equal or 1."""
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if -axis <= len(shape)} - {1}
        if len(sizes) > 1:
            raise ShapeError("shapes do not broadcast: " + ", ".join(map(str, shapes)))
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def listed(value: Any, what: str) -> tuple[int, ...]:
    """An integer, or several in a tuple, list, range or array, as a tuple."""
    many = (value,) if is_whole(value) else value
    if isinstance(many, np.ndarray) and many.ndim == 1:
        many = tuple(many)
    if not isinstance(many, (tuple, list, range)) or not all(map(is_whole, many)):
        raise ShapeError(f"{what} is an integer or a tuple of integers, not {value!r}")
    return tuple(map(int, many))


def normalize_axis(axis: int, rank: int, what: str = "axis") -> int:
    if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, (int, np.integer)):
        raise ShapeError(f"{what} must be an integer, not {axis!r}")
    if not -rank <= axis < rank:
        raise ShapeError(f"{what} {axis} is out of range for a tensor of rank {rank}")
    return int(axis) % rank


def normalize_axes(axes: Any, rank: int, what: str = "axis") -> tuple[int, ...]:
    """Axes as a sorted tuple of distinct non-negative integers; None stands for all of them."""
    if axes is None:
        return tuple(range(rank))
    many = axes if isinstance(axes, (tuple, list)) else (axes,)
    result = sorted(normalize_axis(axis, rank, what) for axis in many)
    if len(set(result)) != len(result):
        raise ShapeError(f"{what} {axes!r} names an axis twice")
    return tuple(result)
