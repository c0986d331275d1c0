"""Updates that tensors carry: running statistics and the like.

    y = with_update(y, running_mean, lambda old: 0.9 * old + 0.1 * batch_mean)

A training step that depends on `y` then updates `running_mean`; anything else ignores it. A state that is updated several times in one graph
takes the updates one after the other, in order of declaration; every ordinary read sees the value before the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import graphc.functions as fn
from graphc.graph import Node, topological
from graphc.ops.implied import implies
from graphc.tensor import State, Tensor


def with_update(y: Tensor, state: State, rule: Callable[[Tensor], Tensor]) -> Tensor:
    """`y`, carrying the update state <- rule(state)."""
    # a node of its own: the only place where an earlier update in the same graph comes in
    previous = fn.stop_gradient(state)
    return implies(y, fn.stop_gradient(rule(previous)), previous, state)


def implied_updates(roots: Sequence[Tensor]) -> dict[State, Tensor]:
    """The updates carried by anything that `roots` depend on, chained where a state has several."""
    updates: dict[State, Tensor] = {}
    for node in topological(tensor.node for tensor in roots):
        if node.op is not implies:
            continue
        _, value, previous, source = node.inputs
        state: State = source.attrs["state"]
        if state in updates:
            value = _substitute(value, previous, updates[state].node)
        updates[state] = Tensor(value)
    return updates


def _substitute(root: Node, old: Node, new: Node) -> Node:
    """`root` with `new` in the place of `old`."""
    made: dict[Node, Node] = {old: new}
    for node in topological([root]):
        if node not in made:
            made[node] = node.with_inputs(tuple(made[operand] for operand in node.inputs))
    return made[root]
