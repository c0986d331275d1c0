"""A Sweep with as few axes as its addresses allow, before its loops are laid out.

    outer (32, 1, 10), every offset 10*a0 + a2   ->   outer (320,), every offset a0

Axes of one element go: no index mentions them. Neighbours of one group become one axis where every index steps along the first as
far as the whole second takes it. The order of a row's elements does not change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.index import Axis, Index
from graphc.kernel import Coordinate, Instr, Load, Stage, Store, Sweep


def coalesce(kernel: Sweep) -> Sweep:
    extents = kernel.outer + kernel.inner
    if 0 in extents or (1 not in extents and len(kernel.outer) < 2 and len(kernel.inner) < 2):
        return kernel
    indices = list(dict.fromkeys(index for stage in kernel.stages for instr in stage.body for index in _indices(instr)))
    new: dict[int, Index] = {}  # what stands for each old axis
    split = len(kernel.outer)
    outer = _merge(range(split), extents, indices, 0, new)
    inner = _merge(range(split, len(extents)), extents, indices, len(outer), new)
    if (outer, inner) == (kernel.outer, kernel.inner):
        return kernel
    image = {index: index.substitute(new) for index in indices}
    stages = tuple(Stage(stage.inner, tuple(_mapped(instr, image) for instr in stage.body)) for stage in kernel.stages)
    return replace(kernel, outer=outer, inner=inner, stages=stages)


def _merge(axes: range, extents: Sequence[int], indices: list[Index], first: int, new: dict[int, Index]) -> tuple[int, ...]:
    """The extents of the axes that a group of axes becomes, numbered from `first`."""
    merged: list[int] = []
    kept = [axis for axis in axes if extents[axis] > 1]
    extent = 1
    for axis, following in itertools.zip_longest(kept, kept[1:]):
        extent *= extents[axis]
        if following is not None and all(_joins(index, axis, following, extents[following]) for index in indices):
            new[axis] = Index()  # its steps are whole turns of the following axis
        else:
            new[axis] = Index.axis(first + len(merged), extent)
            merged.append(extent)
            extent = 1
    return tuple(merged)


def _joins(index: Index, axis: int, following: int, extent: int) -> bool:
    if index.coefficient(axis) != index.coefficient(following) * extent:
        return False
    return all(isinstance(atom, Axis) or _joins(atom.of, axis, following, extent) for atom, _ in index.terms)


def _indices(instr: Instr) -> Iterator[Index]:
    if isinstance(instr, (Load, Store)):
        yield instr.offset
    if isinstance(instr, Load):
        yield from (one.index for one in instr.where)
    elif isinstance(instr, Coordinate):
        yield instr.index


def _mapped(instr: Instr, image: dict[Index, Index]) -> Instr:
    if isinstance(instr, Load):
        where = tuple(replace(one, index=image[one.index]) for one in instr.where)
        return replace(instr, offset=image[instr.offset], where=where)
    if isinstance(instr, Store):
        return replace(instr, offset=image[instr.offset])
    return replace(instr, index=image[instr.index]) if isinstance(instr, Coordinate) else instr
