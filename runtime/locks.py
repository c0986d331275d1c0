"""Who may touch a state when. A step with updates excludes every other call that reads or writes its states; calls that only
read run side by side.

States that are used together share a lock, so most executables take one. Several are taken in the order of their making, the
same for every thread, so no two calls wait for each other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from collections.abc import Iterator, Sequence

import numpy as np

_serial = itertools.count()
_registry = threading.Lock()
_of_array: dict[int, tuple[weakref.ref[np.ndarray], StateLock]] = {}
_all: weakref.WeakSet[StateLock] = weakref.WeakSet()


class StateLock:
    """Many readers or one writer. A waiting writer goes before readers that come later.

    A writer keeps the turn until it is done; a reader has it while it enters itself among the readers, by a token of its own.
    """

    __slots__ = ("serial", "turn", "readers", "_gate", "__weakref__")

    def __init__(self) -> None:
        self.serial = next(_serial)
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        self.turn = threading.Lock()
        self.readers: set[object] = set()
        self._gate: threading.Lock | None = None  # what the writer with the turn waits on

    def wait_for_readers(self) -> None:
        """For a writer, which has the turn: no readers come any more."""
        gate = threading.Lock()
        gate.acquire()
        self._gate = gate
        if self.readers:  # else the last of them may not have seen the gate
            gate.acquire()
        self._gate = None

    def leave(self, token: object) -> None:
        """For a reader, when it is done; harmless where it has not entered."""
        self.readers.discard(token)
        gate = self._gate  # looked at before the readers: those that come after this writer do not concern it
        if gate is not None and not self.readers:
            with contextlib.suppress(RuntimeError):  # another reader has opened it
                gate.release()


@contextlib.contextmanager
def holding(locks: Sequence[StateLock], writes: bool) -> Iterator[None]:
    """What a call does that reads, or reads and writes, the states of these locks."""
    token = object()
    with contextlib.ExitStack() as held:
        for lock in locks:
            if writes:
                held.enter_context(lock.turn)
                if lock.readers:
                    lock.wait_for_readers()
            else:
                held.callback(lock.leave, token)
                with lock.turn:
                    lock.readers.add(token)
        yield


def locks_of(arrays: Sequence[np.ndarray]) -> list[StateLock]:
    """The locks of these arrays, in the order to take them. Arrays not seen before join the lock of the others."""
    if not arrays:
        return []
    with _registry:
        known = [_known(array) for array in arrays]
        locks = sorted({lock for lock in known if lock is not None} or {StateLock()}, key=lambda lock: lock.serial)
        for array, lock in zip(arrays, known, strict=True):
            if lock is None:
                _register(array, locks[0])
        return locks


def _known(array: np.ndarray) -> StateLock | None:
    found = _of_array.get(id(array))
    return found[1] if found is not None and found[0]() is array else None


def _register(array: np.ndarray, lock: StateLock) -> None:
    key = id(array)

    def forget(reference: weakref.ref[np.ndarray]) -> None:
        found = _of_array.get(key)
        if found is not None and found[0] is reference:
            del _of_array[key]

    _of_array[key] = (weakref.ref(array, forget), lock)


def _after_fork() -> None:
    """A lock that another thread of the parent held would stay held for ever in the child."""
    global _registry
    _registry = threading.Lock()
    for lock in _all:
        lock.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
