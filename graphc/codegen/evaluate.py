"""An operand whose map is not one stride per axis, or that is masked, laid out by evaluating its map.

    void @contract_0_rhs(ptr args, ptr into, i64 pitch, i64 batch, i64 strip, i64 after, i64 step, i64 steps)

    into[s * pitch + lane] = element (strip * lanes + lane, step + s)

Registers run along one of the operand's two axes, its rows or k, and steps along the other: whichever is contiguous in memory.
"""

from __future__ import annotations

from graphc.codegen import integers as i64
from graphc.codegen.body import Body
from graphc.codegen.builder import Module
from graphc.codegen.flat import K, Flat, Operand
from graphc.codegen.registers import lanes_of, store_lanes
from graphc.codegen.strips import StripBody, StripLoop, Strips, in_strips
from graphc.codegen.target import Target
from graphc.program import Load

EVALUATE_PARAMS = (
    ("ptr", "args"), ("ptr", "into"), ("i64", "pitch"), ("i64", "batch"), ("i64", "strip"), ("i64", "after"), ("i64", "step"), ("i64", "steps"),
)  # fmt: skip


def emit_evaluation(module: Module, target: Target, flat: Flat, operand: Operand, along_k: bool, name: str) -> None:
    fn = module.function(name, EVALUATE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    lanes, size = lanes_of(target, flat.dtype), flat.dtype.itemsize
    axis, other = (K, operand.row_axis) if along_k else (operand.row_axis, K)
    loop = StripLoop(fn, target, Strips(axis, flat.extents[axis], lanes), other, (operand.load,), flat.slots, 0)

    def start(nth: str) -> tuple[str, str]:
        return i64.step(fn, "%into", i64.mul(fn, nth, lanes * size)), "%pitch"

    def after(body: Body, pointer: str) -> None:
        store_lanes(fn, body.b.splat(body.value(0, 0), lanes), pointer)

    loop.run("%batch", "%strip", "%after", "%step", "%steps", StripBody(start, lambda body, pointer: None, after))
    fn.ret()


def better_along_k(target: Target, flat: Flat, operand: Operand) -> bool:
    """Whether registers along k read memory better than registers along the operand's rows."""

    def merit(axis: int) -> int:
        load = in_strips(operand.load, Strips(axis, flat.extents[axis], lanes_of(target, flat.dtype)))
        assert isinstance(load, Load)
        stride = load.offset.stride(axis)
        return 0 if stride is None or flat.extents[axis] == 1 else 2 if abs(stride) == 1 else 1

    return merit(K) > merit(operand.row_axis)
