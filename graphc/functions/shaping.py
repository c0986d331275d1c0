"""Shapes: rearranging, joining and cutting tensors."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.arrays import as_array
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import as_tensor, cast, promoted
from graphc.op import rule
from graphc.ops import slicing, view
from graphc.tensor import Tensor
from graphc.types import as_dtype, as_shape, is_whole, listed, normalize_axes, normalize_axis


def astype(x: Any, dtype: Any) -> Tensor:
    """x as another element type; float to integer truncates and saturates, NaN becomes 0."""
    return cast(as_tensor(x), as_dtype(dtype))


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements under another shape; one size may be -1."""
    x = as_tensor(x)
    with rule("reshape", x):
        dims = listed(shape, "a shape")
        if dims.count(-1) > 1:
            raise ShapeError(f"only one size can be -1, got {dims}")
        if -1 in dims:
            rest = math.prod(size for size in dims if size != -1)
            if rest == 0 or x.size % rest:
                raise ShapeError(f"cannot reshape {x.type} of {x.size} elements to {dims}")
            dims = tuple(x.size // rest if size == -1 else size for size in dims)
        dims = as_shape(dims)
    return x if dims == x.shape else view.reshape(x, shape=dims)


def permute_dims(x: Any, axes: Any = None) -> Tensor:
    """Axes in another order; reversed where `axes` is None."""
    x = as_tensor(x)
    with rule("permute_dims", x):
        order = reversed(range(x.ndim)) if axes is None else listed(axes, "axes")
        perm = tuple(normalize_axis(axis, x.ndim) for axis in order)
        if sorted(perm) != list(range(x.ndim)):
            raise ShapeError(f"{axes} is not a permutation of the axes of {x.type}")
    return x if perm == tuple(range(x.ndim)) else view.transpose(x, perm=perm)


def matrix_transpose(x: Any) -> Tensor:
    """The last two axes exchanged."""
    x = as_tensor(x)
    with rule("matrix_transpose", x):
        if x.ndim < 2:
            raise ShapeError(f"needs at least two axes, got {x.type}")
    return swapaxes(x, -1, -2)


def swapaxes(x: Any, a: builtins.int, b: builtins.int) -> Tensor:
    """Two axes exchanged."""
    x = as_tensor(x)
    with rule("swapaxes", x):
        a, b = normalize_axis(a, x.ndim), normalize_axis(b, x.ndim)
    perm = list(range(x.ndim))
    perm[a], perm[b] = b, a
    return permute_dims(x, perm)


def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to new positions, the others in order."""
    x = as_tensor(x)
    with rule("moveaxis", x):
        many = [listed(axes, "axis") for axes in (source, destination)]
        start, end = ([normalize_axis(axis, x.ndim) for axis in axes] for axes in many)
        if len(start) != len(end) or len(set(start)) != len(start) or len(set(end)) != len(end):
            raise ShapeError(f"source {source} and destination {destination} do not pair up")
    perm = [axis for axis in range(x.ndim) if axis not in start]
    for to, axis in sorted(zip(end, start, strict=True)):
        perm.insert(to, axis)
    return permute_dims(x, perm)


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Repeated to `shape` by NumPy's rule."""
    x = as_tensor(x)
    with rule("broadcast_to", x):
        shape = as_shape(shape)
    return x if x.shape == shape else view.broadcast(x, shape=shape)


def expand_dims(x: Any, axis: Any) -> Tensor:
    """New axes of size 1 at the given positions of the result."""
    x = as_tensor(x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    with rule("expand_dims", x):
        axes = normalize_axes(axis, x.ndim + count)
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(sizes) for i in range(x.ndim + count)))


def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the given axes of size 1; without all of them where `axis` is None."""
    x = as_tensor(x)
    with rule("squeeze", x):
        axes = tuple(i for i, size in enumerate(x.shape) if size == 1) if axis is None else normalize_axes(axis, x.ndim)
        if builtins.any(x.shape[i] != 1 for i in axes):
            raise ShapeError(f"axis {axis} of {x.type} is not of size 1")
    return reshape(x, tuple(size for i, size in enumerate(x.shape) if i not in axes))


def flip(x: Any, axis: Any = None) -> Tensor:
    """Reversed along axes; all where `axis` is None."""
    x = as_tensor(x)
    with rule("flip", x):
        axes = normalize_axes(axis, x.ndim)
    return slicing.flip(x, axes=axes) if axes else x


def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """Elements moved by `shift` along an axis, or by several along several; those that leave come in at the other end. Of the
    flattened tensor where `axis` is None."""
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    with rule("roll", x):
        shifts, axes = listed(shift, "shift"), listed(axis, "axis")
        if len(shifts) != len(axes) and (1 not in (len(shifts), len(axes)) or not shifts or not axes):
            raise ShapeError(f"shift {shift} and axis {axis} do not pair up")
        axes = tuple(normalize_axis(one, x.ndim) for one in axes)
    if not axes:
        return x
    for by, along in zip(shifts * (len(axes) // len(shifts) or 1), axes * (len(shifts) // len(axes) or 1), strict=True):
        size = x.shape[along]
        cut = -by % size if size else 0
        x = concat(split(x, [cut], along)[::-1], along) if cut else x
    return x


def pad(x: Any, pad_width: Any, value: Any = 0) -> Tensor:
    """`value` around a tensor; `pad_width` is (before, after) for each axis, or one pair or number for all, as NumPy's."""
    x = as_tensor(x)
    with rule("pad", x):
        try:
            widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
        except ValueError:
            raise ShapeError(f"pad_width {pad_width} does not fit {x.type}") from None
        if widths.dtype.kind not in "iu" and widths.size:
            raise ShapeError(f"pad_width holds integers, not {pad_width!r}")
        fill = as_array(value, x.dtype, "value")
        if fill.ndim:
            raise ShapeError(f"value is one number, not {value!r}")
        low, high = (tuple(builtins.int(width) for width in widths[:, side]) for side in range(2))
        if builtins.min((*low, *high, 0)) < 0:
            raise ShapeError(f"pad_width must not be negative: {pad_width}")
    return slicing.pad(x, low=low, high=high, interior=(0,) * x.ndim, value=fill.item()) if x.ndim else x


