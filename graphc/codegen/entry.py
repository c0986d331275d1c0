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
nanoseconds to run.) A loop is a record too, behind its phases: it counts the trip, moves the arguments that are parts of
something to where they lie in the next trip, and goes back. So code and tables do not grow with the number of trips. A phase
too small to split is a plain call. After each the error record is read, and nothing later runs once a check has failed: the
scheduler puts every store to state behind every check, so a failed call changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphc.codegen import fpenv
from graphc.codegen.builder import Function, Module
from graphc.codegen.kernel import KernelCode
from graphc.codegen.target import Target
from graphc.kernel import Kernel
from graphc.nesting import launches, loops
from graphc.program import Buffer, Launch, Loop, Part, Program, Space


def argument_bytes(program: Program) -> int:
    """Room for the arguments of all launches."""
    return 8 * sum(len(launch.args) + 2 for launch in launches(program.body))


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
    phases, loop_count = _phases(module, program, codes)
    fn = module.function(name, [("ptr", "frame")], "i64", "nounwind")
    table, arena, parallel, pool, scratch, errors = (_field(fn, i, "ptr") for i in (0, 1, 2, 3, 4, 6))
    stride, workers = (_field(fn, i, "i64") for i in (5, 7))
    saved, changed = fpenv.enter(fn, target)
    fn.do(f"store i64 0, ptr {errors}")
    args = fn.op(f"getelementptr i8, ptr {arena}, i64 {args_offset}", "args")
    _fill_arguments(fn, table, args, arguments)
    trips = _counters(fn, loop_count)

    many = fn.op(f"icmp sgt i64 {workers}, 1")
    start = fn.block
    fn.jump("next")
    fn.start("next")
    position, following = "%position", "%following"
    back = ", [ %after, %turned ]" if loop_count else ""
    fn.do(f"{position} = phi i64 [ 0, %{start} ], [ {following}, %passed ]{back}")
    fn.branch(fn.op(f"icmp slt i64 {position}, {phases}"), "phase", "exit")
    fn.start("phase")
    record = fn.op(f"getelementptr {_PHASE}, ptr @phases, i64 {position}")
    kernel = fn.op(f"load ptr, ptr {record}", "kernel")
    first, units, grain = (
        fn.op(f"load i64, ptr {fn.op(f'getelementptr {_PHASE}, ptr {record}, i64 0, i32 {i}')}") for i in (1, 2, 3)
    )
    if loop_count:
        fn.branch(fn.op(f"icmp eq ptr {kernel}, null"), "turn", "work")
        fn.start("turn")
        _turn(fn, trips, args, position, first, units, grain)
        fn.start("work")
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
_LOOP = "{ i64, i64 }"  # its first move, their number
_MOVE = "{ i64, i64, i64, i64 }"  # position of the argument, bytes a step, phase, mask: it lies ((trip + phase) & mask) steps on


def _phases(module: Module, program: Program, codes: Mapping[Kernel, KernelCode]) -> tuple[int, int]:
    """The table of phases in the order they run; those without units are left out. Behind the phases of a loop stands a
    record of no function: the loop's number, the position of its first phase, its trips. Returns how many records and loops
    there are."""
    records: list[str] = []
    moves: list[str] = []
    ranges: list[str] = []
    first = 0
    inside: list[Loop] = []

    def add(items: Iterable[Launch | Loop], found: dict[int, list[str]]) -> None:
        nonlocal first
        for item in items:
            if isinstance(item, Loop):
                add(item.first, found)
                inside.append(item)
                start, mine = len(records), {**found, len(inside): []}
                add(item.body, mine)
                records.append(f"{_PHASE} {{ ptr null, i64 {len(ranges)}, i64 {start}, i64 {item.trips} }}")
                ranges.append(f"{_LOOP} {{ i64 {len(moves)}, i64 {len(mine[len(inside)])} }}")
                moves.extend(mine[len(inside)])
                inside.pop()
                continue
            for phase in codes[item.kernel].phases:
                if phase.units:
                    records.append(f"{_PHASE} {{ ptr @{phase.function}, i64 {first}, i64 {phase.units}, i64 {phase.grain} }}")
            for number, buffer in enumerate(item.args):
                for level, part in _parts(buffer, inside):
                    step = part.step * buffer.type.dtype.itemsize
                    mask = 1 if part.period else -1
                    move = f"{_MOVE} {{ i64 {first + number}, i64 {step}, i64 {part.phase}, i64 {mask} }}"
                    found[level].append(move)
            first += len(item.args) + 2

    add(program.body, {})
    module.add_global(f"@phases = internal constant [{len(records)} x {_PHASE}] [{', '.join(records)}]")
    if ranges:
        module.add_global(f"@loops = internal constant [{len(ranges)} x {_LOOP}] [{', '.join(ranges)}]")
        module.add_global(f"@moves = internal constant [{len(moves)} x {_MOVE}] [{', '.join(moves)}]")
    return len(records), len(ranges)


