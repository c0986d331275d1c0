"""Contractions as loops over register tiles.

    for unit in begin..end:                                  (batch, m block, n block)
      for k block:                                           ascending
        for panel of the n block:                            B: `width` columns, packed or as it lies
          for tile of the m block:                           @tile_f32_14x2, then the epilogue where k is finished

A is broadcast element by element and read as it lies at any strides. B is read as it lies where its rows are contiguous along n; else its
panels are packed: by a phase of its own into shared scratch when several units need them, by the unit otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.blocking import Blocking, block
from graphc.codegen.builder import Function, Module
from graphc.codegen.epilogue import emit_epilogue
from graphc.codegen.flat import BATCH, Flat, M, Operand, flatten
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.microkernel import tile_function
from graphc.codegen.packing import copy_function, panel_bytes, turn_function
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.target import Target
from graphc.index import Index
from graphc.program import Contraction

KERNEL_PARAMS = (("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a worker's scratch, in bytes."""

    tile: int  # one tile
    tiles: int  # size of all the tiles a unit keeps
    panel_at: int  # one packed panel of B
    panel: int  # its size
    a_at: int
    a_panel: int  # size of one packed tile of A
    total: int


@dataclass(frozen=True, slots=True)
class Job:
    """All that the emission of one contraction knows."""

    module: Module
    target: Target
    flat: Flat
    blocks: Blocking
    name: str
    layout: Layout
    pack_a: bool
    pack_b: str  # "no" (but for a last, partial panel), "unit", "shared"

    @property
    def size(self) -> int:
        return self.flat.dtype.itemsize

    @property
    def direct(self) -> bool:
        """Whether tiles are stored where they belong by the register tile itself; partial panels still go through the epilogue."""
        return self.flat.plain_store is not None and self.flat.n >= self.blocks.width

    @property
    def shared_panel(self) -> int:
        return panel_bytes(self.target, self.flat.dtype, self.blocks.width, self.flat.k)


