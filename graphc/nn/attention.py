"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn import init
from graphc.nn.functional.attention import attention_mix, attention_weights, dropout_factor, masked_scores
from graphc.nn.functional.common import number, only_floats, refuse
from graphc.nn.linear import Linear, float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import bool_, is_float


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces: concat_h(softmax(Q_h K_hᵀ/√d) V_h) W_oᵀ + b_o with Q = query W_qᵀ + b_q and so on, d =
    embed_dim/num_heads (Vaswani et al., 2017).

    in_proj_weight (3 embed_dim, embed_dim) holds W_q, W_k and W_v one above the other; with kdim or vdim other than embed_dim
    they are q_proj_weight, k_proj_weight (embed_dim, kdim) and v_proj_weight (embed_dim, vdim). in_proj_bias is (3 embed_dim,).
    Weights start Xavier-uniform, biases at 0.
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        name = "MultiheadAttention"
        refuse(name, "add_bias_kv", add_bias_kv, "append the row to key and value instead")
        refuse(name, "add_zero_attn", add_zero_attn, "append a row of zeros to key and value instead")
        self.embed_dim = size(name, "embed_dim", embed_dim, 1)
        self.num_heads = size(name, "num_heads", num_heads, 1)
        if self.embed_dim % self.num_heads:
            raise InputError(f"{name}: embed_dim={embed_dim} must be divisible by num_heads={num_heads}")
        self.head_dim = self.embed_dim // self.num_heads
        self.kdim = self.embed_dim if kdim is None else size(name, "kdim", kdim, 1)
        self.vdim = self.embed_dim if vdim is None else size(name, "vdim", vdim, 1)
        self.dropout = number(name, "dropout", dropout, low=0.0, high=1.0)
        self.batch_first = bool(batch_first)
        kind = float_type(name, dtype, device)
        together = self.kdim == self.vdim == self.embed_dim

        def weight(rows: int, columns: int, present: bool) -> Parameter | None:
            return Parameter(np.zeros((rows, columns), kind)) if present else None

        e = self.embed_dim
        if not together:
            self.register_parameter("q_proj_weight", weight(e, e, True))
            self.register_parameter("k_proj_weight", weight(e, self.kdim, True))
            self.register_parameter("v_proj_weight", weight(e, self.vdim, True))
        self.register_parameter("in_proj_weight", weight(3 * e, e, together))
        self.register_parameter("in_proj_bias", Parameter(np.zeros(3 * e, kind)) if bias else None)
        self.out_proj = Linear(e, e, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values afresh; the output's weight stays."""
        for name, parameter in self.named_parameters(recurse=False):
            if name == "in_proj_bias":
                init.zeros_(parameter)
            else:
                init.xavier_uniform_(parameter)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, shaped as the query, and the weights (N, L, S), their mean over the heads; (N, num_heads, L, S) without
        average_attn_weights; None without need_weights.

        query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), N first with batch_first, or without N. attn_mask (L, S) or
        (N · num_heads, L, S) and key_padding_mask (N, S): boolean, True where a key is *not* seen, or floats added to the scores.
        is_causal hides keys j > i; together with attn_mask it is a hint that changes nothing. A query that sees no key gets no
        values, where PyTorch may give NaN.
        """
        shared_kv, shared = key is value, query is key is value
        q, k, v = only_floats("MultiheadAttention", query, key, value)
        with rule("MultiheadAttention", q, k, v):
            self._check(q, k, v)
        batched = q.ndim == 3
        if not batched:
            q, k, v = (fn.expand_dims(each, 0) for each in (q, k, v))
        elif not self.batch_first:
            q, k, v = (fn.swapaxes(each, 0, 1) for each in (q, k, v))
        n, rows, columns = q.shape[0], q.shape[1], k.shape[1]
        q, k, v = (
            fn.reshape(each, (n, each.shape[1], self.num_heads, self.head_dim))
            for each in self._projected(q, k, v, shared, shared_kv)
        )
        keep, bias = self._masks(attn_mask, key_padding_mask, (n, rows, columns), batched, q)
        scores = fn.einsum("nlhe,nshe->nhls", q, k) * (1 / math.sqrt(self.head_dim))
        scores = masked_scores(scores, keep, bias, is_causal and attn_mask is None)
        factor = dropout_factor(scores, self.dropout if self.training else 0.0)
        mixed = attention_mix(scores, v) if factor is None else attention_mix(scores, v, factor)
        y = self.out_proj(fn.reshape(mixed, (n, rows, self.embed_dim)))
        if batched and not self.batch_first:
            y = fn.swapaxes(y, 0, 1)
        if not need_weights:
            return (y if batched else fn.squeeze(y, 0)), None
        weights = attention_weights(scores) if factor is None else attention_weights(scores) * factor
        if average_attn_weights:
            weights = fn.mean(weights, axis=1)
        return (y, weights) if batched else (fn.squeeze(y, 0), fn.squeeze(weights, 0))

    def _check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        if q.ndim not in (2, 3) or not q.ndim == k.ndim == v.ndim:
            raise ShapeError(f"query, key and value must have 2 axes or 3 (a batch) alike, got {q.type}, {k.type} and {v.type}")
        for name, x, width in (("query", q, self.embed_dim), ("key", k, self.kdim), ("value", v, self.vdim)):
            if x.shape[-1] != width:
                raise ShapeError(f"the {name} has {x.shape[-1]} features, expected {width}")
        time, batch = (1, 0) if self.batch_first and q.ndim == 3 else (0, 1)
        if k.shape[time] != v.shape[time]:
            raise ShapeError(f"key and value differ in length, {k.shape[time]} != {v.shape[time]}")
        if q.ndim == 3 and not q.shape[batch] == k.shape[batch] == v.shape[batch]:
            raise ShapeError(f"query, key and value differ in batch size, got {q.type}, {k.type} and {v.type}")

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, shared: bool, shared_kv: bool) -> list[Tensor]:
        """Q, K and V; as one product where they come from one tensor."""
        e = self.embed_dim
        b = self.in_proj_bias
        if self.in_proj_weight is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            biases = [None] * 3 if b is None else fn.split(b, 3)
            return [F.linear(x, w, bias) for x, w, bias in zip((q, k, v), weights, biases, strict=True)]
        if shared:
            return fn.split(F.linear(q, self.in_proj_weight, b), 3, axis=-1)
        cuts = [e] if shared_kv else [e, 2 * e]
        parts = [
            F.linear(x, weight, bias)
            for x, weight, bias in zip(
                (q, k, v), fn.split(self.in_proj_weight, cuts), [None] * 3 if b is None else fn.split(b, cuts), strict=False
            )
        ]
        return [parts[0], *fn.split(parts[1], 2, axis=-1)] if shared_kv else parts

    def _masks(
        self, attn_mask: Any, key_padding_mask: Any, sizes: tuple[int, int, int], batched: bool, x: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """What is seen (boolean) and what is added, each broadcasting to the scores (N, num_heads, L, S)."""
        n, rows, columns = sizes
        keep: Tensor | None = None
        bias: Tensor | None = None
        many = (n * self.num_heads, rows, columns)
        padding = (n, columns) if batched else (columns,)
        given: list[tuple[str, Any, dict[tuple[int, ...], tuple[int, ...]]]] = [
            ("attn_mask", attn_mask, {(rows, columns): (1, 1, rows, columns), many: (n, self.num_heads, rows, columns)}),
            ("key_padding_mask", key_padding_mask, {padding: (n, 1, 1, columns)}),
        ]
        for name, value, layouts in given:
            if value is None:
                continue
            mask = fn.as_tensor(value)
            with rule("MultiheadAttention", x, mask):
                if mask.dtype != bool_ and not is_float(mask.dtype):
                    raise DTypeError(f"{name} must be boolean or float, got {mask.type}")
                if mask.shape not in layouts:
                    raise ShapeError(f"{name} must have shape {' or '.join(map(str, layouts))}, got {mask.shape}")
            mask = fn.reshape(mask, layouts[mask.shape])
            if mask.dtype == bool_:
                seen = fn.logical_not(mask)
                keep = seen if keep is None else fn.logical_and(keep, seen)
            else:
                added = fn.astype(mask, x.dtype)
                bias = added if bias is None else bias + added
        return keep, bias

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout:g}, batch_first={self.batch_first}"
