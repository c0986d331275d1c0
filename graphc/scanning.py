"""`scan`: a loop over a sequence as one node, whatever the length.

    def step(h, x):
        h = graphc.tanh(x @ w + h @ u)
        return h, h

    last, all_h = graphc.scan(step, h0, xs)

`f` is traced once, on tensors that stand for the carry and for one slice of `xs`. What it uses from outside becomes an
operand of the loop, so that the body is a closed graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import Graph, Node, topological
from graphc.op import OPS, Kind, build
from graphc.ops import scan as ops
from graphc.random import in_loop
from graphc.structure import Structure, flatten
from graphc.tensor import Tensor

Step = Callable[[Any, Any], Any]


def scan(f: Step, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False) -> tuple[Any, Any]:
    """Loop: `carry, y = f(carry, x)` for each slice x of `xs` along axis 0, beginning with `init`. Returns (last carry, ys
    stacked).

    init, xs and what f returns are tensors or nested lists, tuples and dicts of them; the new carry has the structure and
    types of `init`; y may be None. Without xs, `length` says how many trips there are, and x is None. With `reverse` the
    trips go from the last slice to the first, and ys stand where their slices do. Differentiable to any order. Random tensors
    made in f are drawn afresh for each slice; one made outside is the same in all trips.

    Raises InputError where a structure is wrong, ShapeError where lengths differ or the carry changes its shape, DTypeError
    where it changes its element type.
    """
    if not callable(f):
        raise InputError(f"scan: f is a function of the carry and a slice, not {f!r}")
    carries, carry_structure = _leaves(init, "scan: init")
    sequences, structure = _leaves(xs, "scan: xs") if xs is not None else ([], None)
    count = _length(sequences, length)
    if not isinstance(reverse, (bool, np.bool_)):
        raise InputError(f"scan: reverse is true or false, not {reverse!r}")
    inner = [_placeholder(f"c{i}", one.type.dtype, one.shape) for i, one in enumerate(carries)]
    slices = [_placeholder(f"x{i}", one.type.dtype, one.shape[1:]) for i, one in enumerate(sequences)]
    trip = _placeholder("trip", np.dtype(np.int64), ())
    with in_loop(trip, count):
        result = f(carry_structure.unflatten(inner), None if structure is None else structure.unflatten(slices))
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError(f"scan: f must return (carry, y), a tuple of two, got {type(result).__name__}")
    new = _new_carry(result[0], carries, carry_structure)
    ys, y_structure = _leaves(result[1], "scan: y") if result[1] is not None else ([], None)
    if count == 0:
        empty = [fn.zeros((0, *y.shape), y.dtype) for y in ys]
        return carry_structure.unflatten(carries), None if y_structure is None else y_structure.unflatten(empty)
    if trip.node in topological(t.node for t in new + ys):
        sequences.append(fn.arange(count))
        slices.append(trip)
    operands, body = close([t.node for t in inner + slices], [t.node for t in new + ys])
    results = make_scan(
        [t.node for t in carries + sequences] + operands, body, len(carries), len(sequences), count, bool(reverse)
    )
    last, stacks = results[: len(carries)], results[len(carries) :]
    return carry_structure.unflatten(last), None if y_structure is None else y_structure.unflatten(stacks)


def make_scan(operands: list[Node], body: Graph, carries: int, sequences: int, length: int, reverse: bool) -> list[Tensor]:
    """The loop's results, each a tensor."""
    attrs = {"body": body, "carries": carries, "sequences": sequences, "length": length, "reverse": reverse}
    node = build(ops.scan, tuple(operands), attrs)
    return [Tensor(build(ops.get, (node,), {"index": i})) for i in range(len(body.outputs))]


def _leaves(value: Any, what: str) -> tuple[list[Tensor], Structure]:
    leaves, structure = flatten(value, what, lambda one: isinstance(one, (Tensor, np.ndarray, np.generic, int, float)))
    return [fn.as_tensor(leaf) for leaf in leaves], structure


