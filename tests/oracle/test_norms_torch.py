"""Normalizations against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import grid
from module_peer import same
from torch_peer import same_function, torch

from graphc import nn

pytestmark = pytest.mark.oracle
DTYPES = ("float32", "float64")


def data(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).normal(0.5, 2, shape).astype(dtype)


def pair(name: str, dtype: str, *args: Any, **options: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    peer = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    return getattr(nn, name)(*args, dtype=dtype, **options), peer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 7), (3, 5, 33), (2, 3, 5, 4)], ids=str)
def test_layer_and_rms_norm(shape: tuple[int, ...], dtype: str) -> None:
    for axes in range(1, len(shape)):
        for options in ({}, {"eps": 1e-2}, {"elementwise_affine": False}):
            same(*pair("RMSNorm", dtype, shape[-axes:], **options), data(shape, dtype))
            same(*pair("LayerNorm", dtype, shape[-axes:], **options), data(shape, dtype))
        same(*pair("LayerNorm", dtype, shape[-axes:], bias=False), data(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 12), (2, 6, 11), (2, 6, 5, 3), (1, 6, 2, 3, 4)], ids=str)
def test_group_norm(shape: tuple[int, ...], dtype: str) -> None:
    for groups in (1, 2, 3, 6) if len(shape) > 2 else (1, 2, 3):  # of two values, the derivative is all rounding
        for options in ({}, {"eps": 1e-2}, {"affine": False}):
            same(*pair("GroupNorm", dtype, groups, shape[1], **options), data(shape, dtype))


BATCH = [("BatchNorm1d", (8, 5)), ("BatchNorm1d", (3, 5, 7)), ("BatchNorm2d", (3, 5, 7, 3)), ("BatchNorm2d", (2, 17, 9, 9))]
BATCH_OPTIONS: list[dict[str, Any]] = [
    {}, {"eps": 1e-2}, {"momentum": 0.37}, {"momentum": None}, {"affine": False}, {"track_running_stats": False},
    {"affine": False, "track_running_stats": False}, {"momentum": 1.0}, {"momentum": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "options", "training"), grid(BATCH, BATCH_OPTIONS, (True, False)), ids=str)
def test_batch_norm(kind: tuple[str, tuple[int, ...]], options: dict[str, Any], training: bool, dtype: str) -> None:
    name, shape = kind
    same(*pair(name, dtype, shape[1], **options), data(shape, dtype), training=training)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_inside_a_network_called_twice(momentum: float | None, dtype: str) -> None:
    def forward(self: Any, x: Any, y: Any) -> Any:
        return self.bn(self.fc(x)) + 0.5 * self.bn(self.fc(y) * 3)

    def make(lib: Any, kind: Any) -> Any:
        made = type("Twice", (lib.Module,), {"forward": forward})()
        made.fc, made.bn = lib.Linear(4, 5, dtype=kind), lib.BatchNorm1d(5, momentum=momentum, dtype=kind)
        return made

    same(
        make(nn, dtype), make(torch.nn, getattr(torch, dtype)),
        data((6, 4), dtype), data((6, 4), dtype)[::-1].copy(), name="nn.BatchNorm1d",
    )  # fmt: skip


INSTANCE = [
    ("InstanceNorm1d", (3, 5, 7)), ("InstanceNorm1d", (5, 33)), ("InstanceNorm2d", (3, 5, 7, 3)), ("InstanceNorm2d", (5, 7, 3)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "shape"), INSTANCE, ids=str)
def test_instance_norm(name: str, shape: tuple[int, ...], training: bool, dtype: str) -> None:
    for options in ({}, {"affine": True}, {"affine": True, "track_running_stats": True, "momentum": 0.3}, {"eps": 0.1}):
        same(*pair(name, dtype, 5, **options), data(shape, dtype), training=training)


def test_functions() -> None:
    rng = np.random.default_rng(0)
    for shape in ((4, 6), (2, 6, 5), (2, 6, 3, 4)):
        x, w, b, mean, var = (rng.normal(size=s) for s in (shape, 6, 6, 6, 6))
        # PyTorch has no derivative with respect to running statistics
        same_function("batch_norm", x, running_mean=mean, running_var=var**2, weight=w, bias=b)
        same_function("batch_norm", x, running_mean=None, running_var=None, training=True)
        same_function("group_norm", x, num_groups=3, weight=w, bias=b)
        same_function("rms_norm", x, normalized_shape=shape[1:])
        if len(shape) > 2:
            same_function("instance_norm", x, weight=w, bias=b)
            same_function("instance_norm", x, running_mean=mean, running_var=var**2, use_input_stats=False)
