"""Kernels: the loops of a program, as structure only.

A kernel names its operands by slot, so equal kernels compare equal, are emitted once, and a launch (`graphc.program`) binds
buffers to slots. Three forms:

* `Sweep`: loop nests over `outer` x `inner`; stages alternate between per-element and per-row work, so one Sweep is a whole
  softmax row, an elementwise chain, a reduction along rows or columns, or Adam's update of all its state.
* `Contraction`: batched C[b,m,n] = sum_k A[b,m,k] B[b,n,k] through index maps, and an epilogue over each finished element.
* `Scatter`: D[o,index[j],i] += U[o,j,i], in ascending j.

Values inside a kernel are scalars in SSA form, numbered by the position of their instruction over all stages. Offsets are
in elements of the slot's buffer. Integer arithmetic wraps; `bool` is stored as one byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc.index import Index, Range, Where
from graphc.op import Op


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
    """Axes are numbered batch, m, n, k in turn; each group is a tuple of extents. `lhs` varies over batch, m, k and `rhs` over
    batch, n, k. In the epilogue value 0 is the finished sum, of type `dtype`; axes are batch, m, n. The sum runs over ascending
    k."""

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


def operands(instr: Instr) -> tuple[int, ...]:
    """The values that an instruction reads, by number."""
    if isinstance(instr, Apply):
        return instr.args
    if isinstance(instr, Load):
        return tuple(value for value, _ in instr.gather)
    if isinstance(instr, (Store, Check)):
        return (instr.value,)
    return (instr.arg,) if isinstance(instr, Reduce) else ()


def indices(instr: Instr) -> tuple[Index, ...]:
    """The index expressions of an instruction: where it loads or stores, and under which conditions."""
    if isinstance(instr, Load):
        return (instr.offset, *(one.index for one in instr.where))
    if isinstance(instr, Store):
        return (instr.offset,)
    return (instr.index,) if isinstance(instr, Coordinate) else ()


def with_indices(instr: Instr, change: Callable[[Index], Index]) -> Instr:
    """The instruction with each of its index expressions changed."""
    if isinstance(instr, Load):
        where = tuple(Range(change(one.index), one.low, one.high) for one in instr.where)
        return replace(instr, offset=change(instr.offset), where=where)
    if isinstance(instr, Store):
        return replace(instr, offset=change(instr.offset))
    return replace(instr, index=change(instr.index)) if isinstance(instr, Coordinate) else instr


def written_slots(kernel: Kernel) -> frozenset[int]:
    if isinstance(kernel, Scatter):
        return frozenset({2})
    return frozenset(instr.slot for instr in instructions(kernel) if isinstance(instr, Store))


def read_slots(kernel: Kernel) -> frozenset[int]:
    if isinstance(kernel, Scatter):
        return frozenset({0, 1})
    return frozenset(instr.slot for instr in instructions(kernel) if isinstance(instr, Load))
