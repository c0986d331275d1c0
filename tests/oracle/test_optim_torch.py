"""Optimizers, schedules and clipping against PyTorch: every option, the same gradients for 20 compiled steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from found import record

import graphc
from graphc import nn, optim
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
    ("AdamW", {"betas": (0.6, 0.8), "eps": 1e-3, "maximize": True}),
]
REFUSED = {"foreach", "capturable", "differentiable", "fused"}  # test_signatures_torch.py


@pytest.mark.parametrize("name", [name for name in optim.__all__ if isinstance(getattr(optim, name), type)])
def test_every_optimizer_and_option_is_compared(name: str) -> None:
    if name in ("Optimizer", "ParamGroup"):  # what they are made of
        return
    given = {key for kind, options in OPTIONS if kind == name for key in options}
    assert {*inspect.signature(getattr(optim, name)).parameters} - REFUSED == given | {"params"}


def test_every_schedule_is_compared() -> None:
    functions = {name for name in optim.__all__ if not isinstance(getattr(optim, name), type)} - {"Schedule"}
    assert functions == {name for name, *_ in SCHEDULES} | {"clip_grad_norm", "clip_grad_value"}


def step_of(opt: optim.Optimizer, params: list[graphc.State]) -> Callable[[list[np.ndarray]], None]:
    """A step for gradients given."""
    inputs = [graphc.input(f"g{i}", p.shape, p.dtype) for i, p in enumerate(params)]
    compiled = graphc.compile([], inputs=inputs, updates=opt.updates(zip(params, inputs, strict=True)), threads=1)
    return lambda gradients: compiled(*gradients) and None


def _record(name: str, dtype: str, ours: list[graphc.State], theirs: list[Any]) -> None:
    record(f"optim.{name}", dtype, max(_relative(p.numpy(), q.detach().numpy()) for p, q in zip(ours, theirs, strict=True)))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype("f8") - b).max() / np.abs(b).max())


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
    _record(name, dtype, ours, theirs)
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


T = torch.optim.lr_scheduler
SCHEDULES: list[tuple[str, Any, Callable[[Any], Any]]] = [
    ("constant", optim.constant(0.5), lambda opt: T.LambdaLR(opt, lambda t: 1.0)),
    ("step_decay", optim.step_decay(0.5, 3, 0.2), lambda opt: T.StepLR(opt, 3, 0.2)),
    ("step_decay", optim.step_decay(0.5, 5), lambda opt: T.StepLR(opt, 5)),
    ("multi_step", optim.multi_step(0.5, [2, 7], 0.2), lambda opt: T.MultiStepLR(opt, [2, 7], 0.2)),
    ("multi_step", optim.multi_step(0.5, [7, 2, 3]), lambda opt: T.MultiStepLR(opt, [7, 2, 3])),
    ("exponential", optim.exponential(0.5, 0.9), lambda opt: T.ExponentialLR(opt, 0.9)),
    ("linear", optim.linear(0.5, 6, 0.25, 1.0), lambda opt: T.LinearLR(opt, 0.25, 1.0, 6)),
    ("linear", optim.linear(0.5, 9), lambda opt: T.LinearLR(opt, 1.0, 0.0, 9)),
    ("linear_warmup", optim.linear_warmup(0.5, 6, 0.1), lambda opt: T.LinearLR(opt, 0.1, 1.0, 6)),
    ("cosine", optim.cosine(0.5, 20, final_lr=0.1), lambda opt: T.CosineAnnealingLR(opt, 20, 0.1)),
    ("cosine", optim.cosine(0.5, 20), lambda opt: T.CosineAnnealingLR(opt, 20)),
    (
        "cosine",
        optim.cosine(0.5, 20, 4),
        lambda opt: T.LambdaLR(opt, lambda t: t / 4 if t < 4 else 0.5 + 0.5 * math.cos(math.pi * (t - 4) / 16)),
    ),
    ("scaled", optim.scaled(0.5, lambda step: 1 / (1.0 + step)), lambda opt: T.LambdaLR(opt, lambda t: 1 / (1 + t))),
    (
        "sequential",
        optim.sequential([optim.linear_warmup(0.5, 4, 0.1), optim.exponential(0.5, 0.8), optim.constant(0.5)], [4, 11]),
        lambda opt: T.SequentialLR(
            opt, [T.LinearLR(opt, 0.1, 1.0, 4), T.ExponentialLR(opt, 0.8), T.LambdaLR(opt, lambda t: 1.0)], [4, 11]
        ),
    ),
]


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(("name", "ours", "theirs"), SCHEDULES, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(SCHEDULES)])
def test_schedule(name: str, ours: Any, theirs: Callable[[Any], Any]) -> None:
    """The rate of each of 20 steps, and where they lead: compiled, in a training step."""
    peer = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    opt = torch.optim.SGD([peer], lr=0.5)
    scheduler = theirs(opt)
    p = graphc.state("p", np.ones(3)).requires_grad_()
    step = step_of(optim.SGD([p], lr=ours), [p])
    rates, expected = [], []
    for t in range(STEPS):
        rates.append(float(run_graph(Graph((), (ours(graphc.state("step", np.int64(t))).node,)))[0][0]))
        expected.append(opt.param_groups[0]["lr"])
        gradient = np.random.default_rng(t).normal(size=3)
        step([gradient])
        peer.grad = torch.from_numpy(gradient)
        opt.step()
        scheduler.step()
    # called by hand, outside an optimizer, 1 / (1.0 + step) is float32
    np.testing.assert_allclose(rates, expected, rtol=1e-6 if name == "scaled" else 1e-12, atol=1e-15)
    _record(name, "float64", [p], [peer])
    np.testing.assert_allclose(p.numpy(), peer.detach().numpy(), rtol=1e-12)


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
    record("optim.clip_grad_norm", "float64", max(_relative(v, q.grad.numpy()) for v, q in zip(values, theirs, strict=True)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_in_a_training_step(clip: str, dtype: str) -> None:
    """20 compiled steps of Adam on clipped gradients of a small network."""
    kind = getattr(torch, dtype)
    mine, peer = nn.Linear(5, 3, dtype=dtype), torch.nn.Linear(5, 3, dtype=kind)
    mine.load_state_dict(peer.state_dict())
    x, y = (np.random.default_rng(i).normal(size=(7, n)).astype(dtype) for i, n in enumerate((5, 3)))
    a, b = graphc.input("a", x.shape, dtype), graphc.input("b", y.shape, dtype)
    transform = optim.clip_grad_norm(0.3) if clip == "norm" else optim.clip_grad_value(0.05)
    loss = nn.functional.mse_loss(mine(a), b)
    step = graphc.train_step(loss, optim.Adam(mine.parameters(), 0.1, eps=0.1), transform=transform, threads=1)
    opt = torch.optim.Adam(peer.parameters(), 0.1, eps=0.1)
    for _ in range(STEPS):
        value = step(a=x, b=y)
        opt.zero_grad()
        wanted = torch.nn.functional.mse_loss(peer(torch.tensor(x)), torch.tensor(y))
        wanted.backward()
        if clip == "norm":
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 0.3)
        else:
            torch.nn.utils.clip_grad_value_(peer.parameters(), 0.05)
        opt.step()
        assert value == pytest.approx(wanted.item(), rel=2e-5 if dtype == "float32" else 1e-9)
    _record(f"clip_grad_{clip}", dtype, list(mine.parameters()), list(peer.parameters()))
    for p, q in zip(mine.parameters(), peer.parameters(), strict=True):
        assert _relative(p.numpy(), q.detach().numpy()) <= (2e-5 if dtype == "float32" else 1e-9)


def test_clip_grad_value() -> None:
    g = np.array([-3.0, -0.1, 0.7, np.nan, np.inf])
    q = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    q.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_value_([q], 0.5)
    (clipped,) = optim.clip_grad_value(0.5)([graphc.constant(g)])
    np.testing.assert_array_equal(run_graph(Graph((), (clipped.node,)))[0][0], q.grad.numpy())
