"""Dropout: active in training mode only."""

from __future__ import annotations

from typing import Any

import graphc.nn.functional as F
from graphc.nn.functional.common import number, pure
from graphc.nn.module import Module
from graphc.tensor import Tensor


class Dropout(Module):
    """0 with probability p, else x/(1 - p), in training; x in evaluation (Srivastava et al., 2014).

    The mask is drawn afresh by every call of a compiled step and never stored.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        pure(type(self).__name__, inplace)
        self.p = number(type(self).__name__, "p", p, low=0.0, high=1.0)

    def forward(self, input: Any) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L)."""

    def forward(self, input: Any) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W)."""

    def forward(self, input: Any) -> Tensor:
        return F.dropout2d(input, self.p, self.training)
