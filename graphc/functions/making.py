"""Making tensors: of one value, counting, at equal distances, on diagonals."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

import graphc.functions.elementwise as ew
import graphc.functions.shaping as shaping
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import as_tensor
from graphc.op import OPS, build, rule
from graphc.tensor import Tensor, constant
from graphc.types import DEFAULT_FLOAT, DEFAULT_INT, as_dtype, as_shape, is_whole

_NUMBERS = (builtins.int, float, np.integer, np.floating)
_LIMIT = 2**1024  # from here on a number is no float64


def full(shape: Any, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of one value; `dtype` as `graphc.constant` chooses it."""
    return shaping.broadcast_to(as_tensor(value, None if dtype is None else as_dtype(dtype)), shape)


def zeros(shape: Any, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Zeros."""
    return full(shape, 0, as_dtype(dtype))


def ones(shape: Any, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """Ones."""
    return full(shape, 1, as_dtype(dtype))


def full_like(x: Tensor, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of one value, shaped and typed as `x`."""
    x = as_tensor(x)
    return full(x.shape, value, x.dtype if dtype is None else dtype)


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros shaped and typed as `x`."""
    return full_like(x, 0, dtype)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones shaped and typed as `x`."""
    return full_like(x, 1, dtype)


def arange(start: builtins.int | float, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... below stop, as NumPy; int64 for integers, else float32, unless `dtype` says."""
    if stop is None:
        start, stop = 0, start
    for value in (start, stop, step):
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not math.isfinite(value):
            raise InputError(f"arange: expected finite numbers, got {value!r}")
    if step == 0:
        raise InputError("arange: the step must not be 0")
    size = builtins.max(math.ceil((stop - start) / step), 0)
    whole = builtins.all(isinstance(value, (builtins.int, np.integer)) for value in (start, stop, step))
    kind = as_dtype(dtype) if dtype is not None else (DEFAULT_INT if whole else DEFAULT_FLOAT)
    count = Tensor(build(OPS["iota"], (), {"size": size, "dtype": kind}))
    scaled = count if step == 1 else count * step
    return scaled if start == 0 else scaled + start


def linspace(start: float, stop: float, num: builtins.int = 50, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """`num` numbers from start to stop, both included, at equal distances."""
    if not is_whole(num) or num < 0:
        raise InputError(f"linspace: num is an integer, at least 0, not {num!r}")
    for value in (start, stop):
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or builtins.abs(value) >= _LIMIT:
            raise InputError(f"linspace: expected numbers, got {value!r}")
    with np.errstate(all="ignore"):
        return constant(np.linspace(float(start), float(stop), num), dtype)


def eye(rows: builtins.int, columns: builtins.int | None = None, k: builtins.int = 0, dtype: Any = DEFAULT_FLOAT) -> Tensor:
    """1 on diagonal k of a matrix, 0 elsewhere; it is square unless `columns` says."""
    shape = as_shape((rows, rows if columns is None else columns))
    if not is_whole(k):
        raise ShapeError(f"eye: k is an integer, not {k!r}")
    row, column = (arange(size) for size in shape)
    return shaping.astype(ew.equal(shaping.expand_dims(row, 1) + k, column), dtype)


def _triangle(x: Any, k: builtins.int, name: str, shift: builtins.int = 0) -> tuple[Tensor, Tensor]:
    x = as_tensor(x)
    with rule(name, x):
        if x.ndim < 2:
            raise ShapeError(f"needs at least two axes, got {x.type}")
        if not is_whole(k):
            raise ShapeError(f"k is an integer, not {k!r}")
    rows, columns = x.shape[-2:]
    return x, shaping.expand_dims(arange(rows, dtype="int32"), 1) + (k + shift) >= arange(columns, dtype="int32")


def tril(x: Any, k: builtins.int = 0) -> Tensor:
    """The lower triangle up to diagonal k; zeros above."""
    x, lower = _triangle(x, k, "tril")
    return ew.where(lower, x, constant(0, x.dtype))


def triu(x: Any, k: builtins.int = 0) -> Tensor:
    """The upper triangle from diagonal k on; zeros below."""
    x, lower = _triangle(x, k, "triu", -1)
    return ew.where(lower, constant(0, x.dtype), x)
