"""Elementwise arithmetic: two operands of one type, or one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.graph import Attrs, Node
from graphc.op import Kind, Sample, declare, derive, operands, result
from graphc.ops.common import FLOATS, NUMERIC, elementwise_samples, same_type, zero_gradient
from graphc.rewriting import splat
from graphc.tensor import Tensor
from graphc.types import TensorType, as_dtype, is_float

ALL = (*NUMERIC, np.dtype(bool))


def _identity_right(value: float) -> Any:
    """x op value -> x, exact for every x."""

    def rule(node: Node) -> Node | None:
        return node.inputs[0] if splat(node.inputs[1]) == value else None

    return rule


def _identity_left(value: float) -> Any:
    def rule(node: Node) -> Node | None:
        return node.inputs[1] if splat(node.inputs[0]) == value else None

    return rule


def _add_zero(node: Node) -> Node | None:
    """x + (-0.0) -> x for floats (x + 0.0 would change -0.0), x + 0 -> x for integers."""
    for i, j in ((0, 1), (1, 0)):
        value = splat(node.inputs[j])
        if value is not None and value == 0 and (not is_float(node.type.dtype) or np.signbit(value)):
            return node.inputs[i]
    return None


def _subtract_zero(node: Node) -> Node | None:
    """x - 0.0 -> x (x - (-0.0) would turn -0.0 to 0.0)."""
    value = splat(node.inputs[1])
    return node.inputs[0] if value is not None and value == 0 and not (is_float(node.type.dtype) and np.signbit(value)) else None


def _multiply_minus_one(node: Node) -> Node | None:
    """x * -1 -> -x."""
    if node.type.dtype.kind != "b":
        for i, j in ((0, 1), (1, 0)):
            if splat(node.inputs[j]) == -1:
                return derive(node, neg, (node.inputs[i],))
    return None


def _add_negated(node: Node) -> Node | None:
    """x + (-y) -> x - y, and (-x) + y -> y - x."""
    x, y = node.inputs
    if y.op is neg:
        return derive(node, sub, (x, y.inputs[0]))
    if x.op is neg:
        return derive(node, sub, (y, x.inputs[0]))
    return None


def _subtract_negated(node: Node) -> Node | None:
    """x - (-y) -> x + y."""
    x, y = node.inputs
    return derive(node, add, (x, y.inputs[0])) if y.op is neg else None


def _double_negation(node: Node) -> Node | None:
    inner = node.inputs[0]
    return inner.inputs[0] if inner.op is neg else None


def _divide_by_power_of_two(node: Node) -> Node | None:
    """x / 2**k -> x * 2**-k, exact while the reciprocal is a normal number."""
    value = splat(node.inputs[1])
    if value is None or not np.isfinite(value) or value == 0 or abs(np.frexp(float(value))[0]) != 0.5:
        return None
    reciprocal = node.type.dtype.type(1) / node.type.dtype.type(value)
    tiny = np.finfo(node.type.dtype).tiny
    if not np.isfinite(reciprocal) or abs(reciprocal) < tiny or abs(value) < tiny:
        return None
    from graphc.rewriting import splat_node

    return derive(node, mul, (node.inputs[0], splat_node(node, reciprocal)))


add = declare(
    "add",
    Kind.ELEMENTWISE,
    doc="x + y; integers wrap; bool: x or y.",
    infer=same_type("bif"),
    ref=lambda attrs, x, y: np.add(x, y),
    scalar=lambda b, x, y: b.add(x, y),
    backward=lambda node, v: [v, v],
    samples=elementwise_samples(2, [(-4, 4)], ALL),
    rewrites=(_add_zero, _add_negated),
)

sub = declare(
    "sub",
    Kind.ELEMENTWISE,
    doc="x - y; integers wrap.",
    infer=same_type("if"),
    ref=lambda attrs, x, y: np.subtract(x, y),
    scalar=lambda b, x, y: b.sub(x, y),
    backward=lambda node, v: [v, -v],
    samples=elementwise_samples(2, [(-4, 4)], NUMERIC),
    rewrites=(_subtract_zero, _subtract_negated),
)

mul = declare(
    "mul",
    Kind.ELEMENTWISE,
    doc="x y; integers wrap; bool: x and y.",
    infer=same_type("bif"),
    ref=lambda attrs, x, y: np.multiply(x, y),
    scalar=lambda b, x, y: b.mul(x, y),
    backward=lambda node, v: [v * operands(node)[1], v * operands(node)[0]],
    samples=elementwise_samples(2, [(-4, 4)], ALL),
    rewrites=(_identity_right(1), _identity_left(1), _multiply_minus_one),
)

div = declare(
    "div",
    Kind.ELEMENTWISE,
    doc="x / y in floating point.",
    infer=same_type("f"),
    ref=lambda attrs, x, y: np.divide(x, y),
    scalar=lambda b, x, y: b.div(x, y),
    cost=4,
    backward=lambda node, v: [v / operands(node)[1], -(v * result(node) / operands(node)[1])],
    samples=elementwise_samples(2, [(-4, 4), (0.5, 3)], FLOATS),
    rewrites=(_identity_right(1), _divide_by_power_of_two),
)


def _floordiv_ref(attrs: Attrs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.floor_divide(x, y)
    return np.where(y == 0, 0, np.floor_divide(x, np.where(y == 0, 1, y)))


def _mod_ref(attrs: Attrs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.remainder(x, y)
    return np.where(y == 0, 0, np.remainder(x, np.where(y == 0, 1, y)))


def _divmod_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from elementwise_samples(2, [(-20, 20)], NUMERIC[2:], differentiable=False)(rng)
    # away from the jumps where x / y is whole
    for dtype in FLOATS:
        for sign in (1, -1):
            y = (sign * rng.uniform(1, 3, (4, 7))).astype(dtype)
            x = (y * (rng.integers(-4, 5, y.shape) + rng.uniform(0.2, 0.8, y.shape))).astype(dtype)
            yield Sample((x, y), {})
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 5.5], np.float32)
    yield Sample((np.repeat(special, 8), np.tile(special, 8)), {}, False)


floordiv = declare(
    "floordiv",
    Kind.ELEMENTWISE,
    doc="floor(x / y); for integers x // 0 = 0.",
    infer=same_type("if"),
    ref=_floordiv_ref,
    scalar=lambda b, x, y: b.floordiv(x, y),
    cost=8,
    backward=zero_gradient,
    samples=_divmod_samples,
    rewrites=(),
)

mod = declare(
    "mod",
    Kind.ELEMENTWISE,
    doc="x - y floor(x / y), with the sign of y; for integers x % 0 = 0.",
    infer=same_type("if"),
    ref=_mod_ref,
    scalar=lambda b, x, y: b.mod(x, y),
    cost=8,
    backward=lambda node, v: [v, -(v * fn.floor_divide(*operands(node)))] if is_float(node.type.dtype) else [None, None],
    samples=_divmod_samples,
)

neg = declare(
    "neg",
    Kind.ELEMENTWISE,
    doc="-x.",
    infer=same_type("if"),
    ref=lambda attrs, x: np.negative(x),
    scalar=lambda b, x: b.neg(x),
    backward=lambda node, v: [-v],
    samples=elementwise_samples(1, [(-4, 4)], NUMERIC),
    rewrites=(_double_negation,),
)

abs_ = declare(
    "abs",
    Kind.ELEMENTWISE,
    doc="|x|.",
    infer=same_type("if"),
    ref=lambda attrs, x: np.abs(x),
    scalar=lambda b, x: b.abs(x),
    backward=lambda node, v: [v * fn.sign(operands(node)[0])],
    samples=elementwise_samples(1, [(0.5, 4)], NUMERIC),
)

sign = declare(
    "sign",
    Kind.ELEMENTWISE,
    doc="-1, 0 or 1; NaN stays NaN.",
    infer=same_type("if"),
    ref=lambda attrs, x: np.sign(x),
    scalar=lambda b, x: b.sign(x),
    backward=zero_gradient,
    samples=elementwise_samples(1, [(-4, 4)], NUMERIC, differentiable=False),
)


def _extremum_backward(node: Node, v: Tensor) -> list[Tensor]:
    """The gradient goes to the operand that was chosen, half to each where they are equal (as PyTorch)."""
    x, y = operands(node)
    half = v * 0.5
    chosen = result(node)
    tie = x == y
    return [fn.where(tie, half, fn.where(x == chosen, v, 0)), fn.where(tie, half, fn.where(y == chosen, v, 0))]


maximum = declare(
    "maximum",
    Kind.ELEMENTWISE,
    doc="max(x, y); NaN if either is NaN; bool: or.",
    infer=same_type("bif"),
    ref=lambda attrs, x, y: np.maximum(x, y),
    scalar=lambda b, x, y: b.maximum(x, y),
    backward=_extremum_backward,
    samples=elementwise_samples(2, [(-4, 4)], ALL),
)

minimum = declare(
    "minimum",
    Kind.ELEMENTWISE,
    doc="min(x, y); NaN if either is NaN; bool: and.",
    infer=same_type("bif"),
    ref=lambda attrs, x, y: np.minimum(x, y),
    scalar=lambda b, x, y: b.minimum(x, y),
    backward=_extremum_backward,
    samples=elementwise_samples(2, [(-4, 4)], ALL),
)


def _cast_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    return TensorType(as_dtype(attrs["dtype"]), types[0].shape)


def saturating_cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """NumPy's cast, except that float to integer saturates and NaN becomes 0."""
    if x.dtype.kind == "f" and dtype.kind == "i":
        info = np.iinfo(dtype)
        # the float just above info.max is exact (a power of two), info.max itself may not be
        too_big, too_small = x >= -float(info.min), x < info.min
        safe = np.where(too_big | too_small | np.isnan(x), 0, x)
        return np.where(too_big, info.max, np.where(too_small, info.min, safe.astype(dtype))).astype(dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def _cast_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    source = node.inputs[0].type.dtype
    return [v.astype(source)] if is_float(source) and is_float(node.type.dtype) else [None]


def _cast_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for source in ALL:
        for target in ALL:
            values = rng.integers(-3, 4, (3, 5)) + (rng.uniform(0.1, 0.9, (3, 5)) if source.kind == "f" else 0)
            # central differences need the precision of f64 on both sides
            yield Sample((values.astype(source),), {"dtype": target}, source == target == np.float64)
    extreme = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2147483647.5, -2147483649.0, 0.5, -0.5])
    for source in FLOATS:
        for target in NUMERIC[2:]:
            yield Sample((extreme.astype(source),), {"dtype": target}, False)


