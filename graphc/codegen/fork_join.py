"""The caller's side of the pool: publish a job, wake who sleeps, take part, join. See graphc/codegen/pool.py."""

from __future__ import annotations

from graphc.codegen import pool_layout as layout
from graphc.codegen.builder import Function, Module
from graphc.codegen.pool_layout import box_of, extreme, pause
from graphc.codegen.target import Target
from graphc.codegen.words import at, load, read, write

_JOB_PARAMS = [
    ("ptr", "pool"), ("ptr", "fn"), ("ptr", "args"), ("i64", "units"), ("i64", "grain"), ("ptr", "scratch"), ("i64", "stride"),
]  # fmt: skip


def emit_parallel(module: Module, target: Target) -> None:
    fn = module.function("parallel", _JOB_PARAMS)
    # Claim words count in 32 bits; a phase of more units than that (or none) runs on the calling thread.
    fn.branch(fn.op(f"icmp ult i64 {fn.op('sub i64 %units, 1')}, {2**31}"), "try", "alone")
    fn.start("try")
    swap = fn.op(f"cmpxchg ptr {at(fn, '%pool', layout.BUSY)}, i32 0, i32 1 acquire monotonic")
    fn.branch(fn.op(f"extractvalue {{ i32, i1 }} {swap}, 1"), "mine", "alone")
    fn.start("alone")
    fn.do("call void %fn(ptr %args, i64 0, i64 %units, ptr %scratch)")
    fn.ret()

    fn.start("mine")
    with fn.when(fn.op(f"icmp eq i32 {read(fn, 'i32', '%pool', layout.STARTED)}, 0")):
        fn.do("call void @start(ptr %pool)")
    boxes = _publish(fn)
    # Order the claims before the look for sleepers, see @worker.
    fn.do("fence seq_cst")
    sleepers = fn.op(f"icmp ne i64 {read(fn, 'i64', '%pool', layout.SLEEPERS)}, 0")
    with fn.when(sleepers):
        _be_patient(fn, boxes)
    fn.do("call void @work(ptr %pool, i64 0)")
    _join(fn, target)
    with fn.when(sleepers):
        now = fn.op("call i64 @pool_clock()")
        alone = fn.op(f"sub i64 {now}, {read(fn, 'i64', '%pool', layout.BEGAN)}")
        write(fn, "i64", fn.op(f"add i64 {read(fn, 'i64', '%pool', layout.MISSED)}, {alone}"), "%pool", layout.MISSED)
        write(fn, "i64", now, "%pool", layout.ENDED)
        write(fn, "i64", "0", "%pool", layout.WAKE_AT)
    write(fn, "i32", "0", "%pool", layout.BUSY, "release")
    fn.ret()


def _be_patient(fn: Function, boxes: str) -> None:
    """Decide when to wake those who sleep."""
    patience, now = load(fn, "i64", "%pool", layout.PATIENCE), fn.op("call i64 @pool_clock()")
    gap = fn.op(f"sub i64 {now}, {read(fn, 'i64', '%pool', layout.ENDED)}")
    soon = fn.op(f"icmp ule i64 {gap}, {patience}")
    missed = fn.op(f"select i1 {soon}, i64 {read(fn, 'i64', '%pool', layout.MISSED)}, i64 0")
    write(fn, "i64", missed, "%pool", layout.MISSED)
    write(fn, "i64", now, "%pool", layout.BEGAN)
    write(fn, "i64", fn.op(f"add i64 {now}, {patience}"), "%pool", layout.WAKE_AT)
    with fn.when(fn.op(f"icmp uge i64 {missed}, {patience}")):
        fn.do(f"call void @rouse(ptr %pool, i64 {boxes})")


def _publish(fn: Function) -> str:
    """Write the job into the boxes. Returns how many."""
    grain = extreme(fn, "smax", "%grain", "1")
    # as many ranges as there are workers, but none below the grain
    whole = fn.op(f"udiv i64 {fn.op('sub i64 %units, 1')}, {grain}")
    boxes = extreme(fn, "umin", load(fn, "i64", "%pool", layout.WORKERS), fn.op(f"add i64 {whole}, 1"))
    write(fn, "i64", "%units", "%pool", layout.OUTSTANDING)
    number = fn.op(f"add i32 {load(fn, 'i32', '%pool', layout.JOB)}, 1")
    fn.do(f"store i32 {number}, ptr {at(fn, '%pool', layout.JOB)}")
    high = fn.op(f"shl i64 {fn.op(f'zext i32 {number} to i64')}, 32")
    with fn.loop("0", boxes) as loop:
        # the caller's own last: the others may begin
        index = fn.op(f"sub i64 {fn.op(f'sub i64 {boxes}, 1')}, {loop.index}")
        begin = fn.op(f"udiv i64 {fn.op(f'mul i64 %units, {index}')}, {boxes}")
        following = fn.op(f"add i64 {index}, 1")
        end = fn.op(f"udiv i64 {fn.op(f'mul i64 %units, {following}')}, {boxes}")
        count = fn.op(f"sub i64 {end}, {begin}")
        least = extreme(fn, "umax", grain, fn.op(f"lshr i64 {fn.op(f'add i64 {count}, 7')}, 3"))
        box = box_of(fn, "%pool", index)
        for type_, value, offset in (
            ("ptr", "%fn", layout.FN), ("ptr", "%args", layout.ARGS), ("i64", end, layout.END), ("i64", least, layout.LEAST),
            ("ptr", "%scratch", layout.SCRATCH), ("i64", "%stride", layout.STRIDE), ("i64", boxes, layout.BOXES),
        ):  # fmt: skip
            write(fn, type_, value, box, offset)
        write(fn, "i64", fn.op(f"or i64 {high}, {count}"), box, layout.CLAIM, "release")
        loop.next()
    return boxes


def _join(fn: Function, target: Target) -> None:
    """Wait until no unit is outstanding: spin, then sleep until the last finisher sees that we do."""
    spins = load(fn, "i64", "%pool", layout.SPINS)
    with fn.loop("0", spins) as loop:
        done = fn.op(f"icmp eq i64 {read(fn, 'i64', '%pool', layout.OUTSTANDING, 'acquire')}, 0")
        go_on = fn.label("go_on")
        fn.branch(done, "joined", go_on)
        fn.start(go_on)
        pause(fn, target)
        loop.next()
    fn.jump("doze")
    fn.start("doze")
    write(fn, "i32", "1", "%pool", layout.JOINING, "seq_cst")
    fn.do("fence seq_cst")
    done = fn.op(f"icmp eq i64 {read(fn, 'i64', '%pool', layout.OUTSTANDING, 'seq_cst')}, 0")
    fn.branch(done, "joined", "dozing")
    fn.start("dozing")
    fn.do(f"call void @park(ptr %pool, ptr {at(fn, '%pool', layout.JOINING)}, i32 1)")
    fn.jump("doze")
    fn.start("joined")
    write(fn, "i32", "0", "%pool", layout.JOINING)
