"""A cluster: nodes that share a kernel, the domain that its loops run over, and the paths from cluster to cluster. `clusters.py`
says who joins which.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from graphc.graph import Node
from graphc.index import Index, axes_of, flatten
from graphc.passes.access import flat_of, recoordinate
from graphc.types import row_major_strides


@dataclass(eq=False)
class Cluster:
    contract: bool  # a contraction and its epilogue, else a sweep
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None
    nodes: list[Node] = field(default_factory=list)
    cost: int = 0  # of all nodes, as `Op.cost`
    row: set[Node] = field(default_factory=set)  # nodes at row level
    shapes: set[tuple[tuple[int, ...], bool]] = field(default_factory=set)  # (shape, at row level) of the nodes
    entering: list[Node] = field(default_factory=list)  # nodes that read other clusters
    closed: bool = False  # takes no more nodes
    assembled: list[Node] = field(default_factory=list)  # copies of concatenations of its nodes, stored piece by piece
    before: set[Cluster] = field(default_factory=set)
    after: set[Cluster] = field(default_factory=set)
    depth: int = 0

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(size for axis, size in enumerate(self.shape) if axis not in (self.axes or ()))

    def is_live(self, stored: Collection[Node]) -> bool:
        """Whether something of it is stored or checked."""
        return any(node in stored or node.op.effect for node in (*self.nodes, *self.assembled))

    def flat(self, row: bool) -> Index:
        """The position of a value of the given level, over the axes of the domain."""
        return _flat_of_row(self.shape, self.axes or ()) if row else flat_of(self.shape)

    def coordinates(self, shape: tuple[int, ...], row: bool) -> tuple[Index, ...] | None:
        """Where a node of `shape` finds its element at a point of the domain; None where it does not fit simply."""
        return _coordinates(self.shape, self.axes or () if row else None, shape)


# --- paths -------------------------------------------------------------------------------------------------------------------


def deepen(cluster: Cluster) -> None:
    """Restore depth > depth of everything before, for `cluster` and what follows from it."""
    stack = [cluster]
    while stack:
        one = stack.pop()
        depth = max((other.depth for other in one.before), default=-1) + 1
        if depth > one.depth or one is cluster:
            one.depth = max(depth, one.depth)
            stack.extend(other for other in one.after if other.depth <= one.depth)


def reaches(start: Cluster, goals: Iterable[Cluster]) -> bool:
    """Whether a path leads from `start` to one of `goals`."""
    wanted = {goal for goal in goals if goal.depth > start.depth}
    if not wanted:
        return False
    limit = max(goal.depth for goal in wanted)
    seen, stack = {start}, [start]
    while stack:
        for cluster in stack.pop().after:
            if cluster in wanted:
                return True
            if cluster not in seen and cluster.depth < limit:
                seen.add(cluster)
                stack.append(cluster)
    return False


def detour(start: Cluster, goal: Cluster) -> bool:
    """Whether a path leads from `start` to `goal` through a third cluster."""
    return any(cluster is not goal and reaches(cluster, [goal]) for cluster in start.after)


# --- coordinates -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _flat_of_row(shape: tuple[int, ...], axes: tuple[int, ...]) -> Index:
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    return flatten([axes_of(shape)[axis] for axis in kept], row_major_strides([shape[axis] for axis in kept]))


@lru_cache(maxsize=4096)
def _coordinates(domain: tuple[int, ...], axes: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[Index, ...] | None:
    """`axes` are those that a row does without; None for elements."""
    if math.prod(shape) != math.prod(size for axis, size in enumerate(domain) if axis not in (axes or ())):
        return None
    if axes is None and shape == domain:
        return axes_of(shape)
    return recoordinate(flat_of(domain) if axes is None else _flat_of_row(domain, axes), shape)
