"""Convolutions and pooling against PyTorch: outputs, and gradients of inputs, weights and biases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from module_peer import same
from torch_peer import agree, same_function, torch

import graphc
from graphc import nn

pytestmark = pytest.mark.oracle

TOLERANCE = {"f4": 2e-5, "f8": 1e-10}

# (input, weight, options)
CONV1D: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 9), (4, 3, 3), {}),
    ((2, 3, 9), (4, 3, 1), {}),
    ((3, 11), (4, 3, 4), {"padding": 2}),
    ((2, 3, 17), (5, 3, 5), {"padding": 2}),
    ((2, 3, 17), (5, 3, 5), {"padding": "same"}),
    ((2, 3, 17), (5, 3, 4), {"padding": "same", "dilation": 3}),
    ((2, 3, 17), (5, 3, 4), {"padding": "valid"}),
    ((1, 1, 33), (1, 1, 7), {"stride": 3, "padding": (2,)}),
    ((2, 3, 18), (5, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 3, 18), (5, 3, 2), {"stride": 2}),
    ((2, 3, 19), (5, 3, 2), {"stride": 4}),
    ((2, 3, 19), (5, 3, 4), {"stride": 3, "dilation": 2, "padding": 4}),
    ((2, 3, 23), (5, 3, 4), {"stride": 2, "dilation": 4, "padding": 3}),
    ((2, 6, 12), (4, 3, 3), {"groups": 2, "padding": 1}),
    ((2, 6, 12), (6, 1, 3), {"groups": 6, "padding": 1}),
    ((2, 6, 12), (12, 1, 3), {"groups": 6, "stride": 2}),
    ((4, 20, 70), (33, 20, 5), {"padding": 2}),
]
CONV2D: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 6, 7), (4, 3, 3, 3), {}),
    ((3, 6, 7), (4, 3, 3, 2), {"padding": 1}),
    ((2, 3, 8, 9), (4, 3, 3, 5), {"padding": "same"}),
    ((2, 3, 8, 9), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 3, 8, 9), (4, 3, 2, 2), {"stride": 2}),
    ((2, 3, 9, 11), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2)}),
    ((2, 4, 7, 7), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    ((2, 4, 7, 7), (4, 1, 3, 3), {"groups": 4, "padding": 1, "stride": 2}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {"stride": 2}),
    ((3, 5, 16, 16), (17, 5, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("shape", "weight", "options"), CONV1D + CONV2D, ids=str)
def test_convolutions(shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(0)
    name = f"conv{len(weight) - 2}d"
    arrays = [rng.normal(size=one).astype(dtype) for one in (shape, weight, weight[:1])]
    same_function(name, *arrays, **options, tolerance=TOLERANCE[dtype])
    same_function(name, *arrays[:2], **options, tolerance=TOLERANCE[dtype])


CONV_TRANSPOSE: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 5), (3, 4, 3), {}),
    ((3, 5), (3, 4, 3), {"padding": 1}),
    ((2, 3, 5), (3, 4, 3), {"stride": 2}),
    ((2, 3, 5), (3, 4, 4), {"stride": 2, "padding": 1}),
    ((2, 3, 5), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 3, 5), (3, 4, 2), {"stride": 3, "output_padding": 2}),
    ((2, 3, 5), (3, 4, 3), {"stride": 2, "dilation": 2, "padding": 2, "output_padding": 1}),
    ((2, 6, 5), (6, 2, 3), {"stride": 2, "groups": 3}),
    ((2, 6, 5), (6, 1, 3), {"groups": 6, "padding": 1}),
    ((2, 3, 4, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((2, 3, 4, 5), (3, 4, 2, 2), {"stride": 2}),
    ((2, 4, 4, 5), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0), "groups": 2, "dilation": (1, 3)}),
    ((3, 4, 5), (3, 4, 4, 4), {"stride": 2, "padding": 1}),
]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("shape", "weight", "options"), CONV_TRANSPOSE, ids=str)
def test_transposed_convolutions(shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(1)
    bias = (weight[1] * options.get("groups", 1),)
    arrays = [rng.normal(size=one).astype(dtype) for one in (shape, weight, bias)]
    same_function(f"conv_transpose{len(weight) - 2}d", *arrays, **options, tolerance=TOLERANCE[dtype])


def _transferred(mine: nn.Module, peer: Any) -> tuple[Any, Any]:
    assert mine.load_state_dict(peer.state_dict()) == ([], [])
    assert [name for name, _ in mine.named_parameters()] == [name for name, _ in peer.named_parameters()]
    return list(mine.parameters()), list(peer.parameters())


MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (3, 4, 3), {"padding": 1}, (2, 3, 9)),
    ("Conv1d", (3, 4, 4), {"padding": "same", "dilation": 2}, (2, 3, 19)),
    ("Conv1d", (3, 5, 5), {"stride": 2, "padding": 2}, (3, 3, 21)),
    ("Conv1d", (4, 6, 3, 2, 1, 1, 2, False), {}, (2, 4, 9)),
    ("Conv1d", (16, 33, 5), {"padding": 2}, (4, 16, 50)),
    ("Conv1d", (6, 12, 3), {"groups": 6, "stride": 3}, (2, 6, 17)),
    ("Conv2d", (3, 4, (3, 2)), {"stride": (2, 1)}, (2, 3, 9, 8)),
    ("Conv2d", (4, 4, 3, 1, "same", 2, 4), {}, (2, 4, 9, 8)),
    ("Conv2d", (3, 8, 3), {"padding": 1}, (4, 3, 16, 16)),
    ("Conv2d", (5, 7, 5), {"padding": 2, "stride": 2}, (2, 5, 13, 14)),
    ("Conv2d", (8, 20, 3), {"padding": "valid", "bias": False}, (3, 8, 14, 14)),
    ("Conv2d", (6, 9, 1), {"groups": 3}, (2, 6, 7, 5)),
    ("ConvTranspose1d", (3, 4, 3, 2, 1, 1), {}, (2, 3, 9)),
    ("ConvTranspose1d", (6, 4, 5), {"groups": 2, "dilation": 2, "padding": 3}, (2, 6, 11)),
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1, 2, False, 1), {}, (2, 4, 5, 4)),
    ("ConvTranspose2d", (5, 3, 4, 2, 1), {}, (2, 5, 7, 8)),
    ("MaxPool1d", (3, 2, 1), {"dilation": 2}, (2, 3, 19)),
    ("MaxPool1d", (2,), {"ceil_mode": True}, (2, 3, 19)),
    ("MaxPool2d", (2,), {}, (2, 3, 16, 18)),
    ("MaxPool2d", ((3, 2), (2, 1), (1, 0)), {}, (2, 3, 9, 8)),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, (2, 3, 19)),
    ("AvgPool2d", (2,), {}, (2, 3, 16, 18)),
    ("AvgPool2d", (3, 2, 1, True), {"divisor_override": 5}, (2, 3, 9, 8)),
    ("AdaptiveAvgPool1d", (4,), {}, (2, 3, 11)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 8, 9)),
    ("AdaptiveMaxPool1d", (4,), {}, (2, 3, 11)),
    ("AdaptiveMaxPool2d", ((3, 2),), {}, (2, 3, 8, 9)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "arguments", "options", "shape"), MODULES, ids=str)
def test_modules(name: str, arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
    """Compiled: outputs, gradients, and 20 steps of training."""
    typed = [{"dtype": dtype}, {"dtype": getattr(torch, dtype)}] if name.startswith("Conv") else [{}, {}]
    mine = getattr(nn, name)(*arguments, **options, **typed[0])
    peer = getattr(torch.nn, name)(*arguments, **options, **typed[1])
    same(mine, peer, np.random.default_rng(2).normal(size=shape).astype(dtype))


def test_output_size_of_a_transposed_convolution() -> None:
    mine = nn.ConvTranspose2d(2, 3, 3, 2, 1, dtype="float64")
    peer = torch.nn.ConvTranspose2d(2, 3, 3, 2, 1, dtype=torch.float64)
    parameters = _transferred(mine, peer)
    for size in ((9, 10), (10, 9)):
        x = np.random.default_rng(2).normal(size=(1, 2, 5, 5))
        agree(
            lambda t, size=size: mine(t, size),
            lambda t, size=size: peer(t, size),
            x,
            parameters=parameters,
            name="nn.ConvTranspose2d",
        )


MAX_POOL = [
    dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), values, strict=True))
    for values in itertools.product((2, 3), (None, 1, 2, 3), (0, 1), (1, 2), (False, True))
]


@pytest.mark.parametrize("options", MAX_POOL, ids=str)
def test_max_pool(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    same_function("max_pool1d", rng.normal(size=(2, 3, 13)), **options)
    same_function("max_pool2d", rng.normal(size=(2, 2, 9, 8)), **options)
    # ties: few distinct values
    same_function("max_pool2d", rng.integers(0, 2, (2, 2, 9, 8)).astype("f8"), **options)


AVG_POOL = [
    dict(zip(("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"), values, strict=True))
    for values in itertools.product((2, 3), (None, 1, 2, 3), (0, 1), (False, True), (True, False))
]


@pytest.mark.parametrize("options", AVG_POOL, ids=str)
def test_avg_pool(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    same_function("avg_pool1d", rng.normal(size=(2, 3, 13)), **options)
    same_function("avg_pool2d", rng.normal(size=(2, 2, 9, 8)), **options)


def test_pools_of_other_shapes() -> None:
    rng = np.random.default_rng(5)
    same_function("max_pool1d", rng.normal(size=(3, 13)), kernel_size=3)
    same_function("max_pool2d", rng.normal(size=(3, 6, 7)).astype("f4"), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0))
    same_function("avg_pool2d", rng.normal(size=(3, 6, 7)).astype("f4"), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0))
    same_function("avg_pool2d", rng.normal(size=(2, 3, 6, 7)), kernel_size=2, divisor_override=3)
    same_function("max_pool2d", rng.normal(size=(2, 3, 16, 16)), kernel_size=2)


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pools(kind: str) -> None:
    rng = np.random.default_rng(6)
    for size in (1, 2, 3, 5, 12, 14):
        same_function(f"adaptive_{kind}_pool1d", rng.normal(size=(2, 3, 12)), output_size=size)
    for size2d in (1, (2, 3), (None, 2), (3, None), (4, 7), 5):
        same_function(f"adaptive_{kind}_pool2d", rng.normal(size=(2, 3, 8, 9)), output_size=size2d)
    same_function(f"adaptive_{kind}_pool2d", rng.normal(size=(3, 8, 9)), output_size=(2, 2))


def test_default_initial_values_have_pytorchs_distribution() -> None:
    graphc.manual_seed(0)
    torch.manual_seed(0)
    for name, arguments in (("Conv1d", (20, 100, 5)), ("Conv2d", (8, 60, 3)), ("ConvTranspose2d", (30, 20, 3))):
        ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for (key, a), (other, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert key == other
            a, b = a.numpy(), b.detach().numpy()
            # a bias has few elements: only its range says something
            spread = 0.2 if key == "bias" else 0.05
            for quantile in (0, 1) if key == "bias" else (0, 0.1, 0.5, 0.9, 1):
                assert np.quantile(a, quantile) == pytest.approx(np.quantile(b, quantile), abs=spread * float(abs(b).max()))


def test_a_network_loads_pytorchs_state_dict_unchanged_and_agrees() -> None:
    def build(nn: Any, **options: Any) -> Any:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, **options), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2, **options),
            nn.ReLU(), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(16, 3, **options),
        )  # fmt: skip

    mine, peer = build(nn, dtype="float64"), build(torch.nn, dtype=torch.float64)
    assert list(mine.state_dict()) == list(peer.state_dict())
    agree(mine, peer, np.random.default_rng(7).normal(size=(3, 1, 12, 11)), parameters=_transferred(mine, peer))
