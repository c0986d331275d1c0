"""How a contraction is cut: register tiles, panels, cache blocks and units, from shape and target only.

    n:  panels of `width` columns, the last of `last_width` (both whole registers); `n_block` panels to a unit
    m:  tiles of `rows` rows, the last of `last_rows`; `m_block` rows to a unit
    k:  parts of `k_part`, summed apart where there are too few rows and columns for all threads; in each, blocks of `k_block` in
    order

Nothing here depends on the number of threads, so neither does any bit of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.codegen.dotkernel import dot_shape
from graphc.codegen.flat import Flat
from graphc.codegen.microkernel import most_rows, row_vectors
from graphc.codegen.registers import lanes_of
from graphc.codegen.target import Target

_UNIT_FLOPS = 1 << 20  # work worth a unit of its own, while there are few units
_MOST_UNITS = 32  # units enough for any machine when there is plenty of work
_GRAIN_FLOPS = 200_000  # work worth handing to another thread
_K_BLOCK_BYTES = 4096  # of one row of the left operand
_SPLIT_BLOCK = 64  # rows or columns that make a unit, before the depth is cut into parts
_LEAST_K_PART = 512
# Most rows, or columns, for which operands contiguous in k are multiplied along k: always, and where it is thought to pay.
_DOT_ROWS = 4
_MOST_DOT_ROWS = 16
# Measured on Zen 5, 8 rows run as fast as 14, and take half as long to compile; most sizes are multiples of 8, so that one tile
# serves a whole module. With one register across, twice the rows keep as many sums under way.
_USUAL_ROWS = {1: 16, 2: 8, 3: 8, 4: 6}
MOST_SHARED = 2  # rows that share a register across, where one is wide enough
_HEIGHT_SLACK = 1.03  # the usual height is taken where it costs no more than this


@dataclass(frozen=True, slots=True)
class Blocking:
    lanes: int
    vectors: int
    last_vectors: int
    last_shared_by: int  # rows that share the last register across the last panel, see `microkernel`
    panels: int
    rows: int
    last_rows: int
    dots: bool  # all panels by dot products along k
    last_dots: bool  # the last panel
    m_block: int
    n_block: int
    k_block: int
    m_blocks: int
    n_blocks: int
    k_blocks: int  # of a part
    k_part: int
    k_parts: int
    units: int  # of a part of a batch element
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

    def last_columns(self, n: int) -> int:
        """Columns that exist in the last panel."""
        return n - (self.panels - 1) * self.width


def block(flat: Flat, target: Target) -> Blocking:
    lanes = lanes_of(target, flat.dtype)
    k = max(flat.k, 1)
    along_k = flat.lhs.contiguous_k and flat.rhs.contiguous_k and k >= lanes
    wanted = max(1, min(_MOST_UNITS, flat.flops // _UNIT_FLOPS))
    dots = along_k and min(flat.m, flat.n) <= _DOT_ROWS
    k_parts = 1 if dots else _k_parts(flat, k, wanted)
    few = along_k and k_parts == 1 and min(flat.m, flat.n) <= _MOST_DOT_ROWS
    dots = dots or (few and _dots_pay(flat.m, flat.n, k, lanes, target))
    k_part = -(-k // (k_parts * lanes)) * lanes if k_parts > 1 else k
    k_parts = -(-k // k_part)
    tail = _dot_tail(flat.n, k, lanes) if along_k and not dots and k_parts == 1 else 0
    vectors, last_vectors, panels = (
        (tail, 1, flat.n // (tail * lanes) + 1) if tail else _panels(flat.m, flat.n, lanes, target, dots)
    )
    tail_columns = flat.n - ((panels - 1) * vectors + last_vectors - 1) * lanes
    shares = target.vector_bytes >= 32 and last_vectors > 1 and not dots and not tail
    last_shared_by = 1 if not shares else max(1, min(MOST_SHARED, lanes // tail_columns // 2 * 2))
    shared_by = last_shared_by if panels == 1 else 1
    rows = min(flat.m, 8) if dots else _rows(flat.m, most_rows(target, max(vectors, last_vectors)), vectors, shared_by)

    k_block = k if dots else _even(k_part, _K_BLOCK_BYTES // flat.dtype.itemsize, lanes)
    # The rows of a block stay in the second-level cache while the panels go by.
    fits = max(rows, target.l2_bytes // 2 // (k_block * flat.dtype.itemsize))
    wanted = max(1, wanted // k_parts)
    least_m_blocks = -(-flat.m // fits)
    n_blocks = min(panels, max(1, -(-wanted // (flat.batch * least_m_blocks))))
    n_block = -(-panels // n_blocks)
    n_blocks = -(-panels // n_block)
    m_blocks = least_m_blocks
    if (
        2 * flat.batch * m_blocks * n_blocks < wanted
    ):  # cutting rows means that several units need a panel, which is then packed apart
        m_blocks = max(m_blocks, min(-(-flat.m // rows), wanted // (flat.batch * n_blocks)))
    m_block = _even(flat.m, -(-flat.m // m_blocks), rows)
    m_blocks = -(-flat.m // m_block)
    units = m_blocks * n_blocks
    grain = max(1, -(-_GRAIN_FLOPS // max(1, 2 * flat.m * flat.n * k_part // units)))
    return Blocking(
        lanes, vectors, last_vectors, last_shared_by, panels, rows, flat.m % rows or rows, dots, dots or tail > 0,
        m_block, n_block, k_block, m_blocks, n_blocks, -(-k_part // k_block), k_part, k_parts, units, grain,
    )  # fmt: skip


def _panels(m: int, n: int, lanes: int, target: Target, dots: bool) -> tuple[int, int, int]:
    """(registers across a panel, across the last panel, panels), such that no register of a panel is empty."""
    across = -(-n // lanes)
    if across <= (4 if dots else 3):
        return across, across, 1
    # Few rows: more columns, so that enough sums are under way; of one row as many as memory likes to be read in a stretch.
    vectors = row_vectors(target) if m == 1 and not dots else 4 if dots or m <= most_rows(target, 4) // 2 else 2
    rest = across % vectors
    return vectors, rest or vectors, -(-across // vectors)


def _k_parts(flat: Flat, k: int, wanted: int) -> int:
    """Parts of the depth, each deep enough to pay for being added up: none where blocks of m and n are enough units."""
    blocks = flat.batch * -(-flat.m // _SPLIT_BLOCK) * -(-flat.n // _SPLIT_BLOCK)
    return max(1, min(wanted // blocks, k // _LEAST_K_PART)) if 2 * blocks <= wanted else 1


def _dots_pay(m: int, n: int, k: int, lanes: int, target: Target) -> bool:
    """Whether dot products, each with a fold at its end, are cheaper than to turn the right operand into panels. Cycles measured
    on Zen 5."""
    height, width = dot_shape(target, lanes, min(m, 8), n)
    dots = -(-m // height) * height * -(-n // width) * width * _dot_cycles(k, lanes)
    tail = n - n // lanes * lanes if _dot_tail(n, k, lanes) else 0
    panels = m * (-(-(n - tail) // lanes) * k * 0.5 + tail * _dot_cycles(k, lanes)) + n * k * 2.4 / lanes
    return dots < panels * 0.95


def _dot_cycles(k: int, lanes: int) -> float:
    """Of one dot product, among others: its multiply-adds and its part of a fold."""
    return -(-k // lanes) * 0.55 + 1.5


def _dot_tail(n: int, k: int, lanes: int) -> int:
    """Registers across a panel after which so few columns are left over that they are cheaper as dot products along k, each with
    a fold at its end, than as one more register of columns; 0 where there is none."""
    for vectors in (2, 3, 1):
        tail = n % (vectors * lanes)
        few = min(_DOT_ROWS, max(2, 32 // lanes))
        if n > vectors * lanes and 0 < tail <= few and (vectors == 2 or n < (vectors + 1) * lanes):
            return vectors if tail * (-(-k // lanes) * 0.6 + 2) < k * 0.5 else 0
    return 0


def _rows(m: int, most: int, vectors: int, shared_by: int) -> int:
    """A tile height for which all tiles together take about the fewest cycles a step of the depth: the usual one, or what is
    least code."""

    def cycles(rows: int) -> float:
        # Two multiply-adds a cycle; one takes about four, so fewer than eight (and some slack) of them wait for one another.
        return max(rows * (vectors - 1) - (-rows // shared_by), 9) / 2 + 0.25

    costs = {h: m // h * cycles(h) + (cycles(m % h) if m % h else 0) for h in range(1, min(m, most) + 1)}
    good = [h for h, cost in costs.items() if cost <= min(costs.values()) * _HEIGHT_SLACK]
    usual = min(_USUAL_ROWS.get(vectors, 1), most)
    return usual if usual in good else min(good, key=lambda h: (h + m % h, -h))


def _even(size: int, most: int, multiple: int) -> int:
    """A block size, a multiple of `multiple` and at most about `most`, that cuts `size` into nearly equal blocks."""
    pieces = max(1, -(-size // max(most, 1)))
    return max(multiple, -(-size // (pieces * multiple)) * multiple)
