"""Text to Graph: the inverse of `graphc.text`, whose docstring shows the format.

Whatever the text, `parse` returns a graph or raises ParseError at a line and column. The graph is a valid one: every node is
checked against its op's type rule where it stands, and the whole by `verify_graph`. (`verify=False` reads invalid
graphs, too, for tests of the verifier.) States come out as fresh tensors of zeros.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import ParseError, VerifyError
from graphc.graph import Graph, Node, Origin
from graphc.literals import Scanner
from graphc.op import OPS
from graphc.text import VERSION_LINE
from graphc.types import TensorType
from graphc.verify import node_fault, verify_graph

_BARE = re.compile(r"[A-Za-z0-9_./:+~<>-]+")
MAX_LOOPS = 32
_NUMBERED = re.compile(r"%[0-9]+")


def parse(text: str, *, verify: bool = True) -> Graph:
    """The graph that `text` describes. Raises ParseError where the text has no meaning or, unless `verify` is False, a node or
    the graph breaks a rule."""
    if not isinstance(text, str):
        raise ParseError(f"expected text, got {type(text).__name__}", 1, 1)
    parser = _Parser(text, verify)
    graph = parser.graph()
    if verify:
        try:
            verify_graph(graph)
        except VerifyError as error:
            parser.fail(str(error).partition("\n")[0], parser.places.get(error.node, parser.start))
    return graph


class _Parser(Scanner):
    def __init__(self, text: str, verify: bool):
        super().__init__(text)
        self.verify = verify
        self.start = 0  # of the graph
        self.places: dict[Node, int] = {}  # where nodes are defined
        self.defined: dict[str, Node] = {}  # sources by name
        self.numbered: dict[str, Node] = {}  # nodes by label, %0: apart, as a name in backticks may be anything
        self.fresh: set[str] = set()  # sources that have no provenance yet
        self.depth = 0  # of loops around the graph being read

    def graph(self) -> Graph:
        import graphc.ops  # noqa: F401 - fills the registry

        self.blobs = self.find_blobs()
        self.skip_lines()
        if not self.accept(VERSION_LINE):
            self.fail(f"expected the version line `{VERSION_LINE}`")
        self.end_of_line("the version line")
        self.skip_lines()
        self.start = self.pos
        self.expect("graph")
        graph = self.body()
        self.skip_lines()
        while self.at_word("blob"):  # read before everything else
            self.pos = self.line_end()
            self.skip_lines()
        if self.pos < len(self.text):
            self.fail("expected the end of the text")
        return graph

    def body(self) -> Graph:
        """What follows the word `graph`, down to the closing brace."""
        name = self.name("the graph's name")
        inputs, states = self.header()
        self.skip_lines()
        self.provenance_of_sources(inputs, states)
        while not self.at_word("return"):
            self.statement()
            self.skip_lines()
        outputs, updates = self.results()
        self.skip_lines()
        self.expect("}")
        return Graph(tuple(self.defined[name] for name, _ in inputs), outputs, updates, name)

    def nested_graph(self) -> Graph:
        """The body of a loop: names are its own."""
        outer = self.defined, self.numbered, self.fresh
        self.defined, self.numbered, self.fresh = {}, {}, set()
        self.depth += 1
        if self.depth > MAX_LOOPS:
            self.fail("loops are nested too deeply")
        graph = self.body()
        self.depth -= 1
        self.defined, self.numbered, self.fresh = outer
        return graph

    # --- sources ---

    def header(self) -> tuple[list[tuple[str, TensorType]], list[tuple[str, TensorType]]]:
        inputs = self.declarations()
        states = self.declarations() if self.accept_word("state") else []
        self.expect("{")
        return inputs, states

    def declarations(self) -> list[tuple[str, TensorType]]:
        """`(x: f32[2], y: i32[3])`, over several lines where it is long."""
        found: list[tuple[str, TensorType]] = []
        self.expect("(")
        self.skip_lines()
        while not self.accept(")"):
            if found:
                self.expect(",", "`,` or `)`")
                self.skip_lines()
            start = self.pos
            name = self.name("a name")
            if name in self.fresh:
                self.fail(f"`{name}` is declared twice", start)
            self.fresh.add(name)
            self.expect(":")
            found.append((name, self.read_type()))
            self.skip_lines()
        return found

    def provenance_of_sources(self, inputs: list[tuple[str, TensorType]], states: list[tuple[str, TensorType]]) -> None:
        """Lines as `w   @ file.py:3 fc1`; then the sources can be built."""
        known: dict[str, tuple[str, str, tuple[Origin, ...]]] = {}
        while self.at_name() and not self.at_word("return"):
            start = self.pos
            name = self.name("a name")
            if name not in self.fresh:
                self.fail(f"`{name}` is not an input or state that still lacks its provenance", start)
            self.fresh.discard(name)
            known[name] = self.provenance()
            self.end_of_line("the provenance")
            self.skip_lines()
        self.fresh = set()
        for name, type_ in inputs:
            attrs = {"name": name, "dtype": type_.dtype, "shape": type_.shape}
            self.defined[name] = Node(OPS["input"], (), attrs, type_, *known.get(name, ()))
        for name, type_ in states:
            self.defined[name] = self.state(name, type_, *known.get(name, ("", "", ())))

    def state(self, name: str, type_: TensorType, loc: str, scope: str, origins: tuple[Origin, ...]) -> Node:
        from graphc.tensor import State

        try:
            zeros = np.zeros(type_.shape, type_.dtype)
        except (MemoryError, ValueError):
            self.fail(f"state `{name}`: {type_} is too large for this machine")
        state = State(np.zeros((), type_.dtype), name=name)
        state.array = zeros  # State copies what it is given, which would touch every page of a large one
        state.node = Node(OPS["state"], (), {"state": state}, type_, loc, scope, origins)
        return state.node

    # --- statements ---

    def statement(self) -> None:
        """`%0 = contract x w {spec="ik,jk->ij"} : f32[32,10] @ examples/digits.py:14 fc1 B[tanh, %3](v)`"""
        start = self.pos
        label = self.match(_NUMBERED)
        if label is None:
            self.fail("expected a node (`%0 = ...`), `return`" if start < len(self.text) else "the graph ends without `return`")
        if label in self.numbered:
            self.fail(f"`{label}` is defined twice", start)
        self.expect("=")
        self.skip()
        start = self.pos
        name = self.name("an op")
        op = OPS.get(name)
        if op is None or name in ("input", "state"):
            close = difflib.get_close_matches(name, OPS, 1) if len(name) < 100 else []
            self.fail(f"no such op: `{name}`" + (f"; did you mean `{close[0]}`?" if close and op is None else ""), start)
        operands = []
        while self.peek() not in "{:":
            operands.append(self.reference())
        attrs = self.attrs() if self.peek() == "{" else {}
        self.expect(":", "`:` and the node's type")
        type_ = self.read_types() if self.peek() == "(" else self.read_type()
        node = Node(op, tuple(operands), attrs, type_, *self.provenance())  # type: ignore[arg-type]
        self.end_of_line("the node")
        fault = node_fault(node) if self.verify else None
        if fault is not None:
            typed = "   ".join(str(operand.type) for operand in operands)
            self.fail(f"{fault}\n  operands: {typed}" if operands else fault, start)
        self.places[node] = start
        self.numbered[label] = node

    def reference(self) -> Node:
        self.skip()
        start = self.pos
        label = self.match(_NUMBERED)
        if label is not None:
            node = self.numbered.get(label)
        else:
            label = self.name("an operand, `{` or `:`")
            node = self.defined.get(label)
        if node is None:
            self.fail(f"`{label}` is not defined above", start)
        return node

    def attrs(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        self.expect("{")
        self.skip_lines()
        while not self.accept("}"):
            if attrs:
                self.expect(",", "`,` or `}`")
                self.skip_lines()
            start = self.pos
            key = self.name("an attribute")
            if key in attrs:
                self.fail(f"attribute `{key}` is given twice", start)
            self.expect("=")
            attrs[key] = self.value()
            self.skip_lines()
        return attrs

    def results(self) -> tuple[tuple[Node, ...], tuple[tuple[Node, Node], ...]]:
        """`return %9, %3    update w <- %12, b <- %13`"""
        self.expect("return")
        outputs = []
        if not self.at_word("update") and not self.at_line_end():
            outputs = self.listed(self.reference)
        updates = self.listed(self.update) if self.accept_word("update") else []
        self.end_of_line("`return`")
        return tuple(outputs), tuple(updates)

    def listed(self, item: Callable[[], Any]) -> list[Any]:
        found = [item()]
        while self.accept(","):
            found.append(item())
        return found

    def update(self) -> tuple[Node, Node]:
        self.skip()
        start = self.pos
        state = self.reference()
        if state.op.name != "state":
            self.fail("only a state can be updated", start)
        self.expect("<-")
        return state, self.reference()

    # --- provenance ---

    def provenance(self) -> tuple[str, str, tuple[Origin, ...]]:
        loc = scope = ""
        if self.accept("@"):
            loc = self.bare("a location")
            if not self.at_line_end() and not self.at_origin():
                scope = self.bare("a module path")
        origins = []
        while self.at_origin():
            origins.append(self.origin())
        return loc, scope, tuple(origins)

    def bare(self, what: str) -> str:
        self.skip()
        if self.peek() == '"':
            return self.string()
        found = self.match(_BARE)
        if found is None:
            self.fail(f"expected {what}")
        return found

    def at_origin(self) -> bool:
        self.skip()
        return self.text.startswith("B[", self.pos)

    def origin(self) -> Origin:
        """`B[tanh, %3](v)` or `B[tanh](v)`"""
        self.expect("B[")
        op = self.name("an op")
        node = self.reference() if self.accept(",") else None
        self.expect("](v)")
        return Origin(op, node)
