"""The native thread pool, as LLVM text: workers that live in native code, and the fork-join primitive that gives them a phase.

    void parallel(ptr pool, ptr fn, ptr args, i64 units, i64 grain, ptr scratch_base, i64 scratch_stride)
    void pool_pause(i64 times), i64 pool_clock()                    for the runtime, to measure how long a spin is, and a tick

A pool is one block of `POOL_BYTES + BOX_BYTES * workers` bytes, 128-byte aligned and never freed. The runtime fills its header
and zeroes the rest; workers are started by the first `parallel`. (Zeroing the rest again makes it a pool without workers: what a
forked child needs.) Functions of the C library come by pointer, so the object has no undefined symbols:

    0 workers, the caller included    16 pthread_create     40 SIG_SETMASK              64 pthread_mutex_unlock
    8 spins before sleeping           24 pthread_detach     48 syscall (Linux)          72 pthread_cond_wait
    88 patience, in ticks             32 pthread_sigmask    56 pthread_mutex_lock       80 pthread_cond_broadcast
    128 the signals that workers block     256 a mutex     384 a condition variable     512 state, zero at first

A job is cut into one contiguous range for each worker; worker i has range i in its box, so that from phase to phase a worker
meets the rows that lie in its cache. A box's claim word is (job number << 32 | units left). Whoever subtracts from it by
compare-and-swap owns the units subtracted: the worker itself, in ever smaller pieces, then any other that has nothing left to do.
A claim succeeds only while its job runs, and a job ends only when every claimed unit is done, so whoever holds a claim may trust
the rest of the box, and nobody waits for a worker that is asleep or descheduled: the others do its range.

To wake a thread takes its waker 3 to 50 us, a phase worth splitting may take 3. So while others sleep, the caller works alone
until its patience is at an end, in small pieces, before it wakes them; and where such phases follow one another, each within
the patience, and add up to it, the next one wakes them at once: they will find work whenever they look.

A second caller finds the pool busy and runs its phase itself. Waiting is spinning, then sleeping: on a futex under Linux, else on
the condition variable.
"""

from __future__ import annotations

from graphc.codegen import fpenv
from graphc.codegen import pool_layout as layout
from graphc.codegen.builder import Module
from graphc.codegen.fork_join import emit_parallel
from graphc.codegen.parking import emit_condition, emit_futex
from graphc.codegen.pool_layout import box_of, extreme, pause
from graphc.codegen.target import Target
from graphc.codegen.words import at, load, read, write


def emit_pool(module: Module, target: Target, futex: bool | None = None) -> None:
    """`futex` chooses how to sleep; by default what the target's system offers."""
    if futex is None:
        futex = "linux" in target.triple
    _emit_pause(module, target)
    _emit_clock(module, target)
    if futex:
        emit_futex(module, 98 if target.triple.startswith("aarch64") else 202)
    else:
        emit_condition(module)
    _emit_rouse(module)
    _emit_work(module)
    _emit_worker(module, target)
    _emit_start(module)
    emit_parallel(module, target)
    for fn in module.functions:
        fn.attributes = "nounwind"
        fn.linkage = "" if fn.name in ("parallel", "pool_pause", "pool_clock") else "internal"


def _emit_pause(module: Module, target: Target) -> None:
    fn = module.function("pool_pause", [("i64", "times")])
    with fn.loop("0", "%times") as loop:
        pause(fn, target)
        loop.next()
    fn.ret()


def _emit_clock(module: Module, target: Target) -> None:
    """A clock that is cheap to read and runs on at one speed."""
    counter = "llvm.readsteadycounter" if target.triple.startswith("aarch64") else "llvm.readcyclecounter"
    module.declare(counter, f"i64 @{counter}()")
    fn = module.function("pool_clock", [], "i64")
    fn.ret(fn.op(f"call i64 @{counter}()"))


