"""The tables that drive a contraction, and the functions that they name, emitted as they are named."""

from __future__ import annotations

import enum

from graphc.codegen.builder import Module
from graphc.codegen.contract_plan import LINE, Job
from graphc.codegen.dotkernel import dot_function, dot_shape
from graphc.codegen.driver import Kind, Pack, Run, add_table
from graphc.codegen.evaluate import evaluation, turned_evaluation
from graphc.codegen.flat import M, Operand
from graphc.codegen.microkernel import tile_function, zero_tile_function
from graphc.codegen.packing import copy_function, turn_function
from graphc.codegen.prefetch import prefetch_function

Fields = dict[enum.IntEnum, int | str]


def pack_functions(module: Module, job: Job, name: str) -> tuple[str, str]:
    """The functions that pack or evaluate A and B, or null."""
    target, flat = job.target, job.flat
    a = b = "null"
    if job.a_source == "evaluated":
        a = "@" + evaluation(module, target, flat, flat.lhs, True, f"{name}_lhs")
    elif job.a_source == "packed":
        a = "@" + (copy_function if flat.lhs.contiguous_rows else turn_function)(module, target, flat.dtype)
    if job.b_source == "rows":
        b = "@" + evaluation(module, target, flat, flat.rhs, False, f"{name}_rhs")
    elif job.b_source == "turned":
        b = "@" + turned_evaluation(module, target, flat, job.layout.rows, job.row_pitch, f"{name}_rhs")
    elif job.b_source == "packed" or job.packs_last:
        b = "@" + (copy_function if flat.rhs.contiguous_rows else turn_function)(module, target, flat.dtype)
    return a, b


