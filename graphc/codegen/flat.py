"""A contraction over four flat axes, and which of its operands the fast paths can read as they lie.

    batch (B0, B1), m (M0, M1), n (N,), k (K,)   ->   axes 0: B0*B1, 1: M0*M1, 2: N, 3: K

Flattening rewrites a0 as a // M1 and a1 as a % M1; Index arithmetic folds these back wherever the strides agree, which is almost
always. An operand is *strided* when a step along its row axis and along k each move it by one constant and nothing is masked.
What stays irregular is packed by evaluating the map.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.index import Index, unflatten
from graphc.kernel import Contraction, Instr, Load, Slot, Store, with_indices

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
        if (
            len(self.epilogue) == 1
            and isinstance(store := self.epilogue[0], Store)
            and store.value == 0
            and store.dtype == self.dtype
        ):
            if (store.offset.stride(N) == 1 or self.n == 1) and store.offset.stride(M) is not None:
                return store
        return None


def flatten(kernel: Contraction, columns: str = "n", moved: int = 0) -> Flat:
    """`columns` is the group, m or n, that becomes axis N, and with it its operand `rhs`; its first `moved` axes join the
    batch."""
    extents = kernel.batch + kernel.m + kernel.n + kernel.k
    ends = list(itertools.accumulate(map(len, (kernel.batch, kernel.m, kernel.n, kernel.k)), initial=0))
    batch, m, n, k = (range(*span) for span in itertools.pairwise(ends))
    rows, across = (m, n) if columns == "n" else (n, m)
    left, right = (kernel.lhs, kernel.rhs) if columns == "n" else (kernel.rhs, kernel.lhs)
    groups = ([*batch, *across[:moved]], [*rows], [*across[moved:]], [*k])
    sizes = [math.prod(extents[number] for number in group) for group in groups]
    values: dict[int, Index] = {}
    for axis, (group, size) in enumerate(zip(groups, sizes, strict=True)):
        values.update(zip(group, unflatten(Index.axis(axis, size), [extents[number] for number in group]), strict=True))
    lhs, rhs = _operand(left, values, M, sizes[M], sizes[K]), _operand(right, values, N, sizes[N], sizes[K])
    epilogue = tuple(substituted(instr, values) for instr in kernel.epilogue)
    return Flat(sizes[0], sizes[1], sizes[2], sizes[3], lhs, rhs, epilogue, kernel.slots, kernel.dtype)


def _operand(load: Load, values: Mapping[int, Index], axis: int, rows: int, depth: int) -> Operand:
    flat = substituted(load, values)
    assert isinstance(flat, Load)
    return Operand(flat, axis, rows, depth, flat.offset.stride(axis), flat.offset.stride(K))


def substituted(instr: Instr, values: Mapping[int, Index]) -> Instr:
    """An instruction with its axes replaced, without the conditions that then always hold."""
    changed = with_indices(instr, lambda index: index.substitute(values))
    if isinstance(changed, Load) and changed.where:
        return dataclasses.replace(changed, where=tuple(one for one in changed.where if one.known() is not True))
    return changed
