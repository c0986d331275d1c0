"""When compiled code agrees with the interpreter: `Reference` knows how far each element of a graph's results may differ.

Ops that round once (arithmetic, comparisons, moves) must agree to the bit. The others (sums and contractions in another order,
exp, tanh, ...) round differently, and what follows may amplify that or, at a jump, choose another branch. So the graph is
evaluated several times with the results of those ops disturbed by a few units in the last place, in random directions (Monte
Carlo arithmetic: D. S. Parker, 1997): the spread bounds what rounding alone can do to each element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.cost import label_sizes
from graphc.graph import Attrs, Graph, Node
from graphc.interp import run_graph
from graphc.op import Kind
from graphc.types import TupleType

SAMPLES = 5
DISTURBANCE = 6  # units in the last place
INEXACT = frozenset(
    {"exp", "expm1", "log", "log1p", "sigmoid", "tanh", "erf", "sin", "cos", "power", "sum", "prod", "contract", "fold"}
)
ROUNDING = frozenset({"add", "sub", "mul", "div", "sqrt", "rsqrt", "mod", "scatter_add"})
SELECTING = frozenset({"max", "min", "maximum", "minimum"})

Values = dict[Node, Any]


class Reference:
    """The results of one call: outputs and updates by the interpreter, and what compiled code may give instead."""

    def __init__(self, graph: Graph, inputs: Mapping[str, np.ndarray], states: Mapping[Node, np.ndarray] | None = None):
        self.graph = graph
        self.outputs, self.updates = run_graph(graph, inputs, states)
        given = {node: inputs[node.attrs["name"]] for node in graph.inputs}
        given.update(states or {})
        sources = {node for node in graph.nodes if _is_inexact(node)} | _chosen_zeros(graph, given)
        self.inexact = _tainted(graph, sources)
        self.disturbed: list[Values] = []
        if any(node in self.inexact for node in (*graph.outputs, *(value for _, value in graph.updates))):
            runs = (_Disturbed(np.random.default_rng(i), sources, self.inexact) for i in range(SAMPLES))
            self.disturbed = [run.values(graph, given) for run in runs]

    def check_outputs(self, found: Sequence[np.ndarray]) -> None:
        assert len(found) == len(self.outputs)
        for i, (node, expected) in enumerate(zip(self.graph.outputs, self.outputs, strict=True)):
            self._check(node, found[i], expected, f"output {i}")

    def check_updates(self, found: Mapping[Node, np.ndarray]) -> None:
        for state, value in self.graph.updates:
            self._check(value, found[state], self.updates[state], f"state {state.attrs['state'].name}")

    def _check(self, node: Node, found: np.ndarray, expected: np.ndarray, what: str) -> None:
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
        if node not in self.inexact:
            assert_same_bits(found, expected, what)
            return
        spread, steady = self._spread(node, expected)
        if expected.dtype.kind != "f":
            bad = (found != expected) & steady
        else:
            number = np.finfo(expected.dtype)
            common = 2 * spread.mean() if spread.size else 0.0
            with np.errstate(all="ignore"):
                tolerance = 6 * spread + common + 16 * number.eps * np.abs(expected) + 64 * number.tiny
                close = np.abs(found - expected) <= tolerance
            close |= (found == expected) | (np.isnan(found) & np.isnan(expected))
            bad = ~close & steady
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            within = f" within {tolerance[at]!r}" if expected.dtype.kind == "f" else ""
            where = f"{int(bad.sum())} of {bad.size} elements differ, first at {at}"
            raise AssertionError(f"{what} {node.type}: {where}: {found[at]!r}, expected {expected[at]!r}{within}")

    def _spread(self, node: Node, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each element how far disturbances move it, and whether it stays the same kind of number."""
        steady = np.ones(expected.shape, bool)
        spread = np.zeros(expected.shape, np.float64)
        with np.errstate(all="ignore"):
            for values in self.disturbed:
                other = values[node]
                if expected.dtype.kind != "f":
                    steady &= other == expected
                    continue
                special = ~(np.isfinite(expected) & np.isfinite(other))
                steady &= ~special | (other == expected) | (np.isnan(other) & np.isnan(expected))
                spread = np.maximum(spread, np.where(special, 0, np.abs(other.astype(np.float64) - expected)))
        return spread, steady


