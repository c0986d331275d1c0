"""A tensor that carries an update of a state: what a batch norm says of its running statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.errors import ShapeError
from graphc.graph import Attrs, Node
from graphc.index import Index, Piece
from graphc.op import Kind, Sample, declare
from graphc.types import TensorType


def _type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    y, value, previous, state = types
    if not value == previous == state:
        raise ShapeError(f"a state of type {state} cannot take a value of type {value} computed from {previous}")
    return y


def _pieces(node: Node, index: tuple[Index, ...]) -> list[Piece]:
    return [Piece(0, index)]


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((), (3, 5), (0, 2)):
        y, value, old = rng.standard_normal(shape), rng.standard_normal(4), rng.standard_normal(4)
        yield Sample((y, value, old, old), {}, False)


implies = declare(
    "implies",
    Kind.VIEW,
    doc="y. Operands (y, value, previous, state): a step that needs y gives the state `value`, computed from `previous`.",
    infer=_type,
    ref=lambda attrs, y, value, previous, state: y,
    pieces=_pieces,
    backward=lambda node, v: [v, None, None, None],
    samples=_samples,
    rewrites=(lambda node: node.inputs[0],),
)
