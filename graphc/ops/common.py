"""Type rules, samples and small helpers that the op families share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.op import Sample
from graphc.types import SHORT_NAMES, TensorType, bool_, is_float

# Odd sizes, a size-1 axis, a size-0 axis and a scalar: every elementwise sample comes in all of these.
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (3, 5), (2, 1, 19), (0, 3))

NUMERIC = tuple(np.dtype(d) for d in ("f4", "f8", "i4", "i8"))
FLOATS = NUMERIC[:2]


def describe(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types))


def same_type(kinds: str, result: np.dtype | None = None) -> Callable[[tuple[TensorType, ...], Attrs], TensorType]:
    """Type rule of an elementwise op: all operands of one type, of a NumPy kind in `kinds`; the result is of that type, or
    bool."""

    def infer(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
        first = types[0]
        for other in types[1:]:
            if other.shape != first.shape:
                raise ShapeError(f"shapes differ, {first.shape} and {other.shape}")
            if other.dtype != first.dtype:
                raise DTypeError(f"element types differ, {SHORT_NAMES[first.dtype]} and {SHORT_NAMES[other.dtype]}")
        if first.dtype.kind not in kinds:
            wanted = " or ".join(name for kind, name in (("b", "bool"), ("i", "integer"), ("f", "float")) if kind in kinds)
            raise DTypeError(f"needs {wanted} operands, got {describe(types)}")
        return TensorType(result or first.dtype, first.shape)

    return infer


def no_gradient(node: Node, v: Any) -> list[None]:
    """Backward function of an op through which no gradient flows: of integers, of bools, and of `stop_gradient`."""
    return [None] * len(node.inputs)


def zero_gradient(node: Node, v: Any) -> list[None]:
    """Backward function of an op that is constant almost everywhere: there is a gradient, and it is 0."""
    return [None] * len(node.inputs)


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, low: float, high: float) -> np.ndarray:
    """Uniform values in [low, high) of a dtype."""
    if dtype == bool_:
        return rng.random(shape) < 0.5
    if dtype.kind == "i":
        return rng.integers(int(low), int(high) + 1, shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)


def elementwise_samples(
    arity: int,
    ranges: Sequence[tuple[float, float]],
    dtypes: Sequence[np.dtype] = FLOATS,
    differentiable: bool = True,
    **attrs: Any,
) -> Callable[[np.random.Generator], Iterator[Sample]]:
    """Operands drawn from `ranges` (one for each, or one for all), in every shape and dtype."""

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        spans = list(ranges) * arity if len(ranges) == 1 else list(ranges)
        for dtype in dtypes:
            for shape in SHAPES:
                arrays = tuple(np.asarray(draw(rng, shape, dtype, *span)) for span in spans)
                yield Sample(arrays, dict(attrs), differentiable and is_float(dtype))

    return samples
