"""Who may touch a state when. A step with updates excludes every other call that reads or writes its states; calls that only
read run side by side.

States that are used together share a lock, so most executables take one. Several are taken in the order of their making, the
same for every thread, so no two calls wait for each other.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

_serial = itertools.count()
_registry = threading.Lock()
_of_array: dict[int, tuple[weakref.ref[np.ndarray], StateLock]] = {}
_all: weakref.WeakSet[StateLock] = weakref.WeakSet()


class StateLock:
    """Many readers or one writer. A waiting writer goes before readers that come later."""

    __slots__ = ("serial", "turn", "readers", "_count", "_last_reader", "__weakref__")

    def __init__(self) -> None:
        self.serial = next(_serial)
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        self.turn = threading.Lock()  # passed by readers on their way in, kept by a writer until it is done
        self._count = threading.Lock()
        self.readers = 0
        self._last_reader: threading.Lock | None = None  # what a writer waits on; the last reader opens it

    def acquire_write(self) -> None:
        self.turn.acquire()
        if self.readers:  # it cannot grow while we have the turn
            try:
                self.wait_for_readers()
            except BaseException:  # KeyboardInterrupt
                self.turn.release()
                raise

    def wait_for_readers(self) -> None:
        """To be called with the turn."""
        gate = threading.Lock()
        gate.acquire()
        with self._count:
            if not self.readers:
                return
            self._last_reader = gate
        gate.acquire()

    def release_write(self) -> None:
        self.turn.release()

    def acquire_read(self) -> None:
        with self.turn, self._count:
            self.readers += 1

    def release_read(self) -> None:
        with self._count:
            self.readers -= 1
            if not self.readers and self._last_reader is not None:
                self._last_reader.release()
                self._last_reader = None


def guard(arrays: Sequence[np.ndarray], writes: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """(acquire, release) for a call that reads, or reads and writes, the states with these arrays (at least one)."""
    locks = _locks_of(arrays)
    pairs = [(lock.acquire_write, lock.release_write) if writes else (lock.acquire_read, lock.release_read) for lock in locks]
    if len(pairs) == 1:
        return pairs[0]

    def acquire() -> None:
        held = 0
        try:
            for take, _ in pairs:
                take()
                held += 1
        except BaseException:  # KeyboardInterrupt
            for _, give in pairs[:held]:
                give()
            raise

    def release() -> None:
        for _, give in pairs:
            give()

    return acquire, release


def sole_lock(arrays: Sequence[np.ndarray]) -> StateLock | None:
    """The one lock of these arrays; None where there are several."""
    locks = _locks_of(arrays)
    return locks[0] if len(locks) == 1 else None


def _locks_of(arrays: Sequence[np.ndarray]) -> list[StateLock]:
    """The locks of these arrays, in the order to take them. Arrays not seen before join the lock of the others."""
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
