"""Attention against PyTorch: the function over its options, the module over layouts, masks, widths and what it returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import grid
from module_peer import same
from torch_peer import agree, torch

import graphc.nn.functional as F
from graphc import nn

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")]
DTYPES = ("float32", "float64")


def draw(*shape: int, dtype: str = "float64", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def masks(shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Boolean with a row that sees nothing, and added with some -inf."""
    keep = np.random.default_rng(1).random(shape) < 0.6
    keep[..., 0, :] = False
    return [keep, np.where(np.random.default_rng(2).random(shape) < 0.8, draw(*shape, seed=3), -np.inf).astype(dtype)]


SHAPES = [((5, 3), (5, 3), (5, 3)), ((2, 3, 7, 5), (2, 3, 6, 5), (2, 3, 6, 9)), ((4, 1, 8), (4, 33, 8), (4, 33, 1))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_scaled_dot_product(shapes: tuple[tuple[int, ...], ...], dtype: str) -> None:
    q, k, v = (draw(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes))
    scores = (*q.shape[:-1], k.shape[-2])
    peer = torch.nn.functional.scaled_dot_product_attention
    for scale in (None, 0.3):
        for causal in (False, True):
            agree(
                lambda q, k, v, c=causal, s=scale: F.scaled_dot_product_attention(q, k, v, is_causal=c, scale=s),
                lambda q, k, v, c=causal, s=scale: peer(q, k, v, is_causal=c, scale=s),
                q, k, v, name="F.scaled_dot_product_attention",
            )  # fmt: skip
        for shape in {scores, scores[-2:]}:
            keep, bias = masks(shape, dtype)
            agree(
                lambda q, k, v, m=keep, s=scale: F.scaled_dot_product_attention(q, k, v, m, scale=s),
                lambda q, k, v, m=keep, s=scale: peer(q, k, v, torch.tensor(m), scale=s),
                q, k, v, name="F.scaled_dot_product_attention",
            )  # fmt: skip
            agree(
                lambda q, k, v, m, s=scale: F.scaled_dot_product_attention(q, k, v, m, scale=s),
                lambda q, k, v, m, s=scale: peer(q, k, v, m, scale=s),
                q, k, v, bias, name="F.scaled_dot_product_attention",
            )  # fmt: skip


def test_grouped_heads() -> None:
    q, k, v = draw(2, 6, 5, 4), draw(2, 2, 7, 4, seed=1), draw(2, 2, 7, 3, seed=2)
    agree(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        q, k, v,
    )  # fmt: skip


def pair(dtype: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    peer = torch.nn.MultiheadAttention(*args, dtype=getattr(torch, dtype), **options)
    return nn.MultiheadAttention(*args, dtype=dtype, **options), peer


WEIGHTS = {"mean": (True, True), "each": (True, False), "none": (False, True)}  # need_weights, average_attn_weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "batch_first", "heads", "bias", "weights"), grid([None, 1, 3], [False, True], [1, 3], [False, True], WEIGHTS)
)
def test_self_attention(batch: int | None, batch_first: bool, heads: int, bias: bool, weights: str, dtype: str) -> None:
    x = draw(*((5, 6) if batch is None else (batch, 5, 6) if batch_first else (5, batch, 6)), dtype=dtype)
    mine, peer = pair(dtype, 6, heads, bias=bias, batch_first=batch_first)
    need, average = WEIGHTS[weights]
    same(mine, peer, x, call=lambda m, x: m(x, x, x, need_weights=need, average_attn_weights=average))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("widths", "shared"),
    [((8, None, None), False), ((8, None, None), True), ((8, 5, 7), False), ((8, 8, 3), False)],  # one array has one width
    ids=str,
)
def test_cross_attention(widths: tuple[int, Any, Any], shared: bool, dtype: str) -> None:
    e, kdim, vdim = widths
    q, k, v = (draw(n, 2, w or e, dtype=dtype, seed=n) for n, w in ((5, e), (9, kdim), (9, vdim)))
    for bias in (False, True):
        mine, peer = pair(dtype, e, 2, bias=bias, kdim=kdim, vdim=vdim)
        if shared:
            same(mine, peer, q, k, call=lambda m, q, k: m(q, k, k))
        else:
            same(mine, peer, q, k, v, call=lambda m, q, k, v: m(q, k, v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("attn", "padding", "need"),
    grid([None, "bool", "float", "bool each", "float each", "causal"], [None, "bool", "float"], [True, False]),
)
def test_masks(attn: str | None, padding: str | None, need: bool, dtype: str) -> None:
    n, heads, rows, columns = 3, 2, 5, 6
    rng = np.random.default_rng(0)
    attn_mask = key_mask = None
    if attn:
        shape = (n * heads, rows, columns) if "each" in attn else (rows, columns)
        hidden = np.triu(np.ones(shape, bool), 1) if attn == "causal" else rng.random(shape) < 0.3
        hidden[..., 0] = False  # PyTorch gives NaN where a query sees nothing
        attn_mask = hidden if "float" not in attn else np.where(hidden, -np.inf, rng.normal(size=shape)).astype(dtype)
    if padding:
        hidden = np.arange(columns) >= np.array([[6], [3], [1]])
        key_mask = hidden if padding == "bool" else np.where(hidden, -np.inf, rng.normal(size=hidden.shape)).astype(dtype)
    mine, peer = pair(dtype, 8, heads, batch_first=True)
    options = {"attn_mask": attn_mask, "key_padding_mask": key_mask}
    theirs = {key: None if value is None else torch.tensor(value) for key, value in options.items()}
    causal = attn == "causal"
    same(
        mine, peer, draw(n, rows, 8, dtype=dtype), draw(n, columns, 8, dtype=dtype, seed=1),
        call=lambda m, q, k: m(q, k, k, need_weights=need, is_causal=causal, **options),
        peer_call=lambda m, q, k: m(q, k, k, need_weights=need, is_causal=causal, **theirs),
    )  # fmt: skip


def test_a_causal_hint_alone_is_a_causal_mask() -> None:
    mine, peer = pair("float64", 6, 2, batch_first=True)
    same(
        mine, peer, draw(2, 7, 6), call=lambda m, x: m(x, x, x, is_causal=True),
        peer_call=lambda m, x: m(x, x, x, attn_mask=torch.triu(torch.ones(7, 7, dtype=torch.bool), 1)),
    )  # fmt: skip


def test_initial_values_have_the_same_spread() -> None:
    mine, peer = pair("float32", 96, 4)
    for key, value in peer.state_dict().items():
        found, wanted = mine.state_dict()[key], value.numpy()
        assert abs(found.std() - wanted.std()) < 0.02 * max(wanted.std(), 1e-9)
