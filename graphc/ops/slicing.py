"""Views that take parts of axes, and put parts together: slice, flip, pad, concat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.index import Index, Piece, Range
from graphc.op import Kind, Op, Sample, declare, operands
from graphc.ops.common import draw
from graphc.ops.view import ALL, Coordinates, sample, typed
from graphc.tensor import Tensor
from graphc.types import TensorType

# --- slice, flip, pad ---


def _slice_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    start, size, step = attrs["start"], attrs["size"], attrs["step"]
    if not len(start) == len(size) == len(step) == x.rank:
        raise ShapeError(f"start, size and step need {x.rank} entries for {x}")
    for axis in range(x.rank):
        last = start[axis] + (size[axis] - 1) * step[axis]
        if step[axis] < 1 or size[axis] < 0 or start[axis] < 0 or (size[axis] and last >= x.shape[axis]):
            raise ShapeError(f"start {start}, size {size}, step {step} leave {x}")
    return TensorType(x.dtype, tuple(size))


def _slice_ref(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    parts = zip(attrs["start"], attrs["size"], attrs["step"], strict=True)
    return x[tuple(np.s_[start : start + (size - 1) * step + 1 : step] if size else np.s_[0:0] for start, size, step in parts)]


def _slice_pieces(node: Node, index: Coordinates) -> list[Piece]:
    attrs = node.attrs
    return [Piece(0, tuple(at * step + start for at, start, step in zip(index, attrs["start"], attrs["step"], strict=True)))]


def _slice_backward(node: Node, v: Tensor) -> list[Tensor]:
    """The gradient laid back into zeros: a pad with holes of step - 1 between elements."""
    attrs, source = node.attrs, node.inputs[0].type.shape
    high, interior = [], []
    for axis, size in enumerate(attrs["size"]):
        reached = attrs["start"][axis] + (size - 1) * attrs["step"][axis] + 1 if size else attrs["start"][axis]
        high.append(source[axis] - reached)
        interior.append(attrs["step"][axis] - 1)
    return [pad(v, low=attrs["start"], high=tuple(high), interior=tuple(interior), value=0)]


def _slice_stacked(node: Node, x: Tensor) -> Tensor:
    start, size, step = (node.attrs[key] for key in ("start", "size", "step"))
    return slice_(x, start=(0, *start), size=(x.shape[0], *size), step=(1, *step))


def _slice_whole(node: Node) -> Node | None:
    return node.inputs[0] if node.type == node.inputs[0].type else None


def _slice_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (5, 7), start=(1, 0), size=(2, 3), step=(2, 2))
    for shape, start, size, step in (
        ((9,), (2,), (4,), (1,)), ((9,), (8,), (1,), (3,)), ((4, 40), (0, 3), (4, 33), (1, 1)), ((3, 4), (1, 2), (0, 2), (1, 1)),
        ((), (), (), ()),
    ):  # fmt: skip
        yield sample(rng, shape, start=start, size=size, step=step)


slice_: Op = declare(
    "slice",
    Kind.VIEW,
    doc="`size` elements of each axis from `start` on, `step` (at least 1) apart.",
    infer=_slice_type,
    ref=_slice_ref,
    pieces=_slice_pieces,
    backward=_slice_backward,
    lift=_slice_stacked,
    samples=_slice_samples,
    rewrites=(_slice_whole,),
)


def _flip_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    if list(attrs["axes"]) != sorted(set(attrs["axes"])) or any(not 0 <= axis < x.rank for axis in attrs["axes"]):
        raise ShapeError(f"axes {attrs['axes']} do not fit {x}")
    return x


def _flip_pieces(node: Node, index: Coordinates) -> list[Piece]:
    shape, axes = node.type.shape, node.attrs["axes"]
    return [Piece(0, tuple(at * -1 + (shape[i] - 1) if i in axes else at for i, at in enumerate(index)))]


def _double_flip(node: Node) -> Node | None:
    (x,) = node.inputs
    return x.inputs[0] if x.op is flip and x.attrs["axes"] == node.attrs["axes"] else None


def _flip_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (3, 5), axes=(1,))
    for shape, axes in (((37,), (0,)), ((2, 3, 4), (0, 2)), ((0, 2), (0,)), ((3,), ())):
        yield sample(rng, shape, axes=axes)


flip: Op = declare(
    "flip",
    Kind.VIEW,
    doc="Reversed along `axes`.",
    infer=_flip_type,
    ref=lambda attrs, x: np.flip(x, attrs["axes"]),
    pieces=_flip_pieces,
    backward=lambda node, v: [flip(v, axes=node.attrs["axes"])],
    lift=lambda node, x: flip(x, axes=tuple(axis + 1 for axis in node.attrs["axes"])),
    samples=_flip_samples,
    rewrites=(_double_flip,),
)


def _padded(size: int, low: int, high: int, interior: int) -> int:
    return low + high + size + max(size - 1, 0) * interior


def _pad_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (x,) = types
    low, high, interior = attrs["low"], attrs["high"], attrs["interior"]
    if not len(low) == len(high) == len(interior) == x.rank or min((*low, *high, *interior, 0)) < 0:
        raise ShapeError(f"low {low}, high {high} and interior {interior} need {x.rank} entries of at least 0 for {x}")
    if isinstance(attrs["value"], float) and x.dtype.kind != "f":
        raise DTypeError(f"{x} cannot be padded with {attrs['value']}")
    return TensorType(x.dtype, tuple(_padded(*one) for one in zip(x.shape, low, high, interior, strict=True)))


def _pad_ref(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    low, high, interior = attrs["low"], attrs["high"], attrs["interior"]
    shape = tuple(_padded(*one) for one in zip(x.shape, low, high, interior, strict=True))
    result = np.full(shape, attrs["value"], x.dtype)
    if x.size:
        result[tuple(np.s_[lo : lo + (n - 1) * (i + 1) + 1 : i + 1] for n, lo, i in zip(x.shape, low, interior, strict=True))] = x
    return result


def _pad_pieces(node: Node, index: Coordinates) -> list[Piece]:
    where: list[Range] = []
    at: list[Index] = []
    source = node.inputs[0].type.shape
    for i, one in enumerate(index):
        low, step, size = node.attrs["low"][i], node.attrs["interior"][i] + 1, source[i]
        shifted = one - low
        where.append(Range(shifted, 0, (size - 1) * step + 1 if size else 0))
        if step > 1:
            where.append(Range(shifted % step, 0, 1))
        at.append(shifted // step)
    return [Piece(0, tuple(at), tuple(condition for condition in where if condition.known() is not True))]


def _pad_backward(node: Node, v: Tensor) -> list[Tensor]:
    step = tuple(i + 1 for i in node.attrs["interior"])
    return [slice_(v, start=node.attrs["low"], size=node.inputs[0].type.shape, step=step)]


def _pad_stacked(node: Node, x: Tensor) -> Tensor:
    widths = {key: (0, *node.attrs[key]) for key in ("low", "high", "interior")}
    return pad(x, **widths, value=node.attrs["value"])


def _pad_nothing(node: Node) -> Node | None:
    return node.inputs[0] if node.type == node.inputs[0].type else None


def _pad_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from typed(rng, (2, 3), low=(1, 0), high=(0, 2), interior=(0, 1), value=0)
    for shape, low, high, interior, value in (
        ((5,), (0,), (0,), (2,), 1.5), ((3, 20), (0, 7), (1, 13), (0, 0), -1.0), ((0,), (2,), (1,), (3,), 2.0),
        ((1,), (3,), (0,), (5,), 0.0), ((2,), (0,), (0,), (0,), 0.0),
    ):  # fmt: skip
        yield sample(rng, shape, low=low, high=high, interior=interior, value=value)


pad: Op = declare(
    "pad",
    Kind.VIEW,
    doc="`low` elements of `value` before each axis, `high` after, `interior` between neighbours.",
    infer=_pad_type,
    ref=_pad_ref,
    pieces=_pad_pieces,
    backward=_pad_backward,
    lift=_pad_stacked,
    samples=_pad_samples,
    rewrites=(_pad_nothing,),
)


# --- concat ---


def _concat_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    axis, first = attrs["axis"], types[0]
    if not 0 <= axis < first.rank:
        raise ShapeError(f"axis {axis} is out of range for {first}")
    for other in types[1:]:
        if other.dtype != first.dtype:
            raise DTypeError(f"element types differ, {first} and {other}")
        outside = [one.shape[:axis] + one.shape[axis + 1 :] for one in (first, other)]
        if other.rank != first.rank or outside[0] != outside[1]:
            raise ShapeError(f"shapes must agree outside axis {axis}, got {first} and {other}")
    total = sum(one.shape[axis] for one in types)
    return TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_pieces(node: Node, index: Coordinates) -> list[Piece]:
    axis, offset, pieces = node.attrs["axis"], 0, []
    for i, operand in enumerate(node.inputs):
        size = operand.type.shape[axis]
        inside = Range(index[axis], offset, offset + size)
        where = () if inside.known() is True else (inside,)
        pieces.append(Piece(i, (*index[:axis], index[axis] - offset, *index[axis + 1 :]), where))
        offset += size
    return [piece for piece in pieces if all(condition.known() is not False for condition in piece.where)]


def _concat_backward(node: Node, v: Tensor) -> list[Tensor]:
    axis, offset, gradients = node.attrs["axis"], 0, []
    for operand in operands(node):
        start = tuple(offset if i == axis else 0 for i in range(v.ndim))
        gradients.append(slice_(v, start=start, size=operand.shape, step=(1,) * v.ndim))
        offset += operand.shape[axis]
    return gradients


def _concat_one(node: Node) -> Node | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _concat_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in ALL:
        arrays = tuple(np.asarray(draw(rng, (2, n, 3), dtype, -4, 4)) for n in (1, 0, 4))
        yield Sample(arrays, {"axis": 1}, dtype == np.float64)
    for axis, shapes in ((0, ((5,), (31,), (2,))), (1, ((3, 17), (3, 40))), (0, ((2, 3),))):
        yield Sample(tuple(rng.standard_normal(shape) for shape in shapes), {"axis": axis})


def _concat_lift(node: Node, *xs: Tensor) -> Tensor:
    return concat(*xs, axis=node.attrs["axis"] + 1)


concat: Op = declare(
    "concat",
    Kind.VIEW,
    doc="Operands one after another along `axis`.",
    infer=_concat_type,
    ref=lambda attrs, *xs: np.concatenate(xs, attrs["axis"]),
    pieces=_concat_pieces,
    backward=_concat_backward,
    lift=_concat_lift,
    samples=_concat_samples,
    rewrites=(_concat_one,),
)
