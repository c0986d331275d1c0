"""Attention (Vaswani et al., 2017): softmax(Q Kᵀ/√d + mask) V."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn.functional.common import number, only_floats, with_derivative
from graphc.nn.functional.dropout import dropout
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import bool_, broadcast_shapes, is_float


def causal_mask(rows: int, columns: int) -> Tensor:
    """True where key j may be seen from query i: j <= i."""
    return fn.expand_dims(fn.arange(rows, dtype="int32"), 1) >= fn.arange(columns, dtype="int32")


def _weights(scores: Tensor) -> Tensor:
    """Softmax over the last axis; 0 everywhere, and not 0/0, for a query whose scores are all -inf."""
    if not scores.shape[-1]:
        return scores
    peak = fn.stop_gradient(fn.max(scores, axis=-1, keepdims=True))
    blind = peak == -math.inf
    e = fn.exp(scores - fn.where(blind, 0, peak))
    return e * (1 / fn.where(blind, 1, fn.sum(e, axis=-1, keepdims=True)))


def _weights_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    p = attention_weights(operands[0])
    return [p * (v - fn.sum(v * p, axis=-1, keepdims=True))]


attention_weights = with_derivative("attention_weights", _weights, _weights_backward)


def _mixed(scores: Tensor, value: Tensor, factor: Tensor | None = None) -> Tensor:
    """softmax(scores) · factor, times the values."""
    p = attention_weights(scores)
    return fn.einsum("...hls,...she->...lhe", p if factor is None else p * factor, value)


def _mixed_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    """Of o = P V: dV = Pᵀ dO and dS = P (dO Vᵀ - Σ dO o): the sum over keys Σ P dP is one over features, so dS takes no sweep
    over scores but the product that makes it (Dao et al., 2022)."""
    scores, value, *rest = operands
    factor = rest[0] if rest else None
    p = attention_weights(scores)
    along = fn.sum(v * _mixed(scores, value, factor), axis=-1)  # (..., L, H)
    to_weights = fn.einsum("...lhe,...she->...hls", v, value)
    if factor is not None:
        to_weights = to_weights * factor
    to_scores = p * (to_weights - fn.expand_dims(fn.matrix_transpose(along), along.ndim))
    to_value = fn.einsum("...hls,...lhe->...she", p if factor is None else p * factor, v)
    return [to_scores, to_value, None][: len(operands)]


# Scores and factors (..., H, L, S) and values (..., S, H, E) give (..., L, H, E): where heads are slices of features, as in
# multi-head attention, nothing is transposed.
attention_mix = with_derivative("attention_mix", _mixed, _mixed_backward)


def masked_scores(scores: Tensor, keep: Tensor | None = None, bias: Tensor | None = None, causal: bool = False) -> Tensor:
    """scores + bias, and -inf where `keep` is false or, if causal, key j > query i. `keep` and `bias` broadcast to the scores."""
    if bias is not None:
        scores = scores + bias
    if keep is not None:
        scores = fn.where(keep, scores, -math.inf)
    return fn.where(causal_mask(*scores.shape[-2:]), scores, -math.inf) if causal else scores


def dropout_factor(scores: Tensor, p: float) -> Tensor | None:
    """What dropout multiplies the weights by; None where it changes nothing."""
    return dropout(fn.ones_like(scores), p) if p else None


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

    attn_mask broadcasts to (..., L, S): boolean, True where a key takes part, or floats that are added. is_causal lets query i
    see the keys up to i, and goes without attn_mask. dropout_p drops weights always; pass 0 in evaluation. With enable_gqa the
    heads of key and value (axis -3) serve several heads of the query each. A query that sees no key gives 0.
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
    scores = fn.broadcast_to(scores, (*lead, *scores.shape[-2:]))
    keep = bias = None
    if attn_mask is not None:
        mask = checked_mask(name, "attn_mask", attn_mask, (*lead, *scores.shape[-2:]), q)
        keep, bias = (mask, None) if mask.dtype == bool_ else (None, mask)
    scores = masked_scores(scores, keep, bias, bool(is_causal))
    factor = dropout_factor(scores, dropout_p)
    v = fn.broadcast_to(v, (*scores.shape[:-2], *v.shape[-2:]))
    if scores.ndim == 4:
        return _heads_first(scores, v, factor)
    # without an axis of heads, or with more than one before it: batch axes, and one head
    batch = math.prod(scores.shape[:-2])

    def one_head(x: Tensor) -> Tensor:
        return fn.reshape(x, (batch, 1, *x.shape[-2:]))

    mixed = _heads_first(one_head(scores), one_head(v), None if factor is None else one_head(factor))
    return fn.reshape(mixed, (*scores.shape[:-1], v.shape[-1]))


def _heads_first(scores: Tensor, value: Tensor, factor: Tensor | None) -> Tensor:
    """attention_mix of values (N, H, S, E), giving (N, H, L, E)."""
    value = fn.swapaxes(value, 1, 2)
    return fn.swapaxes(attention_mix(scores, value) if factor is None else attention_mix(scores, value, factor), 1, 2)


def _repeated(name: str, x: Tensor, q: Tensor) -> Tensor:
    """The heads (axis -3) of a key or value, each repeated for the query heads that it serves."""
    with rule(name, x, q):
        if min(x.ndim, q.ndim) < 3 or not x.shape[-3] or q.shape[-3] % x.shape[-3]:
            raise ShapeError(f"enable_gqa needs query heads in multiples of key and value heads, got {q.type} and {x.type}")
    times = q.shape[-3] // x.shape[-3]
    return x if times == 1 else fn.repeat(x, times, axis=-3)
