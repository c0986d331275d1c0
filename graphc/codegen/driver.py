"""The loops of a contraction, emitted once in a module and driven by a table: one contraction more is one table more.

    void @contract_run(ptr plan, ptr args, i64 batch, ptr a, ptr b, ptr packed, ptr c, i64 k_begin, i64 k_end, i64 begin,
                       i64 end, ptr scratch)

    for unit in begin..end:                       (m block, n block) of one batch element
      for k block in k_begin..k_end:              ascending
        for panel of the n block:                 packed now, packed before, or read as it lies
          for tile of the m block:                the register tile, then the epilogue where k is finished

    void @contract_pack(ptr plan, ptr args, i64 batch, ptr source, ptr into, i64 begin, i64 end, ptr scratch)

packs groups of panels, in each group by turns a stretch of k: panels that share cache lines and pages are read together.

A table is a constant of 8-byte fields, numbers and functions, named below; strides and sizes are in bytes unless the name or a
comment says otherwise. Functions are called as `TILE_PARAMS`, `PACK_PARAMS` and `EPILOGUE_PARAMS` of their files say.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from graphc.codegen import integers as i64
from graphc.codegen.builder import Function, Module
from graphc.codegen.epilogue import EPILOGUE_PARAMS
from graphc.codegen.microkernel import TILE_PARAMS
from graphc.codegen.packing import PACK_PARAMS
from graphc.codegen.prefetch import PREFETCH_PARAMS

RUN_PARAMS = (
    ("ptr", "plan"), ("ptr", "args"), ("i64", "batch"), ("ptr", "a"), ("ptr", "b"), ("ptr", "packed"), ("ptr", "c"),
    ("i64", "k_begin"), ("i64", "k_end"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch"),
)  # fmt: skip
PACK_PHASE_PARAMS = (
    ("ptr", "plan"), ("ptr", "args"), ("i64", "batch"), ("ptr", "source"), ("ptr", "into"), ("i64", "begin"), ("i64", "end"),
    ("ptr", "scratch"),
)  # fmt: skip


class Run(enum.IntEnum):
    """A contraction; two of `Kind` follow, for all panels but the last and for the last."""

    M = 0  # rows
    N_BLOCKS = 1
    M_BLOCK = 2  # rows
    N_BLOCK = 3  # panels
    K_BLOCK = 4  # steps
    PANELS = 5
    ROWS = 6  # of a tile
    A_TILE = 7
    A_ROW = 8
    A_STEP = 9
    EVALUATE_A = 10  # a pack function, or null
    A_SCRATCH = 11  # where it puts its rows, A_ROW apart
    C_TILE = 12
    C_ROW = 13
    C_PANEL = 14
    TILE = 15  # from tile to tile in scratch: 0 where they do not wait for another k block
    PANEL_TILES = 16  # likewise from panel to panel
    PANEL_SCRATCH = 17
    PANEL_COLUMNS = 18
    PANEL_STRIPS = 19
    STRIP = 20  # a register
    EPILOGUE = 21
    PREFETCH = 22  # a function of `prefetch`, or null


class Kind(enum.IntEnum):
    COLUMNS = 0
    STRIPS = 1
    WIDTH = 2
    PACKED = 3  # 1 where B was packed by the phase before
    B_PANEL = 4
    B_STEP = 5  # from step to step, to find a k block
    PITCH = 6  # what the tile is given as its own
    PACK = 7  # a pack function, or null
    PACK_STRIDE = 8
    DIRECT = 9  # 1 where finished sums go straight to C
    TALL = 10  # the tile of full height
    SHORT = 11  # the tile of the last rows
    # The tiles of a block together ask for the next panel, each for one line a step: tile t begins at t & AHEAD_MASK times
    # AHEAD_TILE.
    AHEAD_STEP = 12
    AHEAD_TILE = 13
    AHEAD_MASK = 14


class Pack(enum.IntEnum):
    PANELS = 0
    GROUP = 1  # panels
    CHUNK = 2  # steps
    K = 3  # steps
    PANEL_COLUMNS = 4
    COLUMNS = 5  # of the last panel
    WIDTH = 6
    LAST_WIDTH = 7
    PANEL = 8  # from panel to panel in the source
    STEP = 9
    STRIDE = 10  # what the pack function is given
    INTO = 11  # from panel to panel in the destination
    FUNCTION = 12


def add_table(
    module: Module, name: str, fields: Mapping[enum.IntEnum, int | str], *more: Mapping[enum.IntEnum, int | str]
) -> None:
    """The constant @name: every field of the enumerations, functions by name and `null` for none."""
    values = [part[key] for part in (fields, *more) for key in type(next(iter(part)))]
    types = ["i64" if isinstance(value, int) else "ptr" for value in values]
    body = ", ".join(f"{type_} {value}" for type_, value in zip(types, values, strict=True))
    module.add_global(f"@{name} = private unnamed_addr constant {{ {', '.join(types)} }} {{ {body} }}, align 8")


def run_function(module: Module) -> str:
    """`@contract_run`."""
    name = "contract_run"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, RUN_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    with fn.loop("%begin", "%end") as unit:
        n_blocks = _number(fn, Run.N_BLOCKS)
        m_number, n_number = fn.op(f"udiv i64 {unit.index}, {n_blocks}"), fn.op(f"urem i64 {unit.index}, {n_blocks}")
        m0 = i64.mul(fn, m_number, _number(fn, Run.M_BLOCK))
        m1 = i64.minimum(fn, i64.add(fn, m0, _number(fn, Run.M_BLOCK)), _number(fn, Run.M))
        first = i64.mul(fn, n_number, _number(fn, Run.N_BLOCK))
        after = i64.minimum(fn, i64.add(fn, first, _number(fn, Run.N_BLOCK)), _number(fn, Run.PANELS))
        tiles = fn.op(f"udiv i64 {m0}, {_number(fn, Run.ROWS)}")
        a_unit = i64.step(fn, "%a", i64.mul(fn, tiles, _number(fn, Run.A_TILE)))
        c_unit = i64.step(fn, "%c", i64.mul(fn, tiles, _number(fn, Run.C_TILE)))
        k_block = _number(fn, Run.K_BLOCK)
        with fn.loop("%k_begin", "%k_end", k_block) as k:
            left = i64.sub(fn, "%k_end", k.index)
            depth = i64.minimum(fn, left, k_block)
            finished = fn.op(f"icmp sle i64 {left}, {k_block}")
            a = _left(fn, a_unit, m0, i64.sub(fn, m1, m0), k.index, depth)
            with fn.loop(first, after, carried=[("ptr", "%scratch")]) as panel:
                kind = _kind(fn, panel.index)
                b, source = _right(fn, kind, panel.index, k.index, depth)
                panel_bytes = _number(fn, Kind.B_PANEL, kind)
                is_last = i64.equal(fn, i64.add(fn, panel.index, 1), _number(fn, Run.PANELS))
                back = i64.sub(fn, 0, i64.mul(fn, panel.index, panel_bytes))
                ahead = i64.step(fn, source, i64.select(fn, is_last, back, panel_bytes))
                c = i64.step(fn, c_unit, i64.mul(fn, panel.index, _number(fn, Run.C_PANEL)))
                _tiles(fn, kind, panel.index, k.index, depth, finished, a, b, ahead, c, panel.carried[0], m0, m1)
                panel.next(i64.step(fn, panel.carried[0], _number(fn, Run.PANEL_TILES)))
    fn.ret()
    return name


def _left(fn: Function, a_unit: str, m0: str, rows: str, k0: str, depth: str) -> str:
    """The address of the unit's rows of A in this k block."""
    in_place = i64.step(fn, a_unit, i64.mul(fn, k0, _number(fn, Run.A_STEP)))
    evaluate = _pointer(fn, Run.EVALUATE_A)
    known = fn.op(f"icmp eq ptr {evaluate}, null")
    into = i64.step(fn, "%scratch", _number(fn, Run.A_SCRATCH))
    with fn.when(fn.op(f"xor i1 {known}, true")):
        area = (m0, rows, k0, depth)
        i64.call(fn, evaluate, PACK_PARAMS, "%args", "%scratch", "%batch", "null", 0, into, _number(fn, Run.A_ROW), *area)
    return fn.op(f"select i1 {known}, ptr {in_place}, ptr {into}")


