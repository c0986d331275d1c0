"""Many steps over arrays of rows, in native code; back in Python after `BUDGET_NS`, for signals and for other threads.

    driver = Driver(executable, [x, y], rows=32, scalars=[0])
    driver.shuffle(permutation)                       or None: batches in order
    next, (losses,) = driver.run(first, stop)         steps first, ..., next - 1; at least one

Step i takes rows 32 i to 32 (i + 1) of each array, or of the permutation. Every step is what a call would be: all that it does is
done when it ends. Where a check fails `run` raises, that step has changed nothing and those before it count.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Sequence

import numpy as np

from graphc.runtime import jit
from graphc.runtime.arena import FIRST_EXTERNAL, aligned_block
from graphc.runtime.executable import Executable
from graphc.runtime.pointer import address, span

BUDGET_NS = 20_000_000
_TURN_S = 50e-6
_STEPS = 4096  # of which scalars are kept until Python takes them

# The job, as graphc/codegen/calls.py has it.
_FRAME, _ENTRY, _NEXT, _STOP, _DEADLINE, _GETTIME, _CLOCK, _ROWS, _ORDER, _INPUTS, _SCALARS, _CELLS, _FIRST_INPUT = range(13)
_DRIVE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)  # releases the interpreter's lock


class Driver:
    def __init__(self, executable: Executable, arrays: Sequence[np.ndarray], rows: int, scalars: Sequence[int]):
        """`arrays`: C-contiguous, of the inputs' types but for their rows. `scalars`: positions of the outputs to return."""
        if executable.support is None:
            raise RuntimeError("a driver is part of the support object")
        self._executable = executable
        self._dtypes = [executable.outputs[position].dtype for position in scalars]
        self._cells = np.empty((_STEPS, len(scalars), 8), np.uint8)
        self._drive = _DRIVE(executable.support.address("drive"))
        batches = [aligned_block(type_.nbytes) for type_ in executable.inputs]
        unwanted = [
            (executable.first_output + i, aligned_block(type_.nbytes))
            for i, type_ in enumerate(executable.outputs)
            if i not in scalars
        ]
        self._unwanted = [(slot, address(block)) for slot, block in unwanted]
        self._all = np.arange(len(arrays[0]) // rows * rows)
        self._kept = (arrays, batches, unwanted)
        self._in_place = not any(executable.writes(span(array)) for array in arrays)
        fields = [0] * _FIRST_INPUT
        fields[_ENTRY], fields[_ROWS] = executable.entry, rows
        fields[_GETTIME], fields[_CLOCK] = jit.libc_address("clock_gettime"), time.CLOCK_MONOTONIC
        fields[_INPUTS], fields[_SCALARS], fields[_CELLS] = len(arrays), len(scalars), address(self._cells)
        for slot, (array, batch) in enumerate(zip(arrays, batches, strict=True), FIRST_EXTERNAL):
            row = array.nbytes // len(array)
            fields += [slot, address(array), row, row, address(batch)]
        fields += [executable.first_output + position for position in scalars]
        self._job = (ctypes.c_int64 * len(fields))(*fields)
        self.shuffle(None)

    def shuffle(self, order: np.ndarray | None) -> None:
        """Take rows in this order from now on."""
        if order is None and not self._in_place:
            order = self._all  # rows that lie in a state that steps write are copied before each step
        self._order = None if order is None else np.ascontiguousarray(order, np.int64)
        self._job[_ORDER] = 0 if self._order is None else address(self._order)

    def run(self, first: int, stop: int) -> tuple[int, list[list[float]]]:
        """The number of the first step not run, and of each scalar the values in the steps that were run."""
        executable, job = self._executable, self._job
        with executable.guarded():
            frame = executable.take_frame()
            for slot, pointer in self._unwanted:
                frame.fields[slot] = pointer
            job[_FRAME], job[_NEXT], job[_STOP] = frame.address, first, min(stop, first + _STEPS)
            job[_DEADLINE] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + BUDGET_NS
            if self._drive(ctypes.addressof(job)):
                executable.fail(frame)
            executable.keep(frame)
        if threading.active_count() > 1:  # locks are not fair: who waits for these states must get to run
            time.sleep(_TURN_S)
        done = job[_NEXT] - first
        values = [
            self._cells[:done, i, : dtype.itemsize].copy().view(dtype).ravel().tolist() for i, dtype in enumerate(self._dtypes)
        ]
        return first + done, values
