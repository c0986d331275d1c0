"""Embeddings against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import grid
from found import record
from module_peer import same
from torch_peer import same_function, torch

import graphc
import graphc.nn.functional as F
from graphc import nn

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("labels", "shape", "padding", "width"),
    grid(["int32", "int64"], [(), (7,), (3, 5), (2, 3, 4), (40, 33)], [None, 0, 4, -1, -11], [1, 6, 37]), ids=str,
)  # fmt: skip
def test_embedding(shape: tuple[int, ...], labels: str, padding: int | None, width: int, dtype: str) -> None:
    index = np.asarray(np.random.default_rng(0).integers(0, 11, shape), labels)
    mine = nn.Embedding(11, width, padding, dtype=dtype)
    same(mine, torch.nn.Embedding(11, width, padding, dtype=getattr(torch, dtype)), index)
    assert mine.padding_idx == (None if padding is None else padding % 11)


def test_an_embedding_shared_with_the_last_layer() -> None:
    def forward(self: Any, index: Any) -> Any:
        return self.table(index) @ self.table.weight.T

    def make(lib: Any) -> Any:
        made = type("Tied", (lib.Module,), {"forward": forward})()
        made.table = lib.Embedding(7, 5, 2)
        return made

    same(make(nn), make(torch.nn), np.array([[0, 2, 2], [6, 1, 2]]), name="nn.Embedding")


def test_functions() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(9, 4))
    for shape in ((), (5,), (2, 3)):
        index = np.asarray(rng.integers(0, 9, shape))
        same_function("embedding", index, w, padding_idx=3)
        peer = torch.nn.functional.one_hot(torch.tensor(index), 9).numpy()
        record("F.one_hot", "int64", 0.0)  # equal
        assert np.array_equal(graphc.compile(F.one_hot(graphc.input("x", shape, "int64"), 9))(x=index), peer)


def test_from_pretrained_and_tables_given() -> None:
    table = torch.randn(5, 3)
    for freeze in (True, False):
        mine, peer = nn.Embedding.from_pretrained(table, freeze), torch.nn.Embedding.from_pretrained(table, freeze)
        assert np.array_equal(mine.weight.array, peer.weight.numpy(force=True)) and mine.weight.requires_grad is not freeze
        assert (mine.num_embeddings, mine.embedding_dim) == (peer.num_embeddings, peer.embedding_dim)
    assert not nn.Embedding(4, 3, 1).weight.array[1].any() and F.one_hot(np.array([1]), 3).dtype == np.int64
