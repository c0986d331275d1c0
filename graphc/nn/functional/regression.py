"""Losses of real-valued predictions."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.functions.convert import broadcasted
from graphc.nn.functional.common import floats, reduced
from graphc.tensor import Tensor


def _paired(function: str, input: Any, target: Any) -> list[Tensor]:
    """Prediction and target in one type and shape. Broadcasting (32, 1) against (32,) gives 32 x 32 differences and is almost always a
    mistake; PyTorch warns, and so does this."""
    x, t = floats(function, input, target)
    if x.shape != t.shape and x.shape and t.shape:
        warnings.warn(f"{function}: the target's shape {t.shape} differs from the input's {x.shape}; broadcasting is likely a mistake", stacklevel=3)
    return broadcasted(function, x, t)


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """(x - t)²; half of it is 0.5 * mse_loss(...)."""
    x, t = _paired("mse_loss", input, target)
    difference = x - t
    return reduced("mse_loss", difference * difference, reduction)
