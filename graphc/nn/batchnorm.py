"""Batch and instance normalization: statistics per channel, tracked as buffers that training steps update."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import graphc.functions as fn
import graphc.nn.functional as F
from graphc.errors import InputError, ShapeError
from graphc.nn.functional.batchnorm import tracked_batch_norm
from graphc.nn.functional.common import number
from graphc.nn.linear import float_type, size
from graphc.nn.normalization import Affine
from graphc.op import rule
from graphc.tensor import State, Tensor


class _Tracking(Affine):
    """What batch and instance norm have in common: parameters, buffers and their names."""

    running_mean: State | None
    running_var: State | None
    num_batches_tracked: State | None
    layouts: ClassVar[dict[int, str]]  # the axes of an input, by rank

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ):
        super().__init__()
        name = type(self).__name__
        self.num_features = size(name, "num_features", num_features)
        self.eps = number(name, "eps", eps, low=0.0)
        self.momentum = None if momentum is None else number(name, "momentum", momentum)
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self._make((self.num_features,), self.affine, bias, device, dtype)
        kind = float_type(name, dtype, device)
        tracked = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(self.num_features, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(self.num_features, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, nothing counted."""
        for state, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if state is not None:
                state.array[...] = value

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics as at the start."""
        super().reset_parameters()
        self.reset_running_stats()

    def _checked(self, input: Any) -> Tensor:
        x = fn.as_tensor(input)
        with rule(type(self).__name__, x):
            if x.ndim not in self.layouts:
                raise ShapeError(f"expected an input {' or '.join(self.layouts.values())}, got {x.type}")
            channels = x.shape[self.layouts[x.ndim].strip("()").split(", ").index("C")]
            if channels != self.num_features:
                raise ShapeError(f"expected {self.num_features} channels, got {x.type}")
        return x

    def extra_repr(self) -> str:
        options = f"eps={self.eps:g}, momentum={self.momentum}, affine={self.affine}"
        return f"{self.num_features}, {options}, track_running_stats={self.track_running_stats}"


class _BatchNorm(_Tracking):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Any) -> Tensor:
        x = self._checked(input)
        states = (self.running_mean, self.running_var)
        if self.training or not self.track_running_stats:
            return tracked_batch_norm(x, *states, self.num_batches_tracked, self.weight, self.bias, self.momentum, self.eps)
        return F.batch_norm(x, *states, self.weight, self.bias, False, eps=self.eps)


class BatchNorm1d(_BatchNorm):
    """weight · (x - mean)/√(variance + eps) + bias per channel of (N, C) or (N, C, L) (Ioffe and Szegedy, 2015).

    In training the statistics are the batch's, and steps update the running ones: the exponential average with `momentum`, or
    with momentum=None the mean over all batches. In evaluation they are the running ones, or with track_running_stats=False the
    batch's.
    """

    layouts: ClassVar = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """As BatchNorm1d, per channel of (N, C, H, W)."""

    layouts: ClassVar = {4: "(N, C, H, W)"}


class _InstanceNorm(_Tracking):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        if momentum is None:
            raise InputError(f"{type(self).__name__}: momentum must be a number, not None")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Any) -> Tensor:
        x = self._checked(input)
        single = "N" not in self.layouts[x.ndim]
        x = fn.expand_dims(x, 0) if single else x
        fresh = self.training or not self.track_running_stats
        y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, fresh, self.momentum or 0.0, self.eps)
        return fn.squeeze(y, 0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """weight · (x - mean)/√(variance + eps) + bias, with statistics per example and channel of (N, C, L) or (C, L) (Ulyanov et
    al., 2016); with track_running_stats, running ones in evaluation."""

    layouts: ClassVar = {3: "(N, C, L)", 2: "(C, L)"}


class InstanceNorm2d(_InstanceNorm):
    """As InstanceNorm1d, of (N, C, H, W) or (C, H, W)."""

    layouts: ClassVar = {4: "(N, C, H, W)", 3: "(C, H, W)"}
