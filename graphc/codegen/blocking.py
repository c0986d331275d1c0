"""How a contraction is cut: register tiles, panels, cache blocks and units, from shape and target only.

    n:  panels of `width` columns, the last of `last_width` (both whole registers); `n_block` panels to a unit
    m:  tiles of `rows` rows, the last of `last_rows`; `m_block` rows to a unit
    k:  blocks of `k_block`, in order, through the unit's accumulators when there are several

Nothing here depends on the number of threads, so neither does any bit of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.codegen.flat import Flat
from graphc.codegen.microkernel import lanes_of, most_rows
from graphc.codegen.target import Target

_UNIT_FLOPS = 1 << 20  # work worth a unit of its own, while there are few units
_MOST_UNITS = 64  # as many units as are wanted when there is plenty of work
_GRAIN_FLOPS = 200_000  # work worth handing to another thread
_K_BLOCK_BYTES = 4096  # of one row of the left operand


@dataclass(frozen=True, slots=True)
class Blocking:
    lanes: int
    vectors: int
    last_vectors: int
    panels: int
    rows: int
    last_rows: int
    m_block: int
    n_block: int
    k_block: int
    m_blocks: int
    n_blocks: int
    k_blocks: int
    units: int
    grain: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def last_width(self) -> int:
        return self.last_vectors * self.lanes

    @property
    def tiles(self) -> int:
        """Tiles in an m block."""
        return -(-self.m_block // self.rows)


def block(flat: Flat, target: Target) -> Blocking:
    lanes = lanes_of(target, flat.dtype)
    vectors, last_vectors, panels = _panels(flat, target, lanes)
    rows = _rows(flat.m, most_rows(target, max(vectors, last_vectors)), vectors)
    last_rows = flat.m % rows or rows

    k_block = _even(max(flat.k, 1), _K_BLOCK_BYTES // flat.dtype.itemsize, lanes)
    wanted = max(1, min(_MOST_UNITS, flat.flops // _UNIT_FLOPS))
    across = flat.batch * panels
    n_block = max(1, min(panels, across // wanted))
    m_block = _even(flat.m, max(rows, flat.m * across // wanted), rows)
    # The rows of a block stay in the second-level cache while the panels go by.
    fits = max(rows, target.l2_bytes // 2 // (k_block * flat.dtype.itemsize))
    if m_block > fits:
        m_block = _even(flat.m, fits, rows)
    m_blocks, n_blocks, k_blocks = (-(-size // part) for size, part in ((flat.m, m_block), (panels, n_block), (max(flat.k, 1), k_block)))
    units = flat.batch * m_blocks * n_blocks
    unit_flops = max(1, flat.flops // max(units, 1))
    return Blocking(
        lanes, vectors, last_vectors, panels, rows, last_rows, m_block, n_block, k_block, m_blocks, n_blocks, k_blocks,
        units, max(1, -(-_GRAIN_FLOPS // unit_flops)),
    )  # fmt: skip


def _panels(flat: Flat, target: Target, lanes: int) -> tuple[int, int, int]:
    """(registers across a panel, across the last panel, panels), such that no register of a panel is empty."""
    across = max(1, -(-flat.n // lanes))
    vectors = 2 if target.vector_registers >= 16 else 1
    if across <= 3:
        return across, across, 1
    if flat.m <= most_rows(target, 4) // 2:
        vectors = 4  # few rows: more columns, so that enough sums are under way
    panels = across // vectors
    rest = across % vectors
    if rest == 0:
        return vectors, vectors, panels
    return vectors, rest, panels + 1


def _rows(m: int, most: int, vectors: int) -> int:
    """The tile height for which all tiles together take the fewest cycles a step of the depth; the tallest of equals."""

    def cycles(rows: int) -> float:
        # Two multiply-adds a cycle; one takes about four, so fewer than eight (and some slack) of them wait for one another.
        return max(rows * vectors, 9) / 2 + 0.25

    best = min(range(1, min(m, most) + 1), key=lambda h: (m // h * cycles(h) + (cycles(m % h) if m % h else 0), -h), default=1)
    return best


def _even(size: int, most: int, multiple: int) -> int:
    """A block size, a multiple of `multiple` and at most about `most`, that cuts `size` into nearly equal blocks."""
    pieces = max(1, -(-size // max(most, 1)))
    return max(multiple, -(-size // (pieces * multiple)) * multiple)
