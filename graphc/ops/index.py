"""Gather and its adjoint scatter_add. Indices are valid by construction: `check_index` goes before them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Sample, declare, operands
from graphc.ops.common import NUMERIC, draw
from graphc.tensor import Tensor
from graphc.types import TensorType, bool_, is_float, is_integer


def _gather_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    x, index = types
    axis = attrs["axis"]
    if not is_integer(index.dtype):
        raise DTypeError(f"an index must be integer, got {index}")
    if not 0 <= axis < x.rank:
        raise ShapeError(f"axis {axis} is out of range for {x}")
    if x.shape[axis] == 0 and index.size:
        raise ShapeError(f"cannot take from an empty axis {axis} of {x}")
    return TensorType(x.dtype, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _gather_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    x, index = operands(node)
    if not is_float(x.dtype):
        return [None, None]
    return [scatter_add(index, v, axis=node.attrs["axis"], size=x.shape[node.attrs["axis"]]), None]


_CASES = (
    ((7,), 0, (5,)), ((4, 3), 0, (6,)), ((3, 5), 1, (2, 2)), ((2, 6, 19), 1, (9,)), ((5, 2), 0, ()), ((5, 2), 0, (0,)),
    ((1, 3), 0, (4,)),
)  # fmt: skip


def _gather_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in (*NUMERIC, bool_):
        for index_dtype in ("i4", "i8"):
            for shape, axis, index_shape in _CASES:
                x = draw(rng, shape, dtype, -4, 4)
                index = np.asarray(rng.integers(0, shape[axis], index_shape), index_dtype)
                yield Sample((x, index), {"axis": axis}, dtype == np.float64)


gather = declare(
    "gather",
    Kind.GATHER,
    doc="x at the given positions of `axis`; the index's shape takes the axis' place.",
    infer=_gather_type,
    ref=lambda attrs, x, index: np.take(x, index, axis=attrs["axis"]),
    backward=_gather_backward,
    samples=_gather_samples,
)


def _scatter_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    index, updates = types
    axis, size = attrs["axis"], attrs["size"]
    if not is_integer(index.dtype):
        raise DTypeError(f"an index must be integer, got {index}")
    if updates.dtype == bool_:
        raise DTypeError("needs numbers to add, got bool")
    if axis < 0 or size < 0 or updates.shape[axis : axis + index.rank] != index.shape or updates.rank < axis + index.rank:
        raise ShapeError(f"updates {updates} do not hold {index} at axis {axis}")
    if size == 0 and index.size:
        raise ShapeError("cannot scatter into an empty axis")
    return TensorType(updates.dtype, (*updates.shape[:axis], size, *updates.shape[axis + index.rank :]))


def _scatter_ref(attrs: Attrs, index: np.ndarray, updates: np.ndarray) -> np.ndarray:
    axis = attrs["axis"]
    before, after = updates.shape[:axis], updates.shape[axis + index.ndim :]
    result = np.zeros((attrs["size"], *before, *after), updates.dtype)
    flat = updates.reshape(*before, index.size, *after)
    np.add.at(result, index.reshape(-1), np.moveaxis(flat, axis, 0))
    return np.moveaxis(result, 0, axis)


def _scatter_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in NUMERIC:
        for index_dtype in ("i4", "i8"):
            for shape, axis, index_shape in _CASES:
                index = np.asarray(rng.integers(0, shape[axis], index_shape), index_dtype)
                updates = np.asarray(draw(rng, (*shape[:axis], *index_shape, *shape[axis + 1 :]), dtype, -4, 4))
                yield Sample((index, updates), {"axis": axis, "size": shape[axis]}, dtype == np.float64)


scatter_add = declare(
    "scatter_add",
    Kind.SCATTER,
    doc="Zeros of `size` along `axis`, with updates added at the given positions in ascending order of source.",
    infer=_scatter_type,
    ref=_scatter_ref,
    backward=lambda node, v: [None, gather(v, operands(node)[0], axis=node.attrs["axis"])],
    samples=_scatter_samples,
)
