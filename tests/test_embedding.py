"""Embeddings: values and gradients, indices out of range, the padding row, positions as sinusoids."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("labels", ["int32", "int64"])
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_rows_and_their_gradients(padding: int | None, labels: str) -> None:
    table = nn.Embedding(7, 3, padding, dtype="float64")
    index = RNG.integers(0, 7, (5, 4)).astype(labels)
    x = graphc.input("x", (5, 4), labels)
    y = table(x)
    v = RNG.normal(size=(5, 4, 3))
    value, gradient = graphc.compile([y, graphc.grad((y * v).sum(), table.weight)])(x=index)
    expected = np.zeros((7, 3))
    np.add.at(expected, index.reshape(-1), v.reshape(-1, 3))
    if padding is not None:
        expected[padding] = 0
    assert np.array_equal(value, table.weight.array[index])
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_the_padding_row_starts_at_zero_and_is_never_trained() -> None:
    table = nn.Embedding(5, 4, padding_idx=1)
    assert not table.weight.array[1].any() and table.weight.array[0].any()
    x = graphc.input("x", (6,), "int64")
    step = graphc.train_step((table(x) - 1).sum() ** 2, optim.Adam(table.parameters(), lr=0.1))
    before = table.weight.array.copy()
    step(x=np.array([0, 1, 1, 2, 1, 0]))
    assert not table.weight.array[1].any() and np.all(table.weight.array[[0, 2]] != before[[0, 2]])
    assert np.array_equal(table.weight.array[3:], before[3:])


@pytest.mark.parametrize("wrong", [5, -1, 2**40, -(2**40)])
def test_an_index_outside_the_table_fails_the_call_and_changes_nothing(wrong: int) -> None:
    table = nn.Embedding(5, 2)
    x = graphc.input("x", (3,), "int64")
    step = graphc.train_step(table(x).sum(), optim.SGD(table.parameters(), lr=1.0))
    before = table.weight.array.copy()
    with pytest.raises(graphc.InputError, match=f"embedding: index {wrong} is out of range, expected 0 <= index < 5"):
        step(x=np.array([0, wrong, 4]))
    with pytest.raises(graphc.InputError, match=f"one_hot: index {wrong} is out of range"):
        graphc.compile(F.one_hot(x, 5))(x=np.array([0, wrong, 4]))
    assert np.array_equal(table.weight.array, before)


def test_one_hot() -> None:
    index = RNG.integers(0, 6, (2, 5))
    found = graphc.compile(F.one_hot(graphc.input("x", (2, 5), "int64"), 6))(x=index)
    assert found.dtype == np.int64 and np.array_equal(found, np.eye(6, dtype="i8")[index])


def test_tables_given() -> None:
    values = RNG.normal(size=(4, 3))
    table = nn.Embedding.from_pretrained(values, padding_idx=-2)
    assert table.weight.dtype == np.float64 and not table.weight.requires_grad and table.padding_idx == 2
    values[0] = 9
    assert table.weight.array[0, 0] != 9
    assert nn.Embedding.from_pretrained(values, freeze=False).weight.requires_grad
    with pytest.raises(graphc.ShapeError, match="_weight must have shape"):
        nn.Embedding(4, 2, _weight=values)


@pytest.mark.parametrize("dim", [1, 6, 7])
def test_sinusoidal_positions(dim: int) -> None:
    t, d = np.arange(50)[:, None], np.arange(dim)
    angle = t / 10000.0 ** (2 * (d // 2) / dim)
    expected = np.where(d % 2 == 0, np.sin(angle), np.cos(angle))
    fixed = graphc.compile(F.sinusoidal_positions(50, dim, dtype="float64"))()
    np.testing.assert_allclose(fixed, expected, rtol=1e-12, atol=1e-12)
    t = graphc.input("t", (50,), "int64")
    given = graphc.compile(F.sinusoidal_positions(t, dim, dtype="float64"))(t=np.arange(50))
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-12)


def test_positions_are_added_along_time() -> None:
    p = graphc.compile(F.sinusoidal_positions(5, 4))()
    x = RNG.normal(size=(2, 5, 4)).astype("f4")
    np.testing.assert_allclose(graphc.compile(nn.SinusoidalPositions(4))(x), x + p, rtol=1e-6)
    np.testing.assert_allclose(graphc.compile(nn.SinusoidalPositions(4))(x[0]), x[0] + p, rtol=1e-6)
    swapped = np.ascontiguousarray(x.swapaxes(0, 1))
    found = graphc.compile(nn.SinusoidalPositions(4, batch_first=False))(swapped)
    np.testing.assert_allclose(found, (x + p).swapaxes(0, 1), rtol=1e-6)
    one = graphc.input("one", (2, 1, 4)), graphc.input("at", (), "int64")
    late = graphc.compile(nn.SinusoidalPositions(4)(*one))(one=x[:, 3:4], at=3)
    np.testing.assert_allclose(late, (x + p)[:, 3:4], rtol=1e-5)
    with pytest.raises(graphc.ShapeError, match="SinusoidalPositions: expected two or three axes, the last of size 4"):
        nn.SinusoidalPositions(4)(graphc.input("x", (2, 5)))


def test_mistakes_name_the_argument() -> None:
    index = graphc.input("x", (3,), "int64")
    for make, message in (
        (lambda: nn.Embedding(4, 2, padding_idx=4), "Embedding: padding_idx must be an integer within the table's 4 rows"),
        (lambda: nn.Embedding(4, 2, padding_idx=True), "Embedding: padding_idx must be"),
        (lambda: nn.Embedding(4, 2, max_norm=1.0), "Embedding: max_norm=1.0 is not supported"),
        (lambda: nn.Embedding(4, 2, norm_type=1.0), "Embedding: norm_type=1.0 is not supported"),
        (lambda: nn.Embedding(4, 2, scale_grad_by_freq=True), "Embedding: scale_grad_by_freq=True is not supported"),
        (lambda: nn.Embedding(4, 2, sparse=True), "Embedding: sparse=True is not supported"),
        (lambda: nn.Embedding(-1, 2), "Embedding: num_embeddings must be an integer, at least 0"),
        (lambda: F.embedding(index, np.zeros((4, 2)), 7), "embedding: padding_idx must be"),
        (lambda: F.one_hot(index), "one_hot: num_classes must be a positive integer"),
        (lambda: F.sinusoidal_positions(4, 0), "sinusoidal_positions: dim must be a positive integer"),
        (lambda: F.sinusoidal_positions(-4, 2), "sinusoidal_positions: positions must be a length"),
        (lambda: F.sinusoidal_positions(4, 2, base=0), "sinusoidal_positions: base must be greater than 0"),
    ):
        with pytest.raises(graphc.InputError, match=message):
            make()
    with pytest.raises(graphc.DTypeError, match="embedding: the input must be row numbers"):
        F.embedding(graphc.input("x", (3,)), np.zeros((4, 2)))
    with pytest.raises(graphc.ShapeError, match="embedding: the weight must be"):
        F.embedding(index, np.zeros(4))
