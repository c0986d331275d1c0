"""Loops without what nobody reads: stacked results, carries that only carry themselves along, operands that the body ignores.
What is stacked twice is stacked once.

    %0 = scan h n x {body=step(c0, c1, x0) -> (add c0 x0, neg c1, c0)}         %0 = scan h x {body=step(c0, x0) -> (add c0 x0)}
    %1 = get %0 {index=0}                                                 ->   %1 = get %0 {index=0}

A result that depends on a check stays, and an operand that does if nothing else would still run the check.
"""

from __future__ import annotations

from graphc.graph import Graph, Node, nested_nodes, topological
from graphc.op import OPS, Kind, derive
from graphc.passes.checks import Checks
from graphc.passes.rebuild import move, rebuild


def prune(graph: Graph) -> Graph:
    """The graph with every loop cut down; the graph itself where none can be."""
    read: dict[Node, set[int]] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.PROJECT:
            read.setdefault(node.inputs[0], set()).add(node.attrs["index"])
    new: dict[Node, Node] = {}
    checks = Checks(graph)
    places: dict[Node, dict[int, int]] = {}  # where each result of a loop is now
    for node in graph.nodes:
        now = move(node, new)
        if node.op.kind is Kind.SCAN:
            now, places[node] = _pruned(now, read.get(node, set()), checks)
        elif node.op.kind is Kind.PROJECT and (index := places[node.inputs[0]][node.attrs["index"]]) != node.attrs["index"]:
            now = derive(now, OPS["get"], now.inputs, index=index)
        new[node] = now
        checks.enter(node, now)
    return rebuild(graph, new)


def _pruned(loop: Node, read: set[int], checks: Checks) -> tuple[Node, dict[int, int]]:
    """The loop without idle parts, and where the results that are read are now."""
    attrs, body = loop.attrs, loop.attrs["body"]
    carries, sequences = attrs["carries"], attrs["sequences"]
    stacked: dict[Node, int] = {}
    same = {i: i if i < carries else stacked.setdefault(node, i) for i, node in enumerate(body.outputs)}
    live = {same[i] for i in (*read, *_checking(body))}
    idle: set[int] = set()  # operands that are there for the checks below them
    while True:
        reached = set(topological(body.outputs[i] for i in sorted(live)))
        # a carry lives where something alive reads it
        more = {i for i in range(carries) if body.inputs[i] in reached} - live
        operands = [i for i, node in enumerate(body.inputs) if (i in live if i < carries else node in reached or i in idle)]
        if not more:
            ran = checks.below(loop.inputs[i] for i in operands)
            lost = [i for i, x in enumerate(loop.inputs) if i not in operands and checks.below([x]) & ~ran]
            if not lost:
                break
            (more if lost[0] < carries else idle).add(lost[0])
        live |= more
    outputs = sorted(live) or [0]
    places = {i: outputs.index(first) for i, first in same.items() if first in outputs}
    if len(outputs) == len(body.outputs) and len(operands) == len(body.inputs):
        return loop, places
    cut = Graph(tuple(body.inputs[i] for i in operands), tuple(body.outputs[i] for i in outputs), (), body.name)
    counts = {
        "carries": sum(i < carries for i in operands),
        "sequences": sum(carries <= i < carries + sequences for i in operands),
    }
    return derive(loop, loop.op, tuple(loop.inputs[i] for i in operands), **{**attrs, **counts, "body": cut}), places


def _checking(body: Graph) -> set[int]:
    """The results that depend on a check."""
    if not any(node.op.effect for node in nested_nodes(body)):
        return set()
    found = set()
    for number, output in enumerate(body.outputs):
        cone = Graph(body.inputs, (output,))
        if any(node.op.effect for node in nested_nodes(cone)):
            found.add(number)
    return found
