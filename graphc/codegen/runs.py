"""Lanes whose elements lie in a few runs: rows of an image that registers do not fill.

    image rows of 14, padded to 16; lanes along (y, x):      lanes 0 .. 13 at p, p + 1, ..., lanes 14 and 15 from p + 16 on
    two masked loads in place of a gather of 16 lanes

A map that is no stride along the lanes often is one between breaks. Whether every register has few enough of them is decided
here, by looking at all.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from graphc.index import Axis, Index
from graphc.space import evaluate

_MOST_POINTS = 1 << 20


@lru_cache(maxsize=1024)
def count_runs(offset: Index, lane_axis: int, lanes: int) -> int:
    """The most runs that a register's lanes fall into, up to three, which the first, the middle and the last lane tell; 0 where
    there are more, or too many registers to look at. Registers begin at multiples of `lanes`."""
    part = Index(tuple((atom, coef) for atom, coef in offset.terms if lane_axis in Index(((atom, 1),)).axes()))
    extents = _extents(part)
    if lane_axis not in extents or lanes < 4:
        return 0
    extents[lane_axis] = -(-extents[lane_axis] // lanes) * lanes
    if np.prod(list(extents.values()), dtype=np.float64) > _MOST_POINTS:
        return 0
    # the axis of lanes comes last
    order = sorted(extents, key=lambda number: (number == lane_axis, number))
    points = [np.zeros((1,) * len(order), np.int64)] * (max(order) + 1)
    for i, number in enumerate(order):
        points[number] = np.arange(extents[number], dtype=np.int64).reshape([-1 if j == i else 1 for j in range(len(order))])
    shape = tuple(extents[number] for number in order)
    values = evaluate(part, tuple(points))
    values = np.broadcast_to(values.reshape(values.shape[-len(order) :]), shape).reshape(-1, lanes) - np.arange(lanes)
    first, middle, last = values[:, :1], values[:, lanes // 2 : lanes // 2 + 1], values[:, -1:]
    outer = (values == first) | (values == last)
    return 1 if (values == first).all() else 2 if outer.all() else 3 if (outer | (values == middle)).all() else 0


def _extents(index: Index) -> dict[int, int]:
    found: dict[int, int] = {}
    for atom, _ in index.terms:
        found.update({atom.number: atom.extent} if isinstance(atom, Axis) else _extents(atom.of))
    return found
