"""The general strategy as the dump shows it: J = M_k(...M_1(x)), and B[M_i, u] and B[M_i, θ] of each module by its name.

MM, a contraction: Wᵀ v, v zᵀ, and v summed over the examples. An activation s: s'(z) ⊙ v. The losses: 2 (z - y) v,
(sigmoid(z) - y) v, (softmax(z) - e_y) v.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Options, Tensor, nn, optim
from graphc.cost import total_flops
from graphc.graph import Graph, topological
from graphc.passes.pipeline import GRAPH_PASSES, run_passes

N, D, K = 6, 4, 3


def backward_lines(step: graphc.TrainStep) -> dict[str, list[str]]:
    """The operations that each backward function consists of, `op operand operand`, as the dump prints them."""
    found: dict[str, list[str]] = {}
    for line in step.dump("autodiff").splitlines():
        if match := re.search(r"(%\d+) = (.*?)\s+: \S+ +@.*B\[([^,\]]+)", line):
            found.setdefault(match[3], []).append(f"{match[1]} = {match[2]}")
    return found


def layer() -> tuple[nn.Sequential, Tensor]:
    model = nn.Sequential(nn.Linear(D, 5, dtype="float64"), nn.Sigmoid(), nn.Linear(5, K, dtype="float64"))
    return model, graphc.input("x", (N, D), "float64")


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[np.ndarray, np.ndarray], np.ndarray], list[str]]] = {
    "mse_loss": (
        lambda z, y: F.mse_loss(z, graphc.one_hot(y, K, dtype="float64"), reduction="sum"),
        lambda z, e: 2 * (z - e),
        ["sub", "mul"],
    ),
    "binary_cross_entropy_with_logits": (
        lambda z, y: F.binary_cross_entropy_with_logits(z, graphc.one_hot(y, K, dtype="float64"), reduction="sum"),
        lambda z, e: 1 / (1 + np.exp(-z)) - e,
        ["sigmoid", "sub", "mul"],
    ),
    "cross_entropy": (
        lambda z, y: F.cross_entropy(z, y, reduction="sum"),
        lambda z, e: np.exp(z) / np.exp(z).sum(1, keepdims=True) - e,
        ["exp", "sub", "mul"],
    ),
    "cross_entropy_of_probabilities": (
        lambda z, y: F.cross_entropy(z, graphc.one_hot(y, K, dtype="float64"), reduction="sum"),
        lambda z, e: np.exp(z) / np.exp(z).sum(1, keepdims=True) - e,
        ["exp", "sub", "mul"],
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_backward_functions_are_named_and_are_those_of_the_lectures(name: str) -> None:
    loss_of, slope, operations = LOSSES[name]
    model, x = layer()
    y = graphc.input("y", (N,), "int32")
    rng = np.random.default_rng(0)
    xs, ys = rng.standard_normal((N, D)), rng.integers(0, K, N).astype(np.int32)
    w1, b1, w2, b2 = (p.numpy().copy() for p in model.parameters())
    step = graphc.train_step(loss_of(model(x), y), optim.SGD(model.parameters(), lr=1.0))
    lines = backward_lines(step)
    stated = [line.split()[2] for line in lines[name]]
    assert [op for op in dict.fromkeys(reversed(stated)) if op in operations] == operations[::-1]
    assert stated[-1] == "mul"
    assert [line.split()[2] for line in lines["sigmoid"]][-3:] == ["sub", "mul", "mul"]  # 1 - a, a (1 - a), v a (1 - a)
    specs = [line.split("{")[1] for line in lines["contract"]]
    assert len(specs) == 3  # nobody asks for the gradient of x
    assert [line.split()[2] for line in lines["broadcast"]] == ["sum", "sum"]  # of the biases

    step(x=xs, y=ys)
    a = 1 / (1 + np.exp(-(xs @ w1.T + b1)))
    v = slope(a @ w2.T + b2, np.eye(K)[ys])
    u = (v @ w2) * a * (1 - a)
    for p, old, gradient in zip(model.parameters(), (w1, b1, w2, b2), (u.T @ xs, u.sum(0), v.T @ a, v.sum(0)), strict=True):
        np.testing.assert_allclose(p.numpy(), old - gradient, rtol=1e-12, atol=1e-12)


def test_the_text_with_stated_rules_can_be_read_back() -> None:
    model, x = layer()
    y = graphc.input("y", (N,), "int32")
    text = str(graphc.train_step(F.cross_entropy(model(x), y), optim.Adam(model.parameters())).graph)
    assert "B[cross_entropy, %" in text
    assert str(graphc.parse(text)) == text


def test_biases_are_never_repeated_in_memory() -> None:
    """A batch of N examples: what grows with N is activations and their gradients, with no N x m copy of a bias."""
    rows, width = 512, 256
    model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))
    x = graphc.input("x", (rows, 8))
    step = graphc.train_step((model(x) ** 2).mean(), optim.SGD(model.parameters(), lr=0.1))
    step.build()
    matrix = 4 * rows * width
    assert step.memory.arena_bytes < 2.5 * matrix  # tanh's output and the gradient of its input
    broadcasts = [line for line in step.dump("fuse").splitlines() if re.search(r"#.*\bbroadcast\b", line)]
    assert not broadcasts


def test_linear_layers_collapse_only_when_asked() -> None:
    model = nn.Sequential(*(nn.Linear(a, b, bias=False, dtype="float64") for a, b in ((50, 60), (60, 70), (70, 2))))
    x = np.random.default_rng(0).standard_normal((90, 50))
    plain, collapsed = graphc.compile(model), graphc.compile(model, options=Options(reassociate=True))
    np.testing.assert_allclose(plain(x), collapsed(x), rtol=1e-12, atol=1e-13)
    first = [next(line for line in f.dump("reassociate").splitlines() if " = contract" in line) for f in (plain, collapsed)]
    assert "contract input 0.weight" in first[0] and "input" not in first[1].split("contract ")[1].split(" {")[0].split()


def recurrent(depth: int) -> tuple[nn.Module, Tensor]:
    return nn.LSTM(8, 8, num_layers=depth, batch_first=True), graphc.input("x", (4, 9, 8))


def transformer(depth: int) -> tuple[nn.Module, Tensor]:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), depth), graphc.input("x", (4, 10, 32))


def convolutional(depth: int) -> tuple[nn.Module, Tensor]:
    blocks = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), graphc.input("x", (4, 8, 6, 6))


def residual(depth: int) -> tuple[nn.Module, Tensor]:
    class Res(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

        def forward(self, z: Tensor) -> Tensor:
            return z + self.f(z)

    return nn.Sequential(*(Res() for _ in range(depth))), graphc.input("x", (64, 32))


@pytest.mark.parametrize("build", [recurrent, transformer, convolutional, residual])
def test_size_theorem_of_modules(build: Callable[[int], tuple[nn.Module, Tensor]]) -> None:
    """The gradient with respect to all parameters has O(N) nodes, and some four times the forward's operations."""
    sizes, ratios = [], []
    for depth in (2, 4, 8):
        model, x = build(depth)
        y = model(x)
        loss = ((y[0] if isinstance(y, tuple) else y) ** 2).mean()
        inputs = tuple(node for node in topological([loss.node]) if node.op.name == "input")
        forward, both = (
            run_passes(Graph(inputs, outputs), Options(), passes=GRAPH_PASSES)[-1].ir
            for outputs in ((loss.node,), (loss.node, *(g.node for g in graphc.grad(loss, list(model.parameters())))))
        )
        assert isinstance(forward, Graph) and isinstance(both, Graph)
        sizes.append(len(both.nodes) / len(forward.nodes))
        ratios.append(total_flops(both) / total_flops(forward))
    assert max(ratios) <= 5
    assert max(sizes) <= 6
    assert sizes[2] <= 1.1 * sizes[1]