def _parts(buffer: Buffer, inside: Sequence[Loop]) -> Iterator[tuple[int, Part]]:
    """The parts that a buffer is part of in turn, each with the level of its loop, 1 for the outermost."""
    for level in range(len(inside), 0, -1):
        part = inside[level - 1].part_of.get(buffer)
        if part is not None:
            yield level, part
            buffer = part.whole


def _arguments(
    module: Module, program: Program, codes: Mapping[Kernel, KernelCode], offsets: Mapping[Buffer, int], shared_offset: int
) -> int:
    """The tables @bases (positions in the frame's table) and @distances (bytes), one entry for each argument of each launch: its
    slots, shared scratch, error record. Returns their length."""
    externals = program.inputs + program.states + program.consts + program.outputs
    slots = {buffer: slot for slot, buffer in enumerate(externals)}
    arena, errors, null = (len(externals) + i for i in range(3))
    pairs: list[tuple[int, int]] = []
    part_of = {buffer: part for loop in loops(program.body) for buffer, part in loop.part_of.items()}

    def place(buffer: Buffer) -> tuple[int, int]:
        """Where a buffer lies; of a part, where it lies in the first trip."""
        distance = 0
        while buffer in part_of:
            part = part_of[buffer]
            distance += part.offset(0) * buffer.type.dtype.itemsize
            buffer = part.whole
        return (arena, offsets[buffer] + distance) if buffer.space is Space.ARENA else (slots[buffer], distance)

    for launch in launches(program.body):
        pairs += [place(buffer) for buffer in launch.args]
        pairs.append((arena, shared_offset) if codes[launch.kernel].shared_scratch else (null, 0))
        pairs.append((errors, 0))
    bases = ", ".join(f"i32 {base}" for base, _ in pairs)
    distances = ", ".join(f"i64 {distance}" for _, distance in pairs)
    module.add_global(f"@bases = internal constant [{len(pairs)} x i32] [{bases}]")
    module.add_global(f"@distances = internal constant [{len(pairs)} x i64] [{distances}]")
    return len(pairs)


def _counters(fn: Function, count: int) -> str:
    """The current trip of each loop."""
    if not count:
        return "null"
    trips = fn.op(f"alloca [{count} x i64]", "trips")
    fn.do(f"store [{count} x i64] zeroinitializer, ptr {trips}")
    return trips


def _turn(fn: Function, trips: str, args: str, position: str, number: str, start: str, length: str) -> None:
    """The end of a trip: arguments move to the next trip, or back to the first where there is none; then the phases go on
    from %after."""
    counter = fn.op(f"getelementptr i64, ptr {trips}, i64 {number}")
    now = fn.op(f"load i64, ptr {counter}")
    then = fn.op(f"add i64 {now}, 1")
    more = fn.op(f"icmp slt i64 {then}, {length}")
    to = fn.op(f"select i1 {more}, i64 {then}, i64 0")
    fn.do(f"store i64 {to}, ptr {counter}")
    record = fn.op(f"getelementptr {_LOOP}, ptr @loops, i64 {number}")
    first = fn.op(f"load i64, ptr {record}")
    count = fn.op(f"load i64, ptr {fn.op(f'getelementptr {_LOOP}, ptr {record}, i64 0, i32 1')}")
    with fn.loop("0", count) as loop:
        move = fn.op(f"getelementptr {_MOVE}, ptr @moves, i64 {fn.op(f'add i64 {first}, {loop.index}')}")
        argument, step, phase, mask = (
            fn.op(f"load i64, ptr {fn.op(f'getelementptr {_MOVE}, ptr {move}, i64 0, i32 {i}')}") for i in range(4)
        )
        was, will = (fn.op(f"and i64 {fn.op(f'add i64 {trip}, {phase}')}, {mask}") for trip in (now, to))
        distance = fn.op(f"mul i64 {fn.op(f'sub i64 {will}, {was}')}, {step}")
        slot = fn.op(f"getelementptr ptr, ptr {args}, i64 {argument}")
        pointer = fn.op(f"load ptr, ptr {slot}")
        fn.do(f"store ptr {fn.op(f'getelementptr i8, ptr {pointer}, i64 {distance}')}, ptr {slot}")
        loop.next()
    on = fn.op(f"add i64 {position}, 1")
    fn.jump("turned")
    fn.start("turned")
    fn.do(f"%after = select i1 {more}, i64 {start}, i64 {on}")
    fn.jump("next")


def _fill_arguments(fn: Function, table: str, args: str, count: int) -> None:
    """args[i] = table[bases[i]] + distances[i]"""
    with fn.loop("0", str(count)) as loop:
        slot = fn.op(f"load i32, ptr {fn.op(f'getelementptr i32, ptr @bases, i64 {loop.index}')}")
        base = fn.op(f"load ptr, ptr {fn.op(f'getelementptr ptr, ptr {table}, i32 {slot}')}")
        distance = fn.op(f"load i64, ptr {fn.op(f'getelementptr i64, ptr @distances, i64 {loop.index}')}")
        pointer = fn.op(f"getelementptr i8, ptr {base}, i64 {distance}")
        fn.do(f"store ptr {pointer}, ptr {fn.op(f'getelementptr ptr, ptr {args}, i64 {loop.index}')}")
        loop.next()
