"""Rows of a table by index, indicator vectors, and positions as sinusoids."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.functions.indexing import checked_index
from graphc.nn.functional.common import number, refuse
from graphc.op import rule
from graphc.ops.index import gather
from graphc.tensor import Tensor, constant
from graphc.types import as_dtype, float32, int64, is_float, is_integer


def row(function: str, index: Any, rows: int) -> int | None:
    """padding_idx as a position from 0; None stays."""
    if index is None:
        return None
    if isinstance(index, (bool, np.bool_)) or not isinstance(index, (int, np.integer)) or not -rows <= index < rows:
        raise InputError(f"{function}: padding_idx must be an integer within the table's {rows} rows, not {index!r}")
    return int(index) % rows


def plain(function: str, max_norm: Any, norm_type: Any, scale_grad_by_freq: Any, sparse: Any) -> None:
    """Refuse what the table of an embedding does not do here."""
    refuse(function, "max_norm", max_norm, "a lookup does not change the table", default=None)
    if norm_type != 2.0:
        raise InputError(f"{function}: norm_type={norm_type!r} is not supported: it belongs to max_norm")
    refuse(function, "scale_grad_by_freq", scale_grad_by_freq, "the gradient is the sum over the indices")
    refuse(function, "sparse", sparse, "gradients are dense")


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Row `input[...]` of weight (rows, width), shape (*input.shape, width). An index below 0 or beyond the last row fails the
    call. The row `padding_idx` gets no gradient."""
    name = "embedding"
    plain(name, max_norm, norm_type, scale_grad_by_freq, sparse)
    w, index = fn.as_tensor(weight), fn.as_tensor(input)
    with rule(name, index, w):
        if not is_integer(index.dtype):
            raise DTypeError(f"the input must be row numbers (integers), got {index.type}")
        if w.ndim != 2:
            raise ShapeError(f"the weight must be (rows, width), got {w.type}")
    padding = row(name, padding_idx, w.shape[0])
    found = gather(w, checked_index(index, 0, w.shape[0], name), axis=0)
    if padding is None:
        return found
    return fn.where(fn.expand_dims(index == padding, index.ndim), fn.stop_gradient(found), found)


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """int64: 1 at the position that each integer names along a new last axis of size `num_classes`, 0 elsewhere. A class below 0
    or beyond the last one fails the call."""
    name = "one_hot"
    if isinstance(num_classes, (bool, np.bool_)) or not isinstance(num_classes, (int, np.integer)) or num_classes < 1:
        raise InputError(f"{name}: num_classes must be a positive integer (it cannot follow from values), not {num_classes!r}")
    index = fn.as_tensor(tensor)
    with rule(name, index):
        if not is_integer(index.dtype):
            raise DTypeError(f"classes must be integers, got {index.type}")
    return fn.one_hot(checked_index(index, 0, int(num_classes), name), int(num_classes), int64)


def sinusoidal_positions(positions: Any, dim: int, base: float = 10000.0, dtype: Any = float32) -> Tensor:
    """Columns 2d and 2d + 1 of row t are sin(t/base^{2d/dim}) and cos(t/base^{2d/dim}) (Vaswani et al., 2017).

    `positions` is a length, for t = 0, 1, ..., or a tensor of positions; then the result has shape (*positions.shape, dim).
    """
    name = "sinusoidal_positions"
    number(name, "base", base, above=0.0)
    if isinstance(dim, (bool, np.bool_)) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise InputError(f"{name}: dim must be a positive integer, not {dim!r}")
    kind = as_dtype(dtype)
    if not is_float(kind):
        raise DTypeError(f"{name}: dtype must be float32 or float64, not {kind.name}")
    columns = np.arange(dim)
    frequency = float(base) ** (-2 * (columns // 2) / dim)
    if isinstance(positions, Tensor):
        angle = fn.expand_dims(fn.astype(positions, kind), positions.ndim) * constant(frequency, kind)
        return fn.where(constant(columns % 2 == 0), fn.sin(angle), fn.cos(angle))
    if isinstance(positions, (bool, np.bool_)) or not isinstance(positions, (int, np.integer)) or positions < 0:
        raise InputError(f"{name}: positions must be a length or a tensor of positions, not {positions!r}")
    angles = np.arange(positions)[:, None] * frequency
    return constant(np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)), kind)
