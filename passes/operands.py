"""How the operands of a contraction lie in memory: a kernel reads one buffer through any map, but some maps well and others not.

    contract (window (pad x)) w       the padding is laid out, `copy (pad x)`, once for all contractions that read it
    contract (transpose w) v          a small operand that is used often is copied into the kernel's order

Windows and broadcasts are read through, never spelled out: there is no buffer of columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from graphc.cost import label_sizes
from graphc.graph import Node
from graphc.index import Index, axes_of
from graphc.op import OPS, Kind, derive
from graphc.passes.access import Read, is_free, leaves
from graphc.passes.contraction import roles

USES_TO_COPY = 256  # uses of every element for which a copy costs next to nothing
PADDING = 4  # a masked view with more elements than this for each of its operand's is no mere padding
REGISTER = 64  # bytes


def lay_out(node: Node, copies: dict[Node, Node]) -> Node:
    """The contraction over operands that its kernel can read. `copies` holds those that were made."""
    node = node.with_inputs(tuple(x if _masks_well(x) else _laid_out(x, copies) for x in node.inputs))
    for number in (0, 1):
        node = _straightened(node, number)
    return node


def copy_of(node: Node) -> Node:
    return derive(node, OPS["copy"], (node,))


def _laid_out(node: Node, copies: dict[Node, Node]) -> Node:
    """An operand as one buffer, best without a mask: copied, if it must be, below the views that only repeat or rearrange."""
    if readable(node):
        return node
    if node.op.kind is Kind.VIEW and len(node.inputs) == 1 and not is_free(node):
        pieces = node.op.pieces(node, axes_of(node.type.shape))  # type: ignore[misc]
        if len(pieces) == 1 and not pieces[0].where:
            return node.with_inputs((_laid_out(node.inputs[0], copies),))
        if readable(node, masked=True) and node.type.size > PADDING * node.inputs[0].type.size:
            return node
    if node not in copies:
        copies[node] = copy_of(node)
    return copies[node]


def _masks_well(node: Node) -> bool:
    """Whether an operand is read through a mask at least as well as from a padded copy: where rows are no whole registers, and a
    register goes on with the row below only if nothing lies between them."""
    if not readable(node, masked=True) or readable(node):
        return False
    (read,) = leaves(node, axes_of(node.type.shape))
    shape = node.type.shape
    strides = [read.flat.stride(axis) for axis in range(len(shape))]
    rows = [axis for axis in range(1, len(shape)) if strides[axis] == 1 and strides[axis - 1] == shape[axis]]
    length = max((shape[axis] for axis in rows), default=0) * node.type.dtype.itemsize
    return 2 * length >= REGISTER and length % REGISTER != 0


def _straightened(node: Node, number: int) -> Node:
    """The contraction over a copy of a small operand in the order in which its kernel reads it, where memory has it otherwise and
    every element is used so often that the copy costs next to nothing: the weights of a convolution, in its backward."""
    operand, role, sizes = node.inputs[number], roles(node), label_sizes(node)
    rows = role.m if number == role.lhs else role.n
    if math.prod(sizes.values()) < USES_TO_COPY * operand.type.size:
        return node
    wanted = role.batch + rows + role.k
    at = {label: Index.axis(i, sizes[label]) for i, label in enumerate(wanted)}
    (read,) = leaves(operand, tuple(at[label] for label in role.labels[number]))
    if read.base.type.size < operand.type.size or all(_is_one_stride(read, at, sizes, group) for group in (rows, role.k)):
        return node
    if any(read.flat.stride(axis) == 1 for label in rows for axis in at[label].axes()):
        wanted = role.batch + role.k + rows  # what is next to each other stays so: a transposing copy is slow
    order = tuple(role.labels[number].index(label) for label in wanted)
    copied = copy_of(derive(operand, OPS["transpose"], (operand,), perm=order))
    labels = [wanted if i == number else role.labels[i] for i in (0, 1)]
    inputs = tuple(copied if i == number else node.inputs[i] for i in (0, 1))
    return derive(node, node.op, inputs, spec=f"{labels[0]},{labels[1]}->{role.out}")


def _is_one_stride(read: Read, at: Mapping[str, Index], sizes: Mapping[str, int], group: str) -> bool:
    """Whether the axes of a group, flattened, walk through memory in steps of one length."""
    if read.where:
        return False
    steps = [(read.flat.stride(axis), sizes[label]) for label in group if sizes[label] > 1 for axis in at[label].axes()]
    return all(a is not None and b is not None and a == b * size for (a, _), (b, size) in itertools.pairwise(steps))


def readable(node: Node, axis: int | None = None, masked: bool = False) -> bool:
    """Whether memory holds every element of `node` somewhere, `masked` also all but a constant; for a gather also at a constant
    distance along `axis`."""
    if is_free(node):
        return False
    reads = leaves(node, axes_of(node.type.shape))
    if len(reads) != 1 or (reads[0].where and not (masked and reads[0].fill is not None)):
        return False
    return axis is None or reads[0].flat.stride(axis) is not None
