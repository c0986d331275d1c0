"""Contractions: a table for the loops of `driver`, and what is peculiar to one contraction.

    contract_0_plan = {m, k, blocks, strides, @tile_f32_8x2, @contract_0_store, ...}

    void @contract_0(args, begin, end, scratch):          for every batch element of the units
        @contract_run(@contract_0_plan, ..., a, b, c, ...)

A is broadcast element by element, so it is read as it lies unless that would thrash a cache. B must be contiguous along n: it is
read as it lies, or its panels are packed, by a phase of its own into shared scratch when several units need them, else by the
unit. Few rows or columns whose operands are contiguous along k are multiplied along k, in place. Between k blocks the sums wait
in worker scratch: nothing but finished sums ever reaches the epilogue or a destination.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.blocking import block
from graphc.codegen.builder import Function, Module
from graphc.codegen.contract_plan import Job, plan_job
from graphc.codegen.contract_tables import add_pack_table, add_run_table, pack_functions
from graphc.codegen.driver import PACK_PHASE_PARAMS, RUN_PARAMS, pack_function, run_function
from graphc.codegen.epilogue import emit_epilogue
from graphc.codegen.flat import BATCH, M, N, Operand
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.orientation import oriented
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.splitk import KERNEL_PARAMS, emit_finish
from graphc.codegen.target import Target
from graphc.index import Index
from graphc.kernel import Contraction

_GRAIN_BYTES = 1 << 17  # packed or added up by one task at least


def emit_contraction(module: Module, target: Target, kernel: Contraction, name: str) -> KernelCode:
    flat = oriented(kernel, target)
    if not flat.batch * flat.m * flat.n:
        return KernelCode(())
    job = plan_job(target, flat, block(flat, target))
    packs = pack_functions(module, job, name)
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


# --- the pack phase ----------------------------------------------------------------------------------------------------------


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
        groups = add_pack_table(module, job, flat.rhs, packs[1], panels, columns, widths, job.shared_panel, f"{name}_pack_b")
        parts.append((f"{name}_pack_b", groups, flat.rhs, 0, job.packed_b))
    if job.packed_a:
        tiles, width = -(-flat.m // blocks.rows), job.tile_width * job.size
        groups = add_pack_table(
            module,
            job,
            flat.lhs,
            packs[0],
            tiles,
            (blocks.rows, blocks.last_rows),
            (width, width),
            job.shared_tile,
            f"{name}_pack_a",
        )
        parts.append((f"{name}_pack_a", groups, flat.lhs, flat.batch * job.packed_b, job.packed_a))
    before = 0
    for table, groups, operand, start, nbytes in parts:
        units = groups * flat.batch
        first, after = _clamped(fn, "%begin", before, units), _clamped(fn, "%end", before, units)
        with _groups(fn, first, after, groups, flat.batch) as (batch, begin, end):
            into = i64.step(fn, shared, i64.add(fn, i64.mul(fn, batch, nbytes), start))
            source = _base(fn, job, operand, batch)
            values = (f"@{table}", "%args", batch, source, into, begin, end, "%scratch")
            i64.call(fn, f"@{run}", PACK_PHASE_PARAMS, *values)
        before += units
    fn.ret()
    return before


# --- the run phase -----------------------------------------------------------------------------------------------------------


def _emit_run_phase(module: Module, job: Job, packs: tuple[str, str], parts_at: int, name: str) -> None:
    """Units are blocks of m and n, for each part of the depth, for each batch element in turn."""
    flat, units, parts = job.flat, job.blocks.units, job.blocks.k_parts
    plan = add_run_table(module, job, packs, name)
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
        values = (f"@{plan}", "%args", batch, a, b, packed, c, k_begin, k_end, begin, end, "%scratch")
        i64.call(fn, f"@{run}", RUN_PARAMS, *values)
    fn.ret()


# --- addresses ---------------------------------------------------------------------------------------------------------------


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
