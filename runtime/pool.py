"""Pools of native threads, shared by all executables of the process: one for each number of workers, never freed.

The code is part of the support object (`graphc.codegen.pool` has the layout of a pool in its docstring). What happens here is
memory: the header with the C library's functions is filled, the state behind it zeroed. Workers start with the first
phase worth splitting. A forked child has no workers: its pools are zeroed again and start their own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache

import numpy as np

from graphc.errors import InputError
from graphc.runtime import jit
from graphc.runtime.arena import aligned_block
from graphc.runtime.pointer import address

# The layout of a pool, in bytes; see graphc/codegen/pool_layout.py.
_POOL_BYTES, _BOX_BYTES = 896, 128
_SIGNALS, _MUTEX, _CONDITION, _STATE = 128, 256, 384, 512
_FUNCTIONS = {
    16: "pthread_create", 24: "pthread_detach", 32: "pthread_sigmask", 48: "syscall", 56: "pthread_mutex_lock",
    64: "pthread_mutex_unlock", 72: "pthread_cond_wait", 80: "pthread_cond_broadcast",
}  # fmt: skip

_SPIN_NS = 40_000  # how long a thread that waits spins before it sleeps, and a caller's patience with those who sleep

_lock = threading.Lock()
_pools: dict[int, Pool] = {}
_memory: list[np.ndarray] = []  # threads live in it until the process ends: never freed


def available_processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_count(threads: int | None) -> int:
    """The number of workers for a request of `threads`: by default one for each processor, and never more, since bits
    do not depend on it and the surplus could only wait."""
    if threads is None:
        return available_processors()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads: expected a positive integer or None, got {threads!r}")
    return min(threads, available_processors())


def shared(workers: int, library: jit.Library) -> Pool:
    """The process's pool of that many workers."""
    with _lock:
        if workers not in _pools:
            _pools[workers] = Pool(workers, library)
        return _pools[workers]


class Pool:
    """`parallel(handle, ...)` is the native fork-join primitive over `workers` threads, the caller included."""

    def __init__(self, workers: int, library: jit.Library, processors: int | None = None, patience_ns: int = _SPIN_NS):
        self.workers = workers
        self.parallel = library.address("parallel")
        self._memory = aligned_block(_POOL_BYTES + _BOX_BYTES * workers, 128)
        _memory.append(self._memory)
        self.handle = address(self._memory)
        # Threads that outnumber the processors would spin in each other's way.
        spins = _spins(library) if workers <= (processors or available_processors()) else 0
        self._memory[:] = 0
        patience = patience_ns * _ticks_per_ms(library) // 1_000_000
        for offset, value in ((0, workers), (8, spins), (40, int(signal.SIG_SETMASK)), (88, patience)):
            self._field(offset, value)
        for offset, name in _FUNCTIONS.items():
            self._field(offset, jit.libc_address(name) if name != "syscall" or os.uname().sysname == "Linux" else 0)
        self._memory[_SIGNALS:_MUTEX] = _blocked_signals()
        self.reset()

    def reset(self) -> None:
        """Make this a pool whose workers have not been started."""
        self._memory[_MUTEX:] = 0
        libc = ctypes.CDLL(None)
        libc.pthread_mutex_init(ctypes.c_void_p(self.handle + _MUTEX), None)
        libc.pthread_cond_init(ctypes.c_void_p(self.handle + _CONDITION), None)

    def _field(self, offset: int, value: int) -> None:
        self._memory[offset : offset + 8].view(np.int64)[0] = value


def _spins(library: jit.Library) -> int:
    """How many pauses take _SPIN_NS here: processors differ by a factor of ten."""
    pause = ctypes.CFUNCTYPE(None, ctypes.c_int64)(library.address("pool_pause"))
    times = 500
    best = min(_elapsed_ns(pause, times) for _ in range(3))
    return max(times * _SPIN_NS // max(best, 1), 1)


@cache
def _ticks_per_ms(library: jit.Library) -> int:
    clock = ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("pool_clock"))
    start, first = time.perf_counter_ns(), clock()
    while time.perf_counter_ns() - start < 200_000:
        pass
    ticks = clock() - first
    return ticks * 1_000_000 // (time.perf_counter_ns() - start)


def _elapsed_ns(function: Callable[[int], None], argument: int) -> int:
    start = time.perf_counter_ns()
    function(argument)
    return time.perf_counter_ns() - start


def _blocked_signals() -> np.ndarray:
    """A sigset_t of all signals but those that a fault raises in the thread itself."""
    mask = np.full(_MUTEX - _SIGNALS, 255, np.uint8)
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP):
        mask[(number - 1) // 8] &= 255 ^ (1 << (number - 1) % 8)
    return mask


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in _pools.values():
        pool.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
