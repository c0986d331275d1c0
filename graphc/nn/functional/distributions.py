"""Negative log likelihoods of other distributions, and the divergence between two."""

from __future__ import annotations

import math
from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.nn.functional.common import REDUCTIONS, floats, matched_floats, no_legacy, number, one_of, reduced, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: None = None,
    eps: float = 1e-8,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """e^z - t z, or with log_input=False z - t log(z + eps). `full` adds Stirling's approximation of log t!, for t > 1."""
    no_legacy("poisson_nll_loss", size_average, reduce)
    number("poisson_nll_loss", "eps", eps, low=0.0)
    z, t = matched_floats("poisson_nll_loss", input, target)
    loss = fn.exp(z) - t * z if log_input else z - t * fn.log(z + eps)
    if full:
        many = fn.where(t > 1, t, 1)
        loss = loss + fn.where(t > 1, many * fn.log(many) - many + 0.5 * fn.log(2 * math.pi * many), 0)
    return reduced("poisson_nll_loss", loss, reduction)


# the derivative passes also where the variance is raised, so that training can leave that region
_at_least = with_derivative("at_least", lambda x, low: fn.maximum(x, low), lambda operands, v: [v, None])


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (x - t)²/var)/2 with var at least `eps`; `full` adds log(2π)/2. `var` is shaped as the input, or has one
    axis of size 1 instead, or lacks the last axis, or is a number."""
    name = "gaussian_nll_loss"
    number(name, "eps", eps, above=0.0)
    x, t, variance = floats(name, input, target, var)
    with rule(name, x, t, variance):
        if variance.shape != x.shape and variance.shape == x.shape[:-1] and x.ndim:
            variance = fn.expand_dims(variance, -1)
        elif variance.ndim and not (
            variance.ndim == x.ndim and sum(v != s for v, s in zip(variance.shape, x.shape, strict=True)) <= 1
            and all(v in (1, s) for v, s in zip(variance.shape, x.shape, strict=True))
        ):  # fmt: skip
            raise ShapeError(f"var of shape {variance.shape} does not fit an input of shape {x.shape}")
    variance = _at_least(variance, fn.full_like(variance, eps))
    difference = x - t
    loss = 0.5 * (fn.log(variance) + difference * difference / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(name, loss, reduction)


def kl_div(
    input: Any, target: Any, size_average: None = None, reduce: None = None, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """t (log t - x) of log probabilities x and probabilities t (their logarithms with `log_target`); 0 where t is 0.
    reduction="batchmean" divides the sum by the size of axis 0, which is the divergence per row."""
    no_legacy("kl_div", size_average, reduce)
    one_of("kl_div", "reduction", reduction, (*REDUCTIONS, "batchmean"))
    x, t = matched_floats("kl_div", input, target)
    if log_target:
        loss = fn.exp(t) * (t - x)
    else:
        loss = fn.where(t == 0, 0, t * fn.log(fn.where(t == 0, 1, t))) - t * x
    if reduction == "batchmean":
        with rule("kl_div", x):
            if not x.ndim:
                raise ShapeError("reduction='batchmean' needs an axis 0")
        return fn.sum(loss) / float(x.shape[0])
    return reduced("kl_div", loss, reduction)
