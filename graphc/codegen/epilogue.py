"""The epilogue of a contraction, over one finished tile.

    void @contract_0_store(ptr args, ptr tile, i64 pitch, i64 batch, i64 m0, i64 rows, i64 strip, i64 after)

`tile` holds the sums of `rows` rows from m0 and of the columns of the strips [strip, after), `pitch` bytes a row. Registers run along n,
strip by strip, so that what varies along n only, a bias, is loaded once for all the rows.
"""

from __future__ import annotations

from graphc.codegen import integers as i64
from graphc.codegen.body import Body
from graphc.codegen.builder import Module
from graphc.codegen.flat import Flat, M, N
from graphc.codegen.registers import lanes_of, load_lanes
from graphc.codegen.strips import StripBody, StripLoop, Strips
from graphc.codegen.target import Target

EPILOGUE_PARAMS = (
    ("ptr", "args"), ("ptr", "tile"), ("i64", "pitch"), ("i64", "batch"), ("i64", "m0"), ("i64", "rows"), ("i64", "strip"), ("i64", "after"),
)  # fmt: skip


def emit_epilogue(module: Module, target: Target, flat: Flat, name: str) -> None:
    fn = module.function(name, EPILOGUE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    lanes, size = lanes_of(target, flat.dtype), flat.dtype.itemsize
    loop = StripLoop(fn, target, Strips(N, flat.n, lanes), M, flat.epilogue, flat.slots, 1)

    def start(nth: str) -> tuple[str, str]:
        return i64.step(fn, "%tile", i64.mul(fn, nth, lanes * size)), "%pitch"

    def before(body: Body, pointer: str) -> None:
        body.values[0] = (load_lanes(fn, flat.dtype, lanes, pointer),)

    loop.run("%batch", "%strip", "%after", "%m0", "%rows", StripBody(start, before, lambda body, pointer: None))
    fn.ret()
