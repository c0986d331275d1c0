"""Activations against their formulas in f64, at kinks and extremes, and against central differences of first and second order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numeric import call, check_gradients, gradients

import graphc
import graphc.nn.functional as F
from graphc import nn


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=["f8"])(x)


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805

# function, module, options, formula, values of x at kinks with PyTorch's derivative there
CASES: list[tuple[str, str, dict[str, Any], Callable[[np.ndarray], np.ndarray], dict[float, float]]] = [
    ("relu", "ReLU", {}, lambda x: np.maximum(x, 0), {0: 0}),
    ("leaky_relu", "LeakyReLU", {}, lambda x: np.where(x > 0, x, 0.01 * x), {0: 0.01}),
    ("leaky_relu", "LeakyReLU", {"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x), {0: 0.3}),
    ("relu6", "ReLU6", {}, lambda x: np.clip(x, 0, 6), {0: 0, 6: 0}),
    ("hardtanh", "Hardtanh", {}, lambda x: np.clip(x, -1, 1), {-1: 0, 1: 0}),
    ("hardtanh", "Hardtanh", {"min_val": -2.0, "max_val": 0.5}, lambda x: np.clip(x, -2, 0.5), {-2: 0, 0.5: 0}),
    ("hardsigmoid", "Hardsigmoid", {}, lambda x: np.clip(x / 6 + 0.5, 0, 1), {-3: 0, 3: 0}),
    ("hardswish", "Hardswish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {-3: 0, 3: 1}),
    ("sigmoid", "Sigmoid", {}, sigmoid, {}),
    ("tanh", "Tanh", {}, np.tanh, {}),
    ("logsigmoid", "LogSigmoid", {}, lambda x: -np.logaddexp(0, -x), {0: 0.5}),
    ("softsign", "Softsign", {}, lambda x: x / (1 + np.abs(x)), {0: 1}),
    ("softplus", "Softplus", {}, lambda x: np.logaddexp(0, x), {0: 0.5}),
    ("softplus", "Softplus", {"beta": 2.0, "threshold": 50.0}, lambda x: np.logaddexp(0, 2 * x) / 2, {0: 0.5}),
    ("silu", "SiLU", {}, lambda x: x * sigmoid(x), {}),
    ("mish", "Mish", {}, lambda x: x * np.tanh(np.logaddexp(0, x)), {}),
    ("gelu", "GELU", {}, lambda x: x / 2 * (1 + erf(x / math.sqrt(2))), {}),
    (
        "gelu",
        "GELU",
        {"approximate": "tanh"},
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        {},
    ),
    ("elu", "ELU", {}, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), {0: 1}),
    ("elu", "ELU", {"alpha": 0.3}, lambda x: np.where(x > 0, x, 0.3 * np.expm1(np.minimum(x, 0))), {0: 0.3}),
    ("celu", "CELU", {"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)), {0: 1}),
    ("selu", "SELU", {}, lambda x: SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0))), {0: SCALE * ALPHA}),
]
each = pytest.mark.parametrize(
    ("name", "module", "options", "formula", "kinks"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)


@each
def test_formula(name: str, module: str, options: Any, formula: Any, kinks: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in ((), (7,), (2, 3, 5), (0, 4)):
        x = rng.normal(0, 3, shape)
        for function in (lambda x: getattr(F, name)(x, **options), getattr(nn, module)(**options)):
            np.testing.assert_allclose(call(function, x), formula(x), rtol=1e-12, atol=1e-14)
            assert call(function, x.astype("f4") if shape else np.float32(x)).dtype == np.float32
    # a constant and integers become floats
    assert call(lambda x: getattr(F, name)(x, **options), np.array([-2, 3])).dtype in (np.float32, np.int64)


@each
def test_derivatives(name: str, module: str, options: Any, formula: Any, kinks: Any) -> None:
    def f(x: graphc.Tensor) -> graphc.Tensor:
        return getattr(F, name)(x, **options)

    check_gradients(f, np.array([-4.3, -1.7, -0.6, -0.1, 0.2, 0.9, 2.4, 5.5]), tolerance=2e-6)
    for x, derivative in kinks.items():
        assert gradients(f, np.array(float(x)))[0] == pytest.approx(derivative), x


@each
def test_extremes(name: str, module: str, options: Any, formula: Any, kinks: Any) -> None:
    def f(x: graphc.Tensor) -> graphc.Tensor:
        return getattr(F, name)(x, **options)

    for dtype in ("f4", "f8"):
        assert np.isnan(call(f, np.array([np.nan], dtype))).all()
        x = np.array([1e4, -1e4, 700.0, -700.0, 1e-30, -1e-30], dtype)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(call(f, x), formula(x.astype("f8")), rtol=1e-6, atol=1e-37)
        assert np.isfinite(gradients(f, x)[0]).all()


def test_small_values_keep_their_digits() -> None:
    x = np.array([-30.0, -80.0, 5.0], "f4")
    np.testing.assert_allclose(call(F.softplus, x), np.logaddexp(0, x.astype("f8")), rtol=1e-6)
    np.testing.assert_allclose(call(F.logsigmoid, -x), -np.logaddexp(0, x.astype("f8")), rtol=1e-6)
    np.testing.assert_allclose(gradients(F.softplus, x)[0], sigmoid(x.astype("f8")), rtol=1e-6)
    np.testing.assert_allclose(call(F.elu, np.array([-1e-6], "f4")), [-1e-6], rtol=1e-5)
    # beyond the threshold softplus is the identity
    assert call(lambda x: F.softplus(x, threshold=1.0), np.array([1.5, 1.0])).tolist() == [1.5, pytest.approx(np.log1p(np.e))]


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize(
    ("name", "module", "formula"),
    [
        ("softmax", "Softmax", softmax),
        ("log_softmax", "LogSoftmax", lambda x, axis: np.log(softmax(x, axis))),
        ("softmin", "Softmin", lambda x, axis: softmax(-x, axis)),
    ],
)
def test_softmax(name: str, module: str, formula: Any) -> None:
    rng = np.random.default_rng(1)
    for shape, dim in (((5,), 0), ((3, 4), 1), ((3, 4), 0), ((2, 3, 4), -2), ((3, 1), 1)):
        x = rng.normal(0, 3, shape)
        np.testing.assert_allclose(call(lambda x: getattr(F, name)(x, dim), x), formula(x, dim), rtol=1e-12)  # noqa: B023
        np.testing.assert_allclose(call(getattr(nn, module)(dim), x), formula(x, dim), rtol=1e-12)
    check_gradients(lambda x: getattr(F, name)(x, 1), rng.normal(size=(2, 3)))
    large = np.array([[1e4, 1e4 - 1, -1e4], [3e38, 0, -3e38]], "f4")
    assert (
        np.isfinite(call(lambda x: F.softmax(x, 1), large)).all()
        and np.isfinite(gradients(lambda x: F.softmax(x, 1), large)[0]).all()
    )
    assert call(lambda x: getattr(F, name)(x, -1), np.zeros((3, 0))).shape == (3, 0)
    assert call(lambda x: getattr(F, name)(x, 0, dtype="f64"), np.zeros(3, "f4")).dtype == np.float64
    x = graphc.input("x", (2, 3))
    with pytest.raises(graphc.InputError, match=f"{name}: dim must be given"):
        getattr(F, name)(x)
    with pytest.raises(graphc.ShapeError, match="dim 2 is out of range"):
        getattr(F, name)(x, dim=2)


def test_glu_and_prelu() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 4, 2))
    np.testing.assert_allclose(call(lambda x: F.glu(x, 1), x), x[:, :2] * sigmoid(x[:, 2:]))
    check_gradients(nn.GLU(-1), x[0], order=1)
    w = rng.random(4)
    np.testing.assert_allclose(call(F.prelu, x, w), np.where(x > 0, x, x * w[:, None]))
    check_gradients(F.prelu, x[:1], w, order=1)
    assert nn.PReLU(4, 0.1, dtype="f64").state_dict()["weight"].tolist() == [0.1] * 4
    with pytest.raises(graphc.ShapeError, match="has no two halves"):
        F.glu(graphc.input("x", (3, 3)))
    with pytest.raises(graphc.ShapeError, match="weight must have 1 or 4 elements"):
        F.prelu(graphc.input("x", (3, 4)), w[:3])


def test_options_that_cannot_be_kept_are_refused() -> None:
    x = graphc.input("x", (3,))
    for name in ("relu", "relu6", "leaky_relu", "hardtanh", "silu", "mish", "elu", "celu", "selu", "hardsigmoid", "hardswish"):
        with pytest.raises(graphc.InputError, match=f"{name}: inplace=True is not supported"):
            getattr(F, name)(x, inplace=True)
    for module in (nn.ReLU, nn.SiLU, nn.ELU):
        assert module(inplace=False)(x).shape == (3,)
        with pytest.raises(graphc.InputError, match="inplace=True is not supported"):
            module(inplace=True)
    with pytest.raises(graphc.InputError, match="gelu: approximate must be one of 'none', 'tanh', not 'sigmoid'"):
        F.gelu(x, approximate="sigmoid")
    with pytest.raises(graphc.InputError, match="leaky_relu: negative_slope must be a number, not 'a'"):
        F.leaky_relu(x, "a")  # type: ignore[arg-type]
    with pytest.raises(graphc.InputError, match="hardtanh: min_val must not exceed max_val"):
        F.hardtanh(x, 1.0, -1.0)
    with pytest.raises(graphc.InputError, match="beta must not be 0"):
        F.softplus(x, beta=0.0)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        F.relu(x, approximate="tanh")  # type: ignore[call-arg]