def _length(sequences: list[Tensor], length: Any) -> int:
    if length is not None and (isinstance(length, (bool, np.bool_)) or not isinstance(length, (int, np.integer)) or length < 0):
        raise InputError(f"scan: length is a number of trips, not {length!r}")
    for one in sequences:
        if not one.shape:
            raise ShapeError(f"scan: xs are sliced along axis 0, but one of them is a scalar, {one.type}")
    lengths = [one.shape[0] for one in sequences] + ([] if length is None else [int(length)])
    if not lengths:
        raise InputError("scan: needs xs or a length")
    if len(set(lengths)) > 1:
        types = ", ".join(str(one.type) for one in sequences)
        raise ShapeError(f"scan: lengths differ: xs {types}" + ("" if length is None else f", length {length}"))
    return lengths[0]


# What stands for carries and slices while a loop's function is traced; outside of it they mean nothing.
_placeholders: weakref.WeakSet[Node] = weakref.WeakSet()


def _placeholder(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Tensor:
    node = build(OPS["input"], (), {"name": name, "dtype": dtype, "shape": shape})
    _placeholders.add(node)
    return Tensor(node)


def is_placeholder(node: Node) -> bool:
    """Whether an input stands for a carry or a slice of a loop."""
    return node in _placeholders


def _new_carry(value: Any, carries: list[Tensor], structure: Structure) -> list[Tensor]:
    new, found = _leaves(value, "scan: carry")
    if found != structure:
        raise InputError("scan: f must return a carry with the structure of init")
    for number, (was, now) in enumerate(zip(carries, new, strict=True)):
        if now.shape != was.shape:
            raise ShapeError(f"scan: carry {number} changes its shape: init is {was.type}, f returns {now.type}")
        if now.dtype != was.dtype:
            raise DTypeError(f"scan: carry {number} changes its element type: init is {was.type}, f returns {now.type}")
    return new


def close(inputs: list[Node], outputs: list[Node], name: str = "step") -> tuple[list[Node], Graph]:
    """The graph from `inputs` to `outputs` with an input more for everything that it reads from outside; and those outer nodes.

    Small constants and counters stay inside, where they cost nothing, and so do views, so that no transposed or broadcast
    operand is made in memory.
    """
    order = topological([*inputs, *outputs])
    own = set(inputs)
    varying: set[Node] = set(inputs)
    free: set[Node] = set()  # costs nothing to make inside
    for node in order:
        if any(operand in varying for operand in node.inputs):
            varying.add(node)
        elif node not in own and _is_free(node, free):
            free.add(node)
        if node.op.name == "implies" and node in varying:
            raise InputError("scan: a module that updates its own state (as batch norm in training) cannot stand inside the loop")
    inside = {node for node in order if node in varying or node in free or _stays(node)}
    needed = set(outputs)
    for node in reversed(order):
        if node in needed and node in inside:
            needed.update(node.inputs)
    outside: list[Node] = []
    new: dict[Node, Node] = {}
    for node in order:
        if node in own:
            new[node] = node
        elif node not in needed:
            continue
        elif node in inside:
            new[node] = node.with_inputs(tuple(new[operand] for operand in node.inputs))
        else:
            new[node] = _placeholder(f"w{len(outside)}", node.type.dtype, node.type.shape).node
            outside.append(node)
    closed = Graph((*inputs, *(new[node] for node in outside)), tuple(new[node] for node in outputs), (), name)
    return outside, closed


def _is_free(node: Node, free: set[Node]) -> bool:
    if node.op.name == "const":
        return node.attrs["value"].size == 1
    if node.op.kind in (Kind.VIEW, Kind.ELEMENTWISE) and not node.op.effect:
        return all(operand in free for operand in node.inputs)
    return node.op.name == "iota"


def _stays(node: Node) -> bool:
    """Whether an outer node is a plain view, to be read through inside."""
    return node.op.kind is Kind.VIEW and len(node.inputs) == 1 and "value" not in node.attrs
