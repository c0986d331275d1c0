"""Activations. NaN goes through all of them; at kinks the derivative is PyTorch's.

A function in pieces is a `where` over pieces that are finite everywhere: a piece that overflows where it is not chosen
would turn a zero gradient into 0 * inf = NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn.functional.common import element_type, floats, number, one_of, pure, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import is_float, normalize_axis

# Klambauer et al., 2017: the fixed point has mean 0 and variance 1
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _not_positive(x: Tensor) -> Tensor:
    """x where it is not above 0, else 0; the derivative at 0 is 1."""
    return fn.where(x > 0, 0, x)


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0); derivative 0 at 0."""
    pure("relu", inplace)
    x = fn.as_tensor(input)
    # not x > 0: a NaN fails every comparison and must go through
    return fn.where(x <= 0, 0, x)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope · x."""
    pure("leaky_relu", inplace)
    slope = number("leaky_relu", "negative_slope", negative_slope)
    (x,) = floats("leaky_relu", input)
    return fn.where(x > 0, x, x * slope)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; derivative 0 at the limits."""
    pure("hardtanh", inplace)
    low, high = number("hardtanh", "min_val", min_val), number("hardtanh", "max_val", max_val)
    if low > high:
        raise InputError(f"hardtanh: min_val must not exceed max_val, got {min_val} and {max_val}")
    (x,) = floats("hardtanh", input)
    return fn.where(x <= low, low, fn.where(x >= high, high, x))


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6); derivative 0 at 0 and 6."""
    pure("relu6", inplace)
    return hardtanh(input, 0.0, 6.0)


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + e^-x)."""
    return fn.sigmoid(input)


