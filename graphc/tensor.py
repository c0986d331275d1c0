"""What users hold: a `Tensor` names the value of a node, has a type and no data. (A `graphc.state.State` also owns an array.)

Operators and methods build nodes; they follow NumPy's rules and are defined in `graphc.functions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphc.arrays import as_array
from graphc.errors import InputError, NoValueError, ShapeError
from graphc.graph import Node
from graphc.habits import TENSOR, Size, no_attribute, refuse_numpy
from graphc.op import OPS, build
from graphc.operators import Operand, Operators
from graphc.types import TensorType, as_dtype, as_shape


class Tensor(Operators):
    __slots__ = ("node", "__weakref__")
    __array_ufunc__ = None  # numpy_array + tensor goes to Tensor.__radd__

    def __init__(self, node: Node):
        self.node = node

    # --- what it is ---

    @property
    def type(self) -> TensorType:
        return self.node.type

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.shape

    @property
    def dtype(self) -> np.dtype:
        return self.node.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return Size(self.node.type.size)

    @property
    def name(self) -> str | None:
        """The name of an input or a state; None for a computed value."""
        return self.node.attrs.get("name") if self.node.op.name == "input" else None

    def __repr__(self) -> str:
        label = f" {self.name}" if self.name else ""
        return f"<Tensor{label} {self.node.op.name}: {self.type}>"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a scalar tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self  # frozen, and ops are compared by identity

    # --- what it is not: a value ---

    def _no_value(self, what: str) -> NoReturn:
        raise NoValueError(
            f"{what}: a tensor has no value while the graph is being declared ({self.type}"
            + (f", declared at {self.node.loc}" if self.node.loc else "")
            + "); compile the graph and call it, or use graphc.where for a choice"
        )

    def __bool__(self) -> bool:
        self._no_value("bool(tensor)")

    def __float__(self) -> float:
        self._no_value("float(tensor)")

    def __int__(self) -> int:
        self._no_value("int(tensor)")

    def __index__(self) -> int:
        self._no_value("index(tensor)")

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        self._no_value("np.asarray(tensor)")

    def __array_function__(self, function: Any, *args: Any) -> NoReturn:
        raise refuse_numpy(function, fn)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise NoValueError("x[...] = value: tensors are values and do not change; use graphc.where, graphc.concat or graphc.pad")

    if not TYPE_CHECKING:  # else any attribute would be one

        def __getattr__(self, name: str) -> NoReturn:
            from graphc.nn import functional

            raise no_attribute(self, name, TENSOR, ("graphc", fn), ("graphc.nn.functional", functional))

    # --- methods, as NumPy's ---

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor:
        return fn.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Tensor:
        return fn.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.prod(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.argmax(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.argmin(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.all(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return fn.any(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return fn.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = axes[0]
        return fn.permute_dims(self, axes or None)

    def swapaxes(self, a: int, b: int) -> Tensor:
        return fn.swapaxes(self, a, b)

    def squeeze(self, axis: Any = None) -> Tensor:
        return fn.squeeze(self, axis)

    def view(self, *shape: Any) -> Tensor:
        """`reshape`, as PyTorch calls it."""
        return self.reshape(*shape)

    def detach(self) -> Tensor:
        """`graphc.stop_gradient`, as PyTorch calls it."""
        return fn.stop_gradient(self)

    def flatten(self) -> Tensor:
        return fn.reshape(self, (-1,))

    def astype(self, dtype: Any) -> Tensor:
        return fn.astype(self, dtype)

    def exp(self) -> Tensor:
        return fn.exp(self)

    def log(self) -> Tensor:
        return fn.log(self)

    def sqrt(self) -> Tensor:
        return fn.sqrt(self)

    def tanh(self) -> Tensor:
        return fn.tanh(self)

    def sigmoid(self) -> Tensor:
        return fn.sigmoid(self)

    def abs(self) -> Tensor:
        return fn.abs(self)

    def clip(self, min: Operand = None, max: Operand = None) -> Tensor:
        return fn.clip(self, min, max)

    @property
    def T(self) -> Tensor:
        """All axes reversed, as NumPy's."""
        return fn.permute_dims(self, None)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return fn.matrix_transpose(self)


def input(name: str, shape: Any, dtype: Any = "float32") -> Tensor:
    """Declare an input of a graph: a named tensor that every call supplies."""
    if not isinstance(name, str) or not name:
        raise InputError(f"input: a name is a non-empty string, not {name!r}")
    return Tensor(build(OPS["input"], (), {"name": name, "dtype": as_dtype(dtype), "shape": as_shape(shape)}))


def constant(array: Any, dtype: Any = None) -> Tensor:
    """A tensor of known value. Python numbers and lists become float32, int64 or bool; arrays keep their type."""
    value = np.array(as_array(array, dtype), order="C", copy=True)
    value.setflags(write=False)
    return Tensor(build(OPS["const"], (), {"value": value}))


# Operators are functions, functions make Tensors, and States are Tensors: whoever comes first needs the others by now.
import graphc.functions as fn  # noqa: E402
from graphc.state import State as State  # noqa: E402
