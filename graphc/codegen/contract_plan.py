"""What the emission of one contraction knows: its blocks, where each operand is read from, and what lies where in scratch.

A  "lies"        read in place, at its own strides
   "packed"      tiles of `rows` x depth, in shared scratch, by the pack phase
   "evaluated"   rows whose map is evaluated into worker scratch, unit by unit
B  "lies"        read in place: contiguous along n, or along k for dot products
   "packed"      panels copied or turned from a strided operand
   "rows"        panels by evaluating its map along n
   "turned"      panels by evaluating its map along k, and turning that
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from graphc.codegen.blocking import Blocking
from graphc.codegen.evaluate import better_along_k
from graphc.codegen.flat import BATCH, Flat, Operand
from graphc.codegen.packing import PACK_STEPS, panel_bytes
from graphc.codegen.target import Target

LINE = 64
_WAYS = 16  # of a second-level cache
_PAGES = 64  # of a first-level TLB
_PAGE = 4096
_PACK_TOGETHER = 2048  # bytes of a step that are packed one after the other
_REUSES_TO_PACK = 8  # tiles that must use what is packed only because it lies badly


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a worker's scratch, in bytes."""

    tile: int = 0  # size of one tile; tiles come first
    panel: int = 0  # one packed panel of B
    rows: int = 0  # rows of B before they are turned into a panel
    a: int = 0  # evaluated rows of A
    total: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    target: Target
    flat: Flat
    blocks: Blocking
    a_source: str
    b_source: str
    b_shared: bool  # packed by the pack phase, not by each unit
    layout: Layout = Layout()

    @property
    def size(self) -> int:
        return self.flat.dtype.itemsize

    @property
    def partial(self) -> bool:
        """Whether the last panel has columns that do not exist."""
        return self.blocks.last_columns(self.flat.n) != self.blocks.last_width

    @property
    def packs_last(self) -> bool:
        """Whether the last panel is packed only because whole registers would reach past its end."""
        return self.b_source == "lies" and self.partial and not self.blocks.last_dots and not self.target.masked_loads

    @property
    def direct(self) -> bool:
        """Whether register tiles store sums where they belong; else, and from dot products, they go through scratch and the
        epilogue."""
        return self.flat.plain_store is not None and self.flat.k > 0 and self.blocks.k_parts == 1

    @property
    def has_epilogue(self) -> bool:
        return not self.direct or self.blocks.last_dots

    @property
    def part_row(self) -> int:
        """Bytes of a row of one part of the depth, see `splitk`: all panels, whole."""
        return ((self.blocks.panels - 1) * self.blocks.width + self.blocks.last_width) * self.size

    @property
    def part_bytes(self) -> int:
        return -(-self.flat.m * self.part_row // LINE) * LINE

    @property
    def cheap_masks(self) -> bool:
        """Whether a masked store costs about what a plain one does, so that one tile serves full and partial panels."""
        return self.target.vector_bytes >= 32

    @property
    def shared_panel(self) -> int:
        return panel_bytes(self.target, self.flat.dtype, self.blocks.width, self.flat.k)

    @property
    def tile_width(self) -> int:
        """Rows in a step of a packed tile of A; whole registers where they are more than one, see `packing`."""
        rows, lanes = self.blocks.rows, self.blocks.lanes
        return rows if rows <= lanes else -(-rows // lanes) * lanes

    @property
    def shared_tile(self) -> int:
        return panel_bytes(self.target, self.flat.dtype, self.tile_width, self.flat.k)

    @property
    def packed_b(self) -> int:
        """Bytes of B, for each batch element, that the pack phase makes."""
        return (self.blocks.panels - self.blocks.last_dots) * self.shared_panel if self.b_shared else 0

    @property
    def packed_a(self) -> int:
        return -(-self.flat.m // self.blocks.rows) * self.shared_tile if self.a_source == "packed" else 0

    @property
    def row_pitch(self) -> int:
        """Bytes from one evaluated row to the next: an odd number of cache lines, so that rows do not fall on one another."""
        lines = -(-self.blocks.k_block * self.size // LINE) + 1
        return (lines | 1) * LINE

    def pack_groups(self, operand: Operand, panels: int, width: int) -> tuple[int, int]:
        """(panels packed together, the steps of k done of each at a turn). Where memory runs along the rows, a stretch of many
        panels for a few steps."""
        if not operand.contiguous_rows or operand.contiguous_k:
            return 1, self.blocks.k_block
        return min(panels, max(1, _PACK_TOGETHER // width)), min(self.blocks.k_block, PACK_STEPS)


def plan_job(target: Target, flat: Flat, blocks: Blocking) -> Job:
    a_source = "evaluated"
    if flat.lhs.strided:
        a_source = "packed" if _a_lies_badly(flat, blocks, target) else "lies"
    b_source = "turned" if better_along_k(target, flat, flat.rhs) else "rows"
    if blocks.dots or (flat.rhs.contiguous_rows and not _b_lies_badly(flat, blocks, target)):
        b_source = "lies"
    elif flat.rhs.contiguous_rows or flat.rhs.contiguous_k:
        b_source = "packed"
    shared = b_source != "lies" and blocks.m_blocks > 1
    job = Job(target, flat, blocks, a_source, b_source, shared and flat.k > 0)
    return dataclasses.replace(job, layout=_layout(job))


def _layout(job: Job) -> Layout:
    blocks, flat = job.blocks, job.flat
    width = max(blocks.width, blocks.last_width)
    # Dot products write whole blocks of up to eight rows.
    height = -(-blocks.rows // 8) * 8 if blocks.last_dots else blocks.rows
    tile = -(-(height * width + blocks.lanes) * job.size // LINE) * LINE
    tiles = tile * (blocks.tiles * blocks.n_block if blocks.k_blocks > 1 else 1)
    if blocks.k_parts > 1:
        tiles = max(tiles, blocks.rows * job.part_row)
    packs = not job.b_shared and (job.b_source != "lies" or job.packs_last)
    rows = tiles + (panel_bytes(job.target, flat.dtype, width, blocks.k_block) if packs else 0)
    a = rows + (width * job.row_pitch if job.b_source == "turned" else 0)
    total = a + (blocks.m_block * job.row_pitch if job.a_source == "evaluated" else 0)
    return Layout(tile, tiles, rows, a, total)


def _a_lies_badly(flat: Flat, blocks: Blocking, target: Target) -> bool:
    """Whether the tiles of A, read again for every panel, are worth packing although they could be read in place."""
    a = flat.lhs
    if blocks.panels < _REUSES_TO_PACK or blocks.dots or not (a.contiguous_rows or a.contiguous_k):
        return False
    if flat.batch > 1 and BATCH not in a.load.offset.axes():  # it would be packed again for every batch element
        return False
    if a.contiguous_k:
        return False
    assert a.k_stride is not None
    # Every step of a tile is in a cache line of its own, which had better still be there for the neighbouring tile.
    size = flat.dtype.itemsize
    lines = blocks.k_block * (LINE + blocks.width * size)
    return lines > target.l1_bytes or _spread_thin(abs(a.k_stride) * size, blocks.k_block, target)


def _b_lies_badly(flat: Flat, blocks: Blocking, target: Target) -> bool:
    b = flat.rhs
    assert b.k_stride is not None
    if -(-flat.m // blocks.rows) < _REUSES_TO_PACK:
        return False
    return _spread_thin(abs(b.k_stride) * flat.dtype.itemsize, blocks.k_block, target)


def _spread_thin(stride: int, count: int, target: Target) -> bool:
    """Whether `count` pieces `stride` bytes apart fall on too few sets of the second-level cache, or on too many pages."""
    way = target.l2_bytes // _WAYS
    sets = way // max(LINE, _common_power(stride, way))
    return count > sets * _WAYS // 2 or count * stride > 2 * _PAGES * _PAGE


def _common_power(x: int, limit: int) -> int:
    """The largest power of two that divides x, up to `limit`."""
    return min(x & -x, limit) if x else limit
