"""Fewer, longer loops: adjacent axes of a sweep become one where every access walks through them in one stride.

    outer (128, 512), load s0[512*a0 + a1]    ->    outer (65536), load s0[a0]

Axes of one element go first. Vectors are then as full as they can be, whatever the shape was.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphc.index import Axis, Index
from graphc.kernel import Load, Stage, Store, Sweep, indices, instructions, with_indices

SHORT_ROW = 16  # elements
LEAST_LANES = 4
NEAR = 4  # elements from lane to lane


def collapse(kernel: Sweep) -> Sweep:
    extents = kernel.outer + kernel.inner
    split = len(kernel.outer)
    used = [index for instr in instructions(kernel) for index in indices(instr)]
    kept = [axis for axis, extent in enumerate(extents) if extent != 1]
    # runs of axes that merge, each within outer or inner
    runs: list[list[int]] = []
    for axis in kept:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and (last < split) == (axis < split)
            and all(_mergeable(index, last, axis, extents[axis]) for index in used)
        ):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if len(runs) == len(extents):
        return kernel
    values: dict[int, Index] = {}
    sizes: list[int] = []
    outer_count = sum(run[0] < split for run in runs)
    for number, run in enumerate(runs):
        size = 1
        for axis in run:
            size *= extents[axis]
        sizes.append(size)
        rest = Index(((Axis(number, size), 1),))
        for axis in reversed(run[1:]):
            values[axis] = rest % extents[axis] if extents[axis] else Index()
            rest = rest // extents[axis] if extents[axis] else Index()
        values[run[0]] = rest

    def moved(index: Index) -> Index:
        return index.substitute(values)

    stages = tuple(Stage(stage.inner, tuple(with_indices(instr, moved) for instr in stage.body)) for stage in kernel.stages)
    inner = tuple(sizes[outer_count:])
    # lanes need an axis to run along
    return replace(
        kernel, outer=tuple(sizes[:outer_count]), inner=inner, stages=stages, vector=kernel.vector if inner else "outer"
    )


def across_short_rows(kernel: Sweep) -> Sweep:
    """Lanes run across rows where these are short and their elements lie as close as neighbouring rows: windows of a pool.

    outer (64, 16) inner (2, 2), load s0[64*a0 + 2*a1 + 32*a2 + a3]      lanes along a1, two elements apart
    """
    last = len(kernel.outer) - 1
    if kernel.vector != "inner" or math.prod(kernel.inner) > SHORT_ROW or last < 0 or kernel.outer[last] < LEAST_LANES:
        return kernel
    for stage in kernel.stages:
        for instr in stage.body:
            if isinstance(instr, (Load, Store)):
                stride = instr.offset.stride(last)
                if stride is None or not 0 <= stride <= (NEAR if isinstance(instr, Load) else 1):
                    return kernel
    return replace(kernel, vector="outer")


def _mergeable(index: Index, left: int, right: int, extent: int) -> bool:
    step, stride = index.stride(left), index.stride(right)
    return step is not None and stride is not None and step == stride * extent
