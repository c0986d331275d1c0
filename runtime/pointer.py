"""Addresses of arrays, cheaply. `array.ctypes.data` takes 0.8 us; a step may take one.

In CPython an ndarray is an object header followed by data, nd, dimensions, strides, base, descr, flags: a part of NumPy's binary
interface, which every extension module is compiled against. A tuple is a header with the number of items, then the items. Both
are checked here on a few objects at import; where they do not hold, the slow way is used.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

at = ctypes.c_ssize_t.from_address
_at32 = ctypes.c_int32.from_address

HEADER = object.__basicsize__  # where an ndarray's fields begin, and a tuple's number of items
ITEMS = tuple.__basicsize__  # where a tuple's items begin


def _layouts_hold() -> bool:
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    frozen = np.zeros((2, 3, 5), np.int32)
    frozen.flags.writeable = False
    samples = (base, base[1:], base[:, 2:], base.T, frozen, np.zeros(0), np.zeros((), np.int64), np.frombuffer(b"0123", np.uint8))
    items = [at(id(samples) + ITEMS + 8 * i).value for i in range(len(samples))]
    if at(id(samples) + HEADER).value != len(samples) or items != [id(array) for array in samples]:
        return False
    return all(_is_laid_out(array) for array in samples)


def _is_laid_out(array: np.ndarray) -> bool:
    fields = id(array) + HEADER
    dimensions = at(fields + 16).value
    return (
        at(fields - 8).value == id(np.ndarray)
        and at(fields).value == array.ctypes.data
        and _at32(fields + 8).value == array.ndim
        and all(at(dimensions + 8 * axis).value == size for axis, size in enumerate(array.shape))
        and at(fields + 40).value == id(array.dtype)
        and _at32(fields + 48).value == array.flags.num
    )


DIRECT = _layouts_hold()


def address(array: np.ndarray) -> int:
    return at(id(array) + HEADER).value if DIRECT else array.ctypes.data


def span(array: np.ndarray) -> tuple[int, int]:
    """First byte and end of a contiguous array."""
    start = address(array)
    return start, start + array.nbytes
