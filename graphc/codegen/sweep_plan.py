"""Where each instruction of a Sweep runs: its loop level, and whether lanes differ.

    level 0      once per call        vector == "outer": lanes run along the last outer axis (level 2)
          1      per unit             vector == "inner": lanes run along the last inner axis (the deepest level)
          2      per row
          3 + j  inside the loop over inner axis j

An instruction runs at the outermost level that knows its operands, so what a row shares is loaded and computed once a row.
Effects stay where they are written, and so does a load from a slot that an earlier instruction writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from graphc.codegen.address import Copy, Key
from graphc.codegen.target import Target
from graphc.codegen.turn import crosses
from graphc.index import Index
from graphc.kernel import Apply, Check, Coordinate, Instr, Load, Reduce, Store, Sweep, indices, instructions, operands

LARGEST_GROUP = 160  # instructions of a group of columns
LARGEST_TILE = 24  # instructions on an element of a tile

LIGHT = 3  # instructions on an element, as of a sum of columns

LONG = 100  # instructions on an element: several vectors of it take LLVM tens of milliseconds
MANY = 1 << 15  # elements of a sweep

ROW = 2
FIRST_INNER = 3

# Vector instructions that an op costs, roughly; 1 where not named.
COSTS = {"exp": 16, "expm1": 20, "log": 20, "log1p": 24, "power": 60, "sigmoid": 20, "tanh": 24, "erf": 24, "sin": 30, "cos": 30}
COSTS |= {"philox": 160, "div": 4, "sqrt": 4, "rsqrt": 8, "floordiv": 20, "mod": 20}


@dataclass(frozen=True)
class Placed:
    number: int
    instr: Instr
    level: int
    varies: bool  # whether lanes differ, or rows of a tile


@dataclass(frozen=True)
class PlannedStage:
    inner: bool
    body: tuple[Placed, ...]

    def at(self, level: int) -> list[Placed]:
        return [placed for placed in self.body if placed.level == level]

    @property
    def reduces(self) -> list[tuple[int, Reduce, bool]]:
        """(number, instruction, whether lanes differ) of each reduction."""
        return [(placed.number, placed.instr, placed.varies) for placed in self.body if isinstance(placed.instr, Reduce)]


@dataclass(frozen=True)
class Plan:
    kernel: Sweep
    levels: tuple[int, ...]  # of each axis
    lane_axis: int | None
    lane_extent: int
    lanes: int
    stages: tuple[PlannedStage, ...]
    tile_axis: int | None  # rows of the tiles whose lanes run along the lane axis
    registers: int

    @property
    def deepest(self) -> int:
        """The level of the loop over the last inner axis."""
        return FIRST_INNER + len(self.kernel.inner) - 1 if self.kernel.inner else ROW

    @property
    def columns(self) -> bool:
        """Whether lanes are rows, so that all work is done for several rows at once."""
        return self.kernel.vector == "outer"

    @property
    def points(self) -> int:
        """Elements of a row."""
        return math.prod(self.kernel.inner)

    @property
    def transposes(self) -> bool:
        """Whether memory runs along the axis before the lanes' axis somewhere."""
        lane = len(self.kernel.outer) - 1
        offsets = [instr.offset for instr in instructions(self.kernel) if isinstance(instr, (Load, Store))]
        return any(abs(one.coefficient(lane - 1)) == 1 and abs(one.coefficient(lane)) > 1 for one in offsets)

    @property
    def checks(self) -> bool:
        return any(isinstance(instr, Check) for instr in instructions(self.kernel))

    def dtype(self, number: int) -> np.dtype:
        """The element type of a value."""
        return next(placed.instr.dtype for stage in self.stages for placed in stage.body if placed.number == number)

    @property
    def row_cost(self) -> int:
        """Instructions that one row takes, roughly."""
        return sum(cost(stage.body) * (self.points if stage.inner else 1) for stage in self.stages)


class Groups:
    """An axis cut into vectors: `main` full groups of `copies`, then `rest`."""

    def __init__(self, extent: int, lanes: int, copies: int):
        full, tail = divmod(extent, lanes)
        self.main, left = divmod(full, copies)
        self.size = lanes * copies
        self.copies = tuple(Copy(lanes * i, lanes) for i in range(copies))
        self.rest = tuple(Copy(lanes * i, lanes) for i in range(left)) + ((Copy(lanes * left, tail),) if tail else ())

    @property
    def used(self) -> int:
        """Vectors of the largest group that there is."""
        return len(self.copies) if self.main else len(self.rest)


def row_groups(plan: Plan, body: Iterable[Placed]) -> Groups:
    """The lane axis in groups, for a loop over a row's elements with this body."""
    return Groups(plan.lane_extent, plan.lanes, _copies(plan, cost(body)))


def column_groups(plan: Plan) -> Groups:
    """The lane axis in groups, for a sweep that does all its stages for a group of columns."""
    whole = sum(cost(stage.body) for stage in plan.stages)
    loops = [cost(stage.at(plan.deepest)) for stage in plan.stages if stage.inner and plan.points > 1]
    copies = _copies(plan, max(loops, default=whole))
    if loops and copies > 1 and max(loops) <= LIGHT:
        copies = plan.lanes  # as many accumulators as registers allow: longer runs of memory in each row
    while copies > 1 and copies * whole > LARGEST_GROUP:
        copies //= 2
    return Groups(plan.lane_extent, plan.lanes, copies)


