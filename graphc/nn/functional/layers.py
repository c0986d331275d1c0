"""What layers compute: linear and bilinear maps, normalization."""

from __future__ import annotations

from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.functions.convert import promoted
from graphc.functions.products import LETTERS
from graphc.nn.functional.common import floats, number
from graphc.op import rule
from graphc.ops.contract import contraction
from graphc.tensor import Tensor
from graphc.types import as_shape, normalize_axes


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """x Wᵀ + b over the last axis of `input`; `weight` is (out, in), or (in,) for a single output without an axis."""
    x, w = promoted("linear", input, weight)
    with rule("linear", x, w):
        if x.ndim == 0 or w.ndim not in (1, 2):
            raise ShapeError(f"expected an input with at least one axis and a weight (out, in), got {x.type} and {w.type}")
        if x.shape[-1] != w.shape[-1]:
            raise ShapeError(f"the input has {x.shape[-1]} features, the weight expects {w.shape[-1]}")
    lead = LETTERS[: x.ndim - 1]
    out = "Y" if w.ndim == 2 else ""
    y = contraction(x, w, lead + "Z", out + "Z", lead + out)
    if bias is None:
        return y
    bias = fn.as_tensor(bias)
    with rule("linear", x, w, bias):
        if bias.shape != w.shape[:-1]:
            raise ShapeError(f"the bias must have shape {w.shape[:-1]}, got {bias.shape}")
    return y + bias
