"""From what users hand over as numbers to NumPy arrays of graphc's types.

as_array(1.5)                    float32, as Python numbers and lists are
as_array(np.ones(3))             float64, as arrays keep their type
as_array(1.5, "int32")           1: casts saturate, and integers must be in range
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, InputError, NoValueError
from graphc.types import as_dtype

CACHE_LINE = 64  # bytes


def numeric_array(value: Any, what: str) -> np.ndarray:
    """The numbers of a NumPy array or scalar, of Python numbers and lists, or of what has `__array__` or `__dlpack__` (a torch
    tensor), in the type in which they came."""
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch: no gradient, on the CPU, in a type that NumPy has
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                value = value.float()
        if hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "__array__"):
            array = np.from_dlpack(value)
        else:
            array = np.asarray(value)
    except NoValueError:
        raise DTypeError(f"{what}: expected numbers, got {value!r}") from None
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise InputError(f"{what}: not an array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        if is_weak(value) and array.dtype.kind == "O" and _all_integers(array):
            raise InputError(f"{what}: an integer is out of range for int64")
        got = array.dtype if hasattr(value, "dtype") or array.dtype.kind == "c" else f"{type(value).__name__} {value!r:.40}"
        raise DTypeError(f"{what}: expected numbers, got {got}")
    return array


def is_weak(value: Any) -> bool:
    """Whether a value has no type of its own: Python numbers and lists."""
    return not any(hasattr(value, name) for name in ("dtype", "__array__", "__dlpack__"))


def as_array(value: Any, dtype: Any = None, what: str = "constant") -> np.ndarray:
    """A value as an array of one of graphc's types. Without `dtype`: arrays keep theirs (float16 becomes float32, small integers
    int32 or int64), Python numbers and lists take the defaults, float32 and int64."""
    weak = is_weak(value)
    if dtype is not None and as_dtype(dtype).kind == "f" and isinstance(value, int):
        try:
            value = float(value)  # also beyond 64 bits
        except OverflowError:
            raise InputError(f"{what}: an integer is out of range for {as_dtype(dtype).name}") from None
    array = numeric_array(value, what)
    if dtype is None:
        if array.dtype.kind == "f":
            target = np.dtype(np.float32) if weak or array.dtype.itemsize < 4 else np.dtype(f"f{min(array.dtype.itemsize, 8)}")
        elif array.dtype.kind == "b":
            target = np.dtype(np.bool_)
        else:
            small = array.dtype.itemsize < 4 or array.dtype == np.int32
            target = np.dtype(np.int32) if small and not weak else np.dtype(np.int64)
    else:
        target = as_dtype(dtype)
    if array.dtype.kind in "iu" and target.kind == "i" and array.size:
        info = np.iinfo(target.name)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise InputError(f"{what}: an integer is out of range for {target.name}")
    if array.dtype.kind == "f" and target.kind == "i":
        from graphc.ops.arithmetic import saturating_cast  # ops are made of tensors

        array = saturating_cast(array, target)
    with np.errstate(all="ignore"):
        return np.asarray(array, dtype=target, order="C")


def _all_integers(array: np.ndarray) -> bool:
    return all(isinstance(item, int) for item in array.ravel())


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A row-major copy that begins with a cache line. NumPy's own arrays begin 16 bytes after one, so that every second or even
    every register of them lies in two lines: 5 % of a training step."""
    block = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    start = -block.ctypes.data % CACHE_LINE
    copy = np.ndarray(array.shape, array.dtype, block[start : start + array.nbytes])
    copy[...] = array
    return copy
