"""Activations. NaN goes through all of them; at kinks the derivative is PyTorch's."""

from __future__ import annotations

from typing import Any

import graphc.functions as fn
from graphc.nn.functional.common import floats, pure
from graphc.tensor import Tensor


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0); derivative 0 at 0."""
    pure("relu", inplace)
    x = fn.as_tensor(input)
    # not x > 0: a NaN fails every comparison and must go through
    return fn.where(x <= 0, 0, x)
