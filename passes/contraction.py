"""Views that a contraction takes into its labels, so that no transposed copy is ever made.

    %0 = transpose w {perm=(1, 0)}              : f32[64,10]
    %1 = contract x %0 {spec="ik,kj->ij"}       : f32[32,10]
    %2 = transpose %1 {perm=(1, 0)}             : f32[10,32]
->
    %2 = contract x w {spec="ab,cb->ca"}        : f32[10,32]

Any view that only permutes axes goes, and one that repeats its operand along an axis which the other operand and the result both
have: that label is dropped. Labels are renamed by first use, so that equal contractions are spelled equally.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph import Node
from graphc.index import Axis, Index
from graphc.op import Kind, derive
from graphc.ops.contract import canonical_spec, split_spec


@dataclass(frozen=True, slots=True)
class Roles:
    """Operands and labels of a contraction as a kernel has them: `lhs` has the labels `batch`, `m` and `k`, `rhs` has `batch`,
    `n` and `k`; they are positions in the node's inputs."""

    lhs: int
    rhs: int
    batch: str
    m: str
    n: str
    k: str
    labels: tuple[str, str]  # of the inputs
    out: str


def roles(node: Node) -> Roles:
    """The last axis of the result is contiguous, so it is one of n, which registers would run along. Those of m stand in the
    order of their operand, whose rows are then read as they lie in memory (measured: 165 against 237 GFLOP/s for a batch of
    sequences)."""
    x_labels, w_labels, out = labels = split_spec(node.attrs["spec"])
    lhs, rhs = (1, 0) if out and out[-1] in x_labels and out[-1] not in w_labels else (0, 1)
    left, right = labels[lhs], labels[rhs]
    batch = "".join(label for label in out if label in left and label in right)
    m = "".join(label for label in left if label in out and label not in right)
    n = "".join(label for label in out if label not in left)
    k = "".join(label for label in left if label not in out)
    return Roles(lhs, rhs, batch, m, n, k, (x_labels, w_labels), out)


def source_axes(view: Node) -> tuple[int, ...] | None:
    """For each axis of a view's operand the axis of the result that runs along it; None unless the view takes whole axes in
    some order (and perhaps repeats the whole)."""
    if view.op.kind is not Kind.VIEW or len(view.inputs) != 1 or view.op.pieces is None:
        return None
    shape = view.type.shape
    # axes of size 1 get a variable here too, unlike in kernels, so that they can be told apart
    pieces = view.op.pieces(view, tuple(Index(((Axis(i, size), 1),)) for i, size in enumerate(shape)))
    if len(pieces) != 1 or pieces[0].where:
        return None
    axes = []
    for index, size in zip(pieces[0].index, view.inputs[0].type.shape, strict=True):
        if index.const or len(index.terms) != 1:
            return None
        atom, coefficient = index.terms[0]
        if not isinstance(atom, Axis) or coefficient != 1 or shape[atom.number] != size:
            return None
        axes.append(atom.number)
    return tuple(axes) if len(set(axes)) == len(axes) else None


def canonical(node: Node) -> Node | None:
    """The same contraction under canonical labels."""
    spec = canonical_spec(*split_spec(node.attrs["spec"]))
    return None if spec == node.attrs["spec"] else derive(node, node.op, node.inputs, spec=spec)


def absorb_operand(node: Node) -> Node | None:
    """The contraction over the operand of a view, instead of the view."""
    x, w, out = split_spec(node.attrs["spec"])
    labels = [x, w]
    for i in (0, 1):
        view, other = node.inputs[i], labels[1 - i]
        axes = source_axes(view)
        if axes is None:
            continue
        taken = "".join(labels[i][axis] for axis in axes)
        if all(label in other and label in out for label in set(labels[i]) - set(taken)):
            inputs = tuple(view.inputs[0] if j == i else node.inputs[j] for j in (0, 1))
            labels[i] = taken
            return derive(node, node.op, inputs, spec=canonical_spec(labels[0], labels[1], out))
    return None


def absorb_into_result(view: Node) -> Node | None:
    """A permuting view of a contraction as a contraction with permuted result."""
    axes = source_axes(view)
    if axes is None or len(axes) != view.type.rank:
        return None
    contraction = view.inputs[0]
    x, w, out = split_spec(contraction.attrs["spec"])
    permuted = sorted(range(len(axes)), key=axes.__getitem__)
    return derive(contraction, contraction.op, contraction.inputs, spec=canonical_spec(x, w, "".join(out[i] for i in permuted)))
