"""Normalization over axes of one example: layer, RMS and group norm."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.nn.functional as F
from graphc.errors import InputError, ShapeError
from graphc.nn.functional.common import axis_sizes, number
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor


class Affine(Module):
    """A module that may end in weight · y + bias: both absent, weight alone, or both; they start at 1 and 0."""

    weight: Parameter | None
    bias: Parameter | None

    def _make(self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
        kind = float_type(type(self).__name__, dtype, device)
        self.register_parameter("weight", Parameter(np.ones(shape, kind)) if weight else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, kind)) if weight and bias else None)

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            self.weight.array[...] = 1
        if self.bias is not None:
            self.bias.array[...] = 0


def _normalized_shape(module: str, value: Any) -> tuple[int, ...]:
    shape = axis_sizes(module, "normalized_shape", value)
    if not shape:
        raise ShapeError(f"{module}: normalized_shape must name at least one axis")
    return shape


class LayerNorm(Affine):
    """weight · (x - mean)/√(variance + eps) + bias over the last axes (Ba et al., 2016).

    `normalized_shape` gives their sizes; weight and bias have this shape and start at 1 and 0.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.normalized_shape = _normalized_shape("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps, low=0.0)
        self.elementwise_affine = bool(elementwise_affine)
        self._make(self.normalized_shape, self.elementwise_affine, bias, device, dtype)

    def forward(self, input: Any) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = f", bias={self.bias is not None}" if self.elementwise_affine else ""
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}{bias}"


class RMSNorm(Module):
    """weight · x/√(mean x² + eps) over the last axes (Zhang and Sennrich, 2019); without `eps`, the distance from 1 to the next
    number of the input's type.

    `normalized_shape` gives the sizes of these axes; the weight has this shape and starts at 1.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.normalized_shape = _normalized_shape("RMSNorm", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps, low=0.0)
        self.elementwise_affine = bool(elementwise_affine)
        kind = float_type("RMSNorm", dtype, device)
        self.register_parameter("weight", Parameter(np.ones(self.normalized_shape, kind)) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            self.weight.array[...] = 1

    def forward(self, x: Any) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Affine):
    """weight · (x - mean)/√(variance + eps) + bias over groups of neighbouring channels of (N, C, ...) (Wu and He, 2018); weight
    and bias are (C,) and start at 1 and 0."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.num_groups = size("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = size("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise InputError(f"GroupNorm: num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.eps = number("GroupNorm", "eps", eps, low=0.0)
        self.affine = bool(affine)
        self._make((self.num_channels,), self.affine, bias, device, dtype)

    def forward(self, input: Any) -> Tensor:
        x = F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        if x.shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm: expected {self.num_channels} channels, got {x.type}")
        return x

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}, affine={self.affine}"
