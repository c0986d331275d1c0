"""`Parameter`: a state that a module owns and optimizers train."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.arrays import as_array
from graphc.errors import DTypeError, InputError
from graphc.tensor import State
from graphc.types import is_float

UNNAMED = ("parameter", "state")  # what states are called before anyone names them


class Parameter(State):
    """An array to be trained. Registered in a module it takes its attribute path as its name (`encoder.0.weight`), the
    first one where several modules share it; a name given by hand stays.

    `array` is copied; without `dtype` NumPy arrays keep theirs and Python numbers become float32.
    """

    __slots__ = ()

    def __init__(self, array: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(numpy_value(array, "Parameter", dtype), name=UNNAMED[0])
        self.requires_grad_(requires_grad)

    def requires_grad_(self, flag: bool = True) -> Parameter:
        """Whether steps built from now on train this parameter."""
        if flag and not is_float(self.dtype):
            raise DTypeError(f"Parameter: only float parameters can be trained, got {self.type}; pass requires_grad=False")
        super().requires_grad_(flag)
        return self


def given(value: Any, what: str) -> Any:
    """What stands for an array: a state for its value, and nothing for None."""
    if value is None:
        raise InputError(f"{what}: expected an array, got None")
    return value.array if isinstance(value, State) else value


def numpy_value(value: Any, what: str, dtype: Any = None) -> np.ndarray:
    """A state, a torch tensor or anything array-like as an array of one of graphc's types (a view where possible)."""
    return as_array(given(value, what), dtype, what)
