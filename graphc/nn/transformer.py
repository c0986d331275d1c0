"""Layers of the transformer (Vaswani et al., 2017), with normalization after each part as there, or before it (norm_first)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import InputError
from graphc.nn.attention import MultiheadAttention
from graphc.nn.dropout import Dropout
from graphc.nn.functional.common import no_device, number
from graphc.nn.linear import Linear, size
from graphc.nn.module import Module
from graphc.nn.normalization import LayerNorm
from graphc.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]


def activation_function(module: str, activation: Activation) -> Callable[[Tensor], Tensor]:
    """What "relu", "gelu" or a function stands for."""
    if callable(activation):
        return activation
    if activation not in ("relu", "gelu"):
        raise InputError(f"{module}: activation must be 'relu', 'gelu' or a function, not {activation!r}")
    return F.relu if activation == "relu" else F.gelu


def check_sizes(module: str, d_model: Any, nhead: Any, dim_feedforward: Any, layer_norm_eps: Any) -> None:
    """Raise InputError by these names, where the parts would say embed_dim, num_heads, out_features or eps."""
    if size(module, "d_model", d_model, 1) % size(module, "nhead", nhead, 1):
        raise InputError(f"{module}: d_model={d_model} must be divisible by nhead={nhead}")
    size(module, "dim_feedforward", dim_feedforward)
    number(module, "layer_norm_eps", layer_norm_eps, low=0.0)


class _Layer(Module):
    """What both layers have in common: attentions and a feed-forward part, and how each of these parts is wrapped.

    Parts are made in PyTorch's order, which is the order of parameters and of initial values.
    """

    attentions: ClassVar[tuple[str, ...]]
    linear1: Linear
    linear2: Linear
    dropout: Dropout
    activation: Callable[[Tensor], Tensor]
    norm_first: bool

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        no_device(type(self).__name__, device)
        check_sizes(type(self).__name__, d_model, nhead, dim_feedforward, layer_norm_eps)
        for name in self.attentions:
            attention = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype)
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = bool(norm_first)
        parts = range(1, len(self.attentions) + 2)
        for i in parts:
            self.add_module(f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype))
        for i in parts:
            self.add_module(f"dropout{i}", Dropout(dropout))
        self.activation = activation_function(type(self).__name__, activation)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _around(self, x: Tensor, norm: Module, dropout: Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        """x + part(norm(x)), or norm(x + part(x))."""
        if self.norm_first:
            return x + dropout(part(norm(x)))
        return norm(x + dropout(part(x)))


class TransformerEncoderLayer(_Layer):
    """X₁ = LN(X + MHSA(X)), then LN(X₁ + FFN(X₁)) with FFN(z) = W₂ act(W₁ z + b₁) + b₂; with norm_first, X₁ = X + MHSA(LN(X))
    and X₁ + FFN(LN(X₁))."""

    attentions = ("self_attn",)

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Tensor:
        """src (S, N, d_model), or (N, S, d_model) with batch_first, or (S, d_model); masks as MultiheadAttention takes them."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        x = self._around(fn.as_tensor(src), self.norm1, self.dropout1, attend)
        return self._around(x, self.norm2, self.dropout2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """As TransformerEncoderLayer, with attention to the encoder's result (`memory`) between self-attention and feed-forward."""

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt (T, N, d_model) and memory (S, N, d_model), N first with batch_first; masks as MultiheadAttention takes them."""
        memory = fn.as_tensor(memory)

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def attend_to_memory(x: Tensor) -> Tensor:
            padding, mask = memory_key_padding_mask, memory_mask
            return self.multihead_attn(x, memory, memory, padding, False, mask, is_causal=memory_is_causal)[0]

        x = self._around(fn.as_tensor(tgt), self.norm1, self.dropout1, attend)
        x = self._around(x, self.norm2, self.dropout2, attend_to_memory)
        return self._around(x, self.norm3, self.dropout3, self._feed_forward)
