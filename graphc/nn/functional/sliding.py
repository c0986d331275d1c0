"""What convolutions and pools share: one option for each spatial axis, inputs with or without a batch axis, sizes of results."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.op import rule
from graphc.tensor import Tensor

Sizes = tuple[int, ...]


def sizes(function: str, argument: str, value: Any, rank: int, low: int = 0) -> Sizes:
    """`value`, an integer or one for each of `rank` axes, as a tuple; each at least `low`."""
    many = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(many) == 1:
        many *= rank
    integers = all(isinstance(one, (int, np.integer)) and not isinstance(one, (bool, np.bool_)) for one in many)
    if len(many) != rank or not integers or any(one < low for one in many):
        several = f"an integer or a tuple of {rank} integers" if rank > 1 else "an integer"
        raise InputError(f"{function}: {argument} must be {several}, at least {low}, not {value!r}")
    return tuple(int(one) for one in many)


def batched(function: str, x: Tensor, rank: int) -> tuple[Tensor, bool]:
    """The input (N, C, *spatial), and whether it came without its batch axis."""
    with rule(function, x):
        if x.ndim not in (rank + 1, rank + 2):
            raise ShapeError(f"expected a {rank + 1}D (unbatched) or {rank + 2}D (batched) input, got {x.ndim}D")
    return (x, False) if x.ndim == rank + 2 else (fn.expand_dims(x, 0), True)


def unbatched(y: Tensor, single: bool) -> Tensor:
    return fn.squeeze(y, 0) if single else y


def extent(size: int, dilation: int) -> int:
    """How many positions a window spans, from its first element to its last."""
    return (size - 1) * dilation + 1


def positions(
    function: str, x: Tensor, size: Sizes, stride: Sizes, low: Sizes, high: Sizes, dilation: Sizes, ceil: bool = False
) -> Sizes:
    """Windows along each spatial axis, (H - F + 2P)/S + 1: rounded down; or up, unless the last would start in the padding after
    the input."""
    counts = []
    spatial = x.shape[-len(size) :]
    for number, (h, f, s, before, after, d) in enumerate(zip(spatial, size, stride, low, high, dilation, strict=True)):
        room = h + before + after - extent(f, d)
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= h + before:
            count -= 1
        with rule(function, x):
            if count < 1 or (room < 0 and not ceil):
                raise ShapeError(
                    f"a window of {extent(f, d)} positions does not fit spatial axis {number} of size {h} with padding {before} "
                    f"and {after}: the output would be empty"
                )
        counts.append(count)
    return tuple(counts)
