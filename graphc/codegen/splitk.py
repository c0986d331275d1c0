"""A contraction of few rows and columns but much depth, its depth cut into parts that are summed on their own.

    phase 1   parts[b, s, m, n] = sum over the k of part s         one unit for each part and block
    phase 2   epilogue of parts[b, 0] + parts[b, 1] + ...          in that order, one unit for a few rows

The parts are cut by shape, so the result is the same for any number of threads. They lie in shared scratch, rows of whole panels.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen import integers as i64
from graphc.codegen.builder import Module
from graphc.codegen.contract_plan import Job
from graphc.codegen.driver import strip_loop
from graphc.codegen.microkernel import plus
from graphc.codegen.registers import lanes_of, memory_type
from graphc.codegen.target import Target
from graphc.types import SHORT_NAMES

KERNEL_PARAMS = (("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch"))
_SUM_PARAMS = (("ptr", "parts"), ("i64", "stride"), ("i64", "end"), ("ptr", "total"), ("i64", "count"))


def emit_finish(module: Module, job: Job, parts_at: int, name: str) -> int:
    """Emits the second phase as @name_finish; returns its units. The parts lie at `parts_at` in shared scratch."""
    flat, blocks = job.flat, job.blocks
    add = sum_function(module, job.target, flat.dtype)
    fn = module.function(f"{name}_finish", KERNEL_PARAMS, "void", "nounwind")
    shared = i64.step(fn, fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * len(flat.slots))}"), parts_at)
    tiles = -(-flat.m // blocks.rows)
    strips = (blocks.panels - 1) * blocks.vectors + blocks.last_vectors
    with fn.loop("%begin", "%end") as unit:
        batch = i64.floordiv(fn, unit.index, tiles)
        m0 = i64.mul(fn, i64.mod(fn, unit.index, tiles), blocks.rows)
        rows = i64.minimum(fn, i64.sub(fn, flat.m, m0), blocks.rows)
        at = i64.add(fn, i64.mul(fn, batch, job.part_bytes * blocks.k_parts), i64.mul(fn, m0, job.part_row))
        elements = i64.mul(fn, rows, job.part_row // job.size)
        parts = i64.step(fn, shared, at)
        i64.call(fn, f"@{add}", _SUM_PARAMS, parts, job.part_bytes, job.part_bytes * blocks.k_parts, "%scratch", elements)
        strip_loop(
            fn, f"@{name}_store", "%scratch", str(job.part_row), batch, m0, rows, ("0", str(strips)), str(blocks.lanes * job.size)
        )
    fn.ret()
    return flat.batch * tiles


def sum_function(module: Module, target: Target, dtype: np.dtype) -> str:
    """@contract_sum: total[i] = part 0 [i] + part 1 [i] + ..., parts `stride` bytes apart, up to `end`."""
    name = f"contract_sum_{SHORT_NAMES[dtype]}"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, _SUM_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    lanes, size = lanes_of(target, dtype), dtype.itemsize
    vector = f"<{lanes} x {memory_type(dtype)}>"
    with fn.loop("0", "%count", lanes) as element:
        offset = i64.mul(fn, element.index, size)
        first = i64.step(fn, "%parts", offset)
        start = fn.op(f"load {vector}, ptr {first}, align {size}")
        with fn.loop("%stride", "%end", "%stride", carried=[(vector, start)]) as part:
            value = fn.op(f"load {vector}, ptr {i64.step(fn, first, part.index)}, align {size}")
            part.next(fn.op(f"{plus(dtype)} {vector} {part.carried[0]}, {value}"))
        fn.do(f"store {vector} {part.results[0]}, ptr {i64.step(fn, '%total', offset)}, align {size}")
    fn.ret()
    return name
