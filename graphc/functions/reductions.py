"""Reductions: `axis` is None (all axes), an integer or a tuple; `keepdims` leaves size-1 axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.functions.elementwise as ew
import graphc.functions.shaping as shaping
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import as_tensor, cast, promoted
from graphc.functions.logic import logical_not, truth
from graphc.op import Op, rule
from graphc.ops import reduce
from graphc.tensor import Tensor
from graphc.types import MAX_ELEMENTS, int64, is_float, normalize_axes


def _reduce(op: Op, x: Tensor, axis: Any, keepdims: bool, name: str) -> Tensor:
    with rule(name, x):
        axes = normalize_axes(axis, x.ndim)
        _check_flag(keepdims)
    reduced = op(x, axes=axes)
    if keepdims:
        return shaping.reshape(reduced, tuple(1 if i in axes else size for i, size in enumerate(x.shape)))
    return reduced


def _axes_fit(name: str, x: Tensor, axis: Any, keepdims: Any) -> None:
    """What a function made of several others asks for by its own name."""
    with rule(name, x):
        normalize_axes(axis, x.ndim)
        _check_flag(keepdims)


def _check_flag(keepdims: Any) -> None:
    if not isinstance(keepdims, (bool, np.bool_, int)):
        raise InputError(f"keepdims is True or False, not {keepdims!r}")


def _accumulable(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else cast(x, int64)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Sum; integers and bools are summed as int64."""
    return _reduce(reduce.sum_, _accumulable(as_tensor(x)), axis, keepdims, "sum")


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Product; integers and bools as int64."""
    return _reduce(reduce.prod, _accumulable(as_tensor(x)), axis, keepdims, "prod")


def _count(x: Tensor, axis: Any) -> int:
    return math.prod(x.shape[i] for i in normalize_axes(axis, x.ndim))


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean, in floating point; NaN of nothing."""
    (x,) = promoted("mean", x, floating=True)
    _axes_fit("mean", x, axis, keepdims)
    total = sum(x, axis, keepdims)
    return total / float(_count(x, axis))


def var(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """Variance: the sum of squared deviations over n - correction."""
    return _variance("var", x, axis, correction, keepdims)


def _variance(name: str, x: Any, axis: Any, correction: float, keepdims: bool) -> Tensor:
    (x,) = promoted(name, x, floating=True)
    _axes_fit(name, x, axis, keepdims)
    number = isinstance(correction, (int, float, np.integer, np.floating)) and not isinstance(correction, bool)
    if not number or abs(correction) > MAX_ELEMENTS:
        raise InputError(f"{name}: correction is a number, not {correction!r}")
    deviation = x - mean(x, axis, keepdims=True)
    return sum(deviation * deviation, axis, keepdims) / float(np.maximum(_count(x, axis) - correction, 0))


def std(x: Any, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """Standard deviation, the root of `var`. Where it is 0 its gradient is 0, as PyTorch's."""
    squared = _variance("std", x, axis, correction, keepdims)
    none = ew.equal(squared, 0)
    return ew.where(none, 0, ew.sqrt(ew.where(none, 1, squared)))


def _nonempty(x: Tensor, axis: Any, name: str) -> None:
    with rule(name, x):
        if _count(x, axis) == 0:
            raise ShapeError(f"an empty axis has no extremum: shape {x.shape}, axis {axis}")


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Greatest element; NaN if any is. Its gradient is shared evenly among ties."""
    return _reduce(reduce.max_, as_tensor(x), axis, keepdims, "max")


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Least element; NaN if any is. Its gradient is shared evenly among ties."""
    return _reduce(reduce.min_, as_tensor(x), axis, keepdims, "min")


def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first greatest element, in the flattened tensor where `axis` is None."""
    return _reduce(reduce.argmax, as_tensor(x), axis, keepdims, "argmax")


def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first least element, in the flattened tensor where `axis` is None."""
    return _reduce(reduce.argmin, as_tensor(x), axis, keepdims, "argmin")


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true (nonzero); true of nothing."""
    x = as_tensor(x)
    _axes_fit("all", x, axis, keepdims)
    # counted rather than min-reduced, because a minimum of nothing does not exist
    return ew.equal(sum(logical_not(x), axis, keepdims), 0)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true (nonzero); false of nothing."""
    x = as_tensor(x)
    _axes_fit("any", x, axis, keepdims)
    return ew.greater(sum(truth(x), axis, keepdims), 0)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow: the greatest element is taken out first."""
    (x,) = promoted("logsumexp", x, floating=True)
    _axes_fit("logsumexp", x, axis, keepdims)
    _nonempty(x, axis, "logsumexp")
    peak = ew.stop_gradient(max(x, axis, keepdims=True))
    # where the peak is infinite, subtracting it would make NaN of inf - inf
    shift = ew.where(ew.isfinite(peak), peak, 0)
    total = ew.log(sum(ew.exp(x - shift), axis, keepdims=True)) + shift
    if keepdims:
        return total
    axes = normalize_axes(axis, x.ndim)
    return shaping.reshape(total, tuple(size for i, size in enumerate(x.shape) if i not in axes))
