"""What fusion stores in memory: what is asked for, and what other kernels read unless it is cheap to compute again there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphc.graph import Node
from graphc.index import axes_of
from graphc.op import Kind
from graphc.passes.access import leaves
from graphc.passes.cluster import Cluster
from graphc.passes.clusters import Clusters

MAX_RECOMPUTED = 6  # ops behind a value that is computed again rather than stored
MAX_RECOMPUTED_COST = 8
MAX_DRAWN = 24  # the same for values of counters and scalars alone, as random ones: at any cost, they need no memory


def stored_nodes(clusters: Clusters, order: Sequence[Cluster], kept: Collection[Node]) -> set[Node]:
    """Nodes that need memory: those asked for, and those that another kernel reads, but for cheap ones whose operands are in
    memory anyway."""
    readers: dict[Node, list[Cluster]] = {}
    needed: dict[Cluster, set[Node]] = {}
    solid = set(kept)
    for node, cluster in clusters.owner.items():
        for read in clusters.barriers[node]:
            solid.add(read.base)
            needed.setdefault(cluster, set()).add(read.base)
        for read in clusters.reads[node]:
            if clusters.owner.get(read.base) is not cluster:
                needed.setdefault(cluster, set()).add(read.base)
    for cluster in order:
        for base in needed.get(cluster, ()):
            readers.setdefault(base, []).append(cluster)
    stored = {node for node in clusters.owner if node in solid or node in readers}
    for node in clusters.graph.nodes:
        if node not in stored or node in solid:
            continue
        bases = _recomputable(node, stored)
        if bases is None:
            continue
        extra = max((sum(_traffic(base, node) for base in bases - needed[reader]) for reader in readers[node]), default=0)
        if extra <= node.type.nbytes:
            stored.discard(node)
            for reader in readers[node]:
                needed[reader] |= bases
                for base in bases:
                    if reader not in readers.setdefault(base, []):
                        readers[base].append(reader)
    return stored


def _traffic(base: Node, node: Node) -> int:
    """Bytes to read `base` for each element of `node`; what is much smaller stays in registers or the first cache."""
    return base.type.nbytes if 16 * base.type.size > node.type.size > 1 else 0


def _recomputable(node: Node, stored: set[Node]) -> set[Node] | None:
    """The bases in memory from which `node` is cheap to compute anywhere, or None."""
    bases: set[Node] = set()
    seen = {node}
    stack = [node]
    cost = 0
    while stack:
        one = stack.pop()
        cost += one.op.cost
        if one.op.kind is not Kind.ELEMENTWISE or one.op.effect or len(seen) > MAX_DRAWN:
            return None
        for x in one.inputs:
            for read in leaves(x, axes_of(x.type.shape)):
                base = read.base
                if base.op.kind is Kind.SOURCE or base in stored:
                    bases.add(base)
                elif base not in seen:
                    seen.add(base)
                    stack.append(base)
    cheap = cost <= MAX_RECOMPUTED_COST and len(seen) <= MAX_RECOMPUTED
    drawn = node.type.size > 1 and not any(_traffic(base, node) for base in bases)
    return bases if cheap or drawn else None
