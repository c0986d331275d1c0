"""Indexing as NumPy's: integers, slices, None, ..., and integer tensors or arrays; `take` and its relatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.functions.elementwise as ew
import graphc.functions.making as making
import graphc.functions.shaping as shaping
from graphc.arrays import numeric_array
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.functions.convert import as_tensor, broadcasted
from graphc.op import rule
from graphc.ops import index as ops
from graphc.ops import math as mathematics
from graphc.ops import slicing
from graphc.tensor import Tensor, constant
from graphc.types import is_integer, is_whole, normalize_axis


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key]. Integers, slices with any step, None and ... as NumPy. Integer tensors and arrays, and arrays of bools, which are
    the positions of what is true in them, broadcast together; their axes stand where the first of them stood (first of all, as
    NumPy has it, where a slice, None or ... stands between them)."""
    x = as_tensor(x)
    with rule("getitem", x):
        keys = _positions(x, [_checked(one) for one in (key if isinstance(key, tuple) else [key])])
        entries = _expand(x, keys)
        start, size, step, flips, shape, advanced = [], [], [], [], [], []
        axis = 0
        for entry in entries:
            if entry is None:
                shape.append(1)
                continue
            n = x.shape[axis]
            if isinstance(entry, slice):
                low, _, stride = _indices(entry, n)
                count = len(range(*_indices(entry, n)))
                if stride < 0:
                    flips.append(axis)
                    low = low + (count - 1) * stride if count else 0
                start.append(low if count else 0)
                step.append(abs(stride))
                size.append(count)
                shape.append(count)
            elif isinstance(entry, (Tensor, np.ndarray)):
                advanced.append((len(shape), entry))
                start.append(0)
                step.append(1)
                size.append(n)
                shape.append(n)
            else:
                if not -n <= entry < n:
                    raise ShapeError(f"index {entry} is out of range for axis {axis} of size {n}")
                start.append(int(entry) % n)
                step.append(1)
                size.append(1)
            axis += 1
    if tuple(size) != x.shape:
        x = slicing.slice_(x, start=tuple(start), size=tuple(size), step=tuple(step))
    if flips:
        x = slicing.flip(x, axes=tuple(flips))
    x = shaping.reshape(x, tuple(shape))
    if not advanced:
        return x
    x, at, rank = _gathered(x, advanced)
    places = [i for i, one in enumerate(keys) if one is not None and one is not Ellipsis and not isinstance(one, slice)]
    apart = places[-1] - places[0] >= len(places)
    return shaping.moveaxis(x, range(at, at + rank), range(rank)) if apart else x


def _gathered(x: Tensor, advanced: list[tuple[int, Any]]) -> tuple[Tensor, int, int]:
    """Elements at positions on one or several axes, the first axis of the positions in the result, and their number."""
    first = advanced[0][0]
    if len(advanced) == 1:
        return take(x, advanced[0][1], axis=first), first, advanced[0][1].ndim
    axes = [at for at, _ in advanced]
    with rule("getitem", x):
        indices = [_wrapped(_integer(one, "getitem"), x.shape[at], "getitem").astype("int64") for at, one in advanced]
    # the axes side by side and then as one; a position there is that of the row-major order
    x = shaping.permute_dims(x, [*range(first), *axes, *(i for i in range(first, x.ndim) if i not in axes)])
    sizes, rest = x.shape[first : first + len(axes)], x.shape[first + len(axes) :]
    x = shaping.reshape(x, (*x.shape[:first], math.prod(sizes), *rest))
    flat, *others = broadcasted("getitem", *indices)
    for index, size in zip(others, sizes[1:], strict=True):
        flat = flat * size + index
    return ops.gather(x, flat, axis=first), first, flat.ndim


def _indices(entry: slice, n: int) -> tuple[int, int, int]:
    try:
        return entry.indices(n)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"slice {entry}: {error}") from None


def _checked(key: Any) -> Any:
    """A key as an integer, a slice, None, ..., a tensor or an array of integers or bools."""
    if isinstance(key, list):
        key = numeric_array(key, "an index") if key else np.zeros(0, np.int64)
    if isinstance(key, np.ndarray) and key.ndim == 0 and key.dtype.kind in "iu":
        return int(key)
    if isinstance(key, (Tensor, np.ndarray)):
        if key.dtype.kind == "b" and (isinstance(key, Tensor) or not key.ndim):
            raise DTypeError("a boolean index would give a shape that depends on values; use graphc.where")
        if key.dtype.kind not in "iub":
            raise DTypeError(f"an index must be integer, got {key.dtype}")
    elif isinstance(key, (bool, np.bool_)) or not (key is None or key is Ellipsis or isinstance(key, (int, np.integer, slice))):
        raise DTypeError(f"an index is an integer, a slice, None, ... or an integer tensor, not {type(key).__name__}")
    return key


def _axes_of(key: Any) -> int:
    """How many axes a key is for."""
    if key is None or key is Ellipsis:
        return 0
    return key.ndim if isinstance(key, np.ndarray) and key.dtype.kind == "b" else 1


def _positions(x: Tensor, keys: list[Any]) -> list[Any]:
    """The keys with arrays of bools as what is true in them: an array of positions for each of their axes."""
    if sum(key is Ellipsis for key in keys) > 1:
        raise ShapeError("an index can have only one ...")
    left = sum(map(_axes_of, keys))
    if left > x.ndim:
        raise ShapeError(f"{left} indices for a tensor of rank {x.ndim}")
    found: list[Any] = []
    axis = 0
    for key in keys:
        count = _axes_of(key)
        if isinstance(key, np.ndarray) and key.dtype.kind == "b":
            if key.shape != x.shape[axis : axis + count]:
                raise ShapeError(f"a boolean index of shape {key.shape} for axes of sizes {x.shape[axis : axis + count]}")
            found.extend(np.nonzero(key))
        else:
            found.append(key)
        axis, left = axis + count, left - count
        if key is Ellipsis:
            axis = x.ndim - left
    return found


