"""Convolutions and transposed convolutions in one and two dimensions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

import graphc.nn.functional as F
from graphc.errors import InputError
from graphc.nn import init
from graphc.nn.functional.common import refuse
from graphc.nn.functional.sliding import sizes
from graphc.nn.linear import float_type, size
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.tensor import Tensor


class _Conv(Module):
    """What all convolutions hold. Weight and bias start as U(±1/√fan_in)."""

    weight: Parameter
    bias: Parameter | None
    rank: ClassVar[int]
    transposed: ClassVar[bool] = False

    def _set_up(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: int,
        bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        refuse(name, "padding_mode", padding_mode, "only padding with zeros is there; pad the input with graphc.pad", "zeros")
        self.in_channels = size(name, "in_channels", in_channels, 1)
        self.out_channels = size(name, "out_channels", out_channels, 1)
        self.groups = size(name, "groups", groups, 1)
        for argument, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise InputError(f"{name}: {argument} must be divisible by groups, got {channels} and {self.groups}")
        self.kernel_size = sizes(name, "kernel_size", kernel_size, self.rank, 1)
        self.stride = sizes(name, "stride", stride, self.rank, 1)
        self.dilation = sizes(name, "dilation", dilation, self.rank, 1)
        if isinstance(padding, str):
            if padding not in ("valid", "same") or self.transposed:
                allowed = "integers" if self.transposed else "'valid', 'same' or integers"
                raise InputError(f"{name}: padding must be {allowed}, not {padding!r}")
            if padding == "same" and any(one != 1 for one in self.stride):
                raise InputError(f"{name}: padding='same' needs stride 1, got {self.stride}")
        self.padding: Any = padding if isinstance(padding, str) else sizes(name, "padding", padding, self.rank)
        kind = float_type(name, dtype, device)
        lead = (self.out_channels, self.in_channels // self.groups)
        if self.transposed:
            lead = (self.in_channels, self.out_channels // self.groups)
        self.weight = Parameter(np.zeros((*lead, *self.kernel_size), kind))
        self.register_parameter("bias", Parameter(np.zeros(self.out_channels, kind)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values afresh."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(init.fans(self.weight.shape)[0], 1))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0,) * self.rank, "dilation": (1,) * self.rank, "output_padding": (0,) * self.rank, "groups": 1}
        parts += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name, usual) != usual]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class _Plain(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        self._set_up(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype)


class Conv1d(_Plain):
    """Cross-correlation of (N, C, L): see `F.conv1d`. Weight (out_channels, in_channels/groups, kernel_size), bias
    (out_channels,)."""

    rank = 1

    def forward(self, input: Any) -> Tensor:
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Plain):
    """Cross-correlation of (N, C, H, W): see `F.conv2d`. Weight (out_channels, in_channels/groups, *kernel_size), bias
    (out_channels,)."""

    rank = 2

    def forward(self, input: Any) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        self.output_padding = sizes(type(self).__name__, "output_padding", output_padding, self.rank)
        self._set_up(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype)

    def _more(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives `output_size`, the spatial axes or all of them."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,)
        # all axes may be given, with or without the batch's
        wanted = wanted[-self.rank :] if len(wanted) in (self.rank + 1, self.rank + 2) else wanted
        wanted = sizes(type(self).__name__, "output_size", wanted, self.rank)
        least = [
            (h - 1) * s - 2 * p + d * (f - 1) + 1
            for h, s, p, d, f in zip(
                input.shape[-self.rank :], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        more = tuple(want - low for want, low in zip(wanted, least, strict=True))
        if any(not 0 <= extra < s for extra, s in zip(more, self.stride, strict=True)):
            raise InputError(
                f"{type(self).__name__}: output_size must be {tuple(least)}, or more by less than the stride {self.stride}, "
                f"got {output_size!r}"
            )
        return more


class ConvTranspose1d(_Transposed):
    """The adjoint of a convolution: see `F.conv_transpose1d`. Weight (in_channels, out_channels/groups, kernel_size)."""

    rank = 1

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        more = self._more(input, output_size)
        return F.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)


class ConvTranspose2d(_Transposed):
    """The adjoint of a convolution: see `F.conv_transpose2d`. Weight (in_channels, out_channels/groups, *kernel_size)."""

    rank = 2

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        more = self._more(input, output_size)
        return F.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)
