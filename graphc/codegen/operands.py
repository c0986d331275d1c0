"""Where a unit reads its operands: addresses of what lies in memory, and calls of what packs or evaluates the rest."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.builder import Function
from graphc.codegen.contract_plan import Job
from graphc.codegen.flat import BATCH, Operand
from graphc.codegen.packing import copy_function, turn_function
from graphc.codegen.scalar import LaneBuilder
from graphc.index import Index


@dataclass(frozen=True, slots=True)
class Depth:
    """One k block of one batch element."""

    batch: str
    k0: str
    depth: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The columns of one panel."""

    number: str
    last: str  # i1: the last panel
    n0: str
    columns: str
    strip: str  # first strip of columns, and the one after the last
    strip_after: str
    width: str  # bytes


def panel_at(fn: Function, job: Job, number: str) -> Panel:
    blocks = job.blocks
    last = i64.equal(fn, number, blocks.panels - 1)
    columns = i64.select(fn, last, blocks.last_columns(job.flat.n), blocks.width)
    strip = i64.mul(fn, number, blocks.vectors)
    after = i64.add(fn, strip, i64.select(fn, last, blocks.last_vectors, blocks.vectors))
    width = i64.mul(fn, i64.select(fn, last, blocks.last_width, blocks.width), job.size)
    return Panel(number, last, i64.mul(fn, number, blocks.width), columns, strip, after, width)


def depth_at(fn: Function, job: Job, batch: str, k_block: str) -> Depth:
    k0 = i64.mul(fn, k_block, job.blocks.k_block)
    return Depth(batch, k0, i64.minimum(fn, i64.sub(fn, job.flat.k, k0), job.blocks.k_block))


# --- A -----------------------------------------------------------------------------------------------------------------------------


def left(fn: Function, job: Job, lhs: str, shared: str, m0: str, m1: str, at: Depth) -> str:
    """The address of rows m0.. of A for one k block; its strides are `left_strides`."""
    if job.a_source == "lies":
        return operand_pointer(fn, job, job.flat.lhs, lhs, at.batch, m0, at.k0)
    if job.a_source == "packed":
        tile = i64.add(fn, i64.mul(fn, at.batch, job.packed_tiles), i64.floordiv(fn, m0, job.blocks.rows))
        place = i64.add(fn, i64.mul(fn, tile, job.shared_tile), i64.mul(fn, at.k0, job.blocks.rows * job.size))
        return i64.step(fn, shared, i64.add(fn, place, job.shared_tiles_at))
    into = i64.step(fn, "%scratch", job.layout.a)
    strip, after = _k_strips(fn, job, at)
    fn.do(
        f"call void @{job.name}_lhs(ptr %args, ptr {into}, i64 {job.row_pitch}, i64 {at.batch}, i64 {strip}, i64 {after}, "
        f"i64 {m0}, i64 {i64.sub(fn, m1, m0)})"
    )
    return into


def left_strides(job: Job) -> tuple[int, int, int]:
    """Bytes of A from tile to tile, from row to row, and from one step of k to the next."""
    rows = job.blocks.rows
    if job.a_source == "packed":
        return job.shared_tile, job.size, rows * job.size
    if job.a_source == "evaluated":
        return rows * job.row_pitch, job.row_pitch, job.size
    row, step = _strides(job, job.flat.lhs)
    return rows * row, row, step


def pack_left(fn: Function, job: Job, lhs: str, shared: str, batch: str, tile: str) -> None:
    """One tile of A over the whole depth, into shared scratch."""
    m0 = i64.mul(fn, tile, job.blocks.rows)
    count = i64.minimum(fn, i64.sub(fn, job.flat.m, m0), job.blocks.rows)
    place = i64.mul(fn, i64.add(fn, i64.mul(fn, batch, job.packed_tiles), tile), job.shared_tile)
    into = i64.step(fn, shared, i64.add(fn, place, job.shared_tiles_at))
    source = operand_pointer(fn, job, job.flat.lhs, lhs, batch, m0, "0")
    _pack(fn, job, job.flat.lhs, source, into, str(job.blocks.rows * job.size), count, str(job.flat.k))


# --- B -----------------------------------------------------------------------------------------------------------------------------


