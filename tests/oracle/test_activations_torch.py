"""Activations and layers against PyTorch: values and gradients over a grid of options, shapes and special points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_peer import agree, same_function, same_module, torch

import graphc.nn.functional as F
from graphc import nn

pytestmark = pytest.mark.oracle

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -0.5}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("logsigmoid", {}),
    ("softsign", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.5, "threshold": 3.0}),
    ("softplus", {"beta": -1.5}),
    ("silu", {}),
    ("mish", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("elu", {}),
    ("elu", {"alpha": 2.5}),
    ("celu", {}),
    ("celu", {"alpha": 0.4}),
    ("selu", {}),
]
MODULES = {
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "hardtanh": "Hardtanh", "hardsigmoid": "Hardsigmoid",
    "hardswish": "Hardswish", "sigmoid": "Sigmoid", "tanh": "Tanh", "logsigmoid": "LogSigmoid", "softsign": "Softsign",
    "softplus": "Softplus", "silu": "SiLU", "mish": "Mish", "gelu": "GELU", "elu": "ELU", "celu": "CELU", "selu": "SELU",
}  # fmt: skip
# infinities where the limit is of the form 0 * inf, and rounding decides between NaN and a number
UNDEFINED = {"silu", "mish", "gelu", "softsign", "hardswish"}


# PyTorch keeps 1/6 and 1/alpha in single precision
SINGLE = {"hardsigmoid", "celu"}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_elementwise(name: str, options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(0)
    tolerance = 2e-6 if name in SINGLE and dtype == "f8" else None
    for shape in ((), (1,), (3, 5), (2, 3, 19), (0, 4)):
        x = np.asarray(rng.normal(0, 3, shape), dtype)
        same_function(name, x, tolerance=tolerance, **options)
        same_module(MODULES[name], x, tolerance=tolerance, **options)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_kinks_and_extremes(name: str, options: dict[str, Any], dtype: str) -> None:
    points = [0.0, -0.0, 1.0, -1.0, 6.0, -3.0, 3.0, -0.5, 2.0, 1e-30, -1e-30, 19.0, 21.0, -30.0, 80.0, -80.0, 1e4, -1e4]
    if name not in UNDEFINED:
        points += [np.inf, -np.inf]
    same_function(name, np.array(points, dtype), tolerance=2e-6 if name in SINGLE and dtype == "f8" else None, **options)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("name", "module"), [("softmax", "Softmax"), ("log_softmax", "LogSoftmax"), ("softmin", "Softmin")])
def test_softmax(name: str, module: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    for shape, dim in (((7,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 19), -2), ((4, 1), 1), ((0, 3), 1), ((3, 0), 1)):
        x = rng.normal(0, 5, shape).astype(dtype)
        same_function(name, x, dim=dim)
        same_module(module, x, dim=dim)
    large = np.array([[1e4, 1e4, -1e4], [-1e30, 3, 2], [np.nan, 0, 1], [-np.inf, 0, 1], [np.inf, 0, 1], [-np.inf] * 3], dtype)
    same_function(name, large, dim=1)
    agree(
        lambda x: getattr(F, name)(x, dim=1, dtype="float64"),
        lambda x: getattr(torch.nn.functional, name)(x, dim=1, dtype=torch.float64),
        large[:2],
    )


@pytest.mark.parametrize("p", [1, 2, 2.0, 3, 2.5, np.inf])
def test_normalize(p: float) -> None:
    x = np.random.default_rng(2).normal(size=(4, 3, 5))
    x[1] = 0
    for dim in (0, 1, -1):
        same_function("normalize", x, p=p, dim=dim)
    same_function("normalize", x, p=p, eps=3.0)


def test_glu_and_prelu() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 4, 5))
    same_function("glu", x, dim=1)
    same_module("GLU", x, dim=1)
    for count in (1, 4):
        same_function("prelu", x, rng.normal(size=count))
    same_function("prelu", rng.normal(size=7), rng.normal(size=1))


def _transferred(mine: nn.Module, peer: Any) -> tuple[Any, Any]:
    """Both modules with PyTorch's values, loaded unchanged."""
    assert mine.load_state_dict(peer.state_dict()) == ([], [])
    assert [name for name, _ in mine.named_parameters()] == [name for name, _ in peer.named_parameters()]
    return list(mine.parameters()), list(peer.parameters())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(dtype: str, bias: bool) -> None:
    rng = np.random.default_rng(4)
    for shape, out in (((5,), 3), ((4, 5), 1), ((2, 3, 1), 7), ((0, 5), 3), ((2, 3, 4, 5), 2), ((3, 2), 0)):
        mine, peer = (
            nn.Linear(shape[-1], out, bias, dtype=dtype),
            torch.nn.Linear(shape[-1], out, bias, dtype=getattr(torch, dtype)),
        )
        agree(mine, peer, rng.normal(size=shape).astype(dtype), parameters=_transferred(mine, peer), name="nn.Linear")
    w = rng.normal(size=5).astype(dtype)
    agree(F.linear, torch.nn.functional.linear, rng.normal(size=(4, 5)).astype(dtype), w)


