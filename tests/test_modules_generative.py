"""Generative models: the identities that each must satisfy, in float64, and that training improves what it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Tensor, nn, optim

RNG = np.random.default_rng(0)
X = RNG.random((8, 6))
F64 = {"dtype": "float64"}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def train(loss: Callable[..., Tensor], params: nn.Module, steps: int, x: np.ndarray = X) -> list[float]:
    step = graphc.train_step(loss, optim.Adam(params.parameters(), lr=0.02))
    return [float(step(x)) for _ in range(steps)]


@pytest.mark.parametrize("output", ["Bernoulli", "normal", "normal of learned deviation"])
def test_autoencoders(output: str) -> None:
    """A linear autoencoder; the gradient of its decoder is (p - x) hᵀ for Bernoulli, and for unit normal, output."""
    learned = output == "normal of learned deviation"
    encoder, decoder = nn.Linear(6, 2, **F64), nn.Linear(2, 12 if learned else 6, **F64)

    def loss(x: Tensor) -> Tensor:
        z = decoder(encoder(x))
        if output == "Bernoulli":
            return F.binary_cross_entropy_with_logits(z, x, reduction="sum") / len(X)
        if output == "normal":
            return 0.5 * ((z - x) ** 2).sum() / len(X)
        mean, log_deviation = graphc.split(z, 2, axis=1)
        return F.gaussian_nll_loss(mean, x, graphc.exp(2 * log_deviation), reduction="sum") / len(X)

    if not learned:
        gradient = graphc.compile(lambda x: graphc.grad(loss(x), decoder.weight))(X)
        h = X @ encoder.weight.numpy().T + encoder.bias.numpy()
        z = h @ decoder.weight.numpy().T + decoder.bias.numpy()
        expected = ((sigmoid(z) if output == "Bernoulli" else z) - X).T @ h / len(X)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)
    losses = train(loss, nn.ModuleList([encoder, decoder]), 60)
    assert losses[-1] < losses[0] - 0.1


def test_variational_autoencoder() -> None:
    """z = m + exp(½ l) ε with the ε that the step has drawn: gradients of loss = reconstruction + divergence by hand."""
    encoder, decoder = nn.Linear(6, 4, **F64), nn.Linear(2, 6, **F64)
    x = graphc.input("x", X.shape, "float64")
    mean, log_variance = graphc.split(encoder(x), 2, axis=1)
    noise = graphc.random.normal(mean.shape, dtype="float64")
    z = mean + graphc.exp(0.5 * log_variance) * noise
    reconstruction = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    divergence = 0.5 * (mean**2 + graphc.exp(log_variance) - 1 - log_variance).sum()
    params = [encoder.weight, decoder.weight]
    f = graphc.compile([reconstruction, divergence, noise, *graphc.grad(reconstruction + divergence, params)])
    seen = []
    for _ in range(50):
        value, kl, e, d_encoder, d_decoder = f(x=X)
        seen.append(e)
    m, log_v = np.split(X @ encoder.weight.numpy().T + encoder.bias.numpy(), 2, axis=1)
    s = np.exp(0.5 * log_v)
    code = m + s * e
    logits = code @ decoder.weight.numpy().T + decoder.bias.numpy()
    np.testing.assert_allclose(value, (np.logaddexp(0, logits) - X * logits).sum(), rtol=1e-12)
    np.testing.assert_allclose(kl, 0.5 * (m**2 + s**2 - 1 - np.log(s**2)).sum(), rtol=1e-11)
    v = sigmoid(logits) - X
    u = v @ decoder.weight.numpy()
    slope = np.concatenate([u + m, u * 0.5 * s * e + 0.5 * (s**2 - 1)], axis=1)
    np.testing.assert_allclose(d_decoder, v.T @ code, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(d_encoder, slope.T @ X, rtol=1e-11, atol=1e-13)
    draws = np.stack(seen)
    assert np.unique(draws).size == draws.size
    assert abs(draws.mean()) < 0.15 and abs(draws.std() - 1) < 0.1


def test_denoising_diffusion_of_a_point() -> None:
    """Of data at one point c, x_t = √a c + √(1 - a) ε, so the right answer is ε = (x_t - √a c)/√(1 - a): it has loss 0, and
    sampling with it ends at c, from whatever it starts."""
    signal = np.cos(np.linspace(0.05, 0.98, 21) * np.pi / 2) ** 2
    table, c = graphc.constant(signal), np.array([1.5, -0.5])

    def answer(x: Tensor, a: Tensor) -> Tensor:
        return (x - graphc.sqrt(a) * c) / graphc.sqrt(1 - a)

    def loss(x: Tensor) -> Tensor:
        t = graphc.astype(graphc.random.uniform((x.shape[0],), 1, 21), "int32")
        a, noise = graphc.take(table, t)[:, None], graphc.random.normal(x.shape, dtype="float64")
        return ((answer(graphc.sqrt(a) * x + graphc.sqrt(1 - a) * noise, a) - noise) ** 2).mean()

    assert graphc.compile(loss)(np.tile(c, (50, 1))) < 1e-25

    x, t = graphc.state("x", RNG.standard_normal((4, 2))), graphc.state("t", np.array(20))
    a, before = graphc.take(table, t), graphc.take(table, t - 1)
    ratio = a / before
    mean = (x - (1 - ratio) / graphc.sqrt(1 - a) * answer(x, a)) / graphc.sqrt(ratio)
    spread = graphc.sqrt((1 - before) / (1 - a) * (1 - ratio))
    step = graphc.compile(t, updates={x: mean + spread * graphc.random.normal(x.shape, dtype="float64"), t: t - 1})
    while step() > 1:
        pass
    np.testing.assert_allclose(x.numpy(), np.tile(c, (4, 1)), atol=0.25)  # √(1 - a_0) is 0.08
    assert t.numpy() == 0


def test_adversarial_networks_take_turns() -> None:
    """Two losses, two optimizers, one batch norm called twice in the critic's step: its running mean moves twice."""
    graphc.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 5, **F64), nn.BatchNorm1d(5, **F64), nn.ReLU(), nn.Linear(5, 3, **F64))
    critic = nn.Sequential(nn.Linear(3, 4, **F64), nn.BatchNorm1d(4, **F64), nn.LeakyReLU(0.2), nn.Linear(4, 1, **F64))
    x, z = graphc.input("x", (8, 3), "float64"), graphc.input("z", (8, 2), "float64")
    fake = graphc.stop_gradient(generator(z))
    critic_loss = F.softplus(-critic(x)).mean() + F.softplus(critic(fake)).mean()
    generator_loss = F.softplus(-critic(generator(z))).mean()
    critic_step = graphc.train_step(critic_loss, optim.SGD(critic.parameters(), lr=0.1), outputs={"fake": fake})
    generator_step = graphc.train_step(generator_loss, optim.SGD(generator.parameters(), lr=0.1))

    rng = np.random.default_rng(1)
    real, noise = rng.standard_normal((8, 3)) + 2, rng.standard_normal((8, 2))
    first, norm = critic[0], critic[1]
    w, b = first.weight.numpy().copy(), first.bias.numpy().copy()
    kept = [p.numpy().copy() for p in generator.parameters()]
    _, out = critic_step(x=real, z=noise)
    mean, variance = np.zeros(4), np.ones(4)
    for batch in (real, out["fake"]):
        h = batch @ w.T + b
        mean, variance = 0.9 * mean + 0.1 * h.mean(0), 0.9 * variance + 0.1 * h.var(0, ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-12)
    assert norm.num_batches_tracked.numpy() == 2
    assert all(np.array_equal(p.numpy(), old) for p, old in zip(generator.parameters(), kept, strict=True))

    kept = [p.numpy().copy() for p in critic.parameters()]
    before = generator_step(z=noise)
    assert all(np.array_equal(p.numpy(), old) for p, old in zip(critic.parameters(), kept, strict=True))
    assert norm.num_batches_tracked.numpy() == 3
    for _ in range(50):
        after = generator_step(z=noise)
    assert after < before
    told = [float(critic_step(x=real, z=noise)[0]) for _ in range(100)]
    assert told[-1] < told[0]


