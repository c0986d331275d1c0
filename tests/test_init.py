"""Initial values: ranges and moments, seeds, mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.nn import init


def weight(*shape: int, dtype: str = "f8") -> nn.Parameter:
    return nn.Parameter(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("fill", "bound", "deviation"),
    [
        (lambda w: init.uniform_(w, -2.0, 2.0), 2.0, 2 / math.sqrt(3)),
        (lambda w: init.normal_(w, 0.0, 3.0), None, 3.0),
        (lambda w: init.trunc_normal_(w, std=1.0, a=-1.0, b=1.0), 1.0, 0.5396),
        (init.xavier_uniform_, math.sqrt(6 / 300), math.sqrt(2 / 300)),
        (lambda w: init.xavier_normal_(w, gain=5 / 3), None, 5 / 3 * math.sqrt(2 / 300)),
        (lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)), 1 / math.sqrt(100), 1 / math.sqrt(300)),
        (lambda w: init.kaiming_normal_(w, nonlinearity="relu"), None, math.sqrt(2 / 100)),
        (lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), None, math.sqrt(2 / 200)),
    ],
)
def test_ranges_and_moments(fill: object, bound: float | None, deviation: float) -> None:
    graphc.manual_seed(0)
    w = weight(200, 100)
    assert fill(w) is w  # type: ignore[operator]
    if bound is not None:
        assert 0.99 * bound < np.abs(w.array).max() <= bound
    assert abs(w.array.mean()) < 0.03 * deviation and w.array.std() == pytest.approx(deviation, rel=0.02)


def test_constants_and_orthogonal_matrices() -> None:
    assert np.all(init.constant_(weight(3), 2.5).array == 2.5) and np.all(init.ones_(weight(3)).array == 1)
    assert np.all(init.zeros_(init.ones_(weight(3))).array == 0) and np.array_equal(init.eye_(weight(2, 3)).array, np.eye(2, 3))
    for shape in ((4, 4), (3, 7), (7, 3), (4, 2, 3)):
        q = init.orthogonal_(weight(*shape), gain=2).array.reshape(shape[0], -1)
        product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)
    assert init.orthogonal_(weight(0, 3)).shape == (0, 3)
    assert init.fans((6, 5, 3, 2)) == (30, 36)


def test_a_seed_gives_the_same_values_in_both_precisions() -> None:
    def build(dtype: str) -> dict[str, np.ndarray]:
        return nn.Sequential(nn.Linear(5, 4, dtype=dtype), nn.Bilinear(2, 3, 4, dtype=dtype)).state_dict()

    graphc.manual_seed(5)
    first, second = build("float32"), build("float32")
    graphc.manual_seed(5)
    again, wide = build("float32"), build("float64")
    assert all(np.array_equal(first[name], again[name]) and not np.array_equal(first[name], second[name]) for name in first)
    assert all(np.array_equal(second[name], wide[name].astype("f4")) for name in first)
    a, b = (init.normal_(weight(3), generator=np.random.default_rng(1)).array for _ in range(2))
    assert np.array_equal(a, b)
    assert graphc.seeding.initial_seed() == 5
    array = np.zeros(4)
    assert init.uniform_(array) is array and array.all()


def test_mistakes() -> None:
    for seed in (-1, 1.5, True, "a"):
        with pytest.raises(graphc.InputError, match="seed must be a non-negative integer"):
            graphc.manual_seed(seed)  # type: ignore[arg-type]
    with pytest.raises(graphc.ShapeError, match=r"xavier_uniform_: .* at least two axes, got shape \(3,\)"):
        init.xavier_uniform_(weight(3))
    with pytest.raises(graphc.InputError, match="kaiming_normal_: mode must be one of 'fan_in', 'fan_out', not 'fan'"):
        init.kaiming_normal_(weight(3, 3), mode="fan")
    with pytest.raises(graphc.InputError, match="calculate_gain: nonlinearity must be one of"):
        init.kaiming_normal_(weight(3, 3), nonlinearity="swish")
    with pytest.raises(graphc.InputError, match="generator must be a numpy.random.Generator"):
        init.normal_(weight(3), generator=3)  # type: ignore[arg-type]
    with pytest.raises(graphc.InputError, match="expected a parameter or an array, not list"):
        init.zeros_([1.0])
    with pytest.raises(graphc.DTypeError, match="expected a float array"):
        init.zeros_(np.zeros(3, int))
    with pytest.raises(graphc.InputError, match="std must be at least 0"):
        init.normal_(weight(3), std=-1)
    with pytest.raises(graphc.InputError, match="a must not exceed b"):
        init.uniform_(weight(3), 1, 0)
    with pytest.raises(graphc.InputError, match="trunc_normal_"):
        init.trunc_normal_(weight(3), a=100, b=101)
