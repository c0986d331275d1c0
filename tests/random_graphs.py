"""Random training graphs over all ops.

    case = random_case(Choices(lambda n: draw(st.integers(0, n - 1))))
    graphc.compile(case.outputs, inputs=case.inputs, updates=case.updates)(**case.arrays)

A graph grows one move at a time from a pool of tensors: each move picks operands from the pool, favouring young ones, and adds
its result. Every choice is a number below some n, and 0 is always the plainest, so that what draws them (hypothesis) can shrink a
failing graph. Values are computed as the graph grows; what became large is squashed, so that the graphs stay in the range where
rounding errors can be told from wrong results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc
from graphc import functions as fn
from graphc.graph import Graph, Node
from graphc.op import OPS
from graphc.tensor import State, Tensor
from graphc.types import TupleType

FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32")
SMALL, LARGE = (3, 1, 2, 5, 7, 4, 16, 17, 33, 0), (40, 1, 3, 64, 130, 257, 512, 1000)
BIG_VALUE = 50.0


class Choices:
    """Numbers from `below(n)`, which returns one of 0 .. n - 1."""

    def __init__(self, below: Callable[[int], int]):
        self._below = below

    def below(self, n: int) -> int:
        return self._below(n) if n > 1 else 0

    def pick(self, things: Sequence[Any]) -> Any:
        return things[self.below(len(things))]

    def chance(self, percent: int) -> bool:
        """True about so often; 0 is False."""
        return self.below(100) >= 100 - percent

    def order(self, n: int) -> list[int]:
        rest = list(range(n))
        return [rest.pop(self.below(len(rest))) for _ in range(n)]


@dataclass
class Case:
    outputs: list[Tensor]
    inputs: list[Tensor]
    updates: dict[State, Tensor]
    arrays: dict[str, np.ndarray]

    @property
    def graph(self) -> Graph:
        pairs = tuple((state.node, value.node) for state, value in self.updates.items())
        return Graph(tuple(x.node for x in self.inputs), tuple(y.node for y in self.outputs), pairs)


@dataclass
class Growth:
    """A graph in the making. `values` holds the value of every node."""

    choices: Choices
    rng: np.random.Generator
    special: bool  # some NaN, infinities and negative zeros among the inputs
    sizes: Sequence[int] = SMALL
    limit: int = 3000  # elements of one tensor
    pool: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[Node, Any] = field(default_factory=dict)

    # --- values ---

    def value(self, tensor: Tensor) -> np.ndarray:
        stack = [tensor.node]
        with np.errstate(all="ignore"):
            while stack:
                node = stack[-1]
                unknown = [operand for operand in node.inputs if operand not in self.values]
                if unknown and node not in self.values:
                    stack.extend(unknown)
                    continue
                if node not in self.values:
                    operands = (self.values[operand] for operand in node.inputs)
                    value = node.op.ref(node.attrs, *operands)
                    self.values[node] = value if isinstance(node.type, TupleType) else np.asarray(value, node.type.dtype)
                stack.pop()
        return self.values[tensor.node]

    def add(self, tensor: Tensor) -> Tensor:
        """Into the pool, squashed if it grew large."""
        value = self.value(tensor)
        if value.dtype.kind == "f" and value.size:
            size = np.abs(value[np.isfinite(value)])
            if size.size and size.max() > BIG_VALUE:
                tensor = tensor * 2.0 ** -math.ceil(math.log2(float(size.max())))
                self.value(tensor)
        self.pool.append(tensor)
        return tensor

    # --- leaves ---

    def numbers(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        if dtype in INTEGERS:
            return self.rng.integers(-5, 6, shape).astype(dtype)
        style = self.choices.below(3)
        array = np.asarray(self.rng.standard_normal(shape) if style < 2 else self.rng.integers(-3, 4, shape)).astype(dtype)
        if self.special and array.size:
            for value in (np.nan, np.inf, -np.inf, -0.0):
                if self.choices.chance(15):
                    array.reshape(-1)[self.rng.integers(array.size)] = value
        return array

    def leaf(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A state, an input, a constant, or one element repeated."""
        kind = self.choices.below(5)
        if kind <= 1:
            state = State(self.numbers(shape, dtype), name=f"s{len(self.states)}", requires_grad=True)
            self.states.append(state)
            self.values[state.node] = state.array.copy()
            return state
        if kind == 2:
            name = f"x{len(self.inputs)}"
            x = graphc.input(name, shape, dtype)
            self.inputs.append(x)
            self.arrays[name] = self.values[x.node] = self.numbers(shape, dtype)
            return x
        if kind == 3:
            return graphc.constant(self.numbers(shape, dtype), dtype)
        if dtype == "bool":
            return fn.full(shape, bool(self.choices.below(2)), dtype)
        return fn.full(shape, self.choices.pick((1, 2, 0, -1, 3)), dtype)

    def shape(self, rank: int | None = None) -> tuple[int, ...]:
        rank = self.choices.pick((2, 1, 3, 0, 4)) if rank is None else rank
        shape: tuple[int, ...] = ()
        for _ in range(rank):
            size = self.choices.pick(self.sizes)
            shape += (size if math.prod(shape) * size <= self.limit else 1,)
        return shape

    # --- picking ---

    def any(self, kinds: str = "fib", least_rank: int = 0, nonempty: bool = False) -> Tensor:
        """A tensor of the pool, of NumPy kinds `kinds`; a new leaf where there is none."""
        found = [t for t in self.pool if t.dtype.kind in kinds and t.ndim >= least_rank and (t.size or not nonempty)]
        if found and not self.choices.chance(8):
            # the younger half, twice as often
            age = self.choices.below(3 * len(found) // 2 + 1)
            return found[-1 - age % len(found)]
        dtype = self.choices.pick({"f": FLOATS, "i": INTEGERS, "b": ("bool",)}[self.choices.pick(kinds)])
        shape = self.shape()
        while len(shape) < least_rank:
            shape += (self.choices.pick(self.sizes[:5]),)
        if nonempty:
            shape = tuple(size or 1 for size in shape)
        leaf = self.leaf(shape, dtype)
        self.pool.append(leaf)
        return leaf

    def beside(self, x: Tensor, kinds: str = "fib") -> Tensor:
        """A tensor that broadcasts with x: of the pool, or a reduction of x, or a new leaf."""
        found = [t for t in self.pool if t.dtype.kind in kinds and broadcasts(t.shape, x.shape, self.limit)]
        how = self.choices.below(4)
        if how <= 1 and found:
            return found[-1 - self.choices.below(len(found))]
        if how == 2 and x.ndim and x.dtype.kind in kinds and x.dtype.kind != "b" and x.size:
            axis = self.choices.below(x.ndim)
            return self.choices.pick((fn.sum, fn.max, fn.mean if x.dtype.kind == "f" else fn.min))(x, axis=axis, keepdims=True)
        shape = tuple(1 if self.choices.chance(25) else size for size in x.shape)
        shape = shape[self.choices.below(len(shape) + 1) if self.choices.chance(30) else 0 :]
        dtype = x.dtype.name if x.dtype.kind in kinds and not self.choices.chance(15) else None
        if dtype is None:
            dtype = self.choices.pick({"f": FLOATS, "i": INTEGERS, "b": ("bool",)}[self.choices.pick(kinds)])
        return self.leaf(shape, dtype)

    def axes(self, x: Tensor, nonempty: bool = False) -> tuple[int, ...]:
        allowed = [axis for axis in range(x.ndim) if x.shape[axis] or not nonempty]
        chosen = [axis for axis in allowed if self.choices.chance(50)]
        return tuple(chosen or allowed[-1:])


def broadcasts(a: tuple[int, ...], b: tuple[int, ...], limit: int) -> bool:
    if any(m != n and 1 not in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False)):
        return False
    return math.prod(np.broadcast_shapes(a, b)) <= limit


def random_case(choices: Choices, moves: int, large: bool = False) -> Case:
    """A whole training graph, with at most so many moves before its gradients. `large`: of tensors that are worth threads."""
    from random_endings import finish
    from random_moves import MOVES

    growth = Growth(choices, np.random.default_rng(choices.below(1 << 16)), choices.chance(15))
    if large:
        growth.sizes, growth.limit = LARGE, 200_000
    for _ in range(1 + choices.below(2)):
        growth.pool.append(growth.leaf(growth.shape(), choices.pick((*FLOATS, *INTEGERS))))
    weights = [move for move, weight in MOVES for _ in range(weight)]
    for _ in range(2 + choices.below(moves - 1)):
        made = choices.pick(weights)(growth)
        if made is not None and made.size <= growth.limit:
            growth.add(made)
    return finish(growth)


def ops_of(graph: Graph) -> set[str]:
    return {node.op.name for node in graph.nodes} & set(OPS)
