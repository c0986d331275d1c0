"""From what a pass decided about each node to a new graph.

A pass over a Graph makes a mapping from old nodes to what stands in their place, whose operands are new already. `rebuild` turns that
into a graph in which origins, too, name new nodes: `B[tanh, %3](v)` still says where %3 is after %3 was rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphc.graph import Graph, Node, Origin, topological


def rebuild(graph: Graph, new: Mapping[Node, Node]) -> Graph:
    """The graph with every node replaced by `new[node]`; the graph itself where nothing changed."""
    if all(old is now for old, now in new.items()):
        return graph
    built: dict[Node, Node] = {}
    for node in topological(new[root] for root in graph.roots):
        inputs = tuple(built[operand] for operand in node.inputs)
        origins = follow(node.origins, new, built) if node.origins else ()
        same = origins == node.origins and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        built[node] = node if same else replace(node, inputs=inputs, origins=origins)
    return Graph(
        tuple(built[new[node]] for node in graph.inputs),
        tuple(built[new[node]] for node in graph.outputs),
        tuple((built[new[state]], built[new[value]]) for state, value in graph.updates),
        graph.name,
    )


def follow(origins: tuple[Origin, ...], new: Mapping[Node, Node], built: Mapping[Node, Node]) -> tuple[Origin, ...]:
    """Origins whose forward nodes are the new ones. One that is gone, or does not stand above, becomes None, so that no graph keeps
    an older one alive."""
    moved = (Origin(origin.op, None if origin.node is None else built.get(new.get(origin.node, origin.node))) for origin in origins)
    return tuple(dict.fromkeys(moved))