def _expand(x: Tensor, keys: list[Any]) -> list[Any]:
    """The keys with `...` spelled out and trailing axes added."""
    rest = [slice(None)] * (x.ndim - sum(map(_axes_of, keys)))
    at = next((i for i, key in enumerate(keys) if key is Ellipsis), None)
    return [*keys, *rest] if at is None else [*keys[:at], *rest, *keys[at + 1 :]]


def checked_index(index: Tensor, low: int, high: int, what: str, ignore: int | None = None) -> Tensor:
    """The index, guarded: a call fails unless every element is `ignore` or in [low, high)."""
    message = f"{what}: index {{value}} is out of range, expected {low} <= index < {high}"
    return mathematics.check_index(index, low=low, high=high, ignore=ignore, message=message)


def _integer(index: Any, name: str, *tensors: Tensor) -> Tensor:
    index = as_tensor(index)
    with rule(name, *tensors, index):
        if not is_integer(index.dtype):
            raise DTypeError(f"an index must be integer, got {index.type}")
    return index


def _wrapped(index: Tensor, size: int, name: str) -> Tensor:
    """Negative indices count from the end; others out of range fail the call, or here where they are constants."""
    if index.node.op.name == "const":
        value = index.node.attrs["value"]
        if value.size and (value.min() < -size or value.max() >= size):
            wrong = value[(value < -size) | (value >= size)].reshape(-1)[0]
            raise ShapeError(f"index {wrong} is out of range for an axis of size {size}")
        return constant(np.where(value < 0, value + size, value), value.dtype)
    index = checked_index(index, -size, size, name)
    return ew.where(index < 0, index + size, index)


def take(x: Any, index: Any, axis: int | None = None) -> Tensor:
    """Elements of x at integer positions of an axis (of the flattened tensor where `axis` is None); negative ones count from the
    end; out of range fails the call."""
    x = as_tensor(x)
    index = _integer(index, "take", x)
    if axis is None:
        x, axis = shaping.reshape(x, (-1,)), 0
    with rule("take", x, index):
        axis = normalize_axis(axis, x.ndim)
        index = _wrapped(index, x.shape[axis], "take")
    return ops.gather(x, index, axis=axis)


def take_along_axis(x: Any, index: Any, axis: int = -1) -> Tensor:
    """One element of x per element of `index`, which agrees with x in rank and broadcasts on all other axes, as NumPy's."""
    x = as_tensor(x)
    index = _integer(index, "take_along_axis", x)
    with rule("take_along_axis", x, index):
        axis = normalize_axis(axis, x.ndim)
        if index.ndim != x.ndim:
            raise ShapeError(f"index of rank {index.ndim} for a tensor of rank {x.ndim}")
        lead = [i for i in range(x.ndim) if i != axis]
        shape = [max(x.shape[i], index.shape[i]) if 0 not in (x.shape[i], index.shape[i]) else 0 for i in range(x.ndim)]
        if any(t.shape[i] not in (1, shape[i]) for t in (x, index) for i in lead):
            raise ShapeError(f"{index.type} does not broadcast with {x.type} outside axis {axis}")
        index = _wrapped(index, x.shape[axis], "take_along_axis")
    n = x.shape[axis]
    x = shaping.broadcast_to(x, tuple(n if i == axis else shape[i] for i in range(x.ndim)))
    index = shaping.broadcast_to(index, tuple(index.shape[axis] if i == axis else shape[i] for i in range(x.ndim)))
    # positions in the flattened tensor: the place on the axis plus where each line starts
    flat = index.astype("int64") * int(np.prod(x.shape[axis + 1 :], dtype=np.int64))
    for i in lead:
        stride = int(np.prod(x.shape[i + 1 :], dtype=np.int64))
        place = tuple(-1 if j == i else 1 for j in range(x.ndim))
        flat = flat + shaping.reshape(making.arange(shape[i], dtype="int64") * stride, place)
    return ops.gather(shaping.reshape(x, (-1,)), flat, axis=0)


def scatter_add(index: Any, updates: Any, size: int, axis: int = 0) -> Tensor:
    """Zeros of `size` along `axis` with `updates` added at integer positions, in ascending order of source; out of range fails
    the call."""
    updates = as_tensor(updates)
    index = _integer(index, "scatter_add", updates)
    with rule("scatter_add", index, updates):
        axis = normalize_axis(axis, updates.ndim)
        if not is_whole(size) or size < 0:
            raise InputError(f"size is an integer, at least 0, not {size!r}")
        index = _wrapped(index, size, "scatter_add")
    return ops.scatter_add(index, updates, axis=axis, size=int(size))


def one_hot(index: Any, size: int, dtype: Any = "float32") -> Tensor:
    """1 at the position that each integer names along a new last axis, 0 elsewhere; a row of zeros for one out of range."""
    index = _integer(index, "one_hot")
    with rule("one_hot", index):
        if not is_whole(size) or size < 0:
            raise InputError(f"size is an integer, at least 0, not {size!r}")
    return (shaping.expand_dims(index, index.ndim) == making.arange(size, dtype=index.dtype)).astype(dtype)
