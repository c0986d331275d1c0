"""Containers, and modules made of modules given, against PyTorch: paths in the state dict, values, gradients, steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from module_peer import same
from torch_peer import torch

from graphc import nn

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API")]
DTYPES = ("float32", "float64")


def draw(*shape: int, dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def both(build: Any, dtype: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return build(nn, {"dtype": dtype}), build(torch.nn, {"dtype": getattr(torch, dtype)})


def as_sequence(lib: Any, kind: Any) -> Any:
    layers = lib.Sequential(lib.Linear(5, 7, **kind), lib.Tanh(), lib.Sequential(lib.Linear(7, 7, **kind), lib.ReLU()))
    layers.append(lib.Linear(7, 3, **kind))
    layers.insert(1, lib.LayerNorm(7, **kind))
    del layers[2]
    return layers


def as_list(lib: Any, kind: Any) -> Any:
    layers = lib.ModuleList([lib.Linear(5, 7, **kind), lib.Tanh()])
    layers.append(lib.Linear(7, 7, bias=False, **kind))
    layers.extend([lib.GELU(), lib.Linear(7, 2, **kind)])
    layers[3] = lib.SiLU()
    return layers


def as_dict(lib: Any, kind: Any) -> Any:
    layers = lib.ModuleDict({"first": lib.Linear(5, 7, **kind), "dropped": lib.Linear(1, 1, **kind)})
    layers.update({"second": lib.Linear(7, 3, **kind)})
    layers["between"] = lib.Softplus()
    layers.pop("dropped")
    return layers


def chain(module: Any, x: Any) -> Any:
    for layer in module:
        x = layer(x)
    return x


@pytest.mark.parametrize("dtype", DTYPES)
def test_containers(dtype: str) -> None:
    x = draw(4, 5, dtype=dtype)
    same(*both(as_sequence, dtype), x)
    same(*both(as_list, dtype), x, call=chain)
    same(*both(as_dict, dtype), x, call=lambda m, x: m["second"](m["between"](m["first"](x))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_of_shared_parts_and_a_list_in_a_dict(dtype: str) -> None:
    """A layer under two paths: both stand in the state dict, and one parameter is trained with both gradients."""

    def build(lib: Any, kind: Any) -> Any:
        shared = lib.Linear(5, 5, **kind)
        return lib.ModuleDict({"parts": lib.ModuleList([shared, lib.Tanh(), shared]), "head": lib.Linear(5, 2, **kind)})

    mine, peer = both(build, dtype)
    same(mine, peer, draw(4, 5, dtype=dtype), call=lambda m, x: m["head"](chain(m["parts"], x)), perturbed=False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_transformer_of_stacks_given(dtype: str) -> None:
    def build(lib: Any, kind: Any) -> Any:
        encoder = lib.TransformerEncoder(lib.TransformerEncoderLayer(6, 2, 9, 0.0, **kind), 1, lib.RMSNorm(6, **kind))
        decoder = lib.TransformerDecoder(lib.TransformerDecoderLayer(6, 3, 7, 0.0, **kind), 2)
        return lib.Transformer(6, 2, custom_encoder=encoder, custom_decoder=decoder, **kind)

    same(*both(build, dtype), draw(5, 2, 6, dtype=dtype), draw(4, 2, 6, dtype=dtype, seed=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("freeze", [False, True])
def test_an_embedding_of_a_table_given(freeze: bool, dtype: str) -> None:
    table = draw(7, 3, dtype=dtype)
    mine = nn.Embedding(7, 3, _weight=table, _freeze=freeze)
    peer = torch.nn.Embedding(7, 3, _weight=torch.tensor(table), _freeze=freeze)
    assert mine.weight.requires_grad is peer.weight.requires_grad is not freeze
    peer.weight.requires_grad_(True)
    mine.weight.requires_grad_(True)
    same(mine, peer, np.array([[0, 6, 3], [3, 3, 1]]))
