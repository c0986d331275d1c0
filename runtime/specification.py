"""What native code compares a call's arrays with before it takes them (graphc/codegen/calls.py has the layout)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from graphc.runtime.arena import FIRST_EXTERNAL
from graphc.runtime.binding import FITS, WRITABLE
from graphc.runtime.pointer import address, span
from graphc.types import TensorType

_FIELDS, _ARRAY = 9, 5


class Specification:
    """Kept by the executable for as long as frames point to it."""

    __slots__ = ("address", "_memory")

    def __init__(
        self,
        entry: int,
        inputs: Sequence[TensorType],
        outputs: Sequence[TensorType],
        first_output: int,
        written: Sequence[np.ndarray],
        read: Sequence[np.ndarray],
    ):
        spans = np.array([span(array) for array in (*written, *read)], np.int64)
        types = [(type_, FITS) for type_ in inputs] + [(type_, WRITABLE) for type_ in outputs]
        shapes = [np.array(type_.shape, np.int64) for type_, _ in types]
        arrays = (ctypes.c_int64 * (_ARRAY * len(types)))()
        for i, ((type_, flags), shape) in enumerate(zip(types, shapes, strict=True)):
            record: list[ctypes.c_int64 | int] = [id(type_.dtype), flags, len(type_.shape), address(shape), type_.nbytes]
            arrays[_ARRAY * i : _ARRAY * i + _ARRAY] = record
        fields = (ctypes.c_int64 * _FIELDS)(
            entry, len(inputs), len(outputs), FIRST_EXTERNAL, first_output,
            len(spans), len(written), address(spans), ctypes.addressof(arrays),
        )  # fmt: skip
        self._memory = (spans, types, shapes, arrays, fields)
        self.address = ctypes.addressof(fields)
