"""What happens to a finished tile."""

from __future__ import annotations

from graphc.codegen import integers as i64
from graphc.codegen.address import Addresses
from graphc.codegen.builder import Module
from graphc.codegen.flat import BATCH, Flat, M, N
from graphc.codegen.microkernel import memory_type
from graphc.codegen.packing import lanes_below
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.target import Target

EPILOGUE_PARAMS = (("ptr","args"),("ptr","tile"),("i64","pitch"),("i64","batch"),("i64","m0"),("i64","rows"),("i64","n0"),("i64","columns"))


def emit_epilogue(module: Module, target: Target, flat: Flat, name: str, lanes: int) -> None:
    fn = module.function(name, EPILOGUE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    store = flat.plain_store
    size = flat.dtype.itemsize
    el = memory_type(flat.dtype)
    vt = f"<{lanes} x {el}>"
    suffix = {"float": "f32", "double": "f64"}.get(el, el)
    full = f"@llvm.masked.store.v{lanes}{suffix}.p0"
    module.declare(full, f"void {full}({vt}, ptr, i32, <{lanes} x i1>)")
    out = fn.op(f"load ptr, ptr {i64.step(fn, '%args', 8 * store.slot)}")
    with fn.loop("0", "%rows") as r:
        ad = Addresses(LaneBuilder(fn, target), (1, 1, 1, 1), None, 1)
        ad.axis.update({BATCH: "%batch", M: i64.add(fn, "%m0", r.index), N: "%n0"})
        key = (None, store.offset)
        ad.track([key]); ad.enter(1, [key])
        p = i64.step(fn, out, i64.mul(fn, ad.scalar(store.offset), size))
        t = i64.step(fn, "%tile", i64.mul(fn, r.index, "%pitch"))
        with fn.loop("0", "%columns", lanes) as c:
            o = i64.mul(fn, c.index, size)
            v = fn.op(f"load {vt}, ptr {i64.step(fn, t, o)}, align {size}")
            mask = lanes_below(fn, lanes, i64.sub(fn, "%columns", c.index))
            fn.do(f"call void {full}({vt} {v}, ptr {i64.step(fn, p, o)}, i32 {size}, <{lanes} x i1> {mask})")
    fn.ret()
