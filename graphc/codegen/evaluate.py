"""Packing an operand whose map is not one stride per axis, or that is masked, by evaluating the map.

    void @contract_0_rhs(...)      called as the functions of `packing`; source and stride are not used

    panel[k, r] = element (first + r, k0 + k)        registers along the operand's rows, which neighbour in memory
    rows[r, k]  = element (first + r, k0 + k)        registers along k: a left operand, or a panel that is then turned

Registers run along the axis that memory runs along.
"""

from __future__ import annotations

from graphc.codegen import integers as i64
from graphc.codegen.body import Body
from graphc.codegen.builder import Module
from graphc.codegen.flat import Flat, K, Operand
from graphc.codegen.packing import PACK_PARAMS, turn_function
from graphc.codegen.registers import lanes_of, store_lanes
from graphc.codegen.runs import count_runs
from graphc.codegen.strips import StripLoop, Strips, in_strips
from graphc.codegen.target import Target
from graphc.kernel import Load, Store


def evaluation(module: Module, target: Target, flat: Flat, operand: Operand, along_k: bool, name: str) -> str:
    """Emits @name."""
    fn = module.function(name, PACK_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    lanes, size = lanes_of(target, flat.dtype), flat.dtype.itemsize
    axis, other = (K, operand.row_axis) if along_k else (operand.row_axis, K)
    start, count, steps = ("%k0", "%depth", ("%first", "%count")) if along_k else ("%first", "%count", ("%k0", "%depth"))
    loop = StripLoop(fn, target, Strips(axis, flat.extents[axis], lanes), other, (operand.load,), flat.slots, 0)

    def after(body: Body, pointer: str) -> None:
        store_lanes(fn, body.b.splat(body.value(0, 0), lanes), pointer)

    loop.begin("%batch")
    first = i64.floordiv(fn, start, lanes)
    end = i64.add(fn, first, i64.floordiv(fn, i64.add(fn, count, lanes - 1), lanes))
    with fn.loop(first, end, carried=[("ptr", "%panel")]) as strip:
        loop.strip(strip.index, *steps, strip.carried[0], "%pitch", after=after)
        strip.next(i64.step(fn, strip.carried[0], lanes * size))
    fn.ret()
    return name


def turned_evaluation(module: Module, target: Target, flat: Flat, rows_at: int, row_pitch: int, name: str) -> str:
    """Emits @name for the right operand: its rows along k into worker scratch at `rows_at`, then turned into the panel."""
    rows = evaluation(module, target, flat, flat.rhs, True, f"{name}_rows")
    turn = turn_function(module, target, flat.dtype)
    fn = module.function(name, PACK_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    buffer = i64.step(fn, "%scratch", rows_at)
    area = ("%first", "%count", "%k0", "%depth")
    i64.call(fn, f"@{rows}", PACK_PARAMS, "%args", "null", "%batch", "null", 0, buffer, row_pitch, *area)
    i64.call(fn, f"@{turn}", PACK_PARAMS, "%args", "null", "%batch", buffer, row_pitch, "%panel", "%pitch", *area)
    fn.ret()
    return name


def better_along_k(target: Target, flat: Flat, operand: Operand) -> bool:
    """Whether registers along k read memory better than registers along the operand's rows."""
    along_k, along_rows = (
        contiguity(operand.load, axis, flat.extents[axis], lanes_of(target, flat.dtype)) for axis in (K, operand.row_axis)
    )
    return along_k > along_rows


def contiguity(instr: Load | Store, axis: int, extent: int, lanes: int) -> int:
    """2 where registers along an axis are contiguous in memory, 1 where they have another stride, 0 where they have none or there
    is nothing to run along."""
    cut = in_strips(instr, Strips(axis, extent, lanes))
    assert isinstance(cut, (Load, Store))
    stride = cut.offset.stride(axis)
    if stride is None and extent > 1:
        return min(count_runs(cut.offset, axis, min(extent, lanes)), 1)
    return 0 if stride is None or extent == 1 else 2 if abs(stride) == 1 else 1
