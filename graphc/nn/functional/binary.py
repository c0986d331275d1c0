"""Losses of two classes: Bernoulli likelihoods with targets in [0, 1], and margins with targets ±1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.nn.functional.activations import log1pexp
from graphc.nn.functional.common import REDUCTIONS, floats, matched_floats, no_legacy, number, one_of, reduced, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor


def _same_shape(function: str, input: Any, target: Any) -> list[Tensor]:
    x, t = floats(function, input, target)
    with rule(function, x, t):
        if x.shape != t.shape:
            raise ShapeError(f"the target must have the input's shape {x.shape}, got {t.shape}")
    return [x, t]


def _scaled(function: str, losses: Tensor, weight: Any, reduction: str) -> Tensor:
    """Reduced losses, each times its weight, which broadcasts to them; the mean divides by their number."""
    one_of(function, "reduction", reduction, REDUCTIONS)
    if weight is not None:
        losses = losses * _spread(function, "weight", weight, losses)
    return reduced(function, losses, reduction)


def _spread(function: str, argument: str, value: Any, x: Tensor) -> Tensor:
    w = fn.as_tensor(value, x.dtype)
    with rule(function, x, w):
        try:
            return fn.broadcast_to(w, x.shape)
        except ShapeError:
            raise ShapeError(f"{argument} of shape {w.shape} does not broadcast to {x.shape}") from None


def _bce(p: Tensor, t: Tensor) -> Tensor:
    # a logarithm below -100 would be -inf soon, and 0 * -inf is NaN
    return -(t * fn.maximum(fn.log(p), -100) + (1 - t) * fn.maximum(fn.log1p(-p), -100))


def _bce_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor]:
    p, t = operands
    return [v * (p - t) / fn.maximum(p * (1 - p), 1e-12), v * (fn.maximum(fn.log1p(-p), -100) - fn.maximum(fn.log(p), -100))]


_bce_of_probabilities = with_derivative("binary_cross_entropy", _bce, _bce_backward)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: None = None, reduce: None = None, reduction: str = "mean"
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) of probabilities p in [0, 1], with logarithms no lower than -100."""
    no_legacy("binary_cross_entropy", size_average, reduce)
    p, t = _same_shape("binary_cross_entropy", input, target)
    return _scaled("binary_cross_entropy", _bce_of_probabilities(p, t), weight, reduction)


# softplus(z) - t z without cancellation where t is 0 or 1; its derivative is sigmoid(z) - t
_bce_of_logits = with_derivative(
    "binary_cross_entropy_with_logits",
    lambda z, t: fn.maximum(z, 0) - z * t + fn.log1p(fn.exp(-fn.abs(z))),
    lambda operands, v: [v * (fn.sigmoid(operands[0]) - operands[1]), -(v * operands[0])],
)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """softplus(z) - t z of logits z: the cross-entropy of sigmoid(z), for z of any size. `pos_weight` scales the part of positive
    targets, `weight` the losses; both broadcast to the input."""
    no_legacy("binary_cross_entropy_with_logits", size_average, reduce)
    name = "binary_cross_entropy_with_logits"
    z, t = _same_shape(name, input, target)
    if pos_weight is None:
        losses = _bce_of_logits(z, t)
    else:
        losses = _spread(name, "pos_weight", pos_weight, z) * t * log1pexp(-z) + (1 - t) * log1pexp(z)
    return _scaled(name, losses, weight, reduction)


def perceptron_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """max(0, -y z) of scores z and labels y = ±1. The derivative at y z = 0 is -y, so that a gradient step is the perceptron rule
    (Rosenblatt, 1958) also from zero weights, where every score is 0. Not in PyTorch."""
    z, y = matched_floats("perceptron_loss", *_same_shape("perceptron_loss", input, target))
    margin = y * z
    return reduced("perceptron_loss", fn.where(margin > 0, 0, -margin), reduction)


def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: None = None, reduce: None = None, reduction: str = "mean"
) -> Tensor:
    """x where the label is 1, max(0, margin - x) where it is -1."""
    no_legacy("hinge_embedding_loss", size_average, reduce)
    number("hinge_embedding_loss", "margin", margin)
    x, y = matched_floats("hinge_embedding_loss", input, target)
    missing = margin - x
    apart = fn.where(y != 1, fn.where(missing < 0, 0, missing), 0)
    return reduced("hinge_embedding_loss", apart + fn.where(y != -1, x, 0), reduction)


def soft_margin_loss(input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: str = "mean") -> Tensor:
    """log(1 + e^(-y z)) of scores z and labels y = ±1."""
    no_legacy("soft_margin_loss", size_average, reduce)
    z, y = matched_floats("soft_margin_loss", input, target)
    return reduced("soft_margin_loss", log1pexp(-(y * z)), reduction)
