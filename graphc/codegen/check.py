"""Checks of values at run time: a failed one is reported in the error record, and the entry returns its code."""

from __future__ import annotations

import numpy as np

from graphc.codegen.apart import lane_of
from graphc.codegen.memory import live_mask
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import Value
from graphc.kernel import Check
from graphc.types import bool_, int64


def emit_check(b: LaneBuilder, instr: Check, x: Value, live: int, errors: str | None) -> None:
    """Report the first failing lane of the first `live`, unless a failure was reported before."""
    fn = b.fn
    limits = np.iinfo(x.dtype)
    good = b.const(instr.low < instr.high, bool_)
    if instr.low > limits.min:
        good = b.logical_and(good, b.ge(x, b.const(min(instr.low, limits.max), x.dtype)))
    if instr.high <= limits.max:
        good = b.logical_and(good, b.lt(x, b.const(max(instr.high, limits.min), x.dtype)))
    if instr.ignore is not None and limits.min <= instr.ignore <= limits.max:
        good = b.logical_or(good, b.eq(x, b.const(instr.ignore, x.dtype)))
    bad = b.logical_not(good)
    if x.lanes > 1:
        bad = b.splat(bad, x.lanes)
        if live < x.lanes:
            bad = b.logical_and(bad, live_mask(live, x.lanes))
    with fn.when(b.any(bad)):
        first = fn.op(f"load i64, ptr {errors}, align 8")
        with fn.when(fn.op(f"icmp eq i64 {first}, 0")):
            value = x
            if x.lanes > 1:
                width = f"i{x.lanes}"
                bits = fn.op(f"bitcast <{x.lanes} x i1> {bad.name} to {width}")
                fn.module.declare(f"@llvm.cttz.{width}", f"{width} @llvm.cttz.{width}({width}, i1)")
                value = lane_of(b, x, f"{width} " + fn.op(f"call {width} @llvm.cttz.{width}({width} {bits}, i1 false)"))
            wide = b.cast(value, int64)
            fn.do(f"store i64 {instr.code}, ptr {errors}, align 8")
            at = fn.op(f"getelementptr i64, ptr {errors}, i64 1")
            fn.do(f"store i64 {wide.name}, ptr {at}, align 8")
