"""Linear and bilinear maps."""

from __future__ import annotations

from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.functions.convert import promoted
from graphc.functions.products import LETTERS
from graphc.op import rule
from graphc.ops.contract import contraction
from graphc.tensor import Tensor


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
    return _biased("linear", contraction(x, w, lead + "Z", out + "Z", lead + out), bias, w.shape[:-1])


def _biased(function: str, y: Tensor, bias: Any, shape: tuple[int, ...]) -> Tensor:
    if bias is None:
        return y
    _, b = promoted(function, y, bias)
    with rule(function, y, b):
        if b.shape != shape:
            raise ShapeError(f"the bias must have shape {shape}, got {b.shape}")
    return y + b


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x₁ᵀ W x₂ + b over the last axes; `weight` is (out, in1, in2)."""
    x1, x2, w = promoted("bilinear", input1, input2, weight)
    with rule("bilinear", x1, x2, w):
        if (
            w.ndim != 3
            or not x1.ndim
            or not x2.ndim
            or x1.shape[:-1] != x2.shape[:-1]
            or (x1.shape[-1], x2.shape[-1]) != w.shape[1:]
        ):
            raise ShapeError(
                f"expected inputs (..., in1) and (..., in2) and a weight (out, in1, in2), got {x1.type}, {x2.type} and {w.type}"
            )
    return _biased("bilinear", fn.einsum("...i,oij,...j->...o", x1, w, x2), bias, w.shape[:1])
