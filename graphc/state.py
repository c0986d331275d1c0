"""What survives a step: parameters, buffers, moments, hyper-parameters, counters.

count = graphc.state("count", 0)
graphc.compile(count * 2, updates={count: count + 1})
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.arrays import aligned_copy, as_array, numeric_array
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.op import OPS, build
from graphc.tensor import Tensor


class State(Tensor):
    """A tensor whose value survives a step: its node is a source, its array is updated in place by compiled steps.

    Identity is the object; names are for people. `trainable` says that optimizers may be given it.
    """

    __slots__ = ("_name", "array", "requires_grad", "extra")

    def __init__(self, array: Any, name: str = "state", dtype: Any = None, requires_grad: bool = False):
        array = as_array(array, dtype, "state")
        # always a copy: the caller's array must not change under a compiled step, nor the step change it
        self.array = aligned_copy(array)
        self._name = name
        self.requires_grad = requires_grad
        super().__init__(build(OPS["state"], (), {"state": self}))

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    def numpy(self) -> np.ndarray:
        """A live, writable view of the value."""
        return self.array.view()

    def assign(self, value: Any) -> None:
        """Overwrite the value; shape and kind must fit, or nothing changes."""
        what = f"state {self.name}"
        array = numeric_array(value.array if isinstance(value, State) else value, what)
        if array.shape != self.shape:
            raise ShapeError(f"{what}: expected shape {self.shape}, got {array.shape}")
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise DTypeError(f"{what}: expected {self.dtype.name}, got {array.dtype.name}")
        np.copyto(self.array, as_array(array, self.dtype, what))

    def requires_grad_(self, flag: bool = True) -> State:
        """Whether steps built from now on train this state."""
        self.requires_grad = bool(flag)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> State:
        return _restored(*self.__reduce__()[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.array, self._name, self.requires_grad)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.type}>"


def _restored(kind: type[State], array: np.ndarray, name: str, requires_grad: bool) -> State:
    """A state of its own with the given value: what copying and unpickling make."""
    made = kind.__new__(kind)
    State.__init__(made, array, name, requires_grad=requires_grad)
    return made


def state(name: str, array: Any, dtype: Any = None) -> State:
    """Declare a value that survives between calls, starting as a copy of `array`; written through `updates={state: tensor}`."""
    if not isinstance(name, str):
        raise InputError(f"state: a name is a string, not {name!r}")
    return State(array, name=name, dtype=dtype)
