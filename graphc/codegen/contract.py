"""Contractions: a table for the loops of `driver`, and what is peculiar to one contraction.

    contract_0_plan = {m, k, blocks, strides, @tile_f32_8x2, @contract_0_store, ...}

    void @contract_0(args, begin, end, scratch):          for every batch element of the units
        @contract_run(@contract_0_plan, ..., a, b, c, ...)

A is broadcast element by element, so it is read as it lies unless that would thrash a cache. B must be contiguous along n: it is read as
it lies, or its panels are packed, by a phase of its own into shared scratch when several units need them, else by the unit. Few
rows or columns whose operands are contiguous along k are multiplied along k, in place. Between k blocks the sums wait in worker
scratch: nothing but finished sums ever reaches the epilogue or a destination.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.blocking import block
from graphc.codegen.builder import Function, Module
from graphc.codegen.contract_plan import Job, plan_job
from graphc.codegen.dotkernel import dot_function, dot_shape
from graphc.codegen.driver import Kind, Pack, Run, add_table, pack_function, run_function
from graphc.codegen.epilogue import emit_epilogue
from graphc.codegen.evaluate import evaluation, turned_evaluation
from graphc.codegen.flat import BATCH, M, N, Operand
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.microkernel import tile_function, zero_tile_function
from graphc.codegen.orientation import oriented
from graphc.codegen.packing import copy_function, turn_function
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.splitk import KERNEL_PARAMS, emit_finish
from graphc.codegen.target import Target
from graphc.index import Index
from graphc.program import Contraction

_GRAIN_BYTES = 1 << 17  # packed or added up by one task at least

Fields = dict[enum.IntEnum, int | str]


def emit_contraction(module: Module, target: Target, kernel: Contraction, name: str) -> KernelCode:
    flat = oriented(kernel, target)
    if not flat.batch * flat.m * flat.n:
        return KernelCode(())
    job = plan_job(target, flat, block(flat, target))
    packs = _pack_functions(module, job, name)
    phases = []
    shared = flat.batch * (job.packed_b + job.packed_a)
    if shared:
        units = _emit_pack_phase(module, job, packs, name)
        phases.append(Phase(f"{name}_pack", units, max(1, _GRAIN_BYTES * units // shared)))
    if job.has_epilogue:
        emit_epilogue(module, target, flat, f"{name}_store")
    parts = job.blocks.k_parts
    _emit_run_phase(module, job, packs, shared, name)
    phases.append(Phase(name, flat.batch * parts * job.blocks.units, job.blocks.grain))
    if parts > 1:
        units = emit_finish(module, job, shared, name)
        phases.append(Phase(f"{name}_finish", units, max(1, _GRAIN_BYTES // (parts * job.part_row * job.blocks.rows))))
        shared += flat.batch * parts * job.part_bytes
    return KernelCode(tuple(phases), job.layout.total, shared)


def _pack_functions(module: Module, job: Job, name: str) -> tuple[str, str]:
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


# --- the pack phase ----------------------------------------------------------------------------------------------------------------


def _emit_pack_phase(module: Module, job: Job, packs: tuple[str, str], name: str) -> int:
    """Units are groups of panels of B, then groups of tiles of A, for each batch element in turn. Returns their number."""
    flat, blocks = job.flat, job.blocks
    fn = module.function(f"{name}_pack", KERNEL_PARAMS, "void", "nounwind")
    shared = _argument(fn, len(flat.slots))
    run = pack_function(module)
    parts = []  # (table, groups, operand, where it starts in shared scratch, bytes of a batch element)
    if job.packed_b:
        panels, last = blocks.panels - blocks.last_dots, blocks.last_dots
        columns = (blocks.width, blocks.width if last else blocks.last_columns(flat.n))
        widths = (blocks.width * job.size, (blocks.width if last else blocks.last_width) * job.size)
        groups = _pack_table(module, job, flat.rhs, packs[1], panels, columns, widths, job.shared_panel, f"{name}_pack_b")
        parts.append((f"{name}_pack_b", groups, flat.rhs, 0, job.packed_b))
    if job.packed_a:
        tiles, width = -(-flat.m // blocks.rows), job.tile_width * job.size
        groups = _pack_table(
            module, job, flat.lhs, packs[0], tiles, (blocks.rows, blocks.last_rows), (width, width), job.shared_tile, f"{name}_pack_a"
        )
        parts.append((f"{name}_pack_a", groups, flat.lhs, flat.batch * job.packed_b, job.packed_a))
    before = 0
    for table, groups, operand, start, nbytes in parts:
        units = groups * flat.batch
        first, after = _clamped(fn, "%begin", before, units), _clamped(fn, "%end", before, units)
        with _groups(fn, first, after, groups, flat.batch) as (batch, begin, end):
            into = i64.step(fn, shared, i64.add(fn, i64.mul(fn, batch, nbytes), start))
            source = _base(fn, job, operand, batch)
            fn.do(
                f"call void @{run}(ptr @{table}, ptr %args, i64 {batch}, ptr {source}, ptr {into}, i64 {begin}, i64 {end}, ptr %scratch)"
            )
        before += units
    fn.ret()
    return before


def _pack_table(
    module: Module, job: Job, operand: Operand, function: str, panels: int, columns: tuple[int, int], widths: tuple[int, int], into: int, name: str
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


# --- the run phase -----------------------------------------------------------------------------------------------------------------


def _emit_run_phase(module: Module, job: Job, packs: tuple[str, str], parts_at: int, name: str) -> None:
    """Units are blocks of m and n, for each part of the depth, for each batch element in turn."""
    flat, units, parts = job.flat, job.blocks.units, job.blocks.k_parts
    plan = f"{name}_plan"
    add_table(module, plan, _run_fields(job, packs[0], name), *_kind_fields(module, job, packs[1]))
    run = run_function(module)
    fn = module.function(name, KERNEL_PARAMS, "void", "nounwind")
    store = flat.plain_store if job.direct else None
    shared = _argument(fn, len(flat.slots)) if job.packed_a or job.packed_b or parts > 1 else ""
    with _groups(fn, "%begin", "%end", units, flat.batch * parts) as (at, begin, end):
        batch = i64.floordiv(fn, at, parts)
        k_begin = i64.mul(fn, i64.mod(fn, at, parts), job.blocks.k_part)
        k_end = i64.minimum(fn, i64.add(fn, k_begin, job.blocks.k_part), max(flat.k, 1))
        a = _base(fn, job, flat.lhs, batch)
        if job.packed_a:
            a = i64.step(fn, shared, i64.add(fn, i64.mul(fn, batch, job.packed_a), flat.batch * job.packed_b))
        b = _base(fn, job, flat.rhs, batch)
        packed = i64.step(fn, shared, i64.mul(fn, batch, job.packed_b)) if job.packed_b else "null"
        c = "null"
        if parts > 1:
            c = i64.step(fn, shared, i64.add(fn, i64.mul(fn, at, job.part_bytes), parts_at))
        elif store:
            offset = _scalar(fn, job, store.offset.substitute({M: Index(), N: Index()}), batch)
            c = i64.step(fn, _argument(fn, store.slot), i64.mul(fn, offset, job.size))
        operands = f"ptr {a}, ptr {b}, ptr {packed}, ptr {c}"
        spans = f"i64 {k_begin}, i64 {k_end}, i64 {begin}, i64 {end}"
        fn.do(f"call void @{run}(ptr @{plan}, ptr %args, i64 {batch}, {operands}, {spans}, ptr %scratch)")
    fn.ret()


def _run_fields(job: Job, evaluate: str, name: str) -> Fields:
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
    return {
        Run.M: flat.m, Run.N_BLOCKS: blocks.n_blocks, Run.M_BLOCK: blocks.m_block, Run.N_BLOCK: blocks.n_block,
        Run.K_BLOCK: blocks.k_block, Run.PANELS: blocks.panels, Run.ROWS: blocks.rows,
        Run.A_TILE: tile, Run.A_ROW: row, Run.A_STEP: step,
        Run.EVALUATE_A: evaluate if job.a_source == "evaluated" and flat.k else "null", Run.A_SCRATCH: layout.a,
        Run.C_TILE: blocks.rows * c_row, Run.C_ROW: c_row, Run.C_PANEL: blocks.width * job.size,
        Run.TILE: layout.tile if waits else 0, Run.PANEL_TILES: layout.tile * blocks.tiles if waits else 0,
        Run.PANEL_SCRATCH: layout.panel, Run.PANEL_COLUMNS: blocks.width, Run.PANEL_STRIPS: blocks.vectors, Run.STRIP: blocks.lanes * job.size,
        Run.EPILOGUE: f"@{name}_store" if job.has_epilogue and blocks.k_parts == 1 else "null",
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
            Kind.PACK: pack if packs and not packed else "null", Kind.PACK_STRIDE: step if flat.rhs.contiguous_rows else row,
            Kind.DIRECT: int((job.direct and not dots) or blocks.k_parts > 1), **_tiles(module, job, last, dots, vectors, columns),
        }  # fmt: skip

    return kind(False), kind(True)


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
    masked = job.direct and job.partial and not blocks.last_dots and (last or job.cheap_masks)
    tall, short = (tile_function(module, target, flat.dtype, rows, vectors, masked) for rows in (blocks.rows, blocks.last_rows))
    return {Kind.TALL: f"@{tall}", Kind.SHORT: f"@{short}"}


# --- addresses ---------------------------------------------------------------------------------------------------------------------


def _base(fn: Function, job: Job, operand: Operand, batch: str) -> str:
    """The address of an operand's first row and step; null where its map is evaluated."""
    if not operand.strided:
        return "null"
    return i64.step(fn, _argument(fn, operand.load.slot), i64.mul(fn, _scalar(fn, job, operand.base, batch), job.size))


