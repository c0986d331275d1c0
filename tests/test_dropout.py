"""Dropout: how often, how much, in which mode, and that its mask is not stored."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

N = 100_000


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_stays_is_scaled(p: float, dtype: str) -> None:
    x = np.random.default_rng(0).uniform(1, 2, (N // 8, 8)).astype(dtype)
    drop = graphc.compile(nn.Dropout(p), training=True, seed=3)
    first, second = drop(x), drop(x)
    kept = first != 0
    assert first.dtype == dtype and abs(kept.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / N)
    np.testing.assert_allclose(first[kept], x[kept] / (1 - p), rtol=1e-6)
    assert np.abs(kept.mean(0) - (1 - p)).max() < 0.03  # no column is favoured
    assert abs(((first != 0) == (second != 0)).mean() - (p * p + (1 - p) ** 2)) < 0.02  # the next call draws afresh
    assert np.array_equal(graphc.compile(nn.Dropout(p), training=True, seed=3)(x), first)  # the same seed, the same mask


def test_modes() -> None:
    x = np.ones((50, 20), "f4")
    drop = nn.Dropout(0.5)
    assert np.array_equal(graphc.compile(drop)(x), x)
    assert not np.array_equal(graphc.compile(drop, training=True)(x), x)
    assert np.array_equal(graphc.compile(drop.eval(), training=True)(x), x)
    drop.train()
    t = graphc.input("t", (50, 20))
    with nn.evaluating():
        assert drop(t) is t
    assert F.dropout(t, 0.5, training=False) is t and F.dropout(t, 0.0) is t
    assert not np.any(graphc.compile(F.dropout(t, 1.0))(t=x))


def test_two_layers_draw_different_masks_and_the_gradient_uses_the_same() -> None:
    x = graphc.input("x", (40, 30))
    two = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    first, second = (layer(x) for layer in two)
    again = two(x)
    gradient = graphc.grad(again.sum(), x)
    a, b, y, g = graphc.compile([first, second, again, gradient])(x=np.ones((40, 30), "f4"))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(y, g)  # of ones, value and slope are both the product of the factors


def test_the_mask_is_drawn_again_and_never_stored() -> None:
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 5))
    x, y = graphc.input("x", (16, 12)), graphc.input("y", (16,), "int32")
    step = graphc.train_step(F.cross_entropy(model(x), y), optim.SGD(model.parameters(), lr=0.1))
    text = step.dump("program")
    assert text.count("philox") == 2 and "i32[16,24]" not in text  # in the forward kernel and in the backward one
    bools = [line for line in text.splitlines() if "arena" in line and "bool[16,24]" in line]
    assert len(bools) <= 1  # ReLU's
    plain = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 5))
    without = graphc.train_step(F.cross_entropy(plain(x), y), optim.SGD(plain.parameters(), lr=0.1))
    assert step.memory.arena_bytes == without.memory.arena_bytes


def test_channels() -> None:
    x = np.ones((30, 40, 5, 7), "f4")
    y = graphc.compile(nn.Dropout2d(0.25), training=True)(x)
    per_channel = y.reshape(30, 40, -1)
    assert np.array_equal(per_channel.min(2), per_channel.max(2)) and abs((per_channel[..., 0] == 0).mean() - 0.25) < 0.06
    for shape in ((30, 40, 6), (40, 6)):
        z = graphc.compile(nn.Dropout1d(0.5), training=True)(np.ones(shape, "f4"))
        assert np.array_equal(z.min(-1), z.max(-1)) and {*np.unique(z)} == {0, 2}
    with pytest.raises(graphc.ShapeError, match="dropout2d: expected an input"):
        F.dropout2d(graphc.input("x", (3, 4, 5)))
    with pytest.raises(graphc.ShapeError, match=r"dropout1d: expected an input \(N, C, L\) or \(C, L\)"):
        F.dropout1d(graphc.input("x", (3,)))


def test_mistakes_name_the_argument() -> None:
    for p in (-0.1, 1.1, "a", None, True):
        with pytest.raises(graphc.InputError, match="Dropout: p must be"):
            nn.Dropout(p)
        with pytest.raises(graphc.InputError, match="dropout: p must be"):
            F.dropout(graphc.input("x", (2,)), p)
    with pytest.raises(graphc.InputError, match="Dropout2d: inplace=True is not supported"):
        nn.Dropout2d(inplace=True)
    assert not hasattr(nn, "AlphaDropout")
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3)"