def _right(fn: Function, kind: str, panel: str, k0: str, depth: str) -> tuple[str, str]:
    """The address of a panel of B in this k block, and that of what it was made from."""
    from_packed = fn.op(f"icmp ne i64 {_number(fn, Kind.PACKED, kind)}, 0")
    base = fn.op(f"select i1 {from_packed}, ptr %packed, ptr %b")
    offset = i64.add(fn, i64.mul(fn, panel, _number(fn, Kind.B_PANEL, kind)), i64.mul(fn, k0, _number(fn, Kind.B_STEP, kind)))
    source = i64.step(fn, base, offset)
    pack = _pointer(fn, Kind.PACK, kind)
    known = fn.op(f"icmp eq ptr {pack}, null")
    into = i64.step(fn, "%scratch", _number(fn, Run.PANEL_SCRATCH))
    with fn.when(fn.op(f"xor i1 {known}, true")):
        stride, width = _number(fn, Kind.PACK_STRIDE, kind), _number(fn, Kind.WIDTH, kind)
        area = (i64.mul(fn, panel, _number(fn, Run.PANEL_COLUMNS)), _number(fn, Kind.COLUMNS, kind), k0, depth)
        i64.call(fn, pack, PACK_PARAMS, "%args", "%scratch", "%batch", source, stride, into, width, *area)
    return fn.op(f"select i1 {known}, ptr {source}, ptr {into}"), source


