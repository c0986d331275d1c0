"""Contractions of a sequence leave the loop: one over all trips, in front of it.

    %0 = scan h x w u {body=step(c0, x0, w0, w1) {             %0 = contract x w {spec="tab,cb->tac"}
      %0 = contract x0 w0 {spec="ab,cb->ac"}                   %1 = scan h %0 u {body=step(c0, x0, w1) {
      %1 = contract c0 w1 {spec="ab,cb->ac"}             ->      %1 = contract c0 w1 {spec="ab,cb->ac"}
      %2 = add %0 %1                                             %2 = add x0 %1
      return %2                                                  return %2

What else is done to such a product and depends on no carry goes with it. Views do not: kernels read through them where they are.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph import Graph, Node, building
from graphc.lifting import can_lift, lift
from graphc.op import OPS, Kind, build, derive, result
from graphc.options import Options
from graphc.passes.rebuild import move, rebuild


def hoist(graph: Graph, options: Options) -> Graph:
    """Moves what it can in front of every loop."""
    if not any(node.op.kind is Kind.SCAN for node in graph.nodes):
        return graph
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        now = move(node, new)
        new[node] = _hoisted(now) if node.op.kind is Kind.SCAN else now
    return rebuild(graph, new)


def _hoisted(loop: Node) -> Node:
    body, carries, sequences = loop.attrs["body"], loop.attrs["carries"], loop.attrs["sequences"]
    first, last = carries, carries + sequences
    frontier = _survey(body, carries, sequences)
    if not frontier:
        return loop
    needed = set(frontier)
    for node in reversed(body.nodes):
        if node in needed:
            needed.update(node.inputs)
    stacked = {x: result(outer) for x, outer in zip(body.inputs[first:last], loop.inputs[first:last], strict=True)}
    same = {x: result(outer) for x, outer in zip(body.inputs[last:], loop.inputs[last:], strict=True)}
    order = [node for node in body.nodes if node in needed and node not in stacked and node not in same]
    lifted = lift(order, stacked, same, loop.attrs["length"])
    names = {node.attrs["name"] for node in body.inputs}
    fresh: dict[Node, Node] = {}
    for node in frontier:
        name = next(name for i in range(len(names) + 1) if (name := f"x{sequences + i}") not in names)
        names.add(name)
        with building(loc=node.loc, scope=node.scope, origins=()):
            fresh[node] = build(OPS["input"], (), {"name": name, "dtype": node.type.dtype, "shape": node.type.shape})
    swapped = _swap(body, fresh)
    inputs = (*swapped.inputs[:last], *fresh.values(), *swapped.inputs[last:])
    operands = (*loop.inputs[:last], *(lifted[node].node for node in frontier), *loop.inputs[last:])
    attrs = {**loop.attrs, "sequences": sequences + len(fresh), "body": replace(swapped, inputs=inputs, _cache={})}
    return derive(loop, loop.op, operands, **attrs)


def _survey(body: Graph, carries: int, sequences: int) -> list[Node]:
    """What becomes a sequence: on every path the last node but views that can be lifted and has a contraction below."""
    own = set(body.inputs[carries : carries + sequences])
    fixed = set(body.inputs[carries + sequences :])
    liftable, heavy = set(own), set()
    for node in body.nodes:
        if node in own or node in body.inputs:
            continue
        if all(operand in fixed for operand in node.inputs):
            fixed.add(node)
        elif can_lift(node) and all(operand in fixed or operand in liftable for operand in node.inputs):
            liftable.add(node)
            if node.op.kind is Kind.CONTRACT or any(operand in heavy for operand in node.inputs):
                heavy.add(node)
    frontier: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [x for node in body.nodes if node not in liftable for x in node.inputs] + list(body.outputs)
    while stack:
        node = stack.pop()
        if node not in heavy or node in seen:
            continue
        seen.add(node)
        if node.op.kind is Kind.VIEW:
            stack.extend(node.inputs)
        else:
            frontier[node] = None
    return [node for node in body.nodes if node in frontier]


def _swap(body: Graph, fresh: dict[Node, Node]) -> Graph:
    new: dict[Node, Node] = {}
    for node in body.nodes:
        new[node] = fresh.get(node) or move(node, new)
    return rebuild(body, new)
