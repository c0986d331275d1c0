"""Comparisons, logic and choice. Comparisons with NaN are false, except `ne`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Op, Sample, declare, operands
from graphc.ops.common import NUMERIC, SHAPES, draw, elementwise_samples, no_gradient, same_type
from graphc.rewriting import splat
from graphc.tensor import Tensor
from graphc.types import SHORT_NAMES, TensorType, bool_

ALL = (*NUMERIC, bool_)


def _comparison(name: str, doc: str, ref: Callable[..., Any], scalar: Callable[..., Any]) -> Op:
    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        # few distinct values, so that equality happens
        yield from elementwise_samples(2, [(-2, 2)], (np.dtype("i4"), np.dtype("i8"), bool_), differentiable=False)(rng)
        for dtype in NUMERIC[:2]:
            values = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], dtype)
            yield Sample((np.repeat(values, 7), np.tile(values, 7)), {}, False)

    return declare(
        name,
        Kind.ELEMENTWISE,
        doc=doc,
        infer=same_type("bif", result=bool_),
        ref=lambda attrs, x, y: ref(x, y),
        scalar=scalar,
        backward=no_gradient,
        samples=samples,
    )


eq = _comparison("eq", "x == y.", np.equal, lambda b, x, y: b.eq(x, y))
ne = _comparison("ne", "x != y.", np.not_equal, lambda b, x, y: b.ne(x, y))
lt = _comparison("lt", "x < y.", np.less, lambda b, x, y: b.lt(x, y))
le = _comparison("le", "x <= y.", np.less_equal, lambda b, x, y: b.le(x, y))


def _logical(name: str, doc: str, ref: Callable[..., Any], scalar: Callable[..., Any]) -> Op:
    return declare(
        name,
        Kind.ELEMENTWISE,
        doc=doc,
        infer=same_type("bi"),
        ref=lambda attrs, x, y: ref(x, y),
        scalar=scalar,
        backward=no_gradient,
        samples=elementwise_samples(2, [(-9, 9)], (bool_, *NUMERIC[2:]), differentiable=False),
    )


and_ = _logical("and", "x and y; integers bitwise.", np.bitwise_and, lambda b, x, y: b.logical_and(x, y))
or_ = _logical("or", "x or y; integers bitwise.", np.bitwise_or, lambda b, x, y: b.logical_or(x, y))
xor = _logical("xor", "x exclusive-or y; integers bitwise.", np.bitwise_xor, lambda b, x, y: b.logical_xor(x, y))


def _double_not(node: Node) -> Node | None:
    return node.inputs[0].inputs[0] if node.inputs[0].op is not_ else None


not_ = declare(
    "not",
    Kind.ELEMENTWISE,
    doc="not x; integers bitwise.",
    infer=same_type("bi"),
    ref=lambda attrs, x: np.invert(x),
    scalar=lambda b, x: b.logical_not(x),
    backward=no_gradient,
    samples=elementwise_samples(1, [(-9, 9)], (bool_, *NUMERIC[2:]), differentiable=False),
    rewrites=(_double_not,),
)


def _where_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    condition, x, y = types
    if condition.dtype != bool_:
        raise DTypeError(f"the condition must be bool, got {condition}")
    if x.dtype != y.dtype:
        raise DTypeError(f"element types differ, {SHORT_NAMES[x.dtype]} and {SHORT_NAMES[y.dtype]}")
    if not condition.shape == x.shape == y.shape:
        raise ShapeError(f"shapes differ, {condition.shape}, {x.shape} and {y.shape}")
    return x


def _where_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    condition = operands(node)[0]
    return [None, fn.where(condition, v, 0), fn.where(condition, 0, v)]


def _where_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in ALL:
        for shape in SHAPES:
            condition = np.asarray(rng.random(shape) < 0.5)
            x, y = (np.asarray(draw(rng, shape, dtype, -4, 4)) for _ in range(2))
            yield Sample((condition, x, y), {}, dtype.kind == "f")


def _where_known(node: Node) -> Node | None:
    """where(true, x, y) -> x; where(c, x, x) -> x."""
    condition, x, y = node.inputs
    if x is y:
        return x
    value = splat(condition)
    return None if value is None else (x if value else y)


where = declare(
    "where",
    Kind.ELEMENTWISE,
    doc="x where the condition holds, else y.",
    infer=_where_type,
    ref=lambda attrs, condition, x, y: np.where(condition, x, y),
    scalar=lambda b, condition, x, y: b.where(condition, x, y),
    backward=_where_backward,
    samples=_where_samples,
    rewrites=(_where_known,),
)
