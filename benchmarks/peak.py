"""Loops in LLVM that nothing but the machine limits: multiply-adds in registers, streams over arrays, and calls repeated.

They are written here instruction by instruction, at the level that graphc generates code for (GRAPHC_CPU), so a limit does not
depend on how good graphc's own kernels are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np

from graphc.codegen import llvm
from graphc.codegen.builder import Function, Module
from graphc.codegen.target import host_target
from graphc.runtime import jit

CHAINS = 12  # enough independent sums to hide the latency of a multiply-add
TRIPS = 100_000
UNROLL = 8  # vectors of one trip of a stream
# Arrays that each stream passes over, counted once for each read and each write.
STREAMS = {
    "read": 1,
    "fill": 1,
    "update": 2,
    "copy": 2,
    "triad": 3,
    "streaming fill": 1,
    "streaming copy": 2,
    "streaming triad": 3,
}
PLAIN = tuple(kind for kind in STREAMS if " " not in kind)


def build(name: str, params: list[tuple[str, str]], write: Callable[[Module, Function], None]) -> Callable[..., object]:
    """A native function of pointers and integers without a result."""
    target = host_target()
    module = llvm.new_module(target)
    fn = module.function(name, params, attributes="nounwind")
    write(module, fn)
    fn.ret()
    library = jit.load(llvm.emit_object(str(module), target), [name])
    types = [ctypes.c_void_p if kind == "ptr" else ctypes.c_int64 for kind, _ in params]
    call = ctypes.CFUNCTYPE(None, *types)(library.address(name))
    call.library = library  # type: ignore[attr-defined] # the code stays mapped for as long as the function lives
    return call


@cache
def fma_loop(dtype: str = "float32") -> tuple[Callable[[], object], float]:
    """A function that runs independent multiply-adds once, and the FLOPs that it does."""
    target = host_target()
    lanes = target.lanes(np.dtype(dtype).itemsize)
    element, suffix = {"float32": ("float", "f32"), "float64": ("double", "f64")}[dtype]
    vector = f"<{lanes} x {element}>"
    fma = f"@llvm.fma.v{lanes}{suffix}"

    def write(module: Module, fn: Function) -> None:
        module.declare(fma[1:], f"{vector} {fma}({vector}, {vector}, {vector})")
        x = fn.op(f"load {vector}, ptr %x, align 8")
        with fn.loop("0", str(TRIPS), carried=[(vector, "zeroinitializer")] * CHAINS) as loop:
            if target.has_fma:
                loop.next(*(fn.op(f"call {vector} {fma}({vector} {c}, {vector} {x}, {vector} {x})") for c in loop.carried))
            else:
                loop.next(*(fn.op(f"fadd {vector} {fn.op(f'fmul {vector} {c}, {x}')}, {x}") for c in loop.carried))
        total = loop.results[0]
        for other in loop.results[1:]:
            total = fn.op(f"fadd {vector} {total}, {other}")
        fn.do(f"store {vector} {total}, ptr %x, align 8")

    call = build("peak", [("ptr", "x")], write)

    def run() -> None:
        x = np.full(lanes, 0.5, dtype)
        call(x.ctypes.data)

    return run, 2.0 * lanes * CHAINS * TRIPS


@cache
def stream(kind: str) -> Callable[..., object]:
    """stream(a, b, c, bytes, times): `times` passes over `bytes` of arrays on cache lines. read: the sum of a, to c;
    fill: a = 0.5; update: a = 0.5 a; copy: a = b; triad: a = b + 0.5 c; streaming ones store past the caches."""
    width = host_target().vector_bytes
    vector = f"<{width // 4} x float>"
    half = f"<{', '.join(['float 0.5'] * (width // 4))}>"

    def write(module: Module, fn: Function) -> None:
        hint = ", !nontemporal !0" if kind.startswith("streaming") else ""
        module.add_global("!0 = !{i32 1}")
        sums = [(vector, "zeroinitializer")] * (UNROLL if kind == "read" else 0)
        with fn.loop("0", "%times", carried=sums) as passes:
            totals = [(vector, total) for total in passes.carried]
            with fn.loop("0", "%bytes", step=UNROLL * width, carried=totals) as at:
                values = []
                for position in range(UNROLL):
                    offset = fn.op(f"add i64 {at.index}, {position * width}")
                    place = {name: fn.op(f"getelementptr i8, ptr %{name}, i64 {offset}") for name in "abc"}
                    value = half
                    if source := {"fill": "", "copy": "b", "triad": "b"}.get(kind.split()[-1], "a"):
                        value = fn.op(f"load {vector}, ptr {place[source]}, align {width}")
                    if kind == "read":
                        values.append(fn.op(f"fadd {vector} {at.carried[position]}, {value}"))
                        continue
                    if kind == "update":
                        value = fn.op(f"fmul {vector} {value}, {half}")
                    if kind.endswith("triad"):
                        other = fn.op(f"load {vector}, ptr {place['c']}, align {width}")
                        value = fn.op(f"fadd {vector} {value}, {fn.op(f'fmul {vector} {other}, {half}')}")
                    fn.do(f"store {vector} {value}, ptr {place['a']}, align {width}{hint}")
                at.next(*values)
            passes.next(*at.results)
        for position, total in enumerate(passes.results):
            fn.do(f"store {vector} {total}, ptr {fn.op(f'getelementptr i8, ptr %c, i64 {position * width}')}, align 4")

    return build("stream", [("ptr", "a"), ("ptr", "b"), ("ptr", "c"), ("i64", "bytes"), ("i64", "times")], write)


@cache
def repeater() -> Callable[..., object]:
    """repeat(function, frame, times): calls `i64 function(ptr frame)` so often, without Python in between."""

    def write(module: Module, fn: Function) -> None:
        with fn.loop("0", "%times") as loop:
            fn.op("call i64 %function(ptr %frame)")
            loop.next()

    return build("repeat", [("ptr", "function"), ("ptr", "frame"), ("i64", "times")], write)


@cache
def nothing() -> Callable[..., object]:
    """A function that `repeater` can call and that returns at once."""
    return build("nothing", [("ptr", "frame")], lambda module, fn: None)
