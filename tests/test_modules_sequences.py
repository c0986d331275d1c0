"""Recurrent layers, encoder-decoder, attention and generation against loops in NumPy, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Tensor, nn, optim

RNG = np.random.default_rng(0)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cell(kind: str, x: np.ndarray, state: list[np.ndarray], p: list[np.ndarray]) -> list[np.ndarray]:
    """One step of one layer: the new state, h first. Gates in PyTorch's order: i, f, g, o; r, z, n."""
    w_ih, w_hh, b_ih, b_hh = p
    h = state[0]
    a, b = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if kind == "RNN":
        return [np.tanh(a + b)]
    if kind == "LSTM":
        i, f, g, o = np.split(a + b, 4, axis=1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    (r_a, z_a, n_a), (r_b, z_b, n_b) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
    z = sigmoid(z_a + z_b)
    return [(1 - z) * np.tanh(n_a + sigmoid(r_a + r_b) * n_b) + z * h]


def by_hand(kind: str, layer: Any, x: np.ndarray, first: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output and last states of all layers and directions, for x (T, N, features)."""
    last: list[list[np.ndarray]] = []
    for k in range(layer.num_layers):
        sides = []
        for d, suffix in enumerate(["", "_reverse"][: 1 + layer.bidirectional]):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            p = [getattr(layer, f"{name}_l{k}{suffix}").numpy() for name in names]
            state, outputs = [s[len(last)] for s in first], []
            for row in x[::-1] if d else x:
                state = cell(kind, row, state, p)
                outputs.append(state[0])
            sides.append(np.stack(outputs[::-1] if d else outputs))
            last.append(state)
        x = np.concatenate(sides, axis=2)
    return x, [np.stack(parts) for parts in zip(*last, strict=True)]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    ("layers", "both", "length", "rows"), [(1, False, 1, 1), (2, True, 5, 3), (3, True, 1, 1), (2, False, 4, 1)]
)
def test_layers_and_directions(kind: str, layers: int, both: bool, length: int, rows: int) -> None:
    layer = getattr(nn, kind)(3, 4, num_layers=layers, bidirectional=both, dtype="float64")
    states = 2 if kind == "LSTM" else 1
    first = [RNG.standard_normal((layers * (1 + both), rows, 4)) for _ in range(states)]
    x = RNG.standard_normal((length, rows, 3))

    def run(x: Tensor, *first: Tensor) -> tuple[Tensor, Any]:
        return layer(x, first if states == 2 else first[0])

    output, last = graphc.compile(run)(x, *first)
    expected, expected_last = by_hand(kind, layer, x, first)
    np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(last if states == 2 else [last], expected_last, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_back_propagation_through_time(kind: str) -> None:
    """Against central differences of the loop in NumPy, in random directions of all parameters and of the input."""
    layer = getattr(nn, kind)(2, 3, num_layers=2, bidirectional=True, dtype="float64")
    x, v = RNG.standard_normal((6, 2, 2)), RNG.standard_normal((6, 2, 6))
    first = [np.zeros((4, 2, 3))] * (2 if kind == "LSTM" else 1)
    params = list(layer.parameters())
    x_in = graphc.input("x", x.shape, "float64")
    found = graphc.compile(graphc.grad((layer(x_in)[0] * v).sum(), [*params, x_in]))(x=x)
    arrays = [*(p.numpy() for p in params), x]
    for ours, array in zip(found, arrays, strict=True):
        direction, sides = RNG.standard_normal(array.shape), []
        for step in (1e-6, -1e-6):
            array += step * direction
            sides.append((by_hand(kind, layer, x, first)[0] * v).sum())
            array -= step * direction
        np.testing.assert_allclose((ours * direction).sum(), (sides[0] - sides[1]) / 2e-6, rtol=1e-6, atol=1e-7)


def test_the_recurrence_of_the_lectures_as_a_scan() -> None:
    """h_t = tanh(W0ᵀ x_t + W1ᵀ h_{t-1}); the gradient is the sum over t that unrolling gives."""
    w0, w1 = nn.Parameter(RNG.standard_normal((3, 4))), nn.Parameter(0.4 * RNG.standard_normal((4, 4)))
    x = RNG.standard_normal((7, 2, 3))

    def step(h: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        h = graphc.tanh(now @ w0 + h @ w1)
        return h, h

    x_in = graphc.input("x", x.shape, "float64")
    last, every = graphc.scan(step, graphc.zeros((2, 4), dtype="float64"), x_in)
    found = graphc.compile([every, *graphc.grad((every**2).sum() + last.sum(), [w0, w1, x_in])])(x=x)
    h = [np.zeros((2, 4))]
    for now in x:
        h.append(np.tanh(now @ w0.numpy() + h[-1] @ w1.numpy()))
    d0, d1, dx, v = np.zeros((3, 4)), np.zeros((4, 4)), np.zeros_like(x), np.ones((2, 4))
    for t in reversed(range(7)):
        u = (v + 2 * h[t + 1]) * (1 - h[t + 1] ** 2)
        d0, d1, dx[t], v = d0 + x[t].T @ u, d1 + h[t].T @ u, u @ w0.numpy().T, u @ w1.numpy().T
    for ours, theirs in zip(found, (np.stack(h[1:]), d0, d1, dx), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_compile_time_does_not_grow_with_the_length() -> None:
    sizes = []
    for length in (16, 4096):
        lstm = nn.LSTM(4, 8)
        x = graphc.input("x", (length, 1, 4))
        sizes.append(len(graphc.train_step((lstm(x)[0] ** 2).mean(), optim.SGD(lstm.parameters(), lr=0.1)).dump("program")))
    assert sizes[1] < 1.3 * sizes[0]


def test_embedding_adds_up_what_repeats() -> None:
    table = nn.Embedding(5, 3, padding_idx=2, dtype="float64")
    rows, v = np.array([[0, 4, 4], [2, 0, 4]]), RNG.standard_normal((2, 3, 3))
    i = graphc.input("i", rows.shape, "int64")
    y = table(i)
    found, gradient = graphc.compile([y, graphc.grad((y * v).sum(), table.weight)])(i=rows)
    np.testing.assert_array_equal(found, table.weight.numpy()[rows])
    expected = np.zeros((5, 3))
    np.add.at(expected, rows, v)
    expected[2] = 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)


@pytest.mark.parametrize("mask", ["none", "causal", "padding", "additive", "both"])
def test_attention_under_masks(mask: str) -> None:
    q, k, v = (RNG.standard_normal((2, 3, 5, 4)) for _ in range(3))
    sees = np.ones((2, 1, 5, 5), bool)
    if mask in ("causal", "both"):
        sees &= np.tril(np.ones((5, 5), bool))
    if mask in ("padding", "both"):
        sees &= np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)[:, None, None]
    bias = RNG.standard_normal((5, 5)) if mask == "additive" else np.zeros((5, 5))
    options: dict[str, Any] = {"attn_mask": bias if mask == "additive" else sees}
    if mask == "causal":
        options = {"is_causal": True}
    f = graphc.compile(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
    weights = softmax(np.where(sees, q @ k.swapaxes(-1, -2) / 2 + bias, -np.inf))
    np.testing.assert_allclose(f(q, k, v), weights @ v, rtol=1e-12, atol=1e-13)


class Speller(nn.Module):
    """Characters to logits of the next: an embedding, two layers of LSTM, a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 4), nn.LSTM(4, 6, num_layers=2)
        self.head = nn.Linear(6, 7)

    def forward(self, i: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.lstm(self.embed(i), state)
        return self.head(y), state


@pytest.mark.parametrize("sampled", [False, True])
def test_generation_from_a_compiled_step(sampled: bool) -> None:
    """The step holds the recurrent state and the last character; what it says is what the whole text so far would say."""
    model = Speller()
    h, c = (graphc.state(name, np.zeros((2, 1, 6), "f4")) for name in "hc")
    last = graphc.state("last", np.array([[3]], "int32"))
    logits, (new_h, new_c) = model(last, (h, c))
    chosen = graphc.random.categorical(logits) if sampled else graphc.argmax(logits, axis=-1)
    chosen = graphc.astype(chosen, "int32")
    step = graphc.compile((chosen, logits), updates={h: new_h, c: new_c, last: chosen}, seed=5)
    whole = graphc.compile(lambda i: model(i)[0])
    text = [3]
    for _ in range(8):
        found, score = step()
        expected = whole(np.array(text, np.int32)[:, None])[-1:]
        np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-6)
        assert sampled or found[0, 0] == expected.argmax()
        text.append(int(found[0, 0]))
    assert not sampled or len(set(text)) > 2


def test_encoder_and_decoder_with_attention_learn_to_reverse() -> None:
    """Queries of the decoder, keys and values of the encoder; padding is not looked at."""

    class Reverser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(8, 16)
            self.encoder, self.decoder = nn.GRU(16, 32, batch_first=True), nn.GRU(16, 32, batch_first=True)
            self.query, self.head = nn.Linear(32, 32, bias=False), nn.Linear(64, 8)

        def forward(self, source: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
            memory, last = self.encoder(self.embed(source))
            states, _ = self.decoder(self.embed(before), last)
            scores = self.query(states) @ graphc.matrix_transpose(memory) / 32**0.5
            weights = F.softmax(graphc.where((source != 0)[:, None], scores, -np.inf), dim=-1)
            return self.head(graphc.concat([states, weights @ memory], axis=-1)), weights

    rng = np.random.default_rng(1)
    target = rng.integers(1, 8, (256, 5)).astype(np.int32)
    source = np.pad(target[:, ::-1], ((0, 0), (0, 2)))
    before = np.pad(target[:, :-1], ((0, 0), (1, 0)))
    graphc.manual_seed(0)
    model = Reverser()

    def loss(source: Tensor, before: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(graphc.reshape(model(source, before)[0], (-1, 8)), graphc.reshape(target, (-1,)))

    step = graphc.train_step(loss, optim.Adam(model.parameters(), lr=0.01), transform=optim.clip_grad_norm(1.0))
    step.run(
        {"source": source, "before": before, "target": target}, epochs=40, batch_size=32, shuffle=True, seed=0, progress=False
    )
    logits, weights = graphc.compile(model)(source, before)
    assert np.mean(logits.argmax(-1) == target) > 0.9
    assert np.all(weights[:, :, 5:] == 0)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
