"""Loops over one body become one loop.

    %0 = scan h x {body=step(c0, x0) -> (a, a)}            %0 = scan h x {body=step(c0, x0) -> (a, a, b)}
    %1 = scan h x {body=step(c0, x0) -> (a, a, b)}   ->

Differentiation leaves such pairs: the forward loop, and the same loop with more results that the backward loop reads. They are told by the
very nodes of their bodies, so this pass comes first. What nothing reads is left out.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph import Graph, Node
from graphc.op import OPS, Kind, derive
from graphc.options import Options
from graphc.passes.bodies import map_bodies
from graphc.passes.prune import prune
from graphc.passes.rebuild import move, rebuild

Key = tuple[object, ...]


def merge(graph: Graph, options: Options) -> Graph:
    """Merges loops, and those in their bodies."""
    return map_bodies(prune(_merged(graph)), lambda body: _merged(body))


def _merged(graph: Graph) -> Graph:
    groups: dict[Key, list[Node]] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.SCAN:
            groups.setdefault(_key(node), []).append(node)
    shared = {node: group for group in groups.values() if len(group) > 1 for node in group}
    if not shared:
        return graph
    loops: dict[Key, Node] = {}
    places: dict[Key, dict[Node, int]] = {}
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if node in shared:
            key = _key(node)
            if key not in loops:
                loops[key], places[key] = _union(move(node, new), shared[node])
            new[node] = loops[key]
        elif node.op.kind is Kind.PROJECT and node.inputs[0] in shared:
            loop, index = node.inputs[0], node.attrs["index"]
            if index >= loop.attrs["carries"]:
                index = places[_key(loop)][loop.attrs["body"].outputs[index]]
            new[node] = derive(node, OPS["get"], (new[loop],), index=index)
        else:
            new[node] = move(node, new)
    return rebuild(graph, new)


def _key(loop: Node) -> Key:
    """Equal for loops that differ only in what they stack."""
    attrs, body = loop.attrs, loop.attrs["body"]
    same = (attrs["carries"], attrs["sequences"], attrs["length"], attrs["reverse"])
    return (*same, loop.inputs, body.inputs, body.outputs[: attrs["carries"]])


def _union(loop: Node, group: list[Node]) -> tuple[Node, dict[Node, int]]:
    """One loop with the results of all, and where each stacked value is among them."""
    carries, body = loop.attrs["carries"], loop.attrs["body"]
    stacked = dict.fromkeys(node for one in group for node in one.attrs["body"].outputs[carries:])
    whole = replace(body, outputs=(*body.outputs[:carries], *stacked), _cache={})
    attrs = {**loop.attrs, "body": whole}
    return derive(loop, loop.op, loop.inputs, **attrs), {node: carries + i for i, node in enumerate(stacked)}
