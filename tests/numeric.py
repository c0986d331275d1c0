"""Values by the interpreter, and gradients against central differences in f64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc
from graphc.graph import Graph
from graphc.interp import run_graph


def evaluate(outputs: Any, **inputs: Any) -> Any:
    """The value of a tensor, or of each of a list."""
    many = [outputs] if isinstance(outputs, graphc.Tensor) else list(outputs)
    reached = [node for node in Graph((), tuple(t.node for t in many)).nodes if node.op.name == "input"]
    arrays = {node.attrs["name"]: np.asarray(inputs[node.attrs["name"]], node.type.dtype) for node in reached}
    values = run_graph(Graph(tuple(reached), tuple(t.node for t in many)), arrays)[0]
    return values[0] if isinstance(outputs, graphc.Tensor) else list(values)


def call(f: Callable[..., graphc.Tensor], *arrays: Any) -> np.ndarray:
    """f of arrays, by the interpreter."""
    values = [np.asarray(array) for array in arrays]
    xs = [graphc.input(f"x{i}", value.shape, value.dtype) for i, value in enumerate(values)]
    return evaluate(f(*xs), **{x.name: value for x, value in zip(xs, values, strict=True)})


def gradients(f: Callable[..., graphc.Tensor], *arrays: Any, weight: np.ndarray | None = None) -> list[np.ndarray]:
    """Gradients of Σ weight · f (weight 1 where None) with respect to all float operands."""
    values = [np.asarray(array) for array in arrays]
    xs = [graphc.input(f"x{i}", value.shape, value.dtype) for i, value in enumerate(values)]
    y = f(*xs)
    v = np.ones(y.shape) if weight is None else weight
    found = graphc.vjp([y], [x for x in xs if x.dtype.kind == "f"], [v])
    return evaluate(found, **{x.name: value for x, value in zip(xs, values, strict=True)})


def check_gradients(f: Callable[..., graphc.Tensor], *arrays: Any, order: int = 2, tolerance: float = 1e-6) -> None:
    """The gradients of f at f64 arrays agree with central differences; those of the gradients too where `order` is 2."""
    arrays = tuple(np.asarray(array) for array in arrays)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1.5, call(f, *arrays).shape)
    floats = [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]
    for i, found in zip(floats, gradients(f, *arrays, weight=weight), strict=True):
        expected = np.zeros_like(arrays[i])
        for at in np.ndindex(arrays[i].shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in arrays]
                moved[i][at] += step
                sides.append(np.sum(weight * call(f, *moved)))
            expected[at] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    if order == 2:
        for i in floats:

            def gradient(*xs: graphc.Tensor, i: int = i) -> graphc.Tensor:
                return graphc.vjp([f(*xs)], xs[i], [weight])

            check_gradients(gradient, *arrays, order=1, tolerance=tolerance)
