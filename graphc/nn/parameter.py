"""`Parameter`: a state that a module owns and optimizers train."""

from __future__ import annotations

from typing import Any

from graphc.errors import DTypeError, InputError
from graphc.tensor import State, Tensor, as_array
from graphc.types import is_float

UNNAMED = ("parameter", "state")  # what states are called before anyone names them


class Parameter(State):
    """An array to be trained. Registered in a module it takes its attribute path as its name (`encoder.0.weight`), the
    first one where several modules share it; a name given by hand stays.

    `array` is copied; without `dtype` NumPy arrays keep theirs and Python numbers become float32.
    """

    __slots__ = ()

    def __init__(self, array: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(numpy_value(array, "Parameter"), name=UNNAMED[0], dtype=dtype)
        self.requires_grad_(requires_grad)

    def requires_grad_(self, flag: bool = True) -> Parameter:
        """Whether steps built from now on train this parameter."""
        if flag and not is_float(self.dtype):
            raise DTypeError(f"Parameter: only float parameters can be trained, got {self.type}; pass requires_grad=False")
        super().requires_grad_(flag)
        return self


def numpy_value(value: Any, what: str) -> Any:
    """A state, a torch tensor or anything array-like as an array of one of graphc's types (a view where possible)."""
    if isinstance(value, State):
        return value.array
    if isinstance(value, Tensor):
        raise DTypeError(f"{what}: expected an array, got {value!r}, which has no value while the graph is being declared")
    if hasattr(value, "detach"):  # torch: numbers without their gradient, on the CPU, in a type that NumPy has
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    if value is None:
        raise InputError(f"{what}: expected an array, got None")
    return as_array(value, None, what)
