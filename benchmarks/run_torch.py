"""`python -m benchmarks.run_torch MODEL THREADS`: one measurement of PyTorch, eager, with its fused optimizers."""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.models import MODELS
from benchmarks.networks import build, initialize, loss_of
from benchmarks.timing import report


def main() -> None:
    model, threads = MODELS[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(threads)
    xb, yb = model.data()
    x, y = torch.from_numpy(xb), torch.from_numpy(yb).long()
    start = time.perf_counter()
    net = build(model, nn, F)
    with torch.no_grad():
        initialize(net, model, lambda parameter, value: parameter.copy_(torch.from_numpy(value)))
    if model.optimizer == "adam":
        opt: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    else:
        opt = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9 if model.optimizer == "momentum" else 0.0, fused=True)

    def step() -> float:
        opt.zero_grad()
        loss = loss_of(model, net, x, y, F, torch.randn)
        loss.backward()
        opt.step()
        return float(loss)

    report(start, step, model.flops)


if __name__ == "__main__":
    main()