def assert_same_bits(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Equal to the bit, but for the bits of NaNs."""
    same = found == expected
    if expected.dtype.kind == "f":
        same &= np.signbit(found) == np.signbit(expected)
        same |= np.isnan(found) & np.isnan(expected)
    if not np.all(same):
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        where = f"{int(np.sum(~same))} of {same.size} elements differ where bits must agree, first at {at}"
        raise AssertionError(f"{what}: {where}: {found[at]!r}, expected {expected[at]!r}")


def _is_inexact(node: Node) -> bool:
    if node.op.kind is Kind.SCAN:
        return any(_is_inexact(one) or one.op.name in SELECTING for one in node.attrs["body"].nodes)
    return node.op.name in INEXACT and node.type.dtype.kind == "f"


def _tainted(graph: Graph, sources: set[Node]) -> set[Node]:
    """`sources` and all nodes that depend on them."""
    found = set(sources)
    for node in graph.nodes:
        if any(operand in found for operand in node.inputs):
            found.add(node)
    return found


def _chosen_zeros(graph: Graph, given: Mapping[Node, np.ndarray]) -> set[Node]:
    """The extrema of both a 0.0 and a -0.0: which of them wins is nobody's promise, not even NumPy's."""
    suspects = [node for node in graph.nodes if node.op.name in SELECTING and node.type.dtype.kind == "f"]
    if not suspects:
        return set()
    values = _Evaluation().values(graph, given)
    found = set()
    for node in suspects:
        operands = [values[operand] for operand in node.inputs]
        zeros = [operand == 0 for operand in operands]
        negative = [np.signbit(operand) for operand in operands]
        if node.op.kind is Kind.ELEMENTWISE:
            meet = zeros[0] & zeros[1] & (negative[0] != negative[1])
        else:
            meet = np.array((zeros[0] & negative[0]).any() and (zeros[0] & ~negative[0]).any())
        if meet.any():
            found.add(node)
    return found


class _Evaluation:
    """All values of a graph."""

    def values(self, graph: Graph, given: Mapping[Node, np.ndarray]) -> Values:
        values: Values = {}
        with np.errstate(all="ignore"):
            for node in graph.nodes:
                if node in given:
                    values[node] = given[node]
                elif node.op.name == "state":
                    values[node] = node.attrs["state"].array
                else:
                    values[node] = self.value(node, [values[operand] for operand in node.inputs])
        return values

    def value(self, node: Node, operands: list[Any]) -> Any:
        value = node.op.ref(node.attrs, *operands)
        return value if isinstance(node.type, TupleType) else np.asarray(value, node.type.dtype)


class _Disturbed(_Evaluation):
    def __init__(self, rng: np.random.Generator, sources: set[Node], inexact: set[Node]):
        self.rng = rng
        self.sources = sources
        self.inexact = inexact

    def value(self, node: Node, operands: list[Any]) -> Any:
        if node.op.kind is Kind.SCAN:
            return self.loop(node.attrs, operands)
        if node in self.sources:
            if node.op.kind is Kind.ELEMENTWISE:
                return self.shaken(super().value(node, operands), 0 if node.op.name in SELECTING else DISTURBANCE)
            return self.reduced(node, operands)
        value = super().value(node, operands)
        # operands a little apart may round to neighbours
        return self.shaken(value, 1) if node in self.inexact and node.op.name in ROUNDING else value

    def reduced(self, node: Node, operands: list[np.ndarray]) -> np.ndarray:
        if node.op.name in SELECTING:
            return self.shaken(super().value(node, operands), 0)
        # what cancels in a sum moves by more than its last place, and equal terms are all rounded in one direction
        operands = [self.shaken(operand) for operand in operands]
        value = super().value(node, operands)
        size = super().value(node, [np.abs(operand) for operand in operands])
        bias = np.finfo(value.dtype).eps * _terms(node) / 16 * size * self.rng.choice((-1, 1))
        return self.shaken(value + np.where(np.isfinite(bias), bias, 0).astype(value.dtype))

    def loop(self, attrs: Attrs, operands: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """As the op's reference, every trip disturbed on its own."""
        body, count, length = attrs["body"], attrs["carries"], attrs["length"]
        last = count + attrs["sequences"]
        chosen = {node for node in body.nodes if node.op.name in SELECTING and node.type.dtype.kind == "f"}
        inside = _Disturbed(self.rng, {node for node in body.nodes if _is_inexact(node)} | chosen, set(body.nodes))
        carries = operands[:count]
        stacks = [np.empty((length, *node.type.shape), node.type.dtype) for node in body.outputs[count:]]
        for step in reversed(range(length)) if attrs["reverse"] else range(length):
            given = [*carries, *(operand[step] for operand in operands[count:last]), *operands[last:]]
            values = inside.values(body, dict(zip(body.inputs, given, strict=True)))
            carries = [values[node] for node in body.outputs[:count]]
            for stack, node in zip(stacks, body.outputs[count:], strict=True):
                stack[step] = values[node]
        return (*carries, *stacks)

    def shaken(self, array: np.ndarray, units: int = DISTURBANCE) -> np.ndarray:
        """Each float moved up or down by so many units in the last place."""
        if array.dtype.kind != "f":
            return array
        sign = 2.0 * self.rng.integers(0, 2, array.shape) - 1
        moved = array * (1 + sign * (units * np.finfo(array.dtype).eps))
        # zeros of sums and products have the sign that the order of things gives them
        return np.where(array == 0, np.copysign(0, sign), moved).astype(array.dtype)


def _terms(node: Node) -> int:
    """How many terms are added up for one element."""
    sizes = label_sizes(node) if node.op.kind is Kind.CONTRACT else dict(enumerate(node.inputs[0].type.shape))
    return math.prod(sizes.values()) // max(node.type.size, 1)
