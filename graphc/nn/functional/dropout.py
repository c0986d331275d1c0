"""Dropout (Srivastava et al., 2014), inverted: what stays is scaled by 1/(1 - p), so that evaluation changes nothing.

The mask is a function of the executable's seed and counter: the backward graph computes the same bits again, nothing is stored.
"""

from __future__ import annotations

from typing import Any

import graphc.functions as fn
import graphc.random as random
from graphc.errors import ShapeError
from graphc.nn.functional.common import floats, number, pure
from graphc.op import rule
from graphc.tensor import Tensor


def _dropped(x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """x with one draw for each element of `shape`, which broadcasts to the shape of x."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    return fn.where(random.bernoulli(1 - p, shape), x * scale, 0)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """0 with probability p, else x/(1 - p); x itself where `training` is false."""
    pure("dropout", inplace)
    p = number("dropout", "p", p, low=0.0, high=1.0)
    (x,) = floats("dropout", input)
    return _dropped(x, p, x.shape) if training and p else x


def _channels(
    function: str, input: Any, p: float, training: bool, inplace: bool, layouts: dict[int, str], spatial: int
) -> Tensor:
    """Dropout of whole channels: one draw for all of the last `spatial` axes. `layouts` names the axes for each rank."""
    pure(function, inplace)
    p = number(function, "p", p, low=0.0, high=1.0)
    (x,) = floats(function, input)
    with rule(function, x):
        if x.ndim not in layouts:
            raise ShapeError(f"expected an input {' or '.join(layouts.values())}, got {x.type}")
    return _dropped(x, p, (*x.shape[:-spatial], *(1 for _ in range(spatial)))) if training and p else x


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L)."""
    return _channels("dropout1d", input, p, training, inplace, {3: "(N, C, L)", 2: "(C, L)"}, 1)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W). An input of three axes, which PyTorch takes as (N, C, L) with a warning, is
    refused: that is dropout1d."""
    return _channels("dropout2d", input, p, training, inplace, {4: "(N, C, H, W)"}, 2)
