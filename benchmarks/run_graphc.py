"""`python -m benchmarks.run_graphc MODEL THREADS`: one measurement of graphc."""

from __future__ import annotations

import sys
import time

import graphc
import graphc.nn.functional as F
from benchmarks.models import MODELS, Model
from benchmarks.networks import build, initialize, loss_of
from benchmarks.timing import report
from graphc import nn, optim


def declare(model: Model, threads: int) -> graphc.Executable:
    """The training step of a model, not compiled yet; its inputs are x and, where it has targets, y."""
    xb, yb = model.data()
    net = build(model, nn, F)
    initialize(net, model, lambda parameter, value: parameter.assign(value))
    x, y = graphc.input("x", xb.shape, xb.dtype), graphc.input("y", yb.shape, yb.dtype)
    if model.optimizer == "adam":
        opt: optim.Optimizer = optim.Adam(net.parameters(), lr=1e-3)
    else:
        opt = optim.SGD(net.parameters(), lr=1e-2, momentum=0.9 if model.optimizer == "momentum" else 0.0)
    return graphc.train_step(loss_of(model, net, x, y, F, graphc.random.normal), opt, threads=threads)


def main() -> None:
    model, threads = MODELS[sys.argv[1]], int(sys.argv[2])
    xb, yb = model.data()
    arrays = {"x": xb, "y": yb} if yb.size else {"x": xb}
    start = time.perf_counter()
    step = declare(model, threads)
    report(start, lambda: step(**arrays), model.flops, arena=step.memory.arena_bytes, arena_ratio=step.memory.ratio)


if __name__ == "__main__":
    main()
