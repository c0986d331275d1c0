"""The memory of one call: the frame that the entry reads, and behind it the arena and the workers' scratch.

    frame:  8 fields | error code, value | spec of calls | table: inputs, states, consts, outputs, then arena, error record, null

An executable keeps its frames in a free list, one for each call that ever ran at the same time, so a call allocates
nothing but its outputs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import partial

import numpy as np

from graphc.runtime.pointer import address

# Fields of the frame, as graphc/codegen/entry.py documents them.
TABLE, ARENA, PARALLEL, POOL, SCRATCH, SCRATCH_STRIDE, ERRORS, WORKERS = range(8)
ERROR_CODE, ERROR_VALUE, SPEC, FIRST_EXTERNAL = 8, 9, 10, 11

_HUGE_PAGE = 2 * 1024 * 1024
_LARGE = 64 * 1024


def aligned_block(size: int, alignment: int = 64) -> np.ndarray:
    """`size` uninitialised bytes, aligned; at the start of a huge page where they fill some."""
    if size >= 2 * _HUGE_PAGE:
        alignment = _HUGE_PAGE
    block = np.empty(size + alignment, np.uint8)
    start = -address(block) % alignment
    return block[start : start + size]


def maker(shape: tuple[int, ...], dtype: np.dtype) -> Callable[[], np.ndarray]:
    """What makes arrays for an output. Those larger than a first-level cache begin with a cache line, so that whole vectors are
    stored in one line each: NumPy's own begin 16 bytes after one, which costs a transposing copy a third of its speed."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE:
        return partial(np.empty, shape, dtype)
    return lambda: np.ndarray(shape, dtype, aligned_block(nbytes))


class Frame:
    __slots__ = ("address", "array", "fields", "_memory")

    def __init__(self, externals: int, arena_bytes: int, worker_scratch: int, workers: int, parallel: int, pool: int):
        self.fields = (ctypes.c_int64 * (FIRST_EXTERNAL + externals + 3))()
        self.address = ctypes.addressof(self.fields)
        self.array = np.ctypeslib.as_array(self.fields)  # the same memory
        # Padded, so that workers share no cache line and do not all start on the same cache set.
        stride = (worker_scratch + 63) // 64 * 64 + 128 if worker_scratch else 0
        arena, scratch = aligned_block(arena_bytes), aligned_block(stride * workers)
        self._memory = (arena, scratch)
        self.fields[TABLE] = self.address + 8 * FIRST_EXTERNAL
        self.fields[ARENA] = address(arena)
        self.fields[PARALLEL] = parallel
        self.fields[POOL] = pool
        self.fields[SCRATCH] = address(scratch)
        self.fields[SCRATCH_STRIDE] = stride
        self.fields[ERRORS] = self.address + 8 * ERROR_CODE
        self.fields[WORKERS] = workers
        self.fields[FIRST_EXTERNAL + externals] = self.fields[ARENA]
        self.fields[FIRST_EXTERNAL + externals + 1] = self.fields[ERRORS]
