"""A loop of independent multiply-adds in vector registers: the ceiling of every contraction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from graphc.codegen import llvm
from graphc.codegen.target import host_target
from graphc.runtime import jit

CHAINS = 12  # enough independent sums to hide the latency of an FMA
TRIPS = 200_000


def fma_loop() -> tuple[Callable[[], object], float]:
    """A function that runs the loop once, and the FLOPs that it does."""
    target = host_target()
    lanes = target.vector_bytes // 4
    vector = f"<{lanes} x float>"
    module = llvm.new_module(target)
    fn = module.function("peak", [("ptr", "out"), ("float", "x")], attributes="nounwind")
    fn.module.declare(f"llvm.fma.v{lanes}f32", f"{vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})")
    one = fn.op(f"insertelement {vector} poison, float %x, i32 0")
    x = fn.op(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer")
    with fn.loop("0", str(TRIPS), carried=[(vector, "zeroinitializer")] * CHAINS) as loop:
        if target.has_fma:
            loop.next(
                *(fn.op(f"call {vector} @llvm.fma.v{lanes}f32({vector} {c}, {vector} {x}, {vector} {x})") for c in loop.carried)
            )
        else:
            loop.next(*(fn.op(f"fadd {vector} {fn.op(f'fmul {vector} {c}, {x}')}, {x}") for c in loop.carried))
    total = loop.results[0]
    for other in loop.results[1:]:
        total = fn.op(f"fadd {vector} {total}, {other}")
    fn.do(f"store {vector} {total}, ptr %out, align 4")
    fn.ret()
    library = jit.load(llvm.emit_object(str(module), target), ["peak"])
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_float)(library.address("peak"))
    out = (ctypes.c_float * 64)()
    keep = (library, out)

    def run() -> object:
        call(ctypes.addressof(out), 0.5)
        return keep

    return run, 2.0 * lanes * CHAINS * TRIPS