def _tiles(
    fn: Function,
    kind: str,
    panel: str,
    k0: str,
    depth: str,
    finished: str,
    a: str,
    b: str,
    ahead: str,
    c: str,
    waiting: str,
    m0: str,
    m1: str,
) -> None:
    """Every tile of the unit's rows against one panel."""
    direct = fn.op(f"icmp ne i64 {_number(fn, Kind.DIRECT, kind)}, 0")
    in_place = fn.op(f"and i1 {finished}, {direct}")
    to_epilogue = fn.op(f"and i1 {finished}, {fn.op(f'xor i1 {direct}, true')}")
    fresh = i64.equal(fn, k0, "%k_begin")
    width, columns, pitch = (_number(fn, field, kind) for field in (Kind.WIDTH, Kind.COLUMNS, Kind.PITCH))
    strip = i64.mul(fn, panel, _number(fn, Run.PANEL_STRIPS))
    strip_after = i64.add(fn, strip, _number(fn, Kind.STRIPS, kind))
    half = fn.op(f"lshr i64 {i64.add(fn, i64.add(fn, strip, strip_after), 1)}, 1")
    stride = i64.select(fn, in_place, _number(fn, Run.C_ROW), width)
    tall, short = _pointer(fn, Kind.TALL, kind), _pointer(fn, Kind.SHORT, kind)
    a_row, a_step, height = (_number(fn, field) for field in (Run.A_ROW, Run.A_STEP, Run.ROWS))
    ahead_step, ahead_tile, ahead_mask = (
        _number(fn, field, kind) for field in (Kind.AHEAD_STEP, Kind.AHEAD_TILE, Kind.AHEAD_MASK)
    )
    carried = [("ptr", a), ("ptr", c), ("ptr", waiting), ("i64", "0")]
    with fn.loop(m0, m1, height, carried=carried) as tile:
        a_at, c_at, waiting_at, number = tile.carried
        asked = i64.step(fn, ahead, i64.mul(fn, fn.op(f"and i64 {number}, {ahead_mask}"), ahead_tile))
        left = i64.sub(fn, m1, tile.index)
        is_last = fn.op(f"icmp slt i64 {left}, {height}")
        rows = i64.select(fn, is_last, left, height)
        function = fn.op(f"select i1 {is_last}, ptr {short}, ptr {tall}")
        prefetch = _pointer(fn, Run.PREFETCH)
        asks = fn.op(f"and i1 {to_epilogue}, {fn.op(f'icmp ne ptr {prefetch}, null')}")
        with fn.when(asks):
            i64.call(fn, prefetch, PREFETCH_PARAMS, "%args", "%batch", tile.index, rows, strip, half)
        start = fn.op(f"select i1 {fresh}, ptr null, ptr {waiting_at}")
        into = fn.op(f"select i1 {in_place}, ptr {c_at}, ptr {waiting_at}")
        i64.call(
            fn, function, TILE_PARAMS,
            a_at, a_row, a_step, b, pitch, depth, start, into, stride, columns, rows, asked, ahead_step,
        )  # fmt: skip
        # One half of the lines before a tile, the other before the epilogue of the tile above: as many misses as a core has
        # room for, beside those of the tile.
        with fn.when(asks):
            below = i64.add(fn, tile.index, height)
            rows_below = i64.minimum(fn, i64.sub(fn, m1, below), height)
            i64.call(fn, prefetch, PREFETCH_PARAMS, "%args", "%batch", below, rows_below, half, strip_after)
        with fn.when(to_epilogue):
            function = _pointer(fn, Run.EPILOGUE)
            strip_loop(fn, function, waiting_at, width, "%batch", tile.index, rows, (strip, strip_after), _number(fn, Run.STRIP))
        steps = zip(tile.carried[:3], (Run.A_TILE, Run.C_TILE, Run.TILE), strict=True)
        tile.next(*(i64.step(fn, at, _number(fn, field)) for at, field in steps), i64.add(fn, number, 1))


