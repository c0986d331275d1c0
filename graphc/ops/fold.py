"""Folding: the sum of overlapping windows, the adjoint of `window`.

    fold     x[..., n, ...] = sum of v[..., i, ..., f] over i*step + f*dilation - low = n

A fold of a contraction becomes contractions over windows of the gradient, one for each phase of the stride, so that no buffer of
columns is ever filled:

    %0 = contract w v {spec="oca,noi->ncia"}, %1 = fold %0          (n = step*q + r)
->
    %1 = window v {count=q}                                         : [n,o,q,a], for r = 0 with a = 0, step, ...
    %2 = contract %1 (flip w) {spec="noqa,oca->ncq"}                and so on for every r, then put together
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Op, declare
from graphc.ops import reduce, slicing
from graphc.ops.contract import contraction, split_spec
from graphc.ops.window import adjoint_samples, check_windows, skew, window, with_sizes
from graphc.tensor import Tensor
from graphc.types import TensorType


def _fold_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    (v,) = types
    rank = v.rank - len(attrs["axes"])
    check_windows(attrs, v, rank)
    if v.dtype.kind == "b":
        raise DTypeError(f"cannot sum {v}")
    return TensorType(v.dtype, with_sizes(v.shape[:rank], attrs["axes"], attrs["count"]))


def _fold_ref(attrs: Attrs, v: np.ndarray) -> np.ndarray:
    names = ("axes", "count", "step", "dilation", "low")
    for axis, count, step, dilation, low in reversed(list(zip(*(attrs[name] for name in names), strict=True))):
        moved = np.moveaxis(v, axis, 0)
        total = np.zeros((count, *moved.shape[1:-1]), v.dtype)
        for i in range(moved.shape[0]):
            for f in range(moved.shape[-1]):
                if 0 <= i * step + f * dilation - low < count:
                    total[i * step + f * dilation - low] += moved[i, ..., f]
        v = np.moveaxis(total, 0, axis)
    return v


def _fold_backward(node: Node, v: Tensor) -> list[Tensor]:
    attrs, shape = node.attrs, node.inputs[0].type.shape
    count = tuple(shape[axis] for axis in attrs["axes"])
    same = {name: attrs[name] for name in ("axes", "step", "dilation", "low")}
    return [window(v, count=count, size=shape[v.ndim :], value=0, **same)]


def _expand(node: Node) -> Tensor:
    """Where windows do not overlap, the elements side by side; of a contraction, contractions; else the sum of a skew."""
    attrs, (v,) = node.attrs, node.inputs
    sizes = v.type.shape[node.type.rank :]
    windows = list(zip(sizes, attrs["step"], attrs["dilation"], strict=True))
    if v.type.size and all((size - 1) * dilation < step for size, step, dilation in windows):
        return _side_by_side(Tensor(v), attrs)
    if v.op.kind is Kind.CONTRACT:
        x_labels, w_labels, out = split_spec(v.attrs["spec"])
        positions, inside = [out[axis] for axis in attrs["axes"]], list(out[node.type.rank :])
        operands = [(Tensor(v.inputs[0]), x_labels), (Tensor(v.inputs[1]), w_labels)]
        for x, w in (operands, operands[::-1]):
            apart = all(label not in w[1] for label in positions) and all(label not in x[1] for label in inside)
            if apart and v.type.size:
                return _by_phases(node, x, w, positions, inside)
    summed = tuple(range(node.type.rank, v.type.rank))
    return reduce.sum_(skew(Tensor(v), value=0, **attrs), axes=summed)


def _side_by_side(v: Tensor, attrs: Attrs) -> Tensor:
    axes, rank = attrs["axes"], v.ndim - len(attrs["axes"])
    # holes between the elements of a window, and after it, up to the next window
    interior, high = [0] * v.ndim, [0] * v.ndim
    for i, (step, dilation) in enumerate(zip(attrs["step"], attrs["dilation"], strict=True)):
        interior[rank + i] = dilation - 1
        high[rank + i] = step - (v.shape[rank + i] - 1) * dilation - 1
    if any(interior + high):
        v = slicing.pad(v, low=(0,) * v.ndim, high=tuple(high), interior=tuple(interior), value=0)
    order = [part for axis in range(rank) for part in ((axis, rank + axes.index(axis)) if axis in axes else (axis,))]
    extents = [v.shape[axis] * v.shape[rank + axes.index(axis)] if axis in axes else v.shape[axis] for axis in range(rank)]
    flat = fn.reshape(fn.permute_dims(v, order), tuple(extents))
    start, before, after = [0] * rank, [0] * rank, [0] * rank
    for axis, count, low in zip(axes, attrs["count"], attrs["low"], strict=True):
        first, last = max(low, 0), max(min(low + count, extents[axis]), max(low, 0))
        start[axis], extents[axis] = min(first, extents[axis]), max(min(last, extents[axis]) - first, 0)
        before[axis] = min(max(-low, 0), count)
        after[axis] = count - before[axis] - extents[axis]
    if tuple(extents) != flat.shape:
        flat = slicing.slice_(flat, start=tuple(start), size=tuple(extents), step=(1,) * rank)
    if any(before + after):
        flat = slicing.pad(flat, low=tuple(before), high=tuple(after), interior=(0,) * rank, value=0)
    return flat


Phase = tuple[int, int, int, int, int]


def _phase(r: int, size: int, step: int, dilation: int, low: int) -> Phase | None:
    """The elements of a window that fall on positions n = step*q + r: `many` of them, every `stride`-th from `first` on. Each
    comes from the window `apart` positions before that of the element before it; the last one from window q - `shift`. None where
    no element falls there.

    That is, first*dilation = r + low modulo step, and element first + t*stride is of window
    q + (r + low - first*dilation)/step - t*apart.
    """
    common = math.gcd(step, dilation)
    stride = step // common
    first = next((f for f in range(min(stride, size)) if (f * dilation - r - low) % step == 0), None)
    if first is None:
        return None
    many, apart = len(range(first, size, stride)), dilation // common
    return first, stride, many, apart, (many - 1) * apart - (r + low - first * dilation) // step


Operand = tuple[Tensor, str]  # and its labels


def _by_phases(node: Node, x: Operand, w: Operand, positions: Sequence[str], inside: Sequence[str]) -> Tensor:
    """A fold of x * w, x along the positions of windows and w along their elements: for each phase of the positions a contraction
    of windows of x with the reversed elements of w that fall on it."""
    attrs = node.attrs
    sizes = [w[0].shape[w[1].index(label)] for label in inside]
    counts = [-(-count // step) for count, step in zip(attrs["count"], attrs["step"], strict=True)]
    out = "".join(split_spec(node.inputs[0].attrs["spec"])[2][: node.type.rank])
    parts: dict[tuple[int, ...], Tensor] = {}
    axes = tuple(x[1].index(label) for label in positions)
    options = zip(sizes, attrs["step"], attrs["dilation"], attrs["low"], strict=True)
    phases = [[_phase(r, *one) for r in range(one[1])] for one in options]
    padded, low = _padded(x[0], axes, counts, phases)
    for phase in itertools.product(*map(range, attrs["step"])):
        chosen = [one for r, many in zip(phase, phases, strict=True) if (one := many[r]) is not None]
        if len(chosen) < len(phase):
            nothing = with_sizes(node.type.shape, attrs["axes"], counts)
            parts[phase] = fn.zeros(nothing, node.type.dtype)
            continue
        first, stride, many, apart, shift = zip(*chosen, strict=True)
        at = tuple(w[1].index(label) for label in inside)
        start, step = with_sizes((0,) * w[0].ndim, at, first), with_sizes((1,) * w[0].ndim, at, stride)
        taken = slicing.slice_(w[0], start=start, size=with_sizes(w[0].shape, at, many), step=step)
        inner = tuple(by - before for by, before in zip(shift, low, strict=True))
        near = (1,) * len(axes)
        seen = window(padded, axes=axes, count=tuple(counts), size=many, step=near, dilation=apart, low=inner, value=0)
        parts[phase] = contraction(seen, slicing.flip(taken, axes=tuple(sorted(at))), x[1] + "".join(inside), w[1], out)
    return _interleaved(parts, node)


def _padded(
    x: Tensor, axes: Sequence[int], counts: Sequence[int], phases: Sequence[Sequence[Phase | None]]
) -> tuple[Tensor, list[int]]:
    """x with zeros around it for the windows of all phases, and how many before each of `axes`."""
    low, high = [0] * x.ndim, [0] * x.ndim
    for axis, count, many in zip(axes, counts, phases, strict=True):
        for one in many:
            if one is not None:
                _, _, size, apart, shift = one
                low[axis] = max(low[axis], shift)
                high[axis] = max(high[axis], count + (size - 1) * apart - shift - x.shape[axis])
    before = [low[axis] for axis in axes]
    if not any(low + high):
        return x, before
    return slicing.pad(x, low=tuple(low), high=tuple(high), interior=(0,) * x.ndim, value=0), before


def _interleaved(parts: dict[tuple[int, ...], Tensor], node: Node) -> Tensor:
    """Phases put together, axis by axis from the last."""
    attrs = node.attrs
    for axis, count, step in reversed(list(zip(attrs["axes"], attrs["count"], attrs["step"], strict=True))):
        joined: dict[tuple[int, ...], Tensor] = {}
        for phase in dict.fromkeys(phase[:-1] for phase in parts):
            many = [parts[*phase, r] for r in range(step)]
            shape = many[0].shape
            y = many[0]
            if step > 1:
                y = fn.reshape(fn.stack(many, axis + 1), (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))
            if y.shape[axis] != count:
                y = slicing.slice_(y, start=(0,) * y.ndim, size=with_sizes(y.shape, (axis,), (count,)), step=(1,) * y.ndim)
            joined[phase] = y
        parts = joined
    return parts[()]


fold: Op = declare(
    "fold",
    Kind.COMPOSITE,
    doc="The sum of overlapping windows, laid `step` apart from -`low` on: what falls on each of `count` positions along `axes`.",
    infer=_fold_type,
    ref=_fold_ref,
    expand=_expand,
    backward=_fold_backward,
    samples=adjoint_samples,
)
