"""Recurrent layers and cells against PyTorch: all layouts, directions, layers, first states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import grid
from cases_modules import flat
from module_peer import same
from torch_peer import torch

from graphc import nn

pytestmark = pytest.mark.oracle
DTYPES = ("float32", "float64")
GRID = grid((1, 2), (True, False), (False, True), (False, True), (False, True))


def draw(*shape: int, dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pair(name: str, dtype: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    peer = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    return getattr(nn, name)(*args, dtype=dtype, **options), peer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("layers", "bias", "batch_first", "bidirectional", "given"), GRID)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_layers(name: str, layers: int, bias: bool, batch_first: bool, bidirectional: bool, given: bool, dtype: str) -> None:
    """`given`: first states are."""
    options = {"num_layers": layers, "bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    mine, peer = pair(name, dtype, 5, 7, **options)
    shape = (layers * (1 + bidirectional), 3 if batch_first else 4, 7)
    states = [draw(*shape, dtype=dtype, seed=i) for i in range(2 if name == "LSTM" else 1)]
    same(mine, peer, draw(3, 4, 5, dtype=dtype), *(states if given else []), call=flat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_without_a_batch(name: str, dtype: str) -> None:
    mine, peer = pair(name, dtype, 5, 7, num_layers=2, bidirectional=True, batch_first=True)
    states = [draw(4, 7, dtype=dtype, seed=i) for i in range(2 if name == "LSTM" else 1)]
    same(mine, peer, draw(6, 5, dtype=dtype), *states, call=flat)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu(dtype: str) -> None:
    same(*pair("RNN", dtype, 3, 19, nonlinearity="relu"), draw(5, 2, 3, dtype=dtype), call=flat)
    same(*pair("RNNCell", dtype, 3, 19, nonlinearity="relu"), draw(2, 3, dtype=dtype), call=flat)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_step_and_wide(dtype: str) -> None:
    for name in ("RNN", "LSTM", "GRU"):
        same(*pair(name, dtype, 1, 1), draw(1, 1, 1, dtype=dtype), call=flat)
        same(*pair(name, dtype, 33, 40), draw(3, 17, 33, dtype=dtype), call=flat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(name: str, bias: bool, dtype: str) -> None:
    mine, peer = pair(name, dtype, 5, 7, bias=bias)
    for batch in ((4,), ()):
        same(mine, peer, draw(*batch, 5, dtype=dtype), call=flat)
        states = [draw(*batch, 7, dtype=dtype, seed=i) for i in range(2 if name == "LSTMCell" else 1)]
        same(mine, peer, draw(*batch, 5, dtype=dtype), *states, call=flat)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_in_evaluation_dropout_is_absent(name: str) -> None:
    same(*pair(name, "float32", 5, 7, num_layers=3, dropout=0.5), draw(3, 4, 5, dtype="float32"), call=flat, training=False)