def strip_loop(
    fn: Function, epilogue: str, tile: str, pitch: str, batch: str, m0: str, rows: str, strips: tuple[str, str], strip_bytes: str
) -> None:
    """The epilogue, over a tile's strips."""
    with fn.loop(*strips, carried=[("ptr", tile)]) as strip:
        at = strip.carried[0]
        i64.call(fn, epilogue, EPILOGUE_PARAMS, "%args", at, pitch, batch, m0, rows, strip.index)
        strip.next(i64.step(fn, at, strip_bytes))


def pack_function(module: Module) -> str:
    """`@contract_pack`."""
    name = "contract_pack"
    if any(fn.name == name for fn in module.functions):
        return name
    fn = module.function(name, PACK_PHASE_PARAMS, "void", "nounwind")
    fn.linkage = "internal"
    with fn.loop("%begin", "%end") as unit:
        panels, chunk = _number(fn, Pack.PANELS), _number(fn, Pack.CHUNK)
        group = _number(fn, Pack.GROUP)
        first = i64.mul(fn, unit.index, group)
        after = i64.minimum(fn, i64.add(fn, first, group), panels)
        with fn.loop("0", _number(fn, Pack.K), chunk) as k:
            depth = i64.minimum(fn, i64.sub(fn, _number(fn, Pack.K), k.index), chunk)
            with fn.loop(first, after) as panel:
                is_last = i64.equal(fn, i64.add(fn, panel.index, 1), panels)
                columns = i64.select(fn, is_last, _number(fn, Pack.COLUMNS), _number(fn, Pack.PANEL_COLUMNS))
                width = i64.select(fn, is_last, _number(fn, Pack.LAST_WIDTH), _number(fn, Pack.WIDTH))
                offset = i64.add(
                    fn, i64.mul(fn, panel.index, _number(fn, Pack.PANEL)), i64.mul(fn, k.index, _number(fn, Pack.STEP))
                )
                place = i64.add(fn, i64.mul(fn, panel.index, _number(fn, Pack.INTO)), i64.mul(fn, k.index, width))
                source, panel_at = i64.step(fn, "%source", offset), i64.step(fn, "%into", place)
                stride, first_row = _number(fn, Pack.STRIDE), i64.mul(fn, panel.index, _number(fn, Pack.PANEL_COLUMNS))
                area = (first_row, columns, k.index, depth)
                function = _pointer(fn, Pack.FUNCTION)
                i64.call(fn, function, PACK_PARAMS, "%args", "%scratch", "%batch", source, stride, panel_at, width, *area)
    fn.ret()
    return name


def _kind(fn: Function, panel: str) -> str:
    """The fields of a panel's kind."""
    is_last = i64.equal(fn, i64.add(fn, panel, 1), _number(fn, Run.PANELS))
    return i64.step(fn, "%plan", i64.select(fn, is_last, 8 * (len(Run) + len(Kind)), 8 * len(Run)))


def _number(fn: Function, field: enum.IntEnum, table: str = "%plan") -> str:
    return fn.op(f"load i64, ptr {i64.step(fn, table, 8 * field)}")


def _pointer(fn: Function, field: enum.IntEnum, table: str = "%plan") -> str:
    return fn.op(f"load ptr, ptr {i64.step(fn, table, 8 * field)}")