def _cast_to_same(node: Node) -> Node | None:
    return node.inputs[0] if node.type == node.inputs[0].type else None


cast = declare(
    "cast",
    Kind.ELEMENTWISE,
    doc="x as `dtype`; float to integer truncates and saturates, NaN becomes 0.",
    infer=_cast_type,
    ref=lambda attrs, x: saturating_cast(x, attrs["dtype"]),
    scalar=lambda b, x, attrs: b.cast(x, attrs["dtype"]),
    backward=_cast_backward,
    samples=_cast_samples,
    rewrites=(_cast_to_same,),
)


def _power_backward(node: Node, v: Tensor) -> list[Tensor | None]:
    """dx = y x^(y-1), 0 where y = 0; dy = x^y log x, 0 where x = 0 and y >= 0 (the limits, as PyTorch)."""
    if not is_float(node.type.dtype):
        return [None, None]
    x, y = operands(node)
    dx = fn.where(y == 0, 0, v * (y * x ** (y - 1)))
    dy = fn.where((x == 0) & (y >= 0), 0, v * (result(node) * fn.log(x)))
    return [dx, dy]


def _power_ref(attrs: Attrs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.power(x, y)
    positive = np.power(x, np.maximum(y, 0))
    reciprocal = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y < 0, reciprocal, positive).astype(x.dtype)


def _power_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from elementwise_samples(2, [(0.3, 3), (-3, 3)])(rng)
    yield from elementwise_samples(2, [(-5, 5), (-3, 9)], NUMERIC[2:])(rng)
    special = np.array([0, -0.0, 1, -1, 2, -2, 0.5, 3, -3, np.inf, -np.inf, np.nan], np.float32)
    yield Sample((np.repeat(special, 12), np.tile(special, 12)), {}, False)


power = declare(
    "power",
    Kind.ELEMENTWISE,
    doc="x to the power y; integers by squaring, 0 for a negative exponent unless x is 1 or -1.",
    infer=same_type("if"),
    ref=_power_ref,
    scalar=lambda b, x, y: b.power(x, y),
    cost=40,
    backward=_power_backward,
    samples=_power_samples,
)
