"""What emitting a kernel yields, and the calling convention of every emitted kernel function.

    void @fn(ptr args, i64 begin, i64 end, ptr scratch)

`args` is an array of pointers: the launch's slots in order, then the launch's shared scratch (null if it asked for none), then
the error record {i64 code, i64 value}. The function does the units [begin, end) of `units`; units are independent, so any split
of them over workers gives the same bits. `scratch` is private to the worker, `worker_scratch` bytes, 64-byte aligned. Phases of
one kernel run one after the other with a barrier between.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    function: str
    units: int
    grain: int  # least number of units worth handing to another thread; units <= grain runs on the calling thread


@dataclass(frozen=True, slots=True)
class KernelCode:
    phases: tuple[Phase, ...]
    worker_scratch: int = 0  # bytes
    shared_scratch: int = 0  # bytes, one block for the launch, alive from its first phase to its last
