"""Linear and bilinear maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.nn.functional as F
from graphc.errors import DTypeError, InputError
from graphc.nn import init
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor
from graphc.types import DEFAULT_FLOAT, as_dtype, is_float


def size(module: str, argument: str, value: Any, low: int = 0) -> int:
    """`value` as a Python integer, at least `low`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < low:
        raise InputError(f"{module}: {argument} must be an integer, at least {low}, not {value!r}")
    return int(value)


def empty(module: str, dtype: Any, *shape: int) -> Parameter:
    """A parameter that is about to be filled."""
    kind = DEFAULT_FLOAT if dtype is None else as_dtype(dtype)
    if not is_float(kind):
        raise DTypeError(f"{module}: dtype must be float32 or float64, not {kind.name}")
    return Parameter(np.zeros(shape, kind))


class Linear(Module):
    """y = x Wᵀ + b over the last axis; weight (out_features, in_features), bias (out_features,), both U(±1/√in_features) at first."""

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None):
        super().__init__()
        self.in_features = size("Linear", "in_features", in_features)
        self.out_features = size("Linear", "out_features", out_features)
        self.weight = empty("Linear", dtype, self.out_features, self.in_features)
        self.register_parameter("bias", empty("Linear", dtype, self.out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
