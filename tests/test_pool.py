"""The native thread pool: any number of workers, few processors, several callers, forks, sleepers, systems short of threads."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache

import numpy as np
import pytest
from handmade import Handmade, buffer, build, element, handmade, launch, load, store
from test_runtime import elf_symbols, float_control

from graphc.codegen import llvm
from graphc.codegen.pool import emit_pool
from graphc.codegen.support import support_object
from graphc.codegen.target import host_target, level_target
from graphc.errors import InputError
from graphc.program import Program, Space
from graphc.runtime import jit
from graphc.runtime import pool as pools
from graphc.runtime.executable import Executable
from graphc.runtime.pool import Pool

UNITS = 10_000
STRIDE = 128
PARALLEL = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2, ctypes.c_void_p, ctypes.c_int64)


@cache
def pool_library(futex: bool | None = None) -> jit.Library:
    module = llvm.new_module(host_target())
    emit_pool(module, host_target(), futex)
    return jit.load(llvm.emit_object(str(module), host_target()), ["parallel", "pool_pause", "pool_clock"])


@cache
def counting() -> jit.Library:
    """count: args[0][u] += 1 for each unit u, by way of the worker's scratch, after args[1] turns of a loop."""
    module = llvm.new_module(host_target())
    fn = module.function("count", [("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch")])
    counts, delay = load(fn, "ptr", "%args", 0), load(fn, "i64", "%args", 1)
    with fn.loop("%begin", "%end") as units:
        store(fn, "i64", load(fn, "i64", counts, units.index), "%scratch", 0)
        with fn.loop("0", delay) as turns:
            fn.op("load volatile i64, ptr %args")
            turns.next()
        store(fn, "i64", fn.op(f"add i64 {load(fn, 'i64', '%scratch', 0)}, 1"), counts, units.index)
        units.next()
    fn.ret()
    return jit.load(llvm.emit_object(str(module), host_target()), ["count"])


class Job:
    """A phase that counts how often each of its units was run."""

    def __init__(self, pool: Pool, units: int = UNITS, delay: int = 0):
        self.pool = pool
        self.counts = np.zeros(units, np.int64)
        self.scratch = np.zeros(STRIDE * pool.workers, np.uint8)
        self.args = np.array([self.counts.ctypes.data, delay], np.int64)

    def run(self, units: int | None = None, grain: int = 1) -> None:
        PARALLEL(self.pool.parallel)(
            self.pool.handle, counting().address("count"), self.args.ctypes.data,
            self.counts.size if units is None else units, grain, self.scratch.ctypes.data, STRIDE,
        )  # fmt: skip


@pytest.mark.parametrize("futex", [None, False])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8])
def test_every_unit_runs_once_whatever_the_number_of_workers(workers, futex):
    pool = Pool(workers, pool_library(futex))
    job = Job(pool)
    sizes = [1, 2, 3, workers, workers + 1, 97, 1000, UNITS]
    times = 60
    for turn in range(times):
        for units in sizes:
            job.run(units, grain=1 + turn % 7)
        if turn % 20 == 0:
            time.sleep(0.001)  # let them fall asleep
    expected = sum((np.arange(UNITS) < units).astype(np.int64) for units in sizes) * times
    assert np.array_equal(job.counts, expected)


def test_workers_that_spin_and_outnumber_the_processors():
    pool = Pool(6, pool_library(), processors=64)
    job = Job(pool, 600, delay=50)
    for _ in range(300):
        job.run()
    assert (job.counts == 300).all()


def test_no_units_and_more_than_a_claim_word_holds():
    pool = Pool(2, pool_library())
    job = Job(pool, 4)
    job.run(0)
    assert not job.counts.any()


@cache
def meeting() -> jit.Library:
    """meet: every unit u says that it has come (args[0] += 1), then waits until two have; sets args[1] where it waits in vain.
    args[2 + u] is its thread's floating-point control word."""
    module = llvm.new_module(host_target())
    fn = module.function("meet", [("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch")])
    control = element(fn, "%args", "2", "i64")
    with fn.loop("%begin", "%end") as units:
        if host_target().triple.startswith("x86_64"):
            module.declare("llvm.x86.sse.stmxcsr", "void @llvm.x86.sse.stmxcsr(ptr)")
            fn.do(f"call void @llvm.x86.sse.stmxcsr(ptr {element(fn, control, units.index, 'i64')})")
        fn.op("atomicrmw add ptr %args, i64 1 seq_cst")
        with fn.loop("0", str(2**33)) as turns:
            come = fn.op("load atomic i64, ptr %args seq_cst, align 8")
            with fn.when(fn.op(f"icmp eq i64 {turns.index}, {2**33 - 1}")):
                store(fn, "i64", "1", "%args", 1)
            met, on = fn.label("met"), fn.label("on")
            fn.branch(fn.op(f"icmp sge i64 {come}, 2"), met, on)
            fn.start(on)
            turns.next()
        fn.jump(met)
        fn.start(met)
        units.next()
    fn.ret()
    return jit.load(llvm.emit_object(str(module), host_target()), ["meet"])


