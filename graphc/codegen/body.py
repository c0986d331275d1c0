"""The instructions of a kernel's body, over all lanes and copies at hand.

    Load  stride 0 along the lanes    one scalar, used by every lane
          stride 1 or -1              one vector, reversed for -1
          2, 3 or 4                   vectors that hold all the lanes, from which they are picked
          another constant stride     a scalar for each lane; where rows are contiguous, squares turned in registers
          lane // d                   a short vector, each element of which is repeated
          a few runs                  a masked vector for each, see `runs`
          irregular, or gathered      a masked gather
A predicate that all lanes share swaps the pointer for one to the fill value; one that differs between lanes becomes a mask. So
memory is never touched where a predicate fails, and a loop's body stays one basic block. Lanes past the end of the lane axis
(`Copy.live`) neither load nor store.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from graphc.codegen import memory
from graphc.codegen.address import Addresses
from graphc.codegen.apart import every, lane_of, picked, pointers, strided
from graphc.codegen.check import emit_check
from graphc.codegen.memory import STORAGE, live_mask
from graphc.codegen.runs import count_runs
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.turn import MOST_PICKED, crosses, turned_load, turned_store
from graphc.codegen.values import Value, lane_steps, literal
from graphc.index import Axis, Quotient
from graphc.kernel import Apply, Check, Const, Coordinate, Instr, Load, Store
from graphc.types import bool_, int64, is_bool


class Body:
    """`values[n]` are those of instruction n: one for each copy where lanes differ, else a single one."""

    def __init__(self, b: LaneBuilder, addresses: Addresses, errors: str | None):
        self.b = b
        self.fn = b.fn
        self.addresses = addresses
        self.errors = errors  # pointer to the error record
        self.padded: frozenset[int] = frozenset()  # slots where memory goes on past the last lane
        self.streamed: frozenset[int] = frozenset()  # slots with aligned results that are stored past the caches
        self.values: dict[int, tuple[Value, ...]] = {}
        self._fills: dict[tuple[str, str, int], str] = {}

    def value(self, number: int, copy: int) -> Value:
        values = self.values[number]
        return values[copy] if len(values) > 1 else values[0]

    def run(self, number: int, instr: Instr, varies: bool) -> None:
        """Emit an instruction that is not a Reduce; once if lanes do not differ, else for every copy."""
        copies = range(len(self.addresses.copies) if varies else 1)
        if isinstance(instr, Apply):
            extra = {"attrs": dict(instr.attrs)} if instr.attrs else {}
            rule = instr.op.scalar
            assert rule is not None, f"{instr.op} has no scalar rule"
            operands = [[self.value(arg, copy) for arg in instr.args] for copy in copies]
            self.values[number] = self._side_by_side([partial(rule, self.b, *args, **extra) for args in operands])
        elif self._turns(instr):
            if isinstance(instr, Store):
                turned_store(self.b, self.addresses, instr, [self.value(instr.value, copy) for copy in copies])
            elif isinstance(instr, Load):
                self.values[number] = turned_load(self.b, self.addresses, instr)
        elif isinstance(instr, Load):
            self.values[number] = tuple([self._load(instr, copy) for copy in copies])
        elif isinstance(instr, Const):
            self.values[number] = (self.b.const(instr.value, instr.dtype),)
        elif isinstance(instr, Coordinate):
            self.values[number] = tuple([self.addresses.coordinate(instr.index, copy, instr.dtype) for copy in copies])
        elif isinstance(instr, Store):
            for copy in copies:
                self._store(instr, copy)
        elif isinstance(instr, Check):
            for copy in copies:
                emit_check(self.b, instr, self.value(instr.value, copy), self.addresses.copies[copy].live, self.errors)
            self.values[number] = self.values[instr.value]
        else:
            raise AssertionError(f"a {type(instr).__name__} has no place in a body")

    def _side_by_side(self, copies: list[Callable[[], Value]]) -> tuple[Value, ...]:
        """The values of several copies, whose instructions alternate: a processor looks ahead only so far, and sees more
        independent work so than with one long chain after the other."""
        lines, block = self.fn.lines, self.fn.block
        starts, values = [], []
        for copy in copies:
            starts.append(len(lines))
            values.append(copy())
        if len(copies) > 1 and self.fn.block == block:
            parts = [lines[start:end] for start, end in itertools.pairwise([*starts, len(lines)])]
            longest = max(map(len, parts))
            # What copies share is emitted with the first one, so the shorter ones are late, not early.
            slots = [[""] * (longest - len(part)) + part for part in parts]
            lines[starts[0] :] = [line for row in zip(*slots, strict=True) for line in row if line]
        return tuple(values)

    def prefetch(self, load: Load, distance: int) -> None:
        """Ask for the vectors of a load, `distance` elements further on. An address past the end does no harm."""
        a, name = self.addresses, "@llvm.prefetch.p0"
        self.fn.module.declare(name, f"void {name}(ptr, i32, i32, i32)")
        pointer = a.step(load.slot, a.pointer(load.slot, load.offset), str(distance))
        for copy in range(len(a.copies)):
            at = a.step(load.slot, pointer, str(a.copy_step(load.offset, copy)))
            self.fn.do(f"call void {name}(ptr {at}, i32 0, i32 2, i32 1)")

    def _turns(self, instr: Instr) -> bool:
        a = self.addresses
        return a.tile_axis is not None and a.lane_axis is not None and crosses(instr, a.tile_axis, a.lane_axis)

    # --- loads -----------------------------------------------------------------------------------------------------------------

    def _load(self, instr: Load, copy: int) -> Value:
        a, b, fn = self.addresses, self.b, self.fn
        shared, mask = a.uniform_condition(instr.where), a.lane_condition(instr.where, copy)
        if (by := self._repeats(instr)) > 1:
            return self._repeated(instr, copy, by, shared, mask)
        pointer, stride, irregular = self._address(instr, copy)
        if stride == 0 and irregular is None:
            if mask is not None:
                some = b.any(mask)
                shared = some if shared is None else fn.op(f"and i1 {shared}, {some}")
            if shared is not None:
                pointer = fn.op(f"select i1 {shared}, ptr {pointer}, ptr {self._fill(instr, 1)}")
            x = memory.load(b, instr.dtype, 1, pointer)
            return x if mask is None else b.where(mask, x, b.const(instr.fill, instr.dtype))
        lanes, live = a.lanes, a.copies[copy].live
        if abs(stride) != 1 or irregular is not None:
            if shared is None and mask is None and irregular is None:
                if 2 <= stride <= MOST_PICKED:
                    return picked(b, instr.dtype, pointer, stride, lanes, live)
                places = (a.step(instr.slot, pointer, str(lane * stride)) for lane in range(live))
                return strided(b, instr.dtype, places, lanes, live)
            if shared is not None:
                whole = b.splat(Value(shared, bool_, 1), lanes)
                mask = whole if mask is None else b.logical_and(mask, whole)
            if (runs := self._runs(instr)) and irregular is not None:
                raw = _splat(instr)
                for start, inside in self._each_run(instr, pointer, stride, irregular, runs, self._alive(mask, live)):
                    raw = memory.load_storage(b, instr.dtype, lanes, start, inside, raw)
                return memory.from_storage(b, raw, instr.dtype, lanes)
            each = pointers(b, instr.dtype, pointer, stride, irregular, lanes)
            return memory.gather(b, instr.dtype, lanes, each, self._alive(mask, live), _splat(instr))
        mask = mask if instr.slot in self.padded else self._alive(mask, live)
        if stride < 0:
            pointer = a.step(instr.slot, pointer, str(1 - lanes))
            mask = mask and memory.reverse(b, mask)
        if shared is not None:
            pointer = fn.op(f"select i1 {shared}, ptr {pointer}, ptr {self._fill(instr, lanes)}")
        x = memory.load(b, instr.dtype, lanes, pointer, mask, _splat(instr))
        return memory.reverse(b, x) if stride < 0 else x

    def _address(self, instr: Load | Store, copy: int) -> tuple[str, int, Value | None]:
        """(pointer to lane 0, lane stride, irregular offsets of the lanes)."""
        a, b = self.addresses, self.b
        stride, irregular = a.lane_stride(instr.offset), a.irregular(instr.offset, copy)
        pointer = a.step(instr.slot, a.pointer(instr.slot, instr.offset), str(a.copy_step(instr.offset, copy)))
        for number, by in getattr(instr, "gather", ()):
            at = b.cast(self.value(number, copy), int64)
            step = at if by == 1 else b.mul(at, b.const(by, int64))
            if step.lanes == 1:
                pointer = a.step(instr.slot, pointer, step.name)
            else:
                irregular = step if irregular is None else b.add(b.cast(irregular, int64), step)
        return pointer, stride, irregular

    def _alive(self, mask: Value | None, live: int) -> Value | None:
        if live == self.addresses.lanes:
            return mask
        alive = live_mask(live, self.addresses.lanes)
        return alive if mask is None else self.b.logical_and(mask, alive)

    def _repeats(self, instr: Load) -> int:
        """How many lanes share an element where the offset is that of the lanes' axis divided, and lanes start at a multiple;
        else 0."""
        a = self.addresses
        if instr.gather or a.lane_axis is None or a.lane_stride(instr.offset):
            return 0
        varying = [(atom, coef) for atom, coef in instr.offset.terms if not isinstance(atom, Axis) and a.varies(atom.of)]
        if len(varying) != 1 or varying[0][1] != 1 or not isinstance(atom := varying[0][0], Quotient):
            return 0
        alone = atom.of.const == 0 and len(atom.of.terms) == 1 and atom.of.coefficient(a.lane_axis) == 1
        return atom.by if alone and a.lanes % atom.by == 0 else 0

    def _repeated(self, instr: Load, copy: int, by: int, shared: str | None, mask: Value | None) -> Value:
        """A short vector, each element `by` times. An element is read where one of its lanes wants it."""
        a, b, fn = self.addresses, self.b, self.fn
        first = fn.op(f"udiv i64 {a.axis[a.lane_axis or 0]}, {by}")
        pointer = a.step(instr.slot, a.pointer(instr.slot, instr.offset), first)
        pointer = a.step(instr.slot, pointer, str(a.copies[copy].shift // by))
        count, live = a.lanes // by, -(-a.copies[copy].live // by)
        if shared is not None:
            pointer = fn.op(f"select i1 {shared}, ptr {pointer}, ptr {self._fill(instr, count)}")
        wanted = live_mask(live, count) if live < count else None
        if mask is not None:
            parts = [every(b, mask, by, i) for i in range(by)]
            some = parts[0]
            for part in parts[1:]:
                some = b.logical_or(some, part)
            wanted = some if wanted is None else b.logical_and(some, wanted)
        if count == 1:
            if wanted is not None:
                inside = b.any(wanted) if wanted.lanes > 1 else wanted.name
                pointer = fn.op(f"select i1 {inside}, ptr {pointer}, ptr {self._fill(instr, 1)}")
            x = b.splat(memory.load(b, instr.dtype, 1, pointer), a.lanes)
        else:
            name = memory.load_storage(b, instr.dtype, count, pointer, wanted, "zeroinitializer")
            vector, order = memory.storage_type(instr.dtype, count), ", ".join(f"i32 {lane // by}" for lane in range(a.lanes))
            name = fn.op(f"shufflevector {vector} {name}, {vector} poison, <{a.lanes} x i32> <{order}>")
            x = memory.from_storage(b, name, instr.dtype, a.lanes)
        return x if mask is None else b.where(mask, x, b.const(instr.fill, instr.dtype))

    def _runs(self, instr: Load | Store) -> int:
        """How many runs the lanes fall into; 0 where they are too many."""
        a = self.addresses
        if a.lane_axis is None or (isinstance(instr, Load) and instr.gather):
            return 0
        return count_runs(instr.offset, a.lane_axis, a.lanes)

    def _each_run(
        self, instr: Load | Store, pointer: str, stride: int, irregular: Value, runs: int, mask: Value | None
    ) -> Iterator[tuple[str, Value | None]]:
        """For each run the address at which its vector would begin, and its lanes."""
        a, b = self.addresses, self.b
        start = irregular
        if stride != 1:
            start = b.add(irregular, lane_steps(irregular.dtype, stride - 1, 0, a.lanes))
        for lane in {1: (0,), 2: (0, a.lanes - 1), 3: (0, a.lanes // 2, a.lanes - 1)}[runs]:
            own = lane_of(b, start, f"i64 {lane}")
            inside = b.eq(start, b.splat(own, a.lanes)) if runs > 1 else None
            if mask is not None:
                inside = mask if inside is None else b.logical_and(inside, mask)
            yield a.step(instr.slot, pointer, b.cast(own, int64).name), inside

    # --- stores ----------------------------------------------------------------------------------------------------------------

    def _store(self, instr: Store, copy: int) -> None:
        a, b = self.addresses, self.b
        pointer, stride, irregular = self._address(instr, copy)
        x = self.value(instr.value, copy)
        lanes, live = a.lanes, a.copies[copy].live
        if stride == 0 and irregular is None:  # of lanes that share an address the last one counts, as in a loop
            memory.store(b, x if x.lanes == 1 else lane_of(b, x, f"i64 {live - 1}"), pointer)
            return
        x, mask = b.splat(x, lanes), self._alive(None, live)
        if irregular is not None and (runs := self._runs(instr)):
            for start, inside in self._each_run(instr, pointer, stride, irregular, runs, mask):
                memory.store(b, x, start, inside)
        elif irregular is not None:
            memory.scatter(b, x, pointers(b, instr.dtype, pointer, stride, irregular, lanes), mask)
        elif abs(stride) != 1:
            for lane in range(live):
                memory.store(b, lane_of(b, x, f"i64 {lane}"), a.step(instr.slot, pointer, str(lane * stride)))
        elif instr.slot in self.streamed:
            memory.store_streaming(b, x, pointer)
        elif stride > 0:
            memory.store_first(b, x, pointer, lanes if instr.slot in self.padded else live)
        else:
            pointer = a.step(instr.slot, pointer, str(1 - lanes))
            memory.store(b, memory.reverse(b, x), pointer, mask and memory.reverse(b, mask))

    def _fill(self, instr: Load, lanes: int) -> str:
        """A constant in memory that holds the fill value `lanes` times."""
        key = (memory.storage_type(instr.dtype, lanes), _splat(instr), lanes)
        if key not in self._fills:
            name = self._fills[key] = f"@{self.fn.name}.fill{len(self._fills)}"
            initial = _fill_literal(instr) if lanes == 1 else _splat(instr)
            self.fn.module.add_global(f"{name} = private unnamed_addr constant {key[0]} {initial}, align 64")
        return self._fills[key]


def _fill_literal(instr: Load) -> str:
    return str(int(bool(instr.fill))) if is_bool(instr.dtype) else literal(instr.fill, instr.dtype)


def _splat(instr: Load) -> str:
    """The fill value in every lane."""
    return f"splat ({STORAGE[instr.dtype]} {_fill_literal(instr)})"