def concat(tensors: Sequence[Any], axis: builtins.int | None = 0) -> Tensor:
    """Joined along an axis; flattened first where `axis` is None."""
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise InputError("concat: needs a non-empty list of tensors")
    parts = promoted("concat", *tensors)
    if axis is None:
        parts, axis = [reshape(part, (-1,)) for part in parts], 0
    with rule("concat", *parts):
        axis = normalize_axis(axis, parts[0].ndim)
    return parts[0] if len(parts) == 1 else slicing.concat(*parts, axis=axis)


def stack(tensors: Sequence[Any], axis: builtins.int = 0) -> Tensor:
    """Joined along a new axis."""
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise InputError("stack: needs a non-empty list of tensors")
    parts = promoted("stack", *tensors)
    with rule("stack", *parts):
        if len({part.shape for part in parts}) > 1:
            raise ShapeError("shapes differ: " + ", ".join(str(part.shape) for part in parts))
        axis = normalize_axis(axis, parts[0].ndim + 1)
    return concat([expand_dims(part, axis) for part in parts], axis)


def split(x: Any, sections: Any, axis: builtins.int = 0) -> list[Tensor]:
    """Cut along an axis into `sections` equal parts, or at the positions of a list, as NumPy's."""
    x = as_tensor(x)
    with rule("split", x):
        axis = normalize_axis(axis, x.ndim)
        size = x.shape[axis]
        if is_whole(sections):
            if sections < 1 or size % sections:
                raise ShapeError(f"axis {axis} of {x.type} does not split into {sections} equal parts")
            cuts = [i * (size // sections) for i in range(sections + 1)]
        else:
            places = listed(sections, "sections")
            cuts = [0, *(builtins.min(builtins.max(cut + size if cut < 0 else cut, 0), size) for cut in places), size]
    parts = []
    for low, high in itertools.pairwise(cuts):
        start = tuple(low if i == axis else 0 for i in range(x.ndim))
        count = tuple(builtins.max(high - low, 0) if i == axis else n for i, n in enumerate(x.shape))
        parts.append(slicing.slice_(x, start=start, size=count, step=(1,) * x.ndim))
    return parts


def unstack(x: Any, axis: builtins.int = 0) -> list[Tensor]:
    """The slices along an axis, without it."""
    x = as_tensor(x)
    with rule("unstack", x):
        axis = normalize_axis(axis, x.ndim)
    return [squeeze(part, axis) for part in split(x, builtins.max(x.shape[axis], 1), axis)] if x.shape[axis] else []


def tile(x: Any, repetitions: Any) -> Tensor:
    """The whole tensor repeated along each axis, as NumPy's."""
    x = as_tensor(x)
    with rule("tile", x):
        times = as_shape(repetitions)
    rank = builtins.max(len(times), x.ndim)
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - x.ndim) + x.shape
    pairs = list(zip(times, shape, strict=True))
    apart = reshape(x, tuple(n for size in shape for n in (1, size)))
    spread = broadcast_to(apart, tuple(n for pair in pairs for n in pair))
    return reshape(spread, tuple(t * size for t, size in pairs))


def repeat(x: Any, repetitions: builtins.int, axis: builtins.int | None = None) -> Tensor:
    """Each element repeated along an axis; of the flattened tensor where `axis` is None."""
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    with rule("repeat", x):
        axis = normalize_axis(axis, x.ndim)
        if not is_whole(repetitions) or repetitions < 0:
            raise ShapeError(f"repetitions is an integer, at least 0, not {repetitions!r}")
    wide = expand_dims(x, axis + 1)
    shape = tuple(repetitions if i == axis + 1 else size for i, size in enumerate(wide.shape))
    return reshape(broadcast_to(wide, shape), tuple(size * repetitions if i == axis else size for i, size in enumerate(x.shape)))
