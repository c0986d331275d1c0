"""Elementwise functions of one float operand, and the two that only steer differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.graph import Attrs, Node
from graphc.op import Kind, Op, Sample, declare, operands, result
from graphc.ops.common import FLOATS, SHAPES, draw, elementwise_samples, no_gradient, same_type, zero_gradient
from graphc.tensor import Tensor
from graphc.types import TensorType

SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 88.7, -104.0, 1e-40, 1e30)


def _unary(
    name: str,
    doc: str,
    ref: Callable[[np.ndarray], np.ndarray],
    derivative: Callable[[Tensor, Tensor], Tensor] | None,
    low: float,
    high: float,
    special: Sequence[float] = SPECIAL,
    cost: int = 12,
) -> Op:
    """`derivative(x, y)` is dy/dx in terms of the operand and the result; None for a function that is constant almost
    everywhere."""

    def backward(node: Node, v: Tensor) -> list[Tensor]:
        return [v * derivative(operands(node)[0], result(node))]  # type: ignore[misc]

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        yield from elementwise_samples(1, [(low, high)], differentiable=derivative is not None)(rng)
        for dtype in FLOATS:
            yield Sample((np.array(special, dtype),), {}, False)

    return declare(
        name,
        Kind.ELEMENTWISE,
        doc=doc,
        infer=same_type("f"),
        ref=lambda attrs, x: ref(x),
        scalar=lambda b, x: getattr(b, name)(x),
        backward=backward if derivative is not None else zero_gradient,
        samples=samples,
        cost=cost,
    )


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype) if x.size else x.copy()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """Without overflow, and without cancellation for large |x|."""
    e = np.exp(-np.abs(x))
    return (np.where(x >= 0, 1, e) / (1 + e)).astype(x.dtype)


exp = _unary("exp", "e^x.", np.exp, lambda x, y: y, -3, 3)
expm1 = _unary("expm1", "e^x - 1, accurate near 0.", np.expm1, lambda x, y: y + 1, -3, 3)
log = _unary("log", "Natural logarithm.", np.log, lambda x, y: 1 / x, 0.1, 9)
log1p = _unary("log1p", "log(1 + x), accurate near 0.", np.log1p, lambda x, y: 1 / (1 + x), -0.8, 9)
sqrt = _unary("sqrt", "Square root.", np.sqrt, lambda x, y: 0.5 / y, 0.1, 9, cost=6)
rsqrt = _unary("rsqrt", "1 / sqrt(x).", lambda x: 1 / np.sqrt(x), lambda x, y: -0.5 * (y / x), 0.1, 9)
sigmoid = _unary("sigmoid", "1 / (1 + e^-x).", _sigmoid, lambda x, y: y * (1 - y), -5, 5)
tanh = _unary("tanh", "Hyperbolic tangent.", np.tanh, lambda x, y: 1 - y * y, -3, 3)
SLOPE = 2 / math.sqrt(math.pi)
erf = _unary("erf", "2/sqrt(pi) times the integral of e^(-t^2) from 0 to x.", _erf, lambda x, y: SLOPE * fn.exp(-(x * x)), -3, 3)
TRIG = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 1048576.0, -12345.678)
sin = _unary("sin", "Sine of x radians.", np.sin, lambda x, y: fn.cos(x), -9, 9, TRIG)
cos = _unary("cos", "Cosine of x radians.", np.cos, lambda x, y: -fn.sin(x), -9, 9, TRIG)
floor = _unary("floor", "The greatest integer not above x.", np.floor, None, -9, 9, cost=1)


stop_gradient = declare(
    "stop_gradient",
    Kind.ELEMENTWISE,
    doc="x, as a constant to differentiation.",
    infer=same_type("bif"),
    ref=lambda attrs, x: x,
    scalar=lambda b, x: x,
    backward=no_gradient,
    samples=elementwise_samples(1, [(-4, 4)], differentiable=False),
    rewrites=(lambda node: node.inputs[0],),
)


copy = declare(
    "copy",
    Kind.ELEMENTWISE,
    doc="x, in memory of its own.",
    infer=same_type("bif"),
    ref=lambda attrs, x: x,
    scalar=lambda b, x: x,
    backward=lambda node, v: [v],
    samples=elementwise_samples(1, [(-4, 4)]),
)


def _custom_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    return types[0]


def _custom_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    return [None, *attrs_backward(node.attrs)(operands(node)[1:], v)]


Backward = Callable[[Sequence["Tensor"], "Tensor"], Sequence["Tensor | None"]]

# backward functions that nodes refer to by name, so that a graph's text can be read back
BACKWARDS: dict[str, Backward] = {}


def attrs_backward(attrs: Attrs) -> Backward:
    backward = attrs["backward"]
    return BACKWARDS[backward] if isinstance(backward, str) else backward


def _double(inputs: Sequence[Tensor], v: Tensor) -> list[Tensor]:
    return [v * 2]


def _custom_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in SHAPES:
        x = np.asarray(draw(rng, shape, np.dtype("f8"), -3, 3))
        yield Sample((x * x, x), {"backward": _double}, False)


def _identity_pieces(node: Node, index: Any) -> list[Any]:
    from graphc.index import Piece

    return [Piece(0, tuple(index))]


custom_vjp = declare(
    "custom_vjp",
    Kind.VIEW,
    doc="The first operand; its gradient with respect to the others is what the user's `backward` says.",
    infer=_custom_type,
    ref=lambda attrs, y, *xs: y,
    pieces=_identity_pieces,
    backward=_custom_backward,
    samples=_custom_samples,
    rewrites=(lambda node: node.inputs[0],),
)


def _check_ref(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    from graphc.errors import InputError

    bad = ((x < attrs["low"]) | (x >= attrs["high"])) & (x != attrs["ignore"] if attrs["ignore"] is not None else True)
    if np.any(bad):
        raise InputError(attrs["message"].format(value=int(x[bad].reshape(-1)[0])))
    return x


def _check_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in ("i4", "i8"):
        values = rng.integers(0, 5, (3, 7)).astype(dtype)
        values[1, 2] = -100
        yield Sample((values,), {"low": 0, "high": 5, "ignore": -100, "message": "index {value} is out of range"}, False)


check_index = declare(
    "check_index",
    Kind.ELEMENTWISE,
    doc="x; the call fails with `message` unless every element is `ignore` or in [low, high).",
    infer=same_type("i"),
    ref=_check_ref,
    scalar=lambda b, x, attrs: x,
    backward=no_gradient,
    samples=_check_samples,
    effect=True,
)