def _emit_rouse(module: Module) -> None:
    """@rouse(pool, boxes): wake who sleeps and has a range."""
    fn = module.function("rouse", [("ptr", "pool"), ("i64", "boxes")])
    write(fn, "i64", "0", "%pool", layout.WAKE_AT)
    write(fn, "i64", "0", "%pool", layout.MISSED)
    with fn.loop("1", "%boxes") as loop:
        box = box_of(fn, "%pool", loop.index)
        with fn.when(fn.op(f"icmp ne i32 {read(fn, 'i32', box, layout.ASLEEP)}, 0")):
            fn.do(f"call void @unpark(ptr %pool, ptr {at(fn, box, layout.NUMBER)})")
        loop.next()
    fn.ret()


def _emit_work(module: Module) -> None:
    """@work(pool, index): run what is left of every range of the job, beginning with one's own."""
    fn = module.function("work", [("ptr", "pool"), ("i64", "index")])
    boxes = read(fn, "i64", box_of(fn, "%pool", "%index"), layout.BOXES)
    caller = fn.op("icmp eq i64 %index, 0")
    with fn.loop("0", boxes) as others:
        position = fn.op(f"add i64 %index, {others.index}")
        wrapped = fn.op(f"sub i64 {position}, {boxes}")
        victim = fn.op(f"select i1 {fn.op(f'icmp sge i64 {position}, {boxes}')}, i64 {wrapped}, i64 {position}")
        box = box_of(fn, "%pool", victim)
        fn.jump("look")
        fn.start("look")
        claim = read(fn, "i64", box, layout.CLAIM, "acquire")
        left = fn.op(f"and i64 {claim}, {0xFFFFFFFF}")
        fn.branch(fn.op(f"icmp eq i64 {left}, 0"), "empty", "take")
        fn.start("take")
        least, end = read(fn, "i64", box, layout.LEAST), read(fn, "i64", box, layout.END)
        kernel, args, scratch = (read(fn, "ptr", box, offset) for offset in (layout.FN, layout.ARGS, layout.SCRATCH))
        distance = fn.op(f"mul i64 %index, {read(fn, 'i64', box, layout.STRIDE)}")
        mine = fn.op(f"getelementptr i8, ptr {scratch}, i64 {distance}")
        # Half of what is left, and no crumbs: few calls, and near the end pieces small enough to share.
        wake_at = fn.op(f"select i1 {caller}, i64 {read(fn, 'i64', '%pool', layout.WAKE_AT)}, i64 0")
        others_sleep = fn.op(f"icmp ne i64 {wake_at}, 0")
        half = fn.op(f"select i1 {others_sleep}, i64 0, i64 {fn.op(f'lshr i64 {left}, 1')}")
        count = extreme(fn, "umin", extreme(fn, "umax", half, least), left)
        rest = fn.op(f"sub i64 {claim}, {count}")
        swap = fn.op(f"cmpxchg ptr {box}, i64 {claim}, i64 {rest} acq_rel acquire")
        fn.branch(fn.op(f"extractvalue {{ i64, i1 }} {swap}, 1"), "run", "look")
        fn.start("run")
        begin = fn.op(f"sub i64 {end}, {left}")
        fn.do(f"call void {kernel}(ptr {args}, i64 {begin}, i64 {fn.op(f'add i64 {begin}, {count}')}, ptr {mine})")
        with fn.when(others_sleep):
            late = fn.op(f"icmp sge i64 {fn.op('call i64 @pool_clock()')}, {wake_at}")
            with fn.when(late):
                fn.do(f"call void @rouse(ptr %pool, i64 {boxes})")
        before = fn.op(f"atomicrmw sub ptr {at(fn, '%pool', layout.OUTSTANDING)}, i64 {count} seq_cst")
        fn.branch(fn.op(f"icmp eq i64 {before}, {count}"), "last", "look")
        fn.start("last")
        joining = read(fn, "i32", "%pool", layout.JOINING, "seq_cst")
        fn.branch(fn.op(f"icmp ne i32 {joining}, 0"), "waken", "look")
        fn.start("waken")
        write(fn, "i32", "0", "%pool", layout.JOINING, "seq_cst")
        fn.do(f"call void @unpark(ptr %pool, ptr {at(fn, '%pool', layout.JOINING)})")
        fn.jump("look")
        fn.start("empty")
        others.next()
    fn.ret()