@pytest.mark.parametrize("futex", [None, False])
def test_two_workers_run_at_the_same_time(futex):
    pool = Pool(2, pool_library(futex), processors=2, patience_ns=0)
    for _ in range(20):
        args = np.zeros(4, np.int64)
        PARALLEL(pool.parallel)(pool.handle, meeting().address("meet"), args.ctypes.data, 2, 1, None, 0)
        assert args[:2].tolist() == [2, 0]
        time.sleep(0.0002)  # now and then asleep


def switches() -> int:
    """How often the threads of this process were woken."""
    return sum(
        int(line.split()[1])
        for task in os.listdir("/proc/self/task")
        for line in open(f"/proc/self/task/{task}/status")
        if line.startswith("voluntary")
    )


@pytest.mark.parametrize("futex", [None, False])
def test_small_phases_far_apart_wake_nobody_and_those_in_a_row_do(futex):
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("reads /proc")
    pool = Pool(2, pool_library(futex), processors=2, patience_ns=10_000_000)
    job = Job(pool, 64, delay=1000)
    job.run()
    time.sleep(0.05)  # asleep
    before = switches()
    for _ in range(20):
        time.sleep(0.02)
        job.run()
    assert switches() - before < 40  # our own sleeps, 20 of them
    before = switches()
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        job.run()
    time.sleep(0.05)
    assert switches() - before >= 2  # ours, in the line before, and a worker's when it sleeps again
    assert (job.counts == job.counts[0]).all()


def test_a_long_phase_wakes_who_sleeps_before_long():
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("reads /proc")
    pool = Pool(2, pool_library(), processors=2, patience_ns=40_000)
    long = Job(pool, 64, delay=200_000)
    long.run()
    time.sleep(0.05)
    before = switches()
    long.run()
    time.sleep(0.05)
    assert (long.counts == 2).all() and switches() - before >= 2  # ours, in the line before, and a worker's


def test_workers_keep_denormals_whatever_their_maker_does():
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("sets MXCSR")
    get, put = float_control()
    pool, args = Pool(2, pool_library(), processors=2, patience_ns=0), np.zeros(4, np.int64)
    call, meet, before = PARALLEL(pool.parallel), meeting().address("meet"), get()
    put(0x9FC0)  # flush to zero, denormals are zero: threads inherit this
    try:
        call(pool.handle, meet, args.ctypes.data, 2, 1, None, 0)
    finally:
        put(before)
    assert {word & 0xFFC0 for word in args[2:]} == {0x9FC0, 0x1F80}  # the caller's (an entry would have set it), the worker's


def test_idle_workers_use_no_processor_time():
    job = Job(Pool(4, pool_library(), processors=4))
    job.run()
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.02


