"""Losses against PyTorch: values and gradients over a grid of options and layouts, functions and modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from module_peer import same
from torch_peer import agree, same_function, same_module, torch

import graphc.nn.functional as F
from graphc import nn

pytestmark = pytest.mark.oracle
REDUCTIONS = ("none", "mean", "sum")
LAYOUTS = ((4,), (5, 3), (3, 1), (2, 4, 3), (2, 3, 2, 5))  # (C,), (N, C), (N, C, d1, ...)


def _labels(rng: np.random.Generator, shape: tuple[int, ...], ignored: bool) -> np.ndarray:
    axis = 0 if len(shape) == 1 else 1
    y = np.asarray(rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :]))
    if ignored and y.ndim:
        y.reshape(-1)[0] = -100
    return y


def _weight(rng: np.random.Generator, shape: tuple[int, ...], weighted: bool, dtype: str = "f8") -> np.ndarray | None:
    return rng.uniform(0.2, 2, shape[0 if len(shape) == 1 else 1]).astype(dtype) if weighted else None


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_cross_entropy_of_indices(reduction: str, smoothing: float, weighted: bool, ignored: bool) -> None:
    rng = np.random.default_rng(0)
    for shape in LAYOUTS:
        for dtype in ("f4", "f8"):
            x, y = rng.normal(0, 4, shape).astype(dtype), _labels(rng, shape, ignored)
            options = {"weight": _weight(rng, shape, weighted, dtype), "reduction": reduction, "label_smoothing": smoothing}
            same_function("cross_entropy", x, y, **options)
            same_module("CrossEntropyLoss", x, y, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(reduction: str, smoothing: float, weighted: bool) -> None:
    rng = np.random.default_rng(1)
    for shape in LAYOUTS:
        x, t = rng.normal(0, 4, shape), rng.random(shape)
        same_function("cross_entropy", x, t, weight=_weight(rng, shape, weighted), reduction=reduction, label_smoothing=smoothing)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_extreme_logits_and_nothing(reduction: str) -> None:
    x = np.array([[1e4, 1e4 - 3, -1e4], [-1e4, 2, 1e4], [np.nan, 0, 1], [-np.inf, 0, 1], [3e38, -3e38, 0], [np.inf, 0, 0]], "f4")
    for y in (np.array([0, 1, 2, 1, 0, 0]), np.array([2, 2, 0, 0, 1, 1]), np.full(6, -100)):
        same_function("cross_entropy", x, y, reduction=reduction)
    same_function("cross_entropy", np.zeros((0, 3)), np.zeros(0, "i8"), reduction=reduction)


def test_another_ignored_index_and_int32_labels() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 2, 2])
    for ignore in (2, -1, 255):
        y[0] = ignore
        same_function("cross_entropy", x, y, ignore_index=ignore)
        same_function("nll_loss", x, y, ignore_index=ignore)
    y[0] = 0
    agree(F.cross_entropy, lambda x, y: torch.nn.functional.cross_entropy(x, y.long()), x, y.astype("i4"))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_nll(reduction: str, weighted: bool, ignored: bool) -> None:
    rng = np.random.default_rng(3)
    for shape in LAYOUTS:
        x, y, weight = rng.normal(0, 4, shape), _labels(rng, shape, ignored), _weight(rng, shape, weighted)
        same_function("nll_loss", x, y, weight=weight, reduction=reduction)
        same_module("NLLLoss", x, y, weight=weight, reduction=reduction)


PAIRED: list[tuple[str, str, dict[str, Any]]] = [
    ("mse_loss", "MSELoss", {}),
    ("l1_loss", "L1Loss", {}),
    ("smooth_l1_loss", "SmoothL1Loss", {}),
    ("smooth_l1_loss", "SmoothL1Loss", {"beta": 0.3}),
    ("smooth_l1_loss", "SmoothL1Loss", {"beta": 0.0}),
    ("huber_loss", "HuberLoss", {}),
    ("huber_loss", "HuberLoss", {"delta": 0.4}),
    ("poisson_nll_loss", "PoissonNLLLoss", {}),
    ("poisson_nll_loss", "PoissonNLLLoss", {"full": True}),
    ("hinge_embedding_loss", "HingeEmbeddingLoss", {}),
    ("hinge_embedding_loss", "HingeEmbeddingLoss", {"margin": 0.3}),
    ("kl_div", "KLDivLoss", {"log_target": True}),
    ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss", {}),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "module", "options"), PAIRED, ids=str)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_pairs(name: str, module: str, options: dict[str, Any], reduction: str) -> None:
    rng = np.random.default_rng(4)
    for shape in ((), (7,), (3, 5), (2, 3, 19), (0, 2)):
        for dtype in ("f4", "f8"):
            x, t = (np.asarray(rng.normal(0, 2, shape), dtype) for _ in range(2))
            if "hinge" in name:
                t = np.asarray(np.sign(t), dtype)
            if "poisson" in name:
                t = np.abs(t)
            same_function(name, x, t, reduction=reduction, **options)
            same_module(module, x, t, reduction=reduction, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (7,), (3, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_soft_margin(reduction: str, shape: tuple[int, ...], dtype: str) -> None:
    """PyTorch's has no derivative with respect to the target."""
    rng = np.random.default_rng(9)
    z, y = np.asarray(rng.normal(0, 3, shape), dtype), np.asarray(np.sign(rng.normal(size=shape)), dtype)
    mine, peer = nn.SoftMarginLoss(reduction=reduction), torch.nn.SoftMarginLoss(reduction=reduction)
    same(mine, peer, z, call=lambda m, z: m(z, y), peer_call=lambda m, z: m(z, torch.tensor(y)))


