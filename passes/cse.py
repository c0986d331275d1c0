"""Common subexpression elimination: equal nodes become one.

    %0 = exp x                             : f32[3]   @ a.py:1
    %1 = exp x                             : f32[3]   @ a.py:9  B[exp, %0](v)
    %2 = mul %0 %1                         : f32[3]
->
    %0 = exp x                             : f32[3]   @ a.py:1  B[exp](v)
    %1 = mul %0 %0                         : f32[3]

Nodes are equal if op, operands and attributes are: arrays by element type, shape and bytes, floats by their bits (0.0 is not
-0.0), functions and states by identity. The first of equal nodes stays and takes the origins of all, in order. Two equal checks
are one check.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.graph import Graph, Node, Origin
from graphc.options import Options
from graphc.passes.rebuild import move, rebuild
from graphc.text import print_graph

# Longer arrays are compared by a digest of their bytes.
MAX_PLAIN_BYTES = 64


def cse(graph: Graph, options: Options) -> Graph:
    """Merges equal nodes; inputs are never merged."""
    first: dict[Hashable, Node] = {}
    leader: dict[Node, Node] = {}
    origins: dict[Node, dict[Origin, None]] = {}
    for node in graph.nodes:
        if node.op.name == "input":
            leader[node] = node
            continue
        key = (node.op, tuple(leader[operand] for operand in node.inputs), attrs_key(node))
        leader[node] = first.setdefault(key, node)
        origins.setdefault(leader[node], {}).update(dict.fromkeys(node.origins))
    if all(node is found for node, found in leader.items()):
        return graph
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        found = leader[node]
        if found is not node:  # the leader stands above
            new[node] = new[found]
            continue
        now = move(node, new)
        united = tuple(origins.get(node, ()))
        new[node] = now if len(united) == len(node.origins) else replace(now, origins=united)
    return rebuild(graph, new)


def attrs_key(node: Node) -> Hashable:
    return tuple((name, value_key(node.attrs[name])) for name in sorted(node.attrs))


def value_key(value: Any) -> Hashable:
    """Equal for attributes that mean the same; 1, 1.0 and true do not."""
    if isinstance(value, (np.ndarray, np.generic)):
        data = np.asarray(value).tobytes()
        return ("array", value.dtype.str, value.shape, data if len(data) <= MAX_PLAIN_BYTES else hashlib.sha256(data).digest())
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, (tuple, list)):
        return ("tuple", tuple(map(value_key, value)))
    if value is None or isinstance(value, (bool, int, str, np.dtype)):
        return (type(value).__name__, value)
    if isinstance(value, Graph):  # a loop's body means what its text says: it reads no state
        return ("graph", print_graph(value, provenance=False))
    return ("object", id(value))
