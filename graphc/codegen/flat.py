"""A contraction over four flat axes, and which of its operands the fast paths can read as they lie.

    batch (B0, B1), m (M0, M1), n (N,), k (K,)   ->   axes 0: B0*B1, 1: M0*M1, 2: N, 3: K

Flattening rewrites a0 as a // M1 and a1 as a % M1; Index arithmetic folds these back wherever the strides agree, which is almost
always. An operand is *strided* when a step along its row axis and along k each move it by one constant and nothing is masked. What
stays irregular is packed by evaluating the map.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.index import Index, Range, Where, unflatten
from graphc.program import Contraction, Coordinate, Instr, Load, Slot, Store

BATCH, M, N, K = range(4)


@dataclass(frozen=True, slots=True)
class Operand:
    """`load` along its row axis (M or N) and K; strides in elements, None where irregular."""

    load: Load
    row_axis: int
    rows: int
    depth: int
    row_stride: int | None
    k_stride: int | None

    @property
    def strided(self) -> bool:
        return self.row_stride is not None and self.k_stride is not None and not self.load.where

    @property
    def contiguous_rows(self) -> bool:
        """Whether neighbouring rows are neighbours in memory."""
        return self.strided and (self.row_stride == 1 or self.rows == 1)

    @property
    def contiguous_k(self) -> bool:
        return self.strided and (self.k_stride == 1 or self.depth == 1)

    @property
    def base(self) -> Index:
        """The offset of row 0, k 0: over BATCH only, where the operand is strided."""
        return self.load.offset.substitute({self.row_axis: Index(), K: Index()})


@dataclass(frozen=True, slots=True)
class Flat:
    batch: int
    m: int
    n: int
    k: int
    lhs: Operand
    rhs: Operand
    epilogue: tuple[Instr, ...]
    slots: tuple[Slot, ...]
    dtype: np.dtype

    @property
    def extents(self) -> tuple[int, int, int, int]:
        return self.batch, self.m, self.n, self.k

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def plain_store(self) -> Store | None:
        """The epilogue, where it only stores the sum with rows contiguous along n."""
        if len(self.epilogue) == 1 and isinstance(store := self.epilogue[0], Store) and store.value == 0 and store.dtype == self.dtype:
            if (store.offset.stride(N) == 1 or self.n == 1) and store.offset.stride(M) is not None:
                return store
        return None


def flatten(kernel: Contraction) -> Flat:
    groups = (kernel.batch, kernel.m, kernel.n, kernel.k)
    values: dict[int, Index] = {}
    number = 0
    for axis, group in enumerate(groups):
        for one in unflatten(Index.axis(axis, math.prod(group)), group):
            values[number] = one
            number += 1
    batch, m, n, k = (math.prod(group) for group in groups)
    lhs, rhs = _operand(kernel.lhs, values, M, m, k), _operand(kernel.rhs, values, N, n, k)
    epilogue = tuple(substituted(instr, values) for instr in kernel.epilogue)
    return _oriented(Flat(batch, m, n, k, lhs, rhs, epilogue, kernel.slots, kernel.dtype))


def _operand(load: Load, values: Mapping[int, Index], axis: int, rows: int, depth: int) -> Operand:
    flat = substituted(load, values)
    assert isinstance(flat, Load)
    return Operand(flat, axis, rows, depth, flat.offset.stride(axis), flat.offset.stride(K))


def _oriented(flat: Flat) -> Flat:
    """Lanes run along n: m and n are exchanged where results are contiguous along m only, or n is a single column."""
    if _lane_merit(flat, M) <= _lane_merit(flat, N):
        return flat
    exchange = {M: Index.axis(N, flat.m), N: Index.axis(M, flat.n)}
    lhs, rhs = (_operand(one.load, exchange, axis, one.rows, one.depth) for one, axis in ((flat.rhs, M), (flat.lhs, N)))
    epilogue = tuple(substituted(instr, exchange) for instr in flat.epilogue)
    return Flat(flat.batch, flat.n, flat.m, flat.k, lhs, rhs, epilogue, flat.slots, flat.dtype)


def _lane_merit(flat: Flat, axis: int) -> int:
    """How well lanes along an axis serve: nothing to run along, stores scattered, or stores contiguous."""
    if flat.extents[axis] == 1:
        return 0
    return 2 if all(i.offset.stride(axis) == 1 for i in flat.epilogue if isinstance(i, Store)) else 1


def substituted(instr: Instr, values: Mapping[int, Index]) -> Instr:
    """An instruction with its axes replaced."""
    if isinstance(instr, Load):
        return dataclasses.replace(instr, offset=instr.offset.substitute(values), where=_where(instr.where, values))
    if isinstance(instr, Store):
        return dataclasses.replace(instr, offset=instr.offset.substitute(values))
    if isinstance(instr, Coordinate):
        return dataclasses.replace(instr, index=instr.index.substitute(values))
    return instr


def _where(where: Where, values: Mapping[int, Index]) -> Where:
    ranges = (Range(one.index.substitute(values), one.low, one.high) for one in where)
    return tuple(one for one in ranges if one.known() is not True)
