"""Adagrad: steps divided by the root of all squared gradients so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functions as fn
from graphc.optim.base import HyperProperty, Optimizer, Scalars, no_choice
from graphc.optim.group import Hyper, ParamGroup
from graphc.optim.schedules import Schedule
from graphc.optim.sgd import descent
from graphc.tensor import Tensor


class Adagrad(Optimizer):
    """S <- S + g^2, then p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(S) + eps), t = 1, 2, ... (Duchi et al. 2011, as PyTorch).

    S starts at `initial_accumulator_value`; `weight_decay` adds weight_decay p to g.
    """

    __slots__ = ()

    hypers = (
        Hyper("lr", schedule=True),
        Hyper("lr_decay", optional=True),
        Hyper("weight_decay"),
        Hyper("initial_accumulator_value", fixed=True),
        Hyper("eps"),
        Hyper("maximize", flag=True),
    )
    lr = HyperProperty("lr")
    lr_decay = HyperProperty("lr_decay")
    weight_decay = HyperProperty("weight_decay")
    eps = HyperProperty("eps")

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        no_choice("Adagrad", foreach=foreach, differentiable=differentiable, fused=fused)
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def ageing(self, group: ParamGroup) -> bool:
        return group.has("lr_decay")

    def slots(self, group: ParamGroup) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def scalars(self, group: ParamGroup, lr: Tensor, age: Tensor | None) -> Scalars:
        s = {"lr": lr if age is None else lr / (1 + age * group.tensor("lr_decay")), "eps": group.tensor("eps")}
        return {**s, "weight_decay": group.tensor("weight_decay")}

    def rule(self, group: ParamGroup, s: Scalars, p: Tensor, g: Tensor, m: Mapping[str, Tensor]) -> dict[str, Tensor]:
        g = descent(group, s, p, g)
        total = m["sum"] + g * g
        return {"sum": total, "param": p - s["lr"] * g / (fn.sqrt(total) + s["eps"])}
