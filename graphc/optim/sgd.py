"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functions as fn
from graphc.errors import InputError
from graphc.optim.base import HyperProperty, Optimizer, Scalars, no_choice
from graphc.optim.group import Hyper, ParamGroup
from graphc.optim.schedules import Schedule
from graphc.tensor import Tensor


class SGD(Optimizer):
    """p <- p - lr V, where V <- momentum V + (1 - dampening) g, the first V being g; without momentum V is g.

    With `nesterov`, g + momentum V stands for V. `weight_decay` adds weight_decay p to g; `maximize` climbs. Momentum as PyTorch
    and Sutskever et al. (2013): the learning rate is outside V.
    """

    __slots__ = ()

    hypers = (
        Hyper("lr", schedule=True),
        Hyper("momentum", optional=True),
        Hyper("dampening", optional=True),
        Hyper("weight_decay"),
        Hyper("nesterov", flag=True),
        Hyper("maximize", flag=True),
    )
    lr = HyperProperty("lr")
    momentum = HyperProperty("momentum")
    dampening = HyperProperty("dampening")
    weight_decay = HyperProperty("weight_decay")

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        no_choice("SGD", foreach=foreach, differentiable=differentiable, fused=fused)
        super().__init__(
            params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov, maximize=maximize
        )

    def check(self, group: ParamGroup) -> None:
        if group["nesterov"] and (not group.has("momentum") or group.has("dampening")):
            raise InputError("nesterov needs a momentum and no dampening")

    def ageing(self, group: ParamGroup) -> bool:
        return group.has("momentum") and group.has("dampening")

    def slots(self, group: ParamGroup) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group.has("momentum") else {}

    def scalars(self, group: ParamGroup, lr: Tensor, age: Tensor | None) -> Scalars:
        s = {"lr": lr, "weight_decay": group.tensor("weight_decay")}
        if group.has("momentum"):
            s["momentum"] = group.tensor("momentum")
        if age is not None:
            # the first gradient is taken whole
            s["fresh"] = fn.where(age == 0, 1, 1 - group.tensor("dampening"))
        return s

    def rule(self, group: ParamGroup, s: Scalars, p: Tensor, g: Tensor, m: Mapping[str, Tensor]) -> dict[str, Tensor]:
        g = descent(group, s, p, g)
        if not group.has("momentum"):
            return {"param": p - s["lr"] * g}
        v = s["momentum"] * m["momentum_buffer"] + (s["fresh"] * g if "fresh" in s else g)
        direction = g + s["momentum"] * v if group["nesterov"] else v
        return {"momentum_buffer": v, "param": p - s["lr"] * direction}


def descent(group: ParamGroup, s: Scalars, p: Tensor, g: Tensor) -> Tensor:
    """The gradient to descend: negated to climb, with the L2 penalty's gradient added."""
    if group["maximize"]:
        g = -g
    return g + s["weight_decay"] * p if "weight_decay" in s else g
