"""Constant folding: what depends on constants alone is computed now, by the ops' NumPy references.

    %0 = const {value=f32(2.0)}            : f32[]
    %1 = sqrt %0                           : f32[]
    %2 = broadcast %1 {shape=(3,)}         : f32[3]
    %3 = mul x %2                          : f32[3]
->
    %0 = const {value=f32(1.4142135)}      : f32[]
    %1 = broadcast %0 {shape=(3,)}         : f32[3]
    %2 = mul x %1                          : f32[3]

A tensor of one repeated value is kept as `broadcast` of a scalar, which kernels read as a literal: it is never spelled out, and
an array whose elements are all the same bits becomes one. Anything else must stay small: no larger than the constants it
replaces, or than MAX_NEW elements, and no more work than MAX_FLOPS. Checks are never folded, so that they fail in the call; nor
is iota, which kernels have for nothing as their loop variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.cost import flops
from graphc.graph import Graph, Node
from graphc.op import Kind
from graphc.options import Options
from graphc.passes.rebuild import move, rebuild
from graphc.rewriting import constant_node, splat, splat_node

MAX_NEW = 1024
MAX_FLOPS = 2**24


def fold(graph: Graph, options: Options) -> Graph:
    """Replaces every node of known value by a constant."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        now = move(node, new)
        new[node] = _folded(now)
    return rebuild(graph, new)


def _folded(node: Node) -> Node:
    if not node.inputs:
        return _as_splat(node, node.attrs["value"]) if node.op.name == "const" else node
    if node.op.effect or node.op.kind in (Kind.SCAN, Kind.PROJECT):
        return node
    if node.op.kind is Kind.VIEW and (value := splat(node)) is not None:
        return node if _is_plain_splat(node) else splat_node(node, value)
    values = [splat(operand) for operand in node.inputs]
    if node.op.kind is Kind.ELEMENTWISE and all(value is not None for value in values):
        return splat_node(node, _evaluate(node, [np.asarray(value) for value in values]))
    known = [_known(operand, value) for operand, value in zip(node.inputs, values, strict=True)]
    if not all(array is not None for array in known) or not _worthwhile(node):
        return node
    try:
        result = _evaluate(node, known)
    except IndexError:  # a position out of range, in a graph made by hand
        return node
    return _as_splat(constant_node(node, result), result)


def _is_plain_splat(node: Node) -> bool:
    (operand,) = node.inputs
    return node.op.name == "broadcast" and operand.op.name == "const" and operand.type.shape == ()


def _as_splat(node: Node, value: np.ndarray) -> Node:
    """A constant whose elements all have the same bits, as a splat."""
    if value.size < 2:
        return node
    bits = np.ascontiguousarray(value).reshape(-1).view(f"u{value.dtype.itemsize}")
    return splat_node(node, value.reshape(-1)[0]) if bits[0] == bits[-1] and (bits == bits[0]).all() else node


def _known(node: Node, value: Any) -> np.ndarray | None:
    """The value of an operand, where it is known; a splat takes no memory."""
    if value is not None:
        return np.broadcast_to(np.asarray(value, node.type.dtype), node.type.shape)
    if node.op.name == "const":
        return node.attrs["value"]
    return None


def _worthwhile(node: Node) -> bool:
    replaced = sum(operand.type.size for operand in dict.fromkeys(node.inputs) if operand.op.name == "const")
    # kernels read through views, so a view is worth a constant only where it needs no more memory
    limit = replaced if node.op.kind is Kind.VIEW else max(replaced, MAX_NEW)
    return node.type.size <= limit and flops(node) <= MAX_FLOPS


def _evaluate(node: Node, arrays: list[Any]) -> np.ndarray:
    # Infinities and NaN are values, as they are in native code.
    with np.errstate(all="ignore"):
        result = np.asarray(node.op.ref(node.attrs, *arrays), node.type.dtype)
    # One NaN on every machine: processors differ in the sign of those they make.
    if result.dtype.kind == "f" and np.isnan(result).any():
        return np.where(np.isnan(result), result.dtype.type(np.nan), result)
    return result
