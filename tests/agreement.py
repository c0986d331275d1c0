"""When compiled code agrees with the interpreter: `Reference` knows how far each element of a graph's results may differ.

Ops that round once (arithmetic, comparisons, moves) must agree to the bit. The others (sums and contractions in another order,
exp, tanh, ...) round differently, and what follows may amplify that or, at a jump, choose another branch. So the graph is
evaluated several times with the results of those ops disturbed by a few units in the last place, in random directions (Monte
Carlo arithmetic: D. S. Parker, 1997): the spread bounds what rounding alone can do to each element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphc.cost import label_sizes
from graphc.graph import Graph, Node
from graphc.interp import run_graph
from graphc.op import Kind

SAMPLES = 5
DISTURBANCE = 6  # units in the last place
INEXACT = frozenset({"exp", "expm1", "log", "log1p", "sigmoid", "tanh", "erf", "sin", "cos", "power", "sum", "prod", "contract"})
ROUNDING = frozenset({"add", "sub", "mul", "div", "sqrt", "rsqrt", "mod", "scatter_add"})
SELECTING = frozenset({"max", "min", "maximum", "minimum"})  # which of 0.0 and -0.0 wins is nobody's promise

Values = dict[Node, np.ndarray]


class Reference:
    """The results of one call: outputs and updates by the interpreter, and what compiled code may give instead."""

    def __init__(self, graph: Graph, inputs: Mapping[str, np.ndarray], states: Mapping[Node, np.ndarray] | None = None):
        self.graph = graph
        self.outputs, self.updates = run_graph(graph, inputs, states)
        self.inexact = _tainted(graph, lambda node: node.op.name in INEXACT and node.type.dtype.kind == "f")
        self.unsigned_zero = _tainted(graph, lambda node: node.op.name in SELECTING and node.type.dtype.kind == "f")
        self.disturbed: list[Values] = []
        wanted = [node for node in (*graph.outputs, *(value for _, value in graph.updates)) if node in self.inexact]
        if wanted:
            given = {node: inputs[node.attrs["name"]] for node in graph.inputs}
            given.update(states or {})
            self.disturbed = [_disturbed(graph, given, np.random.default_rng(i), self.inexact) for i in range(SAMPLES)]

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
            assert_same_bits(found, expected, what, zeros=node not in self.unsigned_zero)
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


def assert_same_bits(found: np.ndarray, expected: np.ndarray, what: str, zeros: bool = True) -> None:
    """Equal to the bit, but for the bits of NaNs, and the signs of zeros unless `zeros`."""
    same = found == expected
    if expected.dtype.kind == "f":
        if zeros:
            same &= np.signbit(found) == np.signbit(expected)
        same |= np.isnan(found) & np.isnan(expected)
    if not np.all(same):
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        where = f"{int(np.sum(~same))} of {same.size} elements differ where bits must agree, first at {at}"
        raise AssertionError(f"{what}: {where}: {found[at]!r}, expected {expected[at]!r}")


def _tainted(graph: Graph, by: Callable[[Node], bool]) -> set[Node]:
    """The nodes that depend on one for which `by` holds."""
    found: set[Node] = set()
    for node in graph.nodes:
        if by(node) or any(operand in found for operand in node.inputs):
            found.add(node)
    return found


def _disturbed(graph: Graph, given: Mapping[Node, np.ndarray], rng: np.random.Generator, inexact: set[Node]) -> Values:
    values: Values = {}

    def shaken(array: np.ndarray, units: int = DISTURBANCE) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        sign = 2.0 * rng.integers(0, 2, array.shape) - 1
        moved = array * (1 + sign * (units * np.finfo(array.dtype).eps))
        # a sum of zeros, or one that cancels, has the sign that its order gives it
        return np.where(array == 0, np.copysign(0, sign), moved).astype(array.dtype)

    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node in given:
                values[node] = given[node]
            elif node.op.name == "state":
                values[node] = node.attrs["state"].array
            else:
                operands = [values[operand] for operand in node.inputs]
                rounds = node.op.name in INEXACT and node.type.dtype.kind == "f"
                sums = rounds and node.op.kind is not Kind.ELEMENTWISE
                if sums:  # what cancels in a sum moves by more than its last place
                    operands = [shaken(operand) for operand in operands]
                value = np.asarray(node.op.ref(node.attrs, *operands), node.type.dtype)
                if sums:  # and equal terms are all rounded in one direction
                    size = np.asarray(node.op.ref(node.attrs, *map(np.abs, operands)))
                    bias = np.finfo(value.dtype).eps * _terms(node) / 16 * size * (2 * rng.integers(0, 2) - 1)
                    value = value + np.where(np.isfinite(bias), bias, 0).astype(value.dtype)
                if rounds:
                    value = shaken(value)
                elif node in inexact and node.op.name in ROUNDING:  # operands a little apart may round to neighbours
                    value = shaken(value, 1)
                values[node] = value
    return values


def _terms(node: Node) -> int:
    """How many terms are added up for one element."""
    sizes = label_sizes(node) if node.op.kind is Kind.CONTRACT else dict(enumerate(node.inputs[0].type.shape))
    return math.prod(sizes.values()) // max(node.type.size, 1)
