"""Updates that tensors carry: running statistics and the like.

    y = with_updates(y, [running_mean], lambda old: [0.9 * old + 0.1 * batch_mean])

A training step that depends on `y` then updates `running_mean`; anything else ignores it. A state that is updated several times
in one graph takes the updates one after the other, in order of declaration; every ordinary read sees the value before the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import graphc.functions as fn
from graphc.graph import Node, topological
from graphc.ops.implied import implies
from graphc.tensor import State, Tensor


def with_updates(y: Tensor, states: Sequence[State], rule: Callable[..., Sequence[Tensor]]) -> Tensor:
    """`y`, carrying updates of states: rule(*states) gives the new values, each computed from the state's own old value and
    those of states before it in the list."""
    # nodes of their own: the only places where earlier updates in the same graph come in
    previous = [fn.stop_gradient(state) for state in states]
    for state, old, value in zip(states, previous, rule(*previous), strict=True):
        y = implies(y, fn.stop_gradient(value), old, state)
    return y


def implied_updates(roots: Sequence[Tensor]) -> dict[State, Tensor]:
    """The updates carried by anything that `roots` depend on, chained where a state has several."""
    updates: dict[State, Tensor] = {}
    before: dict[Node, Node] = {}  # what a state was read as -> its value after the updates declared earlier
    for node in topological(tensor.node for tensor in roots):
        if node.op is not implies:
            continue
        _, value, previous, source = node.inputs
        state: State = source.attrs["state"]
        if state in updates:
            before[previous] = updates[state].node
        updates[state] = Tensor(_substitute(value, before))
    return updates


def _substitute(root: Node, replaced: Mapping[Node, Node]) -> Node:
    """`root` with nodes replaced."""
    if not replaced:
        return root
    made = dict(replaced)
    for node in topological([root]):
        if node not in made:
            made[node] = node.with_inputs(tuple(made[operand] for operand in node.inputs))
    return made[root]
