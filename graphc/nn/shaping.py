"""Modules that compute nothing: identity, flatten, unflatten."""

from __future__ import annotations

import math
from typing import Any

import graphc.functions as fn
from graphc.errors import ShapeError
from graphc.nn.functional.common import axis_sizes
from graphc.nn.module import Module
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import normalize_axis


class Identity(Module):
    """Its input; takes any arguments and ignores them, so that it can stand in for any module."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """The axes from start_dim to end_dim (both included) as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Tensor:
        x = fn.as_tensor(input)
        if not x.ndim:
            return fn.reshape(x, (1,))
        with rule("Flatten", x):
            start = normalize_axis(self.start_dim, x.ndim, "start_dim")
            end = normalize_axis(self.end_dim, x.ndim, "end_dim")
            if start > end:
                raise ShapeError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim} in {x.type}")
        return fn.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` as several axes of sizes `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Any):
        super().__init__()
        self.dim = dim
        sizes = unflattened_size if isinstance(unflattened_size, (tuple, list)) else (unflattened_size,)
        if list(sizes).count(-1) > 1:
            raise ShapeError(f"Unflatten: only one size of unflattened_size can be -1, got {sizes}")
        axis_sizes("Unflatten", "unflattened_size", [1 if size == -1 else size for size in sizes])
        self.unflattened_size = tuple(sizes)

    def forward(self, input: Any) -> Tensor:
        x = fn.as_tensor(input)
        with rule("Unflatten", x):
            axis = normalize_axis(self.dim, x.ndim, "dim")
            known = math.prod(size for size in self.unflattened_size if size != -1)
            free = -1 in self.unflattened_size
            if (free and (not known or x.shape[axis] % known)) or (not free and known != x.shape[axis]):
                raise ShapeError(f"axis {axis} of {x.type} does not unflatten to unflattened_size={self.unflattened_size}")
            sizes = tuple(x.shape[axis] // known if size == -1 else size for size in self.unflattened_size)
        return fn.reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
