"""Make memory explicit before fusion: a `copy` goes in wherever a kernel needs elements laid out that so far are only shown
by a view.

    return %1, where %1 = transpose x        ->   %2 = copy %1, return %2
    %1 = contract %0 w, where %0 is a pad    ->   %2 = copy %0, %1 = contract %2 w

After it, every output and update is a value computed by a node of its own, in row-major order.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.graph import Graph, Node
from graphc.index import axes_of
from graphc.op import Kind
from graphc.passes.access import is_free, whole
from graphc.passes.composite import expand
from graphc.passes.layouts import straighten
from graphc.passes.operands import copy_of, lay_out, readable
from graphc.rewriting import splat

MAX_READS = 64  # stored values behind one element of a view


def prepare(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """The graph with copies, and for each output and update value the node whose elements, in order, it is."""
    copies: dict[Node, Node] = {}
    graph = graph.rewrite(expand).rewrite(_short_views())
    graph = graph.rewrite(lambda node: _lay_out_operands(node, copies)).rewrite(_one_reader())
    base_of: dict[Node, Node] = {}

    def may_hold(base: Node, is_output: bool) -> bool:
        """Whether the kernel of `base` can store straight to where it is wanted."""
        if base.op.kind not in (Kind.SCATTER, Kind.PROJECT):
            return True
        # a scatter fills one buffer, which it first clears, and so does a loop, but for its carries, of which it keeps two
        carry = base.op.kind is Kind.PROJECT and base.attrs["index"] < base.inputs[0].attrs["carries"]
        return is_output and not carry and base not in base_of.values()

    def computed(node: Node, is_output: bool) -> Node:
        base = None if is_free(node) else whole(node)
        if base is None or base.op.kind is Kind.SOURCE or not may_hold(base, is_output):
            node = base = copies.get(node) or copy_of(node)
        base_of[node] = base
        return node

    updates = tuple((state, computed(value, False)) for state, value in graph.updates)
    outputs = tuple(computed(node, True) for node in graph.outputs)
    return Graph(graph.inputs, outputs, updates, graph.name), base_of


def _short_views() -> Callable[[Node], Node]:
    """A rule for `Graph.rewrite`: views of views of several pieces, whose reads double at every step, start again from a copy."""
    count: dict[Node, int] = {}

    def reads(node: Node) -> int:
        if node.op.kind is not Kind.VIEW or is_free(node):
            return int(not is_free(node))
        pieces = node.op.pieces(node, axes_of(node.type.shape))  # type: ignore[misc]
        return sum(count[node.inputs[piece.operand]] for piece in pieces)

    def rule(node: Node) -> Node:
        if reads(node) > MAX_READS and any(count[x] > 1 for x in node.inputs):
            copies = tuple(copy_of(x) if count[x] > 1 else x for x in node.inputs)
            count.update((x, 1) for x in copies if x not in count)
            node = node.with_inputs(copies)
        count[node] = reads(node)
        return node

    return rule


def _one_reader() -> Callable[[Node], Node]:
    """A rule for `Graph.rewrite`: one `get` for each result of a loop, as there is one buffer."""
    known: dict[tuple[Node, int], Node] = {}

    def rule(node: Node) -> Node:
        return known.setdefault((node.inputs[0], node.attrs["index"]), node) if node.op.kind is Kind.PROJECT else node

    return rule


def _lay_out_operands(node: Node, copies: dict[Node, Node]) -> Node:
    kind = node.op.kind
    if kind is Kind.CONTRACT:
        return lay_out(node, copies)
    if kind is Kind.SCATTER:
        index, updates = (x if not is_free(x) and _is_exact(whole(x)) else copy_of(x) for x in node.inputs)
        if whole(index) is whole(updates):  # two operands, two buffers
            updates = copy_of(updates)
        return node.with_inputs((index, updates))
    if kind is Kind.SCAN:
        node = straighten(node)
        carries = node.attrs["carries"]
        return node.with_inputs(tuple(x if _in_order(x, i < carries) else copy_of(x) for i, x in enumerate(node.inputs)))
    if kind is Kind.GATHER:
        x, index = node.inputs
        return node if readable(x, node.attrs["axis"]) else node.with_inputs((copy_of(x), index))
    return node


def _is_exact(base: Node | None) -> bool:
    """Whether a node has a buffer of just its size: not so the last value of a carry."""
    return base is not None and base.op.kind is not Kind.PROJECT


def _in_order(node: Node, begins_carry: bool) -> bool:
    """Whether the elements lie in memory in order, or, where a carry begins with them, are all the same."""
    return splat(node) is not None if is_free(node) and begins_carry else not is_free(node) and whole(node) is not None
