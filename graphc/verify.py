"""What holds of every Graph, between all passes. `verify_graph` checks:

 1. every node's op is the registered op of that name
 2. a node has as many operands as the op's reference takes, and its type is what the op's type rule derives from them
 3. attributes are values that have a text: numbers, strings, none, element types, arrays, tuples of these, functions, a state
 4. `inputs` are input nodes, each once, with distinct names, and no other input node is read
 5. a state tensor has one node, so that all its readers and its update mean the same value
 6. updates go to states, each at most once, with a value of the state's own type
 7. only `get` reads a node of several results, and none is an output or an update
 8. the body of a loop is a valid graph without states, updates, or constants of more than one element
 9. with `before`: every check (an op with an effect) of the graph before a pass is still there after it

Operands stand before their readers by construction: nodes are frozen, and `Graph.nodes` is a topological order.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import GraphcError, VerifyError
from graphc.graph import Graph, Node, bodies, nested_nodes
from graphc.op import OPS, Kind, Op
from graphc.text import format_line, format_value
from graphc.types import TupleType

# What a type rule raises, beside our own errors, when operands are too few or attributes are missing or of the wrong kind.
_RULE_BROKE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def verify_graph(graph: Graph, before: Graph | None = None) -> None:
    """Raises VerifyError, with the line of the node at fault, where an invariant of the list above is broken."""
    _verify_inputs(graph)
    for node in graph.nodes:
        _verify_node(graph, node)
    _verify_states(graph)
    if before is not None:
        _verify_checks_kept(before, graph)


def _fail(graph: Graph, node: Node, message: str) -> VerifyError:
    error = VerifyError(f"{message}\n{format_line(graph, node)}")
    error.node = node
    return error


def _verify_inputs(graph: Graph) -> None:
    by_name: dict[str, Node] = {}
    for node in graph.inputs:
        if node.op.name != "input":
            raise _fail(graph, node, f"the graph lists a node of op {node.op.name} as an input")
        name = node.attrs.get("name")
        if not isinstance(name, str):
            raise _fail(graph, node, f"an input's name is a string, not {name!r}")
        if name in by_name:
            raise _fail(
                graph, node, f"input {name!r} is listed twice" if by_name[name] is node else f"two inputs are named {name!r}"
            )
        by_name[name] = node
    declared = set(graph.inputs)
    for node in graph.nodes:
        if node.op.name == "input" and node not in declared:
            raise _fail(graph, node, f"input {node.attrs.get('name')!r} is read but not among the graph's inputs")


def _verify_node(graph: Graph, node: Node) -> None:
    fault = node_fault(node)
    if fault is not None:
        raise _fail(graph, node, fault)
    for body in bodies(node):
        _verify_body(graph, node, body)


def node_fault(node: Node) -> str | None:
    """Which rule a node breaks, if one that needs no more than the node itself: 1, 2, 3 and 7 of those above."""
    name = node.op.name
    if OPS.get(name) is not node.op:
        return f"{name} is not a registered op"
    for key, value in node.attrs.items():
        if not _has_text(value) and not (name == "state" and key == "state"):
            return f"{name}: attribute {key} has no text: {type(value).__name__}"
    least, most = _arity(node.op)
    if not least <= len(node.inputs) <= most:
        return f"{name}: takes {least if least == most else f'at least {least}'} operands, got {len(node.inputs)}"
    try:
        type_ = node.op.infer(tuple(operand.type for operand in node.inputs), node.attrs)
    except GraphcError as error:
        return f"{name}: {error}"
    except _RULE_BROKE as error:
        return f"{name}: the type rule fails, {type(error).__name__}: {error}"
    items = type_.items if isinstance(type_, TupleType) else (type_,)
    if type_ != node.type or any(type(size) is not int for item in items for size in item.shape):  # 2.0 == 2 and True == 1
        return f"{name}: the type rule gives {type_}, the node has {node.type}"
    for operand in node.inputs:
        if isinstance(operand.type, TupleType) and node.op.kind is not Kind.PROJECT:
            return f"{name}: reads a node of several results"
    return None


def _verify_body(graph: Graph, loop: Node, body: Graph) -> None:
    if body.updates or body.states:
        raise _fail(graph, loop, "the body of a loop reads or updates a state")
    for node in body.nodes:
        if node.op.name == "const" and node.attrs["value"].size > 1:
            raise _fail(body, node, "the body of a loop holds a constant of several elements; it should be an operand")
    try:
        verify_graph(body)
    except VerifyError as error:
        inside = VerifyError(f"in the body of a loop: {error}")
        inside.node = error.node
        raise inside from None


@cache
def _arity(op: Op) -> tuple[int, float]:
    """Least and greatest number of operands, from the parameters of `ref(attrs, *arrays)`."""
    kinds = [parameter.kind for parameter in inspect.signature(op.ref).parameters.values()]
    least = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) - 1
    return least, math.inf if inspect.Parameter.VAR_POSITIONAL in kinds else least


def _has_text(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_has_text, value))
    return value is None or isinstance(value, (bool, int, float, str, np.dtype, np.generic, np.ndarray, Graph, Callable))  # type: ignore[arg-type]


def _verify_states(graph: Graph) -> None:
    node_of: dict[int, Node] = {}
    for node in graph.states:
        if node_of.setdefault(id(node.attrs["state"]), node) is not node:
            raise _fail(graph, node, "a state has two nodes")
    updated: set[Node] = set()
    for state, value in graph.updates:
        if state.op.name != "state":
            raise _fail(graph, state, "an update goes to a node that is not a state")
        if state in updated:
            raise _fail(graph, state, "a state is updated twice")
        if value.type != state.type:
            raise _fail(graph, value, f"a state of type {state.type} is updated with a value of type {value.type}")
        updated.add(state)
    for node in graph.outputs:
        if isinstance(node.type, TupleType):
            raise _fail(graph, node, "an output has several results")


def _verify_checks_kept(before: Graph, after: Graph) -> None:
    kept = {_check_key(node) for node in nested_nodes(after) if node.op.effect}
    for node in nested_nodes(before):
        if node.op.effect and _check_key(node) not in kept:
            raise _fail(before, node, "a check is lost")


def _check_key(node: Node) -> tuple[str, ...]:
    """A check without its operand, which passes may rewrite; equal checks may be merged."""
    return (node.op.name, *(f"{key}={format_value(node.attrs[key], [])}" for key in sorted(node.attrs)))
