"""The caller's values -> arrays that native code may read, or an error that names the input, what was expected and what came.

    signature = Signature(["x", "y"], [TensorType(float32, (32, 64)), TensorType(int32, (32,))])
    arrays = signature.bind({"x": xb, "y": [3, 1, ...]})

An array that fits already is passed on as it is. Otherwise NumPy's same_kind rule decides, with two differences: integers may
be narrowed where all of them are in range, and nothing but numbers is taken. Shapes must be equal; nothing broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.errors import DTypeError, GraphcError, InputError, ShapeError
from graphc.types import DTYPES, TensorType

# ndarray.flags.num: one attribute for two flags
_C_CONTIGUOUS, _ALIGNED = 0x1, 0x100
FITS = _C_CONTIGUOUS | _ALIGNED
WRITABLE = FITS | 0x400


class Signature:
    """The declared inputs of an executable."""

    __slots__ = ("names", "types", "_specs")

    def __init__(self, names: Sequence[str], types: Sequence[TensorType]):
        self.names = tuple(names)
        self.types = tuple(types)
        self._specs = [(name, type_.dtype, type_.shape) for name, type_ in zip(names, types, strict=True)]

    def bind(self, values: Mapping[str, Any]) -> list[np.ndarray]:
        """Arrays in the declared order for values by name."""
        arrays = []
        try:
            for name, dtype, shape in self._specs:
                value = values[name]
                if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape and value.flags.num & FITS == FITS:
                    arrays.append(value)
                else:
                    arrays.append(as_input(name, value, dtype, shape))
        except KeyError:
            self._refuse(values)
        if len(values) != len(arrays):
            self._refuse(values)
        return arrays

    def bind_positional(self, values: Sequence[Any]) -> list[np.ndarray]:
        """The same for values in the declared order."""
        if len(values) != len(self.names):
            raise InputError(f"expected {len(self.names)} inputs ({self}), got {len(values)}")
        return self.bind(dict(zip(self.names, values, strict=True)))

    def rows_of(self, data: Mapping[str, Any], rows: int) -> list[np.ndarray] | None:
        """Arrays of so many rows, each as a call would take any slice of it; None where one is not of the declared inputs."""
        if data.keys() != set(self.names):
            return None
        return [as_input(name, data[name], dtype, (rows, *shape[1:])) for name, dtype, shape in self._specs]

    def __str__(self) -> str:
        return ", ".join(f"{name}: {type_}" for name, type_ in zip(self.names, self.types, strict=True))

    def _refuse(self, values: Mapping[str, Any]) -> NoReturn:
        missing = [f"{name}: {type_}" for name, type_ in zip(self.names, self.types, strict=True) if name not in values]
        unknown = [repr(name) for name in values if name not in self.names]
        faults = [f"missing {', '.join(missing)}"] if missing else []
        faults += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise InputError(f"inputs: {'; '.join(faults)}\n  expected {self or 'none'}")


def as_input(name: str, value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """One value as a C-contiguous, aligned array of the declared type; a copy only where needed."""

    def expected() -> str:
        return f"input {name}: expected {TensorType(dtype, shape)}"

    array = _as_array(value, expected)
    if array.shape != shape:
        raise ShapeError(f"{expected()}, got shape {array.shape}")
    if array.dtype != dtype:
        array = _cast(array, dtype, expected, weak=isinstance(value, (list, tuple)))
    array = np.asarray(array, order="C")
    return array if array.flags.aligned else array.copy()


def _as_array(value: Any, expected: Callable[[], str]) -> np.ndarray:
    """NumPy arrays and scalars, Python numbers and lists, or what has `__array__` or `__dlpack__`."""
    try:
        if type(value) is np.ndarray:
            array = value
        else:
            if hasattr(value, "detach"):  # a torch tensor: its gradient is not asked for
                value = value.detach()
            if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
                array = np.from_dlpack(value)
            else:
                array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError, GraphcError) as error:  # a Tensor refuses with the last
        raise InputError(f"{expected()}, got {type(value).__name__}: {error}") from None
    if array.dtype.kind == "O" and array.size and all(isinstance(item, int) for item in array.flat):
        raise InputError(f"{expected()}, got an integer beyond 64 bits")
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{expected()}, got {_came(value, array)}")
    return array


_INTEGERS = {dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in DTYPES.values() if dtype.kind == "i"}


def _cast(array: np.ndarray, dtype: np.dtype, expected: Callable[[], str], weak: bool) -> np.ndarray:
    if not (np.can_cast(array.dtype, dtype, "same_kind") or (weak and array.size == 0)):
        rule = f"which NumPy's same_kind rule does not cast to {dtype.name}"
        raise DTypeError(f"{expected()}, got {array.dtype.name}, {rule}")
    if dtype.kind == "i":
        if array.dtype.kind in "iu" and array.size and not np.can_cast(array.dtype, dtype, "safe"):
            least, most = _INTEGERS[dtype]
            for extreme in (int(array.min()), int(array.max())):
                if not least <= extreme <= most:
                    fault = f"{array.dtype.name} with the value {extreme}, out of range for {dtype.name}"
                    raise InputError(f"{expected()}, got {fault}")
        return array.astype(dtype, order="C")
    with np.errstate(all="ignore"):  # float64 beyond float32 becomes infinite, as in NumPy
        return array.astype(dtype, order="C")


def _came(value: Any, array: np.ndarray) -> str:
    return f"an array of {array.dtype}" if isinstance(value, np.ndarray) else f"{type(value).__name__} {value!r:.40}"


def check_outputs(out: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype]) -> None:
    """Refuse `out=` arrays that native code may not write."""
    if len(out) != len(shapes):
        raise InputError(f"out: expected {len(shapes)} arrays, got {len(out)}")
    for position, (array, shape, dtype) in enumerate(zip(out, shapes, dtypes, strict=True)):
        if not (
            type(array) is np.ndarray and array.dtype is dtype and array.shape == shape and array.flags.num & WRITABLE == WRITABLE
        ):
            _refuse_output(position, array, shape, dtype)
        if position and any(np.may_share_memory(array, other) for other in out[:position]):
            raise InputError(f"out[{position}]: shares memory with another array of out")


def _refuse_output(position: int, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise unless the array will do after all."""
    expected = f"out[{position}]: expected a writable, C-contiguous {TensorType(dtype, shape)}"
    if not isinstance(array, np.ndarray):
        raise InputError(f"{expected}, got {type(array).__name__}")
    if array.dtype != dtype:
        raise DTypeError(f"{expected}, got {array.dtype.name}")
    if array.shape != shape:
        raise ShapeError(f"{expected}, got shape {array.shape}")
    if not (array.flags.carray and array.dtype.isnative):
        raise InputError(f"{expected}, got one that is not")
