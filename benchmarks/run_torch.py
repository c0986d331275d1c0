"""`python -m benchmarks.run_torch MODEL THREADS`: one measurement of PyTorch, eager, with its fused optimizers."""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.models import MODELS, Model
from benchmarks.timing import report


class Block(nn.Module):
    def __init__(self, kind: str, width: int, hidden: int):
        super().__init__()
        self.kind = kind
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "ln_gelu":
            return x + self.down(F.gelu(self.up(self.norm(x))))
        return self.norm(x + F.relu(self.down(F.relu(self.up(x)))))


class Conv1d(nn.Module):
    """Convolutions with ReLU, the mean over positions, and a linear map."""

    def __init__(self, widths: tuple[int, ...], kernel: int):
        super().__init__()
        pairs = pairwise(widths[:-1])
        self.convolutions = nn.ModuleList([nn.Conv1d(a, b, kernel, padding=kernel // 2) for a, b in pairs])
        self.out = nn.Linear(*widths[-2:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return self.out(x.mean(-1))


def cnn2d(widths: tuple[int, ...]) -> nn.Module:
    """conv-BN-ReLU-pool twice, conv-ReLU, the mean over positions, and a linear map."""
    a, b, c, d, classes = widths
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(b, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, classes),
    )  # fmt: skip


class Sequence(nn.Module):
    """An embedding, a recurrent layer, and logits for each token."""

    def __init__(self, kind: str, tokens: int, embedding: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(tokens, embedding)
        self.layer = (nn.LSTM if kind == "lstm" else nn.GRU)(embedding, hidden, batch_first=True)
        self.out = nn.Linear(hidden, tokens)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(self.embedding(x))[0]).reshape(-1, self.out.out_features)


def build(model: Model) -> nn.Module:
    if model.length:
        return Sequence(model.kind, *model.widths)
    if model.kind == "conv1d":
        return Conv1d(model.widths, model.kernel)
    if model.kind == "cnn2d":
        return cnn2d(model.widths)
    if model.kind == "mlp":
        layers: list[nn.Module] = []
        for a, b in zip(model.widths, model.widths[1:], strict=False):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    width, hidden, classes = model.widths
    return nn.Sequential(*(Block(model.kind, width, hidden) for _ in range(model.blocks)), nn.Linear(width, classes))


def main() -> None:
    model, threads = MODELS[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(threads)
    xb, yb = model.data()
    x, y = torch.from_numpy(xb), torch.from_numpy(yb).long()
    start = time.perf_counter()
    net = build(model)
    if model.optimizer == "adam":
        opt: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    else:
        opt = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9 if model.optimizer == "momentum" else 0.0, fused=True)

    def step() -> float:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return float(loss)

    report(start, step, model.flops)


if __name__ == "__main__":
    main()
