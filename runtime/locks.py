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
from collections.abc import Sequence

import numpy as np

_serial = itertools.count()
_registry = threading.Lock()
_of_array: dict[int, tuple[weakref.ref[np.ndarray], StateLock]] = {}
_all: weakref.WeakSet[StateLock] = weakref.WeakSet()


class StateLock:
    """Many readers or one writer. A waiting writer goes before readers that come later."""

    __slots__ = ("serial", "_turn", "_busy", "_count", "_readers", "__weakref__")

    def __init__(self) -> None:
        self.serial = next(_serial)
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        self._turn = threading.Lock()  # passed by all who come, kept by a writer until it is done
        self._busy = threading.Lock()  # held by the writer, or on behalf of all readers inside
        self._count = threading.Lock()
        self._readers = 0

    def acquire_write(self) -> None:
        self._turn.acquire()
        self._busy.acquire()

    def release_write(self) -> None:
        self._busy.release()
        self._turn.release()

    def acquire_read(self) -> None:
        with self._turn, self._count:
            if self._readers == 0:
                self._busy.acquire()
            self._readers += 1

    def release_read(self) -> None:
        with self._count:
            self._readers -= 1
            if self._readers == 0:
                self._busy.release()


def locks_of(arrays: Sequence[np.ndarray]) -> tuple[StateLock, ...]:
    """The locks that guard these states' arrays, in the order to take them. Arrays not seen before join the lock of the others."""
    with _registry:
        known = {id(array): _known(array) for array in arrays}
        locks = {lock for lock in known.values() if lock is not None}
        if len(locks) < 1 and arrays:
            locks = {StateLock()}
        ordered = tuple(sorted(locks, key=lambda lock: lock.serial))
        for array in arrays:
            if known[id(array)] is None:
                _register(array, ordered[0])
        return ordered


def _known(array: np.ndarray) -> StateLock | None:
    found = _of_array.get(id(array))
    return found[1] if found is not None and found[0]() is array else None


def _register(array: np.ndarray, lock: StateLock) -> None:
    key = id(array)

    def forget(reference: weakref.ref[np.ndarray]) -> None:
        if _of_array.get(key, (None,))[0] is reference:
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