def _emit_worker(module: Module, target: Target) -> None:
    """@worker(box): what a thread of the pool runs, for ever."""
    fn = module.function("worker", [("ptr", "box")], "ptr")
    fpenv.enter(fn, target)
    pool, index = load(fn, "ptr", "%box", layout.POOL), load(fn, "i64", "%box", layout.INDEX)
    spins = load(fn, "i64", pool, layout.SPINS)
    start = fn.block
    fn.jump("idle")
    fn.start("idle")
    fn.do(f"%seen = phi i32 [ 0, %{start} ], [ %number, %job ], [ %seen, %awake ]")
    fn.jump("spin")
    fn.start("spin")
    fn.do("%spun = phi i64 [ 0, %idle ], [ %again, %still ]")
    fn.do(f"%number = load atomic i32, ptr {at(fn, '%box', layout.NUMBER)} acquire, align 4")
    fn.branch(fn.op("icmp ne i32 %number, %seen"), "job", "still")
    fn.start("still")
    pause(fn, target)
    fn.do("%again = add i64 %spun, 1")
    fn.branch(fn.op(f"icmp slt i64 %again, {spins}"), "spin", "tired")
    fn.start("job")
    fn.do(f"call void @work(ptr {pool}, i64 {index})")
    fn.jump("idle")
    # Announce the sleep, then look once more: a caller stores the claim, then looks for sleepers.
    fn.start("tired")
    write(fn, "i32", "1", "%box", layout.ASLEEP)
    fn.do(f"atomicrmw add ptr {at(fn, pool, layout.SLEEPERS)}, i64 1 seq_cst")
    fn.do("fence seq_cst")
    number = read(fn, "i32", "%box", layout.NUMBER, "seq_cst")
    fn.branch(fn.op(f"icmp eq i32 {number}, %seen"), "asleep", "awake")
    fn.start("asleep")
    fn.do(f"call void @park(ptr {pool}, ptr {at(fn, '%box', layout.NUMBER)}, i32 %seen)")
    fn.jump("awake")
    fn.start("awake")
    write(fn, "i32", "0", "%box", layout.ASLEEP)
    fn.do(f"atomicrmw sub ptr {at(fn, pool, layout.SLEEPERS)}, i64 1 seq_cst")
    fn.jump("idle")


def _emit_start(module: Module) -> None:
    """@start(pool): start the workers. Where the system grants fewer threads, those that there are do all the work. They block
    signals, which thus go to threads that the program knows."""
    fn = module.function("start", [("ptr", "pool")])
    create, detach, sigmask = (load(fn, "ptr", "%pool", offset) for offset in (layout.CREATE, layout.DETACH, layout.SIGMASK))
    old, thread = fn.op("alloca [128 x i8], align 16", "old"), fn.op("alloca ptr", "thread")
    how = fn.op(f"trunc i64 {load(fn, 'i64', '%pool', layout.SETMASK)} to i32")
    fn.do(f"call i32 {sigmask}(i32 {how}, ptr {at(fn, '%pool', layout.SIGNALS)}, ptr {old})")
    with fn.loop("1", load(fn, "i64", "%pool", layout.WORKERS)) as loop:
        box = box_of(fn, "%pool", loop.index)
        fn.do(f"store ptr %pool, ptr {at(fn, box, layout.POOL)}")
        fn.do(f"store i64 {loop.index}, ptr {at(fn, box, layout.INDEX)}")
        failed = fn.op(f"call i32 {create}(ptr {thread}, ptr null, ptr @worker, ptr {box})")
        with fn.when(fn.op(f"icmp eq i32 {failed}, 0")):
            fn.do(f"call i32 {detach}(ptr {fn.op(f'load ptr, ptr {thread}')})")
        loop.next()
    fn.do(f"call i32 {sigmask}(i32 {how}, ptr {old}, ptr null)")
    write(fn, "i32", "1", "%pool", layout.STARTED)
    fn.ret()
