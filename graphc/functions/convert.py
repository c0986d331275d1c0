"""From what users write to what ops accept: tensors of one dtype and one shape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.arrays import as_array, is_weak
from graphc.op import rule
from graphc.tensor import Tensor, constant
from graphc.types import DEFAULT_FLOAT, as_dtype, broadcast_shapes, is_float, promote, weak_dtype

_float: ContextVar[np.dtype] = ContextVar("graphc_default_float", default=DEFAULT_FLOAT)


@contextlib.contextmanager
def floats_are(dtype: np.dtype) -> Iterator[None]:
    """Inside, what would become a float of the default type, beside no float tensor, becomes one of `dtype`."""
    token = _float.set(dtype)
    try:
        yield
    finally:
        _float.reset(token)


def as_tensor(value: Any, dtype: Any = None) -> Tensor:
    """A tensor as it is (cast if `dtype` is given), anything else as a constant."""
    if isinstance(value, Tensor):
        return value if dtype is None else _cast(value, as_dtype(dtype))
    return constant(value, dtype)


def _cast(x: Tensor, dtype: np.dtype) -> Tensor:
    from graphc.ops import arithmetic

    return x if x.dtype == dtype else arithmetic.cast(x, dtype=dtype)


def cast(x: Tensor, dtype: np.dtype) -> Tensor:
    """`x` as `dtype`; `x` itself where it is already."""
    return _cast(x, dtype)


def promoted(name: str, *values: Any, floating: bool = False) -> list[Tensor]:
    """All operands in their common dtype. Scalars and arrays adopt the tensors' dtype within its kind. With `floating`,
    integers and bools become the default float."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    with rule(name, *tensors):
        dtype = None
        for tensor in tensors:
            dtype = tensor.dtype if dtype is None else promote(dtype, tensor.dtype)
        arrays = {}
        if dtype is None or not is_float(dtype):
            arrays = {i: as_array(value, None, "operand") for i, value in enumerate(values) if not isinstance(value, Tensor)}
        # scalars and arrays in turn may only raise the kind
        for i, array in arrays.items():
            other = array.dtype if dtype is None else weak_dtype(array.dtype.kind, dtype)
            if is_float(other) and (is_weak(values[i]) if dtype is None else not is_float(dtype)):
                other = _float.get()
            dtype = other if dtype is None else promote(dtype, other)
        if dtype is None:
            raise TypeError(f"{name} needs an operand")
        if floating and not is_float(dtype):
            dtype = _float.get()
        # a float is converted from the value itself: by way of the default f32 a Python number beside an f64 tensor would lose
        # digits
        return [
            _cast(value, dtype)
            if isinstance(value, Tensor)
            else constant(as_array(value if is_float(dtype) else arrays[i], dtype, "operand"))
            for i, value in enumerate(values)
        ]


def broadcasted(name: str, *tensors: Tensor) -> list[Tensor]:
    """All operands repeated to their common shape."""
    if all(tensor.shape == tensors[0].shape for tensor in tensors[1:]):
        return list(tensors)
    from graphc.ops import view

    with rule(name, *tensors):
        shape = broadcast_shapes(*(tensor.shape for tensor in tensors))
    return [tensor if tensor.shape == shape else view.broadcast(tensor, shape=shape) for tensor in tensors]


def matched(name: str, *values: Any, floating: bool = False) -> list[Tensor]:
    """Promoted and broadcast operands."""
    return broadcasted(name, *promoted(name, *values, floating=floating))
