"""What happens in a row of a Sweep, or in a group of columns: its stages, and the loops over the row's elements.

    columns (lanes along the last outer axis)    an inner stage is sequential loops that carry vectors of accumulators
    rows (lanes along the last inner axis)       its last loop runs over groups of vectors, their accumulators are then folded

The last vector of an axis may have fewer live lanes: the same body, masked. So the order of every sum is a matter of shapes.

A float sum of many terms is one of sums of `CHAIN` terms, and so on: its error grows with the logarithm of their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from graphc.codegen import reductions
from graphc.codegen.address import Addresses, Copy, Key
from graphc.codegen.body import Body
from graphc.codegen.builder import Function
from graphc.codegen.loops import repeat
from graphc.codegen.memory import live_mask
from graphc.codegen.reductions import Accumulator
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.sweep_plan import FIRST_INNER, ROW, Groups, Placed, Plan, PlannedStage, keys, row_groups
from graphc.codegen.target import Target
from graphc.codegen.values import Value, llvm_type
from graphc.index import axes_of, flatten
from graphc.kernel import Load, Reduce, Slot, Store, instructions
from graphc.types import int32, int64, is_float, row_major_strides

LEAST_AHEAD, MOST_AHEAD = 1 << 15, 1 << 18  # bytes of a row that the first cache does not hold, and the second does
FAR = 1 << 24  # bytes, of which most are in memory
UNROLLED = 1 << 18  # elements of a sweep for which saving a nanosecond on five of them is worth tens of milliseconds of LLVM
CHAIN = 256  # additions in a row to one accumulator

Accumulators = list[list[Accumulator]]  # for each Reduce of a stage, one for each copy
Step = Callable[[str, Accumulators], Accumulators]  # the accumulators after the loop's body at an index


class RowEmitter:
    def __init__(self, fn: Function, target: Target, plan: Plan, args: int):
        """The first `args` slots are arguments, the others rows in the worker's scratch."""
        self.fn = fn
        self.scratch = 0  # bytes
        self.plan = plan
        self.b = LaneBuilder(fn, target)
        self.b.unrolled = math.prod(plan.kernel.outer + plan.kernel.inner) >= UNROLLED
        self.addresses = Addresses(self.b, plan.levels, plan.lane_axis, plan.lanes, plan.deepest + 1)
        self.addresses.tile_axis = plan.tile_axis
        slots = plan.kernel.slots
        for slot in sorted({instr.slot for instr in instructions(plan.kernel) if isinstance(instr, (Load, Store))}):
            pointer = self._argument(slot) if slot < args else self._scratch(slots[slot])
            self.addresses.bind(slot, pointer, slots[slot].dtype)
        self.body = Body(self.b, self.addresses, self._argument(args + 1) if plan.checks else None)
        if len(plan.kernel.inner) == 1:  # a row in scratch ends with a whole vector
            self.body.padded = frozenset(range(args, len(slots)))
        self.position = int32 if plan.points < 2**31 else int64
        self.flat = flatten(axes_of(plan.kernel.inner, len(plan.kernel.outer)), row_major_strides(plan.kernel.inner))
        self.live = [stage for stage in plan.stages if plan.points or not stage.inner]
        self.stage_keys = {id(stage): self._keys(stage) for stage in self.live}
        self.waiting, self.ahead = self._read_again()
        self.keys = list(dict.fromkeys(key for stage in self.live for key in self.stage_keys[id(stage)]))
        self.addresses.track(self.keys)
        self._run(placed for stage in self.live for placed in stage.at(0))

    def _read_again(self) -> tuple[PlannedStage | None, tuple[Load, ...]]:
        """A stage that reads long rows for the second time, and what of the next row it may ask memory for meanwhile."""
        plan = self.plan
        stages = [stage for stage in self.live if stage.inner]
        if plan.columns or len(stages) < 2 or not plan.kernel.outer:
            return None, ()
        first, second = ({p.instr for p in stage.body if isinstance(p.instr, Load)} for stage in stages[:2])
        row = len(plan.kernel.outer) - 1
        found = []
        for load in sorted(first & second, key=lambda load: load.slot):
            bytes_ = plan.points * load.dtype.itemsize
            if load.gather or load.where or not LEAST_AHEAD <= bytes_ <= MOST_AHEAD or plan.kernel.outer[row] * bytes_ < FAR:
                continue
            if load.offset.stride(row) and self.addresses.lane_stride(load.offset) == 1:
                found.append(load)
        return stages[1], tuple(found)

    def _argument(self, position: int) -> str:
        at = self.fn.op(f"getelementptr ptr, ptr %args, i64 {position}")
        return self.fn.op(f"load ptr, ptr {at}, align 8", "slot")

    def _scratch(self, slot: Slot) -> str:
        """A row of worker's scratch, in whole vectors, a cache line aligned."""
        start = self.scratch
        elements = -(-slot.size // self.plan.lanes) * self.plan.lanes
        self.scratch += -(-elements * slot.dtype.itemsize // 64) * 64
        return self.fn.op(f"getelementptr i8, ptr %scratch, i64 {start}", "kept")

    def _keys(self, stage: PlannedStage) -> list[Key]:
        found = keys(stage.body)
        if any(reductions.is_positional(instr.reducer) for _, instr, _ in stage.reduces):
            found.append((None, self.flat))
        return found

    def _run(self, body: Iterable[Placed]) -> None:
        for placed in body:
            self.body.run(placed.number, placed.instr, placed.varies)

    def enter_unit(self) -> None:
        """The axes of level 1 have their values."""
        self.addresses.enter(1, self.keys)
        self._run(placed for stage in self.live for placed in stage.at(1))

    def row(self) -> None:
        """All stages, once the outer axes have their values."""
        self.addresses.enter(ROW, self.keys)
        for stage in self.plan.stages:
            if stage.inner:
                self._inner_stage(stage)
            else:
                self._run(stage.at(ROW))

    def _inner_stage(self, stage: PlannedStage) -> None:
        plan, b = self.plan, self.b
        across = not plan.columns and plan.lanes > 1
        groups = row_groups(plan, stage.at(plan.deepest)) if across else None
        accs: Accumulators = []
        for _, instr, varies in stage.reduces:
            wide = across or varies
            copies = groups.used if groups else len(self.addresses.copies) if wide else 1
            start = tuple(b.splat(part, plan.lanes if wide else 1) for part in self._identity(instr))
            accs.append([start] * copies)
        if plan.points:
            if plan.deepest != ROW:
                self._run(stage.at(ROW))
            self.fresh, self.reducers = accs, [instr.reducer for _, instr, _ in stage.reduces]
            accs = self._loops(stage, 0, accs, groups)
        for (number, instr, _), parts in zip(stage.reduces, accs, strict=True):
            if across:
                parts = [reductions.across(b, instr.reducer, reductions.fold(b, instr.reducer, parts))]
            self.body.values[number] = tuple(b.cast(part[-1], instr.dtype) for part in parts)

    def _identity(self, instr: Reduce) -> Accumulator:
        return reductions.identity(self.b, instr.reducer, self.plan.dtype(instr.arg), self.position, not self.plan.points)

    # --- loops over a row's elements -------------------------------------------------------------------------------------------

    def _loops(self, stage: PlannedStage, depth: int, accs: Accumulators, groups: Groups | None) -> Accumulators:
        """The loops over inner axes from `depth` on; returns the accumulators after them."""
        inner = self.plan.kernel.inner
        if depth == len(inner):
            return self._point(stage, accs)
        last = depth == len(inner) - 1
        level, axis = FIRST_INNER + depth, len(self.plan.kernel.outer) + depth

        def step(at: str, accs: Accumulators, copies: tuple[Copy, ...] | None = None) -> Accumulators:
            if copies:
                self.addresses.copies = copies
            self.addresses.axis[axis] = at
            self.addresses.enter(level, self.stage_keys[id(stage)])
            if not last:
                self._run(stage.at(level))
            return self._loops(stage, depth + 1, accs, groups)

        sizes = self._blocks(stage, depth, groups)
        if groups is None or not last:
            return self._repeat("0", str(inner[depth]), 1, sizes, accs, step)
        covered = groups.main * groups.size
        if covered:
            full = groups.copies
            accs = self._repeat("0", str(covered), groups.size, sizes, accs, lambda at, accs: step(at, accs, full))
        return step(str(covered), accs, groups.rest) if groups.rest else accs

    def _blocks(self, stage: PlannedStage, depth: int, groups: Groups | None) -> list[int]:
        """The largest block of the loop at `depth` first: each is summed by itself, so that no chain of additions is long."""
        if not any(instr.reducer == "sum" and is_float(instr.dtype) for _, instr, _ in stage.reduces):
            return []
        trips = list(self.plan.kernel.inner)
        if groups:
            trips[-1] = groups.main + bool(groups.rest)
        links = 1  # additions that an accumulator gets in an iteration
        for count in reversed(trips[depth + 1 :]):
            links *= count
            while links > CHAIN:
                links = -(-links // CHAIN)
        sizes: list[int] = []
        size = CHAIN // links
        while size < trips[depth]:
            sizes.insert(0, size * (groups.size if groups and depth == len(trips) - 1 else 1))
            size *= CHAIN
        return sizes

    def _repeat(self, start: str, stop: str, step: int, sizes: list[int], accs: Accumulators, body: Step) -> Accumulators:
        """`body` at start, start + step, ... below `stop`, once at least; in blocks of `sizes`, the largest first."""
        fn = self.fn
        if start == "0" and stop == str(step):
            return body("0", accs)
        parts = [part for copies in accs for acc in copies for part in acc]
        carried = [(llvm_type(part.dtype, part.lanes), part.name) for part in parts]
        with repeat(fn, start, stop, sizes[0] if sizes else step, carried) as loop:
            after = _renamed(accs, loop.carried)
            if not sizes:
                after = body(loop.index, after)
            else:
                fn.module.declare("@llvm.smin.i64", "i64 @llvm.smin.i64(i64, i64)")
                end = fn.op(f"call i64 @llvm.smin.i64(i64 {fn.op(f'add i64 {loop.index}, {sizes[0]}')}, i64 {stop})")
                block = self._repeat(loop.index, end, step, sizes[1:], self.fresh, body)
                after = self._added(after, block)
            loop.next(*(part.name for copies in after for acc in copies for part in acc))
        return _renamed(accs, loop.results)

    def _added(self, accs: Accumulators, block: Accumulators) -> Accumulators:
        """The accumulators and those of a later block, added up."""
        return [
            [reductions.fold(self.b, reducer, [first, second]) for first, second in zip(*pair, strict=True)]
            for reducer, pair in zip(self.reducers, zip(accs, block, strict=True), strict=True)
        ]

    def _point(self, stage: PlannedStage, accs: Accumulators) -> Accumulators:
        """The body at one element of the row, or at one group of them."""
        across = not self.plan.columns and self.plan.lanes > 1
        copies = self.addresses.copies
        for load in self.ahead if stage is self.waiting else ():
            self.body.prefetch(load, load.offset.stride(len(self.plan.kernel.outer) - 1) or 0)
        result = [list(each) for each in accs]
        which = iter(result)
        for placed in stage.at(self.plan.deepest):
            instr = placed.instr
            if not isinstance(instr, Reduce):
                self.body.run(placed.number, instr, placed.varies)
                continue
            mine = next(which)
            for copy in range(len(copies) if across else len(mine)):
                live = copies[copy].live
                mask = live_mask(live, self.plan.lanes) if across and live < self.plan.lanes else None
                position = None
                if reductions.is_positional(instr.reducer):
                    position = self.addresses.coordinate(self.flat, copy, self.position)
                x = self.body.value(instr.arg, copy)
                mine[copy] = reductions.update(self.b, instr.reducer, mine[copy], x, position, mask)
        return result


def _renamed(accs: Accumulators, names: list[str]) -> Accumulators:
    """The same accumulators under other names."""
    fresh = iter(names)
    return [[tuple(Value(next(fresh), part.dtype, part.lanes) for part in acc) for acc in copies] for copies in accs]
