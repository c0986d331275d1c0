"""What users hold: a `Tensor` names the value of a node, has a type and no data; a `State` also owns the array behind it.

Operators and methods build nodes; they follow NumPy's rules and are defined in `graphc.functions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from graphc.arrays import as_array, numeric_array
from graphc.errors import DTypeError, InputError, NoValueError, ShapeError
from graphc.graph import Node
from graphc.op import OPS, build
from graphc.types import TensorType, as_dtype, as_shape

Operand = Any  # Tensor, Python scalar, NumPy array, or nested list


class Tensor:
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
        return self.node.type.size

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

    # --- operators ---

    __hash__ = object.__hash__  # by identity, so that tensors are dictionary keys although == builds a node

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None else fn.equal(self, other)  # x == None is False, x != None is True

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None else fn.not_equal(self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return fn.less(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return fn.less_equal(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return fn.greater(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return fn.greater_equal(self, other)

    def __add__(self, other: Operand) -> Tensor:
        return fn.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return fn.add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return fn.subtract(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return fn.subtract(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return fn.multiply(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return fn.multiply(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return fn.divide(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return fn.divide(other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return fn.floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return fn.floor_divide(other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return fn.remainder(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return fn.remainder(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return fn.power(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return fn.power(other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return fn.matmul(self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return fn.matmul(other, self)

    def __neg__(self) -> Tensor:
        return fn.negative(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return fn.abs(self)

    def __and__(self, other: Operand) -> Tensor:
        return fn.bitwise_and(self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return fn.bitwise_and(other, self)

    def __or__(self, other: Operand) -> Tensor:
        return fn.bitwise_or(self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return fn.bitwise_or(other, self)

    def __xor__(self, other: Operand) -> Tensor:
        return fn.bitwise_xor(self, other)

    def __rxor__(self, other: Operand) -> Tensor:
        return fn.bitwise_xor(other, self)

    def __invert__(self) -> Tensor:
        return fn.bitwise_invert(self)

    def __getitem__(self, key: Any) -> Tensor:
        return fn.getitem(self, key)

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


class State(Tensor):
    """A tensor whose value survives a step: its node is a source, its array is updated in place by compiled steps.

    Identity is the object; names are for people. `trainable` says that optimizers may be given it.
    """

    __slots__ = ("_name", "array", "requires_grad", "extra")

    def __init__(self, array: Any, name: str = "state", dtype: Any = None, requires_grad: bool = False):
        array = as_array(array, dtype, "state")
        # always a copy: the caller's array must not change under a compiled step, nor the step change it
        self.array = np.array(array, order="C", copy=True)
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


def input(name: str, shape: Any, dtype: Any = "float32") -> Tensor:
    """Declare an input of a graph: a named tensor that every call supplies."""
    if not isinstance(name, str) or not name:
        raise InputError(f"input: a name is a non-empty string, not {name!r}")
    return Tensor(build(OPS["input"], (), {"name": name, "dtype": as_dtype(dtype), "shape": as_shape(shape)}))


def state(name: str, array: Any, dtype: Any = None) -> State:
    """Declare a value that survives between calls, starting as a copy of `array`; written through `updates={state: tensor}`."""
    if not isinstance(name, str):
        raise InputError(f"state: a name is a string, not {name!r}")
    return State(array, name=name, dtype=dtype)


def constant(array: Any, dtype: Any = None) -> Tensor:
    """A tensor of known value. Python numbers and lists become float32, int64 or bool; arrays keep their type."""
    value = np.array(as_array(array, dtype), order="C", copy=True)
    value.setflags(write=False)
    return Tensor(build(OPS["const"], (), {"value": value}))


# Operators are functions and functions make Tensors: whoever of the two comes first needs the other by now.
import graphc.functions as fn  # noqa: E402
