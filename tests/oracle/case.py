"""Configurations as data: what to call, with which arguments, on which arrays.

    "Linear": [Case((5, 3), {"bias": False}, inputs=[(4, 5)])]

A shape stands for an array of normal numbers; other arrays are drawn by functions of a generator. Floats are cast to the type
under test, in arguments too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[tuple[int, ...] | Draw] = ((3, 5),)
    training: bool = True
    call: Callable[..., Any] | None = None  # (module, *tensors) -> outputs, for either library
    perturbed: bool = True  # move what PyTorch's module starts with
    limits: Mapping[str, float] = field(default_factory=dict)  # where the general ones do not hold, by type

    def arrays(self, dtype: str) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        drawn = [one(rng) if callable(one) else rng.normal(size=one) for one in self.inputs]
        return [typed(np.asarray(one), dtype) for one in drawn]

    def named(self, dtype: str, lift: Callable[[np.ndarray], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position and by name; arrays among them through `lift`."""

        def value(one: Any) -> Any:
            return lift(typed(one, dtype)) if isinstance(one, np.ndarray) else one

        return [value(one) for one in self.args], {key: value(one) for key, one in self.options.items()}


def typed(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def positive(*shape: int) -> Draw:
    return lambda rng: rng.uniform(0.1, 2, shape)


def unit(*shape: int) -> Draw:
    return lambda rng: rng.uniform(0.02, 0.98, shape)


def signs(*shape: int) -> Draw:
    return lambda rng: np.sign(rng.normal(size=shape))


def labels(classes: int, *shape: int) -> Draw:
    return lambda rng: np.asarray(rng.integers(0, classes, shape))


def some_ignored(classes: int, *shape: int, index: int = -100) -> Draw:
    def draw(rng: np.random.Generator) -> np.ndarray:
        y = np.asarray(rng.integers(0, classes, shape))
        y.reshape(-1)[::3] = index
        return y

    return draw


def distributions(*shape: int) -> Draw:
    """Probabilities that sum to 1 along axis 1."""
    return lambda rng: (lambda p: p / p.sum(1, keepdims=True))(rng.uniform(0.1, 1, shape))


def slow(values: Iterable[Any]) -> list[Any]:
    """Parameters that only the full grids take; a tuple is several."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in values]


def grid(*axes: Iterable[Any]) -> list[Any]:
    """All combinations; by default only as many of them as hold every pair of values of every two axes, chosen greedily. The
    others are slow."""
    combinations = list(itertools.product(*map(list, axes)))
    places = list(itertools.combinations(range(len(axes)), 2)) if len(axes) > 1 else [(0, 0)]

    def pairs(one: tuple[Any, ...]) -> set[tuple[int, int, str, str]]:
        return {(i, j, repr(one[i]), repr(one[j])) for i, j in places}

    missing, kept = set().union(*map(pairs, combinations)), set()
    while missing:
        best = max(range(len(combinations)), key=lambda k: len(pairs(combinations[k]) & missing))
        kept.add(best)
        missing -= pairs(combinations[best])
    return [pytest.param(*one, marks=() if k in kept else pytest.mark.slow) for k, one in enumerate(combinations)]
