"""Which checks a value depends on, so that no rewrite loses one.

A check (an op with an effect, such as `check_index`) must run even where its value turns out not to matter: `where(true, x, y)`
is x, but a bad index below y must still fail the call. `Checks` knows the set of checks under every node, as the bits of an
integer.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.graph import Graph, Node, bodies, nested_nodes


class Checks:
    def __init__(self, graph: Graph):
        self.bit = {node: 1 << i for i, node in enumerate(node for node in graph.nodes if _may_fail(node))}
        self.under: dict[Node, int] = {}

    def enter(self, old: Node, now: Node) -> None:
        """`now` stands where `old` stood, over operands that were entered."""
        if self.bit:
            self.under[now] = self._union(now) | self.bit.get(old, 0)

    def kept(self, node: Node, by: Node) -> bool:
        """Whether every check under `node` is also under `by`, a node or a few new nodes over such that were entered."""
        return not self.bit or not self.under[node] & ~self._find(by)

    def below(self, nodes: Iterable[Node]) -> int:
        """The checks under any of some nodes that were entered."""
        found = 0
        for node in nodes if self.bit else ():
            found |= self.under[node]
        return found

    def _union(self, node: Node) -> int:
        found = 0
        for operand in node.inputs:
            found |= self.under[operand]
        return found

    def _find(self, node: Node) -> int:
        stack = [node]
        while stack:
            top = stack[-1]
            unknown = [operand for operand in top.inputs if operand not in self.under]
            if unknown and top not in self.under:
                stack.extend(unknown)
                continue
            if top not in self.under:
                self.under[top] = self._union(top)
            stack.pop()
        return self.under[node]


def _may_fail(node: Node) -> bool:
    """Whether a node is a check, or a loop around one."""
    return node.op.effect or any(inner.op.effect for body in bodies(node) for inner in nested_nodes(body))