def test_bilinear() -> None:
    rng = np.random.default_rng(5)
    for bias in (True, False):
        mine, peer = nn.Bilinear(3, 4, 2, bias, dtype="float64"), torch.nn.Bilinear(3, 4, 2, bias, dtype=torch.float64)
        parameters = _transferred(mine, peer)
        for lead in ((), (5,), (2, 3)):
            agree(mine, peer, rng.normal(size=(*lead, 3)), rng.normal(size=(*lead, 4)), parameters=parameters, name="nn.Bilinear")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
def test_layer_norm(dtype: str, affine: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(6)
    for shape, normalized in (((4, 7), 7), ((2, 3, 5), (3, 5)), ((6,), 6), ((0, 3), 3), ((2, 33), 33)):
        kind = getattr(torch, dtype)
        mine = nn.LayerNorm(normalized, 1e-3, *affine, dtype=dtype)
        peer = torch.nn.LayerNorm(normalized, 1e-3, *affine, dtype=kind)
        for parameter in peer.parameters():
            torch.nn.init.normal_(parameter)
        agree(
            mine,
            peer,
            rng.normal(2, 3, shape).astype(dtype),
            parameters=_transferred(mine, peer),
            tolerance=1e-4 if dtype == "float32" else None,  # of each element: 7e-6 of the largest, but some are near 0
            name="nn.LayerNorm",
        )


def test_a_network_loads_pytorchs_state_dict_unchanged_and_agrees() -> None:
    def build(nn: Any, **options: Any) -> Any:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8, **options), nn.LayerNorm(8, **options), nn.GELU(),
            nn.Sequential(nn.Linear(8, 8, bias=False, **options), nn.PReLU(8, **options)), nn.Identity(),
            nn.Unflatten(1, (2, 4)), nn.Softmax(-1),
        )  # fmt: skip

    mine, peer = build(nn, dtype="float64"), build(torch.nn, dtype=torch.float64)
    assert list(mine.state_dict()) == list(peer.state_dict())
    agree(mine, peer, np.random.default_rng(7).normal(size=(5, 3, 4)), parameters=_transferred(mine, peer))
    # and the other way round
    peer.load_state_dict({name: torch.tensor(array) for name, array in build(nn, dtype="float64").state_dict().items()})


def test_default_initial_values_have_pytorchs_distribution() -> None:
    for ours, theirs in (
        (nn.Linear(50, 4000), torch.nn.Linear(50, 4000)),
        (nn.Bilinear(20, 10, 500), torch.nn.Bilinear(20, 10, 500)),
    ):
        for (name, a), (other, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert name == other
            a, b = a.numpy(), b.detach().numpy()
            for quantile in (0, 0.1, 0.5, 0.9, 1):
                assert np.quantile(a, quantile) == pytest.approx(np.quantile(b, quantile), abs=0.2 * float(b.max()))


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name: str) -> None:
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.2) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2))
