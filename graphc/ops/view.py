"""Views: ops that move elements and compute nothing. Each states where an output element comes from, so that kernels read through
them and no view need ever be stored. Here those that keep all elements; `slicing.py` has the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.graph import Attrs, Node
from graphc.index import Index, Piece, flatten, unflatten
from graphc.op import Kind, Sample, declare, derive
from graphc.ops.common import NUMERIC, draw
from graphc.tensor import Tensor
from graphc.types import TensorType, bool_, broadcast_shapes, row_major_strides

ALL = (*NUMERIC, bool_)
Coordinates = tuple[Index, ...]


def sample(rng: np.random.Generator, source: tuple[int, ...], /, **attrs: Any) -> Sample:
    return Sample((np.asarray(draw(rng, source, np.dtype("f8"), -4, 4)),), attrs)


def typed(rng: np.random.Generator, source: tuple[int, ...], /, **attrs: Any) -> Iterator[Sample]:
    """One sample for each element type."""
    for dtype in ALL:
        yield Sample((np.asarray(draw(rng, source, dtype, -4, 4)),), attrs, dtype == np.float64)


# --- reshape ---


def _reshape_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    if math.prod(attrs["shape"]) != x.size:
        raise ShapeError(f"cannot reshape {x} of {x.size} elements to {attrs['shape']}")
    return TensorType(x.dtype, attrs["shape"])


def _reshape_pieces(node: Node, index: Coordinates) -> list[Piece]:
    """Runs of axes with equal products are converted one by one, which keeps the expressions small."""
    source, target = node.inputs[0].type.shape, node.type.shape
    if node.type.size == 0:
        return [Piece(0, tuple(Index() for _ in source))]
    result: list[Index] = []
    i = j = 0
    while i < len(source) or j < len(target):
        first_i, first_j, left, right = i, j, 1, 1
        while i < len(source) and (i == first_i or left < right):
            left, i = left * source[i], i + 1
            while j < len(target) and right < left:
                right, j = right * target[j], j + 1
        while j < len(target) and (right < left or target[j] == 1):
            right, j = right * target[j], j + 1
        if left != right:  # cannot close a run here: convert all that is left in one piece
            i, j = len(source), len(target)
        shape = target[first_j:j]
        flat = flatten(index[first_j:j], row_major_strides(shape))
        result.extend(unflatten(flat, source[first_i:i]))
    return [Piece(0, tuple(result))]


def _reshape_of_reshape(node: Node) -> Node | None:
    """reshape(reshape(x)) -> one reshape; to its own shape -> x."""
    (x,) = node.inputs
    if x.type == node.type:
        return x
    return derive(node, reshape, x.inputs, **node.attrs) if x.op is reshape else None


def _reshape_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (3, 4), shape=(2, 6))
    for source, target in (
        ((), (1, 1)), ((6,), (2, 3)), ((2, 3, 4), (4, 3, 2)), ((1, 5, 1), (5,)), ((0, 3), (3, 0, 2)), ((4, 6), (2, 2, 3, 2)),
        ((2, 1, 3), (1, 6)),
    ):  # fmt: skip
        yield sample(rng, source, shape=target)


reshape = declare(
    "reshape",
    Kind.VIEW,
    doc="The elements in row-major order under another shape.",
    infer=_reshape_type,
    ref=lambda attrs, x: x.reshape(attrs["shape"]),
    pieces=_reshape_pieces,
    backward=lambda node, v: [fn.reshape(v, node.inputs[0].type.shape)],
    lift=lambda node, x: fn.reshape(x, (x.shape[0], *node.type.shape)),
    samples=_reshape_samples,
    rewrites=(_reshape_of_reshape,),
)


# --- transpose ---


def _transpose_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    if sorted(attrs["perm"]) != list(range(x.rank)):
        raise ShapeError(f"{attrs['perm']} is not a permutation of the axes of {x}")
    return TensorType(x.dtype, tuple(x.shape[axis] for axis in attrs["perm"]))


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def _transpose_of_transpose(node: Node) -> Node | None:
    """transpose(transpose(x)) -> one transpose; by the identity -> x."""
    (x,) = node.inputs
    perm = node.attrs["perm"]
    if perm == tuple(range(len(perm))):
        return x
    if x.op is transpose:
        return derive(node, transpose, x.inputs, perm=tuple(x.attrs["perm"][axis] for axis in perm))
    return None


def _transpose_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (3, 5), perm=(1, 0))
    for shape, perm in (
        ((), ()), ((4,), (0,)), ((2, 3, 4), (2, 0, 1)), ((2, 1, 3, 5), (0, 3, 1, 2)), ((0, 2), (1, 0)), ((33, 18), (1, 0)),
    ):  # fmt: skip
        yield sample(rng, shape, perm=perm)


transpose = declare(
    "transpose",
    Kind.VIEW,
    doc="Axes in the order `perm`: output axis i is input axis perm[i].",
    infer=_transpose_type,
    ref=lambda attrs, x: np.transpose(x, attrs["perm"]),
    pieces=lambda node, index: [Piece(0, tuple(index[axis] for axis in _inverse(node.attrs["perm"])))],
    backward=lambda node, v: [fn.permute_dims(v, _inverse(node.attrs["perm"]))],
    lift=lambda node, x: fn.permute_dims(x, (0, *(axis + 1 for axis in node.attrs["perm"]))),
    samples=_transpose_samples,
    rewrites=(_transpose_of_transpose,),
)


# --- broadcast ---


def _broadcast_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    shape = attrs["shape"]
    if len(shape) < x.rank or broadcast_shapes(x.shape, shape) != shape:
        raise ShapeError(f"{x} does not broadcast to {shape}")
    return TensorType(x.dtype, shape)


def _broadcast_pieces(node: Node, index: Coordinates) -> list[Piece]:
    source = node.inputs[0].type.shape
    aligned = index[len(index) - len(source) :]
    return [Piece(0, tuple(Index() if size == 1 else at for size, at in zip(source, aligned, strict=True)))]


def _broadcast_backward(node: Node, v: Tensor) -> list[Tensor]:
    source, shape = node.inputs[0].type.shape, node.type.shape
    lead = len(shape) - len(source)
    axes = tuple(axis for axis in range(len(shape)) if axis < lead or source[axis - lead] != shape[axis])
    return [fn.reshape(fn.sum(v, axis=axes), source)]


def _broadcast_stacked(node: Node, x: Tensor) -> Tensor:
    """New axes go in behind the stack's."""
    new = len(node.type.shape) - (x.ndim - 1)
    return fn.broadcast_to(fn.reshape(x, (x.shape[0], *(1,) * new, *x.shape[1:])), (x.shape[0], *node.type.shape))


def _broadcast_of_broadcast(node: Node) -> Node | None:
    (x,) = node.inputs
    if x.type == node.type:
        return x
    return derive(node, broadcast, x.inputs, **node.attrs) if x.op is broadcast else None


def _broadcast_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (3, 1), shape=(2, 3, 4))
    for source, target in (((), (3,)), ((5,), (4, 5)), ((1, 1), (3, 7)), ((4, 1, 3), (4, 2, 3)), ((1,), (0,)), ((2, 3), (2, 3))):
        yield sample(rng, source, shape=target)


broadcast = declare(
    "broadcast",
    Kind.VIEW,
    doc="Repeated to `shape` by NumPy's broadcasting rule.",
    infer=_broadcast_type,
    ref=lambda attrs, x: np.broadcast_to(x, attrs["shape"]),
    pieces=_broadcast_pieces,
    backward=_broadcast_backward,
    lift=_broadcast_stacked,
    samples=_broadcast_samples,
    rewrites=(_broadcast_of_broadcast,),
)
