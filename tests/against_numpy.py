"""Functions on tensors beside functions of arrays: the same call of both must give the same, by the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc
from graphc.graph import Graph
from graphc.interp import run_graph
from graphc.tensor import Tensor

RNG = np.random.default_rng(0)
Arrays = tuple[np.ndarray, ...]


def run(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """What a function of tensors gives for arrays: an array, or a list where it returns a list."""
    inputs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    result = function(*inputs)
    many = [result] if isinstance(result, Tensor) else list(result)
    outputs, _ = run_graph(Graph(tuple(x.node for x in inputs), tuple(y.node for y in many)), arrays)
    return outputs[0] if isinstance(result, Tensor) else list(outputs)


def agree(found: Any, expected: Any, rtol: float = 1e-6) -> None:
    if isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, rtol)
        return
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-6)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def check(function: Callable[..., Any], reference: Callable[..., Any], *arrays: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        agree(run(function, *arrays), reference(*arrays))