def add_pack_table(
    module: Module,
    job: Job,
    operand: Operand,
    function: str,
    panels: int,
    columns: tuple[int, int],
    widths: tuple[int, int],
    into: int,
    name: str,
) -> int:
    """Adds the table of one operand's packing; returns how many groups of panels there are."""
    row, step = _strides(job, operand)
    group, chunk = job.pack_groups(operand, panels, widths[0])
    fields: Fields = {
        Pack.PANELS: panels, Pack.GROUP: group, Pack.CHUNK: chunk, Pack.K: job.flat.k,
        Pack.PANEL_COLUMNS: columns[0], Pack.COLUMNS: columns[1], Pack.WIDTH: widths[0], Pack.LAST_WIDTH: widths[1],
        Pack.PANEL: columns[0] * row, Pack.STEP: step, Pack.STRIDE: step if operand.contiguous_rows else row,
        Pack.INTO: into, Pack.FUNCTION: function,
    }  # fmt: skip
    add_table(module, name, fields)
    return -(-panels // group)


def add_run_table(module: Module, job: Job, packs: tuple[str, str], name: str) -> str:
    """Adds the table of the run phase; returns its name."""
    plan = f"{name}_plan"
    add_table(module, plan, _run_fields(module, job, packs[0], name), *_kind_fields(module, job, packs[1]))
    return plan


def _run_fields(module: Module, job: Job, evaluate: str, name: str) -> Fields:
    flat, blocks, layout = job.flat, job.blocks, job.layout
    tile, row, step = job.size * blocks.rows, 0, 0
    if job.a_source == "packed":
        tile, row, step = job.shared_tile, job.size, job.tile_width * job.size
    elif job.a_source == "evaluated":
        tile, row, step = blocks.rows * job.row_pitch, job.row_pitch, job.size
    else:
        row, step = _strides(job, flat.lhs)
        tile = blocks.rows * row
    c_row = 0
    if blocks.k_parts > 1:
        c_row = job.part_row
    elif job.direct and flat.plain_store:
        c_row = (flat.plain_store.offset.stride(M) or 0) * job.size
    waits = blocks.k_blocks > 1
    finishes = job.has_epilogue and blocks.k_parts == 1
    return {
        Run.M: flat.m, Run.N_BLOCKS: blocks.n_blocks, Run.M_BLOCK: blocks.m_block, Run.N_BLOCK: blocks.n_block,
        Run.K_BLOCK: blocks.k_block, Run.PANELS: blocks.panels, Run.ROWS: blocks.rows,
        Run.A_TILE: tile, Run.A_ROW: row, Run.A_STEP: step,
        Run.EVALUATE_A: evaluate if job.a_source == "evaluated" and flat.k else "null", Run.A_SCRATCH: layout.a,
        Run.C_TILE: blocks.rows * c_row, Run.C_ROW: c_row, Run.C_PANEL: blocks.width * job.size,
        Run.TILE: layout.tile if waits else 0, Run.PANEL_TILES: layout.tile * blocks.tiles if waits else 0,
        Run.PANEL_SCRATCH: layout.panel, Run.PANEL_COLUMNS: blocks.width, Run.PANEL_STRIPS: blocks.vectors,
        Run.STRIP: blocks.lanes * job.size,
        Run.EPILOGUE: f"@{name}_store" if finishes else "null",
        Run.PREFETCH: prefetch_function(module, job.target, flat, f"{name}_prefetch") if finishes else "null",
    }  # fmt: skip


def _kind_fields(module: Module, job: Job, pack: str) -> tuple[Fields, Fields]:
    """The panels but the last, and the last."""
    flat, blocks, size = job.flat, job.blocks, job.size
    row, step = _strides(job, flat.rhs)

    def kind(last: bool) -> Fields:
        vectors = blocks.last_vectors if last else blocks.vectors
        width, columns = vectors * blocks.lanes * size, blocks.last_columns(flat.n) if last else blocks.width
        dots = blocks.last_dots if last else blocks.dots
        packs = flat.k > 0 and not dots and (job.b_source != "lies" or (last and job.packs_last))
        packed = packs and job.b_shared
        return {
            Kind.COLUMNS: columns, Kind.STRIPS: vectors, Kind.WIDTH: width, Kind.PACKED: int(packed),
            Kind.B_PANEL: job.shared_panel if packed else blocks.width * row, Kind.B_STEP: width if packed else step,
            Kind.PITCH: width if packs else row if dots else step,
            Kind.PACK: pack if packs and not packed else "null",
            Kind.PACK_STRIDE: step if flat.rhs.contiguous_rows else row,
            **_ahead(job, width, packs, packed),
            Kind.DIRECT: int((job.direct and not dots) or blocks.k_parts > 1),
            **_tiles(module, job, last, dots, vectors, columns),
        }  # fmt: skip

    return kind(False), kind(True)


def _ahead(job: Job, width: int, packs: bool, packed: bool) -> Fields:
    """Which lines of the next panel, of `width` bytes a step, each step of a tile asks for."""
    flat, blocks = job.flat, job.blocks
    row, step = _strides(job, flat.rhs)
    if blocks.tiles < 2 or not (packed or (packs and flat.rhs.strided)):
        return {Kind.AHEAD_STEP: 0, Kind.AHEAD_TILE: 0, Kind.AHEAD_MASK: 0}
    if not packed and flat.rhs.contiguous_rows:  # a line or two of each row of memory, which is a step
        return {Kind.AHEAD_STEP: step, Kind.AHEAD_TILE: LINE, Kind.AHEAD_MASK: _power_above(-(-width // LINE)) - 1}
    if not packed and row != flat.k * job.size:
        return {Kind.AHEAD_STEP: 0, Kind.AHEAD_TILE: 0, Kind.AHEAD_MASK: 0}
    share = -(-width // blocks.tiles)  # the panel is one piece of memory, and each tile has its share
    return {Kind.AHEAD_STEP: share, Kind.AHEAD_TILE: share * blocks.k_block, Kind.AHEAD_MASK: -1}


def _power_above(x: int) -> int:
    """The least power of two that is no less than x."""
    return 1 << (x - 1).bit_length()


def _tiles(module: Module, job: Job, last: bool, dots: bool, vectors: int, columns: int) -> Fields:
    """The functions for tiles of full height, and for the last rows."""
    flat, blocks, target = job.flat, job.blocks, job.target
    if not last and blocks.panels == 1:  # there is no such panel
        return {Kind.TALL: "null", Kind.SHORT: "null"}
    if not flat.k:
        function = zero_tile_function(module)
        return {Kind.TALL: f"@{function}", Kind.SHORT: f"@{function}"}
    if dots:
        function = dot_function(module, target, flat.dtype, *dot_shape(target, blocks.lanes, blocks.rows, columns))
        return {Kind.TALL: f"@{function}", Kind.SHORT: f"@{function}"}
    # Where masks cost nothing, full panels use the tile that the partial one needs.
    needed = job.partial and not blocks.last_dots and (job.direct or (target.masked_loads and job.b_source == "lies"))
    shared_by = blocks.last_shared_by if last else 1
    masked = needed and (last or (job.cheap_masks and (vectors, 1) == (blocks.last_vectors, blocks.last_shared_by)))
    heights = blocks.rows, blocks.last_rows
    tall, short = (tile_function(module, target, flat.dtype, rows, vectors, masked, shared_by) for rows in heights)
    return {Kind.TALL: f"@{tall}", Kind.SHORT: f"@{short}"}


def _strides(job: Job, operand: Operand) -> tuple[int, int]:
    """Bytes from row to row and from step to step, of a strided operand."""
    if not operand.strided:
        return 0, 0
    assert operand.row_stride is not None and operand.k_stride is not None
    return operand.row_stride * job.size, operand.k_stride * job.size
