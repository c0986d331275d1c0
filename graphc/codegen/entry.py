"""The step entry: one native function that runs a whole Program.

    i64 @step(ptr frame)        0, or the code of the check that failed

`frame` is an array of eight-byte fields, filled by the runtime:

    0 table of external pointers: inputs, states, consts, outputs     4 worker scratch base
    1 arena base, 64-byte aligned                                     5 worker scratch stride, bytes
    2 the parallel primitive                                          6 error record {i64 code, i64 value}
    3 pool                                                            7 number of workers

    void parallel(ptr pool, ptr fn, ptr args, i64 units, i64 grain, ptr scratch_base, i64 scratch_stride)

Launches run in order. A phase too small to split is a plain call. After a launch with checks the error record is read, and nothing
later runs when one failed: the scheduler puts every store to state behind every check, so a failed call changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.codegen import fpenv
from graphc.codegen.builder import Function, Module
from graphc.codegen.kernel import KernelCode
from graphc.codegen.target import Target
from graphc.program import Buffer, Kernel, Program, Space


def emit_entry(
    module: Module,
    target: Target,
    program: Program,
    codes: Mapping[Kernel, KernelCode],
    offsets: Mapping[Buffer, int],
    shared_offset: int,
    name: str,
) -> None:
    """`offsets` are the arena buffers' byte offsets; shared scratch of every launch lies at `shared_offset`."""
    if any(phase.units > phase.grain for launch in program.body for phase in codes[launch.kernel].phases):
        _emit_launch(module)
    fn = module.function(name, [("ptr", "frame")], "i64", "nounwind")
    table, arena, scratch, errors = (_field(fn, position) for position in (0, 1, 4, 6))
    saved, changed = fpenv.enter(fn, target)
    longest = max((len(launch.args) for launch in program.body), default=0) + 2
    args = fn.op(f"alloca [{longest} x ptr], align 16", "args")
    fn.do(f"store i64 0, ptr {errors}")
    slots = {buffer: slot for slot, buffer in enumerate(program.inputs + program.states + program.consts + program.outputs)}

    before_exit: list[tuple[str, str]] = []  # (value returned, block it comes from)
    for launch in program.body:
        code = codes[launch.kernel]
        pointers = []
        for buffer in launch.args:
            if buffer.space is Space.ARENA:
                pointers.append(fn.op(f"getelementptr i8, ptr {arena}, i64 {offsets[buffer]}"))
            else:
                field = fn.op(f"getelementptr ptr, ptr {table}, i64 {slots[buffer]}")
                pointers.append(fn.op(f"load ptr, ptr {field}"))
        pointers.append(fn.op(f"getelementptr i8, ptr {arena}, i64 {shared_offset}") if code.shared_scratch else "null")
        pointers.append(errors)
        for position, pointer in enumerate(pointers):
            place = fn.op(f"getelementptr ptr, ptr {args}, i64 {position}")
            fn.do(f"store ptr {pointer}, ptr {place}")
        for phase in code.phases:
            if phase.units > phase.grain:
                fn.do(f"call void @launch(ptr %frame, ptr @{phase.function}, ptr {args}, i64 {phase.units}, i64 {phase.grain})")
            elif phase.units:
                fn.do(f"call void @{phase.function}(ptr {args}, i64 0, i64 {phase.units}, ptr {scratch})")
        if launch.checks:
            failed = fn.op(f"load i64, ptr {errors}", "code")
            before_exit.append((failed, fn.block))
            passed = fn.label("passed")
            fn.branch(fn.op(f"icmp ne i64 {failed}, 0"), "exit", passed)
            fn.start(passed)
    before_exit.append(("0", fn.block))
    fn.jump("exit")
    fn.start("exit")
    result = fn.op("phi i64 " + ", ".join(f"[ {value}, %{block} ]" for value, block in before_exit), "result")
    fpenv.leave(fn, target, saved, changed)
    fn.ret(result)


def _field(fn: Function, position: int) -> str:
    """The pointer in a field of the frame."""
    return fn.op(f"load ptr, ptr {fn.op(f'getelementptr ptr, ptr %frame, i64 {position}')}")


def _emit_launch(module: Module) -> None:
    """@launch: a phase worth splitting, over the workers there are."""
    params = [("ptr", "frame"), ("ptr", "fn"), ("ptr", "args"), ("i64", "units"), ("i64", "grain")]
    fn = module.function("launch", params, "void", "nounwind noinline")
    fn.linkage = "internal"
    scratch = _field(fn, 4)
    workers = fn.op(f"load i64, ptr {fn.op('getelementptr i64, ptr %frame, i64 7')}")
    fn.branch(fn.op(f"icmp sgt i64 {workers}, 1"), "split", "alone")
    fn.start("alone")
    fn.do(f"call void %fn(ptr %args, i64 0, i64 %units, ptr {scratch})")
    fn.ret()
    fn.start("split")
    parallel, pool = _field(fn, 2), _field(fn, 3)
    stride = fn.op(f"load i64, ptr {fn.op('getelementptr i64, ptr %frame, i64 5')}")
    fn.do(f"call void {parallel}(ptr {pool}, ptr %fn, ptr %args, i64 %units, i64 %grain, ptr {scratch}, i64 {stride})")
    fn.ret()
