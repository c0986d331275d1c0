"""Optimizers, schedules and clipping against PyTorch: every option, the same gradients for 20 steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import optim
from graphc.graph import Graph
from graphc.interp import run_graph

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.oracle

STEPS = 20
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.7, "centered": True}),
    ("RMSprop", {"centered": True, "maximize": True}),
    ("RMSprop", {"momentum": 0.9}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "maximize": True}),
]


def step_of(opt: optim.Optimizer, params: list[graphc.State]) -> Callable[[list[np.ndarray]], None]:
    inputs = [graphc.input(f"g{i}", p.shape, p.dtype) for i, p in enumerate(params)]
    updates = opt.updates(zip(params, inputs, strict=True))
    graph = Graph(tuple(x.node for x in inputs), (), tuple((state.node, value.node) for state, value in updates.items()))

    def step(gradients: list[np.ndarray]) -> None:
        for node, value in run_graph(graph, gradients)[1].items():
            node.attrs["state"].array[...] = value

    return step


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_optimizer(name: str, options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(1)
    shapes = ((3, 4), (5,), ())
    starts = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    ours = [graphc.state(f"p{i}", start).requires_grad_() for i, start in enumerate(starts)]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(start))) for start in starts]
    # the last parameter in a group of its own, with a rate of its own
    half = {"lr": 0.05}
    opt = getattr(optim, name)([{"params": ours[:2]}, {"params": ours[2:], **half}], **options)
    peer = getattr(torch.optim, name)([{"params": theirs[:2]}, {"params": theirs[2:], **half}], **options)
    step = step_of(opt, ours)
    for t in range(STEPS):
        if t == 10:  # written between steps
            opt.param_groups[0]["lr"] = peer.param_groups[0]["lr"] = 0.02
        gradients = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
        step(gradients)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = torch.from_numpy(g.copy())
        peer.step()
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))
def test_defaults_and_argument_order(name: str, options: dict[str, Any]) -> None:
    """A group reads as PyTorch's does, for every option that exists here; positional arguments mean the same."""
    p, q = graphc.state("p", np.ones(2, np.float32)).requires_grad_(), torch.nn.Parameter(torch.ones(2))
    ours, theirs = (
        getattr(optim, name)([p], **options).param_groups[0],
        getattr(torch.optim, name)([q], **options).param_groups[0],
    )
    for key in ours:
        if key != "params":
            assert ours[key] == theirs[key], key
    rest = set(theirs) - set(ours) - {"foreach", "capturable", "differentiable", "fused"}
    assert not rest, rest


def test_a_parameter_thawed_later_is_corrected_from_its_own_start() -> None:
    rng = np.random.default_rng(2)
    ours = [graphc.state(f"p{i}", np.ones(3)).requires_grad_(not i) for i in range(2)]
    theirs = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2)]
    opt, peer = optim.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for count, steps in ((1, 7), (2, 5)):
        ours[1].requires_grad_(count == 2)
        step = step_of(opt, ours[:count])
        for _ in range(steps):
            gradients = [rng.standard_normal(3) for _ in range(count)]
            step(gradients)
            for p, g in zip(theirs, gradients, strict=False):
                p.grad = torch.from_numpy(g.copy())
            peer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12)


SCHEDULES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "step": (optim.step_decay(0.5, 3, 0.2), lambda opt: torch.optim.lr_scheduler.StepLR(opt, 3, 0.2)),
    "multi-step": (optim.multi_step(0.5, [2, 7], 0.2), lambda opt: torch.optim.lr_scheduler.MultiStepLR(opt, [2, 7], 0.2)),
    "exponential": (optim.exponential(0.5, 0.9), lambda opt: torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)),
    "linear": (optim.linear(0.5, 6, 0.25, 1.0), lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 0.25, 1.0, 6)),
    "warm-up": (optim.linear_warmup(0.5, 6, 0.1), lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1.0, 6)),
    "cosine": (optim.cosine(0.5, 14, final_lr=0.1), lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 14, 0.1)),
    "lambda": (
        optim.scaled(0.5, lambda step: 1 / (1.0 + step)),
        lambda opt: torch.optim.lr_scheduler.LambdaLR(opt, lambda t: 1 / (1 + t)),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    ours, theirs = SCHEDULES[name]
    opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    scheduler = theirs(opt)
    expected = []
    for _ in range(14):
        expected.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    values = [float(run_graph(Graph((), (ours(graphc.state("step", np.int64(t))).node,)))[0][0]) for t in range(14)]
    np.testing.assert_allclose(values, expected, rtol=1e-6 if name == "lambda" else 1e-12)  # 1 / (1.0 + step) is float32


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm(p: float, max_norm: float) -> None:
    rng = np.random.default_rng(5)
    gradients = [rng.standard_normal(shape) for shape in ((3, 4), (5,), ())]
    theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients]
    for q, g in zip(theirs, gradients, strict=True):
        q.grad = torch.from_numpy(np.array(g))
    torch.nn.utils.clip_grad_norm_(theirs, max_norm, p)
    clipped = optim.clip_grad_norm(max_norm, p)([graphc.constant(g) for g in gradients])
    values = run_graph(Graph((), tuple(t.node for t in clipped)))[0]
    for value, q in zip(values, theirs, strict=True):
        np.testing.assert_allclose(value, q.grad.numpy(), rtol=1e-12)


def test_clip_grad_value() -> None:
    g = np.array([-3.0, -0.1, 0.7, np.nan, np.inf])
    q = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    q.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_value_([q], 0.5)
    (clipped,) = optim.clip_grad_value(0.5)([graphc.constant(g)])
    np.testing.assert_array_equal(run_graph(Graph((), (clipped.node,)))[0][0], q.grad.numpy())
