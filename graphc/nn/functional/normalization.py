"""Normalization over axes of one example: layer, RMS and group norm, and division by a vector norm.

Derivatives are stated where the derived form would take one more sweep: of y = (x - mean)/√variance it has two
sums side by side, (v - mean v - y mean(v y))/√variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.nn.functional.common import axis_sizes, floats, number, refuse, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor, constant
from graphc.types import normalize_axes


def moments(x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations from the mean over the last axis, and 1/√(variance + eps)."""
    deviation = x - fn.mean(x, axis=-1, keepdims=True)
    return deviation, fn.rsqrt(fn.mean(deviation * deviation, axis=-1, keepdims=True) + eps)


def _standardized(x: Tensor, eps: Tensor) -> Tensor:
    deviation, scale = moments(x, eps)
    return deviation * scale


def _standardize_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    x, eps = operands
    _, scale = moments(x, eps)
    y = standardize(x, eps)
    return [scale * (v - fn.mean(v, axis=-1, keepdims=True) - y * fn.mean(v * y, axis=-1, keepdims=True)), None]


# mean 0 and variance 1 over the last axis
standardize = with_derivative("standardize", _standardized, _standardize_backward)


def _rms(x: Tensor, eps: Tensor) -> Tensor:
    """1/√(mean x² + eps) over the last axis."""
    return fn.rsqrt(fn.mean(x * x, axis=-1, keepdims=True) + eps)


def _scale_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    x, eps = operands
    y = _unit_rms(x, eps)
    return [_rms(x, eps) * (v - y * fn.mean(v * y, axis=-1, keepdims=True)), None]


# mean square 1 over the last axis
_unit_rms = with_derivative("unit_rms", lambda x, eps: x * _rms(x, eps), _scale_backward)


def parameter(function: str, name: str, value: Any, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A weight or bias of `function`, in the input's type, which must have `shape`."""
    p = fn.as_tensor(value)
    with rule(function, x, p):
        if p.shape != shape:
            raise ShapeError(f"the {name} must have shape {shape}, got {p.shape}")
    return fn.astype(p, x.dtype)


def scaled_and_shifted(function: str, y: Tensor, weight: Any, bias: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> Tensor:
    """weight · y + bias, where both have `shape` and stand along axes as the shape `at` says; None leaves one out."""
    if weight is not None:
        y = y * fn.reshape(parameter(function, "weight", weight, shape, y), at)
    return y if bias is None else y + fn.reshape(parameter(function, "bias", bias, shape, y), at)


def _last_axes(function: str, x: Tensor, normalized_shape: Any) -> tuple[tuple[int, ...], Tensor]:
    """The sizes of the axes to normalize, and the input with these axes as one."""
    shape = axis_sizes(function, "normalized_shape", normalized_shape)
    with rule(function, x):
        if not shape or x.shape[-len(shape) :] != shape:
            raise ShapeError(f"expected an input that ends in axes of sizes {shape} (normalized_shape), got {x.type}")
    return shape, fn.reshape(x, (*x.shape[: -len(shape)], math.prod(shape)))


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """weight · (x - mean)/√(variance + eps) + bias over the last axes, which must have the sizes `normalized_shape`.

    The variance is the mean of squared deviations, without correction.
    """
    (x,) = floats("layer_norm", input)
    number("layer_norm", "eps", eps, low=0.0)
    shape, flat = _last_axes("layer_norm", x, normalized_shape)
    y = fn.reshape(standardize(flat, constant(eps, x.dtype)), x.shape)
    return scaled_and_shifted("layer_norm", y, weight, bias, shape, shape)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """weight · x/√(mean x² + eps) over the last axes, which must have the sizes `normalized_shape` (Zhang and Sennrich, 2019).

    Without `eps` it is the distance from 1 to the next number of the input's type.
    """
    (x,) = floats("rms_norm", input)
    eps = float(np.finfo(x.dtype).eps) if eps is None else number("rms_norm", "eps", eps, low=0.0)
    shape, flat = _last_axes("rms_norm", x, normalized_shape)
    y = fn.reshape(_unit_rms(flat, constant(eps, x.dtype)), x.shape)
    return scaled_and_shifted("rms_norm", y, weight, None, shape, shape)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """weight · (x - mean)/√(variance + eps) + bias for an input (N, C, ...), with statistics over each example's `num_groups`
    groups of neighbouring channels; weight and bias are (C,) (Wu and He, 2018)."""
    (x,) = floats("group_norm", input)
    number("group_norm", "eps", eps, low=0.0)
    if isinstance(num_groups, bool) or not isinstance(num_groups, (int, np.integer)) or num_groups < 1:
        raise InputError(f"group_norm: num_groups must be a positive integer, not {num_groups!r}")
    with rule("group_norm", x):
        if x.ndim < 2:
            raise ShapeError(f"expected an input (N, C, ...), got {x.type}")
        if x.shape[1] % num_groups:
            raise ShapeError(f"{x.shape[1]} channels do not divide into num_groups={num_groups}")
    flat = fn.reshape(x, (x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups))
    y = fn.reshape(standardize(flat, constant(eps, x.dtype)), x.shape)
    at = (x.shape[1], *(1 for _ in x.shape[2:]))
    return scaled_and_shifted("group_norm", y, weight, bias, x.shape[1:2], at)


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    """x / max(‖x‖_p, eps), the norm taken along `dim` (an axis or several); p at least 1, or math.inf."""
    refuse("normalize", "out", out, "the result is a new tensor", default=None)
    (x,) = floats("normalize", input)
    number("normalize", "p", p, low=1.0)
    number("normalize", "eps", eps, low=0.0)
    with rule("normalize", x):
        axes = normalize_axes(dim, x.ndim, "dim")
    norm = _norm(x, p, axes)
    return x / fn.where(norm < eps, eps, norm)


def _norm(x: Tensor, p: float, axes: tuple[int, ...]) -> Tensor:
    """Σ over axes of |x|^p, to the power 1/p; the derivative at 0 is 0, where a root has none."""
    size = fn.abs(x)
    if p == 1:
        return fn.sum(size, axis=axes, keepdims=True)
    if p == math.inf:
        return fn.max(size, axis=axes, keepdims=True)
    total = fn.sum(x * x if p == 2 else size**p, axis=axes, keepdims=True)
    positive = fn.where(total == 0, 1, total)
    return fn.where(total == 0, 0, fn.sqrt(positive) if p == 2 else positive ** (1 / p))
