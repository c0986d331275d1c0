"""Deterministic costs of graph nodes: floating-point (or integer) operations, and bytes moved if the node ran alone.

An elementwise result counts one operation for each element, whatever the function; a reduction one for each operand element; a
contraction two (multiply, add) for each point of its label space; a scatter-add one for each update, a loop what its body does in
all trips. Views and gathers move and compute nothing. Nothing here is ever timed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from graphc.graph import Graph, Node
from graphc.op import Kind
from graphc.ops.contract import split_spec


def label_sizes(node: Node) -> dict[str, int]:
    """The size of every label of a contraction."""
    x, w, _ = split_spec(node.attrs["spec"])
    return dict(zip(x + w, node.inputs[0].type.shape + node.inputs[1].type.shape, strict=True))


def flops(node: Node) -> int:
    """Operations of one node."""
    kind = node.op.kind
    if kind is Kind.ELEMENTWISE:
        return node.type.size
    if kind is Kind.REDUCE:
        return node.inputs[0].type.size
    if kind is Kind.CONTRACT:
        return 2 * math.prod(label_sizes(node).values())
    if kind is Kind.SCATTER:
        return node.inputs[-1].type.size
    if kind is Kind.SCAN:
        return node.attrs["length"] * total_flops(node.attrs["body"])
    return 0


def bytes_moved(node: Node) -> int:
    """Bytes of the operands and of the result; none for views, which kernels read through, and for sources."""
    if node.op.kind in (Kind.SOURCE, Kind.VIEW, Kind.PROJECT):
        return 0
    if node.op.kind is Kind.SCAN:
        return node.attrs["length"] * total_bytes(node.attrs["body"])
    if node.op.kind is Kind.GATHER:
        return 2 * node.type.nbytes + node.inputs[1].type.nbytes
    return node.type.nbytes + sum(operand.type.nbytes for operand in node.inputs)


def total_flops(nodes: Graph | Iterable[Node]) -> int:
    """Operations of a graph, or of some nodes."""
    return sum(map(flops, nodes.nodes if isinstance(nodes, Graph) else nodes))


def total_bytes(nodes: Graph | Iterable[Node]) -> int:
    """Bytes moved if every node ran alone."""
    return sum(map(bytes_moved, nodes.nodes if isinstance(nodes, Graph) else nodes))
