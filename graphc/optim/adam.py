"""Adam and AdamW: steps scaled by estimates of the gradient's first two moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functions as fn
from graphc.optim.base import HyperProperty, Optimizer, Scalars, no_choice
from graphc.optim.group import Hyper, ParamGroup
from graphc.optim.schedules import Schedule
from graphc.optim.sgd import descent
from graphc.tensor import Tensor


class Adam(Optimizer):
    """Kingma and Ba (2015), as PyTorch: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,

        p <- p - lr m' / (sqrt(v') + eps),   m' = m / (1 - b1^t),   v' = v / (1 - b2^t),   t = 1, 2, ...

    `weight_decay` adds weight_decay p to g; with `decoupled_weight_decay` p shrinks by lr weight_decay p instead (AdamW).
    `amsgrad` puts the greatest v so far in place of v (Reddi et al. 2018).
    """

    __slots__ = ()

    hypers = (
        Hyper("lr", schedule=True),
        Hyper("betas", high=1.0, count=2),
        Hyper("eps"),
        Hyper("weight_decay"),
        Hyper("amsgrad", flag=True),
        Hyper("maximize", flag=True),
        Hyper("decoupled_weight_decay", flag=True),
    )
    lr = HyperProperty("lr")
    betas = HyperProperty("betas")
    eps = HyperProperty("eps")
    weight_decay = HyperProperty("weight_decay")

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        no_choice("Adam", foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused)
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def ageing(self, group: ParamGroup) -> bool:
        return True

    def slots(self, group: ParamGroup) -> dict[str, float]:
        moments = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**moments, "max_exp_avg_sq": 0.0} if group["amsgrad"] else moments

    def scalars(self, group: ParamGroup, lr: Tensor, age: Tensor | None) -> Scalars:
        assert age is not None  # ageing() says so
        b1, b2 = group.tensor("betas")
        t = age + 1
        # lr m' / (sqrt(v') + eps) with both sides times sqrt(1 - b2^t): the corrections cost the sweep nothing
        root = fn.sqrt(1 - b2**t)
        s = {"c1": 1 - b1, "b2": b2, "c2": 1 - b2, "rate": lr * root / (1 - b1**t), "eps": group.tensor("eps") * root}
        if group["decoupled_weight_decay"]:
            return {**s, "keep": 1 - lr * group.tensor("weight_decay")}
        return {**s, "weight_decay": group.tensor("weight_decay")}

    def rule(self, group: ParamGroup, s: Scalars, p: Tensor, g: Tensor, m: Mapping[str, Tensor]) -> dict[str, Tensor]:
        g = descent(group, s, p, g)
        first = m["exp_avg"] + s["c1"] * (g - m["exp_avg"])
        second = s["b2"] * m["exp_avg_sq"] + s["c2"] * (g * g)
        new = {"exp_avg": first, "exp_avg_sq": second}
        if group["amsgrad"]:
            second = new["max_exp_avg_sq"] = fn.maximum(m["max_exp_avg_sq"], second)
        kept = p * s["keep"] if "keep" in s else p
        return {**new, "param": kept - s["rate"] * first / (fn.sqrt(second) + s["eps"])}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p <- (1 - lr weight_decay) p, then Adam's step."""

    __slots__ = ()

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        no_choice("AdamW", foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused)
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
