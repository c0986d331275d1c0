"""What a loop's body computes in every trip, computed for all trips at once: operands are stacked along a new axis 0.

    %0 = contract x0 w0 {spec="ab,cb->ac"}  : f32[32,8]     ->     %0 = contract x w {spec="tab,cb->tac"}  : f32[50,32,8]

Only what does not depend on the carries can be lifted. Values that are the same in every trip stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import graphc.functions as fn
from graphc.graph import Node, building
from graphc.op import Kind, result
from graphc.ops.contract import contraction, split_spec
from graphc.tensor import Tensor


def can_lift(node: Node) -> bool:
    """Whether `lift` knows how to do a node to stacked operands."""
    kind = node.op.kind
    if kind is Kind.VIEW:
        return node.op.lift is not None
    return kind in (Kind.ELEMENTWISE, Kind.REDUCE, Kind.CONTRACT)


def lift(nodes: Iterable[Node], stacked: Mapping[Node, Tensor], same: Mapping[Node, Tensor], length: int) -> dict[Node, Tensor]:
    """Each node's values in all trips, stacked, or as they are where all trips share them. `stacked` and `same` have the
    values to begin with; `nodes` come after what they read, and all can be lifted or depend on `same` alone."""
    made: dict[Node, Tensor] = dict(same)
    varying: dict[Node, Tensor] = dict(stacked)
    for node in nodes:
        if node in varying or node in made:
            continue
        with building(loc=node.loc, scope=node.scope, origins=node.origins):
            if any(operand in varying for operand in node.inputs):
                varying[node] = _lifted(node, varying, made, length)
            else:
                made[node] = result(node.with_inputs(tuple(made[operand].node for operand in node.inputs)))
    return {**made, **varying}


def _lifted(node: Node, varying: Mapping[Node, Tensor], same: Mapping[Node, Tensor], length: int) -> Tensor:
    if node.op.kind is Kind.CONTRACT:
        return lift_contraction(node, [varying.get(x) for x in node.inputs], [same.get(x) for x in node.inputs], keep=True)
    operands = [varying[x] if x in varying else _repeated(same[x], length) for x in node.inputs]
    if node.op.lift is not None:
        return node.op.lift(node, *operands)
    attrs = dict(node.attrs)
    if node.op.kind is Kind.REDUCE:
        attrs["axes"] = tuple(axis + 1 for axis in attrs["axes"])
    return node.op(*operands, **attrs)


def _repeated(x: Tensor, length: int) -> Tensor:
    return fn.broadcast_to(x, (length, *x.shape))


def lift_contraction(node: Node, stacks: list[Tensor | None], same: list[Tensor | None], keep: bool) -> Tensor:
    """A contraction of stacks, for each trip, or (not `keep`) summed over the trips."""
    x_labels, w_labels, out = split_spec(node.attrs["spec"])
    trip = next(chr(code) for code in range(ord("A"), 0x10000) if chr(code) not in node.attrs["spec"])
    labels, operands = [], []
    for stack, alone, names in zip(stacks, same, (x_labels, w_labels), strict=True):
        if stack is not None and not keep and any(other is None for other in stacks):
            stack, alone = None, fn.sum(stack, axis=0)  # the sum over trips concerns one operand alone
        operand = alone if stack is None else stack
        assert operand is not None
        operands.append(operand)
        labels.append(names if stack is None else trip + names)
    return contraction(operands[0], operands[1], labels[0], labels[1], (trip if keep else "") + out)
