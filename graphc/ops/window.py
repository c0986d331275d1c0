"""Sliding windows, and where their elements fall: what convolution and pooling are made of.

    window   y[..., i, ..., f] = x[..., i*step + f*dilation - low, ...]          `value` outside of x; f is a new last axis
    fold     x[..., n, ...]    = sum of v[..., i, ..., f] over i*step + f*dilation - low = n
    skew     u[..., n, ..., f] = v[..., (n + low - f*dilation)/step, ..., f]      0 where that is no position of v

Each over several axes at once. B[window] is fold (`fold.py`) and B[fold] is window. Windows and skews are views, so a
convolution is a contraction over a window that is never stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.graph import Attrs, Node
from graphc.index import Piece, Range
from graphc.op import OPS, Kind, Op, Sample, declare, derive
from graphc.ops import slicing
from graphc.ops.common import NUMERIC, draw
from graphc.ops.view import Coordinates, sample, typed
from graphc.tensor import Tensor
from graphc.types import TensorType


def check_windows(attrs: Attrs, x: TensorType, rank: int) -> None:
    """Whether the attributes describe windows over some of the first `rank` axes of x."""
    axes = attrs["axes"]
    lengths = {len(attrs[name]) for name in ("axes", "count", "step", "dilation", "low")} | {len(attrs.get("size", axes))}
    if len(lengths) != 1 or len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise ShapeError(f"the attributes do not describe windows over axes {axes} of {x}")
    for name, least in (("count", 0), ("size", 1), ("step", 1), ("dilation", 1)):
        if any(value < least for value in attrs.get(name, ())):
            raise ShapeError(f"{name} must be at least {least}, got {attrs[name]}")


def with_sizes(shape: Sequence[int], axes: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """A shape with other sizes along some axes."""
    changed = dict(zip(axes, sizes, strict=True))
    return tuple(changed.get(axis, size) for axis, size in enumerate(shape))


# --- window ---


def _window_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    check_windows(attrs, x, x.rank)
    return TensorType(x.dtype, with_sizes(x.shape, attrs["axes"], attrs["count"]) + tuple(attrs["size"]))


def _window_ref(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    names = ("axes", "count", "size", "step", "dilation", "low")
    for axis, count, size, step, dilation, low in zip(*(attrs[name] for name in names), strict=True):
        at = np.arange(count)[:, None] * step + np.arange(size) * dilation - low
        inside = (at >= 0) & (at < x.shape[axis])
        padded = np.concatenate([x, np.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), attrs["value"], x.dtype)], axis)
        x = np.moveaxis(np.take(padded, np.where(inside, at, x.shape[axis]), axis), axis + 1, -1)
    return x


def _window_pieces(node: Node, index: Coordinates) -> list[Piece]:
    attrs, rank = node.attrs, len(node.inputs[0].type.shape)
    at = list(index[:rank])
    where: list[Range] = []
    for i, axis in enumerate(attrs["axes"]):
        at[axis] = index[axis] * attrs["step"][i] + index[rank + i] * attrs["dilation"][i] - attrs["low"][i]
        where.append(Range(at[axis], 0, node.inputs[0].type.shape[axis]))
    return [Piece(0, tuple(at), tuple(condition for condition in where if condition.known() is not True))]


def _window_backward(node: Node, v: Tensor) -> list[Tensor]:
    attrs = node.attrs
    extents = tuple(node.inputs[0].type.shape[axis] for axis in attrs["axes"])
    return [OPS["fold"](v, axes=attrs["axes"], count=extents, step=attrs["step"], dilation=attrs["dilation"], low=attrs["low"])]


def _pad_apart(node: Node) -> Node | None:
    """A window that reaches outside of its operand, as one inside of a padded operand: padding can then be laid out by itself."""
    attrs, (x,) = node.attrs, node.inputs
    low, high = [0] * x.type.rank, [0] * x.type.rank
    for i, axis in enumerate(attrs["axes"]):
        if not attrs["count"][i]:
            return None
        last = (attrs["count"][i] - 1) * attrs["step"][i] + (attrs["size"][i] - 1) * attrs["dilation"][i] - attrs["low"][i]
        low[axis], high[axis] = max(attrs["low"][i], 0), max(last - x.type.shape[axis] + 1, 0)
    if not any(low + high):
        return None
    padded = derive(node, slicing.pad, (x,), low=tuple(low), high=tuple(high), interior=(0,) * x.type.rank, value=attrs["value"])
    shifted = tuple(at - low[axis] for axis, at in zip(attrs["axes"], attrs["low"], strict=True))
    return derive(node, window, (padded,), **{**attrs, "low": shifted})


# (shape, axes, count, size, step, dilation, low)
_SHAPES = (
    ((2, 9), (1,), (7,), (3,), (1,), (1,), (0,)),
    ((2, 9), (1,), (9,), (3,), (1,), (1,), (1,)),
    ((11, 2), (0,), (5,), (3,), (2,), (1,), (1,)),
    ((12,), (0,), (4,), (3,), (3,), (1,), (0,)),
    ((13,), (0,), (3,), (2,), (4,), (2,), (1,)),
    ((10,), (0,), (4,), (3,), (2,), (3,), (2,)),
    ((17,), (0,), (3,), (2,), (2,), (1,), (-5,)),
    ((3, 6, 5), (1, 2), (6, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 7, 6), (1, 2), (3, 5), (3, 2), (2, 1), (1, 2), (0, 1)),
    ((5, 2, 8), (2, 0), (4, 3), (2, 2), (2, 2), (1, 1), (0, 1)),
    ((4, 40), (1,), (40,), (5,), (1,), (1,), (2,)),
    ((2, 3), (1,), (0,), (4,), (1,), (1,), (0,)),
    ((2, 3), (1,), (3,), (1,), (1,), (1,), (0,)),
    ((3,), (), (), (), (), (), ()),
)


def _attrs(shape: tuple[tuple[int, ...], ...], *names: str) -> dict[str, tuple[int, ...]]:
    everything = dict(zip(("shape", "axes", "count", "size", "step", "dilation", "low"), shape, strict=True))
    return {name: everything[name] for name in names}


_WINDOW = ("axes", "count", "size", "step", "dilation", "low")


def _window_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, _SHAPES[1][0], value=0, **_attrs(_SHAPES[1], *_WINDOW))
    for shape in _SHAPES:
        yield sample(rng, shape[0], value=0, **_attrs(shape, *_WINDOW))
    yield sample(rng, _SHAPES[2][0], value=-1.5, **_attrs(_SHAPES[2], *_WINDOW))


window: Op = declare(
    "window",
    Kind.VIEW,
    doc="`count` windows of `size` elements, `dilation` apart, one every `step` elements from -`low` on; `value` outside.",
    infer=_window_type,
    ref=_window_ref,
    pieces=_window_pieces,
    backward=_window_backward,
    samples=_window_samples,
    rewrites=(_pad_apart,),
)


# --- skew ---


def _skew_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    check_windows(attrs, x, x.rank - len(attrs["axes"]))
    return TensorType(x.dtype, with_sizes(x.shape, attrs["axes"], attrs["count"]))


def _skew_pieces(node: Node, index: Coordinates) -> list[Piece]:
    attrs, (x,) = node.attrs, node.inputs
    first = x.type.rank - len(attrs["axes"])
    at, where = list(index), []
    for i, axis in enumerate(attrs["axes"]):
        from_start = index[axis] + attrs["low"][i] - index[first + i] * attrs["dilation"][i]
        step, size = attrs["step"][i], x.type.shape[axis]
        where.append(Range(from_start, 0, (size - 1) * step + 1 if size else 0))
        where.append(Range(from_start % step, 0, 1))
        at[axis] = from_start // step
    return [Piece(0, tuple(at), tuple(condition for condition in where if condition.known() is not True))]


def _skew_ref(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    first = x.ndim - len(attrs["axes"])
    for i, axis in enumerate(attrs["axes"]):
        result = np.zeros(with_sizes(x.shape, (axis,), (attrs["count"][i],)), x.dtype)
        for f in range(x.shape[first + i]):
            for at in range(x.shape[axis]):
                n = at * attrs["step"][i] + f * attrs["dilation"][i] - attrs["low"][i]
                if 0 <= n < result.shape[axis]:
                    there, here = [slice(None)] * x.ndim, [slice(None)] * x.ndim
                    there[axis], there[first + i], here[axis], here[first + i] = n, f, at, f  # type: ignore[call-overload]
                    result[tuple(there)] = x[tuple(here)]
        x = result
    return x


def _skew_backward(node: Node, v: Tensor) -> list[Tensor]:
    """u[i, f] = v[i*step + f*dilation - low, f]: windows of an axis and its f as one flat axis, where a step in f is one more."""
    attrs, shape = node.attrs, node.inputs[0].type.shape
    axes, first = attrs["axes"], len(shape) - len(attrs["axes"])
    sizes = shape[first:]
    order, merged, positions = [], [], []
    for axis in range(first):
        order.append(axis)
        merged.append(v.shape[axis])
        if axis in axes:
            positions.append((axes.index(axis), axis))
            order.append(first + axes.index(axis))
            merged[-1] *= sizes[axes.index(axis)]
    flat = fn.reshape(fn.permute_dims(v, order), tuple(merged))
    return [
        window(
            flat,
            axes=axes,
            count=tuple(shape[axis] for axis in axes),
            size=sizes,
            step=tuple(step * size for step, size in zip(attrs["step"], sizes, strict=True)),
            dilation=tuple(dilation * size + 1 for dilation, size in zip(attrs["dilation"], sizes, strict=True)),
            low=tuple(low * size for low, size in zip(attrs["low"], sizes, strict=True)),
            value=0,
        )
    ]


_FOLD = ("axes", "step", "dilation", "low")


def adjoint_samples(rng: np.random.Generator, **more: int) -> Iterator[Sample]:
    for i, shape in enumerate(_SHAPES):
        operand = with_sizes(shape[0], shape[1], shape[2]) + shape[3]
        attrs = {**_attrs(shape, *_FOLD), "count": tuple(shape[0][axis] for axis in shape[1]), **more}
        for dtype in NUMERIC if i == 1 else (np.dtype("f8"),):
            yield Sample((np.asarray(draw(rng, operand, dtype, -4, 4)),), attrs, dtype == np.float64)


skew: Op = declare(
    "skew",
    Kind.VIEW,
    doc="What falls on each of `count` positions from windows laid `step` apart: a candidate for each element of a window.",
    infer=_skew_type,
    ref=_skew_ref,
    pieces=_skew_pieces,
    backward=_skew_backward,
    samples=lambda rng: adjoint_samples(rng, value=0),
)