@pytest.mark.parametrize("futex", [None, False])
def test_callers_that_find_the_pool_busy_run_their_own_phase(futex):
    pool = Pool(2, pool_library(futex))
    jobs = [Job(pool, 200, delay=200) for _ in range(4)]

    def call(job: Job) -> None:
        for _ in range(200):
            job.run()

    threads = [threading.Thread(target=call, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a fork-join never ended"
    assert all((job.counts == 200).all() for job in jobs)


def test_a_system_that_grants_no_threads():
    pool = Pool(4, pool_library())
    refuse = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(lambda *_: errno.EAGAIN)
    pool._field(16, ctypes.cast(refuse, ctypes.c_void_p).value)
    job = Job(pool)
    job.run()
    assert (job.counts == 1).all()


def test_workers_leave_signals_to_the_program():
    job = Job(Pool(3, pool_library()))
    others = set(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else pytest.skip("reads /proc")
    job.run()
    time.sleep(0.05)  # a thread that starts blocks everything
    mine = set(os.listdir("/proc/self/task")) - others
    assert len(mine) == 2
    for task in mine:
        with open(f"/proc/self/task/{task}/status") as status:
            blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
        numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGSEGV}
        assert {number for number in numbers if blocked >> number - 1 & 1} == {signal.SIGINT, signal.SIGTERM}


# --- through executables -------------------------------------------------------------------------------------------------------


def rows(units: int = 512, width: int = 33, phases: int = 1) -> tuple[Program, list[Handmade]]:
    """o[u] = the sum of row u of x, twice where there are two phases, by way of the scratch; each unit is a row."""

    def body(fn, p, i):
        row = element(fn, p[0], fn.op(f"mul i64 {i}, {width}"), "float")
        with fn.loop("0", str(width)) as loop:
            store(fn, "float", load(fn, "float", row, loop.index), "%scratch", loop.index)
            loop.next()
        with fn.loop("0", str(width), carried=[("float", "0.0")]) as loop:
            loop.next(fn.op(f"fadd float {loop.carried[0]}, {load(fn, 'float', '%scratch', loop.index)}"))
        store(fn, "float", loop.results[0], p[1], i)

    what = handmade(2, [1], body, units, grain=4, worker_scratch=4 * width, phases=phases)
    x, o = buffer("x", units * width, Space.INPUT), buffer("o", units, Space.OUTPUT)
    return Program((x,), (), (), (o,), (launch(what, x, o),)), [what]


def provider() -> bytes:
    return support_object(host_target())


def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(pools, "available_processors", lambda: 8)
    compiled = build(*rows(phases=2))
    x = np.random.default_rng(0).standard_normal(512 * 33).astype(np.float32)
    results = []
    for threads in range(1, 9):
        step = Executable(compiled.manifest, compiled.object, threads=threads, support=provider)
        assert step.workers == threads
        results += [step([x])[0].tobytes() for _ in range(20)]
    assert len(set(results)) == 1
    assert np.allclose(np.frombuffer(results[0], np.float32), x.reshape(512, 33).sum(1), atol=1e-4)


def test_threads_are_validated_and_never_more_than_the_processors():
    for wrong in (0, -1, 2.0, True, "2"):
        with pytest.raises(InputError, match="threads: expected a positive integer or None"):
            pools.worker_count(wrong)
    assert pools.worker_count(10**6) == pools.worker_count(None) == pools.available_processors()


def test_a_program_without_large_phases_takes_one_worker():
    compiled = build(*rows(units=4))
    step = Executable(compiled.manifest, compiled.object, support=provider)
    assert step.workers == 1


def two_worker_step(monkeypatch) -> Executable:
    monkeypatch.setattr(pools, "available_processors", lambda: 2)
    compiled = build(*rows())
    return Executable(compiled.manifest, compiled.object, threads=2, support=provider)


def in_child(work) -> None:
    """Run `work` in a forked child, which must end well within a few seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_parent_and_child_of_a_fork_both_go_on(monkeypatch):
    step = two_worker_step(monkeypatch)
    x = np.ones(512 * 33, np.float32)
    assert (step([x])[0] == 33).all()

    def child() -> bool:
        right = all((step([x])[0] == 33).all() for _ in range(20))
        tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 2
        return right and tasks == 2

    in_child(child)
    assert (step([x])[0] == 33).all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_is_in_the_pool(monkeypatch):
    step = two_worker_step(monkeypatch)
    x = np.ones(512 * 33, np.float32)
    stop = threading.Event()
    calls = []

    def busy() -> None:
        while not stop.is_set():
            calls.append((step([x])[0] == 33).all())

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(10):
            in_child(lambda: all((step([x])[0] == 33).all() for _ in range(5)))
    finally:
        stop.set()
        thread.join()
    assert calls and all(calls)


def test_a_process_may_end_while_workers_spin():
    script = (
        "import numpy as np, test_pool as t\n"
        "t.pools.available_processors = lambda: 2\n"
        "compiled = t.build(*t.rows())\n"
        "step = t.Executable(compiled.manifest, compiled.object, support=t.provider)\n"
        "step([np.ones(512 * 33, np.float32)])\n"
    )
    here = os.path.dirname(os.path.abspath(__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("level", "system"), [("x86-64-v2", "Linux"), ("aarch64", "Linux"), ("aarch64", "Darwin")])
def test_the_support_object_for_other_machines_needs_nothing_but_memcpy(level, system):
    data = support_object(level_target(level, system))
    if system == "Linux":
        assert elf_symbols(data) == ({"parallel", "pool_pause", "pool_clock", "python", "call", "drive"}, {"memcpy"})
    else:
        assert data[:4] == b"\xcf\xfa\xed\xfe"  # Mach-O, 64 bits
