"""Activations as modules; their formulas stand in `graphc.nn.functional.activations`."""

from __future__ import annotations

from typing import Any

import graphc.nn.functional as F
from graphc.nn.functional.common import pure
from graphc.nn.module import Module
from graphc.tensor import Tensor


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        pure("ReLU", inplace)

    def forward(self, input: Any) -> Tensor:
        return F.relu(input)
