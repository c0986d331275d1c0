"""Losses of real-valued predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.functions.convert import broadcasted
from graphc.graph import warn
from graphc.nn.functional.common import REDUCTIONS, floats, no_legacy, number, one_of, reduced, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor


def paired(function: str, input: Any, target: Any) -> list[Tensor]:
    """Prediction and target in one type and shape. Broadcasting (32, 1) against (32,) gives 32 x 32 differences and is
    almost always a mistake; PyTorch warns, and so does this."""
    x, t = floats(function, input, target)
    both = broadcasted(function, x, t)
    if x.shape != t.shape and x.shape and t.shape:
        warn(f"{function}: the target's shape {t.shape} differs from the input's {x.shape}; broadcasting is likely a mistake")
    return both


def _weighted(function: str, losses: Tensor, weight: Any, reduction: str, mean_of_weights: bool = True) -> Tensor:
    one_of(function, "reduction", reduction, REDUCTIONS)
    if weight is None:
        return reduced(function, losses, reduction)
    w = fn.as_tensor(weight, losses.dtype)
    with rule(function, losses, w):
        if w.shape != losses.shape:
            raise ShapeError(f"weight must have the input's shape {losses.shape}, got {w.shape}")
    total = reduced(function, losses * w, "sum" if reduction == "mean" and mean_of_weights else reduction)
    return total / fn.sum(w) if reduction == "mean" and mean_of_weights else total


def _square(x: Tensor, t: Tensor) -> Tensor:
    difference = x - t
    return difference * difference


def _square_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor]:
    x, t = operands
    gradient = (x - t) * (2 * v)
    return [gradient, -gradient]


# with the gradient 2 (x - t) v: derived, it would be the sum of two equal products
_squared_difference = with_derivative("mse_loss", _square, _square_backward)


def mse_loss(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: str = "mean", weight: Any = None
) -> Tensor:
    """(x - t)²; half of it is 0.5 * mse_loss(...). With `weight` (of the input's shape) the mean is Σ w l / Σ w."""
    no_legacy("mse_loss", size_average, reduce)
    x, t = paired("mse_loss", input, target)
    return _weighted("mse_loss", _squared_difference(x, t), weight, reduction)


def l1_loss(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: str = "mean", weight: Any = None
) -> Tensor:
    """|x - t|; derivative 0 where they are equal. With `weight` (of the input's shape) the mean is Σ w l / Σ w."""
    no_legacy("l1_loss", size_average, reduce)
    x, t = paired("l1_loss", input, target)
    return _weighted("l1_loss", fn.abs(x - t), weight, reduction)


def _quadratic_then_linear(difference: Tensor, knee: float) -> tuple[Tensor, Tensor]:
    """|d| up to the knee, and what of |d| is beyond it. In these terms neither piece overflows where it does not count."""
    size = fn.abs(difference)
    inner = fn.where(size < knee, size, knee)
    return inner, size - inner


def smooth_l1_loss(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d²/(2 beta) where |d| < beta, else |d| - beta/2, with d = x - t."""
    no_legacy("smooth_l1_loss", size_average, reduce)
    number("smooth_l1_loss", "beta", beta, low=0.0)
    x, t = paired("smooth_l1_loss", input, target)
    if beta == 0:
        return reduced("smooth_l1_loss", fn.abs(x - t), reduction)
    inner, outer = _quadratic_then_linear(x - t, beta)
    return reduced("smooth_l1_loss", inner * inner * (0.5 / beta) + outer, reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """d²/2 where |d| < delta, else delta (|d| - delta/2), with d = x - t. With `weight` (of the input's shape) the mean is
    that of w l."""
    number("huber_loss", "delta", delta, above=0.0)
    x, t = paired("huber_loss", input, target)
    inner, outer = _quadratic_then_linear(x - t, delta)
    return _weighted("huber_loss", inner * inner * 0.5 + outer * delta, weight, reduction, mean_of_weights=False)
