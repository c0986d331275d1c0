"""Helpers for rewrites: recognising and making tensors whose elements are all one constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph import Node
from graphc.op import OPS, Kind, derive


def splat(node: Node) -> Any:
    """The NumPy scalar that every element of `node` equals, or None: a one-element constant seen through views of one operand
    that drop nothing in (reshape, broadcast, transpose, ...)."""
    while node.op.kind is Kind.VIEW and len(node.inputs) == 1 and "value" not in node.attrs:
        node = node.inputs[0]
    if node.op.name == "const":
        value = node.attrs["value"]
        return value.reshape(-1)[0] if value.size == 1 else None
    return None


def constant_node(like: Node, value: np.ndarray) -> Node:
    """A constant that carries the provenance of `like`."""
    value = np.array(value, order="C", copy=True)
    value.setflags(write=False)
    return derive(like, OPS["const"], (), value=value)


def splat_node(like: Node, value: Any) -> Node:
    """A tensor of the type of `like` with every element equal to `value`."""
    scalar = constant_node(like, np.asarray(value, like.type.dtype))
    return derive(like, OPS["broadcast"], (scalar,), shape=like.type.shape) if like.type.shape else scalar
