"""The layout of a pool (graphc/codegen/pool.py has its meaning), and what both sides of it say to the processor."""

from __future__ import annotations

from graphc.codegen.builder import Function
from graphc.codegen.target import Target

POOL_BYTES = 896
BOX_BYTES = 128

# Header, in bytes.
WORKERS, SPINS, CREATE, DETACH, SIGMASK, SETMASK = range(0, 48, 8)
PATIENCE, SIGNALS = 88, 128
# State, one cache line pair for each kind of traffic: the caller's, the sleepers', the finishers'.
BUSY, STARTED, JOB = 512, 516, 520
MISSED, ENDED, BEGAN, WAKE_AT = 528, 536, 544, 552  # ticks worked while others slept, clock values; 0: wake nobody
SLEEPERS = 640
OUTSTANDING, JOINING = 768, 776
# A worker's box. The job number is the upper half of the claim word, and what its worker sleeps on.
CLAIM, NUMBER, FN, ARGS, END, LEAST, SCRATCH, STRIDE, BOXES = 0, 4, 8, 16, 24, 32, 40, 48, 56
POOL, INDEX, ASLEEP = 64, 72, 80


def box_of(fn: Function, pool: str, index: str) -> str:
    distance = fn.op(f"add i64 {fn.op(f'mul i64 {index}, {BOX_BYTES}')}, {POOL_BYTES}")
    return fn.op(f"getelementptr i8, ptr {pool}, i64 {distance}", "box")


def extreme(fn: Function, kind: str, a: str, b: str) -> str:
    fn.module.declare(f"llvm.{kind}.i64", f"i64 @llvm.{kind}.i64(i64, i64)")
    return fn.op(f"call i64 @llvm.{kind}.i64(i64 {a}, i64 {b})")


def pause(fn: Function, target: Target) -> None:
    """Tell the processor that this is a spin loop."""
    if target.triple.startswith("aarch64"):
        fn.module.declare("llvm.aarch64.isb", "void @llvm.aarch64.isb(i32)")
        fn.do("call void @llvm.aarch64.isb(i32 15)")
    else:
        fn.module.declare("llvm.x86.sse2.pause", "void @llvm.x86.sse2.pause()")
        fn.do("call void @llvm.x86.sse2.pause()")
