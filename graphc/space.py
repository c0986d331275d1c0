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
    return tuple(np.arange(n, dtype=np.int64).reshape(n, *(1,) * (rank - axis - 1)) if n >= 0 else np.arange(0) for axis, n in enumerate(extents))


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
