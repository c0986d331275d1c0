"""Contraction chains multiplied in the order of fewest operations; only under `Options(reassociate=True)`, as bits may change.

    %0 = contract a b {spec="ab,bc->ac"}   : f32[1000,1000]
    %1 = contract %0 v {spec="ab,b->a"}    : f32[1000]
->
    %0 = contract b v {spec="ab,b->a"}     : f32[1000]
    %1 = contract a %0 {spec="ab,b->a"}    : f32[1000]

A chain is a tree of contractions in which each inner one has no other reader: one einsum of all its leaves. The best order of
pairs is found by dynamic programming over subsets of the leaves (as in matrix-chain ordering, but for any labels). A chain is
rebuilt only where that saves operations, so a graph without savings comes back as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from graphc.cost import flops, label_sizes
from graphc.graph import Graph, Node
from graphc.op import Kind, derive
from graphc.ops.contract import canonical_spec, split_spec
from graphc.options import Options
from graphc.passes.rebuild import move, rebuild

# The search visits 3**leaves pairs of subsets, so a longer chain is cut into pieces: elsewhere in every round.
MAX_LEAVES = (8, 7, 5, 8)

Labels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """One einsum: leaves with their labels, the result's labels, and every label's size."""

    leaves: tuple[Node, ...]
    labels: tuple[Labels, ...]
    out: Labels
    sizes: tuple[int, ...]
    members: tuple[Node, ...]  # the contractions it is made of


def reassociate(graph: Graph, options: Options) -> Graph:
    """Re-orders contraction chains by FLOPs; the graph itself unless the option asks for it."""
    if not options.reassociate:
        return graph
    for limit in MAX_LEAVES:
        graph = _round(graph, limit)
    return graph


def _round(graph: Graph, limit: int) -> Graph:
    uses = Counter(operand for node in graph.nodes for operand in node.inputs)
    uses.update(graph.outputs)
    uses.update(value for _, value in graph.updates)
    inner: set[Node] = set()  # members of chains further down: built by their chain's last contraction
    better: dict[Node, Chain] = {}
    for node in reversed(graph.nodes):
        if node.op.kind is Kind.CONTRACT and node not in inner:
            chain = _chain(node, uses, limit)
            inner.update(chain.members[1:])
            if len(chain.leaves) > 2:
                better[node] = chain
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        now = move(node, new)
        new[node] = _reordered(better[node], now, new) if node in better else now
    return rebuild(graph, new)


def _chain(root: Node, uses: Counter[Node], limit: int) -> Chain:
    """The einsum that ends in `root`, over labels 0, 1, ... of its own."""
    sizes: list[int] = []
    leaves: list[tuple[Node, Labels]] = []
    members: list[Node] = []

    def fresh(size: int) -> int:
        sizes.append(size)
        return len(sizes) - 1

    out = tuple(fresh(size) for size in root.type.shape)
    stack: list[tuple[Node, Labels]] = [(root, out)]
    while stack:
        node, result = stack.pop()
        room = len(leaves) + len(stack) + 2 <= limit
        if node is not root and not (room and node.op.kind is Kind.CONTRACT and uses[node] == 1):
            leaves.append((node, result))
            continue
        members.append(node)
        x, w, names = split_spec(node.attrs["spec"])
        label = dict(zip(names, result, strict=True))
        for name, size in label_sizes(node).items():
            if name not in label:
                label[name] = fresh(size)
        # the left operand is popped first, so leaves stand in the order of the text
        stack += [(node.inputs[1], tuple(label[name] for name in w)), (node.inputs[0], tuple(label[name] for name in x))]
    return Chain(tuple(leaf for leaf, _ in leaves), tuple(labels for _, labels in leaves), out, tuple(sizes), tuple(members))


def _reordered(chain: Chain, now: Node, new: dict[Node, Node]) -> Node:
    cost, split = _best_order(chain)
    if cost >= sum(map(flops, chain.members)):
        return now
    everything = (1 << len(chain.leaves)) - 1
    values: dict[int, tuple[Node, Labels]] = {1 << i: (new[leaf], chain.labels[i]) for i, leaf in enumerate(chain.leaves)}
    order = [everything]
    for subset in order:
        if subset not in values:
            order += [split[subset], subset & ~split[subset]]
    for subset in reversed(order):
        if subset not in values:
            (x, x_labels), (w, w_labels) = values[split[subset]], values[subset & ~split[subset]]
            out = chain.out if subset == everything else _kept(chain, subset)
            names = {label: chr(0x100 + label) for label in (*x_labels, *w_labels)}
            spec = canonical_spec(*("".join(names[label] for label in labels) for labels in (x_labels, w_labels, out)))
            values[subset] = (derive(now, now.op, (x, w), spec=spec), out)
    return values[everything][0]


def _best_order(chain: Chain) -> tuple[int, dict[int, int]]:
    """Fewest operations for all leaves, and for every subset the part of it (holding its first leaf) that is multiplied first."""
    count = len(chain.leaves)
    best = {1 << i: 0 for i in range(count)}
    split: dict[int, int] = {}
    kept = {subset: set(_kept(chain, subset)) for subset in range(1, 1 << count)}
    for subset in range(1, 1 << count):
        if subset in best:
            continue
        first = subset & -subset
        part = (subset - 1) & subset
        while part:
            if part & first:
                rest = subset & ~part
                points = math.prod(chain.sizes[label] for label in kept[part] | kept[rest])
                cost = best[part] + best[rest] + 2 * points
                if subset not in split or cost < best[subset]:
                    best[subset], split[subset] = cost, part
            part = (part - 1) & subset
    return best[(1 << count) - 1], split


def _kept(chain: Chain, subset: int) -> Labels:
    """Labels of a subset of leaves that the others or the result still need, in order of first use."""
    inside = [label for i, labels in enumerate(chain.labels) if subset >> i & 1 for label in labels]
    outside = {label for i, labels in enumerate(chain.labels) if not subset >> i & 1 for label in labels} | set(chain.out)
    return tuple(label for label in dict.fromkeys(inside) if label in outside)
