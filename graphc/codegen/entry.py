"""The step entry: one native function that runs a whole Program.

    i64 @step(ptr frame)        0, or the code of the check that failed

`frame` is an array of eight-byte fields, filled by the runtime:

    0 table of pointers (below)                                       4 worker scratch base
    1 arena base, 64-byte aligned                                     5 worker scratch stride, bytes
    2 the parallel primitive                                          6 error record {i64 code, i64 value}
    3 pool                                                            7 number of workers

The table holds the externals in the order of the manifest (inputs, states, consts, outputs), then the arena base, the error
record and null: what the arguments of launches are offsets from.

    void parallel(ptr pool, ptr fn, ptr args, i64 units, i64 grain, ptr scratch_base, i64 scratch_stride)

The launches are constant tables and the entry is two loops over them: one writes the arguments of all launches, at the end of
the arena, one calls their phases in order. (As straight-line code a launch costs 0.05 ms to compile; this way none, and a few
nanoseconds to run.) A phase too small to split is a plain call. After each the error record is read, and nothing later runs once
a check has failed: the scheduler puts every store to state behind every check, so a failed call changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.codegen import fpenv
from graphc.codegen.builder import Function, Module
from graphc.codegen.kernel import KernelCode
from graphc.codegen.target import Target
from graphc.program import Buffer, Kernel, Program, Space


def argument_bytes(program: Program) -> int:
    """Room for the arguments of all launches."""
    return 8 * sum(len(launch.args) + 2 for launch in program.body)


def emit_entry(
    module: Module,
    target: Target,
    program: Program,
    codes: Mapping[Kernel, KernelCode],
    offsets: Mapping[Buffer, int],
    shared_offset: int,
    args_offset: int,
    name: str,
) -> None:
    """`offsets` are the arena buffers' byte offsets; every launch's shared scratch and the arguments lie at the other two."""
    arguments = _arguments(module, program, codes, offsets, shared_offset)
    phases = _phases(module, program, codes)
    fn = module.function(name, [("ptr", "frame")], "i64", "nounwind")
    table, arena, parallel, pool, scratch, errors = (_field(fn, i, "ptr") for i in (0, 1, 2, 3, 4, 6))
    stride, workers = (_field(fn, i, "i64") for i in (5, 7))
    saved, changed = fpenv.enter(fn, target)
    fn.do(f"store i64 0, ptr {errors}")
    args = fn.op(f"getelementptr i8, ptr {arena}, i64 {args_offset}", "args")
    _fill_arguments(fn, table, args, arguments)

    many = fn.op(f"icmp sgt i64 {workers}, 1")
    start = fn.block
    fn.jump("next")
    fn.start("next")
    position, following = "%position", "%following"
    fn.do(f"{position} = phi i64 [ 0, %{start} ], [ {following}, %passed ]")
    fn.branch(fn.op(f"icmp slt i64 {position}, {phases}"), "phase", "exit")
    fn.start("phase")
    record = fn.op(f"getelementptr {_PHASE}, ptr @phases, i64 {position}")
    kernel = fn.op(f"load ptr, ptr {record}", "kernel")
    first, units, grain = (
        fn.op(f"load i64, ptr {fn.op(f'getelementptr {_PHASE}, ptr {record}, i64 0, i32 {i}')}") for i in (1, 2, 3)
    )
    mine = fn.op(f"getelementptr ptr, ptr {args}, i64 {first}")
    large = fn.op(f"icmp sgt i64 {units}, {grain}")
    fn.branch(fn.op(f"and i1 {many}, {large}"), "split", "alone")
    fn.start("split")
    fn.do(f"call void {parallel}(ptr {pool}, ptr {kernel}, ptr {mine}, i64 {units}, i64 {grain}, ptr {scratch}, i64 {stride})")
    fn.jump("done")
    fn.start("alone")
    fn.do(f"call void {kernel}(ptr {mine}, i64 0, i64 {units}, ptr {scratch})")
    fn.jump("done")
    fn.start("done")
    failed = fn.op(f"load i64, ptr {errors}", "code")
    fn.branch(fn.op(f"icmp eq i64 {failed}, 0"), "passed", "exit")
    fn.start("passed")
    fn.do(f"{following} = add i64 {position}, 1")
    fn.jump("next")
    fn.start("exit")
    result = fn.op(f"phi i64 [ 0, %next ], [ {failed}, %done ]", "result")
    fpenv.leave(fn, target, saved, changed)
    fn.ret(result)


def _field(fn: Function, position: int, type_: str) -> str:
    return fn.op(f"load {type_}, ptr {fn.op(f'getelementptr i64, ptr %frame, i64 {position}')}")


_PHASE = "{ ptr, i64, i64, i64 }"  # function, position of its first argument, units, grain


def _phases(module: Module, program: Program, codes: Mapping[Kernel, KernelCode]) -> int:
    """The table of phases in the order they run; those without units are left out. Returns their number."""
    records = []
    first = 0
    for launch in program.body:
        for phase in codes[launch.kernel].phases:
            if phase.units:
                records.append(f"{_PHASE} {{ ptr @{phase.function}, i64 {first}, i64 {phase.units}, i64 {phase.grain} }}")
        first += len(launch.args) + 2
    module.add_global(f"@phases = internal constant [{len(records)} x {_PHASE}] [{', '.join(records)}]")
    return len(records)


def _arguments(
    module: Module, program: Program, codes: Mapping[Kernel, KernelCode], offsets: Mapping[Buffer, int], shared_offset: int
) -> int:
    """The tables @bases (positions in the frame's table) and @distances (bytes), one entry for each argument of each launch: its
    slots, shared scratch, error record. Returns their length."""
    externals = program.inputs + program.states + program.consts + program.outputs
    slots = {buffer: slot for slot, buffer in enumerate(externals)}
    arena, errors, null = (len(externals) + i for i in range(3))
    pairs: list[tuple[int, int]] = []
    for launch in program.body:
        pairs += [(arena, offsets[b]) if b.space is Space.ARENA else (slots[b], 0) for b in launch.args]
        pairs.append((arena, shared_offset) if codes[launch.kernel].shared_scratch else (null, 0))
        pairs.append((errors, 0))
    bases = ", ".join(f"i32 {base}" for base, _ in pairs)
    distances = ", ".join(f"i64 {distance}" for _, distance in pairs)
    module.add_global(f"@bases = internal constant [{len(pairs)} x i32] [{bases}]")
    module.add_global(f"@distances = internal constant [{len(pairs)} x i64] [{distances}]")
    return len(pairs)


def _fill_arguments(fn: Function, table: str, args: str, count: int) -> None:
    """args[i] = table[bases[i]] + distances[i]"""
    with fn.loop("0", str(count)) as loop:
        slot = fn.op(f"load i32, ptr {fn.op(f'getelementptr i32, ptr @bases, i64 {loop.index}')}")
        base = fn.op(f"load ptr, ptr {fn.op(f'getelementptr ptr, ptr {table}, i32 {slot}')}")
        distance = fn.op(f"load i64, ptr {fn.op(f'getelementptr i64, ptr @distances, i64 {loop.index}')}")
        pointer = fn.op(f"getelementptr i8, ptr {base}, i64 {distance}")
        fn.do(f"store ptr {pointer}, ptr {fn.op(f'getelementptr ptr, ptr {args}, i64 {loop.index}')}")
        loop.next()
