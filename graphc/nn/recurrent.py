"""Recurrent layers: RNN, LSTM, GRU. A layer is one loop, `graphc.scan`, over the sequence; its input's product with the
weights is one contraction in front of the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import warn
from graphc.nn import init
from graphc.nn.cells import gru_step, lstm_step, rnn_step
from graphc.nn.functional.common import number
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.op import rule
from graphc.scanning import scan
from graphc.tensor import Tensor

Carry = tuple[Tensor, ...]
Step = Callable[[Carry, Tensor, Tensor, Tensor | None], Carry]


class _Recurrent(Module):
    """What the three share: parameters weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, then with the suffix _reverse,
    then l1 ..., all drawn from U(±1/√hidden_size); layers, directions, layouts."""

    gates = 1
    carries = 1  # tensors of state: h, or h and c

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: Any,
        dtype: Any,
    ):
        super().__init__()
        name = type(self).__name__
        self.input_size = size(name, "input_size", input_size, 1)
        self.hidden_size = size(name, "hidden_size", hidden_size, 1)
        self.num_layers = size(name, "num_layers", num_layers, 1)
        self.dropout = number(name, "dropout", dropout, low=0.0, high=1.0)
        for argument, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
            if not isinstance(flag, (bool, np.bool_)):
                raise InputError(f"{name}: {argument} must be a bool, not {flag!r}")
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        if self.dropout and self.num_layers == 1:
            warn(f"{name}: dropout acts between layers, and there is one layer")
        kind = float_type(name, dtype, device)
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.hidden_size * self.directions
            for suffix in self._suffixes(layer):
                rows = self.gates * self.hidden_size
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self.hidden_size)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
                for part, shape in shapes.items():
                    setattr(self, part + suffix, Parameter(np.zeros(shape, kind)))
        self.reset_parameters()

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]

    def reset_parameters(self) -> None:
        """Draw initial values afresh."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _step(self, carry: Carry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Carry:
        """The next state, from a step's product of input and weights."""
        raise NotImplementedError

    def _inner_bias(self) -> bool:
        """Whether the recurrent bias must be added inside the loop."""
        return False

    def _run(self, input: Any, hx: Carry | None) -> tuple[Tensor, Carry]:
        x = fn.as_tensor(input)
        name = type(self).__name__
        with rule(name, x):
            if x.ndim not in (2, 3):
                raise ShapeError(f"expected an input of 2 axes (no batch) or 3, got {x.type}")
            if x.shape[-1] != self.input_size:
                raise ShapeError(f"input_size is {self.input_size}, but the input's last axis is {x.shape[-1]}: {x.type}")
            if x.dtype != self.weight_hh_l0.dtype:
                raise DTypeError(f"the parameters are {self.weight_hh_l0.dtype.name}, the input is {x.type}")
        batched = x.ndim == 3
        if not batched:
            x = fn.expand_dims(x, 1)
        elif self.batch_first:
            x = fn.swapaxes(x, 0, 1)
        first = self._first(hx, x, batched)
        last: list[Carry] = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                begin = tuple(one[len(last)] for one in first)
                carry, hidden = self._layer(x, begin, suffix, bool(direction))
                last.append(carry)
                outputs.append(hidden)
            x = outputs[0] if len(outputs) == 1 else fn.concat(outputs, -1)
        final = tuple(fn.stack(list(parts)) for parts in zip(*last, strict=True))
        if not batched:
            return fn.squeeze(x, 1), tuple(fn.squeeze(one, 1) for one in final)
        return fn.swapaxes(x, 0, 1) if self.batch_first else x, final

    def _layer(self, x: Tensor, begin: Carry, suffix: str, reverse: bool) -> tuple[Carry, Tensor]:
        bias, recurrent = (getattr(self, part + suffix) if self.bias else None for part in ("bias_ih", "bias_hh"))
        if bias is not None and not self._inner_bias():
            bias, recurrent = bias + recurrent, None
        projected = F.linear(x, getattr(self, "weight_ih" + suffix), bias)
        weight = getattr(self, "weight_hh" + suffix)

        def step(carry: Carry, one: Tensor) -> tuple[Carry, Tensor]:
            new = self._step(carry, one, weight, recurrent)
            return new, new[0]

        return scan(step, begin, projected, reverse=reverse)

    def _first(self, hx: Carry | None, x: Tensor, batched: bool) -> Carry:
        shape = (self.num_layers * self.directions, x.shape[1], self.hidden_size)
        if hx is None:
            return (fn.zeros(shape, x.dtype),) * self.carries
        name = type(self).__name__
        expected = shape if batched else (shape[0], shape[2])
        for one in hx:
            with rule(name, one):
                if one.shape != expected:
                    raise ShapeError(
                        f"expected a first state of shape {expected} (layers x directions, batch, hidden), got {one.type}"
                    )
                if one.dtype != x.dtype:
                    raise DTypeError(f"expected a first state of type {x.dtype.name}, got {one.type}")
        return hx if batched else tuple(fn.expand_dims(one, 1) for one in hx)

    def extra_repr(self) -> str:
        options = [f"num_layers={self.num_layers}"] if self.num_layers != 1 else []
        options += ["bias=False"] if not self.bias else []
        options += [f"{name}=True" for name in ("batch_first", "bidirectional") if getattr(self, name)]
        options += [f"dropout={self.dropout:g}"] if self.dropout else []
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])


class RNN(_Recurrent):
    """h_t = φ(x_t W_ihᵀ + b_ih + h_{t-1} W_hhᵀ + b_hh), φ = tanh or relu (Elman, 1990).

    Call with an input (T, N, input_size), or (N, T, input_size) where `batch_first`, or (T, input_size), and optionally the
    first states (num_layers·directions, N, hidden_size), zeros where left out. Returns (outputs of the last layer, last
    states of all layers).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"RNN: nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def _step(self, carry: Carry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Carry:
        return (rnn_step(carry[0], x, weight, self.nonlinearity),)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        output, (last,) = self._run(input, None if hx is None else (fn.as_tensor(hx),))
        return output, last

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity}" if self.nonlinearity != "tanh" else "")


class LSTM(_Recurrent):
    """i, f, o = sigmoid(...), g = tanh(...) of x_t W_ihᵀ + b_ih + h_{t-1} W_hhᵀ + b_hh in the order i, f, g, o; c_t = f c_{t-1} +
    i g, h_t = o tanh(c_t) (Hochreiter & Schmidhuber, 1997).

    As `RNN`; the first states are a pair (h, c), and so are the last. `proj_size` is not supported.
    """

    gates, carries = 4, 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ):
        if proj_size != 0:
            raise InputError(f"LSTM: proj_size is not supported, it must be 0, not {proj_size!r}")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def _step(self, carry: Carry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Carry:
        return lstm_step(carry[0], carry[1], x, weight)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise InputError("LSTM: hx is a pair of first states, (h, c)")
        output, (h, c) = self._run(input, None if hx is None else (fn.as_tensor(hx[0]), fn.as_tensor(hx[1])))
        return output, (h, c)


class GRU(_Recurrent):
    """r, z = sigmoid(...), n = tanh(x_t W_in + b_in + r (h_{t-1} W_hn + b_hn)) with the parameters in the order r, z, n;
    h_t = (1 - z) n + z h_{t-1} (Cho et al., 2014).

    As `RNN`.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def _step(self, carry: Carry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Carry:
        return (gru_step(carry[0], x, weight, bias),)

    def _inner_bias(self) -> bool:
        return True

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        output, (last,) = self._run(input, None if hx is None else (fn.as_tensor(hx),))
        return output, last
