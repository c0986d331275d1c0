"""The epilogue of a contraction, over one strip of a finished tile.

    void @contract_0_store(ptr args, ptr tile, i64 pitch, i64 batch, i64 m0, i64 rows, i64 strip)

`tile` holds the sums of `rows` rows from m0, of the columns of the strip, `pitch` bytes a row. Registers run along n and a strip
is one of them, so that what varies along n only, a bias, is loaded once for all the rows.
"""

from __future__ import annotations

from graphc.codegen.body import Body
from graphc.codegen.builder import Module
from graphc.codegen.flat import Flat, M, N
from graphc.codegen.registers import lanes_of, load_lanes
from graphc.codegen.strips import StripLoop, Strips
from graphc.codegen.target import Target

EPILOGUE_PARAMS = (
    ("ptr", "args"),
    ("ptr", "tile"),
    ("i64", "pitch"),
    ("i64", "batch"),
    ("i64", "m0"),
    ("i64", "rows"),
    ("i64", "strip"),
)


def emit_epilogue(module: Module, target: Target, flat: Flat, name: str) -> None:
    fn = module.function(name, EPILOGUE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    lanes = lanes_of(target, flat.dtype)

    def before(body: Body, pointer: str) -> None:
        body.values[0] = (load_lanes(fn, flat.dtype, lanes, pointer),)

    loop = StripLoop(fn, target, Strips(N, flat.n, lanes), M, flat.epilogue, flat.slots, 1)
    loop.begin("%batch")
    loop.strip("%strip", "%m0", "%rows", "%tile", "%pitch", before)
    fn.ret()
