"""Contraction: einsum of two operands, the one op behind matmul, linear maps and attention."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs, Node
from graphc.op import Kind, Sample, declare, operands
from graphc.ops.common import NUMERIC, draw
from graphc.tensor import Tensor
from graphc.types import TensorType


def split_spec(spec: str) -> tuple[str, str, str]:
    """("ik", "jk", "ij") of "ik,jk->ij"."""
    left, arrow, out = spec.partition("->")
    x, comma, w = left.partition(",")
    if not arrow or not comma or any(c in out + x + w for c in ",->"):
        raise ShapeError(f"a contraction is spelled like 'ik,jk->ij', not {spec!r}")
    return x, w, out


def canonical_spec(x: str, w: str, out: str) -> str:
    """The spec with labels renamed by first use, so that equal contractions are spelled equally."""
    names = {label: chr(ord("a") + i) for i, label in enumerate(dict.fromkeys(x + w))}
    return ",".join("".join(names[label] for label in part) for part in (x, w)) + "->" + "".join(names[label] for label in out)


def _contract_type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    x, w, out = split_spec(attrs["spec"])
    sizes: dict[str, int] = {}
    for labels, type_ in ((x, types[0]), (w, types[1])):
        if len(labels) != type_.rank:
            raise ShapeError(f"{labels!r} names {len(labels)} axes of {type_}")
        if len(set(labels)) != len(labels):
            raise ShapeError(f"{labels!r} repeats a label")
        for label, size in zip(labels, type_.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ShapeError(f"sizes of axis {label!r} differ, {sizes[label]} != {size}")
    if len(set(out)) != len(out):
        raise ShapeError(f"{out!r} repeats a label")
    for label in {*x, *w, *out}:
        if (label in x) + (label in w) + (label in out) < 2:
            raise ShapeError(f"label {label!r} stands alone in {attrs['spec']!r}; sum it out or name it in the result")
    if types[0].dtype != types[1].dtype:
        raise DTypeError(f"element types differ, {types[0]} and {types[1]}")
    if types[0].dtype.kind == "b":
        raise DTypeError("needs numbers, got bool")
    return TensorType(types[0].dtype, tuple(sizes[label] for label in out))


def contraction(x: Tensor, w: Tensor, x_labels: str, w_labels: str, out: str) -> Tensor:
    return contract(x, w, spec=canonical_spec(x_labels, w_labels, out))


def _backward(node: Node, v: Tensor) -> list[Tensor | None]:
    if node.type.dtype.kind != "f":
        return [None, None]
    x, w = operands(node)
    x_labels, w_labels, out = split_spec(node.attrs["spec"])
    return [contraction(v, w, out, w_labels, x_labels), contraction(v, x, out, x_labels, w_labels)]


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    sizes = {"a": 3, "b": 5, "c": 4, "d": 2, "e": 19}
    specs = (
        "ab,cb->ac", "ab,bc->ac", "ba,bc->ac", "ba,cb->ac", "ab,cb->ca", "dab,dbc->dac", "dab,dcb->dca", "abc,dc->abd",
        "abc,abd->cd", "a,a->", "a,b->ab", "ab,b->a", "ab,a->b", "ae,ce->ac", "ea,eb->ab", "abd,cbd->ac", "dabe,dcbe->dabc",
        "ab,ab->ab", "a,->a", ",->",
    )  # fmt: skip
    for dtype in NUMERIC:
        for spec in specs:
            x, w, _ = split_spec(spec)
            arrays = tuple(np.asarray(draw(rng, tuple(sizes[label] for label in labels), dtype, -3, 3)) for labels in (x, w))
            yield Sample(arrays, {"spec": spec}, dtype == np.float64)
    for zero in "abc":
        shapes = [tuple(0 if label == zero else sizes[label] for label in labels) for labels in ("ab", "cb")]
        yield Sample(tuple(np.zeros(shape) for shape in shapes), {"spec": "ab,cb->ac"}, False)


contract = declare(
    "contract",
    Kind.CONTRACT,
    doc="x times w, summed over labels absent from the result, as einsum(spec, x, w). Each label stands in two or three places.",
    infer=_contract_type,
    ref=lambda attrs, x, w: np.asarray(np.einsum(attrs["spec"], x, w, optimize=x.dtype.kind == "f")),
    backward=_backward,
    samples=_samples,
)
