"""The native code that all steps share: the pool, calls from Python, runs of many steps. An object made by
`graphc.codegen.support`, which the driver hands in; loaded once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from graphc.runtime import jit

Provider = Callable[[], bytes]

_lock = threading.Lock()
_library: list[jit.Library] = []  # at most one; threads live in its code until the process ends, so it is never freed


def library(provider: Provider) -> jit.Library:
    """`provider` gives the object bytes when they are first needed."""
    with _lock:
        if not _library:
            _library.append(jit.load(provider(), ["parallel", "pool_pause", "pool_clock", "python", "call", "drive"]))
        return _library[0]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
