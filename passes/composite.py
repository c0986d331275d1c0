"""Composites give way to the ops they stand for.

    %1 = fold %0 {...}     ->     a contraction over windows of the gradient, or a sum over a skewed view: `Op.expand` says

An op of this kind exists for its name in the text and for its backward function. It is expanded after its operand is simplified,
so that its expansion sees the contraction that it reads.
"""

from __future__ import annotations

from graphc.graph import Node, building
from graphc.op import Kind


def expand(node: Node) -> Node:
    """What stands in the place of a composite; any other node as it is."""
    if node.op.kind is not Kind.COMPOSITE:
        return node
    with building(loc=node.loc, scope=node.scope, origins=node.origins):
        return node.op.expand(node).node  # type: ignore[misc]
