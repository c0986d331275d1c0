"""Layer normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.nn.functional as F
from graphc.errors import ShapeError
from graphc.nn.functional.common import number
from graphc.nn.linear import float_type
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor
from graphc.types import as_shape


class LayerNorm(Module):
    """weight · (x - mean)/√(variance + eps) + bias over the last axes (Ba et al., 2016).

    `normalized_shape` gives their sizes; weight and bias have this shape and start at 1 and 0.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, dtype: Any = None
    ):
        super().__init__()
        self.normalized_shape = as_shape(normalized_shape)
        if not self.normalized_shape:
            raise ShapeError("LayerNorm: normalized_shape must name at least one axis")
        self.eps = number("LayerNorm", "eps", eps, low=0.0)
        self.elementwise_affine = bool(elementwise_affine)
        kind = float_type("LayerNorm", dtype)
        self.register_parameter("weight", Parameter(np.ones(self.normalized_shape, kind)) if elementwise_affine else None)
        with_bias = elementwise_affine and bias
        self.register_parameter("bias", Parameter(np.zeros(self.normalized_shape, kind)) if with_bias else None)

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            self.weight.array[...] = 1
        if self.bias is not None:
            self.bias.array[...] = 0

    def forward(self, input: Any) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = f", bias={self.bias is not None}" if self.elementwise_affine else ""
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}{bias}"