def _copies(plan: Plan, work: int) -> int:
    """Vectors to a group: enough independent work to hide latency, little enough to stay in registers. Of a long body, more than
    one where that is worth LLVM's time."""
    if plan.checks or plan.lanes == 1:
        return 1
    if work > 12 and (work > LONG or math.prod(plan.kernel.outer) * plan.points < MANY):
        return 1
    return 4 if work <= 5 or (12 < work <= 40 and plan.registers >= 32) else 2


def cost(body: Iterable[Placed]) -> int:
    return _cost(placed.instr for placed in body)


def _cost(body: Iterable[Instr]) -> int:
    return sum(COSTS.get(instr.op.name, 1) if isinstance(instr, Apply) else 1 for instr in body)


def keys(body: Iterable[Placed]) -> list[Key]:
    """The addresses and indices that a body needs."""
    found: dict[Key, None] = {}
    for placed in body:
        instr = placed.instr
        if isinstance(instr, (Load, Store)):
            found[instr.slot, instr.offset] = None
        if isinstance(instr, Load):
            for one in instr.where:
                found[None, one.index] = None
        elif isinstance(instr, Coordinate):
            found[None, instr.index] = None
    return list(found)


def plan_sweep(kernel: Sweep, target: Target) -> Plan:
    outer, inner = kernel.outer, kernel.inner
    columns = kernel.vector == "outer"
    last = len(outer) - 1 if columns else len(outer) + len(inner) - 1
    extents = outer + inner
    has_lanes = bool(outer if columns else inner) and extents[last] > 1
    lane_extent = extents[last] if has_lanes else 1
    lanes = min(_lanes(kernel, last, target), 1 << (lane_extent - 1).bit_length())
    lane_axis = last if lanes > 1 else None
    tile_axis = _tile_axis(kernel, last) if columns and lanes > 1 else None
    levels = [1] * len(outer) + [FIRST_INNER + j for j in range(len(inner))]
    if columns and outer:
        levels[last] = ROW
    stages = _place(kernel, levels, {lane_axis, tile_axis})
    return Plan(kernel, tuple(levels), lane_axis, lane_extent, lanes, stages, tile_axis, target.vector_registers)


def _tile_axis(kernel: Sweep, lane: int) -> int | None:
    """An outer axis along which memory runs somewhere, if tiles of it and the lanes' axis are small enough to unroll, and all
    else in them lies at constant distances."""
    body = list(instructions(kernel))
    axis = next((axis for axis in reversed(range(lane)) if any(crosses(instr, axis, lane) for instr in body)), None)
    if axis is None or kernel.inner or _cost(body) > LARGEST_TILE:
        return None
    for instr in body:
        if isinstance(instr, Check):
            return None
        if isinstance(instr, (Load, Store)) and None in (instr.offset.stride(axis), instr.offset.stride(lane)):
            return None
        if isinstance(instr, Coordinate) and axis in instr.index.axes():
            return None
        if isinstance(instr, Load) and any(axis in one.index.axes() for one in instr.where):
            return None
    return axis


def _lanes(kernel: Sweep, last: int, target: Target) -> int:
    """A register of the narrowest common type that is not bool, or of bools alone where these lie in a row; wider types take
    several registers."""
    body = [instr for instr in instructions(kernel) if not isinstance(instr, Coordinate)]
    widths = {instr.dtype.itemsize for instr in body} - {1}
    if not widths and all(instr.offset.stride(last) in (0, 1) for instr in body if isinstance(instr, (Load, Store))):
        return target.lanes(1)
    return target.lanes(8 if widths == {8} else 4)


def _place(kernel: Sweep, levels: list[int], varying: set[int | None]) -> tuple[PlannedStage, ...]:
    outer = frozenset(range(len(kernel.outer)))
    deepest = FIRST_INNER + len(kernel.inner) - 1 if kernel.inner else ROW
    axes_of: dict[Index, frozenset[int]] = {}
    depends: list[frozenset[int]] = []  # axes that each value depends on
    level_of: list[int] = []
    written: set[int] = set()
    stages = []

    def index_axes(index: Index) -> frozenset[int]:
        if index not in axes_of:
            axes_of[index] = frozenset(index.axes())
        return axes_of[index]

    for stage in kernel.stages:
        home = deepest if stage.inner else ROW
        body = []
        for instr in stage.body:
            axes, level = _needs(instr, index_axes, depends, level_of)
            level = max([level, *(levels[axis] for axis in axes)])
            pinned = isinstance(instr, (Store, Check, Reduce)) or (isinstance(instr, Load) and instr.slot in written)
            body.append(Placed(len(depends), instr, home if pinned else level, not varying.isdisjoint(axes)))
            if isinstance(instr, Store):
                written.add(instr.slot)
            if isinstance(instr, Reduce):  # its result is a row's
                axes, level = axes & outer, ROW
            depends.append(axes)
            level_of.append(level)
        stages.append(PlannedStage(stage.inner, tuple(body)))
    return tuple(stages)


def _needs(instr: Instr, index_axes, depends: list[frozenset[int]], level_of: list[int]) -> tuple[frozenset[int], int]:
    """(axes that the result depends on, least level at which its operands are there)."""
    axes = frozenset(axis for index in indices(instr) for axis in index_axes(index))
    values = operands(instr)
    return axes.union(*(depends[value] for value in values)), max((level_of[value] for value in values), default=0)
