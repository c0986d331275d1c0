"""Normalization by statistics that are tracked over calls: batch norm and instance norm.

In training the result carries updates of the running statistics (`graphc.implied`), which a training step includes:

    running <- (1 - momentum) · running + momentum · statistic        the variance with the correction n/(n - 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.implied import with_updates
from graphc.nn.functional.common import floats, number, with_derivative
from graphc.nn.functional.normalization import parameter, scaled_and_shifted, standardize
from graphc.op import rule
from graphc.tensor import State, Tensor, constant


def _reduced(x: Tensor, eps: Tensor) -> tuple[tuple[int, ...], float]:
    """The axes that statistics are taken over, those along which eps has size 1, and how many elements they hold."""
    axes = tuple(i for i, size in enumerate(eps.shape) if size == 1)
    return axes, float(math.prod(x.shape[i] for i in axes))


def _statistics(x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviations from it and variance, over all axes but those that eps has."""
    axes, count = _reduced(x, eps)
    mean = fn.sum(x, axis=axes, keepdims=True) / count
    deviation = x - mean
    return mean, deviation, fn.sum(deviation * deviation, axis=axes, keepdims=True) / count


def _normalized(x: Tensor, weight: Tensor, bias: Tensor, eps: Tensor) -> Tensor:
    _, deviation, variance = _statistics(x, eps)
    return deviation * (fn.rsqrt(variance + eps) * weight) + bias


def _normalize_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    """The two sums that the gradient of x needs are the gradients of weight and bias."""
    x, weight, _, eps = operands
    axes, count = _reduced(x, eps)
    _, deviation, variance = _statistics(x, eps)
    scale = fn.rsqrt(variance + eps)
    y = deviation * scale
    to_weight, to_bias = (fn.sum(each, axis=axes, keepdims=True) for each in (v * y, v))
    return [scale * weight * (v - to_bias / count - y * (to_weight / count)), to_weight, to_bias, None]


# weight · (x - mean)/√(variance + eps) + bias, where weight, bias and eps have size 1 along the axes that are reduced
_normalize = with_derivative("normalize_channels", _normalized, _normalize_backward)


def _running(function: str, running_mean: Any, running_var: Any, x: Tensor) -> tuple[Any, Any]:
    if (running_mean is None) != (running_var is None):
        raise InputError(f"{function}: running_mean and running_var come together, or neither")
    for name, value in (("running_mean", running_mean), ("running_var", running_var)):
        if value is not None:
            parameter(function, name, value, x.shape[1:2], x)
    return running_mean, running_var


def _tracked(
    function: str,
    y: Tensor,
    states: Sequence[Any],
    statistics: Sequence[Tensor],
    momentum: float | None,
    count: State | None = None,
) -> Tensor:
    """y, carrying the updates of the running statistics, and of the count of batches."""
    for state in states:
        if not isinstance(state, State):
            raise InputError(f"{function}: running statistics that training updates are states, not {type(state).__name__}")
    new = [fn.astype(fn.reshape(each, state.shape), state.dtype) for each, state in zip(statistics, states, strict=True)]

    def blended(factor: Any, old: Sequence[Tensor]) -> list[Tensor]:
        return [(1 - factor) * one + factor * other for one, other in zip(old, new, strict=True)]

    if count is None:
        return with_updates(y, states, lambda *old: blended(momentum, old))

    def counted(before: Tensor, *old: Tensor) -> list[Tensor]:
        now = before + 1
        # the mean over all batches: each counts 1/n
        return [now, *blended(1 / fn.astype(now, y.dtype) if momentum is None else momentum, old)]

    return with_updates(y, [count, *states], counted)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """weight · (x - mean)/√(variance + eps) + bias for an input (N, C, ...), with statistics over all axes but the channels'
    (Ioffe and Szegedy, 2015); weight and bias are (C,).

    In training they are the batch's, and training steps update the running ones, if given, by an exponential average with
    `momentum`. Otherwise they are the running ones.
    """
    name = "batch_norm"
    number(name, "momentum", momentum)
    if training:
        return tracked_batch_norm(input, running_mean, running_var, None, weight, bias, momentum, eps)
    x, at = _channelled(input, eps)
    states = _running(name, running_mean, running_var, x)
    if running_mean is None:
        raise InputError(f"{name}: without training it needs running_mean and running_var")
    mean, variance = (fn.reshape(fn.astype(value, x.dtype), at) for value in states)
    return scaled_and_shifted(name, (x - mean) * fn.rsqrt(variance + eps), weight, bias, x.shape[1:2], at)