def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent."""
    return fn.tanh(input)


def _softplus(x: Tensor) -> Tensor:
    return fn.maximum(x, 0) + fn.log1p(fn.exp(-fn.abs(x)))


# log(1 + e^x) without overflow, for any x; its derivative is the sigmoid
log1pexp = with_derivative("softplus", _softplus, lambda xs, v: [v * fn.sigmoid(xs[0])])


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""
    number("softplus", "threshold", threshold)
    if number("softplus", "beta", beta) == 0:
        raise InputError("softplus: beta must not be 0")
    (x,) = floats("softplus", input)
    scaled = x if beta == 1 else x * beta
    smooth = log1pexp(scaled)
    return fn.where(scaled > threshold, x, smooth if beta == 1 else smooth / beta)


def logsigmoid(input: Any) -> Tensor:
    """log(sigmoid(x)), exact also where sigmoid(x) is 0."""
    (x,) = floats("logsigmoid", input)
    return -log1pexp(-x)


def softsign(input: Any) -> Tensor:
    """x / (1 + |x|)."""
    (x,) = floats("softsign", input)
    return x / (1 + fn.abs(x))


def silu(input: Any, inplace: bool = False) -> Tensor:
    """x · sigmoid(x)."""
    pure("silu", inplace)
    (x,) = floats("silu", input)
    return x * fn.sigmoid(x)


def mish(input: Any, inplace: bool = False) -> Tensor:
    """x · tanh(log(1 + e^x))."""
    pure("mish", inplace)
    (x,) = floats("mish", input)
    return x * fn.tanh(log1pexp(x))


def _gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + fn.erf(x * math.sqrt(0.5)))


def _gelu_slope(x: Tensor) -> Tensor:
    density = fn.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return 0.5 * (1 + fn.erf(x * math.sqrt(0.5))) + x * density


def _gelu_tanh(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + fn.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    t = fn.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))
    return 0.5 * (1 + t) + x * (1 - t * t) * ((1 + 3 * 0.044715 * (x * x)) * (0.5 * math.sqrt(2 / math.pi)))


# with the slope as one value, so that a forward sweep can leave that behind rather than the pieces it is made of
_smooth_gelu = with_derivative("gelu", _gelu, lambda xs, v: [v * _gelu_slope(xs[0])])
_smooth_gelu_tanh = with_derivative("gelu_tanh", _gelu_tanh, lambda xs, v: [v * _gelu_tanh_slope(xs[0])])


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x/2 · (1 + erf(x/√2)), or with approximate="tanh" x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    one_of("gelu", "approximate", approximate, ("none", "tanh"))
    (x,) = floats("gelu", input)
    return _smooth_gelu(x) if approximate == "none" else _smooth_gelu_tanh(x)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (e^x - 1)."""
    pure("elu", inplace)
    number("elu", "alpha", alpha)
    (x,) = floats("elu", input)
    return fn.where(x > 0, x, fn.expm1(_not_positive(x)) * alpha)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (e^(x/alpha) - 1)."""
    pure("celu", inplace)
    if number("celu", "alpha", alpha) == 0:
        raise InputError("celu: alpha must not be 0")
    (x,) = floats("celu", input)
    return fn.where(x > 0, x, fn.expm1(_not_positive(x) / alpha) * alpha)


def selu(input: Any, inplace: bool = False) -> Tensor:
    """scale · elu(x, alpha), with the constants of Klambauer et al. (2017)."""
    pure("selu", inplace)
    (x,) = floats("selu", input)
    return fn.where(x > 0, x * SELU_SCALE, fn.expm1(_not_positive(x)) * (SELU_ALPHA * SELU_SCALE))


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """x/6 + 1/2 limited to [0, 1]; derivative 0 at the limits."""
    pure("hardsigmoid", inplace)
    (x,) = floats("hardsigmoid", input)
    return hardtanh(x, -3.0, 3.0) / 6 + 0.5


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """x · hardsigmoid(x)."""
    pure("hardswish", inplace)
    (x,) = floats("hardswish", input)
    return x * hardsigmoid(x)


def _axis(function: str, x: Tensor, dim: Any) -> int:
    if dim is None:
        raise InputError(f"{function}: dim must be given; it is not guessed from the shape")
    with rule(function, x):
        return normalize_axis(dim, x.ndim, "dim")


def _typed(function: str, input: Any, dtype: Any) -> Tensor:
    if dtype is None:
        return floats(function, input)[0]
    kind = element_type(function, "dtype", dtype)
    if not is_float(kind):
        raise DTypeError(f"{function}: dtype must be float32 or float64, not {kind.name}")
    return fn.astype(input, kind)


def shifted_logits(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """z - max z and log Σ exp(z - max z): log softmax is their difference, and is exact for logits of any size."""
    shifted, total = shifted_exponentials(x, axis)[::2]
    return shifted, fn.log(total)


def shifted_exponentials(x: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """z - max z, its exponential e, and Σ e, which is at least 1. A line with +inf, or of -inf alone, is NaN, as in PyTorch."""
    shifted = x - fn.stop_gradient(fn.max(x, axis=axis, keepdims=True))
    e = fn.exp(shifted)
    return shifted, e, fn.sum(e, axis=axis, keepdims=True)


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """e^z / Σ e^z along `dim`; computed in `dtype` where it is given."""
    x = _typed("softmax", input, dtype)
    axis = _axis("softmax", x, dim)
    if not x.shape[axis]:
        return x
    _, e, total = shifted_exponentials(x, axis)
    return e * (1 / total)  # one division per line rather than one per element


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax(-z) along `dim`."""
    x = _typed("softmin", input, dtype)
    return softmax(-x, _axis("softmin", x, dim))


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """z - log Σ e^z along `dim`; computed in `dtype` where it is given."""
    x = _typed("log_softmax", input, dtype)
    axis = _axis("log_softmax", x, dim)
    if not x.shape[axis]:
        return x
    shifted, log_total = shifted_logits(x, axis)
    return shifted - log_total


def glu(input: Any, dim: int = -1) -> Tensor:
    """a · sigmoid(b), where a and b are the halves of the input along `dim`."""
    (x,) = floats("glu", input)
    axis = _axis("glu", x, dim)
    with rule("glu", x):
        if x.shape[axis] % 2:
            raise ShapeError(f"axis {axis} of {x.type} has no two halves")
    a, b = fn.split(x, 2, axis)
    return a * fn.sigmoid(b)


def prelu(input: Any, weight: Any) -> Tensor:
    """x where x > 0, else weight · x; `weight` has one element, or one for each channel (axis 1)."""
    x, w = floats("prelu", input, weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    with rule("prelu", x, w):
        if w.ndim > 1 or w.size not in (1, channels):
            raise ShapeError(f"weight must have 1 or {channels} elements, got {w.type}")
    shape: Sequence[int] = () if w.size == 1 else tuple(-1 if i == 1 else 1 for i in range(x.ndim))
    return fn.where(x > 0, x, x * fn.reshape(w, shape))
