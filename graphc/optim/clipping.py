"""Gradient clipping: maps from the list of gradients to a list, for `train_step(..., transform=...)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import InputError
from graphc.graph import building
from graphc.tensor import Tensor

Transform = Callable[[Sequence[Tensor]], list[Tensor]]

_EPS = 1e-6  # PyTorch's


def clip_grad_norm(max_norm: float, norm_type: float = 2.0) -> Transform:
    """All gradients times min(1, max_norm / (norm + 1e-6)), norm being that of all elements of all gradients together:
    (sum |g|^p)^(1/p) with p = norm_type, or the greatest |g| where that is infinite. A norm of NaN makes every gradient NaN."""
    _positive(max_norm, "max_norm")
    p = _positive(norm_type, "norm_type", infinite=True)

    def transform(gradients: Sequence[Tensor]) -> list[Tensor]:
        gradients = list(gradients)
        if not gradients:
            return gradients
        with building(scope="clip_grad_norm"):
            factor = fn.minimum(max_norm / (_norm(gradients, p) + _EPS), 1)
            return [g * fn.astype(factor, g.dtype) for g in gradients]

    return transform


def _norm(gradients: Sequence[Tensor], p: float) -> Tensor:
    if p == math.inf:
        peaks = [fn.max(fn.abs(g)) for g in gradients if g.size] or [fn.zeros((), gradients[0].dtype)]
        return _fold(fn.maximum, peaks)
    if p == 2:
        return fn.sqrt(_fold(fn.add, [fn.sum(g * g) for g in gradients]))
    if p == 1:
        return _fold(fn.add, [fn.sum(fn.abs(g)) for g in gradients])
    return _fold(fn.add, [fn.sum(fn.abs(g) ** p) for g in gradients]) ** (1 / p)


def _fold(function: Callable[[Any, Any], Tensor], tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = function(total, tensor)
    return total


def clip_grad_value(clip_value: float) -> Transform:
    """Every element limited to [-clip_value, clip_value]; NaN stays NaN."""
    _positive(clip_value, "clip_value")

    def transform(gradients: Sequence[Tensor]) -> list[Tensor]:
        with building(scope="clip_grad_value"):
            return [fn.clip(g, -clip_value, clip_value) for g in gradients]

    return transform


def _positive(value: Any, name: str, infinite: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or (value == math.inf and not infinite):
        raise InputError(f"{name} must be a number above 0, got {value!r}")
    return float(value)
