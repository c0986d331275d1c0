"""Registers along a flat axis: the axis is cut into strips of `lanes`, and index maps are rewritten so that they see it.

    axis N of 64, 16 lanes:   N -> 16*strip + lane        N // 32 -> strip // 2        N % 32 -> 16*(strip % 2) + lane

After that a quotient whose divisor the lanes divide is the same for a whole register, and its remainder is contiguous: heads of
an attention and rows of an image are read and written by whole registers, although their strides do not fold into one.

A `StripLoop` runs instructions on a strip over the steps of another axis; what does not vary with the step is done once a strip.
The last strip may be partial, with its lanes masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses, Copy
from graphc.codegen.body import Body
from graphc.codegen.builder import Function
from graphc.codegen.flat import BATCH, substituted
from graphc.codegen.loops import repeat
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.sweep_plan import Placed, keys
from graphc.codegen.target import Target
from graphc.index import Axis, Index, Quotient
from graphc.kernel import Instr, Load, Slot, Store, indices, operands, with_indices

Around = Callable[[Body, str], None]

STRIP = 4  # the number of the axis that counts strips
_CALL, _STRIP, _STEP = 1, 2, 3  # loop levels


@dataclass(frozen=True, slots=True)
class Strips:
    """An axis cut into strips."""

    axis: int
    extent: int
    lanes: int

    @property
    def full(self) -> int:
        return self.extent // self.lanes

    @property
    def partial(self) -> int:
        """Lanes of the last strip, where it is not full."""
        return self.extent % self.lanes


def in_strips(instr: Instr, strips: Strips) -> Instr:
    """The instruction with the axis rewritten as a strip and a lane; the axis' number is now the lane's."""
    if strips.extent == 1:
        return instr
    lane = Index.axis(strips.axis, min(strips.extent, strips.lanes))
    flat = Index.axis(STRIP, -(-strips.extent // strips.lanes)) * strips.lanes + lane
    instr = substituted(instr, {strips.axis: flat})
    return with_indices(instr, lambda index: _aligned(index, strips.axis))


def _aligned(index: Index, lane: int) -> Index:
    """Quotients and remainders by d, of d's divisor g times something plus less than g, drawn apart: see above, with g = 16."""
    total = Index((), index.const)
    for atom, coef in index.terms:
        if isinstance(atom, Axis):
            total += Index(((atom, coef),))
            continue
        of = _aligned(atom.of, lane)
        g = math.gcd(atom.by, *(c for a, c in of.terms if not (isinstance(a, Axis) and a.number == lane)))
        within = Index(tuple((a, c) for a, c in of.terms if isinstance(a, Axis) and a.number == lane), of.const % g)
        whole = Index(tuple((a, c // g) for a, c in (of - within).terms), of.const // g)
        low, high = within.bounds()
        if low < 0 or high >= g:
            value = of // atom.by if isinstance(atom, Quotient) else of % atom.by
        elif isinstance(atom, Quotient):
            value = whole // (atom.by // g)
        else:
            value = whole % (atom.by // g) * g + within
        total += value * coef
    return total


class StripLoop:
    def __init__(
        self,
        fn: Function,
        target: Target,
        strips: Strips,
        step_axis: int,
        body: Sequence[Instr],
        slots: Sequence[Slot],
        first: int,
    ):
        """`body` are the instructions numbered from `first`; earlier values are set by `before`."""
        self.fn = fn
        self.strips = strips
        self.step_axis = step_axis
        levels = [_CALL] * 5
        levels[STRIP] = levels[strips.axis] = _STRIP
        levels[step_axis] = _STEP
        lane_axis = strips.axis if strips.extent > 1 else None
        self.b = LaneBuilder(fn, target)
        self.addresses = Addresses(self.b, levels, lane_axis, strips.lanes)
        self.body = Body(self.b, self.addresses, None)
        self.placed = _place([in_strips(instr, strips) for instr in body], first, levels, strips.axis)
        for slot in sorted({placed.instr.slot for placed in self.placed if isinstance(placed.instr, (Load, Store))}):
            self.addresses.bind(slot, fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * slot)}"), slots[slot].dtype)
        self.keys = keys(self.placed)

    def begin(self, batch: str) -> None:
        """What is the same for every strip."""
        self.addresses.axis[BATCH] = batch
        self.addresses.axis[self.strips.axis] = "0"
        self.addresses.track(self.keys)
        self.addresses.enter(_CALL, self.keys)
        self._run(_CALL)

    def strip(
        self,
        strip: str,
        step: str,
        steps: str,
        pointer: str,
        pitch: str,
        before: Around | None = None,
        after: Around | None = None,
    ) -> None:
        """One strip, for the steps [step, step + steps), at least one. `before` and `after` the instructions of each step are
        given the body and a pointer that moves by a pitch."""
        if not self.strips.partial:
            self._steps(strip, self.strips.lanes, step, steps, pointer, pitch, before, after)
        elif not self.strips.full:
            self._steps("0", self.strips.partial, step, steps, pointer, pitch, before, after)
        else:
            fn = self.fn
            whole, part, done = fn.label("whole"), fn.label("part"), fn.label("strip")
            fn.branch(fn.op(f"icmp slt i64 {strip}, {self.strips.full}"), whole, part)
            for label, live in ((whole, self.strips.lanes), (part, self.strips.partial)):
                fn.start(label)
                self._steps(strip, live, step, steps, pointer, pitch, before, after)
                fn.jump(done)
            fn.start(done)

    def _steps(
        self, strip: str, live: int, step: str, steps: str, pointer: str, pitch: str, before: Around | None, after: Around | None
    ) -> None:
        fn = self.fn
        self.addresses.copies = (Copy(0, live),)
        self.addresses.axis[STRIP] = strip
        self.addresses.enter(_STRIP, self.keys)
        self._run(_STRIP)
        with repeat(fn, step, i64.add(fn, step, steps), carried=[("ptr", pointer)]) as loop:
            self.addresses.axis[self.step_axis] = loop.index
            self.addresses.enter(_STEP, self.keys)
            if before:
                before(self.body, loop.carried[0])
            self._run(_STEP)
            if after:
                after(self.body, loop.carried[0])
            loop.next(i64.step(fn, loop.carried[0], pitch))

    def _run(self, level: int) -> None:
        for placed in self.placed:
            if placed.level == level:
                self.body.run(placed.number, placed.instr, placed.varies)


def _place(body: Sequence[Instr], first: int, levels: Sequence[int], lane: int) -> list[Placed]:
    """Each instruction at the outermost level that knows its operands. The value before `first` is a step's and varies."""
    level_of = dict.fromkeys(range(first), _STEP)
    varies_of = dict.fromkeys(range(first), True)
    written: set[int] = set()
    result = []
    for number, instr in enumerate(body, first):
        axes = {axis for index in indices(instr) for axis in index.axes()}
        level = max([_CALL, *(levels[axis] for axis in axes), *(level_of[value] for value in operands(instr))])
        if isinstance(instr, Store) or (isinstance(instr, Load) and instr.slot in written):
            level = _STEP
        if isinstance(instr, Store):
            written.add(instr.slot)
        level_of[number] = level
        varies_of[number] = lane in axes or any(varies_of[value] for value in operands(instr))
        result.append(Placed(number, instr, level, varies_of[number]))
    return result
