"""Weights of a loop in the order in which its contractions read them: copied once, in front of the loop, rather than packed in
every trip.

    body: contract c0 w0 {spec="ab,cb->ac"}
->
    %1 = copy (transpose w {perm=(1, 0)})
    body: contract c0 w1 {spec="ab,bc->ac"}
"""

from __future__ import annotations

from dataclasses import replace

from graphc.cost import label_sizes
from graphc.graph import Node
from graphc.index import axes_of
from graphc.op import OPS, Kind, build, derive
from graphc.passes.access import leaves
from graphc.passes.contraction import roles
from graphc.passes.rebuild import move, rebuild

MIN_TRIPS = 4  # a copy costs about what packing costs in two or three trips


def straighten(loop: Node) -> Node:
    """The loop over transposed copies of what its contractions would have to transpose."""
    body, length = loop.attrs["body"], loop.attrs["length"]
    first = loop.attrs["carries"] + loop.attrs["sequences"]
    outer = dict(zip(body.inputs[first:], loop.inputs[first:], strict=True))
    names = {node.attrs["name"] for node in body.inputs}
    copies: dict[tuple[Node, tuple[int, ...]], Node] = {}
    operands: list[Node] = []
    new: dict[Node, Node] = {}
    for node in body.nodes:
        now = move(node, new)
        if node.op.kind is Kind.CONTRACT and (order := _wrong_order(node, outer, length)) is not None:
            role = roles(node)
            weight = node.inputs[role.rhs]
            if (weight, order) not in copies:
                name = next(name for i in range(len(names) + 1) if (name := f"w{i}") not in names)
                names.add(name)
                shape = tuple(weight.type.shape[axis] for axis in order)
                inner = build(OPS["input"], (), {"name": name, "dtype": weight.type.dtype, "shape": shape})
                turned = derive(weight, OPS["transpose"], (outer[weight],), perm=order)
                copies[weight, order] = inner
                operands.append(derive(weight, OPS["copy"], (turned,)))
            labels = list(role.labels)
            labels[role.rhs] = "".join(labels[role.rhs][axis] for axis in order)
            inputs = tuple(copies[weight, order] if i == role.rhs else x for i, x in enumerate(now.inputs))
            now = derive(now, now.op, inputs, spec=f"{labels[0]},{labels[1]}->{role.out}")
        new[node] = now
    if not copies:
        return loop
    changed = rebuild(body, new)
    changed = replace(changed, inputs=(*changed.inputs, *copies.values()), _cache={})
    return derive(loop, loop.op, (*loop.inputs, *operands), **{**loop.attrs, "body": changed})


def _wrong_order(node: Node, outer: dict[Node, Node], length: int) -> tuple[int, ...] | None:
    """How the axes of the right operand should be ordered, where it is a weight that lies otherwise."""
    role, sizes = roles(node), label_sizes(node)
    weight = node.inputs[role.rhs]
    if weight not in outer or not role.n or not role.k or length < MIN_TRIPS:
        return None
    (read,) = leaves(weight, axes_of(weight.type.shape))
    labels = role.labels[role.rhs]
    last = max(range(len(labels)), key=lambda axis: (sizes[labels[axis]] > 1, axis))  # next to each other in memory
    if read.base is not weight or labels[last] not in role.k:
        return None
    return tuple(labels.index(label) for label in role.batch + role.k + role.n)
