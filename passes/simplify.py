"""Rewrites that are exact in IEEE arithmetic, to a fixed point.

    %0 = broadcast 1.0 {shape=(3,)}        : f32[3]
    %1 = mul x %0                          : f32[3]
    %2 = neg %1                            : f32[3]
    %3 = sub y %2                          : f32[3]
    return %3
->
    %3 = add y x                           : f32[3]
    return %3

The rules are the ops' own (`Op.rewrites`), two for the kind CONTRACT (`contraction.py`) and one for COMPOSITE (`composite.py`).
One round is one forward sweep, linear in the size of the graph: every node sees operands that are simplified already, so a
second round is needed only for what a later node made possible for an earlier one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from graphc.graph import Graph, Node
from graphc.op import Kind
from graphc.options import Options
from graphc.passes.checks import Checks
from graphc.passes.composite import expand
from graphc.passes.contraction import absorb_into_result, absorb_operand, canonical
from graphc.passes.rebuild import move, rebuild

# Far more than any graph needs; a pair of rules that undo each other ends here instead of hanging.
MAX_ROUNDS = 16
MAX_STEPS = 64

Rule = Callable[[Node], Node | None]
_OF_KIND: dict[Kind, tuple[Rule, ...]] = {Kind.CONTRACT: (absorb_operand, canonical), Kind.COMPOSITE: (expand,)}


def simplify(graph: Graph, options: Options) -> Graph:
    """Applies every rewrite until none does."""
    for _ in range(MAX_ROUNDS):
        after = _sweep(graph)
        if after is graph:
            break
        graph = after
    return graph


def _sweep(graph: Graph) -> Graph:
    new: dict[Node, Node] = {}
    checks = Checks(graph)
    uses = Counter(operand for node in graph.nodes for operand in node.inputs)
    uses.update(graph.outputs)
    uses.update(value for _, value in graph.updates)
    for node in graph.nodes:
        now = move(node, new)
        checks.enter(node, now)
        rules = (absorb_into_result,) if _views_own_contraction(node, now, uses) else ()
        new[node] = _rewritten(now, rules, checks)
    return rebuild(graph, new)


def _views_own_contraction(node: Node, now: Node, uses: Counter[Node]) -> bool:
    """Whether a node is the only reader of a contraction, which may then take it in without being computed twice."""
    if node.op.kind is not Kind.VIEW or len(node.inputs) != 1:
        return False
    return all(of.inputs[0].op.kind is Kind.CONTRACT for of in (node, now)) and uses[node.inputs[0]] == 1


def _rewritten(node: Node, rules: tuple[Rule, ...], checks: Checks) -> Node:
    """What is left of a node when no rule applies any more."""
    for _ in range(MAX_STEPS):
        for rule in (*node.op.rewrites, *_OF_KIND.get(node.op.kind, ()), *rules):
            found = rule(node)
            if found is not None and found is not node and checks.kept(node, found):
                node, rules = found, ()
                break
        else:
            break
    return node
