"""Transformer layers and stacks against PyTorch, in training mode without dropout and in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import grid, slow
from module_peer import same
from torch_peer import torch

import graphc.nn.functional as F
from graphc import nn

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mismatched", "ignore:The PyTorch API"),
]
DTYPES = ("float32", "float64")


def draw(*shape: int, dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pair(name: str, dtype: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    peer = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    return getattr(nn, name)(*args, dtype=dtype, **options), peer


GRID = grid((False, True), (False, True), ("relu", "gelu"), (False, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("norm_first", "batch_first", "activation", "bias"), GRID)
def test_encoder_layer(norm_first: bool, batch_first: bool, activation: str, bias: bool, dtype: str) -> None:
    options = {"norm_first": norm_first, "batch_first": batch_first, "activation": activation, "bias": bias, "dropout": 0.0}
    mine, peer = pair("TransformerEncoderLayer", dtype, 12, 3, 17, layer_norm_eps=1e-3, **options)
    x = draw(*((2, 7) if batch_first else (7, 2)), 12, dtype=dtype)
    same(mine, peer, x)
    hidden, padding = np.triu(np.ones((7, 7), bool), 1), np.arange(7) >= np.array([[7], [4]])
    same(
        mine, peer, x, steps=0, call=lambda m, x: m(x, hidden, padding, is_causal=True),
        peer_call=lambda m, x: m(x, torch.tensor(hidden), torch.tensor(padding), is_causal=True),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_unbatched_in_evaluation_and_with_a_function(norm_first: bool, dtype: str) -> None:
    mine, peer = pair("TransformerEncoderLayer", dtype, 8, 2, 16, norm_first=norm_first)
    x = draw(5, 8, dtype=dtype)
    same(mine, peer, x, training=False)
    mine, peer = pair("TransformerEncoderLayer", dtype, 8, 2, 16, 0.0, norm_first=norm_first)
    mine.activation, peer.activation = F.silu, torch.nn.functional.silu
    same(mine, peer, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("norm_first", "batch_first", "activation", "bias"), GRID)
def test_decoder_layer(norm_first: bool, batch_first: bool, activation: str, bias: bool, dtype: str) -> None:
    options = {"norm_first": norm_first, "batch_first": batch_first, "activation": activation, "bias": bias, "dropout": 0.0}
    mine, peer = pair("TransformerDecoderLayer", dtype, 12, 3, 17, **options)
    tgt, memory = (draw(*((2, n) if batch_first else (n, 2)), 12, dtype=dtype, seed=n) for n in (7, 5))
    same(mine, peer, tgt, memory)
    hidden, padding = np.triu(np.ones((7, 7), bool), 1), np.arange(5) >= np.array([[5], [2]])
    same(
        mine, peer, tgt, memory, steps=0, call=lambda m, x, y: m(x, y, hidden, memory_key_padding_mask=padding),
        peer_call=lambda m, x, y: m(x, y, torch.tensor(hidden), memory_key_padding_mask=torch.tensor(padding)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("norm_first", "training"), [(True, True), (False, False), *slow([(True, False), (False, True)])])
def test_encoder_and_decoder(norm_first: bool, training: bool, dtype: str) -> None:
    """Stacks of copies, which differ once their parameters are loaded; 20 steps."""
    kind = getattr(torch, dtype)

    def make(lib: Any, dtype: Any) -> tuple[Any, Any]:
        options = {"batch_first": True, "norm_first": norm_first, "dtype": dtype}
        layers = lib.TransformerEncoderLayer(8, 2, 12, 0.0, **options), lib.TransformerDecoderLayer(8, 2, 12, 0.0, **options)
        norms = [lib.LayerNorm(8, dtype=dtype) if norm_first else None for _ in range(2)]
        return lib.TransformerEncoder(layers[0], 2, norms[0]), lib.TransformerDecoder(layers[1], 2, norms[1])

    torch.manual_seed(0)
    (encoder, decoder), (tencoder, tdecoder) = make(nn, dtype), make(torch.nn, kind)
    x, memory = draw(3, 5, 8, dtype=dtype), draw(3, 4, 8, dtype=dtype, seed=1)
    same(encoder, tencoder, x, training=training)
    same(decoder, tdecoder, x, memory, training=training)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    tcausal = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=kind)
    same(encoder, tencoder, x, steps=0, call=lambda m, x: m(x, causal), peer_call=lambda m, x: m(x, tcausal, is_causal=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{"batch_first": True, "norm_first": True, "activation": "gelu"}, *slow([{}, {"bias": False}])], ids=str
)
def test_transformer(options: dict[str, Any], dtype: str) -> None:
    hidden = np.triu(np.ones((4, 4), bool), 1)
    mine, peer = pair("Transformer", dtype, 8, 2, 1, 1, 12, 0.0, **options)
    src, tgt = (draw(*((2, n) if options.get("batch_first") else (n, 2)), 8, dtype=dtype, seed=n) for n in (5, 4))
    same(
        mine, peer, src, tgt, call=lambda m, s, t: m(s, t, tgt_mask=hidden),
        peer_call=lambda m, s, t: m(s, t, tgt_mask=torch.tensor(hidden)),
    )  # fmt: skip


def test_the_layers_of_a_stack_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(8, 2)
    stack = nn.TransformerEncoder(layer, 2)
    names = [name for name, _ in stack.named_parameters()]
    peer = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2), 2)
    assert names == [name for name, _ in peer.named_parameters()]
    assert [p.name for p in stack.parameters()] == names
    first, second = (module.state_dict() for module in stack.layers)
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not {*stack.layers[0].parameters()} & {*stack.layers[1].parameters()}