def _channelled(input: Any, eps: float) -> tuple[Tensor, tuple[int, ...]]:
    """The input, and the shape in which something per channel stands beside it."""
    (x,) = floats("batch_norm", input)
    number("batch_norm", "eps", eps, low=0.0)
    with rule("batch_norm", x):
        if x.ndim < 2:
            raise ShapeError(f"expected an input (N, C, ...), got {x.type}")
    return x, tuple(size if i == 1 else 1 for i, size in enumerate(x.shape))


def tracked_batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    count: State | None,
    weight: Any,
    bias: Any,
    momentum: float | None,
    eps: float,
) -> Tensor:
    """batch_norm by the batch's statistics, in training; momentum None gives each of `count` batches the same weight."""
    name = "batch_norm"
    x, at = _channelled(input, eps)
    states = _running(name, running_mean, running_var, x)
    channels = x.shape[1:2]
    elements = x.size // channels[0] if channels[0] else 0
    with rule(name, x):
        if elements == 1:
            raise ShapeError(f"expected more than 1 value per channel when training, got an input of shape {x.shape}")
    w = fn.ones(at, x.dtype) if weight is None else fn.reshape(parameter(name, "weight", weight, channels, x), at)
    b = fn.zeros(at, x.dtype) if bias is None else fn.reshape(parameter(name, "bias", bias, channels, x), at)
    small = fn.full(at, eps, x.dtype)
    y = _normalize(x, w, b, small)
    if running_mean is None:
        return y
    mean, _, variance = _statistics(x, small)
    return _tracked(name, y, states, (mean, variance * (elements / max(elements - 1, 1))), momentum, count)


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """weight · (x - mean)/√(variance + eps) + bias for an input (N, C, ...), with statistics over each example's channels on
    their own (Ulyanov et al., 2016); weight and bias are (C,).

    The running ones, if given, take the batch's mean of them; without `use_input_stats` they take the statistics' place.
    """
    name = "instance_norm"
    (x,) = floats(name, input)
    number(name, "eps", eps, low=0.0)
    number(name, "momentum", momentum)
    with rule(name, x):
        if x.ndim < 3:
            raise ShapeError(f"expected an input (N, C, ...) with at least one more axis, got {x.type}")
    states = _running(name, running_mean, running_var, x)
    if not use_input_stats:
        if running_mean is None:
            raise InputError(f"{name}: use_input_stats=False needs running_mean and running_var")
        return batch_norm(x, running_mean, running_var, weight, bias, False, 0.1, eps)
    count = math.prod(x.shape[2:])
    with rule(name, x):
        if count == 1:
            raise ShapeError(f"expected more than 1 value per channel and example when training, got an input of shape {x.shape}")
    flat = fn.reshape(x, (*x.shape[:2], count))
    y = fn.reshape(standardize(flat, constant(eps, x.dtype)), x.shape)
    at = (x.shape[1], *(1 for _ in x.shape[2:]))
    y = scaled_and_shifted(name, y, weight, bias, x.shape[1:2], at)
    if running_mean is None:
        return y
    statistics = (fn.mean(fn.mean(flat, axis=2), axis=0), fn.mean(fn.var(flat, axis=2, correction=1), axis=0))
    return _tracked(name, y, states, statistics, momentum)
