"""Index expressions as addresses, coordinates and masks, each part computed at the outermost loop level that knows its axes.

    slot[7 + 100*a0 + a1], a0 at level 1, a1 along the lanes:
      level 0   %p = getelementptr float, ptr %slot, i64 7
      level 1   %q = getelementptr float, ptr %p, i64 (100*a0)
      lanes     %r = getelementptr float, ptr %q, i64 a1           one vector load, for lane stride 1

Axes have levels, outermost first; `enter(level, keys)` is called where a level's axes get their values, and brings every key
(a slot or None, and an index) up to that level. Along the lane axis, `axis` holds the position of lane 0 of copy 0; copy c is
`copies[c].shift` further on. Quotients and remainders of the lane axis are vectors; all else is a scalar and a lane stride.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from graphc.codegen.memory import STORAGE
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import Value, lane_steps
from graphc.index import Atom, Axis, Index, Quotient, Range, Remainder, Where
from graphc.types import bool_, int32, int64

Key = tuple[int | None, Index]  # (slot, offset), or (None, any index expression)

_FAR = 1 << 30  # lane bounds are clamped to this before they are compared as i32


class Copy(NamedTuple):
    """One vector of an unrolled body: how far along the lane axis it lies, how many of its lanes exist, and how far along the
    tile axis it lies."""

    shift: int
    live: int
    row: int = 0


def _fits_i32(low: int, high: int) -> bool:
    return -(2**31) <= low and high < 2**31


def _divisions(index: Index) -> Iterator[Quotient | Remainder]:
    """Every quotient and remainder in an index, each after those inside it."""
    for atom, _ in index.terms:
        if not isinstance(atom, Axis):
            yield from _divisions(atom.of)
            yield atom


def _above(atom: Quotient | Remainder) -> int:
    """How many times the divisor must be added to the dividend so that it is never negative."""
    low = atom.of.bounds()[0]
    return -(low // atom.by) if low < 0 else 0


class Addresses:
    def __init__(self, b: LaneBuilder, levels: Sequence[int], lane_axis: int | None, lanes: int, depth: int | None = None):
        self.tile_axis: int | None = None  # along which copies may lie, too
        self.b = b
        self.fn = b.fn
        self.levels = levels  # of each axis
        self.lane_axis = lane_axis
        self.lanes = lanes
        self.copies: tuple[Copy, ...] = (Copy(0, lanes),)
        self.axis: dict[int, str] = {}
        self.depth = max(levels, default=0) + 1 if depth is None else depth  # number of levels
        self._slots: dict[int, tuple[str, str]] = {}
        self._reached: dict[Key, list[tuple[int, str]]] = {}
        self._terms: dict[Key, dict[int, list[tuple[Atom, int]]]] = {}
        self._divisions: dict[Key, dict[int, list[Quotient | Remainder]]] = {}
        self._divided: list[dict[Atom, str | list[Value]]] = [{} for _ in range(self.depth)]
        self._scaled: list[dict[tuple[Atom, int], str]] = [{} for _ in range(self.depth)]

    def level(self, axes: Iterable[int]) -> int:
        return max((self.levels[axis] for axis in axes), default=0)

    def _level_of(self, atom: Atom) -> int:
        return self.levels[atom.number] if isinstance(atom, Axis) else self.level(atom.of.axes())

    def varies(self, index: Index) -> bool:
        """Whether lanes differ."""
        return self.lane_axis is not None and self.lane_axis in index.axes()

    def lane_stride(self, index: Index) -> int:
        """The stride of the part that is affine along the lanes."""
        return index.coefficient(self.lane_axis) if self.lane_axis is not None else 0

    def copy_step(self, index: Index, copy: int) -> int:
        """How far the affine part moves to a copy."""
        rows = index.coefficient(self.tile_axis) if self.tile_axis is not None else 0
        return self.lane_stride(index) * self.copies[copy].shift + rows * self.copies[copy].row

    # --- tracking --------------------------------------------------------------------------------------------------------------

    def bind(self, slot: int, pointer: str, dtype: np.dtype) -> None:
        self._slots[slot] = pointer, STORAGE[dtype]

    def base(self, slot: int) -> str:
        """The address of a slot's first element."""
        return self._slots[slot][0]

    def track(self, keys: Iterable[Key]) -> None:
        """Start following keys, at level 0."""
        for key in keys:
            if key in self._terms:
                continue
            slot, index = key
            by_level = self._terms[key] = {}
            for atom, coef in index.terms:
                by_level.setdefault(self._level_of(atom), []).append((atom, coef))
            divisions = self._divisions[key] = {}
            for atom in _divisions(index):
                divisions.setdefault(self._level_of(atom), []).append(atom)
            at = str(index.const) if slot is None else self.step(slot, self._slots[slot][0], str(index.const))
            self._reached[key] = [(0, at)]

    def enter(self, level: int, keys: Iterable[Key]) -> None:
        """The axes of `level` have new values: bring `keys` up to it."""
        divided = self._divided[level]
        divided.clear()
        self._scaled[level].clear()
        for key in keys:
            reached = self._reached[key]
            while reached[-1][0] >= level:
                reached.pop()
            for division in self._divisions[key].get(level, ()):
                if division not in divided:
                    divided[division] = self._vectors(division) if self.varies(division.of) else self._divide(division)
            slot, at = key[0], reached[-1][1]
            total = "0"
            for atom, coef in self._terms[key].get(level, ()):
                if isinstance(atom, Axis) or not self.varies(atom.of):
                    total = self._plus(total, self._scale(level, atom, coef))
            if total == "0":
                continue
            reached.append((level, self._plus(at, total) if slot is None else self.step(slot, at, total)))

    def pointer(self, slot: int, offset: Index) -> str:
        """Lane 0 of copy 0, less what differs from lane to lane irregularly."""
        return self._reached[slot, offset][-1][1]

    def scalar(self, index: Index) -> str:
        return self._reached[None, index][-1][1]

    # --- scalars ---------------------------------------------------------------------------------------------------------------

    def step(self, slot: int, pointer: str, elements: str) -> str:
        """A pointer into a slot, moved by that many elements."""
        if elements == "0":
            return pointer
        return self.fn.op(f"getelementptr {self._slots[slot][1]}, ptr {pointer}, i64 {elements}", "p")

    def _plus(self, x: str, y: str) -> str:
        if x == "0" or y == "0":
            return y if x == "0" else x
        return self.fn.op(f"add i64 {x}, {y}")

    def _times(self, x: str, factor: int) -> str:
        if factor == 1:
            return x
        return str(int(x) * factor) if x[0] != "%" else self.fn.op(f"mul i64 {x}, {factor}")

    def _scale(self, level: int, atom: Atom, coef: int) -> str:
        memo = self._scaled[level]
        if (atom, coef) not in memo:
            memo[atom, coef] = self._times(self._scalar_atom(atom), coef)
        return memo[atom, coef]

    def _scalar_atom(self, atom: Atom) -> str:
        if isinstance(atom, Axis):
            return self.axis[atom.number]
        found = self._divided[self._level_of(atom)][atom]
        assert isinstance(found, str)
        return found

    def _divide(self, atom: Quotient | Remainder) -> str:
        above = _above(atom)
        dividend = self._plus(self._whole(atom.of), str(above * atom.by))
        if isinstance(atom, Quotient):
            return self._plus(self.fn.op(f"udiv i64 {dividend}, {atom.by}"), str(-above))
        return self.fn.op(f"urem i64 {dividend}, {atom.by}")

    def _whole(self, index: Index) -> str:
        """The value of an index, less its lane-dependent quotients and remainders, from the values of its atoms."""
        total = str(index.const)
        for atom, coef in index.terms:
            if isinstance(atom, Axis) or not self.varies(atom.of):
                total = self._plus(total, self._times(self._scalar_atom(atom), coef))
        return total

    # --- vectors ---------------------------------------------------------------------------------------------------------------

    def _vectors(self, atom: Quotient | Remainder) -> list[Value]:
        """A quotient or remainder that differs from lane to lane, for every copy."""
        b, above = self.b, _above(atom)
        low, high = atom.of.bounds()
        dtype = int32 if _fits_i32(low, high + above * atom.by) else int64
        scalar = self._plus(self._whole(atom.of), str(above * atom.by))
        opcode = "udiv" if isinstance(atom, Quotient) else "urem"
        result = []
        for copy in range(len(self.copies)):
            value = b.binary(opcode, self._spread(atom.of, scalar, copy, dtype), b.const(atom.by, dtype))
            result.append(b.sub(value, b.const(above, dtype)) if above and opcode == "udiv" else value)
        return result

    def _spread(self, index: Index, scalar: str, copy: int, dtype: np.dtype) -> Value:
        """`scalar`, plus what every lane of a copy adds to it."""
        b = self.b
        first = Value(scalar, int64, 1)
        base = b.cast(first, dtype) if scalar[0] == "%" else b.const(int(scalar), dtype)
        stride = self.lane_stride(index)
        total = b.splat(base, self.lanes)
        if stride:
            total = b.add(base, lane_steps(dtype, stride, stride * self.copies[copy].shift, self.lanes))
        for atom, coef in index.terms:
            if not isinstance(atom, Axis) and self.varies(atom.of):
                total = b.add(total, self._scaled_vector(atom, coef, copy, dtype))
        return total

    def _scaled_vector(self, atom: Atom, coef: int, copy: int, dtype: np.dtype) -> Value:
        b = self.b
        vectors = self._divided[self._level_of(atom)][atom]
        assert isinstance(vectors, list)
        vector = b.cast(vectors[copy], dtype)
        return vector if coef == 1 else b.mul(vector, b.const(coef, dtype))

    def irregular(self, index: Index, copy: int) -> Value | None:
        """The part of an index that has no lane stride: what its lane-dependent quotients and remainders add up to."""
        atoms = [(atom, coef) for atom, coef in index.terms if not isinstance(atom, Axis) and self.varies(atom.of)]
        if not atoms:
            return None
        low, high = Index(tuple(atoms)).bounds()
        dtype = int32 if -_FAR < low and high < _FAR else int64
        total: Value | None = None
        for atom, coef in atoms:
            term = self._scaled_vector(atom, coef, copy, dtype)
            total = term if total is None else self.b.add(total, term)
        return total

    def coordinate(self, index: Index, copy: int, dtype: np.dtype = int64) -> Value:
        """The value of an index; `dtype` is an integer type that holds it."""
        if not self.varies(index):
            return self.b.cast(Value(self.scalar(index), int64, 1), dtype)
        return self._spread(index, self.scalar(index), copy, dtype)

    # --- predicates ------------------------------------------------------------------------------------------------------------

    def uniform_condition(self, where: Where) -> str | None:
        """The conjunction of the ranges that are the same for all lanes, as an i1; None where there are none."""
        result: str | None = None
        for one in where:
            if self.varies(one.index):
                continue
            if one.index.is_constant:
                test = "true" if one.low <= one.index.const < one.high else "false"
            else:
                offset = self._plus(self.scalar(one.index), str(-one.low))
                test = self.fn.op(f"icmp ult i64 {offset}, {max(one.high - one.low, 0)}")
            result = test if result is None else self.fn.op(f"and i1 {result}, {test}")
        return result

    def lane_condition(self, where: Where, copy: int) -> Value | None:
        """The conjunction of the ranges that differ from lane to lane; None where there are none."""
        result: Value | None = None
        for one in where:
            if self.varies(one.index):
                test = self._lane_range(one, copy)
                result = test if result is None else self.b.logical_and(result, test)
        return result

    def _lane_range(self, one: Range, copy: int) -> Value:
        b = self.b
        low, high = one.index.bounds()
        stride = self.lane_stride(one.index)
        irregular = any(not isinstance(atom, Axis) and self.varies(atom.of) for atom, _ in one.index.terms)
        regular = not irregular and abs(stride) * self.lanes < _FAR
        dtype = int32 if regular or _fits_i32(low, high) else int64
        if regular:
            # Compare the lanes' own steps with what is left of the bounds: 32-bit lanes are enough however large the index.
            steps = lane_steps(dtype, stride, 0, self.lanes)
            start = self._plus(self.scalar(one.index), str(stride * self.copies[copy].shift))
        else:
            steps = self._spread(one.index, self.scalar(one.index), copy, dtype)
        tests = []
        for needed, bound, compare in ((low < one.low, one.low, b.ge), (high >= one.high, one.high, b.lt)):
            if needed:
                tests.append(compare(steps, self._left(bound, start) if regular else b.const(bound, dtype)))
        if not tests:
            return b.splat(b.const(True, bool_), self.lanes)
        return tests[0] if len(tests) == 1 else b.logical_and(tests[0], tests[1])

    def _left(self, bound: int, start: str) -> Value:
        """bound - start as an i32, clamped."""
        b = self.b
        left = b.sub(b.const(bound, int64), Value(start, int64, 1))
        left = b.minimum(b.maximum(left, b.const(-_FAR, int64)), b.const(_FAR, int64))
        return b.cast(left, int32)
