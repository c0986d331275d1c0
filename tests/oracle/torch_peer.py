"""One function in graphc and in PyTorch on the same arrays: outputs and gradients of all float operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from found import record

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.graph import Graph
from graphc.interp import run_graph
from graphc.nn import Parameter

torch = pytest.importorskip("torch")

TOLERANCES = {np.dtype("f4"): 2e-5, np.dtype("f8"): 1e-10}


def ours(f: Callable[..., Any], arrays: Sequence[np.ndarray], parameters: Sequence[Parameter] = ()) -> list[np.ndarray]:
    """f's output and the gradients of a fixed weighted sum of it with respect to all float arrays, then parameters."""
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    y = f(*xs)
    wrt = [x for x in (*xs, *parameters) if x.dtype.kind == "f"]
    gradients = graphc.vjp([y], wrt, [cotangent(y.shape)]) if wrt else []
    graph = Graph(tuple(x.node for x in xs), tuple(t.node for t in (y, *gradients)))
    return list(run_graph(graph, list(arrays))[0])


def theirs(f: Callable[..., Any], arrays: Sequence[np.ndarray], parameters: Sequence[Any] = ()) -> list[np.ndarray]:
    xs = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    y = f(*xs)
    wrt = [x for x in (*xs, *parameters) if x.requires_grad]
    if not wrt:
        return [y.numpy()]
    gradients = torch.autograd.grad(y, wrt, torch.tensor(cotangent(tuple(y.shape)), dtype=y.dtype), allow_unused=True)
    zeros = [torch.zeros_like(x) if g is None else g for x, g in zip(wrt, gradients, strict=True)]
    return [t.detach().numpy() for t in (y, *zeros)]


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.5, 1.5, shape)


def agree(
    mine: Callable[..., Any],
    peer: Callable[..., Any],
    *arrays: np.ndarray,
    tolerance: float | None = None,
    parameters: tuple[Sequence[Parameter], Sequence[Any]] = ((), ()),
    name: str | None = None,
) -> None:
    """Outputs and gradients agree, NaN with NaN and infinity with infinity. The error is recorded under `name`."""
    got, expected = ours(mine, arrays, parameters[0]), theirs(peer, arrays, parameters[1])
    assert len(got) == len(expected)
    worst = 0.0
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, (i, a.dtype, b.dtype)
        limit = TOLERANCES[a.dtype] if tolerance is None else tolerance
        finite = np.abs(b[np.isfinite(b)])
        scale = float(finite.max()) if finite.size else 1.0
        np.testing.assert_allclose(
            a, b, rtol=limit, atol=limit * max(min(scale, 1.0), 1e-30), err_msg="output" if not i else f"gradient {i}"
        )
        known = np.isfinite(b)
        if finite.size and scale:
            worst = max(worst, float(np.abs(a[known].astype("f8") - b[known]).max()) / scale)
    if name:
        record(name, str(expected[0].dtype), worst)


def same_function(name: str, *arrays: np.ndarray, tolerance: float | None = None, **options: Any) -> None:
    """The functions of a name agree. Options that are arrays are constants."""
    peer = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    agree(
        partial(getattr(F, name), **options),
        partial(getattr(torch.nn.functional, name), **peer),
        *arrays,
        tolerance=tolerance,
        name=f"F.{name}",
    )


def same_module(name: str, *arrays: np.ndarray, tolerance: float | None = None, **options: Any) -> None:
    """The modules of a name agree, and so do their state dicts. Options that are arrays are buffers."""
    peer_options = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    mine, peer = getattr(nn, name)(**options), getattr(torch.nn, name)(**peer_options)
    assert list(mine.state_dict()) == list(peer.state_dict())
    agree(mine, peer, *arrays, tolerance=tolerance, name=f"nn.{name}")
