"""Reductions over `axes`, which leave the shape. Axes are sorted and distinct."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Op, Sample, declare, operands, result
from graphc.ops.common import NUMERIC, draw, no_gradient
from graphc.tensor import Tensor
from graphc.types import TensorType, bool_, int64

TypeRule = Callable[[tuple[TensorType, ...], Attrs], TensorType]
Samples = Callable[[np.random.Generator], Iterator[Sample]]


def _reduced_type(kinds: str, dtype: np.dtype | None = None, empty: bool = True) -> TypeRule:
    def infer(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
        (x,) = types
        axes = attrs["axes"]
        if x.dtype.kind not in kinds:
            raise DTypeError(f"cannot reduce {x}")
        if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
            raise ShapeError(f"axes {axes} do not fit {x}")
        if not empty and math.prod(x.shape[axis] for axis in axes) == 0:
            raise ShapeError(f"an empty axis has no extremum: {x} over axes {axes}")
        return TensorType(dtype or x.dtype, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))

    return infer


def spread(reduced: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A reduced tensor repeated along the axes that went, to `shape`."""
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return fn.broadcast_to(fn.reshape(reduced, kept), shape)


def _samples(dtypes: Any, differentiable: bool, low: float, high: float, empty: bool) -> Samples:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        for dtype in dtypes:
            for shape, axes in (
                ((7,), (0,)), ((3, 5), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)), ((2, 3, 19), (1,)), ((2, 3, 19), (0, 2)),
                ((1, 4), (0,)), ((4, 1), (1,)), ((), ()), ((3, 2), ()), ((0, 3), (1,)), ((3, 130), (1,)), ((70, 3), (0,)),
            ):  # fmt: skip
                x = np.asarray(draw(rng, shape, dtype, low, high))
                yield Sample((x,), {"axes": axes}, differentiable and dtype.kind == "f" and x.size < 100)
            if empty:
                yield Sample((np.zeros((3, 0), dtype),), {"axes": (1,)}, False)

    return samples


def _summed(ufunc: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda attrs, x: np.asarray(ufunc(x, axis=attrs["axes"], dtype=x.dtype))


def _drop_no_axes(node: Node) -> Node | None:
    """A reduction over no axes is its operand."""
    return node.inputs[0] if not node.attrs["axes"] else None


sum_ = declare(
    "sum",
    Kind.REDUCE,
    doc="The sum over `axes`; integers wrap.",
    infer=_reduced_type("if"),
    ref=_summed(np.sum),
    reducer="sum",
    backward=lambda node, v: [spread(v, node.attrs["axes"], node.inputs[0].type.shape)],
    samples=_samples(NUMERIC, True, -4, 4, True),
    rewrites=(_drop_no_axes,),
)


def _tree_product(x: Tensor) -> Tensor:
    """The product over the last axis as a tree of elementwise products: its derivative is right also where elements are 0."""
    size = x.shape[-1]
    while size > 1:
        half = size // 2
        paired = x[..., :half] * x[..., half : 2 * half]
        x = fn.concat([paired, x[..., 2 * half :]], axis=-1) if size % 2 else paired
        size = x.shape[-1]
    return x[..., 0]


def _prod_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    from graphc.autodiff import vjp

    if node.type.dtype.kind != "f":
        return [None]
    (x,) = operands(node)
    axes = node.attrs["axes"]
    count = math.prod(x.shape[axis] for axis in axes)
    if count == 0:
        return [fn.zeros_like(x)]
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    last = fn.reshape(fn.permute_dims(x, kept + axes), (*node.type.shape, count))
    return list(vjp([_tree_product(last)], [x], [v]))


prod = declare(
    "prod",
    Kind.REDUCE,
    doc="The product over `axes`; integers wrap.",
    infer=_reduced_type("if"),
    ref=_summed(np.prod),
    reducer="prod",
    backward=_prod_backward,
    samples=_samples(NUMERIC, True, 0.5, 2, True),
    rewrites=(_drop_no_axes,),
)


def _extremum_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    """Shared evenly among the elements that equal the extremum, as PyTorch's amax."""
    if node.type.dtype.kind != "f":
        return [None]
    (x,) = operands(node)
    axes = node.attrs["axes"]
    chosen = (x == spread(result(node), axes, x.shape)).astype(x.dtype)
    share = v / fn.sum(chosen, axis=axes)
    return [spread(share, axes, x.shape) * chosen]


def _extremum(name: str, doc: str, ref: Callable[..., Any]) -> Op:
    return declare(
        name,
        Kind.REDUCE,
        doc=doc,
        infer=_reduced_type("bif", empty=False),
        ref=lambda attrs, x: np.asarray(ref(x, axis=attrs["axes"])) if attrs["axes"] else x,
        reducer=name,
        backward=_extremum_backward,
        samples=_samples((*NUMERIC, bool_), True, -9, 9, False),
        rewrites=(_drop_no_axes,),
    )


max_ = _extremum("max", "The greatest element over `axes`; NaN if any is; bool: any.", np.max)
min_ = _extremum("min", "The least element over `axes`; NaN if any is; bool: all.", np.min)


def _position_ref(ref: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def run(attrs: Attrs, x: np.ndarray) -> np.ndarray:
        axes = attrs["axes"]
        kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
        count = math.prod(x.shape[axis] for axis in axes)
        rows = x.transpose(kept + tuple(axes)).reshape(*(x.shape[axis] for axis in kept), count)
        return np.asarray(ref(rows, axis=-1)).astype(np.int64)

    return run


def _position(name: str, doc: str, ref: Callable[..., Any]) -> Op:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        yield from _samples((*NUMERIC, bool_), False, -3, 3, False)(rng)
        x = rng.integers(-2, 3, (5, 40)).astype(np.float32)
        x[2, 7] = x[2, 20] = x[3, 39] = np.nan
        yield Sample((x,), {"axes": (1,)}, False)
        yield Sample((x,), {"axes": (0,)}, False)

    return declare(
        name,
        Kind.REDUCE,
        doc=doc,
        infer=_reduced_type("bif", dtype=int64, empty=False),
        ref=_position_ref(ref),
        reducer=name,
        backward=no_gradient,
        samples=samples,
    )


argmax = _position("argmax", "Row-major position over `axes` of the first greatest element, or of the first NaN.", np.argmax)
argmin = _position("argmin", "Row-major position over `axes` of the first least element, or of the first NaN.", np.argmin)