def emit_contraction(module: Module, target: Target, kernel: Contraction, name: str) -> KernelCode:
    flat = flatten(kernel)
    if not flat.batch * flat.m * flat.n:
        return KernelCode(())
    blocks = block(flat, target)
    job = _plan(module, target, flat, blocks, name)
    phases = []
    shared = 0
    if job.pack_b == "shared":
        panels = flat.batch * blocks.panels
        shared = panels * job.shared_panel
        _emit_pack_phase(job)
        phases.append(Phase(f"{name}_pack", panels, max(1, 1 << 18 // max(1, job.shared_panel))))
    emit_epilogue(module, target, flat, f"{name}_store", blocks.lanes)
    _emit_compute(job)
    phases.append(Phase(name, blocks.units, blocks.grain))
    return KernelCode(tuple(phases), job.layout.total, shared)


def _plan(module: Module, target: Target, flat: Flat, blocks: Blocking, name: str) -> Job:
    size = flat.dtype.itemsize
    tile = blocks.rows * max(blocks.width, blocks.last_width) * size
    tile = -(-tile // 64) * 64
    kept = blocks.tiles * blocks.n_block if blocks.k_blocks > 1 else 1
    panel = panel_bytes(target, flat.dtype, max(blocks.width, blocks.last_width), blocks.k_block)
    pack_a = not flat.lhs.strided
    a_panel = panel_bytes(target, flat.dtype, blocks.rows, blocks.k_block) if pack_a else 0
    if flat.rhs.strided and flat.rhs.row_stride == 1:
        pack_b = "no"
    else:
        pack_b = "shared" if blocks.m_blocks > 1 else "unit"
    total = tile * kept + panel + a_panel * blocks.tiles
    return Job(module, target, flat, blocks, name, Layout(tile, tile * kept, tile * kept, panel, tile * kept + panel, a_panel, total), pack_a, pack_b)


# --- phases ------------------------------------------------------------------------------------------------------------------------


def _emit_pack_phase(job: Job) -> None:
    """Unit = one panel of one batch element, whole depth."""
    fn = job.module.function(f"{job.name}_pack", KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    source, shared = _argument(fn, flat.rhs.load.slot), _argument(fn, len(flat.slots))
    with fn.loop("%begin", "%end") as unit:
        batch = i64.floordiv(fn, unit.index, blocks.panels)
        panel = i64.mod(fn, unit.index, blocks.panels)
        start = _operand_pointer(fn, job, flat.rhs, source, batch, i64.mul(fn, panel, blocks.width), "0")
        into = i64.step(fn, shared, i64.mul(fn, unit.index, job.shared_panel))
        last = i64.equal(fn, panel, blocks.panels - 1)
        count = i64.select(fn, last, flat.n - (blocks.panels - 1) * blocks.width, blocks.width)
        pitch = i64.select(fn, last, blocks.last_width * job.size, blocks.width * job.size)
        _pack(fn, job, flat.rhs, start, into, pitch, count, str(flat.k))
    fn.ret()


def _emit_compute(job: Job) -> None:
    fn = job.module.function(job.name, KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    lhs, rhs = _argument(fn, flat.lhs.load.slot), _argument(fn, flat.rhs.load.slot)
    shared = _argument(fn, len(flat.slots)) if job.pack_b == "shared" else ""
    with fn.loop("%begin", "%end") as unit:
        n_block = i64.mod(fn, unit.index, blocks.n_blocks)
        rest = i64.floordiv(fn, unit.index, blocks.n_blocks)
        m_block = i64.mod(fn, rest, blocks.m_blocks)
        batch = i64.floordiv(fn, rest, blocks.m_blocks)
        m0 = i64.mul(fn, m_block, blocks.m_block)
        m1 = i64.minimum(fn, i64.add(fn, m0, blocks.m_block), flat.m)
        p0 = i64.mul(fn, n_block, blocks.n_block)
        p1 = i64.minimum(fn, i64.add(fn, p0, blocks.n_block), blocks.panels)
        with _counted(fn, "0", blocks.k_blocks) as k_block:
            k0 = i64.mul(fn, k_block, blocks.k_block)
            depth = i64.minimum(fn, i64.sub(fn, flat.k, k0), blocks.k_block)
            a = _operand_pointer(fn, job, flat.lhs, lhs, batch, m0, k0)
            if job.pack_a:
                _pack_a(fn, job, a, m0, m1, depth)
            with fn.loop(p0, p1) as panel:
                last = i64.equal(fn, panel.index, blocks.panels - 1)
                n0 = i64.mul(fn, panel.index, blocks.width)
                columns = i64.select(fn, last, flat.n - (blocks.panels - 1) * blocks.width, blocks.width)
                width = i64.mul(fn, i64.select(fn, last, blocks.last_width, blocks.width), job.size)
                if job.pack_b == "shared":
                    place = i64.add(fn, i64.mul(fn, batch, blocks.panels), panel.index)
                    b = i64.step(fn, shared, i64.mul(fn, place, job.shared_panel))
                    b, pitch = i64.step(fn, b, i64.mul(fn, k0, width)), width
                else:
                    b = _operand_pointer(fn, job, flat.rhs, rhs, batch, n0, k0)
                    b, pitch = _unit_panel(fn, job, b, last, width, columns, depth)
                _emit_tiles(fn, job, Panel(a, b, pitch, batch, m0, m1, panel.index, p0, n0, columns, width, last, k_block, depth))
    fn.ret()


@dataclass(frozen=True, slots=True)
class Panel:
    """Values while a panel is worked on."""

    a: str
    b: str
    pitch: str
    batch: str
    m0: str
    m1: str
    panel: str
    first_panel: str
    n0: str
    columns: str
    width: str  # bytes
    last: str  # i1: the last panel of n
    k_block: str
    depth: str


def _emit_tiles(fn: Function, job: Job, at: Panel) -> None:
    """Every tile of the unit's rows against one panel."""
    flat, blocks = job.flat, job.blocks
    tall, short, tall_last, short_last = (
        f"@{tile_function(job.module, job.target, flat.dtype, rows, vectors)}"
        for vectors in (blocks.vectors, blocks.last_vectors)
        for rows in (blocks.rows, blocks.last_rows)
    )
    tall, short = (_select_pointer(fn, at.last, x, y) for x, y in ((tall_last, tall), (short_last, short)))
    finished = "true" if blocks.k_blocks == 1 else i64.equal(fn, at.k_block, blocks.k_blocks - 1)
    partial = at.last if flat.n != (blocks.panels - 1) * blocks.width + blocks.last_width else "false"
    store = flat.plain_store if job.direct else None
    c_base = _argument(fn, store.slot) if store else ""
    with fn.loop(at.m0, at.m1, blocks.rows) as tile:
        left = i64.sub(fn, flat.m, tile.index)
        rows = i64.minimum(fn, left, blocks.rows)
        kernel = _select_pointer(fn, fn.op(f"icmp slt i64 {left}, {blocks.rows}"), short, tall)
        done = i64.sub(fn, tile.index, at.m0)
        if job.pack_a:
            panel = i64.mul(fn, i64.floordiv(fn, done, blocks.rows), job.layout.a_panel)
            a = i64.step(fn, i64.step(fn, "%scratch", job.layout.a_at), panel)
            row, step = str(job.size), str(blocks.rows * job.size)
        else:
            assert flat.lhs.row_stride is not None and flat.lhs.k_stride is not None
            a = i64.step(fn, at.a, i64.mul(fn, done, flat.lhs.row_stride * job.size))
            row, step = str(flat.lhs.row_stride * job.size), str(flat.lhs.k_stride * job.size)
        buffer, start = "%scratch", "null"
        if blocks.k_blocks > 1:
            nth = i64.add(fn, i64.mul(fn, i64.sub(fn, at.panel, at.first_panel), blocks.tiles), i64.floordiv(fn, done, blocks.rows))
            buffer = i64.step(fn, "%scratch", i64.mul(fn, nth, job.layout.tile))
            start = _select_pointer(fn, i64.equal(fn, at.k_block, 0), "null", buffer)
        c, stride, through = buffer, at.width, finished
        if store:
            in_place = finished if partial == "false" else fn.op(f"xor i1 {partial}, true")
            if partial != "false" and finished != "true":
                in_place = fn.op(f"and i1 {in_place}, {finished}")
            offset = _scalar(fn, job, store.offset, {BATCH: at.batch, M: tile.index, 2: at.n0})
            c = _select_pointer(fn, in_place, i64.step(fn, c_base, i64.mul(fn, offset, job.size)), buffer)
            row_stride = store.offset.stride(M)
            assert row_stride is not None
            stride = i64.select(fn, in_place, row_stride * job.size, at.width)
            through = "false" if partial == "false" else partial if finished == "true" else fn.op(f"and i1 {finished}, {partial}")
        if flat.k:
            fn.do(
                f"call void {kernel}(ptr {a}, i64 {row}, i64 {step}, ptr {at.b}, i64 {at.pitch}, i64 {at.depth}, "
                f"ptr {start}, ptr {c}, i64 {stride})"
            )
        if through != "false":
            with fn.when(through) if through != "true" else contextlib.nullcontext():
                fn.do(
                    f"call void @{job.name}_store(ptr %args, ptr {buffer}, i64 {at.width}, i64 {at.batch}, "
                    f"i64 {tile.index}, i64 {rows}, i64 {at.n0}, i64 {at.columns})"
                )


# --- operands ----------------------------------------------------------------------------------------------------------------------


def _unit_panel(fn: Function, job: Job, b: str, last: str, width: str, columns: str, depth: str) -> tuple[str, str]:
    """B's panel for this unit: packed into worker scratch, or where it lies. Returns its address and pitch."""
    flat, blocks = job.flat, job.blocks
    into = i64.step(fn, "%scratch", job.layout.panel_at)
    if job.pack_b == "unit":
        _pack(fn, job, flat.rhs, b, into, width, columns, depth)
        return into, width
    assert flat.rhs.k_stride is not None
    pitch = str(flat.rhs.k_stride * job.size)
    if flat.n == (blocks.panels - 1) * blocks.width + blocks.last_width:
        return b, pitch
    with fn.when(last):
        _pack(fn, job, flat.rhs, b, into, width, columns, depth)
    return _select_pointer(fn, last, into, b), i64.select(fn, last, width, pitch)


def _pack_a(fn: Function, job: Job, a: str, m0: str, m1: str, depth: str) -> None:
    blocks = job.blocks
    assert job.flat.lhs.row_stride is not None
    with fn.loop(m0, m1, blocks.rows) as tile:
        done = i64.sub(fn, tile.index, m0)
        into = i64.step(fn, i64.step(fn, "%scratch", job.layout.a_at), i64.mul(fn, i64.floordiv(fn, done, blocks.rows), job.layout.a_panel))
        source = i64.step(fn, a, i64.mul(fn, done, job.flat.lhs.row_stride * job.size))
        count = i64.minimum(fn, i64.sub(fn, job.flat.m, tile.index), blocks.rows)
        _pack(fn, job, job.flat.lhs, source, into, str(blocks.rows * job.size), count, depth)


def _pack(fn: Function, job: Job, operand: Operand, source: str, into: str, pitch: str, count: str, depth: str) -> None:
    dtype, size = job.flat.dtype, job.size
    assert operand.row_stride is not None and operand.k_stride is not None
    if operand.k_stride == 1:
        name = turn_function(job.module, job.target, dtype)
        stride = operand.row_stride * size
    else:
        name = copy_function(job.module, job.target, dtype)
        stride = operand.k_stride * size
    fn.do(f"call void @{name}(ptr {source}, i64 {stride}, ptr {into}, i64 {pitch}, i64 {count}, i64 {depth})")


def _operand_pointer(fn: Function, job: Job, operand: Operand, base: str, batch: str, row: str, k: str) -> str:
    assert operand.row_stride is not None and operand.k_stride is not None
    offset = _scalar(fn, job, operand.base, {BATCH: batch})
    offset = i64.add(fn, offset, i64.mul(fn, row, operand.row_stride))
    offset = i64.add(fn, offset, i64.mul(fn, k, operand.k_stride))
    return i64.step(fn, base, i64.mul(fn, offset, job.size))


def _scalar(fn: Function, job: Job, index: Index, axes: dict[int, str]) -> str:
    """The value of an index expression."""
    addresses = Addresses(LaneBuilder(fn, job.target), (1, 1, 1, 1), None, 1)
    addresses.axis.update(axes)
    key = (None, index)
    addresses.track([key])
    addresses.enter(1, [key])
    return addresses.scalar(index)


def _argument(fn: Function, position: int) -> str:
    return fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * position)}")


def _select_pointer(fn: Function, condition: str, x: str, y: str) -> str:
    return x if x == y else fn.op(f"select i1 {condition}, ptr {x}, ptr {y}")


@contextlib.contextmanager
def _counted(fn: Function, start: str, stop: int) -> Iterator[str]:
    """A loop, or its only iteration."""
    if stop == 1:
        yield start
    else:
        with fn.loop(start, str(stop)) as loop:
            yield loop.index
