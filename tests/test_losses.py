"""Losses against their formulas in f64 and against central differences; options, layouts, labels and mistakes."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
from numeric import call, check_gradients, evaluate, gradients

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.graph import topological

RNG = np.random.default_rng(0)
X, T = RNG.normal(0, 2, (4, 3)), RNG.normal(0, 2, (4, 3))
P, Q = RNG.dirichlet(np.ones(3), 4), RNG.dirichlet(np.ones(3), 4)
SIGNS = np.sign(T)
REDUCTIONS = {"none": lambda losses: losses, "mean": np.mean, "sum": np.sum}


def softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z)


D = X - T
# function, module, options, operands, formula of the unreduced loss
CASES: list[tuple[str, str, dict[str, Any], tuple[np.ndarray, ...], np.ndarray]] = [
    ("mse_loss", "MSELoss", {}, (X, T), D**2),
    ("l1_loss", "L1Loss", {}, (X, T), np.abs(D)),
    ("smooth_l1_loss", "SmoothL1Loss", {}, (X, T), np.where(np.abs(D) < 1, D**2 / 2, np.abs(D) - 0.5)),
    ("smooth_l1_loss", "SmoothL1Loss", {"beta": 2.0}, (X, T), np.where(np.abs(D) < 2, D**2 / 4, np.abs(D) - 1)),
    ("smooth_l1_loss", "SmoothL1Loss", {"beta": 0.0}, (X, T), np.abs(D)),
    ("huber_loss", "HuberLoss", {}, (X, T), np.where(np.abs(D) < 1, D**2 / 2, np.abs(D) - 0.5)),
    ("huber_loss", "HuberLoss", {"delta": 2.0}, (X, T), np.where(np.abs(D) < 2, D**2 / 2, 2 * (np.abs(D) - 1))),
    ("binary_cross_entropy", "BCELoss", {}, (P, Q), -(Q * np.log(P) + (1 - Q) * np.log(1 - P))),
    ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss", {}, (X, Q), softplus(X) - Q * X),
    ("poisson_nll_loss", "PoissonNLLLoss", {}, (X, T), np.exp(X) - T * X),
    ("poisson_nll_loss", "PoissonNLLLoss", {"log_input": False}, (P, T), P - T * np.log(P + 1e-8)),
    ("gaussian_nll_loss", "GaussianNLLLoss", {}, (X, T, Q), (np.log(Q) + D**2 / Q) / 2),
    ("gaussian_nll_loss", "GaussianNLLLoss", {"full": True}, (X, T, Q), (np.log(Q) + D**2 / Q + np.log(2 * np.pi)) / 2),
    ("kl_div", "KLDivLoss", {}, (np.log(P), Q), Q * (np.log(Q) - np.log(P))),
    ("kl_div", "KLDivLoss", {"log_target": True}, (np.log(P), np.log(Q)), Q * (np.log(Q) - np.log(P))),
    ("hinge_embedding_loss", "HingeEmbeddingLoss", {}, (X, SIGNS), np.where(SIGNS > 0, X, np.maximum(0, 1 - X))),
    ("soft_margin_loss", "SoftMarginLoss", {}, (X, SIGNS), softplus(-SIGNS * X)),
    ("perceptron_loss", "PerceptronLoss", {}, (X, SIGNS), np.maximum(0, -SIGNS * X)),
]


@pytest.mark.parametrize(
    ("name", "module", "options", "operands", "expected"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_formula_and_gradients(name: str, module: str, options: Any, operands: Any, expected: np.ndarray) -> None:
    for reduction, reduce in REDUCTIONS.items():
        for f in (partial(getattr(F, name), reduction=reduction, **options), getattr(nn, module)(reduction=reduction, **options)):
            np.testing.assert_allclose(call(f, *operands), reduce(expected), rtol=1e-10)
    kinked = name in ("hinge_embedding_loss", "perceptron_loss")
    first = (lambda x: getattr(F, name)(x, SIGNS, **options)) if kinked else (lambda *xs: getattr(F, name)(*xs, **options))
    check_gradients(
        first, *(operands[:1] if kinked else operands), order=2 if name in ("binary_cross_entropy_with_logits", "kl_div") else 1
    )
    for operand in operands[:1]:
        poisoned = operand.copy()
        poisoned[1, 1] = np.nan
        assert np.isnan(call(lambda *xs: getattr(F, name)(*xs, **options), poisoned, *operands[1:]))


@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "kl_div", "poisson_nll_loss"]
)
def test_wrong_options_name_the_argument(name: str) -> None:
    x = graphc.input("x", (4, 3))
    for reduction in ("avg", None, 3):
        with pytest.raises(graphc.InputError, match=f"{name}: reduction must be one of 'none', 'mean', 'sum'"):
            getattr(F, name)(x, x, reduction=reduction)
    for option in ("size_average", "reduce") if name != "huber_loss" else ():  # as in PyTorch
        with pytest.raises(graphc.InputError, match=f"{name}: {option}=True is not supported: say reduction="):
            getattr(F, name)(x, x, **{option: True})


def test_more_wrong_options() -> None:
    x, y = graphc.input("x", (4, 3)), graphc.input("y", (4,), "int64")
    cases: list[tuple[Any, str]] = [
        (lambda: F.cross_entropy(x, y, reduction="avg"), "cross_entropy: reduction must be one of"),
        (lambda: F.cross_entropy(x, y, label_smoothing=1.5), "label_smoothing must be at least 0 and at most 1, got 1.5"),
        (lambda: F.cross_entropy(x, y, ignore_index=0.5), "ignore_index must be an integer"),  # type: ignore[arg-type]
        (lambda: F.cross_entropy(x, x, ignore_index=2), "ignore_index applies to class indices"),
        (lambda: F.nll_loss(x, y, reduction="batchmean"), "nll_loss: reduction must be one of"),
        (lambda: F.smooth_l1_loss(x, x, beta=-1.0), "smooth_l1_loss: beta must be at least 0"),
        (lambda: F.huber_loss(x, x, delta=0.0), "huber_loss: delta must be greater than 0"),
        (lambda: F.gaussian_nll_loss(x, x, x, eps=0.0), "gaussian_nll_loss: eps must be greater than 0"),
        (lambda: nn.CrossEntropyLoss(reduction="avg"), "CrossEntropyLoss: reduction must be one of"),
        (lambda: nn.HuberLoss(delta=-1.0), "HuberLoss: delta must be greater than 0"),
        (lambda: nn.KLDivLoss(reduction="avg"), "KLDivLoss: reduction must be one of .*'batchmean'"),
    ]
    for make, message in cases:
        with pytest.raises(graphc.InputError, match=message):
            make()


def test_shapes_and_types() -> None:
    x, y = graphc.input("x", (4, 3)), graphc.input("y", (4,), "int64")
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: F.cross_entropy(x, graphc.input("t", (3,), "int32")), graphc.ShapeError, r"must have shape \(4,\), got \(3,\)"),
        (lambda: F.cross_entropy(x, graphc.input("t", (4,))), graphc.ShapeError, "a float target holds class probabilities"),
        (lambda: F.cross_entropy(x, graphc.input("t", (4,), "bool")), graphc.DTypeError, "must be class indices"),
        (lambda: F.cross_entropy(y, y), graphc.DTypeError, "expected a float tensor"),
        (
            lambda: F.cross_entropy(x, y, weight=np.ones(4)),
            graphc.ShapeError,
            "weight must have one element for each of 3 classes",
        ),
        (lambda: F.cross_entropy(graphc.input("x", (4, 0)), y), graphc.ShapeError, "at least one class"),
        (lambda: F.nll_loss(x, x), graphc.DTypeError, "must be class indices"),
        (
            lambda: F.binary_cross_entropy(x, y),
            graphc.ShapeError,
            r"binary_cross_entropy: the target must have the input's shape",
        ),
        (lambda: F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(4)), graphc.ShapeError, "pos_weight of shape"),
        (lambda: F.mse_loss(x, x, weight=np.ones(3)), graphc.ShapeError, "weight must have the input's shape"),
        (lambda: F.mse_loss(x, graphc.input("t", (4,))), graphc.ShapeError, "do not broadcast"),
        (lambda: F.gaussian_nll_loss(x, x, graphc.input("v", (3,))), graphc.ShapeError, "does not fit an input"),
    ]
    for make, kind, message in cases:
        with pytest.raises(kind, match=message):
            make()
    with pytest.warns(UserWarning, match="broadcasting is likely a mistake"):
        F.mse_loss(graphc.input("x", (4, 1)), graphc.input("t", (4,)))
    # a number as target is meant
    assert call(lambda x: F.mse_loss(x, 1.0), X) == pytest.approx(((X - 1) ** 2).mean())


def log_softmax(z: np.ndarray, axis: int) -> np.ndarray:
    z = z - z.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def reference(z: np.ndarray, y: np.ndarray, weight: Any, ignore: int, reduction: str, smoothing: float) -> Any:
    """Cross-entropy position by position."""
    axis = 0 if z.ndim == 1 else 1
    rows = np.moveaxis(log_softmax(z, axis), axis, -1).reshape(-1, z.shape[axis])
    weight = np.ones(z.shape[axis]) if weight is None else weight
    losses, total = [], 0.0
    for row, label in zip(rows, y.reshape(-1), strict=True):
        if label == ignore:
            losses.append(0.0)
            continue
        losses.append(-(1 - smoothing) * weight[label] * row[label] - smoothing / len(row) * np.sum(weight * row))
        total += weight[label]
    if reduction == "none":
        return np.reshape(losses, y.shape)
    return np.sum(losses) / (total if reduction == "mean" else 1)


@pytest.mark.parametrize("shape", [(4,), (5, 3), (3, 1), (2, 4, 3), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_cross_entropy(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(1)
    axis = 0 if len(shape) == 1 else 1
    z = rng.normal(0, 3, shape)
    y = np.asarray(rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :]), dtype)
    if y.ndim:
        y.reshape(-1)[-1] = -100
    weights = rng.uniform(0.5, 2, shape[axis])
    for weight, reduction, smoothing in itertools.product((None, weights), REDUCTIONS, (0.0, 0.2)):
        loss = nn.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=smoothing)
        np.testing.assert_allclose(call(loss, z, y), reference(z, y, weight, -100, reduction, smoothing), rtol=1e-10, atol=1e-12)
    check_gradients(lambda z: F.cross_entropy(z, y, weights, label_smoothing=0.2), z, order=2 if z.size < 16 else 1)
    picked = call(lambda z: F.nll_loss(F.log_softmax(z, axis), y, weights), z)
    np.testing.assert_allclose(picked, reference(z, y, weights, -100, "mean", 0.0), rtol=1e-10, atol=1e-12)


def test_cross_entropy_of_probabilities_contains_that_of_indices() -> None:
    y = np.array([0, 2, 1, 1])
    weight = np.array([1.0, 2.0, 0.5])
    for smoothing, reduction in itertools.product((0.0, 0.2), ("none", "sum")):
        options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
        np.testing.assert_allclose(
            call(lambda z: F.cross_entropy(z, np.eye(3)[y], weight, **options), X),  # noqa: B023
            call(lambda z: F.cross_entropy(z, y, weight, **options), X),  # noqa: B023
        )
    check_gradients(lambda z, t: F.cross_entropy(z, t), X, Q)


def test_logits_of_any_size() -> None:
    for dtype in ("f4", "f8"):
        z = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4 - 2], [1e4, 1e4, 1e4]], dtype)
        y = np.array([0, 2, 1])
        losses = call(lambda z: F.cross_entropy(z, y, reduction="none"), z)  # noqa: B023
        np.testing.assert_allclose(losses, [0, 2 + np.log1p(np.exp(-2)), np.log(3)], rtol=1e-6)
        np.testing.assert_allclose(gradients(lambda z: F.cross_entropy(z, y), z)[0].sum(1), 0, atol=1e-6)  # noqa: B023
        z = np.array([1e4, -1e4, 1e4, -1e4, 20, -20], dtype)
        t = np.array([0, 1, 1, 0, 1, 0], dtype)
        small = np.log1p(np.exp(-20.0))
        losses = call(lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none"), z, t)
        np.testing.assert_allclose(losses, [1e4, 1e4, 0, 0, small, small], rtol=1e-6)
        weighted = call(lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none", pos_weight=3.0), z, t)
        np.testing.assert_allclose(weighted, losses * np.where(t == 1, 3, 1), rtol=1e-6)
        np.testing.assert_allclose(
            gradients(F.binary_cross_entropy_with_logits, z, t)[0] * 6, [1, -1, 0, 0, -2.061154e-09, 2.061154e-09], atol=1e-7
        )


def test_labels_out_of_range_fail_the_call() -> None:
    x = graphc.input("x", (3, 4))
    for dtype, label in itertools.product(("int32", "int64"), (4, -1, 2**31 - 1, -(2**31))):
        y = graphc.input("y", (3,), dtype)
        for name in ("cross_entropy", "nll_loss"):
            loss = getattr(F, name)(x, y)
            with pytest.raises(graphc.InputError, match=rf"{name}: index {label} is out of range, expected 0 <= index < 4"):
                evaluate(loss, x=np.zeros((3, 4)), y=[0, label, 1])
    y = graphc.input("y", (3,), "int64")
    assert evaluate(F.cross_entropy(x, y, ignore_index=-1), x=np.zeros((3, 4)), y=[-1, 0, 3]) == pytest.approx(np.log(4))
    with pytest.raises(graphc.InputError, match="index -100 is out of range"):
        evaluate(F.cross_entropy(x, y, ignore_index=-1), x=np.zeros((3, 4)), y=[-100, 0, 3])
    assert np.isnan(evaluate(F.cross_entropy(x, y), x=np.zeros((3, 4)), y=[-100] * 3))  # the mean of nothing


def test_integer_targets_are_compared_in_their_own_type() -> None:
    y = graphc.input("y", (3,), "int32")
    nodes = topological([F.cross_entropy(graphc.input("x", (3, 4)), y).node])
    assert {str(node.type.dtype) for node in nodes} == {"float32", "int32", "bool"}
    assert not any(node.op.name in ("gather", "scatter_add") for node in nodes)


def test_element_weights() -> None:
    w = np.abs(T)
    for name, losses in (("mse_loss", D**2), ("l1_loss", np.abs(D))):
        assert call(lambda *xs: getattr(F, name)(*xs, weight=w), X, T) == pytest.approx(np.sum(losses * w) / w.sum())  # noqa: B023
    assert call(lambda *xs: F.huber_loss(*xs, weight=w, delta=100.0), X, T) == pytest.approx(np.mean(D**2 * w) / 2)
    bce = -(Q * np.log(P) + (1 - Q) * np.log(1 - P))
    assert call(lambda *xs: F.binary_cross_entropy(*xs, np.array([1.0, 2, 3])), P, Q) == pytest.approx(np.mean(bce * [1, 2, 3]))


def test_the_squared_error_of_the_lectures_and_its_gradient() -> None:
    f = lambda x, t: 0.5 * F.mse_loss(x, t)  # noqa: E731
    assert call(f, X, T) == pytest.approx(np.mean(D**2) / 2)
    np.testing.assert_allclose(gradients(f, X, T)[0], D / D.size)


def test_a_gradient_step_of_the_perceptron_loss_is_the_perceptron_rule() -> None:
    data, labels = np.array([[1.0, 2.0], [-1.0, 1.0], [2.0, -1.0]]), np.array([1.0, -1.0, 1.0])
    for w in (np.zeros(2), np.array([1.0, -1.0]), np.array([1.0, 0.2])):
        f = lambda w: F.perceptron_loss(graphc.matmul(data, w), labels, reduction="sum")  # noqa: E731
        wrong = labels * (data @ w) <= 0
        np.testing.assert_allclose(-gradients(f, w)[0], (labels[:, None] * data)[wrong].sum(0))


def test_differences_of_any_size() -> None:
    d = np.array([0.0, 1e20, -np.inf], "f4")
    for name in ("l1_loss", "smooth_l1_loss", "huber_loss"):
        f = lambda x, name=name: getattr(F, name)(x, np.zeros(3, "f4"), reduction="none")  # noqa: E731
        np.testing.assert_allclose(call(f, d), np.abs(d), rtol=1e-6)
        assert gradients(f, d)[0].tolist() == [0, 1, -1]


def test_targets_that_make_terms_vanish() -> None:
    log_p, t = np.log(P), Q.copy()
    t[0] = [0, 0, 1]
    assert call(F.kl_div, log_p, t) == pytest.approx(
        np.sum(np.where(t > 0, t * np.log(np.maximum(t, 1e-300)), 0) - t * log_p) / 12
    )
    assert call(lambda *xs: F.kl_div(*xs, reduction="batchmean"), log_p, Q) == pytest.approx(np.sum(Q * (np.log(Q) - log_p)) / 4)
    p = np.array([0.0, 1.0, 0.0, 1.0])
    assert call(lambda p, t: F.binary_cross_entropy(p, t, reduction="none"), p, np.array([0.0, 1, 1, 0])).tolist() == [
        0,
        0,
        100,
        100,
    ]
    counts = np.array([0.0, 1.0, 2.0, 30.0])
    stirling = np.array([0, 0, *(counts[2:] * np.log(counts[2:]) - counts[2:] + np.log(2 * np.pi * counts[2:]) / 2)])
    got = call(lambda z, t: F.poisson_nll_loss(z, t, full=True, reduction="none"), np.zeros(4), counts)
    np.testing.assert_allclose(got, 1 + stirling)
    assert np.isfinite(gradients(lambda z, t: F.poisson_nll_loss(z, t, full=True), np.zeros(4), counts)[1]).all()


@pytest.mark.parametrize("shape", [(4, 1), (1, 3), (4,), ()], ids=str)
def test_variances_of_other_shapes(shape: tuple[int, ...]) -> None:
    variance = np.asarray(np.random.default_rng(3).random(shape))
    wide = np.broadcast_to(variance[:, None] if shape == (4,) else variance, (4, 3))
    assert call(F.gaussian_nll_loss, X, T, variance) == pytest.approx(np.mean((np.log(wide) + D**2 / wide) / 2))
    # below eps the value is that of eps, and the gradient goes on as if it were not limited
    floor = lambda v: F.gaussian_nll_loss(X, T, v, eps=0.5, reduction="sum")  # noqa: E731
    np.testing.assert_allclose(gradients(floor, np.full((4, 3), 0.1))[0], (1 / 0.5 - D**2 / 0.25) / 2)


def test_class_weights_are_buffers() -> None:
    loss = nn.CrossEntropyLoss(np.ones(3, "f4"))
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters()) and nn.CrossEntropyLoss().state_dict() == {}
    assert list(nn.BCEWithLogitsLoss(pos_weight=2.0).state_dict()) == ["pos_weight"]
    loss.load_state_dict({"weight": np.array([1, 2, 4], "f4")})
    x, y = np.zeros((2, 3), "f4"), np.array([1, 2])
    assert call(loss, x, y) == pytest.approx(np.log(3), rel=1e-6)
