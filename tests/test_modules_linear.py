"""Linear and generalized linear models: compiled losses and gradients against formulas by hand, and training to the optimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Tensor, nn, optim

RNG = np.random.default_rng(0)
N, D, K = 9, 4, 3
X = RNG.standard_normal((N, D))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_hot(y: np.ndarray) -> np.ndarray:
    return np.eye(K)[y]


Y = {
    "real": RNG.standard_normal((N, K)),
    "labels": RNG.integers(0, K, N),
    "bits": RNG.integers(0, 2, (N, K)).astype(float),
    "counts": RNG.poisson(2, (N, K)).astype(float),
    "signs": RNG.choice([-1.0, 1.0], (N, K)),
}
Array = np.ndarray
# data, loss in graphc, loss by hand, its gradient with respect to the scores, all as means over the elements they average
MODELS: dict[
    str, tuple[str, Callable[[Tensor, Tensor], Tensor], Callable[[Array, Array], Any], Callable[[Array, Array], Array]]
] = {
    "half squares": (
        "real",
        lambda z, y: (0.5 * (z - y) ** 2).mean(),
        lambda z, y: np.mean(0.5 * (z - y) ** 2),
        lambda z, y: (z - y) / z.size,
    ),
    "squares": ("real", F.mse_loss, lambda z, y: np.mean((z - y) ** 2), lambda z, y: 2 * (z - y) / z.size),
    "logistic": (
        "bits",
        lambda z, y: (F.softplus(z) - y * z).mean(),
        lambda z, y: np.mean(np.logaddexp(0, z) - y * z),
        lambda z, y: (sigmoid(z) - y) / z.size,
    ),
    "logistic, as a module": (
        "bits",
        nn.BCEWithLogitsLoss(),
        lambda z, y: np.mean(np.logaddexp(0, z) - y * z),
        lambda z, y: (sigmoid(z) - y) / z.size,
    ),
    "softmax of labels": (
        "labels",
        F.cross_entropy,
        lambda z, y: -np.mean(np.log(softmax(z))[np.arange(N), y]),
        lambda z, y: (softmax(z) - one_hot(y)) / N,
    ),
    "softmax of one-hot labels": (
        "labels",
        lambda z, y: F.cross_entropy(z, graphc.one_hot(y, K, dtype="float64")),
        lambda z, y: -np.mean(np.log(softmax(z))[np.arange(N), y]),
        lambda z, y: (softmax(z) - one_hot(y)) / N,
    ),
    "softmax written out": (
        "labels",
        lambda z, y: (graphc.logsumexp(z, axis=1) - z[graphc.arange(N), y]).mean(),
        lambda z, y: -np.mean(np.log(softmax(z))[np.arange(N), y]),
        lambda z, y: (softmax(z) - one_hot(y)) / N,
    ),
    "Poisson": (
        "counts",
        lambda z, y: (graphc.exp(z) - y * z).mean(),
        lambda z, y: np.mean(np.exp(z) - y * z),
        lambda z, y: (np.exp(z) - y) / z.size,
    ),
    "Poisson, as a function": (
        "counts",
        F.poisson_nll_loss,
        lambda z, y: np.mean(np.exp(z) - y * z),
        lambda z, y: (np.exp(z) - y) / z.size,
    ),
    "perceptron": (
        "signs",
        lambda z, y: graphc.maximum(0, -y * z).mean(),
        lambda z, y: np.mean(np.maximum(0, -y * z)),
        lambda z, y: np.where(y * z < 0, -y, 0) / z.size,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients(name: str) -> None:
    data, loss_of, by_hand, slope = MODELS[name]
    target = Y[data]
    model = nn.Linear(D, K, dtype="float64")
    x, y = graphc.input("x", (N, D), "float64"), graphc.input("y", target.shape, target.dtype)
    loss = loss_of(model(x), y)
    found = graphc.compile([loss, *graphc.grad(loss, [model.weight, model.bias, x])])(x=X, y=target)
    w = model.weight.numpy()
    z = X @ w.T + model.bias.numpy()
    v = slope(z, target)
    for ours, expected in zip(found, (by_hand(z, target), v.T @ X, v.sum(0), v @ w), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(dtype: str) -> None:
    z = np.array([1e4, -1e4, 1e4, -1e4, 0.0, 1e-8], dtype)
    y = np.array([1, 0, 0, 1, 1, 0.5], dtype)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    for loss_of in (
        lambda z, y: (F.softplus(z) - y * z).sum(),
        lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum"),
    ):
        f = graphc.compile(lambda z, y, loss_of=loss_of: (loss_of(z, y), graphc.grad(loss_of(z, y), z)))
        value, gradient = f(z, y)
        np.testing.assert_allclose(value, 2e4 + 2 * np.log(2), rtol=tolerance)
        np.testing.assert_allclose(gradient, sigmoid(np.clip(z.astype(float), -700, 700)) - y, rtol=0, atol=tolerance)


def test_one_feature_has_a_closed_form() -> None:
    x, y = X[:, 0], 3 * X[:, 0] + 0.1 * X[:, 1]
    w = nn.Parameter(np.array(0.0))
    step = graphc.train_step(lambda x, y: 0.5 * ((w * x - y) ** 2).mean(), optim.SGD([w], lr=0.5))
    for _ in range(200):
        step(x, y)
    np.testing.assert_allclose(w.numpy(), x @ y / (x @ x), rtol=1e-13)


def test_a_normal_distribution_of_fitted_mean_and_deviation() -> None:
    """Of mean m and log deviation log s = x uᵀ: -log density has the derivatives (m - y)/s² and 1 - ((y - m)/s)²."""
    y = Y["real"][:, 0]
    w, u = (nn.Parameter(0.3 * RNG.standard_normal((1, D))) for _ in range(2))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        mean, log_deviation = (x @ w.T)[:, 0], (x @ u.T)[:, 0]
        return (0.5 * ((y - mean) / graphc.exp(log_deviation)) ** 2 + log_deviation + 0.5 * np.log(2 * np.pi)).mean()

    f = graphc.compile(lambda x, y: (loss(x, y), *graphc.grad(loss(x, y), [w, u])))
    value, dw, du = f(X, y)
    mean, deviation = X @ w.numpy()[0], np.exp(X @ u.numpy()[0])
    density = np.exp(-0.5 * ((y - mean) / deviation) ** 2) / np.sqrt(2 * np.pi) / deviation
    np.testing.assert_allclose(value, -np.log(density).mean(), rtol=1e-12)
    np.testing.assert_allclose(dw[0], (mean - y) / deviation**2 @ X / N, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(du[0], (1 - ((y - mean) / deviation) ** 2) @ X / N, rtol=1e-12, atol=1e-14)
    same = graphc.compile(lambda x, y: F.gaussian_nll_loss((x @ w.T)[:, 0], y, graphc.exp(2 * (x @ u.T)[:, 0]), full=True))
    np.testing.assert_allclose(same(X, y), value, rtol=1e-12)
    losses = graphc.train_step(loss, optim.Adam([w, u], lr=0.02)).run({"x": X, "y": y}, epochs=100, progress=False)["loss"]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("labels", ["int32", "int64", "float32", "float64"])
def test_a_subgradient_step_is_the_perceptron_rule(labels: str) -> None:
    y = np.sign(X @ [1.0, -2.0, 0.5, 0.0] + 0.3).astype(labels)
    model = nn.Linear(D, 1, dtype="float64")
    w, b = model.weight.numpy()[0].copy(), model.bias.numpy().copy()
    x_in, y_in = graphc.input("x", (1, D), "float64"), graphc.input("y", (1,), labels)
    z = model(x_in)[:, 0]
    step = graphc.train_step(graphc.maximum(0, -y_in * z).sum(), optim.SGD(model.parameters(), lr=1.0), outputs=graphc.sign(z))
    for i in (*range(N), *range(N)):
        _, said = step(x=X[i : i + 1], y=y[i : i + 1])
        assert said[0] == np.sign(w @ X[i] + b[0])
        if y[i] * (w @ X[i] + b[0]) < 0:
            w, b = w + y[i] * X[i], b + y[i]
    np.testing.assert_allclose(model.weight.numpy()[0], w, rtol=1e-13)
    np.testing.assert_allclose(model.bias.numpy(), b, rtol=1e-13)


@pytest.mark.parametrize("features", ["stack", "broadcast"])
def test_polynomials(features: str) -> None:
    degree, x, y = 5, X[:, 0], Y["real"][:, 0]
    w = nn.Parameter(RNG.standard_normal(degree + 1))
    x_in, y_in = graphc.input("x", (N,), "float64"), graphc.input("y", (N,), "float64")
    powers = (
        graphc.stack([x_in**k for k in range(degree + 1)], axis=1)
        if features == "stack"
        else x_in[:, None] ** np.arange(degree + 1)
    )
    loss = (0.5 * (powers @ w - y_in) ** 2).mean()
    dw, dx = graphc.compile(graphc.grad(loss, [w, x_in]))(x=x, y=y)
    vandermonde = np.vander(x, degree + 1, increasing=True)
    residual = (vandermonde @ w.numpy() - y) / N
    slope = vandermonde[:, :-1] * np.arange(1, degree + 1) @ w.numpy()[1:]
    np.testing.assert_allclose(dw, residual @ vandermonde, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dx, residual * slope, rtol=1e-11, atol=1e-13)


def test_penalties_of_any_set_of_parameters() -> None:
    model = nn.Sequential(nn.Linear(D, 5, dtype="float64"), nn.ReLU(), nn.Linear(5, K, dtype="float64"))
    model[0].weight.numpy()[0, 0] = 0.0
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    before = {p: p.numpy().copy() for p in model.parameters()}
    plain = graphc.compile(lambda x, y: graphc.grad(F.mse_loss(model(x), y), [*weights, *biases]))(X, Y["real"])

    def loss(x: Tensor, y: Tensor) -> Tensor:
        lasso = sum(graphc.abs(p).sum() for p in weights)
        ridge = sum((p**2).sum() for p in biases)
        return F.mse_loss(model(x), y) + 0.3 * lasso + 0.2 * ridge

    graphc.train_step(loss, optim.SGD(model.parameters(), lr=0.1))(X, Y["real"])
    for p, gradient in zip([*weights, *biases], plain, strict=True):
        old = before[p]
        penalty = 0.3 * np.sign(old) if p.ndim == 2 else 0.2 * 2 * old
        np.testing.assert_allclose(p.numpy(), old - 0.1 * (gradient + penalty), rtol=1e-12, atol=1e-14)
