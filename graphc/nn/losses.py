"""Losses as modules; their formulas stand in `graphc.nn.functional`. Class weights and the like are buffers, as PyTorch's are."""

from __future__ import annotations

from typing import Any

import graphc.nn.functional as F
from graphc.nn.functional.common import REDUCTIONS, no_legacy, number, one_of
from graphc.nn.module import Module
from graphc.tensor import State, Tensor


class Loss(Module):
    """A function of (input, target) with a `reduction`: "none", "mean" or "sum"."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__()
        no_legacy(type(self).__name__, size_average, reduce)
        self.reduction = one_of(type(self).__name__, "reduction", reduction, REDUCTIONS)


class MSELoss(Loss):
    """(x - t)²."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """|x - t|."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """d²/(2 beta) where |d| < beta, else |d| - beta/2."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean", beta: float = 1.0):
        super().__init__(size_average, reduce, reduction)
        self.beta = number("SmoothL1Loss", "beta", beta, low=0.0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """d²/2 where |d| < delta, else delta (|d| - delta/2)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction)
        self.delta = number("HuberLoss", "delta", delta, above=0.0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class CrossEntropyLoss(Loss):
    """log Σ exp z - z_y of logits z."""

    weight: State | None

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = number("CrossEntropyLoss", "label_smoothing", label_smoothing, 0.0, 1.0)

    def forward(self, input: Any, target: Any) -> Tensor:
        options: dict[str, Any] = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        return F.cross_entropy(input, target, self.weight, reduction=self.reduction, **options)


class NLLLoss(Loss):
    """-log p_y from log probabilities."""

    weight: State | None

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCELoss(Loss):
    """-(t log p + (1 - t) log(1 - p)) of probabilities p."""

    weight: State | None

    def __init__(self, weight: Any = None, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """softplus(z) - t z of logits z."""

    weight: State | None
    pos_weight: State | None

    def __init__(
        self, weight: Any = None, size_average: None = None, reduce: None = None, reduction: str = "mean", pos_weight: Any = None
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class PoissonNLLLoss(Loss):
    """e^z - t z, or with log_input=False z - t log(z + eps)."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: None = None,
        eps: float = 1e-8,
        reduce: None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full = bool(log_input), bool(full)
        self.eps = number("PoissonNLLLoss", "eps", eps, low=0.0)

    def forward(self, log_input: Any, target: Any) -> Tensor:
        return F.poisson_nll_loss(log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(Loss):
    """(log var + (x - t)²/var)/2."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.full = bool(full)
        self.eps = number("GaussianNLLLoss", "eps", eps, above=0.0)

    def forward(self, input: Any, target: Any, var: Any) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class KLDivLoss(Loss):
    """t (log t - x) of log probabilities x; `reduction` may also be "batchmean"."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean", log_target: bool = False):
        super().__init__(size_average, reduce)
        self.reduction = one_of("KLDivLoss", "reduction", reduction, (*REDUCTIONS, "batchmean"))
        self.log_target = bool(log_target)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PerceptronLoss(Loss):
    """max(0, -y z) of scores z and labels y = ±1; a gradient step is the perceptron rule. Not in PyTorch."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.perceptron_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(Loss):
    """x where the label is 1, max(0, margin - x) where it is -1."""

    def __init__(self, margin: float = 1.0, size_average: None = None, reduce: None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = number("HingeEmbeddingLoss", "margin", margin)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class SoftMarginLoss(Loss):
    """log(1 + e^(-y z)) of scores z and labels y = ±1."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)
