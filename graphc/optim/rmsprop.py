"""RMSprop: steps divided by a running root mean square of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functions as fn
from graphc.optim.base import HyperProperty, Optimizer, Scalars, no_choice
from graphc.optim.group import Hyper, ParamGroup
from graphc.optim.schedules import Schedule
from graphc.optim.sgd import descent
from graphc.tensor import Tensor


class RMSprop(Optimizer):
    """v <- alpha v + (1 - alpha) g^2, then p <- p - lr g / (sqrt(v) + eps) (Hinton's lecture 6e, as PyTorch).

    `centered` divides by the estimated standard deviation: a <- alpha a + (1 - alpha) g and v - a^2 in place of v. With
    `momentum`, B <- momentum B + g / (sqrt(v) + eps) and p <- p - lr B. `weight_decay` adds weight_decay p to g.
    """

    __slots__ = ()

    hypers = (
        Hyper("lr", schedule=True),
        Hyper("alpha"),
        Hyper("eps"),
        Hyper("weight_decay"),
        Hyper("momentum", optional=True),
        Hyper("centered", flag=True),
        Hyper("maximize", flag=True),
    )
    lr = HyperProperty("lr")
    alpha = HyperProperty("alpha")
    eps = HyperProperty("eps")
    weight_decay = HyperProperty("weight_decay")
    momentum = HyperProperty("momentum")

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        no_choice("RMSprop", capturable=capturable, foreach=foreach, differentiable=differentiable)
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def slots(self, group: ParamGroup) -> dict[str, float]:
        slots = {"square_avg": 0.0}
        if group["centered"]:
            slots["grad_avg"] = 0.0
        if group.has("momentum"):
            slots["momentum_buffer"] = 0.0
        return slots

    def scalars(self, group: ParamGroup, lr: Tensor, age: Tensor | None) -> Scalars:
        alpha = group.tensor("alpha")
        s = {"lr": lr, "alpha": alpha, "rest": 1 - alpha, **{name: group.tensor(name) for name in ("eps", "weight_decay")}}
        return {**s, "momentum": group.tensor("momentum")} if group.has("momentum") else s

    def rule(self, group: ParamGroup, s: Scalars, p: Tensor, g: Tensor, m: Mapping[str, Tensor]) -> dict[str, Tensor]:
        g = descent(group, s, p, g)
        square = s["alpha"] * m["square_avg"] + s["rest"] * (g * g)
        new = {"square_avg": square}
        if group["centered"]:
            mean = new["grad_avg"] = m["grad_avg"] + s["rest"] * (g - m["grad_avg"])
            square = square - mean * mean
        if not group.has("momentum"):
            return {**new, "param": p - s["lr"] * g / (fn.sqrt(square) + s["eps"])}
        buffer = s["momentum"] * m["momentum_buffer"] + g / (fn.sqrt(square) + s["eps"])
        return {**new, "momentum_buffer": buffer, "param": p - s["lr"] * buffer}
