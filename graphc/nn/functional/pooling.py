"""Pooling: reductions of windows that are never stored.

The gradient of a maximum goes to the first greatest element of its window, as PyTorch's: every input element compares its place
in each window over it with the place of that window's maximum, so that no scatter is needed and sums have one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.nn.functional.common import only_floats, refuse, with_derivative
from graphc.nn.functional.sliding import Sizes, batched, extent, positions, sizes, unbatched
from graphc.op import rule
from graphc.ops import reduce
from graphc.ops.window import window
from graphc.tensor import Tensor


def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """The greatest element of each window of (N, C, L) or (C, L); `stride` is `kernel_size` where it is None. Padding never
    wins."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """The greatest element of each window of (N, C, H, W) or (C, H, W); see `max_pool1d`."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of (N, C, L) or (C, L); `stride` is `kernel_size` where it is None. Padding counts as zeros, or
    with `count_include_pad` false not at all."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of (N, C, H, W) or (C, H, W), or its sum over `divisor_override`; see `avg_pool1d`."""
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """Means of `output_size` windows that cover the last axis: from floor(i L/O) to ceil((i + 1) L/O)."""
    return _adaptive("adaptive_avg_pool1d", 1, input, output_size, _mean)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means of windows that cover the last two axes; a size of None keeps that axis. See `adaptive_avg_pool1d`."""
    return _adaptive("adaptive_avg_pool2d", 2, input, output_size, _mean)


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maxima of the windows of `adaptive_avg_pool1d`."""
    _no_indices("adaptive_max_pool1d", return_indices)
    return _adaptive("adaptive_max_pool1d", 1, input, output_size, _greatest)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maxima of the windows of `adaptive_avg_pool2d`."""
    _no_indices("adaptive_max_pool2d", return_indices)
    return _adaptive("adaptive_max_pool2d", 2, input, output_size, _greatest)


# --- maxima ---


def _first_greatest(count: int) -> Callable[[Tensor], Tensor]:
    """The maximum over the last `count` axes, whose gradient goes to the first greatest element."""

    def last(x: Tensor) -> tuple[int, ...]:
        return tuple(range(x.ndim - count, x.ndim))

    def backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
        (x,) = operands
        shape = x.shape[-count:]
        place = fn.reshape(fn.arange(math.prod(shape), dtype="int32"), shape)
        chosen = reduce.argmax(x, axes=last(x)).astype("int32")
        mine = reduce.spread(chosen, last(x), x.shape) == place
        return [fn.where(mine, reduce.spread(v, last(x), x.shape), 0)]

    return with_derivative(f"first_greatest_{count}d", lambda x: reduce.max_(x, axes=last(x)), backward)


_FIRST_GREATEST = {count: _first_greatest(count) for count in (1, 2)}


def _no_indices(name: str, return_indices: bool) -> None:
    refuse(name, "return_indices", return_indices, "the places of the maxima are not returned")


def _max_pool(
    name: str, rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Tensor:  # fmt: skip
    _no_indices(name, return_indices)
    x, single, size, step, low = _pooled(name, rank, input, kernel_size, stride, padding)
    apart = sizes(name, "dilation", dilation, rank, 1)
    if any(2 * p > extent(f, d) for p, f, d in zip(low, size, apart, strict=True)):
        raise InputError(f"{name}: padding must be at most half of the kernel size, got {padding!r} for {kernel_size!r}")
    count = positions(name, x, size, step, low, low, apart, ceil_mode)
    axes = tuple(range(2, 2 + rank))
    seen = window(x, axes=axes, count=count, size=size, step=step, dilation=apart, low=low, value=-math.inf)
    return unbatched(_FIRST_GREATEST[rank](seen), single)


def _pooled(
    name: str, rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any
) -> tuple[Tensor, bool, Sizes, Sizes, Sizes]:
    """The batched input, whether it was not, and kernel size, stride and padding for each axis."""
    (x,) = only_floats(name, input)
    x, single = batched(name, x, rank)
    size = sizes(name, "kernel_size", kernel_size, rank, 1)
    step = size if stride is None else sizes(name, "stride", stride, rank, 1)
    return x, single, size, step, sizes(name, "padding", padding, rank)


# --- means ---


def _avg_pool(
    name: str, rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor: Any,
) -> Tensor:  # fmt: skip
    x, single, size, step, low = _pooled(name, rank, input, kernel_size, stride, padding)
    if any(2 * p > f for p, f in zip(low, size, strict=True)):
        raise InputError(f"{name}: padding must be at most half of the kernel size, got {padding!r} for {kernel_size!r}")
    if divisor is not None and (isinstance(divisor, bool) or not isinstance(divisor, (int, np.integer)) or not divisor):
        raise InputError(f"{name}: divisor_override must be an integer other than 0, not {divisor!r}")
    ones = (1,) * rank
    count = positions(name, x, size, step, low, low, ones, ceil_mode)
    axes = tuple(range(2, 2 + rank))
    seen = window(x, axes=axes, count=count, size=size, step=step, dilation=ones, low=low, value=0)
    total = reduce.sum_(seen, axes=tuple(range(x.ndim, x.ndim + rank)))
    over = _counts(x, count, size, step, low, count_include_pad) if divisor is None else int(divisor)
    return unbatched(total / over, single)


def _counts(x: Tensor, count: Sizes, size: Sizes, step: Sizes, low: Sizes, padding: bool) -> Any:
    """Elements in each window; what lies beyond the padded input never counts."""
    total = np.ones((), np.int64)
    for h, n, f, s, p in zip(x.shape[2:], count, size, step, low, strict=True):
        start = np.arange(n) * s - p
        stop = np.minimum(start + f, h + p)
        inside = stop - start if padding else np.minimum(stop, h) - np.maximum(start, 0)
        total = total[..., None] * inside
    return int(total.flat[0]) if (total == total.flat[0]).all() else total.astype(x.dtype)


# --- adaptive ---


def _adaptive(name: str, rank: int, input: Any, output_size: Any, pool: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
    (x,) = only_floats(name, input)
    x, single = batched(name, x, rank)
    many = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    spatial = x.shape[2:]
    known = many if len(many) != rank else tuple(h if one is None else one for h, one in zip(spatial, many, strict=True))
    wanted = sizes(name, "output_size", known, rank, 1)
    with rule(name, x):
        if min(spatial) < 1:
            raise ShapeError(f"expected spatial axes that are not empty, got {x.type}")
    if all(h % out == 0 for h, out in zip(spatial, wanted, strict=True)):
        size = tuple(h // out for h, out in zip(spatial, wanted, strict=True))
        axes = tuple(range(2, 2 + rank))
        seen = window(x, axes=axes, count=wanted, size=size, step=size, dilation=(1,) * rank, low=(0,) * rank, value=0)
        return unbatched(pool(seen, fn.full((), True), rank), single)
    seen, there = x, np.ones((), bool)
    for axis, (h, out) in enumerate(zip(spatial, wanted, strict=True)):
        start = np.arange(out) * h // out
        stop = -(-(np.arange(out) + 1) * h // out)
        places = start[:, None] + np.arange(int((stop - start).max()))
        there = there[..., None, None] & (places < stop[:, None])
        seen = fn.take(seen, np.minimum(places, h - 1), axis=2 + 2 * axis)
    pairs = [2 + 2 * axis for axis in range(rank)]
    seen = fn.permute_dims(seen, (0, 1, *pairs, *(axis + 1 for axis in pairs)))
    order = [2 * axis for axis in range(rank)]
    mask = fn.as_tensor(there.transpose(*order, *(axis + 1 for axis in order)))
    return unbatched(pool(seen, mask, rank), single)


def _mean(seen: Tensor, there: Tensor, rank: int) -> Tensor:
    axes = tuple(range(seen.ndim - rank, seen.ndim))
    if not there.ndim:
        return fn.mean(seen, axis=axes)
    count = fn.sum(there.astype(seen.dtype), axis=tuple(range(there.ndim - rank, there.ndim)))
    return fn.sum(fn.where(there, seen, 0), axis=axes) / count


def _greatest(seen: Tensor, there: Tensor, rank: int) -> Tensor:
    return _FIRST_GREATEST[rank](seen if not there.ndim else fn.where(there, seen, -math.inf))
