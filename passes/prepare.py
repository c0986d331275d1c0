"""Make memory explicit before fusion: a `copy` goes in wherever a kernel needs elements laid out that so far are only shown by a view.

    return %1, where %1 = transpose x        ->   %2 = copy %1, return %2
    %1 = contract %0 w, where %0 is a pad    ->   %2 = copy %0, %1 = contract %2 w

After it, every output and update is a value computed by a node of its own, in row-major order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from graphc.cost import label_sizes
from graphc.graph import Graph, Node
from graphc.index import Index, axes_of
from graphc.op import OPS, Kind, derive
from graphc.passes.access import Read, is_free, leaves, whole
from graphc.passes.composite import expand
from graphc.passes.contraction import roles
from graphc.rewriting import splat

_USES_TO_COPY = 256  # uses of every element for which a copy costs next to nothing

MAX_READS = 64  # stored values behind one element of a view


def prepare(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """The graph with copies, and for each output and update value the node whose elements, in order, it is."""
    graph = graph.rewrite(expand).rewrite(_short_views()).rewrite(_lay_out_operands).rewrite(_one_reader())
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
            node = base = _copy(node)
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
            copies = tuple(_copy(x) if count[x] > 1 else x for x in node.inputs)
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


def _copy(node: Node) -> Node:
    return derive(node, OPS["copy"], (node,))


def _lay_out_operands(node: Node) -> Node:
    kind = node.op.kind
    if kind is Kind.CONTRACT:
        node = node.with_inputs(tuple(map(_laid_out, node.inputs)))
        for number in (0, 1):
            node = _straightened(node, number)
        return node
    if kind is Kind.SCATTER:
        index, updates = (x if not is_free(x) and _is_exact(whole(x)) else _copy(x) for x in node.inputs)
        if whole(index) is whole(updates):  # two operands, two buffers
            updates = _copy(updates)
        return node.with_inputs((index, updates))
    if kind is Kind.SCAN:
        carries = node.attrs["carries"]
        return node.with_inputs(tuple(x if _in_order(x, i < carries) else _copy(x) for i, x in enumerate(node.inputs)))
    if kind is Kind.GATHER:
        x, index = node.inputs
        return node if _readable(x, node.attrs["axis"]) else node.with_inputs((_copy(x), index))
    return node


def _laid_out(node: Node) -> Node:
    """An operand of a contraction, which reads one buffer through any map: copied, if it must be, below the views that only
    repeat or rearrange, so that windows are never spelled out."""
    if _readable(node, masked=True):
        return node
    if node.op.kind is Kind.VIEW and len(node.inputs) == 1 and not is_free(node):
        pieces = node.op.pieces(node, axes_of(node.type.shape))  # type: ignore[misc]
        if len(pieces) == 1 and not pieces[0].where:
            return node.with_inputs((_laid_out(node.inputs[0]),))
    return _copy(node)


def _straightened(node: Node, number: int) -> Node:
    """The contraction over a copy of a small operand in the order in which its kernel reads it, where memory has it otherwise and
    every element is used so often that the copy costs next to nothing: the weights of a convolution, in its backward."""
    operand, role, sizes = node.inputs[number], roles(node), label_sizes(node)
    rows = role.m if number == role.lhs else role.n
    if math.prod(sizes.values()) < _USES_TO_COPY * operand.type.size:
        return node
    wanted = role.batch + rows + role.k
    at = {label: Index.axis(i, sizes[label]) for i, label in enumerate(wanted)}
    (read,) = leaves(operand, tuple(at[label] for label in role.labels[number]))
    if read.base.type.size < operand.type.size or all(_is_one_stride(read, at, sizes, group) for group in (rows, role.k)):
        return node
    if any(read.flat.stride(axis) == 1 for label in rows for axis in at[label].axes()):
        wanted = role.batch + role.k + rows  # what is next to each other stays so: a transposing copy is slow
    order = tuple(role.labels[number].index(label) for label in wanted)
    copied = _copy(derive(operand, OPS["transpose"], (operand,), perm=order))
    labels = [wanted if i == number else role.labels[i] for i in (0, 1)]
    inputs = tuple(copied if i == number else node.inputs[i] for i in (0, 1))
    return derive(node, node.op, inputs, spec=f"{labels[0]},{labels[1]}->{role.out}")


def _is_one_stride(read: Read, at: Mapping[str, Index], sizes: Mapping[str, int], group: str) -> bool:
    """Whether the axes of a group, flattened, walk through memory in steps of one length."""
    if read.where:
        return False
    steps = [(read.flat.stride(axis), sizes[label]) for label in group if sizes[label] > 1 for axis in at[label].axes()]
    return all(a is not None and b is not None and a == b * size for (a, _), (b, size) in itertools.pairwise(steps))


def _is_exact(base: Node | None) -> bool:
    """Whether a node has a buffer of just its size: not so the last value of a carry."""
    return base is not None and base.op.kind is not Kind.PROJECT


def _in_order(node: Node, begins_carry: bool) -> bool:
    """Whether the elements lie in memory in order, or, where a carry begins with them, are all the same."""
    return splat(node) is not None if is_free(node) and begins_carry else not is_free(node) and whole(node) is not None


def _readable(node: Node, axis: int | None = None, masked: bool = False) -> bool:
    """Whether memory holds every element of `node` somewhere, `masked` also all but a constant; for a gather also at a constant
    distance along `axis`."""
    if is_free(node):
        return False
    reads = leaves(node, axes_of(node.type.shape))
    if len(reads) != 1 or (reads[0].where and not (masked and reads[0].fill is not None)):
        return False
    return axis is None or reads[0].flat.stride(axis) is not None
