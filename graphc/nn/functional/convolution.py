"""Convolutions as contractions over windows of their input, which are never stored.

    y[n, o, i] = sum over c, f of x[n, c, i*stride + f*dilation - padding] w[o, c, f]  + b[o]

A transposed convolution is the adjoint of that with respect to x: a fold of the contraction over channels.
"""

from __future__ import annotations

from typing import Any

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import promoted
from graphc.nn.functional.sliding import Sizes, batched, extent, positions, sizes, unbatched
from graphc.op import rule
from graphc.ops.contract import contraction
from graphc.ops.fold import fold
from graphc.ops.window import window
from graphc.tensor import Tensor

_AT, _IN = "ijk", "uvw"  # labels of positions and of places in a window


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Cross-correlation of (N, C, L) or (C, L) with `weight` (out, C/groups, F); output length (L + 2P - D(F - 1) - 1)/S + 1.

    `padding` is the number of zeros on both sides, "valid" for none, or "same" for an output as long as the input (stride 1).
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Cross-correlation of (N, C, H, W) or (C, H, W) with `weight` (out, C/groups, FH, FW); see `conv1d`."""
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `conv1d` with respect to its input: (N, C, L) with `weight` (C, out/groups, F) to length
    (L - 1)S - 2P + D(F - 1) + output_padding + 1."""
    return _conv_transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `conv2d` with respect to its input: (N, C, H, W) with `weight` (C, out/groups, FH, FW); see
    `conv_transpose1d`."""
    return _conv_transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _conv(
    name: str, rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    x, w = promoted(name, input, weight)
    x, single = batched(name, x, rank)
    step, apart = sizes(name, "stride", stride, rank, 1), sizes(name, "dilation", dilation, rank, 1)
    _check_weight(name, rank, x, w, groups)
    with rule(name, x, w):
        if w.shape[0] % groups:
            raise ShapeError(f"groups {groups} must divide the {w.shape[0]} output channels of the weight")
        if x.shape[1] != w.shape[1] * groups:
            raise ShapeError(
                f"the input has {x.shape[1]} channels, a weight of shape {w.shape} with groups {groups} expects "
                f"{w.shape[1] * groups}"
            )
    size = w.shape[2:]
    low, high = _padding(name, padding, rank, size, step, apart)
    count = positions(name, x, size, step, low, high, apart)
    x, w = _grouped(x, 1, groups), _grouped(w, 0, groups)
    axes = tuple(range(x.ndim - rank, x.ndim))
    seen = window(x, axes=axes, count=count, size=size, step=step, dilation=apart, low=low, value=0)
    at, inside, group = _AT[:rank], _IN[:rank], "g" if groups > 1 else ""
    y = contraction(w, seen, f"{group}oc{inside}", f"n{group}c{at}{inside}", f"n{group}o{at}")
    return unbatched(_biased(name, _ungrouped(y, groups), bias, rank), single)


def _conv_transpose(
    name: str, rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any,
) -> Tensor:  # fmt: skip
    x, w = promoted(name, input, weight)
    x, single = batched(name, x, rank)
    step, apart = sizes(name, "stride", stride, rank, 1), sizes(name, "dilation", dilation, rank, 1)
    low, more = sizes(name, "padding", padding, rank), sizes(name, "output_padding", output_padding, rank)
    if any(extra >= max(s, d) for extra, s, d in zip(more, step, apart, strict=True)):
        raise InputError(f"{name}: output_padding must be smaller than stride or dilation, got {output_padding!r}")
    _check_weight(name, rank, x, w, groups)
    with rule(name, x, w):
        if x.shape[1] != w.shape[0]:
            raise ShapeError(f"the input has {x.shape[1]} channels, a weight of shape {w.shape} expects {w.shape[0]}")
        if w.shape[0] % groups:
            raise ShapeError(f"groups {groups} must divide the {w.shape[0]} input channels")
        count = tuple(
            (h - 1) * s - 2 * p + extent(f, d) + extra
            for h, s, p, f, d, extra in zip(x.shape[2:], step, low, w.shape[2:], apart, more, strict=True)
        )
        if min(count) < 1:
            raise ShapeError(f"padding {padding!r} leaves nothing of the output: its size would be {count}")
    x, w = _grouped(x, 1, groups), _grouped(w, 0, groups)
    at, inside, group = _AT[:rank], _IN[:rank], "g" if groups > 1 else ""
    columns = contraction(w, x, f"{group}co{inside}", f"n{group}c{at}", f"n{group}o{at}{inside}")
    axes = tuple(range(x.ndim - rank, x.ndim))
    y = fold(columns, axes=axes, count=count, step=step, dilation=apart, low=low)
    return unbatched(_biased(name, _ungrouped(y, groups), bias, rank), single)


def _check_weight(name: str, rank: int, x: Tensor, w: Tensor, groups: Any) -> None:
    (number,) = sizes(name, "groups", groups, 1, 1)
    with rule(name, x, w):
        if w.ndim != rank + 2:
            raise ShapeError(f"expected a {rank + 2}D weight, got {w.type}")
        if min(w.shape[2:]) < 1:
            raise ShapeError(f"the kernel must not be empty, got a weight of shape {w.shape}")
        if x.shape[1] % number:
            raise ShapeError(f"groups {groups} must divide the {x.shape[1]} channels of the input")


def _padding(name: str, padding: Any, rank: int, size: Sizes, step: Sizes, apart: Sizes) -> tuple[Sizes, Sizes]:
    """Zeros before and after each axis."""
    if padding == "valid":
        return (0,) * rank, (0,) * rank
    if padding == "same":
        if any(s != 1 for s in step):
            raise InputError(f"{name}: padding='same' needs stride 1, got {step}")
        total = [extent(f, d) - 1 for f, d in zip(size, apart, strict=True)]
        return tuple(one // 2 for one in total), tuple(one - one // 2 for one in total)
    if isinstance(padding, str):
        raise InputError(f"{name}: padding must be 'valid', 'same' or integers, not {padding!r}")
    both = sizes(name, "padding", padding, rank)
    return both, both


def _grouped(x: Tensor, axis: int, groups: int) -> Tensor:
    """The axis of channels as (groups, channels of one)."""
    if groups == 1:
        return x
    return fn.reshape(x, (*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]))


def _ungrouped(y: Tensor, groups: int) -> Tensor:
    return y if groups == 1 else fn.reshape(y, (y.shape[0], y.shape[1] * y.shape[2], *y.shape[3:]))


def _biased(name: str, y: Tensor, bias: Any, rank: int) -> Tensor:
    if bias is None:
        return y
    b = fn.as_tensor(bias)
    with rule(name, y, b):
        if b.shape != y.shape[1:2]:
            raise ShapeError(f"the bias must have shape {y.shape[1:2]}, got {b.shape}")
    return y + fn.reshape(b, (*b.shape, *(1,) * rank))
