"""The graph IR: pure SSA over tensors with static shapes.

    graph train(x: f32[32,64], y: i32[32]) state(w: f32[10,64]) {
      %0 = contract x w {spec="ik,jk->ij"}   : f32[32,10]   @ examples/digits.py:14 fc1
      ...
      return %9   update w <- %12
    }

A `Node` is frozen and compared by identity. A `Graph` is what is asked for: outputs, and updates of state. Its nodes are those
reachable from them, in a deterministic topological order. Nothing here recurses over a graph: a chain of 100,000 nodes works.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from graphc.types import TensorType

if TYPE_CHECKING:
    import networkx

    from graphc.op import Op

Attrs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a derived node comes from: the backward function of `op`, applied at the forward node `node` (None once that node is
    gone). Printed `B[tanh, %3](v)`."""

    op: str
    node: Node | None


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Node:
    op: Op
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: TensorType  # of a SCAN: a TupleType
    loc: str = ""  # the user's file:line
    scope: str = ""  # the module path, as encoder.0.fc1
    origins: tuple[Origin, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.op.name} : {self.type}>"

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """This node over other inputs of the same types; itself where nothing changes."""
        if all(a is b for a, b in zip(inputs, self.inputs, strict=True)):
            return self
        return replace(self, inputs=inputs)

    def with_origins_in(self, new: Mapping[Node, Node]) -> Node:
        """This node with origins that name the nodes which stand in place of those they name; itself where nothing changes."""
        if all(one.node is None or new.get(one.node, one.node) is one.node for one in self.origins):
            return self
        moved = (Origin(one.op, None if one.node is None else new.get(one.node, one.node)) for one in self.origins)
        return replace(self, origins=tuple(moved))


@dataclass(frozen=True, slots=True)
class Provenance:
    """What nodes built now are told about their making."""

    scope: str = ""
    loc: str | None = None  # None: ask the stack
    origins: tuple[Origin, ...] = ()


_provenance: ContextVar[Provenance] = ContextVar("graphc_provenance", default=Provenance())  # noqa: B039 - frozen
_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS: dict[str, bool] = {}


def provenance() -> Provenance:
    return _provenance.get()


@contextlib.contextmanager
def building(**changes: Any) -> Iterator[None]:
    """Nodes built inside carry the given scope, loc or origins."""
    token = _provenance.set(replace(_provenance.get(), **changes))
    try:
        yield
    finally:
        _provenance.reset(token)


@lru_cache(maxsize=1024)
def _shown(filename: str, directory: str) -> str:
    return os.path.relpath(filename, directory) if filename.startswith(directory + os.sep) else filename


def caller_location() -> str:
    """`file:line` of the innermost frame outside graphc, relative to the working directory where it lies below it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        ours = _OURS.get(filename)
        if ours is None:
            internal = filename.startswith("<frozen") or os.path.basename(filename) == "contextlib.py"
            ours = _OURS[filename] = internal or os.path.abspath(filename).startswith(_HERE + os.sep)
        if not ours:
            return f"{_shown(filename, os.getcwd())}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def warn(message: str) -> None:
    """A UserWarning at the user's line, however deep inside graphc it is found to be due."""
    filename, _, line = caller_location().rpartition(":")
    warnings.warn_explicit(message, UserWarning, filename or "graphc", int(line or 0))


@dataclass(frozen=True, eq=False)
class Graph:
    """`inputs` are the declared inputs, in order (all of them, also those that nothing reads); `updates` are pairs of a state's
    node and the value that it takes when the call ends."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()
    name: str = "main"
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node that is needed, each after its inputs."""
        return topological(self.roots)

    @property
    def roots(self) -> tuple[Node, ...]:
        return self.inputs + self.outputs + tuple(node for pair in self.updates for node in pair)

    @cached_property
    def states(self) -> tuple[Node, ...]:
        """The state nodes read or written, in order of first appearance."""
        return tuple(node for node in self.nodes if node.op.name == "state")

    @cached_property
    def users(self) -> dict[Node, tuple[Node, ...]]:
        """For each node the nodes that read it, in order; one that reads it twice stands twice."""
        users: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for operand in node.inputs:
                users[operand].append(node)
        return {node: tuple(found) for node, found in users.items()}

    def rewrite(self, rule: Callable[[Node], Node]) -> Graph:
        """The graph with `rule` applied to every node, operands first: `rule` sees a node whose inputs are already
        rewritten and returns what stands in its place."""
        new: dict[Node, Node] = {}
        for node in self.nodes:
            moved = node.with_inputs(tuple(new[operand] for operand in node.inputs))
            new[node] = rule(moved.with_origins_in(new) if moved.origins else moved)
        if all(old is now for old, now in new.items()):
            return self
        return Graph(
            tuple(new[node] for node in self.inputs),
            tuple(new[node] for node in self.outputs),
            tuple((new[state], new[value]) for state, value in self.updates),
            self.name,
        )

    def __str__(self) -> str:
        from graphc.text import print_graph

        return print_graph(self)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """A view for analyses: nodes carry `op`, `type`, `attrs`, `scope`, `loc`; edges run from operand to user."""
        import networkx

        view = networkx.MultiDiGraph(name=self.name)
        for node in self.nodes:
            view.add_node(node, op=node.op.name, type=str(node.type), attrs=dict(node.attrs), scope=node.scope, loc=node.loc)
        for node in self.nodes:
            for position, operand in enumerate(node.inputs):
                view.add_edge(operand, node, position=position)
        return view


def bodies(node: Node) -> tuple[Graph, ...]:
    """The graphs among a node's attributes: what a loop repeats."""
    return tuple(value for value in node.attrs.values() if isinstance(value, Graph))


def nested_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of all bodies in it."""
    for node in graph.nodes:
        yield node
        for body in bodies(node):
            yield from nested_nodes(body)


def topological(roots: Iterable[Node]) -> tuple[Node, ...]:
    """All nodes reachable from `roots`, operands before users, in depth-first order of the roots and operands."""
    done: dict[Node, None] = {}
    for root in roots:
        stack = [(root, iter(root.inputs))]
        if root in done:
            continue
        while stack:
            node, pending = stack[-1]
            for operand in pending:
                if operand not in done:
                    stack.append((operand, iter(operand.inputs)))
                    break
            else:
                done[node] = None
                stack.pop()
    return tuple(done)
