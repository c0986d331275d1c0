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
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.blocking import Blocking, block
from graphc.codegen.builder import Function, Module
from graphc.codegen.epilogue import emit_epilogue
from graphc.codegen.evaluate import better_along_k, emit_evaluation
from graphc.codegen.flat import BATCH, Flat, M, Operand, flatten
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.microkernel import tile_function
from graphc.codegen.packing import copy_function, panel_bytes, turn_function
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.target import Target
from graphc.index import Index
from graphc.program import Contraction

_PACK_GRAIN_BYTES = 1 << 17

KERNEL_PARAMS = (("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch"))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a worker's scratch, in bytes."""

    tile: int  # size of one tile; tiles come first
    panel: int  # one packed panel of B
    rows: int  # rows of B before they are turned into a panel
    a: int  # packed or evaluated rows of A
    a_tile: int  # size of one packed tile of A
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
    a_mode: str  # "lies", "packed", "evaluated"
    b_mode: str  # "lies" (but for a last, partial panel), "packed" by the unit, "shared"
    b_source: str  # "strided", "rows" (evaluated along rows), "turned" (evaluated along k, then turned)

    @property
    def size(self) -> int:
        return self.flat.dtype.itemsize

    @property
    def direct(self) -> bool:
        """Whether register tiles store full panels where they belong; partial panels still go through the epilogue."""
        return self.flat.plain_store is not None and self.flat.n >= self.blocks.width and self.flat.k > 0

    @property
    def shared_panel(self) -> int:
        return panel_bytes(self.target, self.flat.dtype, self.blocks.width, self.flat.k)

    @property
    def row_pitch(self) -> int:
        """Bytes from one evaluated row to the next: an odd number of cache lines, so that rows do not fall on one another."""
        lines = -(-self.blocks.k_block * self.size // 64) + 1
        return (lines | 1) * 64

    @property
    def partial(self) -> bool:
        """Whether the last panel has columns that do not exist."""
        return self.flat.n != (self.blocks.panels - 1) * self.blocks.width + self.blocks.last_width


def emit_contraction(module: Module, target: Target, kernel: Contraction, name: str) -> KernelCode:
    flat = flatten(kernel)
    if not flat.batch * flat.m * flat.n:
        return KernelCode(())
    job = _plan(module, target, flat, block(flat, target), name)
    phases = []
    shared = 0
    if job.a_mode == "evaluated":
        emit_evaluation(module, target, flat, flat.lhs, True, f"{name}_lhs")
    if job.b_source != "strided":
        emit_evaluation(module, target, flat, flat.rhs, job.b_source == "turned", f"{name}_rhs")
    if job.b_mode == "shared":
        panels = flat.batch * job.blocks.panels
        shared = panels * job.shared_panel
        _emit_pack_phase(job)
        phases.append(Phase(f"{name}_pack", panels, max(1, _PACK_GRAIN_BYTES // max(1, job.shared_panel))))
    emit_epilogue(module, target, flat, f"{name}_store")
    _emit_compute(job)
    phases.append(Phase(name, job.blocks.units, job.blocks.grain))
    return KernelCode(tuple(phases), job.layout.total, shared)


def _plan(module: Module, target: Target, flat: Flat, blocks: Blocking, name: str) -> Job:
    widest = max(blocks.width, blocks.last_width)
    tile = -(-blocks.rows * widest * flat.dtype.itemsize // 64) * 64
    packable = flat.rhs.contiguous_rows or flat.rhs.contiguous_k
    b_source = "strided" if packable else "turned" if better_along_k(target, flat, flat.rhs) else "rows"
    lies = flat.rhs.contiguous_rows
    b_mode = "lies" if lies else "shared" if blocks.m_blocks > 1 else "packed"
    a_mode = "lies" if flat.lhs.strided else "evaluated"
    job = Job(module, target, flat, blocks, name, Layout(0, 0, 0, 0, 0, 0), a_mode, b_mode, b_source)

    tiles = tile * (blocks.tiles * blocks.n_block if blocks.k_blocks > 1 else 1)
    panel = panel_bytes(target, flat.dtype, widest, blocks.k_block)
    rows = widest * job.row_pitch if b_source == "turned" else 0
    a_tile = panel_bytes(target, flat.dtype, blocks.rows, blocks.k_block) if a_mode == "packed" else 0
    a = blocks.m_block * job.row_pitch if a_mode == "evaluated" else a_tile * blocks.tiles
    starts = [tiles, tiles + panel, tiles + panel + rows]
    return dataclasses.replace(job, layout=Layout(tile, *starts, a_tile, starts[-1] + a))


# --- phases ------------------------------------------------------------------------------------------------------------------------


def _emit_pack_phase(job: Job) -> None:
    """Unit = one panel of one batch element, whole depth."""
    fn = job.module.function(f"{job.name}_pack", KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    source, shared = _argument(fn, flat.rhs.load.slot), _argument(fn, len(flat.slots))
    with fn.loop("%begin", "%end") as unit:
        batch = i64.floordiv(fn, unit.index, blocks.panels)
        panel = i64.mod(fn, unit.index, blocks.panels)
        into = i64.step(fn, shared, i64.mul(fn, unit.index, job.shared_panel))
        last = i64.equal(fn, panel, blocks.panels - 1)
        count = i64.select(fn, last, flat.n - (blocks.panels - 1) * blocks.width, blocks.width)
        pitch = i64.select(fn, last, blocks.last_width * job.size, blocks.width * job.size)
        strip = i64.mul(fn, panel, blocks.vectors)
        after = i64.add(fn, strip, i64.select(fn, last, blocks.last_vectors, blocks.vectors))
        with _counted(fn, "0", blocks.k_blocks) as k_block:
            k0 = i64.mul(fn, k_block, blocks.k_block)
            depth = i64.minimum(fn, i64.sub(fn, flat.k, k0), blocks.k_block)
            at = i64.step(fn, into, i64.mul(fn, k0, pitch))
            _pack_b(fn, job, source, batch, i64.mul(fn, panel, blocks.width), (strip, after), k0, at, pitch, count, depth)
    fn.ret()


def _emit_compute(job: Job) -> None:
    fn = job.module.function(job.name, KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    lhs, rhs = _argument(fn, flat.lhs.load.slot), _argument(fn, flat.rhs.load.slot)
    shared = _argument(fn, len(flat.slots)) if job.b_mode == "shared" else ""
    if not flat.k:
        _zero_tile(fn, job)
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
            a = _left(fn, job, lhs, batch, m0, m1, k0, depth)
            with fn.loop(p0, p1) as panel:
                last = i64.equal(fn, panel.index, blocks.panels - 1)
                n0 = i64.mul(fn, panel.index, blocks.width)
                columns = i64.select(fn, last, flat.n - (blocks.panels - 1) * blocks.width, blocks.width)
                strip = i64.mul(fn, panel.index, blocks.vectors)
                strip_after = i64.add(fn, strip, i64.select(fn, last, blocks.last_vectors, blocks.vectors))
                width = i64.mul(fn, i64.select(fn, last, blocks.last_width, blocks.width), job.size)
                if job.b_mode == "shared":
                    place = i64.add(fn, i64.mul(fn, batch, blocks.panels), panel.index)
                    b = i64.step(fn, shared, i64.mul(fn, place, job.shared_panel))
                    b, pitch = i64.step(fn, b, i64.mul(fn, k0, width)), width
                else:
                    b, pitch = _unit_panel(fn, job, rhs, batch, n0, (strip, strip_after), k0, last, width, columns, depth)
                _emit_tiles(fn, job, Panel(a, b, pitch, batch, m0, m1, panel.index, p0, n0, columns, strip, strip_after, width, last, k_block, depth))
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
    strip: str  # the panel's first strip of columns, and the one after its last
    strip_after: str
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
    partial = at.last if job.partial else "false"
    store = flat.plain_store if job.direct else None
    c_base = _argument(fn, store.slot) if store else ""
    with fn.loop(at.m0, at.m1, blocks.rows) as tile:
        left = i64.sub(fn, flat.m, tile.index)
        rows = i64.minimum(fn, left, blocks.rows)
        kernel = _select_pointer(fn, fn.op(f"icmp slt i64 {left}, {blocks.rows}"), short, tall)
        done = i64.sub(fn, tile.index, at.m0)
        row, step = _left_strides(job)
        if job.a_mode == "packed":
            a = i64.step(fn, at.a, i64.mul(fn, i64.floordiv(fn, done, blocks.rows), job.layout.a_tile))
        else:
            a = i64.step(fn, at.a, i64.mul(fn, done, row))
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
                    f"i64 {tile.index}, i64 {rows}, i64 {at.strip}, i64 {at.strip_after})"
                )


# --- operands ----------------------------------------------------------------------------------------------------------------------


def _left(fn: Function, job: Job, lhs: str, batch: str, m0: str, m1: str, k0: str, depth: str) -> str:
    """The address of the unit's rows of A for one k block, packed or evaluated where it must be; strides as `_left_strides` has them."""
    flat, blocks, into = job.flat, job.blocks, i64.step(fn, "%scratch", job.layout.a)
    if job.a_mode == "evaluated":
        strip = i64.floordiv(fn, k0, blocks.lanes)
        after = i64.add(fn, strip, i64.floordiv(fn, i64.add(fn, depth, blocks.lanes - 1), blocks.lanes))
        rows = i64.sub(fn, m1, m0)
        fn.do(
            f"call void @{job.name}_lhs(ptr %args, ptr {into}, i64 {job.row_pitch}, i64 {batch}, i64 {strip}, i64 {after}, i64 {m0}, i64 {rows})"
        )
        return into
    a = _operand_pointer(fn, job, flat.lhs, lhs, batch, m0, k0)
    if job.a_mode == "lies":
        return a
    assert flat.lhs.row_stride is not None
    with fn.loop(m0, m1, blocks.rows) as tile:
        done = i64.sub(fn, tile.index, m0)
        at = i64.step(fn, into, i64.mul(fn, i64.floordiv(fn, done, blocks.rows), job.layout.a_tile))
        source = i64.step(fn, a, i64.mul(fn, done, flat.lhs.row_stride * job.size))
        count = i64.minimum(fn, i64.sub(fn, flat.m, tile.index), blocks.rows)
        _pack(fn, job, flat.lhs, source, at, str(blocks.rows * job.size), count, depth)
    return into


def _left_strides(job: Job) -> tuple[int, int]:
    """Bytes from row to row of A, and from one step of k to the next."""
    if job.a_mode == "evaluated":
        return job.row_pitch, job.size
    if job.a_mode == "packed":
        return job.size, job.blocks.rows * job.size
    assert job.flat.lhs.row_stride is not None and job.flat.lhs.k_stride is not None
    return job.flat.lhs.row_stride * job.size, job.flat.lhs.k_stride * job.size


def _unit_panel(
    fn: Function, job: Job, rhs: str, batch: str, n0: str, strips: tuple[str, str], k0: str, last: str, width: str, columns: str, depth: str
) -> tuple[str, str]:
    """B's panel for this unit: packed into worker scratch, or where it lies. Returns its address and pitch."""
    into = i64.step(fn, "%scratch", job.layout.panel)
    if job.b_mode == "packed":
        _pack_b(fn, job, rhs, batch, n0, strips, k0, into, width, columns, depth)
        return into, width
    assert job.flat.rhs.k_stride is not None
    pitch = job.flat.rhs.k_stride * job.size
    b = _operand_pointer(fn, job, job.flat.rhs, rhs, batch, n0, k0)
    if not job.partial:
        return b, str(pitch)
    with fn.when(last):
        _pack(fn, job, job.flat.rhs, b, into, width, columns, depth)
    return _select_pointer(fn, last, into, b), i64.select(fn, last, width, pitch)


def _pack_b(
    fn: Function, job: Job, rhs: str, batch: str, n0: str, strips: tuple[str, str], k0: str, into: str, pitch: str, columns: str, depth: str
) -> None:
    """One panel of B for one k block."""
    flat, blocks = job.flat, job.blocks
    if job.b_source == "strided":
        _pack(fn, job, flat.rhs, _operand_pointer(fn, job, flat.rhs, rhs, batch, n0, k0), into, pitch, columns, depth)
        return
    call = f"call void @{job.name}_rhs(ptr %args, "
    if job.b_source == "rows":
        fn.do(f"{call}ptr {into}, i64 {pitch}, i64 {batch}, i64 {strips[0]}, i64 {strips[1]}, i64 {k0}, i64 {depth})")
        return
    rows = i64.step(fn, "%scratch", job.layout.rows)
    strip = i64.floordiv(fn, k0, blocks.lanes)
    after = i64.add(fn, strip, i64.floordiv(fn, i64.add(fn, depth, blocks.lanes - 1), blocks.lanes))
    fn.do(f"{call}ptr {rows}, i64 {job.row_pitch}, i64 {batch}, i64 {strip}, i64 {after}, i64 {n0}, i64 {columns})")
    name = turn_function(job.module, job.target, flat.dtype)
    fn.do(f"call void @{name}(ptr {rows}, i64 {job.row_pitch}, ptr {into}, i64 {pitch}, i64 {columns}, i64 {depth})")


def _pack(fn: Function, job: Job, operand: Operand, source: str, into: str, pitch: str, count: str, depth: str) -> None:
    """A strided operand, contiguous along its rows or along k."""
    assert operand.row_stride is not None and operand.k_stride is not None
    copy = operand.contiguous_rows
    name = (copy_function if copy else turn_function)(job.module, job.target, job.flat.dtype)
    stride = (operand.k_stride if copy else operand.row_stride) * job.size
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


def _zero_tile(fn: Function, job: Job) -> None:
    fn.module.declare("@llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    fn.do(f"call void @llvm.memset.p0.i64(ptr %scratch, i8 0, i64 {job.layout.tile}, i1 false)")


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
