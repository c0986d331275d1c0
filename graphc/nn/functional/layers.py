"""What layers compute: linear and bilinear maps, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.functions.convert import promoted
from graphc.functions.products import LETTERS
from graphc.nn.functional.common import floats, number, with_derivative
from graphc.op import rule
from graphc.ops.contract import contraction
from graphc.tensor import Tensor, constant
from graphc.types import as_shape, normalize_axes


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """x Wᵀ + b over the last axis of `input`; `weight` is (out, in), or (in,) for a single output without an axis."""
    x, w = promoted("linear", input, weight)
    with rule("linear", x, w):
        if x.ndim == 0 or w.ndim not in (1, 2):
            raise ShapeError(f"expected an input with at least one axis and a weight (out, in), got {x.type} and {w.type}")
        if x.shape[-1] != w.shape[-1]:
            raise ShapeError(f"the input has {x.shape[-1]} features, the weight expects {w.shape[-1]}")
    lead = LETTERS[: x.ndim - 1]
    out = "Y" if w.ndim == 2 else ""
    return _biased("linear", contraction(x, w, lead + "Z", out + "Z", lead + out), bias, w.shape[:-1])


def _biased(function: str, y: Tensor, bias: Any, shape: tuple[int, ...]) -> Tensor:
    if bias is None:
        return y
    b = fn.as_tensor(bias)
    with rule(function, y, b):
        if b.shape != shape:
            raise ShapeError(f"the bias must have shape {shape}, got {b.shape}")
    return y + b


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x₁ᵀ W x₂ + b over the last axes; `weight` is (out, in1, in2)."""
    x1, x2, w = promoted("bilinear", input1, input2, weight)
    with rule("bilinear", x1, x2, w):
        if (
            w.ndim != 3
            or not x1.ndim
            or not x2.ndim
            or x1.shape[:-1] != x2.shape[:-1]
            or (x1.shape[-1], x2.shape[-1]) != w.shape[1:]
        ):
            raise ShapeError(
                f"expected inputs (..., in1) and (..., in2) and a weight (out, in1, in2), got {x1.type}, {x2.type} and {w.type}"
            )
    return _biased("bilinear", fn.einsum("...i,oij,...j->...o", x1, w, x2), bias, w.shape[:1])


def _moments(x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations from the mean over the last axis, and 1/√(variance + eps)."""
    deviation = x - fn.mean(x, axis=-1, keepdims=True)
    return deviation, fn.rsqrt(fn.mean(deviation * deviation, axis=-1, keepdims=True) + eps)


def _standardized(x: Tensor, eps: Tensor) -> Tensor:
    deviation, scale = _moments(x, eps)
    return deviation * scale


def _standardize_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    """(v - mean v - y mean(v y)) / √(variance + eps): two sums over the same sweep, where the derived form has one after
    the other."""
    x, eps = operands
    _, scale = _moments(x, eps)
    y = standardize(x, eps)
    return [scale * (v - fn.mean(v, axis=-1, keepdims=True) - y * fn.mean(v * y, axis=-1, keepdims=True)), None]


# mean 0 and variance 1 over the last axis
standardize = with_derivative("standardize", _standardized, _standardize_backward)


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """weight · (x - mean)/√(variance + eps) + bias over the last axes, which must have the sizes `normalized_shape`.

    The variance is the mean of squared deviations, without correction.
    """
    (x,) = floats("layer_norm", input)
    number("layer_norm", "eps", eps, low=0.0)
    shape = as_shape(normalized_shape)
    with rule("layer_norm", x):
        if not shape or x.shape[-len(shape) :] != shape:
            raise ShapeError(f"expected an input that ends in axes of sizes {shape}, got {x.type}")
    flat = fn.reshape(x, (*x.shape[: -len(shape)], math.prod(shape)))
    y = fn.reshape(standardize(flat, constant(eps, x.dtype)), x.shape)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            parameter = fn.as_tensor(value)
            with rule("layer_norm", x, parameter):
                if parameter.shape != shape:
                    raise ShapeError(f"the {name} must have shape {shape}, got {parameter.shape}")
            y = y * parameter if name == "weight" else y + parameter
    return y


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖_p, eps), the norm taken along `dim` (an axis or several); p at least 1, or math.inf."""
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
