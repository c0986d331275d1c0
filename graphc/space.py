"""Index expressions evaluated with NumPy over a whole iteration space, for the interpreter and the verifier of kernels.

A point set is a tuple of arrays, one for each axis, that broadcast against each other: over extents (2, 3) the axes are
[[0], [1]] and [[0, 1, 2]]. An expression's value then has only the axes it depends on; the others have size 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.index import Axis, Index, Quotient, Where

Points = tuple[np.ndarray, ...]


def grid(extents: Sequence[int]) -> Points:
    """All points of a space."""
    rank = len(extents)
    return tuple(np.arange(n, dtype=np.int64).reshape(n, *(1,) * (rank - axis - 1)) for axis, n in enumerate(extents))


def evaluate(index: Index, points: Points) -> np.ndarray:
    total = np.int64(index.const) + np.zeros((1,) * len(points), np.int64)
    for atom, coef in index.terms:
        if isinstance(atom, Axis):
            value = points[atom.number]
        else:
            inner = evaluate(atom.of, points)
            value = inner // atom.by if isinstance(atom, Quotient) else inner % atom.by
        total = total + coef * value
    return total


def holds(where: Where, points: Points) -> np.ndarray:
    """Where a conjunction of ranges is true."""
    result = np.ones((1,) * len(points), np.bool_)
    for condition in where:
        value = evaluate(condition.index, points)
        result = result & (condition.low <= value) & (value < condition.high)
    return result


# A space of more points is looked at in a sample: the first and last positions of every axis, and some between.
EXACT_POINTS = 1 << 21

Span = tuple[int, int]  # inclusive; empty where low > high


def bounds_under(index: Index, where: Where, extents: Sequence[int]) -> Span | None:
    """Least and greatest value of an expression over the points of a space where a conjunction holds; None where it holds
    nowhere. From intervals where they are tight enough to be of use, so the bounds may be too wide."""
    spans = _tighten(where, [(0, extent - 1) for extent in extents])
    return None if any(low > high for low, high in spans) else _interval(index, spans)


def exact_bounds(index: Index, where: Where, extents: Sequence[int]) -> Span | None:
    """The same by evaluation at all points, or at a sample of a large space."""
    if 0 in extents:
        return None
    axes = index.axes().union(*(condition.index.axes() for condition in where))
    points = sample([extent if axis in axes else 1 for axis, extent in enumerate(extents)])
    values, valid = np.broadcast_arrays(evaluate(index, points), holds(where, points))
    found = values[valid]
    return (int(found.min()), int(found.max())) if found.size else None


def injective(index: Index, extents: Sequence[int]) -> bool:
    """Whether different points have different values."""
    if 0 in extents:
        return True
    steps = sorted((abs(index.coefficient(axis)), extent) for axis, extent in enumerate(extents) if extent > 1)
    if index.is_affine:
        # Each stride clears all that smaller strides can reach: a mixed-radix number.
        reach = 0
        for stride, extent in steps:
            if stride <= reach:
                break
            reach += stride * (extent - 1)
        else:
            return True
    if any(extent > 1 and axis not in index.axes() for axis, extent in enumerate(extents)):
        return False
    values = values_at_sample(index, extents)
    return np.unique(values).size == values.size


def values_at_sample(index: Index, extents: Sequence[int]) -> np.ndarray:
    points = sample(extents)
    shape = np.broadcast_shapes(*(axis.shape for axis in points)) if points else ()
    return np.broadcast_to(evaluate(index, points), shape).reshape(-1)


def sample(extents: Sequence[int]) -> Points:
    """All points of a space, or a smaller grid of them that includes the corners."""
    keep = max(extents, default=1)
    while np.prod([min(extent, keep) for extent in extents], dtype=np.float64) > EXACT_POINTS:
        keep -= (keep + 3) // 4
    positions = [np.unique(np.linspace(0, max(n - 1, 0), min(n, keep)).astype(np.int64)) for n in extents]
    return tuple(chosen.reshape(-1, *(1,) * (len(extents) - axis - 1)) for axis, chosen in enumerate(positions))


def _tighten(where: Where, spans: list[Span]) -> list[Span]:
    """Interval propagation: each condition bounds each of its axes, given what the others can be."""
    for _ in range(2):
        for condition in where:
            for atom, coef in condition.index.terms:
                if not isinstance(atom, Axis) or any(low > high for low, high in spans):
                    continue
                low, high = _interval(condition.index - Index(((atom, coef),)), spans)
                least, most = condition.low - high, condition.high - 1 - low  # of coef * axis
                if coef < 0:
                    least, most = -most, -least
                size = abs(coef)
                old = spans[atom.number]
                spans[atom.number] = (max(old[0], -(-least // size)), min(old[1], most // size))
    return spans


def _interval(index: Index, spans: Sequence[Span]) -> Span:
    low = high = index.const
    for atom, coef in index.terms:
        if isinstance(atom, Axis):
            span = spans[atom.number]
        else:
            inner = _interval(atom.of, spans)
            span = (inner[0] // atom.by, inner[1] // atom.by)
            if not isinstance(atom, Quotient):
                same = span[0] == span[1]
                span = (inner[0] % atom.by, inner[1] % atom.by) if same else (0, atom.by - 1)
        low += min(span[0] * coef, span[1] * coef)
        high += max(span[0] * coef, span[1] * coef)
    return low, high
