"""Graph as text: deterministic, diffable, and read back by `graphc.parse` to a graph that prints the same bytes.

    graphc-text 1
    graph train(x: f32[32,64], y: i32[32]) state(w: f32[10,64], b: f32[10]) {
      w                                                    @ examples/digits.py:9 fc1
      %0 = contract x w {spec="ik,jk->ij"}   : f32[32,10]   @ examples/digits.py:14 fc1
      %7 = mul %5 %6                         : f32[32,10]   @ examples/digits.py:15 act  B[tanh, %3](v)
      return %9    update w <- %12, b <- %13
    }
    blob c0 = f32[100] "zczMPQ..."

Inputs and states stand in the header; lines without `=` at the top of the body give their provenance. After `@` come location and
module path, then the origins: `B[tanh, %3](v)` is the backward function of tanh at %3, `B[tanh](v)` where that node is not
printed above.

The body of a loop is a graph among the attributes, numbered by itself:

      %3 = scan h x {body=graph step(c0: f32[8], x0: f32[8]) {
        %0 = add c0 x0                                   : f32[8]
        return %0
      }, carries=1, length=50, reverse=false, sequences=1} : (f32[8],)

Values of attributes: 1, 1.0, true, none, "text", (1, 2), f32 (an element type), f32[1.0, 2.0] (an array of more than 64 elements
is a blob: row-major little-endian bytes in base64), and <name>, a Python function, which cannot be read back. Names that are not
made of letters, digits, _ and . stand in backticks. Lines that begin with # are comments.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.graph import Graph, Node, Origin
from graphc.types import SHORT_NAMES, TensorType

VERSION_LINE = "graphc-text 1"
INLINE_ELEMENTS = 64
HEADER_WIDTH = 120
TYPE_COLUMN = 48
PROVENANCE_COLUMN = 64

# Words that would be mistaken for syntax where a name is expected.
RESERVED = frozenset({"return", "update", "blob"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*\Z")
_BARE = re.compile(r"[A-Za-z0-9_./:+~<>-]+\Z")
_CANONICAL_NAN = {np.dtype(np.float32): 0x7FC00000, np.dtype(np.float64): 0x7FF8000000000000}

Names = dict[Node, str]


def print_graph(graph: Graph, *, provenance: bool = True) -> str:
    """The text of a graph; without provenance it depends on nothing but what the graph computes, and on names."""
    blobs: list[np.ndarray] = []
    lines = [VERSION_LINE, *_graph_lines(graph, blobs, provenance)]
    lines += [_blob_line(number, array) for number, array in enumerate(blobs)]
    return "\n".join(lines) + "\n"


def _graph_lines(graph: Graph, blobs: list[np.ndarray], provenance: bool) -> list[str]:
    names = node_names(graph)
    lines = [_header(graph, names)]
    printed: Names = {}
    for node in (*_header_inputs(graph), *_header_states(graph)):
        where = format_provenance(node, printed) if provenance else ""
        if where:
            lines.append(_columns(f"  {names[node]}", where, PROVENANCE_COLUMN))
        printed[node] = names[node]
    for node in graph.nodes:
        if not is_source(node):
            lines.append(format_node(node, names, printed, blobs, provenance))
            printed[node] = names[node]
    lines += [_return_line(graph, names), "}"]
    return lines


def is_source(node: Node) -> bool:
    """Whether the node stands in the header, called by its name."""
    return node.op.name in ("input", "state")


def node_names(graph: Graph) -> Names:
    """How every node is called in text: inputs and states by name, made unique in order of first appearance (inputs first, so
    that theirs stay), all others by number. One state tensor has one name, however many nodes read it."""
    names: Names = {}
    by_state: dict[int, str] = {}
    taken: dict[str, int] = {}
    for node in _header_inputs(graph):
        names[node] = quote_name(_unique(str(node.attrs.get("name", "input")), taken))
    for node in graph.states:
        state = node.attrs.get("state")
        if id(state) not in by_state:
            by_state[id(state)] = quote_name(_unique(str(getattr(state, "name", None) or "state"), taken))
        names[node] = by_state[id(state)]
    number = 0
    for node in graph.nodes:
        if node not in names:
            names[node] = f"%{number}"
            number += 1
    return names


def format_node(node: Node, names: Names, printed: Mapping[Node, str], blobs: list[np.ndarray], provenance: bool = True) -> str:
    """One line. `printed` are the nodes that origins may refer to; arrays too long for the line are added to `blobs`."""
    operands = "".join(f" {names[operand]}" for operand in node.inputs)
    attrs = ", ".join(f"{quote_name(key)}={format_value(node.attrs[key], blobs, provenance)}" for key in sorted(node.attrs))
    line = f"  {names[node]} = {quote_name(node.op.name)}{operands}" + (f" {{{attrs}}}" if attrs else "")
    line = _columns(line, f": {node.type}", TYPE_COLUMN)
    where = format_provenance(node, printed) if provenance else ""
    return _columns(line, where, PROVENANCE_COLUMN) if where else line


def format_line(graph: Graph, node: Node) -> str:
    """The line of one node of a graph, for messages; a source shows its declaration."""
    names = node_names(graph)
    if is_source(node):
        where = format_provenance(node, names)
        return f"  {names[node]}: {node.type}" + (f"   {where}" if where else "")
    return format_node(node, names, names, [])


def format_provenance(node: Node, printed: Mapping[Node, str]) -> str:
    where = ""
    if node.scope:
        where = f"@ {quote_bare(node.loc)} {quote_bare(node.scope)}"
    elif node.loc:
        where = f"@ {quote_bare(node.loc)}"
    origins = " ".join(format_origin(origin, printed) for origin in node.origins)
    return f"{where}  {origins}".strip()


def format_origin(origin: Origin, printed: Mapping[Node, str]) -> str:
    name = None if origin.node is None else printed.get(origin.node)
    return f"B[{quote_name(origin.op)}](v)" if name is None else f"B[{quote_name(origin.op)}, {name}](v)"


def format_value(value: Any, blobs: list[np.ndarray], provenance: bool = True) -> str:
    """An attribute's value."""
    if isinstance(value, Graph):
        return "\n".join(_graph_lines(value, blobs, provenance)).replace("\n", "\n  ")
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, np.dtype) and value in SHORT_NAMES:
        return SHORT_NAMES[value]
    if isinstance(value, (tuple, list)):
        inside = ", ".join(format_value(item, blobs) for item in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, np.ndarray) and value.dtype in SHORT_NAMES:
        return _array(value, blobs)
    return f"<{getattr(value, '__qualname__', type(value).__qualname__)}>".replace("<locals>.", "").replace("\n", " ")