def _scalar(fn: Function, job: Job, index: Index, batch: str) -> str:
    """The value of an index expression over the batch."""
    addresses = Addresses(LaneBuilder(fn, job.target), (1,), None, 1)
    addresses.axis[BATCH] = batch
    addresses.track([(None, index)])
    addresses.enter(1, [(None, index)])
    return addresses.scalar(index)


def _strides(job: Job, operand: Operand) -> tuple[int, int]:
    """Bytes from row to row and from step to step, of a strided operand."""
    if not operand.strided:
        return 0, 0
    assert operand.row_stride is not None and operand.k_stride is not None
    return operand.row_stride * job.size, operand.k_stride * job.size


def _argument(fn: Function, position: int) -> str:
    return fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * position)}")


@contextlib.contextmanager
def _groups(fn: Function, begin: str, end: str, units: int, groups: int) -> Iterator[tuple[str, str, str]]:
    """Units [begin, end) cut into groups of `units`: a group's number, and the range of units within it."""
    if groups == 1:
        yield "0", begin, end
        return
    with fn.loop(i64.floordiv(fn, begin, units), i64.floordiv(fn, i64.add(fn, end, units - 1), units)) as group:
        before = i64.mul(fn, group.index, units)
        yield group.index, _clamped(fn, begin, before, units), _clamped(fn, end, before, units)


def _clamped(fn: Function, unit: str, before: str | int, units: int) -> str:
    """A unit's number less those before, no less than 0 and no more than `units`."""
    number = i64.minimum(fn, i64.sub(fn, unit, before), units)
    return fn.op(f"select i1 {fn.op(f'icmp sgt i64 {number}, 0')}, i64 {number}, i64 0")
