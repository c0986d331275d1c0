"""Losses as modules; their formulas stand in `graphc.nn.functional`."""

from __future__ import annotations

from typing import Any

import graphc.nn.functional as F
from graphc.nn.functional.common import REDUCTIONS, number, one_of
from graphc.nn.module import Module
from graphc.tensor import Tensor


class Loss(Module):
    """A function of (input, target) with a `reduction`."""

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = one_of(type(self).__name__, "reduction", reduction, REDUCTIONS)


class MSELoss(Loss):
    """(x - t)²."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class CrossEntropyLoss(Loss):
    """log Σ exp z - z_y of logits z."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing, 0.0, 1.0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction, label_smoothing=self.label_smoothing
        )
