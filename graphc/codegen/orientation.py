"""Which axes of a contraction registers run along: the columns, n or m, and what is left out of them.

    images (image, y, x) with weights (o,), stored as [image, o, y, x]:   batch image, m (o,), n (y, x): contiguous stores

Columns want to be contiguous where results are stored, then where their operand is read. A leading axis that breaks the run joins
the batch, if enough columns remain.
"""

from __future__ import annotations

from graphc.codegen.evaluate import contiguity
from graphc.codegen.flat import Flat, K, N, flatten
from graphc.codegen.registers import lanes_of
from graphc.codegen.target import Target
from graphc.kernel import Contraction, Store

_LEAST_COLUMNS = 4  # registers of columns that must remain when leading axes join the batch


def oriented(kernel: Contraction, target: Target) -> Flat:
    """The contraction over flat axes, registers along N."""
    best = flatten(kernel)
    lanes = lanes_of(target, kernel.dtype)
    merit = _merit(best, lanes)
    for columns, moved in [("m", 0), *(("n", i) for i in range(1, len(kernel.n))), *(("m", i) for i in range(1, len(kernel.m)))]:
        if merit[0] == 2 and merit[1] > 0:
            break
        other = flatten(kernel, columns, moved)
        if moved and other.n < _LEAST_COLUMNS * lanes:
            continue
        if (its := _merit(other, lanes)) > merit:
            best, merit = other, its
    return best


def _merit(flat: Flat, lanes: int) -> tuple[int, int]:
    """(how contiguous results are along n, how easily B is read): 0 to 2 each."""
    if flat.n == 1:
        return 0, 0
    stores = min((contiguity(instr, N, flat.n, lanes) for instr in flat.epilogue if isinstance(instr, Store)), default=2)
    if flat.rhs.strided:
        return max(stores, 1), 2
    reads = max(contiguity(flat.rhs.load, axis, flat.extents[axis], lanes) for axis in (N, K))
    return max(stores, 1), int(reads == 2)
