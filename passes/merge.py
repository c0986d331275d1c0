"""Loops over the same operands with the same carries become one loop.

    %0 = scan h x {body=step(c0, x0) -> (a, a)}            %0 = scan h x {body=step(c0, x0) -> (a, a, b)}
    %1 = scan h x {body=step(c0, x0) -> (a, a, b)}   ->

Differentiation leaves such pairs: the forward loop, and the same loop with more results, for the backward loop to read.
Bodies are compared node by node. What nothing reads is left out.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from graphc.graph import Graph, Node
from graphc.op import OPS, Kind, derive
from graphc.options import Options
from graphc.passes.bodies import map_bodies
from graphc.passes.cse import attrs_key
from graphc.passes.prune import prune
from graphc.passes.rebuild import move, rebuild


def merge(graph: Graph, options: Options) -> Graph:
    """Merges loops, and those in their bodies; outer ones first, as their bodies are equal before inner ones are merged."""
    return map_bodies(prune(_merged(graph)), _merged)


def _merged(graph: Graph) -> Graph:
    groups: dict[Hashable, list[Node]] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.SCAN:
            groups.setdefault(_key(node), []).append(node)
    unions = [union for group in groups.values() if len(group) > 1 for union in _unions(group)]
    union_of = {loop: union for union in unions if len(union.places) > 1 for loop in union.places}
    if not union_of:
        return graph
    built: dict[Node, Node] = {}  # by the first of the merged
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        union = union_of.get(node)
        if union is not None:
            if union.loop not in built:
                built[union.loop] = union.build(move(node, new))
            new[node] = built[union.loop]
        elif node.op.kind is Kind.PROJECT and node.inputs[0] in union_of:
            index = union_of[node.inputs[0]].places[node.inputs[0]][node.attrs["index"]]
            new[node] = derive(node, OPS["get"], (new[node.inputs[0]],), index=index)
        else:
            new[node] = move(node, new)
    return rebuild(graph, new)


def _key(loop: Node) -> Hashable:
    return (loop.inputs, *(loop.attrs[name] for name in ("carries", "sequences", "length", "reverse")))


class _Union:
    """Several loops as one: the first one's body, with all that the others compute beyond it."""

    def __init__(self, loop: Node):
        self.loop = loop
        self.known: dict[Hashable, Node] = {}
        self.outputs: list[Node] = []
        self.places: dict[Node, list[int]] = {}  # for each loop the positions of its results
        self.add(loop)

    def add(self, loop: Node) -> bool:
        """Take in a loop; not if its carries are others."""
        carries, body = loop.attrs["carries"], loop.attrs["body"]
        inputs = self.loop.attrs["body"].inputs
        known = dict(self.known)
        new = dict(zip(body.inputs, inputs, strict=True))
        for node in body.nodes:
            if node not in new:
                now = move(node, new)
                new[node] = known.setdefault((now.op, now.inputs, attrs_key(now)), now)
        outputs = [new[node] for node in body.outputs]
        if self.outputs and outputs[:carries] != self.outputs[:carries]:
            return False
        self.known = known
        places = list(range(carries))
        self.outputs = self.outputs or outputs[:carries]
        for node in outputs[carries:]:
            if node not in self.outputs[carries:]:
                self.outputs.append(node)
            places.append(self.outputs.index(node, carries))
        self.places[loop] = places
        return True

    def build(self, first: Node) -> Node:
        body = replace(first.attrs["body"], outputs=tuple(self.outputs), _cache={})
        return derive(first, first.op, first.inputs, **{**first.attrs, "body": body})


def _unions(group: list[Node]) -> list[_Union]:
    unions: list[_Union] = []
    for loop in group:
        if not any(union.add(loop) for union in unions):
            unions.append(_Union(loop))
    return unions
