"""Programs: what runs, in order, over which memory.

A `Program` is a list of launches of kernels (`graphc.kernel`) over buffers. A `Loop` stands where a launch does and repeats
launches; a `Part` says which memory a buffer of one trip is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphc.kernel import Check, Kernel, Sweep, instructions, read_slots, written_slots
from graphc.types import TensorType


class Space(enum.Enum):
    INPUT = "input"  # the caller's array
    STATE = "state"  # lives between calls, updated in place
    CONST = "const"  # shipped with the object
    OUTPUT = "output"  # an array the caller receives
    ARENA = "arena"  # scratch of one step, at a fixed offset
    PART = "part"  # of another buffer, for one trip of a loop


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Row-major memory. `source` is the input's name, the state tensor, the constant's array, or the output's position."""

    name: str
    type: TensorType
    space: Space
    source: Any = None

    def __str__(self) -> str:
        return f"{self.name}: {self.type} {self.space.value}"


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """A kernel over buffers, one for each slot. `label` says what it computes, for people (op names of its nodes)."""

    kernel: Kernel
    args: tuple[Buffer, ...]
    label: str = ""

    @property
    def reads(self) -> tuple[Buffer, ...]:
        return tuple(self.args[slot] for slot in sorted(read_slots(self.kernel)))

    @property
    def writes(self) -> tuple[Buffer, ...]:
        return tuple(self.args[slot] for slot in sorted(written_slots(self.kernel)))

    @property
    def checks(self) -> bool:
        return isinstance(self.kernel, Sweep) and any(isinstance(instr, Check) for instr in instructions(self.kernel))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """`buffer` is, in trip t, the elements of `whole` from start + step * (t + phase) on, t + phase taken modulo `period` unless
    that is 0: a slice of a sequence, or one of the two places that a carry alternates between."""

    buffer: Buffer
    whole: Buffer
    start: int
    step: int
    phase: int = 0
    period: int = 0

    def offset(self, trip: int) -> int:
        at = trip + self.phase
        return self.start + self.step * (at % self.period if self.period else at)


@dataclass(frozen=True, eq=False)
class Loop:
    """`first` once, then `body` `trips` times, at least once. Buffers of the body: parts, arena buffers of its own that live for
    one trip, and outer buffers, which it only reads."""

    trips: int
    first: tuple[Launch, ...]
    body: tuple[Launch | Loop, ...]
    parts: tuple[Part, ...]
    label: str = ""

    @cached_property
    def part_of(self) -> dict[Buffer, Part]:
        return {part.buffer: part for part in self.parts}

    @cached_property
    def writes(self) -> tuple[Buffer, ...]:
        """The outer buffers written, and those that only this loop uses but that live from trip to trip."""
        found = [buffer for launch in self.first for buffer in launch.writes]
        found += [self.part_of[buffer].whole for item in self.body for buffer in item.writes if buffer in self.part_of]
        return tuple(dict.fromkeys(found))

    @cached_property
    def reads(self) -> tuple[Buffer, ...]:
        """The outer buffers read but not written."""
        whole = {buffer: part.whole for buffer, part in self.part_of.items()}
        own = {*self.writes, *(buffer for item in self.body for buffer in item.writes)}
        found = [buffer for item in (*self.first, *self.body) for buffer in item.reads]
        return tuple(dict.fromkeys(whole.get(buffer, buffer) for buffer in found if whole.get(buffer, buffer) not in own))

    @property
    def args(self) -> tuple[Buffer, ...]:
        """What is alive throughout the loop."""
        return self.reads + self.writes

    @cached_property
    def checks(self) -> bool:
        return any(item.checks for item in self.body)


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """What a failed Check tells the user; `{value}` in the message is the offending value."""

    message: str
    loc: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """Where arena buffers lie: byte offsets, the total, and the largest sum of bytes alive at once (both rounded to
    `alignment`)."""

    offsets: Mapping[Buffer, int]
    size: int
    lower_bound: int
    alignment: int = 64


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`inputs`, `states`, `consts` and `outputs` are the external buffers in the order of the graph's; a state that is updated
    is written by exactly one launch, after every other reader. `outputs` may name INPUT, STATE or CONST buffers only by a
    copy."""

    inputs: tuple[Buffer, ...]
    states: tuple[Buffer, ...]
    consts: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: tuple[Launch | Loop, ...]
    checks: tuple[FailedCheck, ...] = ()
    arena: Arena | None = None
    name: str = "main"

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """All buffers: external ones, then the arena's in order of first use. Parts of others are none."""
        from graphc.nesting import buffers

        return buffers(self)

    def __str__(self) -> str:
        from graphc.program_text import print_program

        return print_program(self)