class Coupling(nn.Module):
    """(a, b) -> (a, b e^s + t) with s, t of a; or of b, where swapped. log |det| is Σ s."""

    def __init__(self, swap: bool):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8, **F64), nn.Tanh(), nn.Linear(8, 4, **F64))
        self.swap = swap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = graphc.split(x, 2, axis=1)[:: -1 if self.swap else 1]
        s, t = graphc.split(self.net(a), 2, axis=1)
        s = graphc.tanh(s)
        parts = [a, b * graphc.exp(s) + t][:: -1 if self.swap else 1]
        return graphc.concat(parts, axis=1), s.sum(axis=1)

    def inverse(self, y: Tensor) -> Tensor:
        a, b = graphc.split(y, 2, axis=1)[:: -1 if self.swap else 1]
        s, t = graphc.split(self.net(a), 2, axis=1)
        return graphc.concat([a, (b - t) * graphc.exp(-graphc.tanh(s))][:: -1 if self.swap else 1], axis=1)


def test_the_likelihood_of_a_flow_is_exact() -> None:
    layers = nn.ModuleList([Coupling(k % 2 == 1) for k in range(4)])

    def density(x: Tensor) -> tuple[Tensor, Tensor]:
        total = graphc.zeros((x.shape[0],), dtype="float64")
        for layer in layers:
            x, log_det = layer(x)
            total = total + log_det
        return total - 0.5 * (x**2).sum(axis=1) - 2 * np.log(2 * np.pi), x

    def back(z: Tensor) -> Tensor:
        for layer in reversed(list(layers)):
            z = layer.inverse(z)
        return z

    x = RNG.standard_normal((64, 4))
    x[:, 2] = x[:, 0] ** 2 + 0.1 * x[:, 2]
    likelihood, z = graphc.compile(density)(x)
    np.testing.assert_allclose(graphc.compile(back)(z), x, rtol=1e-11, atol=1e-12)
    one = graphc.input("one", (1, 4), "float64")
    jacobian = graphc.compile(graphc.stack([graphc.grad(density(one)[1][0, k], one)[0] for k in range(4)]))
    for row in range(3):
        expected = np.linalg.slogdet(jacobian(one=x[row : row + 1]))[1] - 0.5 * (z[row] ** 2).sum() - 2 * np.log(2 * np.pi)
        np.testing.assert_allclose(likelihood[row], expected, rtol=1e-11)
    losses = train(lambda x: -density(x)[0].mean(), layers, 150, x)
    assert losses[-1] < losses[0] - 0.5