def right(fn: Function, job: Job, rhs: str, shared: str, panel: Panel, at: Depth) -> tuple[str, str]:
    """The address of a panel of B for one k block, and the bytes from one step of k, or for dot products from one column, to the next."""
    rows, flat = job.blocks, job.flat
    if job.b_source == "lies" and (rows.dots or not job.partial):
        row, step = _strides(job, flat.rhs)
        return operand_pointer(fn, job, flat.rhs, rhs, at.batch, panel.n0, at.k0), str(row if rows.dots else step)
    if not rows.last_dots and job.b_source != "lies":
        return _packed_right(fn, job, rhs, shared, panel, at)
    # The last panel is read otherwise than the rest: in place as dot products, or packed because it is partial.
    row, step = _strides(job, flat.rhs)
    in_place = operand_pointer(fn, job, flat.rhs, rhs, at.batch, panel.n0, at.k0)
    start, packed, after = fn.block, fn.label("packed"), fn.label("panel")
    fn.branch(panel.last, *((after, packed) if rows.last_dots else (packed, after)))
    fn.start(packed)
    b, pitch = _packed_right(fn, job, rhs, shared, panel, at)
    end = fn.block
    fn.jump(after)
    fn.start(after)
    b = fn.op(f"phi ptr [ {in_place}, %{start} ], [ {b}, %{end} ]")
    return b, fn.op(f"phi i64 [ {row if rows.last_dots else step}, %{start} ], [ {pitch}, %{end} ]")


def _packed_right(fn: Function, job: Job, rhs: str, shared: str, panel: Panel, at: Depth) -> tuple[str, str]:
    if job.b_shared:
        place = i64.mul(fn, i64.add(fn, i64.mul(fn, at.batch, job.packed_panels), panel.number), job.shared_panel)
        return i64.step(fn, i64.step(fn, shared, place), i64.mul(fn, at.k0, panel.width)), panel.width
    into = i64.step(fn, "%scratch", job.layout.panel)
    pack_right(fn, job, rhs, into, panel, at)
    return into, panel.width


def pack_right(fn: Function, job: Job, rhs: str, into: str, panel: Panel, at: Depth) -> None:
    """One panel of B for one k block."""
    flat = job.flat
    if job.b_source in ("lies", "packed"):
        source = operand_pointer(fn, job, flat.rhs, rhs, at.batch, panel.n0, at.k0)
        _pack(fn, job, flat.rhs, source, into, panel.width, panel.columns, at.depth)
        return
    call = f"call void @{job.name}_rhs(ptr %args, "
    if job.b_source == "rows":
        strips = f"i64 {panel.strip}, i64 {panel.strip_after}"
        fn.do(f"{call}ptr {into}, i64 {panel.width}, i64 {at.batch}, {strips}, i64 {at.k0}, i64 {at.depth})")
        return
    rows = i64.step(fn, "%scratch", job.layout.rows)
    strip, after = _k_strips(fn, job, at)
    fn.do(f"{call}ptr {rows}, i64 {job.row_pitch}, i64 {at.batch}, i64 {strip}, i64 {after}, i64 {panel.n0}, i64 {panel.columns})")
    name = turn_function(job.module, job.target, flat.dtype)
    fn.do(f"call void @{name}(ptr {rows}, i64 {job.row_pitch}, ptr {into}, i64 {panel.width}, i64 {panel.columns}, i64 {at.depth})")


# --- both --------------------------------------------------------------------------------------------------------------------------


def _pack(fn: Function, job: Job, operand: Operand, source: str, into: str, pitch: str, count: str, depth: str) -> None:
    """A strided operand, contiguous along its rows or along k."""
    row, step = _strides(job, operand)
    copies = operand.contiguous_rows
    name = (copy_function if copies else turn_function)(job.module, job.target, job.flat.dtype)
    fn.do(f"call void @{name}(ptr {source}, i64 {step if copies else row}, ptr {into}, i64 {pitch}, i64 {count}, i64 {depth})")


def operand_pointer(fn: Function, job: Job, operand: Operand, base: str, batch: str, row: str, k: str) -> str:
    """The address of an element of a strided operand."""
    row_stride, k_stride = _strides(job, operand)
    offset = i64.mul(fn, scalar(fn, job, operand.base, {BATCH: batch}), job.size)
    return i64.step(fn, base, i64.add(fn, i64.add(fn, offset, i64.mul(fn, row, row_stride)), i64.mul(fn, k, k_stride)))


def scalar(fn: Function, job: Job, index: Index, axes: dict[int, str]) -> str:
    """The value of an index expression."""
    addresses = Addresses(LaneBuilder(fn, job.target), (1, 1, 1, 1), None, 1)
    addresses.axis.update(axes)
    addresses.track([(None, index)])
    addresses.enter(1, [(None, index)])
    return addresses.scalar(index)


def argument(fn: Function, position: int) -> str:
    return fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * position)}")


def _strides(job: Job, operand: Operand) -> tuple[int, int]:
    """Bytes from row to row and from one step of k to the next, of a strided operand."""
    assert operand.row_stride is not None and operand.k_stride is not None
    return operand.row_stride * job.size, operand.k_stride * job.size


def _k_strips(fn: Function, job: Job, at: Depth) -> tuple[str, str]:
    """The registers along k of a block: the first, and the one after the last."""
    lanes = job.blocks.lanes
    strip = i64.floordiv(fn, at.k0, lanes)
    return strip, i64.add(fn, strip, i64.floordiv(fn, i64.add(fn, at.depth, lanes - 1), lanes))
