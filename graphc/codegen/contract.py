"""Contractions as loops over register tiles.

    for unit in begin..end:                                  (batch, m block, n block)
      for k block:                                           ascending
        for panel of the n block:                            B: `width` columns, packed or as it lies
          for tile of the m block:                           @tile_f32_14x2, then the epilogue where k is finished

A is broadcast element by element, so it is read as it lies unless that would thrash a cache. B must be contiguous along n: it is read as
it lies, or its panels are packed, by a phase of its own into shared scratch when several units need them, else by the unit. Few
rows or columns whose operands are contiguous along k are multiplied along k, in place. Between k blocks the sums wait in worker
scratch: nothing but finished sums ever reaches the epilogue or a destination.
"""

from __future__ import annotations

import contextlib

from graphc.codegen import integers as i64
from graphc.codegen.blocking import block
from graphc.codegen.builder import Function, Module
from graphc.codegen.contract_plan import Job, plan_job
from graphc.codegen.dotkernel import dot_function, dot_shape
from graphc.codegen.epilogue import emit_epilogue
from graphc.codegen.evaluate import emit_evaluation
from graphc.codegen.flat import BATCH, M, N, flatten
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.microkernel import tile_function
from graphc.codegen.operands import Depth, Panel, argument, depth_at, left, left_strides, pack_left, pack_right, panel_at, right, scalar
from graphc.codegen.target import Target
from graphc.program import Contraction

_PACK_GRAIN_BYTES = 1 << 17  # packed by one task at least

KERNEL_PARAMS = (("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch"))


