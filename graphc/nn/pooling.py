"""Pooling in one and two dimensions."""

from __future__ import annotations

from typing import Any

import graphc.nn.functional as F
from graphc.nn.functional.common import refuse
from graphc.nn.module import Module
from graphc.tensor import Tensor


class _Pool(Module):
    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items() if name in self._shown)

    _shown: tuple[str, ...] = ()


class _MaxPool(_Pool):
    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ):  # fmt: skip
        super().__init__()
        refuse(type(self).__name__, "return_indices", return_indices, "the places of the maxima are not returned")
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode


class MaxPool1d(_MaxPool):
    """The greatest element of each window of (N, C, L): see `F.max_pool1d`."""

    def forward(self, input: Any) -> Tensor:
        return F.max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class MaxPool2d(_MaxPool):
    """The greatest element of each window of (N, C, H, W): see `F.max_pool2d`."""

    def forward(self, input: Any) -> Tensor:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool1d(_Pool):
    """The mean of each window of (N, C, L): see `F.avg_pool1d`."""

    _shown = ("kernel_size", "stride", "padding")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, input: Any) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_Pool):
    """The mean of each window of (N, C, H, W): see `F.avg_pool2d`."""

    _shown = ("kernel_size", "stride", "padding")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Tensor:
        options = (self.ceil_mode, self.count_include_pad, self.divisor_override)
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, *options)


class _Adaptive(_Pool):
    _shown = ("output_size",)

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_Adaptive):
    """Means of `output_size` windows that cover (N, C, L): see `F.adaptive_avg_pool1d`."""

    def forward(self, input: Any) -> Tensor:
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """Means of windows that cover (N, C, H, W): see `F.adaptive_avg_pool2d`."""

    def forward(self, input: Any) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        refuse(type(self).__name__, "return_indices", return_indices, "the places of the maxima are not returned")


class AdaptiveMaxPool1d(_AdaptiveMax):
    """Maxima of `output_size` windows that cover (N, C, L): see `F.adaptive_max_pool1d`."""

    def forward(self, input: Any) -> Tensor:
        return F.adaptive_max_pool1d(input, self.output_size)


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Maxima of windows that cover (N, C, H, W): see `F.adaptive_max_pool2d`."""

    def forward(self, input: Any) -> Tensor:
        return F.adaptive_max_pool2d(input, self.output_size)
