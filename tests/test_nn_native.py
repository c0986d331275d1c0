"""Compiled functions and their gradients against the interpreter, over odd shapes, kinks and infinities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numeric import evaluate

import graphc
import graphc.nn.functional as F

ACTIVATIONS = [
    "relu", "leaky_relu", "relu6", "hardtanh", "hardsigmoid", "hardswish", "sigmoid", "tanh", "logsigmoid", "softsign",
    "softplus", "silu", "mish", "gelu", "elu", "celu", "selu",
]  # fmt: skip
PAIRS = [
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "poisson_nll_loss", "kl_div",
    "hinge_embedding_loss", "soft_margin_loss", "perceptron_loss",
]  # fmt: skip
LINES: list[Callable[..., graphc.Tensor]] = [
    partial(F.softmax, dim=1), partial(F.softmax, dim=0), partial(F.log_softmax, dim=1), partial(F.log_softmax, dim=0),
    partial(F.softmin, dim=-1), F.normalize, partial(F.normalize, p=1, dim=0), F.glu,
    lambda x: F.layer_norm(x, x.shape[1:]), lambda x: F.layer_norm(x, x.shape),
]  # fmt: skip


def agree(functions: list[Callable[..., graphc.Tensor]], dtype: str, *arrays: Any, tolerance: float) -> None:
    """All functions of the same operands, and their gradients, as one compiled graph."""
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    outputs = []
    for f in functions:
        y = f(*xs)
        floats = [x for x in xs if x.dtype.kind == "f"]
        outputs += [y, *graphc.vjp([y], floats, [np.linspace(0.5, 1.5, y.size).reshape(y.shape)])]
    names = {x.name: array for x, array in zip(xs, arrays, strict=True)}
    native, reference = graphc.compile(outputs)(**names), evaluate(outputs, **names)
    for i, (got, expected) in enumerate(zip(native, reference, strict=True)):
        assert got.dtype == expected.dtype == dtype
        # derivatives such as 1 - tanh² are differences of numbers of the size of the cotangents, 1
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=f"output {i} of {len(outputs)}")


each_dtype = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float64", 1e-13)])


@each_dtype
def test_activations(dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    points = [0, -0.0, 1, -1, 3, -3, 6, 1e-30, 25, -25, 90, -90, 1e4, -1e4, np.nan]
    x = np.concatenate([rng.normal(0, 3, 38), points]).astype(dtype)
    agree([getattr(F, name) for name in ACTIVATIONS] + [partial(F.gelu, approximate="tanh")], dtype, x, tolerance=tolerance)


@each_dtype
@pytest.mark.parametrize("shape", [(3, 10), (37, 2), (1, 130)], ids=str)
def test_lines(shape: tuple[int, int], dtype: str, tolerance: float) -> None:
    x = np.random.default_rng(1).normal(0, 3, shape).astype(dtype)
    agree(LINES, dtype, x, tolerance=4 * tolerance)


@each_dtype
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_paired_losses(reduction: str, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(2)
    x, t = rng.normal(0, 2, (5, 7)).astype(dtype), np.exp(rng.normal(size=(5, 7))).astype(dtype)
    agree([partial(getattr(F, name), reduction=reduction) for name in PAIRS], dtype, x, t, tolerance=4 * tolerance)
    p = rng.uniform(0.01, 0.99, (2, 5, 7)).astype(dtype)
    agree([partial(F.binary_cross_entropy, reduction=reduction)], dtype, *p, tolerance=4 * tolerance)
    agree([partial(F.gaussian_nll_loss, full=True, reduction=reduction)], dtype, x, t, p[0], tolerance=10 * tolerance)


@each_dtype
@pytest.mark.parametrize("labels", ["int32", "int64"])
def test_cross_entropy(labels: str, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    weight = rng.random(10)
    losses: list[Callable[..., graphc.Tensor]] = [
        F.cross_entropy,
        F.nll_loss,
        partial(F.cross_entropy, weight=weight, label_smoothing=0.1),
        partial(F.cross_entropy, reduction="none"),
    ]
    for shape in ((33, 10), (10,), (2, 10, 3)):
        axis = 0 if len(shape) == 1 else 1
        y = np.asarray(rng.integers(0, 10, shape[:axis] + shape[axis + 1 :]), labels)
        if y.ndim:
            y.reshape(-1)[0] = -100
        agree(losses, dtype, rng.normal(0, 3, shape).astype(dtype), y, tolerance=4 * tolerance)
    z = (rng.normal(0, 3, (3, 10)) * 1e4).astype(dtype)
    agree(losses[:1], dtype, z, np.array([1, 2, 3], labels), tolerance=4 * tolerance)


@each_dtype
def test_linear_and_bilinear(dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(4)
    x, w, b = (rng.normal(size=shape).astype(dtype) for shape in ((2, 5, 7), (3, 7), (3,)))
    agree([F.linear], dtype, x, w, b, tolerance=10 * tolerance)
    x1, x2, w3 = (rng.normal(size=shape).astype(dtype) for shape in ((5, 7), (5, 4), (3, 7, 4)))
    agree([F.bilinear], dtype, x1, x2, w3, b, tolerance=10 * tolerance)


def test_a_label_out_of_range_fails_the_call_and_changes_nothing() -> None:
    x, y = graphc.input("x", (3, 4)), graphc.input("y", (3,), "int32")
    weight = graphc.nn.Parameter(np.ones(4, "f4"))
    step = graphc.train_step(F.cross_entropy(x * weight, y), graphc.optim.SGD([weight], lr=1.0))
    for label in (4, -1):
        with pytest.raises(graphc.InputError, match=f"cross_entropy: index {label} is out of range, expected 0 <= index < 4"):
            step(x=np.ones((3, 4), "f4"), y=np.array([0, label, -100], "i4"))
        assert weight.array.tolist() == [1, 1, 1, 1]
