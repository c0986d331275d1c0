"""Random tensors: `graphc.random.normal((32, 10))`. Every call of a compiled graph draws afresh.

The bits are a function of (seed, stream, counter): the seed of the executable, the stream of this draw (its module path and its
turn there, in the order of the graph), and how many calls of the executable have succeeded. So they do not depend on threads, nor
on what was declared before: a graph declared twice draws the same.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import Graph, Node, nested_nodes, provenance
from graphc.op import rule
from graphc.ops.random import philox
from graphc.tensor import State, Tensor
from graphc.types import as_dtype, as_shape, float32, float64, int32, int64, is_float, normalize_axis

# Stand-ins: an executable puts its own seed and counter in their places.
SEED = State(0, name="random.seed", dtype=int64)
COUNTER = State(0, name="random.counter", dtype=int64)

_turns: ContextVar[dict[str, int]] = ContextVar("graphc_random_turns", default={})  # noqa: B039 - shared on purpose


@contextlib.contextmanager
def fresh_streams() -> Iterator[None]:
    """Draws inside are numbered from the start, so that tracing a function twice gives the same streams."""
    token = _turns.set({})
    try:
        yield
    finally:
        _turns.reset(token)


# The number of the trip, in a loop that is being traced: each trip draws afresh.
_trip: ContextVar[Tensor | None] = ContextVar("graphc_random_trip", default=None)


@contextlib.contextmanager
def in_loop(trip: Tensor, length: int) -> Iterator[None]:
    """Draws inside depend on `trip`, an int64 below `length`, and on the trips of loops around."""
    outer = _trip.get()
    token = _trip.set(trip if outer is None else outer * length + trip)
    try:
        yield
    finally:
        _trip.reset(token)


def bits(shape: Any, dtype: Any = int32) -> Tensor:
    """Uniformly random bits, int32 or int64."""
    shape = as_shape(shape)
    turns, scope = _turns.get(), provenance().scope
    turn = turns[scope] = turns.get(scope, -1) + 1
    index = fn.reshape(fn.arange(math.prod(shape)), shape)
    # calls count in the lower half of the step, trips in the upper
    trip = _trip.get()
    step = COUNTER if trip is None else COUNTER + trip * 2**32
    return philox(
        index, fn.broadcast_to(SEED, shape), fn.broadcast_to(step, shape), stream=_stream(scope, turn), dtype=as_dtype(dtype)
    )


def _stream(scope: str, turn: int) -> int:
    return zlib.crc32(f"{scope}#{turn}".encode())


def uniform(shape: Any, low: Any = 0.0, high: Any = 1.0, dtype: Any = float32) -> Tensor:
    """Uniform in [low, high): 24 random bits in float32, 53 in float64."""
    dtype = _float("uniform", dtype)
    digits, source = (24, int32) if dtype == float32 else (53, int64)
    unit = fn.astype(bits(shape, source) & (2**digits - 1), dtype) * 2.0**-digits
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        if (low, high) == (0, 1):
            return unit
        drawn = unit * float(high - low) + float(low)
        # what lies next to `high` may be rounded up to it
        return fn.minimum(drawn, np.nextafter(dtype.type(high), dtype.type(low)).item()) if low < high else drawn
    low, high = (value if isinstance(value, Tensor) else fn.as_tensor(value, dtype) for value in (low, high))
    return low + unit * (high - low)


def normal(shape: Any, mean: Any = 0.0, std: Any = 1.0, dtype: Any = float32) -> Tensor:
    """Normal, by the Box-Muller transform of two uniform numbers, the first in (0, 1]."""
    dtype = _float("normal", dtype)
    first, second = uniform(shape, dtype=dtype), uniform(shape, dtype=dtype)
    standard = fn.sqrt(-2.0 * fn.log(1 - first)) * fn.cos(2 * math.pi * second)
    if isinstance(mean, (int, float)) and isinstance(std, (int, float)) and (mean, std) == (0, 1):
        return standard
    return standard * std + mean


def bernoulli(p: Any, shape: Any = None) -> Tensor:
    """True with probability `p`: a number, or a float tensor that broadcasts to `shape` (by default its own)."""
    if isinstance(p, (int, float)):
        if not 0 <= p <= 1:
            raise InputError(f"bernoulli: p is a probability, not {p!r}")
        return uniform(() if shape is None else shape) < float(p)
    p = fn.as_tensor(p)
    with rule("bernoulli", p):
        if not is_float(p.dtype):
            raise DTypeError(f"p is a probability, got {p.type}")
    return uniform(p.shape if shape is None else shape, dtype=p.dtype) < p


def categorical(logits: Any, axis: int = -1, shape: Any = None) -> Tensor:
    """An int64 index for each row of unnormalised log-probabilities, by the Gumbel-max trick; `shape` puts more draws in
    front."""
    logits = fn.as_tensor(logits)
    with rule("categorical", logits):
        if not is_float(logits.dtype):
            raise DTypeError(f"logits are floats, got {logits.type}")
        axis = normalize_axis(axis, logits.ndim)
        if logits.shape[axis] == 0:
            raise ShapeError(f"no category to choose in axis {axis} of {logits.type}")
    lead = () if shape is None else as_shape(shape)
    unit = uniform((*lead, *logits.shape), dtype=logits.dtype)
    # 1 - u is in (0, 1]; -log of it in [0, inf), where 0 is the greatest possible score
    return fn.argmax(logits - fn.log(-fn.log1p(-unit)), axis=axis - logits.ndim)


def _float(name: str, dtype: Any) -> np.dtype:
    found = as_dtype(dtype)
    if found not in (float32, float64):
        raise DTypeError(f"{name}: needs a float type, got {found.name}")
    return found


def bind_randomness(graph: Graph, seed: State, counter: State) -> Graph:
    """The graph drawing its bits from an executable's own seed and counter, and advancing the counter; itself where it draws
    none."""
    mine = {SEED.node: seed.node, COUNTER.node: counter.node}
    if not any(node in mine for node in graph.nodes):
        return graph
    streams = _renumbered(graph)
    bound_bodies: dict[Graph, Graph] = {}

    def bind(node: Node) -> Node:
        if node.op is philox:
            return replace(node, attrs={**node.attrs, "stream": streams[node.attrs["stream"]]})
        found = {key: value for key, value in node.attrs.items() if isinstance(value, Graph)}
        for body in found.values():
            if body not in bound_bodies:
                bound_bodies[body] = body.rewrite(bind)
        if any(bound_bodies[body] is not body for body in found.values()):
            return replace(node, attrs={**node.attrs, **{key: bound_bodies[body] for key, body in found.items()}})
        return mine.get(node, node)

    bound = graph.rewrite(bind)
    return Graph(bound.inputs, bound.outputs, (*bound.updates, (counter.node, (counter + 1).node)), bound.name)


def _renumbered(graph: Graph) -> dict[int, int]:
    """The streams of a graph, each to one that depends on nothing outside of it."""
    turns: dict[str, int] = {}
    streams: dict[int, int] = {}
    for node in nested_nodes(graph):
        if node.op is philox and node.attrs["stream"] not in streams:  # the backward graph repeats those of the forward graph
            turn = turns[node.scope] = turns.get(node.scope, -1) + 1
            streams[node.attrs["stream"]] = _stream(node.scope, turn)
    return streams
