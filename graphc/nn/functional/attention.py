"""Attention (Vaswani et al., 2017): softmax(Q Kᵀ/√d + mask) V."""

from __future__ import annotations

import math
from typing import Any

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn.functional.activations import shifted_exponentials
from graphc.nn.functional.common import number, only_floats
from graphc.nn.functional.dropout import dropout
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import bool_, broadcast_shapes, is_float


def causal_mask(rows: int, columns: int) -> Tensor:
    """True where key j may be seen from query i: j <= i."""
    return fn.expand_dims(fn.arange(rows, dtype="int32"), 1) >= fn.arange(columns, dtype="int32")


def masked_softmax(scores: Tensor, keep: Tensor | None = None, bias: Tensor | None = None, causal: bool = False) -> Tensor:
    """Softmax over the last axis of scores + bias where `keep` is true and, if causal, key j <= query i; 0 elsewhere. A query that
    sees no key has weight 0 everywhere, and not 0/0. `keep` and `bias` broadcast to the scores."""
    if bias is not None:
        scores = scores + bias
    if keep is not None:
        scores = fn.where(keep, scores, -math.inf)
    if causal:
        scores = fn.where(causal_mask(*scores.shape[-2:]), scores, -math.inf)
    if keep is None and bias is None:  # under a causal mask alone every query sees the first key
        _, e, total = shifted_exponentials(scores, scores.ndim - 1)
        return e * (1 / total)
    peak = fn.stop_gradient(fn.max(scores, axis=-1, keepdims=True))
    blind = peak == -math.inf
    e = fn.exp(scores - fn.where(blind, 0, peak))
    total = fn.sum(e, axis=-1, keepdims=True)
    return e * (1 / fn.where(blind, 1, total))


def checked_mask(function: str, argument: str, mask: Any, scores: tuple[int, ...], x: Tensor) -> Tensor:
    """A mask, boolean or in the type of x, that broadcasts to the shape of the scores."""
    m = fn.as_tensor(mask)
    with rule(function, x, m):
        if m.dtype != bool_ and not is_float(m.dtype):
            raise DTypeError(f"{argument} must be boolean or float, got {m.type}")
        try:
            fits = broadcast_shapes(m.shape, scores) == scores
        except ShapeError:
            fits = False
        if not fits:
            raise ShapeError(f"{argument} of shape {m.shape} does not broadcast to the scores' shape {scores}")
    return m if m.dtype == bool_ else fn.astype(m, x.dtype)


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) V for query (..., L, E), key (..., S, E) and value (..., S, Ev); scale is 1/√E unless given.

    attn_mask broadcasts to (..., L, S): boolean, True where a key takes part, or floats that are added. is_causal lets query i see
    the keys up to i, and goes without attn_mask. dropout_p drops weights always; pass 0 in evaluation. With enable_gqa the heads of
    key and value (axis -3) serve several heads of the query each. A query that sees no key gives 0.
    """
    name = "scaled_dot_product_attention"
    q, k, v = only_floats(name, query, key, value)
    number(name, "dropout_p", dropout_p, low=0.0, high=1.0)
    with rule(name, q, k, v):
        if min(q.ndim, k.ndim, v.ndim) < 2:
            raise ShapeError(f"query, key and value need at least two axes, got {q.type}, {k.type} and {v.type}")
        if q.shape[-1] != k.shape[-1]:
            raise ShapeError(f"query and key differ in their last axis, {q.shape[-1]} != {k.shape[-1]}")
        if k.shape[-2] != v.shape[-2]:
            raise ShapeError(f"key and value differ in length, {k.shape[-2]} != {v.shape[-2]}")
        if attn_mask is not None and is_causal:
            raise InputError("attn_mask must be None where is_causal is True")
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    number(name, "scale", scale)
    if enable_gqa:
        k, v = (_repeated(name, x, q) for x in (k, v))
    with rule(name, q, k, v):
        lead = broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    scores = fn.matmul(q, fn.matrix_transpose(k)) * scale
    keep = bias = None
    if attn_mask is not None:
        mask = checked_mask(name, "attn_mask", attn_mask, (*lead, *scores.shape[-2:]), q)
        keep, bias = (mask, None) if mask.dtype == bool_ else (None, mask)
        if mask.ndim > scores.ndim:  # the values have more batch axes than the scores, and so has the mask
            scores = fn.broadcast_to(scores, (*lead, *scores.shape[-2:]))
    return fn.matmul(dropout(masked_softmax(scores, keep, bias, bool(is_causal)), dropout_p), v)


def _repeated(name: str, x: Tensor, q: Tensor) -> Tensor:
    """The heads (axis -3) of a key or value, each repeated for the query heads that it serves."""
    with rule(name, x, q):
        if min(x.ndim, q.ndim) < 3 or not x.shape[-3] or q.shape[-3] % x.shape[-3]:
            raise ShapeError(f"enable_gqa needs the query's heads to be a multiple of those of key and value, got {q.type} and {x.type}")
    times = q.shape[-3] // x.shape[-3]
    return x if times == 1 else fn.repeat(x, times, axis=-3)
