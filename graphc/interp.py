"""The oracle of Graph: every op's NumPy reference, called in order.

    outputs, updates = run_graph(graph, {"x": x, "y": y})

This is what a graph means; native code is tested against it. State is read from its tensor and never written: `updates` holds,
for each updated state's node, the array that the state takes when the call ends. All reads of a state see the value before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import InputError, VerifyError
from graphc.graph import Graph, Node
from graphc.types import TensorType, TupleType

Arrays = Mapping[str, np.ndarray] | Sequence[np.ndarray]


def run_graph(
    graph: Graph, inputs: Arrays = (), states: Mapping[Node, np.ndarray] | None = None
) -> tuple[tuple[np.ndarray, ...], dict[Node, np.ndarray]]:
    """Outputs in order, and the new value of every updated state. `inputs` are arrays by name or in the order of `graph.inputs`,
    exact in type and shape; `states` stands in for the states' own arrays. Raises InputError where a check of the graph fails."""
    given = dict(zip(graph.inputs, bind_inputs([(node.attrs["name"], node.type) for node in graph.inputs], inputs), strict=True))
    uses = _uses(graph)
    values: dict[Node, np.ndarray] = {}
    # Floating-point exceptions are values here (inf, NaN), as they are in native code.
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            values[node] = _evaluate(node, values, given, states or {})
            for operand in (*node.inputs, node):
                uses[operand] -= operand is not node
                if not uses[operand]:
                    values.pop(operand, None)
    outputs = tuple(np.array(values[node]) for node in graph.outputs)
    return outputs, {state: np.array(values[value]) for state, value in graph.updates}


def bind_inputs(declared: Sequence[tuple[str, TensorType]], given: Arrays) -> list[np.ndarray]:
    """The arrays of a call in the order of the declared inputs, each of exactly its declared type."""
    names = [name for name, _ in declared]
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise InputError(f"{len(names)} inputs are declared ({', '.join(names)}), {len(given)} were given")
        given = dict(zip(names, given, strict=True))
    for name in given:
        if name not in names:
            raise InputError(f"unknown input {name!r}; declared are: {', '.join(names) or 'none'}")
    arrays = []
    for name, type_ in declared:
        if name not in given:
            raise InputError(f"missing input {name!r}: {type_}")
        array = np.asarray(given[name])
        if array.dtype != type_.dtype or array.shape != type_.shape:
            raise InputError(f"input {name!r}: expected {type_}, got {array.dtype}{list(array.shape)}")
        arrays.append(array)
    return arrays


def _evaluate(
    node: Node, values: Mapping[Node, np.ndarray], given: Mapping[Node, np.ndarray], states: Mapping[Node, np.ndarray]
) -> np.ndarray:
    if node.op.name == "input":
        if node not in given:
            raise VerifyError(f"the graph reads an input it does not declare: {node.attrs['name']!r}")
        return given[node]
    if node.op.name == "state":
        array = states[node] if node in states else node.attrs["state"].array
        return check_value(np.asarray(array), node.type, f"state {node.attrs['state'].name!r}")
    value = node.op.ref(node.attrs, *(values[operand] for operand in node.inputs))
    if isinstance(node.type, TupleType):
        return _checked_results(value, node.type, node.op.name)
    # A reference may return a NumPy scalar, or f64 from an intermediate; its shape must be right by itself.
    return check_value(np.asarray(value, dtype=node.type.dtype), node.type, f"{node.op.name}: its reference")


def _checked_results(values: Any, expected: TupleType, name: str) -> Any:
    pairs = zip(values, expected.items, strict=True)
    return tuple(check_value(np.asarray(value, dtype=type_.dtype), type_, f"{name}: its reference") for value, type_ in pairs)


def check_value(array: np.ndarray, expected: TensorType, what: str) -> np.ndarray:
    if array.dtype != expected.dtype or array.shape != expected.shape:
        raise VerifyError(f"{what} gives {array.dtype}{list(array.shape)}, its type is {expected}")
    return array


def _uses(graph: Graph) -> dict[Node, int]:
    """How often each value is read, so that it can be dropped after its last reader; results count as a reader."""
    uses = dict.fromkeys(graph.nodes, 0)
    for node in graph.nodes:
        for operand in node.inputs:
            uses[operand] += 1
    for node in graph.outputs + tuple(value for _, value in graph.updates):
        uses[node] += 1
    return uses