def quote_name(name: str) -> str:
    if _NAME.match(name) and name not in RESERVED:
        return name
    return "`" + json.dumps(name)[1:-1].replace("`", "\\u0060") + "`"


def quote_bare(text: str) -> str:
    """A location or module path, in quotes where it has unusual characters."""
    return text if _BARE.match(text) else json.dumps(text)


def _header_inputs(graph: Graph) -> Iterable[Node]:
    """The declared inputs, then any others that a faulty graph reads."""
    return dict.fromkeys(graph.inputs + tuple(node for node in graph.nodes if node.op.name == "input"))


def _header_states(graph: Graph) -> Iterable[Node]:
    """The first node of each state tensor."""
    first: dict[int, Node] = {}
    for node in graph.states:
        first.setdefault(id(node.attrs.get("state")), node)
    return first.values()


def _header(graph: Graph, names: Names) -> str:
    inputs = [f"{names[node]}: {node.type}" for node in _header_inputs(graph)]
    states = [f"{names[node]}: {node.type}" for node in _header_states(graph)]
    width = sum(len(declaration) + 2 for declaration in inputs + states)
    joined = [_declarations(group, width > HEADER_WIDTH) for group in (inputs, states)]
    return f"graph {quote_name(graph.name)}({joined[0]})" + (f" state({joined[1]})" if states else "") + " {"


def _declarations(group: list[str], broken: bool) -> str:
    """On one line, or on a line each."""
    return ",".join(f"\n    {one}" for one in group) + "\n  " if broken and group else ", ".join(group)


def _return_line(graph: Graph, names: Names) -> str:
    updates = ", ".join(f"{names[state]} <- {names[value]}" for state, value in graph.updates)
    outputs = ", ".join(names[node] for node in graph.outputs)
    return "  return" + (f" {outputs}" if outputs else "") + (f"    update {updates}" if updates else "")


def _blob_line(number: int, array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return f'blob c{number} = {TensorType(array.dtype, array.shape)} "{base64.b64encode(little.tobytes()).decode()}"'


def _array(array: np.ndarray, blobs: list[np.ndarray]) -> str:
    short = SHORT_NAMES[array.dtype]
    if array.size > INLINE_ELEMENTS or (array.size == 0 and array.ndim != 1) or _has_odd_nan(array):
        blobs.append(array)
        return f"blob c{len(blobs) - 1}"
    if array.ndim == 0:
        return f"{short}({_element(array[()])})"
    return short + _nested(array)


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _element(array[()])
    return "[" + ", ".join(_nested(part) for part in array) + "]"


def _element(value: Any) -> str:
    if value.dtype.kind == "b":
        return "true" if value else "false"
    if value.dtype.kind == "i":
        return str(int(value))
    short = str(value)
    # The shortest text of an f32 is read as an f64 and rounded once more; keep it only where that is exact.
    return short if value.dtype.type(float(short)) == value or np.isnan(value) else repr(float(value))


def _has_odd_nan(array: np.ndarray) -> bool:
    """A NaN whose sign or payload the text `nan` would lose."""
    if array.dtype.kind != "f":
        return False
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return bool((np.isnan(array) & (bits != _CANONICAL_NAN[array.dtype])).any())


def _unique(name: str, taken: dict[str, int]) -> str:
    """`name`, or `name_1`, `name_2`, ... where taken."""
    candidate = name
    while candidate in taken:
        taken[name] += 1
        candidate = f"{name}_{taken[name]}"
    taken[candidate] = 0
    return candidate


def _columns(left: str, right: str, column: int) -> str:
    return f"{left.ljust(column)} {right}"
