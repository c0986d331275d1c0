"""Loops: `scan` runs a graph of its own once for each step of a sequence; `get` reads one of its results.

    %3 = scan h0 x w {body=graph step(c0: f32[8], x0: f32[4], w0: f32[8,4]) {...}, carries=1, length=50, reverse=false,
    sequences=1} %4 = get %3 {index=0}

Operands are the first values of the carries, then the sequences, of which a trip sees one slice along axis 0, then what every
trip sees whole. The body has an input for each operand, in that order, and reads nothing else: its only other sources are
small constants and counters. Its outputs are the new carries, then what is stacked along a new axis 0. Results: the last
carries, then the stacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Graph, Node
from graphc.op import Kind, Sample, declare
from graphc.tensor import Tensor
from graphc.types import TensorType, TupleType


def stacked(type_: TensorType, length: int) -> TensorType:
    return TensorType(type_.dtype, (length, *type_.shape))


def _scan_type(types: tuple[TensorType, ...], attrs: Attrs) -> TupleType:
    body, carries, sequences, length = (attrs[key] for key in ("body", "carries", "sequences", "length"))
    if not isinstance(body, Graph) or not isinstance(attrs["reverse"], bool):
        raise DTypeError("body must be a graph, and reverse true or false")
    if any(type(count) is not int or count < 0 for count in (carries, sequences, length)) or length < 1:
        raise ShapeError(f"carries, sequences and length must be counts, length at least 1, got {carries}, {sequences}, {length}")
    if len(body.inputs) != len(types) or carries + sequences > len(types):
        raise ShapeError(f"the body has {len(body.inputs)} inputs for {len(types)} operands")
    for number, (given, inner) in enumerate(zip(types, body.inputs, strict=True)):
        sequence = carries <= number < carries + sequences
        expected = stacked(inner.type, length) if sequence else inner.type
        if given != expected:
            raise ShapeError(f"operand {number} is {given}, the body's {inner.attrs.get('name')} needs {expected}")
    if len(body.outputs) < carries:
        raise ShapeError(f"the body has {len(body.outputs)} outputs for {carries} carries")
    for number in range(carries):
        if body.outputs[number].type != body.inputs[number].type:
            raise ShapeError(f"carry {number} changes its type from {body.inputs[number].type} to {body.outputs[number].type}")
    last = tuple(node.type for node in body.outputs[:carries])
    return TupleType(last + tuple(stacked(node.type, length) for node in body.outputs[carries:]))


def _scan_ref(attrs: Attrs, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    from graphc.interp import run_graph

    body, count = attrs["body"], attrs["carries"]
    carries, sequences, rest = arrays[:count], arrays[count : count + attrs["sequences"]], arrays[count + attrs["sequences"] :]
    length = attrs["length"]
    stacks = [np.empty((length, *node.type.shape), node.type.dtype) for node in body.outputs[count:]]
    for trip in range(length):
        step = length - 1 - trip if attrs["reverse"] else trip
        results, _ = run_graph(body, [*carries, *(array[step] for array in sequences), *rest])
        carries = results[:count]
        for stack, value in zip(stacks, results[count:], strict=True):
            stack[step] = value
    return (*carries, *stacks)


class Cotangents(dict[int, Tensor]):
    """Gradients of some results of a node that has several, by position."""

    def __add__(self, other: Cotangents) -> Cotangents:
        both = {index: self[index] + other[index] for index in self if index in other}
        return Cotangents({**self, **other, **both})


def _scan_backward(node: Node, v: Cotangents) -> Sequence[Tensor | None]:
    from graphc.reversing import scan_gradients

    return scan_gradients(node, v)


def _no_samples(rng: np.random.Generator) -> Iterator[Sample]:
    return iter(())  # a body has no arrays; tests/test_scan.py has them


scan = declare(
    "scan",
    Kind.SCAN,
    doc="c[t+1], y[t] = body(c[t], x[t], w) for t = 0, ..., length - 1, or downwards where `reverse`; the last c, and all y.",
    infer=_scan_type,
    ref=_scan_ref,
    backward=_scan_backward,
    samples=_no_samples,
)


def _get_type(types: tuple[TensorType | TupleType, ...], attrs: Attrs) -> TensorType:
    (results,) = types
    if not isinstance(results, TupleType):
        raise DTypeError(f"needs a node with several results, got {results}")
    if type(attrs["index"]) is not int or not 0 <= attrs["index"] < len(results.items):
        raise ShapeError(f"there is no result {attrs['index']} of {results}")
    return results.items[attrs["index"]]


get = declare(
    "get",
    Kind.PROJECT,
    doc="Result `index` of a node that has several.",
    infer=_get_type,
    ref=lambda attrs, results: results[attrs["index"]],
    backward=lambda node, v: [Cotangents({node.attrs["index"]: v})],
    samples=_no_samples,
)
