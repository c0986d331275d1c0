"""Large reductions to few values in two steps, so that threads share them; in an order that shapes alone decide.

    %0 = sum x {axes=(0, 1)}                : f32[]          x: f32[4096,512]
->
    %0 = reshape x {shape=(64, 64, 512)}    : f32[64,64,512]
    %1 = sum %0 {axes=(1, 2)}               : f32[64]
    %2 = sum %1 {axes=(0,)}                 : f32[]

The first step keeps leading reduced axes, or a part of one, as long as there are too few independent results to share.
"""

from __future__ import annotations

import math

from graphc.graph import Graph, Node
from graphc.op import OPS, Kind, derive
from graphc.options import Options
from graphc.passes.rebuild import move, rebuild

LARGE = 1 << 17  # elements: less is over before another thread has begun
FEW, ENOUGH = 16, 64  # independent results: too few to share, and what is aimed at then
TOGETHER = 256  # neighbouring columns, which one unit sums
LEAST_RUN = 512  # elements left along the last axis, for which vectors are worth their set-up
ASSOCIATIVE = ("sum", "prod", "max", "min")


def split(graph: Graph, options: Options) -> Graph:
    """Splits every reduction of many elements to few values."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        now = move(node, new)
        new[node] = _in_two_steps(now) if now.op.kind is Kind.REDUCE else now
    return rebuild(graph, new)


def _in_two_steps(node: Node) -> Node:
    (x,) = node.inputs
    shape, axes = x.type.shape, node.attrs["axes"]
    if node.op.reducer not in ASSOCIATIVE or x.type.size < LARGE:
        return node
    units = _units(shape, axes)
    parts = _parts(shape, axes, -(-ENOUGH // units)) if units < FEW else {}
    if not parts:
        return node
    halves = [(parts[axis], size // parts[axis]) if axis in parts else (size,) for axis, size in enumerate(shape)]
    first: list[int] = []  # axes reduced in the first step
    second: list[int] = []  # and in the second, numbered after the first
    at = kept = 0
    for axis, sizes in enumerate(halves):
        if axis in parts:
            second.append(kept)
            kept += 1
        if axis in parts or axis in axes:
            first.append(at + len(sizes) - 1)
        else:
            kept += 1
        at += len(sizes)
    cut = derive(node, OPS["reshape"], (x,), shape=tuple(size for sizes in halves for size in sizes))
    partial = derive(node, node.op, (cut,), axes=tuple(first))
    return derive(node, node.op, (partial,), axes=tuple(second))


def _units(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Results that are computed independently: rows, or blocks of columns."""
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if kept and wide[-1] not in axes:
        last = next(size for size in reversed(kept) if size > 1)
        return math.prod(kept) // last * -(-last // TOGETHER)
    return math.prod(kept)


def _parts(shape: tuple[int, ...], axes: tuple[int, ...], needed: int) -> dict[int, int]:
    """For reduced axes the number of parts that each is cut into, `needed` in all, or a little more."""
    found: dict[int, int] = {}
    for axis in axes:
        if needed <= 1:
            break
        size = shape[axis]
        least = LEAST_RUN if axis == len(shape) - 1 else 1
        fitting = [parts for parts in range(2, min(size // least, 2 * needed) + 1) if size % parts == 0]
        if fitting:
            found[axis] = next((parts for parts in fitting if parts >= needed), fitting[-1])
            needed = -(-needed // found[axis])
    return found
