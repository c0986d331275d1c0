"""Linear and bilinear maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.nn.functional as F
from graphc.errors import DTypeError, InputError
from graphc.nn import init
from graphc.nn.functional.common import element_type, no_device
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor
from graphc.types import DEFAULT_FLOAT, is_float


def size(module: str, argument: str, value: Any, low: int = 0) -> int:
    """`value` as a Python integer, at least `low`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < low:
        raise InputError(f"{module}: {argument} must be an integer, at least {low}, not {value!r}")
    return int(value)


def float_type(module: str, dtype: Any, device: Any = None) -> np.dtype:
    """The type of a module's parameters; float32 where `dtype` is None."""
    no_device(module, device)
    kind = DEFAULT_FLOAT if dtype is None else element_type(module, "dtype", dtype)
    if not is_float(kind):
        raise DTypeError(f"{module}: dtype must be float32 or float64, not {kind.name}")
    return kind


class Linear(Module):
    """y = x Wᵀ + b over the last axis; weight (out_features, in_features), bias (out_features,).

    Both start as U(±1/√in_features).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.in_features = size("Linear", "in_features", in_features)
        self.out_features = size("Linear", "out_features", out_features)
        kind = float_type("Linear", dtype, device)
        self.weight = Parameter(np.zeros((self.out_features, self.in_features), kind))
        self.register_parameter("bias", Parameter(np.zeros(self.out_features, kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values afresh."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y = x₁ᵀ W x₂ + b over the last axes; weight (out_features, in1_features, in2_features), bias (out_features,).

    Both start as U(±1/√in1_features).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ):
        super().__init__()
        self.in1_features = size("Bilinear", "in1_features", in1_features, 1)
        self.in2_features = size("Bilinear", "in2_features", in2_features, 1)
        self.out_features = size("Bilinear", "out_features", out_features)
        kind = float_type("Bilinear", dtype, device)
        self.weight = Parameter(np.zeros((self.out_features, self.in1_features, self.in2_features), kind))
        self.register_parameter("bias", Parameter(np.zeros(self.out_features, kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values afresh."""
        bound = 1 / math.sqrt(self.in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"
