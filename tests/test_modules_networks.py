"""Feed-forward and convolutional networks: forward passes and gradients written out in NumPy, in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import erf
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Tensor, nn, optim

RNG = np.random.default_rng(0)
F64 = {"dtype": "float64"}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def normal_cdf(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.vectorize(erf)(z / np.sqrt(2)))


def density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def tanh_gelu(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2)


# module, and by hand the activation and its derivative
ACTIVATIONS: dict[str, tuple[nn.Module, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]] = {
    "identity": (nn.Identity(), lambda z: (z, np.ones_like(z))),
    "ReLU": (nn.ReLU(), lambda z: (np.maximum(z, 0), (z > 0) * 1.0)),
    "leaky ReLU": (nn.LeakyReLU(0.2), lambda z: (np.maximum(z, 0.2 * z), np.where(z > 0, 1, 0.2))),
    "sigmoid": (nn.Sigmoid(), lambda z: (sigmoid(z), sigmoid(z) * sigmoid(-z))),
    "tanh": (nn.Tanh(), lambda z: (np.tanh(z), 1 - np.tanh(z) ** 2)),
    "GELU": (nn.GELU(), lambda z: (z * normal_cdf(z), normal_cdf(z) + z * density(z))),
    "GELU by tanh": (nn.GELU(approximate="tanh"), tanh_gelu),
    "softplus": (nn.Softplus(beta=2.0), lambda z: (np.logaddexp(0, 2 * z) / 2, sigmoid(2 * z))),
    "SiLU": (nn.SiLU(), lambda z: (z * sigmoid(z), sigmoid(z) * (1 + z * sigmoid(-z)))),
    "ELU": (nn.ELU(1.5), lambda z: (np.where(z > 0, z, 1.5 * np.expm1(z)), np.where(z > 0, 1, 1.5 * np.exp(np.minimum(z, 0))))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_back_propagation_by_hand(name: str) -> None:
    """a_k = s(W_k a_{k-1} + b_k), the last layer linear: v_{k-1} = W_kᵀ (v_k ⊙ s'(z_k))."""
    module, by_hand = ACTIVATIONS[name]
    sizes = (3, 5, 4, 2)
    layers = [nn.Linear(a, b, **F64) for a, b in pairwise(sizes)]
    model = nn.Sequential(layers[0], module, layers[1], module, layers[2])
    assert sum(p.size for p in model.parameters()) == sum((a + 1) * b for a, b in pairwise(sizes))
    x, y = RNG.standard_normal((6, 3)), RNG.standard_normal((6, 2))
    x[0] = 0
    layers[0].bias.assign(np.zeros(5))  # so that some z are 0, at the kink
    x_in = graphc.input("x", (6, 3), "float64")
    found = graphc.compile(graphc.grad((0.5 * (model(x_in) - y) ** 2).sum(), [*model.parameters(), x_in]))(x=x)

    weights = [(layer.weight.numpy(), layer.bias.numpy()) for layer in layers]
    inputs, slopes = [x], []
    for w, b in weights[:-1]:
        a, slope = by_hand(inputs[-1] @ w.T + b)
        inputs.append(a)
        slopes.append(slope)
    v = inputs[-1] @ weights[-1][0].T + weights[-1][1] - y
    expected: list[np.ndarray] = []
    for k in reversed(range(3)):
        expected[:0] = [v.T @ inputs[k], v.sum(0)]
        v = v @ weights[k][0] * (slopes[k - 1] if k else 1)
    for ours, theirs in zip(found, [*expected, v], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_the_housing_network() -> None:
    theta = [nn.Parameter(np.array(value)) for value in RNG.standard_normal(12)]
    x, y = RNG.standard_normal((7, 4)), RNG.standard_normal(7)

    def network(x: Any, t: Any, relu: Any) -> tuple[Any, list[Any]]:
        x1, x2, x3, x4 = (x[:, k] for k in range(4))
        z = [t[0] * x1 + t[1] * x2 + t[2], t[3] * x3 + t[4], t[5] * x3 + t[6] * x4 + t[7]]
        a = [relu(one) for one in z]
        return t[8] * a[0] + t[9] * a[1] + t[10] * a[2] + t[11], a

    f = graphc.compile(lambda x, y: graphc.grad((0.5 * (network(x, theta, F.relu)[0] - y) ** 2).sum(), theta))
    found = f(x, y)
    values = [float(t.numpy()) for t in theta]
    out, a = network(x, values, lambda z: np.maximum(z, 0))
    v = out - y
    u = [v * values[8 + k] * (a[k] > 0) for k in range(3)]
    one = np.ones(7)
    factors = [(u[0], x[:, 0]), (u[0], x[:, 1]), (u[0], one), (u[1], x[:, 2]), (u[1], one), (u[2], x[:, 2]), (u[2], x[:, 3])]
    factors += [(u[2], one), (v, a[0]), (v, a[1]), (v, a[2]), (v, one)]
    np.testing.assert_allclose(found, [p @ q for p, q in factors], rtol=1e-12, atol=1e-13)


class Residual(nn.Module):
    """U z + relu(W₂ relu(W₁ z)), with the identity for U where the size stays."""

    def __init__(self, size: int, hidden: int, out: int):
        super().__init__()
        self.first, self.second = nn.Linear(size, hidden, **F64), nn.Linear(hidden, out, **F64)
        self.project = nn.Identity() if size == out else nn.Linear(size, out, bias=False, **F64)

    def forward(self, z: Tensor) -> Tensor:
        return self.project(z) + F.relu(self.second(F.relu(self.first(z))))


def test_residual_blocks_and_a_projection() -> None:
    blocks = [Residual(4, 6, 4), Residual(4, 5, 7)]
    model = nn.Sequential(*blocks, nn.Linear(7, 1, **F64))
    x = RNG.standard_normal((5, 4))
    z = x
    for block in blocks:
        hidden = np.maximum(z @ block.first.weight.numpy().T + block.first.bias.numpy(), 0)
        z = (z if block is blocks[0] else z @ block.project.weight.numpy().T) + np.maximum(
            hidden @ block.second.weight.numpy().T + block.second.bias.numpy(), 0
        )
    expected = z @ model[2].weight.numpy().T + model[2].bias.numpy()
    np.testing.assert_allclose(graphc.compile(model)(x), expected, rtol=1e-12, atol=1e-13)
    step = graphc.train_step(lambda x: ((model(x) - 1) ** 2).mean(), optim.Adam(model.parameters(), lr=0.02))
    losses = [float(step(x)) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("scale", [1e-3, 0.5, 7.0, 1e4])
def test_layer_norm_forgets_the_scale_of_the_map_before_it(scale: float) -> None:
    x, w, b = RNG.standard_normal((6, 5)), RNG.standard_normal((4, 5)), RNG.standard_normal(4)
    f = graphc.compile(lambda x, w, b: F.layer_norm(F.linear(x, w, b), (4,), eps=0.0))
    np.testing.assert_allclose(f(x, scale * w, scale * b), f(x, w, b), rtol=1e-10, atol=1e-11)


def convolved(x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int, groups: int) -> np.ndarray:
    """By the definition: sums over the channels of a group and the positions of the kernel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows = (x.shape[2] - dilation * (w.shape[2] - 1) - 1) // stride + 1
    columns = (x.shape[3] - dilation * (w.shape[3] - 1) - 1) // stride + 1
    y = np.zeros((len(x), len(w), rows, columns))
    size = w.shape[1]
    for k in range(len(w)):
        group = k // (len(w) // groups)
        for i, j in np.ndindex(rows, columns):
            part = x[:, group * size : (group + 1) * size, i * stride :, j * stride :]
            part = part[:, :, : dilation * w.shape[2] : dilation, : dilation * w.shape[3] : dilation]
            y[:, k, i, j] = (part[:, :, : w.shape[2], : w.shape[3]] * w[k]).sum((1, 2, 3))
    return y


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({}, (3, 2)),
        ({"stride": 2, "padding": 1}, (2, 3)),
        ({"dilation": 2, "padding": 2, "groups": 2}, (4, 2)),
        ({"groups": 4}, (4, 4)),
    ],
)
def test_convolution_and_its_three_gradients(options: dict[str, int], channels: tuple[int, int]) -> None:
    """The map is linear in each operand, so <v, conv(x, w)> says all about the gradients."""
    into, out = channels
    layer = nn.Conv2d(into, out, (3, 2), **options, **F64)
    assert sum(p.size for p in layer.parameters()) == out * 3 * 2 * into // options.get("groups", 1) + out
    x = RNG.standard_normal((2, into, 7, 6))
    everything = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    w, b = layer.weight.numpy(), layer.bias.numpy()
    expected = convolved(x, w, **everything) + b[:, None, None]
    v = RNG.standard_normal(expected.shape)
    x_in = graphc.input("x", x.shape, "float64")
    y = layer(x_in)
    found, dx, dw, db = graphc.compile([y, *graphc.grad((y * v).sum(), [x_in, layer.weight, layer.bias])])(x=x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(db, v.sum((0, 2, 3)), rtol=1e-12)
    for gradient, at, other in (
        (dx, x, lambda d: convolved(d, w, **everything)),
        (dw, w, lambda d: convolved(x, d, **everything)),
    ):
        direction = RNG.standard_normal(at.shape)
        np.testing.assert_allclose((gradient * direction).sum(), (other(direction) * v).sum(), rtol=1e-11)


def test_transposed_convolution_is_the_adjoint() -> None:
    x, y = RNG.standard_normal((2, 3, 9, 8)), RNG.standard_normal((2, 4, 5, 4))
    w = RNG.standard_normal((4, 3, 3, 2))
    there = graphc.compile(lambda x: F.conv2d(x, w, stride=2, padding=(1, 0)))(x)
    back = graphc.compile(lambda y: F.conv_transpose2d(y, w, stride=2, padding=(1, 0)))(y)
    assert there.shape == y.shape and back.shape == (2, 3, 9, 8)
    np.testing.assert_allclose((there * y).sum(), (back * x).sum(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_without_overlap(kind: str) -> None:
    x, v = RNG.standard_normal((2, 3, 6, 4)), RNG.standard_normal((2, 3, 3, 2))
    pool = nn.MaxPool2d(2) if kind == "max" else nn.AvgPool2d(2)
    x_in = graphc.input("x", x.shape, "float64")
    y = pool(x_in)
    found, gradient = graphc.compile([y, graphc.grad((y * v).sum(), x_in)])(x=x)
    blocks = x.reshape(2, 3, 3, 2, 2, 2)
    best = blocks.max((3, 5), keepdims=True)
    spread = v[:, :, :, None, :, None] * ((blocks == best) if kind == "max" else 0.25)
    np.testing.assert_allclose(found, best[:, :, :, 0, :, 0] if kind == "max" else blocks.mean((3, 5)), rtol=1e-13)
    np.testing.assert_allclose(gradient, np.broadcast_to(spread, blocks.shape).reshape(x.shape), rtol=1e-13)
    everywhere = graphc.compile(lambda x: (F.adaptive_avg_pool2d(x, 1)[..., 0, 0], x.mean(axis=(2, 3)), nn.Flatten()(x)))(x)
    np.testing.assert_allclose(everywhere[0], x.mean((2, 3)), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(everywhere[0], everywhere[1], rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(everywhere[2], x.reshape(2, -1))
