"""The kernel IR: what runs, in order, over which memory.

A `Program` is a list of launches of kernels over buffers. A kernel is structure only: it names its operands by slot, so equal
kernels compare equal, are emitted once, and a launch binds buffers to slots. Three forms:

* `Sweep`: loop nests over `outer` x `inner`; stages alternate between per-element and per-row work, so one Sweep is a whole
  softmax row, an elementwise chain, a reduction along rows or columns, or Adam's update of all its state.
* `Contraction`: batched C[b,m,n] = sum_k A[b,m,k] B[b,n,k] through index maps, and an epilogue over each finished element.
* `Scatter`: D[o,index[j],i] += U[o,j,i], in ascending j.

A `Loop` stands where a launch does and repeats launches; a `Part` says which memory a buffer of one trip is.

Values inside a kernel are scalars in SSA form, numbered by the position of their instruction over all stages. Offsets are
in elements of the slot's buffer. Integer arithmetic wraps; `bool` is stored as one byte.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from graphc.index import Index, Where
from graphc.op import Op
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


# --- scalar instructions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """slot[offset + sum of stride * value over `gather`], or `fill` where `where` fails (memory is then not touched)."""

    slot: int
    offset: Index
    dtype: np.dtype
    where: Where = ()
    fill: float | int | bool = 0
    gather: tuple[tuple[int, int], ...] = ()  # (value number, stride)


@dataclass(frozen=True, slots=True)
class Const:
    value: float | int | bool
    dtype: np.dtype

    # 0.0 == -0.0 and NaN != NaN in Python; a kernel's identity needs the bits.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self.bits == other.bits and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((self.bits, self.dtype.name))

    @property
    def bits(self) -> bytes:
        return np.asarray(self.value, self.dtype).tobytes()


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The value of an index expression, as i64."""

    index: Index
    dtype: np.dtype = field(default=np.dtype(np.int64))


@dataclass(frozen=True, slots=True)
class Apply:
    """An ELEMENTWISE op on earlier values."""

    op: Op
    args: tuple[int, ...]
    dtype: np.dtype
    attrs: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Reduce:
    """In an inner stage: `arg` reduced over the inner axes; a row value, readable by later stages only. For argmax and argmin the
    result is the flat inner position (i64) of the first extremum, or of the first NaN."""

    reducer: str
    arg: int
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Store:
    slot: int
    offset: Index
    value: int
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Check:
    """Fails the call with `code` unless low <= value < high or value == ignore. Its value is `value`."""

    value: int
    low: int
    high: int
    ignore: int | None
    code: int  # position in Program.checks, plus one
    dtype: np.dtype


Instr = Load | Const | Coordinate | Apply | Reduce | Store | Check


# --- kernels -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    dtype: np.dtype
    size: int  # elements, for the verifier


@dataclass(frozen=True, slots=True)
class Stage:
    """Instructions run once per row (`inner` False) or once per element of the row (`inner` True). May read row values of earlier
    stages. Per-element values do not outlive their stage, but for sweeps with lanes along the row: later element stages may read
    them, from a row of the worker's scratch."""

    inner: bool
    body: tuple[Instr, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Axes are numbered outer first, then inner. Rows (points of `outer`) are independent. `vector` names the axis that lanes run
    along: the last outer axis ("outer": columns, elementwise) or the last inner axis ("inner": rows reduced horizontally)."""

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    stages: tuple[Stage, ...]
    slots: tuple[Slot, ...]
    vector: str = "outer"


@dataclass(frozen=True, slots=True)
class Contraction:
    """Axes are numbered batch, m, n, k in turn; each group is a tuple of extents. `lhs` varies over batch, m, k and `rhs`
    over batch,
    n, k. In the epilogue value 0 is the finished sum, of type `dtype`; axes are batch, m, n. The sum runs over ascending k."""

    batch: tuple[int, ...]
    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]
    lhs: Load
    rhs: Load
    epilogue: tuple[Instr, ...]
    slots: tuple[Slot, ...]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Scatter:
    """slots: 0 index[count], 1 update[outer, count, inner], 2 result[outer, size, inner], all contiguous; the result is
    zeroed first."""

    outer: int
    count: int
    inner: int
    size: int
    slots: tuple[Slot, ...]


Kernel = Sweep | Contraction | Scatter


def instructions(kernel: Kernel) -> Iterator[Instr]:
    """Every instruction of a kernel in order; a contraction's operands come first."""
    if isinstance(kernel, Sweep):
        for stage in kernel.stages:
            yield from stage.body
    elif isinstance(kernel, Contraction):
        yield kernel.lhs
        yield kernel.rhs
        yield from kernel.epilogue


def written_slots(kernel: Kernel) -> frozenset[int]:
    if isinstance(kernel, Scatter):
        return frozenset({2})
    return frozenset(instr.slot for instr in instructions(kernel) if isinstance(instr, Store))


def read_slots(kernel: Kernel) -> frozenset[int]:
    if isinstance(kernel, Scatter):
        return frozenset({0, 1})
    return frozenset(instr.slot for instr in instructions(kernel) if isinstance(instr, Load))


# --- programs ------------------------------------------------------------------------------------------------------------------


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
