"""Passes inside loops: what is done to a graph is done to the bodies of its loops first, however deep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphc.graph import Graph, Node, bodies
from graphc.passes.rebuild import move, rebuild


def map_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with every body changed, innermost first; the graph itself where nothing changes."""
    if not any(bodies(node) for node in graph.nodes):
        return graph
    changed: dict[int, Graph] = {}
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = move(node, new)
        attrs = dict(node.attrs)
        for name, body in attrs.items():
            if isinstance(body, Graph):
                if id(body) not in changed:  # loops may share a body
                    changed[id(body)] = change(map_bodies(body, change))
                attrs[name] = changed[id(body)]
        if any(attrs[name] is not node.attrs[name] for name in attrs):
            new[node] = replace(new[node], attrs=attrs)
    return rebuild(graph, new)