@pytest.mark.parametrize("name", ["l1_loss", "smooth_l1_loss", "huber_loss"])
def test_kinks_and_extremes_of_differences(name: str) -> None:
    d = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 1e20, -1e20, np.inf, -np.inf], "f4")
    same_function(name, d, np.zeros_like(d), reduction="none")


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_element_weights(name: str, reduction: str) -> None:
    rng = np.random.default_rng(5)
    x, t, w = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.random((4, 3))
    same_function(name, x, t, weight=w, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (3,), (4, 3)], ids=str)
def test_binary(reduction: str, weight: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(6)
    p, t, z = rng.random((4, 3)), rng.random((4, 3)), rng.normal(0, 5, (4, 3))
    w = None if weight is None else rng.random(weight)
    same_function("binary_cross_entropy", p, t, weight=w, reduction=reduction)
    same_module("BCELoss", p, t, weight=w, reduction=reduction)
    for pos_weight in (None, rng.random(3), rng.random((4, 3)) * 3):
        same_function("binary_cross_entropy_with_logits", z, t, weight=w, reduction=reduction, pos_weight=pos_weight)
        same_module("BCEWithLogitsLoss", z, t, weight=w, reduction=reduction, pos_weight=pos_weight)


def test_binary_at_the_ends() -> None:
    p, t = np.array([0, 1, 0, 1, 1e-30, 0.5], "f4"), np.array([0, 1, 1, 0, 1, 0.5], "f4")
    same_function("binary_cross_entropy", p, target=t)
    same_function("binary_cross_entropy_with_logits", np.array([1e4, -1e4, 1e4, -1e4, 0, 88], "f4"), t, reduction="none")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("full", [False, True])
def test_poisson_of_rates_and_gaussian(reduction: str, full: bool) -> None:
    rng = np.random.default_rng(7)
    rate, count = rng.random((4, 3)) * 3, rng.poisson(2, (4, 3)) + 1.0
    options: dict[str, Any] = {"full": full, "reduction": reduction}
    for eps in (1e-8, 0.1):
        same_function("poisson_nll_loss", rate, count, log_input=False, eps=eps, **options)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    for shape in ((4, 3), (4, 1), (1, 3), (4,)):
        var = rng.random(shape)
        var.reshape(-1)[0] = 1e-9
        same_function("gaussian_nll_loss", x, t, var, eps=1e-2, **options)
        same_module("GaussianNLLLoss", x, t, var + 0.1, **options)
    same_function("gaussian_nll_loss", x, t, var=0.5, **options)


@pytest.mark.parametrize("reduction", (*REDUCTIONS, "batchmean"))
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_kl_div(reduction: str) -> None:
    rng = np.random.default_rng(8)
    x, t = np.log(rng.dirichlet(np.ones(5), 4)), rng.dirichlet(np.ones(5), 4)
    same_function("kl_div", x, t, reduction=reduction)
    same_function("kl_div", x, np.log(t), reduction=reduction, log_target=True)
    t[0, 0] = 0  # where the derivative with respect to the target is not finite
    same_function("kl_div", x, target=t, reduction=reduction)
