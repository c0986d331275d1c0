"""One step of recurrent layers: as functions, and as modules RNNCell, LSTMCell, GRUCell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn import init
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.op import rule
from graphc.tensor import Tensor


def rnn_step(h: Tensor, x: Tensor, weight: Tensor, nonlinearity: str) -> Tensor:
    """φ(x + h Wᵀ); x is the input's product with its weights, biases included."""
    z = x + F.linear(h, weight)
    return fn.tanh(z) if nonlinearity == "tanh" else F.relu(z)


def lstm_step(h: Tensor, c: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The next (h, c); gates in the order i, f, g, o."""
    i, f, g, o = fn.split(x + F.linear(h, weight), 4, -1)
    c = fn.sigmoid(f) * c + fn.sigmoid(i) * fn.tanh(g)
    return fn.sigmoid(o) * fn.tanh(c), c


def gru_step(h: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The next h; gates in the order r, z, n. The bias of the recurrent part counts inside r's product, so it is apart."""
    xr, xz, xn = fn.split(x, 3, -1)
    hr, hz, hn = fn.split(F.linear(h, weight, bias), 3, -1)
    z = fn.sigmoid(xz + hz)
    n = fn.tanh(xn + fn.sigmoid(xr + hr) * hn)
    return n + z * (h - n)


class _Cell(Module):
    """Parameters weight_ih, weight_hh, bias_ih, bias_hh, drawn from U(±1/√hidden_size)."""

    gates = 1
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: Any, dtype: Any):
        super().__init__()
        name = type(self).__name__
        self.input_size = size(name, "input_size", input_size, 1)
        self.hidden_size = size(name, "hidden_size", hidden_size, 1)
        if not isinstance(bias, (bool, np.bool_)):
            raise InputError(f"{name}: bias must be a bool, not {bias!r}")
        self.bias = bool(bias)
        kind, rows = float_type(name, dtype, device), self.gates * self.hidden_size
        self.weight_ih = Parameter(np.zeros((rows, self.input_size), kind))
        self.weight_hh = Parameter(np.zeros((rows, self.hidden_size), kind))
        for part in ("bias_ih", "bias_hh"):
            self.register_parameter(part, Parameter(np.zeros(rows, kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values afresh."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _operands(self, input: Any, *states: Any) -> tuple[Tensor, list[Tensor]]:
        """The input's product with its weights, and the states, zeros where they are None; all with a batch axis."""
        x = fn.as_tensor(input)
        name = type(self).__name__
        with rule(name, x):
            if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
                raise ShapeError(f"expected an input (batch, {self.input_size}) or ({self.input_size},), got {x.type}")
            if x.dtype != self.weight_hh.dtype:
                raise DTypeError(f"the parameters are {self.weight_hh.dtype.name}, the input is {x.type}")
        shape = (*x.shape[:-1], self.hidden_size)
        found = []
        for state in states:
            h = fn.zeros(shape, x.dtype) if state is None else fn.as_tensor(state)
            with rule(name, h):
                if h.shape != shape or h.dtype != x.dtype:
                    raise ShapeError(f"expected a state of shape {shape} and type {x.dtype.name}, got {h.type}")
            found.append(h if h.ndim == 2 else fn.expand_dims(h, 0))
        return x if x.ndim == 2 else fn.expand_dims(x, 0), found

    def _projected(self, x: Tensor, both: bool) -> Tensor:
        bias: Tensor | None = self.bias_ih
        if bias is not None and both:
            assert self.bias_hh is not None
            bias = bias + self.bias_hh
        return F.linear(x, self.weight_ih, bias)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


def _shaped(value: Tensor, input: Any) -> Tensor:
    return value if fn.as_tensor(input).ndim == 2 else fn.squeeze(value, 0)


class RNNCell(_Cell):
    """h' = φ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh), φ = tanh or relu; h is zeros where left out."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        x, (h,) = self._operands(input, hx)
        return _shaped(rnn_step(h, self._projected(x, True), self.weight_hh, self.nonlinearity), input)


class LSTMCell(_Cell):
    """One step of `LSTM`: (h, c) from the input and (h, c), zeros where left out."""

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise InputError("LSTMCell: hx is a pair of states, (h, c)")
        x, (h, c) = self._operands(input, *(hx if hx is not None else (None, None)))
        h, c = lstm_step(h, c, self._projected(x, True), self.weight_hh)
        return _shaped(h, input), _shaped(c, input)


class GRUCell(_Cell):
    """One step of `GRU`: h from the input and h, zeros where left out."""

    gates = 3

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        x, (h,) = self._operands(input, hx)
        return _shaped(gru_step(h, self._projected(x, False), self.weight_hh, self.bias_hh), input)
