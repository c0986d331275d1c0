"""Embeddings of integers and of positions."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import ShapeError
from graphc.nn import init
from graphc.nn.functional.common import no_device, number
from graphc.nn.functional.embedding import plain, row
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter, numpy_value
from graphc.op import rule
from graphc.tensor import Tensor


class Embedding(Module):
    """Row i of a trained table for each integer i; weight (num_embeddings, embedding_dim) starts as N(0, 1).

    The row `padding_idx` starts at 0 and gets no gradient. An index outside the table fails the call.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        no_device("Embedding", device)
        plain("Embedding", max_norm, norm_type, scale_grad_by_freq, sparse)
        self.num_embeddings = size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = size("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx = row("Embedding", padding_idx, self.num_embeddings)
        if _weight is None:
            self.weight = Parameter(np.zeros((self.num_embeddings, self.embedding_dim), float_type("Embedding", dtype)))
            self.reset_parameters()
        else:
            table = numpy_value(_weight, "Embedding: _weight")
            if table.shape != (self.num_embeddings, self.embedding_dim):
                raise ShapeError(f"Embedding: _weight must have shape {(num_embeddings, embedding_dim)}, got {table.shape}")
            self.weight = Parameter(table, dtype=None if dtype is None else float_type("Embedding", dtype))
        self.weight.requires_grad_(not _freeze)

    def reset_parameters(self) -> None:
        """N(0, 1), and 0 in the padding row."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A table with given values (copied), not trained unless `freeze` is false."""
        table = numpy_value(embeddings, "Embedding.from_pretrained: embeddings")
        if table.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: embeddings must be (rows, width), got shape {table.shape}")
        rows, width = table.shape
        return cls(rows, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, table, freeze)

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class SinusoidalPositions(Module):
    """x + P for x (N, T, D), or (T, N, D) with batch_first=False, or (T, D); columns 2d and 2d + 1 of row t of P are
    sin(t/base^{2d/D}) and cos(t/base^{2d/D}) (Vaswani et al., 2017). It has no parameters. PyTorch has no such module.

    `position`, a scalar integer tensor, is that of the first row where it is not 0: a cached decoder runs one row at a time.
    """

    def __init__(self, embedding_dim: int, base: float = 10000.0, batch_first: bool = True):
        super().__init__()
        self.embedding_dim = size("SinusoidalPositions", "embedding_dim", embedding_dim, 1)
        self.base = number("SinusoidalPositions", "base", base, above=0.0)
        self.batch_first = bool(batch_first)

    def forward(self, input: Any, position: Any = None) -> Tensor:
        x = fn.as_tensor(input)
        with rule("SinusoidalPositions", x):
            if x.ndim not in (2, 3) or x.shape[-1] != self.embedding_dim:
                raise ShapeError(f"expected two or three axes, the last of size {self.embedding_dim}, got {x.type}")
        axis = 1 if self.batch_first and x.ndim == 3 else 0
        length: Any = x.shape[axis]
        if position is not None:
            length = fn.arange(length) + position
        p = F.sinusoidal_positions(length, self.embedding_dim, self.base, x.dtype)
        return x + (fn.expand_dims(p, 1 - axis) if x.ndim == 3 else p)

    def extra_repr(self) -> str:
        return f"{self.embedding_dim}, base={self.base:g}, batch_first={self.batch_first}"
