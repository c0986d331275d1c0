"""From what a pass decided about each node to a new graph.

A pass over a Graph makes a mapping from old nodes to what stands in their place, operands first: `move` takes a node to its new
operands, then the pass decides. `rebuild` turns the mapping into a graph in which origins, too, name new nodes: `B[tanh,
%3](v)` still says where %3 is after %3 was rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.graph import Graph, Node, Origin, topological


def move(node: Node, new: Mapping[Node, Node]) -> Node:
    """The node over new operands, with origins as far as they are new already."""
    inputs = tuple([new[operand] for operand in node.inputs])
    if inputs == node.inputs:  # nodes are equal by identity
        return node
    origins = [Origin(one.op, one.node if one.node is None else new.get(one.node, one.node)) for one in node.origins]
    return _with(node, inputs, tuple(origins))


def _with(node: Node, inputs: tuple[Node, ...], origins: tuple[Origin, ...]) -> Node:
    return Node(node.op, inputs, node.attrs, node.type, node.loc, node.scope, origins)


def rebuild(graph: Graph, new: Mapping[Node, Node]) -> Graph:
    """The graph with every node replaced by `new[node]`; the graph itself where nothing changed."""
    if all(old is now for old, now in new.items()):
        return graph
    built: dict[Node, Node] = {}
    for node in topological(new[root] for root in graph.roots):
        inputs = tuple([built[operand] for operand in node.inputs])
        origins = _followed(node.origins, new, built) if node.origins else ()
        built[node] = node if inputs == node.inputs and origins == node.origins else _with(node, inputs, origins)
    return Graph(
        tuple(built[new[node]] for node in graph.inputs),
        tuple(built[new[node]] for node in graph.outputs),
        tuple((built[new[state]], built[new[value]]) for state, value in graph.updates),
        graph.name,
    )


def _followed(origins: tuple[Origin, ...], new: Mapping[Node, Node], built: Mapping[Node, Node]) -> tuple[Origin, ...]:
    """Origins whose forward nodes are the new ones. One that is gone, or does not stand above, becomes None, so that no graph
    keeps an older one alive."""
    if all(origin.node is None or built.get(origin.node) is origin.node for origin in origins):
        return origins
    moved = [Origin(one.op, None if one.node is None else built.get(new.get(one.node, one.node))) for one in origins]
    return tuple(dict.fromkeys(moved))
