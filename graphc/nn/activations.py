"""Activations as modules; their formulas stand in `graphc.nn.functional.activations`.

Options are checked when a module is made, by the rules of its function.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.nn.functional as F
from graphc.nn.functional.common import number, one_of, pure, refuse
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("ReLU", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.relu(input)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("ReLU6", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.relu6(input)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        pure("LeakyReLU", inplace)
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, input: Any) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope:g}"


class PReLU(Module):
    """x where x > 0, else weight · x, with a trained weight, or one for each of `num_parameters` channels (axis 1)."""

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        super().__init__()
        self.num_parameters = size("PReLU", "num_parameters", num_parameters, 1)
        self.init = number("PReLU", "init", init)
        self.weight = Parameter(np.full(self.num_parameters, self.init, float_type("PReLU", dtype, device)))

    def forward(self, input: Any) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False, min_value: None = None, max_value: None = None
    ):
        super().__init__()
        pure("Hardtanh", inplace)
        refuse("Hardtanh", "min_value", min_value, "say min_val", default=None)
        refuse("Hardtanh", "max_value", max_value, "say max_val", default=None)
        self.min_val = number("Hardtanh", "min_val", min_val)
        self.max_val = number("Hardtanh", "max_val", max_val, low=self.min_val)

    def forward(self, input: Any) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val:g}, max_val={self.max_val:g}"


class Hardsigmoid(Module):
    """x/6 + 1/2 limited to [0, 1]."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("Hardsigmoid", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.hardsigmoid(input)


class Hardswish(Module):
    """x · hardsigmoid(x)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("Hardswish", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.hardswish(input)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, input: Any) -> Tensor:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, input: Any) -> Tensor:
        return F.logsigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, input: Any) -> Tensor:
        return F.tanh(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Any) -> Tensor:
        return F.softsign(input)


class Softplus(Module):
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta = number("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, input: Any) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, threshold={self.threshold:g}"


class GELU(Module):
    """x/2 · (1 + erf(x/√2)), or its tanh form."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = one_of("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, input: Any) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x · sigmoid(x)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("SiLU", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.silu(input)


class Mish(Module):
    """x · tanh(log(1 + e^x))."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("Mish", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.mish(input)


class ELU(Module):
    """x where x > 0, else alpha (e^x - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        pure("ELU", inplace)
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, input: Any) -> Tensor:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class CELU(Module):
    """x where x > 0, else alpha (e^(x/alpha) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        pure("CELU", inplace)
        self.alpha = number("CELU", "alpha", alpha)

    def forward(self, input: Any) -> Tensor:
        return F.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


class SELU(Module):
    """scale · elu(x, alpha) with self-normalising constants."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("SELU", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.selu(input)


class GLU(Module):
    """a · sigmoid(b), where a and b are the halves of the input along `dim`."""

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(Module):
    """e^z / Σ e^z along `dim`."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """z - log Σ e^z along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(Softmax):
    """softmax(-z) along `dim`."""

    def forward(self, input: Any) -> Tensor:
        return F.softmin(input, self.dim)
