"""Which nodes share a kernel.

Nodes are met in topological order; each joins the cluster of an operand, or starts one. A cluster has a domain: a shape, and the
axes of it that are reduced (None while nothing is). A node in it is at element level (one value for each point) or at row
level (one for each point of the axes that stay). It may join where every value that it reads from inside is
read at the very point where it is made, and where no path leaves the cluster and comes back.

    %1 = exp %0         : f32[8,9]          one cluster: domain [8,9], axes (1,)
    %2 = sum %1 {axes=(1,)}                 row level
    %3 = div %1 (broadcast %2)              element level, in the stage after the sum
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph import Graph, Node
from graphc.index import Index, axes_of, flatten
from graphc.op import OPS, Kind
from graphc.passes.access import Read, flat_of, is_free, leaves
from graphc.passes.cluster import Cluster, deepen, detour, reaches
from graphc.types import row_major_strides

# Emission is superlinear in the size of a kernel: in nodes, and in what their functions cost (measured: 100 powers in one kernel
# compile in 0.7 s, 250 in 2.9 s; cut at this cost in 0.15 s, as most kernels are then the same one).
MAX_NODES, MAX_COST = 256, 1024
MAX_EPILOGUE = 48
# A reduction with fewer rows than this and more elements than that would put a large sweep on one thread.
FEW_ROWS, MANY_ELEMENTS = 16, 1 << 17


class Clusters:
    """The clusters of a graph and who owns what."""

    def __init__(self, graph: Graph, fusing: bool = True):
        self.graph = graph
        self.fusing = fusing
        self.position = {node: i for i, node in enumerate(graph.nodes)}
        self.owner: dict[Node, Cluster] = {}
        self.reads: dict[Node, list[Read]] = {}  # at the node's own axes (a reduction: at its operand's)
        self.barriers: dict[Node, list[Read]] = {}  # reads that need stored memory
        self.reductions: dict[tuple[Any, ...], list[Node]] = {}  # by what they read, and over which axes
        for node in graph.nodes:
            if node.op.kind is Kind.SOURCE or is_free(node) or node.op.kind is Kind.VIEW:
                continue
            if node.op.kind is Kind.PROJECT:  # made by its loop
                self._result(node)
                continue
            if self.fusing and self._assemble(node):
                continue
            self._read(node)
            self._place(node)
        if self.fusing:
            self._join_copies()

    def all(self) -> list[Cluster]:
        """Every cluster once, in order of its first node."""
        return list(dict.fromkeys(self.owner[node] for node in self.graph.nodes if node in self.owner))

    # --- reads ---

    def _read(self, node: Node) -> None:
        kind = node.op.kind
        if kind in (Kind.CONTRACT, Kind.SCATTER, Kind.SCAN):
            self.barriers[node] = [read for x in node.inputs for read in leaves(x, axes_of(x.type.shape))]
            self.reads[node] = []
        elif kind is Kind.GATHER:
            x, index = node.inputs
            axis = node.attrs["axis"]
            at = axes_of(node.type.shape)[axis : axis + index.type.rank]
            self.barriers[node] = leaves(x, axes_of(x.type.shape))
            self.reads[node] = leaves(index, at)
        else:
            self.barriers[node] = []
            self.reads[node] = [read for x in node.inputs for read in leaves(x, axes_of(x.type.shape))]

    def _result(self, node: Node) -> None:
        cluster = self.owner[node.inputs[0]]
        self.owner[node] = cluster
        cluster.nodes.append(node)
        self.barriers[node] = self.reads[node] = []

    def _assemble(self, node: Node) -> bool:
        """Whether a node is a copy of pieces side by side that one sweep computes, or can: it stores them to their places."""
        if node.op is not OPS["copy"] or node.inputs[0].op is not OPS["concat"]:
            return False
        pieces = node.inputs[0].inputs
        for piece in pieces:
            cluster = self.owner.get(piece)
            if cluster is None or cluster.contract or cluster.closed or piece in cluster.row:
                return False
            if cluster is not self.owner[pieces[0]]:
                self._merge(self.owner[pieces[0]], cluster)
        cluster = self.owner[pieces[0]]
        if any(self.owner.get(piece) is not cluster or piece in cluster.row or piece in cluster.assembled for piece in pieces):
            return False
        self.owner[node] = cluster
        cluster.assembled.append(node)
        self.barriers[node] = self.reads[node] = []
        return True

    def sources(self, node: Node) -> list[Cluster]:
        """The clusters that a node reads from, each once."""
        reads = self.reads[node] + self.barriers[node]
        return list(dict.fromkeys(self.owner[read.base] for read in reads if read.base in self.owner))

    # --- placing ---

    def _place(self, node: Node) -> None:
        chosen: Cluster | None = None
        if self.fusing and not node.op.effect and node.op.kind not in (Kind.CONTRACT, Kind.SCATTER, Kind.SCAN):
            held = [self.owner[read.base] for read in self.reads[node] if read.base in self.owner and not read.where]
            candidates = sorted(dict.fromkeys(held), key=lambda cluster: (cluster.contract, cluster.depth), reverse=True)
            chosen = next((cluster for cluster in candidates if self._join(node, cluster)), None)
            if chosen is not None and not chosen.contract:
                for other in candidates:
                    if other is not chosen and not other.contract:
                        self._merge(chosen, other)
                        chosen = self.owner[node]
            if node.op.kind is Kind.REDUCE:
                chosen = self._beside(node, chosen)
        if chosen is None:
            self._start(node)

    def _beside(self, node: Node, chosen: Cluster | None) -> Cluster | None:
        """The cluster of another reduction of the same elements over the same axes, if `node`, not placed yet, may join it."""
        alike = self.reductions.setdefault((tuple(self.reads[node]), node.inputs[0].type.shape, node.attrs["axes"]), [])
        if chosen is None:
            clusters = dict.fromkeys(self.owner[other] for other in alike)
            chosen = next((cluster for cluster in clusters if self._join(node, cluster)), None)
        alike.append(node)
        return chosen

    def _start(self, node: Node) -> None:
        reducing = node.op.kind is Kind.REDUCE
        loop = node.op.kind is Kind.SCAN
        shape = () if loop else node.inputs[0].type.shape if reducing else node.type.shape
        cluster = Cluster(node.op.kind is Kind.CONTRACT, shape, node.attrs["axes"] if reducing else None)
        cluster.closed = node.op.effect or loop or node.op.kind is Kind.SCATTER
        self._add(node, cluster, reducing)

    def _add(self, node: Node, cluster: Cluster, row: bool) -> None:
        cluster.nodes.append(node)
        cluster.cost += node.op.cost
        if node.op.kind is not Kind.SCAN:
            cluster.shapes.add((node.type.shape, row))
        if row:
            cluster.row.add(node)
        sources = [source for source in self.sources(node) if source is not cluster]
        self.owner[node] = cluster
        if sources:
            cluster.entering.append(node)
        for source in sources:
            source.after.add(cluster)
            cluster.before.add(source)
        deepen(cluster)

    def _join(self, node: Node, cluster: Cluster) -> bool:
        if cluster.closed or len(cluster.nodes) >= (MAX_EPILOGUE if cluster.contract else MAX_NODES):
            return False
        if cluster.cost + node.op.cost > MAX_COST:
            return False
        if any(self.owner.get(read.base) is cluster for read in self.barriers[node]):
            return False
        if any(read.base in cluster.assembled for read in self.reads[node]):
            return False
        row = self._fit_reduction(node, cluster) if node.op.kind is Kind.REDUCE else self._fit_element(node, cluster)
        if row is None or (not row and self._spreads(node, cluster)):
            return False
        others = [source for source in self.sources(node) if source is not cluster]
        if reaches(cluster, others):
            return False
        if node.op.kind is Kind.REDUCE:
            cluster.shape, cluster.axes = node.inputs[0].type.shape, node.attrs["axes"]
        self._add(node, cluster, row)
        return True

    def _spreads(self, node: Node, cluster: Cluster) -> bool:
        """Whether an elementwise node only spreads values of rows over their elements: whoever reads it can as well read
        those."""
        if cluster.axes is None or node.op.kind is Kind.REDUCE or node.type.size <= math.prod(cluster.kept):
            return False
        return all(read.base.type.size <= math.prod(cluster.kept) for read in self.reads[node])

    def _fit_element(self, node: Node, cluster: Cluster) -> bool | None:
        """The level (is it a row?) at which an elementwise node fits, or None."""
        for row in (False, True) if cluster.axes is not None else (False,):
            at = cluster.coordinates(node.type.shape, row)
            if at is not None and self._reads_in_place(node, cluster, at, row):
                return row
        return None

    def _fit_reduction(self, node: Node, cluster: Cluster) -> bool | None:
        if cluster.contract:
            return None
        shape, axes = node.inputs[0].type.shape, node.attrs["axes"]
        if cluster.axes is None:
            rows = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
            if rows < FEW_ROWS and math.prod(shape) >= MANY_ELEMENTS:
                return None
            if math.prod(shape) != math.prod(cluster.shape):
                return None
            trial = Cluster(False, shape, axes, row=set())
            if any(trial.coordinates(other, False) is None for other, _ in cluster.shapes):
                return None
        elif (cluster.shape, cluster.axes) != (shape, axes):
            return None
        else:
            trial = cluster
        at = axes_of(shape)
        inside = [read for read in self.reads[node] if self.owner.get(read.base) is cluster]
        for read in inside:
            if read.where or read.base in cluster.row or _moved(read, at) != trial.flat(False):
                return None
        return True

    def _reads_in_place(self, node: Node, cluster: Cluster, at: tuple[Index, ...], row: bool) -> bool:
        """Whether `node`, placed at `at`, reads every value of the cluster where it is made."""
        for read in self.reads[node]:
            if self.owner.get(read.base) is not cluster:
                continue
            made_in_row = read.base in cluster.row
            if read.where or (row and not made_in_row) or _moved(read, at) != cluster.flat(made_in_row):
                return False
        return True

    # --- merging two sweeps ---

    def _merge(self, into: Cluster, other: Cluster) -> None:
        """Make one cluster of two where domains, reads and paths allow it."""
        if into.closed or other.closed or len(into.nodes) + len(other.nodes) > MAX_NODES or into.cost + other.cost > MAX_COST:
            return
        if into.axes is None and other.axes is not None:
            into, other = other, into
        as_row: bool | None = None
        if other.axes is None:
            for row in (False, True) if into.axes is not None else (False,):
                if all(into.coordinates(shape, row) is not None for shape, _ in other.shapes):
                    as_row = row
                    break
            if as_row is None:
                return
        elif (into.shape, into.axes) != (other.shape, other.axes):
            return
        if detour(into, other) or detour(other, into):
            return
        nodes = sorted(into.nodes + other.nodes, key=self.position.__getitem__)
        row_nodes = into.row | (set(other.nodes) if as_row else other.row)
        if not self._edges_in_place(into, other, row_nodes):
            return
        into.nodes, into.row, into.cost = nodes, row_nodes, into.cost + other.cost
        into.shapes |= {(shape, bool(as_row) or row) for shape, row in other.shapes}
        into.assembled += other.assembled
        for node in other.nodes + other.assembled:
            self.owner[node] = into
        into.entering = [node for node in into.entering + other.entering if self.sources(node) != [into]]
        into.before = (into.before | other.before) - {into, other}
        into.after = (into.after | other.after) - {into, other}
        for cluster in into.before:
            cluster.after.discard(other)
            cluster.after.add(into)
        for cluster in into.after:
            cluster.before.discard(other)
            cluster.before.add(into)
        deepen(into)

    def _join_copies(self) -> None:
        """A copy of elements that a sweep reads, at the same points, is stored by that sweep."""
        copies: dict[tuple[Read, tuple[int, ...]], list[Node]] = {}
        for node, cluster in self.owner.items():
            if node.op is OPS["copy"] and cluster.nodes == [node] and len(self.reads[node]) == 1:
                copies.setdefault((self.reads[node][0], node.type.shape), []).append(node)
        shapes = {shape for _, shape in copies}
        for node in self.graph.nodes if copies else ():
            if node.op.kind is not Kind.ELEMENTWISE or node.type.shape not in shapes or node not in self.owner:
                continue
            for read in self.reads[node]:
                for copy in copies.get((read, node.type.shape), ()):
                    into, other = self.owner[node], self.owner[copy]
                    if into is not other and into.axes is None and not into.contract:
                        self._merge(into, other)

    def _edges_in_place(self, into: Cluster, other: Cluster, row: set[Node]) -> bool:
        """Whether all reads between the two clusters happen where the values are made."""
        for node in into.entering + other.entering:
            mine = self.owner[node]
            both = (into, other)
            inside = [read for read in self.reads[node] if self.owner.get(read.base) in both]
            across = [read for read in inside if self.owner[read.base] is not mine]
            if any(self.owner.get(read.base) in both for read in self.barriers[node]):
                return False
            if not across:
                continue
            reducing = node.op.kind is Kind.REDUCE
            at = axes_of(node.inputs[0].type.shape) if reducing else into.coordinates(node.type.shape, node in row)
            for read in across:
                if read.base in into.assembled or read.base in other.assembled:
                    return False
                made_in_row = read.base in row
                if at is None or read.where or _moved(read, at) != into.flat(made_in_row):
                    return False
                if (made_in_row and reducing) or (not made_in_row and node in row and not reducing):
                    return False
        return True


def _moved(read: Read, at: tuple[Index, ...]) -> Index:
    """The flat position that is read when the reader's axes take the values `at`."""
    shape = read.base.type.shape
    if read.index is not axes_of(shape) or len(at) != len(shape):
        return read.flat.substitute(dict(enumerate(at)))
    # read as it lies, which is the usual case
    return flat_of(shape) if at is read.index else flatten(at, row_major_strides(shape))
