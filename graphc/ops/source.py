"""Ops without operands: input, state, const, iota."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.errors import DTypeError, InputError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Sample, declare
from graphc.types import TensorType, as_dtype, as_shape


def _no_inputs(node: Node, v: Any) -> list[None]:
    return []


def _no_samples(rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())


def _unbound(attrs: Attrs) -> np.ndarray:
    raise InputError(f"input {attrs['name']} has no value; the interpreter binds inputs by name")


input_ = declare(
    "input",
    Kind.SOURCE,
    doc="The array that the caller passes under `name`.",
    infer=lambda types, attrs: TensorType(as_dtype(attrs["dtype"]), as_shape(attrs["shape"])),
    ref=_unbound,
    backward=_no_inputs,
    samples=_no_samples,
)

state = declare(
    "state",
    Kind.SOURCE,
    doc="The value of a state before the step.",
    infer=lambda types, attrs: TensorType(attrs["state"].array.dtype, attrs["state"].array.shape),
    ref=lambda attrs: attrs["state"].array,
    backward=_no_inputs,
    samples=_no_samples,
)


def _const_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield Sample((), {"value": np.float32(1.5)}, False)
    yield Sample((), {"value": np.array([[1, -2], [3, 4]], np.int32)}, False)
    yield Sample((), {"value": np.array([True, False])}, False)
    yield Sample((), {"value": rng.standard_normal((9, 13))}, False)
    yield Sample((), {"value": np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)}, False)


const = declare(
    "const",
    Kind.SOURCE,
    doc="The array `value`.",
    infer=lambda types, attrs: TensorType(as_dtype(attrs["value"].dtype), attrs["value"].shape),
    ref=lambda attrs: np.asarray(attrs["value"]),
    backward=_no_inputs,
    samples=_const_samples,
)


def _iota_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    dtype = as_dtype(attrs["dtype"])
    if dtype.kind == "b":
        raise DTypeError("iota counts in integers or floats, not bool")
    return TensorType(dtype, as_shape(attrs["size"]))


def _iota_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for size in (0, 1, 5, 37):
        for dtype in ("i4", "i8", "f4", "f8"):
            yield Sample((), {"size": size, "dtype": np.dtype(dtype)}, False)


iota = declare(
    "iota",
    Kind.SOURCE,
    doc="0, 1, ..., size - 1.",
    infer=_iota_type,
    ref=lambda attrs: np.arange(attrs["size"], dtype=attrs["dtype"]),
    backward=_no_inputs,
    samples=_iota_samples,
)