def emit_contraction(module: Module, target: Target, kernel: Contraction, name: str) -> KernelCode:
    flat = flatten(kernel)
    if not flat.batch * flat.m * flat.n:
        return KernelCode(())
    job = plan_job(module, target, flat, block(flat, target), name)
    phases = []
    if job.a_source == "evaluated":
        emit_evaluation(module, target, flat, flat.lhs, True, f"{name}_lhs")
    if job.b_source in ("rows", "turned"):
        emit_evaluation(module, target, flat, flat.rhs, job.b_source == "turned", f"{name}_rhs")
    if job.shared_bytes:
        _emit_pack_phase(job)
        units = flat.batch * (job.packed_panels + job.packed_tiles)
        phases.append(Phase(f"{name}_pack", units, max(1, _PACK_GRAIN_BYTES * units // job.shared_bytes)))
    if job.has_epilogue:
        emit_epilogue(module, target, flat, f"{name}_store")
    _emit_compute(job)
    phases.append(Phase(name, job.blocks.units, job.blocks.grain))
    return KernelCode(tuple(phases), job.layout.total, job.shared_bytes)


def _emit_pack_phase(job: Job) -> None:
    """Unit = one panel of B, or after these one tile of A, of one batch element over the whole depth."""
    fn = job.module.function(f"{job.name}_pack", KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    lhs, rhs, shared = argument(fn, flat.lhs.load.slot), argument(fn, flat.rhs.load.slot), argument(fn, len(flat.slots))
    panels = flat.batch * job.packed_panels
    if panels:
        with fn.loop("%begin", i64.minimum(fn, "%end", panels)) as unit:
            batch = i64.floordiv(fn, unit.index, job.packed_panels)
            panel = panel_at(fn, job, i64.mod(fn, unit.index, job.packed_panels))
            into = i64.step(fn, shared, i64.mul(fn, unit.index, job.shared_panel))
            with _counted(fn, blocks.k_blocks) as k_block:
                at = depth_at(fn, job, batch, k_block)
                pack_right(fn, job, rhs, i64.step(fn, into, i64.mul(fn, at.k0, panel.width)), panel, at)
    if job.packed_tiles:
        first = fn.op(f"select i1 {fn.op(f'icmp sgt i64 %begin, {panels}')}, i64 %begin, i64 {panels}")
        with fn.loop(first, "%end") as unit:
            number = i64.sub(fn, unit.index, panels)
            batch = i64.floordiv(fn, number, job.packed_tiles)
            pack_left(fn, job, lhs, shared, batch, i64.mod(fn, number, job.packed_tiles))
    fn.ret()


def _emit_compute(job: Job) -> None:
    fn = job.module.function(job.name, KERNEL_PARAMS, "void", "nounwind")
    flat, blocks = job.flat, job.blocks
    lhs, rhs, shared = argument(fn, flat.lhs.load.slot), argument(fn, flat.rhs.load.slot), argument(fn, len(flat.slots))
    if not flat.k:
        fn.module.declare("@llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        fn.do(f"call void @llvm.memset.p0.i64(ptr %scratch, i8 0, i64 {job.layout.tile}, i1 false)")
    with fn.loop("%begin", "%end") as unit:
        n_block = i64.mod(fn, unit.index, blocks.n_blocks)
        rest = i64.floordiv(fn, unit.index, blocks.n_blocks)
        m0 = i64.mul(fn, i64.mod(fn, rest, blocks.m_blocks), blocks.m_block)
        m1 = i64.minimum(fn, i64.add(fn, m0, blocks.m_block), flat.m)
        batch = i64.floordiv(fn, rest, blocks.m_blocks)
        first = i64.mul(fn, n_block, blocks.n_block)
        after = i64.minimum(fn, i64.add(fn, first, blocks.n_block), blocks.panels)
        with _counted(fn, blocks.k_blocks) as k_block:
            at = depth_at(fn, job, batch, k_block)
            a = left(fn, job, lhs, shared, m0, m1, at)
            with fn.loop(first, after) as number:
                panel = panel_at(fn, job, number.index)
                b, pitch = right(fn, job, rhs, shared, panel, at)
                _emit_tiles(fn, job, a, b, pitch, m0, m1, panel, i64.sub(fn, number.index, first), at, k_block)
    fn.ret()


def _emit_tiles(
    fn: Function, job: Job, a: str, b: str, pitch: str, m0: str, m1: str, panel: Panel, nth_panel: str, at: Depth, k_block: str
) -> None:
    """Every tile of the unit's rows against one panel."""
    flat, blocks = job.flat, job.blocks
    tall, short = _kernels(fn, job, panel)
    finished = "true" if blocks.k_blocks == 1 else i64.equal(fn, k_block, blocks.k_blocks - 1)
    store = flat.plain_store if job.direct else None
    in_place = "false"
    if store:
        destination = argument(fn, store.slot)
        in_place = _both(fn, finished, fn.op(f"xor i1 {panel.last}, true") if blocks.last_dots else "true")
    through_epilogue = _both(fn, finished, "true" if not store else panel.last if blocks.last_dots else "false")
    a_tile, a_row, a_step = left_strides(job)
    with fn.loop(m0, m1, blocks.rows) as tile:
        remaining = i64.sub(fn, flat.m, tile.index)
        rows = i64.minimum(fn, remaining, blocks.rows)
        function = _select_pointer(fn, fn.op(f"icmp slt i64 {remaining}, {blocks.rows}"), short, tall)
        nth = i64.floordiv(fn, i64.sub(fn, tile.index, m0), blocks.rows)
        a_at = i64.step(fn, a, i64.mul(fn, nth, a_tile))
        buffer, start = "%scratch", "null"
        if blocks.k_blocks > 1:
            place = i64.mul(fn, i64.add(fn, i64.mul(fn, nth_panel, blocks.tiles), nth), job.layout.tile)
            buffer = i64.step(fn, "%scratch", place)
            start = _select_pointer(fn, i64.equal(fn, k_block, 0), "null", buffer)
        c, stride = buffer, panel.width
        if store:
            row_stride = store.offset.stride(M)
            assert row_stride is not None
            offset = scalar(fn, job, store.offset, {BATCH: at.batch, M: tile.index, N: panel.n0})
            c = _select_pointer(fn, in_place, i64.step(fn, destination, i64.mul(fn, offset, job.size)), buffer)
            stride = i64.select(fn, in_place, row_stride * job.size, panel.width)
        if flat.k:
            fn.do(
                f"call void {function}(ptr {a_at}, i64 {a_row}, i64 {a_step}, ptr {b}, i64 {pitch}, i64 {at.depth}, ptr {start}, ptr {c}, "
                f"i64 {stride}, i64 {panel.columns}, i64 {rows})"
            )
        if through_epilogue != "false":
            with fn.when(through_epilogue) if through_epilogue != "true" else contextlib.nullcontext():
                fn.do(
                    f"call void @{job.name}_store(ptr %args, ptr {buffer}, i64 {panel.width}, i64 {at.batch}, i64 {tile.index}, i64 {rows}, "
                    f"i64 {panel.strip}, i64 {panel.strip_after})"
                )


def _kernels(fn: Function, job: Job, panel: Panel) -> tuple[str, str]:
    """The functions for tiles of full height and for the last rows, of this panel."""
    flat, blocks = job.flat, job.blocks

    def tile(rows: int, vectors: int, masked: bool) -> str:
        return "@" + tile_function(job.module, job.target, flat.dtype, rows, vectors, masked)

    def dot(columns: int) -> str:
        return "@" + dot_function(job.module, job.target, flat.dtype, *dot_shape(job.target, blocks.lanes, blocks.rows, columns))

    if blocks.dots:
        function = dot(min(flat.n, blocks.width))
        return function, function
    masked = job.direct and job.partial and not blocks.last_dots
    heights = (blocks.rows, blocks.last_rows)
    most = [tile(rows, blocks.vectors, masked and (job.cheap_masks or blocks.panels == 1)) for rows in heights]
    last = [dot(blocks.last_columns(flat.n)) if blocks.last_dots else tile(rows, blocks.last_vectors, masked) for rows in heights]
    if blocks.panels == 1:
        most = last
    tall, short = (_select_pointer(fn, panel.last, x, y) for x, y in zip(last, most, strict=True))
    return tall, short


def _both(fn: Function, x: str, y: str) -> str:
    """The conjunction of two conditions, of which some may be known."""
    if "false" in (x, y):
        return "false"
    return y if x == "true" else x if y == "true" else fn.op(f"and i1 {x}, {y}")


def _select_pointer(fn: Function, condition: str, x: str, y: str) -> str:
    return x if x == y else fn.op(f"select i1 {condition}, ptr {x}, ptr {y}")


@contextlib.contextmanager
def _counted(fn: Function, stop: int):
    """A loop from 0, or its only iteration."""
    if stop == 1:
        yield "0"
    else:
        with fn.loop("0", str(stop)) as loop:
            yield loop.index
