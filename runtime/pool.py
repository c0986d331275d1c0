"""The process-wide pools of native threads, one for each number of workers."""

from __future__ import annotations

import os


def available_processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
def worker_count(t): return 1
