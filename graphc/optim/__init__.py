"""Optimizers, learning-rate schedules and gradient clipping, with PyTorch's names, defaults and formulas.

    opt = optim.AdamW(model.parameters(), lr=optim.cosine(1e-3, total_steps=10_000, warmup_steps=500), weight_decay=0.05)
    step = graphc.train_step(loss, opt, transform=optim.clip_grad_norm(1.0))

An optimizer is nothing but updates: it turns gradients into new values of parameters and moments, as nodes of the same graph.
"""

from graphc.optim.adagrad import Adagrad
from graphc.optim.adam import Adam, AdamW
from graphc.optim.base import Optimizer
from graphc.optim.clipping import clip_grad_norm, clip_grad_value
from graphc.optim.group import ParamGroup
from graphc.optim.rmsprop import RMSprop
from graphc.optim.schedules import (
    Schedule, constant, cosine, exponential, linear, linear_warmup, multi_step, scaled, sequential, step_decay,
)  # fmt: skip
from graphc.optim.sgd import SGD

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParamGroup", "RMSprop", "Schedule", "clip_grad_norm", "clip_grad_value",
    "constant", "cosine", "exponential", "linear", "linear_warmup", "multi_step", "scaled", "sequential", "step_decay",
]  # fmt: skip
