"""Stacks of transformer layers: encoder, decoder, and both."""

from __future__ import annotations

import copy
import math
from typing import Any

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import InputError, ShapeError
from graphc.nn import init
from graphc.nn.containers import ModuleList
from graphc.nn.functional.attention import causal_mask
from graphc.nn.functional.common import element_type, no_device
from graphc.nn.linear import size
from graphc.nn.module import Module
from graphc.nn.normalization import LayerNorm
from graphc.nn.transformer import Activation, TransformerDecoderLayer, TransformerEncoderLayer, check_sizes
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import DEFAULT_FLOAT


def _copies(name: str, layer: Any, count: Any) -> ModuleList:
    """Copies of a layer with parameters of their own, which start alike."""
    if not isinstance(layer, Module):
        raise InputError(f"{name}: expected a module to repeat, got {type(layer).__name__}")
    copies = []
    for _ in range(size(name, "num_layers", count)):
        made = copy.deepcopy(layer)
        made.detach_path()
        copies.append(made)
    return ModuleList(copies)


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after the other, and then `norm`.

    enable_nested_tensor and mask_check, which in PyTorch choose among implementations, change nothing: what stands at padded
    positions is computed as everywhere else.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        super().__init__()
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers = len(self.layers)
        self.norm: Module | None
        self.add_module("norm", norm)

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None) -> Tensor:
        x = fn.as_tensor(src)
        for layer in self.layers:
            x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` copies of a layer, one after the other, and then `norm`; each attends to the same `memory`."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__()
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers = len(self.layers)
        self.norm: Module | None
        self.add_module("norm", norm)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x, memory = fn.as_tensor(tgt), fn.as_tensor(memory)
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """Encoder and decoder, each ending in a layer norm. Weights start Xavier-uniform."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        no_device("Transformer", device)
        check_sizes("Transformer", d_model, nhead, dim_feedforward, layer_norm_eps)
        size("Transformer", "num_encoder_layers", num_encoder_layers)
        size("Transformer", "num_decoder_layers", num_decoder_layers)
        options = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            device,
            dtype,
        )

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is None:
            custom_encoder = TransformerEncoder(TransformerEncoderLayer(*options), num_encoder_layers, norm())
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(TransformerDecoderLayer(*options), num_decoder_layers, norm())
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, bool(batch_first)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        s, t = fn.as_tensor(src), fn.as_tensor(tgt)
        with rule("Transformer", s, t):
            if s.ndim != t.ndim or s.shape[-1:] != (self.d_model,) or t.shape[-1:] != (self.d_model,):
                raise ShapeError(f"src and tgt must have rank alike and {self.d_model} features, got {s.type} and {t.type}")
        memory = self.encoder(s, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            t,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """(sz, sz): 0 where key j <= query i, else -inf."""
        no_device("generate_square_subsequent_mask", device)
        kind = DEFAULT_FLOAT if dtype is None else element_type("generate_square_subsequent_mask", "dtype", dtype)
        return fn.astype(fn.where(causal_mask(sz, sz), 0.0, -math.inf), kind)
