"""Modules: registration, naming, modes, state dicts, containers, layers and initial values."""

from __future__ import annotations

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.graph import Graph
from graphc.interp import run_graph


def run(output: graphc.Tensor, **inputs: np.ndarray) -> np.ndarray:
    """The value of a tensor, by the interpreter."""
    nodes = [node for node in Graph((), (output.node,)).nodes if node.op.name == "input"]
    return run_graph(Graph(tuple(nodes), (output.node,)), inputs)[0][0]


def test_a_classifier_is_declared_differentiated_and_right() -> None:
    graphc.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x, y = graphc.input("x", (4, 5)), graphc.input("y", (4,), "int32")
    loss = F.cross_entropy(model(x), y)
    rng = np.random.default_rng(0)
    xb, yb = rng.normal(size=(4, 5)).astype("f4"), np.array([0, 2, 1, 2], "i4")
    w0, b0, w2, b2 = (p.numpy().astype("f8") for p in model.parameters())
    z = np.maximum(xb @ w0.T + b0, 0) @ w2.T + b2
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(run(loss, x=xb, y=yb), -np.log(softmax[np.arange(4), yb]).mean(), rtol=1e-5)
    error = (softmax - np.eye(3)[yb]) / 4
    np.testing.assert_allclose(run(graphc.grad(loss, model[2].bias), x=xb, y=yb), error.sum(0), rtol=1e-4, atol=1e-6)
    assert {node.scope for node in graphc.graph.topological([loss.node]) if node.op.name == "contract"} == {"0", "2"}
