"""The floating-point environment of native code: round to nearest, denormals kept, no traps. Bits depend on it, so every thread
that runs kernels sets it on entry, whatever its caller or another library left there."""

from __future__ import annotations

from graphc.codegen.builder import Function
from graphc.codegen.target import Target

# x86 MXCSR: bits 0-5 are sticky flags, the rest is control; 0x1F80 masks all traps and sets nothing else.
_MXCSR_CONTROL = 0xFFC0
_MXCSR_DEFAULT = 0x1F80


def enter(fn: Function, target: Target) -> tuple[str, str]:
    """Set the environment where it differs, in the entry block. Returns what `leave` needs."""
    if target.triple.startswith("aarch64"):
        fn.module.declare("llvm.aarch64.get.fpcr", "i64 @llvm.aarch64.get.fpcr()")
        fn.module.declare("llvm.aarch64.set.fpcr", "void @llvm.aarch64.set.fpcr(i64)")
        saved = fn.op("call i64 @llvm.aarch64.get.fpcr()", "fpcr")
        changed = fn.op(f"icmp ne i64 {saved}, 0")
        with fn.when(changed):
            fn.do("call void @llvm.aarch64.set.fpcr(i64 0)")
        return saved, changed
    fn.module.declare("llvm.x86.sse.stmxcsr", "void @llvm.x86.sse.stmxcsr(ptr)")
    fn.module.declare("llvm.x86.sse.ldmxcsr", "void @llvm.x86.sse.ldmxcsr(ptr)")
    saved, ours = fn.op("alloca i32", "mxcsr"), fn.op("alloca i32", "mxcsr")
    fn.do(f"call void @llvm.x86.sse.stmxcsr(ptr {saved})")
    control = fn.op(f"and i32 {fn.op(f'load i32, ptr {saved}')}, {_MXCSR_CONTROL}")
    changed = fn.op(f"icmp ne i32 {control}, {_MXCSR_DEFAULT}")
    with fn.when(changed):
        fn.do(f"store i32 {_MXCSR_DEFAULT}, ptr {ours}")
        fn.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {ours})")
    return saved, changed


def leave(fn: Function, target: Target, saved: str, changed: str) -> None:
    """Give the caller its environment back."""
    with fn.when(changed):
        if target.triple.startswith("aarch64"):
            fn.do(f"call void @llvm.aarch64.set.fpcr(i64 {saved})")
        else:
            fn.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {saved})")
