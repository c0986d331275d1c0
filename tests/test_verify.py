"""The invariants of a Graph, one test each, and the golden errors of `tests/errors/*.graph`.

A golden file is a graph's text, a line `---`, and the error that parsing and verifying it must raise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc.ops  # noqa: F401 - fills the registry
from graphc.errors import GraphcError, VerifyError
from graphc.graph import Graph, Node, building
from graphc.op import OPS, build
from graphc.parse import parse
from graphc.tensor import State, input
from graphc.types import TensorType
from graphc.verify import verify_graph

ERRORS = Path(__file__).parent / "errors"


def node(op: str, *inputs: Node, **attrs: object) -> Node:
    with building(loc="model.py:7", scope="fc1"):
        return build(OPS[op], inputs, attrs)


def free(name: str, shape: tuple[int, ...] = (2,), dtype: str = "float32") -> Node:
    return input(name, shape, dtype).node


X = free("x")
INDEX = free("i", (2,), "int64")
W = State(np.zeros(2, np.float32), name="w")


def fails(graph: Graph, message: str, before: Graph | None = None) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_graph(graph, before)
    assert str(caught.value).startswith(message)


def test_a_valid_graph_passes() -> None:
    verify_graph(Graph((X,), (node("tanh", X),), ((W.node, node("add", W.node, X)),)))


def test_1_ops_are_registered() -> None:
    fake = replace(OPS["tanh"], doc="another op of the same name")
    fails(Graph((X,), (Node(fake, (X,), {}, X.type),)), "tanh is not a registered op\n  %0 = tanh x")


def test_2_types_are_what_the_type_rule_gives() -> None:
    wrong = replace(node("tanh", X), type=TensorType(X.type.dtype, (3,)))
    fails(Graph((X,), (wrong,)), "tanh: the type rule gives f32[2], the node has f32[3]\n  %0 = tanh x")
    operands = replace(node("tanh", X), inputs=(INDEX,))
    fails(Graph((INDEX,), (operands,)), "tanh: needs float operands, got i64[2]\n  %0 = tanh i")
    alone = replace(node("add", X, X), inputs=(X,))
    fails(Graph((X,), (alone,)), "add: takes 2 operands, got 1\n  %0 = add x")
    lacking = replace(node("sum", X, axes=(0,)), attrs={})
    fails(Graph((X,), (lacking,)), "sum: the type rule fails, KeyError: 'axes'\n  %0 = sum x")


def test_2_the_message_shows_the_declaration() -> None:
    wrong = replace(node("tanh", X), type=INDEX.type)
    with pytest.raises(VerifyError, match=r"f32\[2\].*\n.*@ model.py:7 fc1"):
        verify_graph(Graph((X,), (wrong,)))


def test_3_attributes_have_a_text() -> None:
    odd = Node(OPS["tanh"], (X,), {"a": {1, 2}}, X.type)
    fails(Graph((X,), (odd,)), "tanh: attribute a has no text: set\n")


def test_4_inputs_are_declared_once_under_distinct_names() -> None:
    other = free("x")
    fails(Graph((X, X), (X,)), "input 'x' is listed twice\n  x: f32[2]")
    fails(Graph((X, other), (X,)), "two inputs are named 'x'\n  x_1: f32[2]")
    fails(Graph((), (node("tanh", X),)), "input 'x' is read but not among the graph's inputs\n  x: f32[2]")
    fails(Graph((W.node,), ()), "the graph lists a node of op state as an input\n  w: f32[2]")


def test_5_a_state_has_one_node() -> None:
    second = node("state", state=W)
    fails(Graph((), (node("add", W.node, second),)), "a state has two nodes\n  w: f32[2]")


def test_6_updates_go_to_states_once_with_their_type() -> None:
    fails(Graph((X,), (), ((X, X),)), "an update goes to a node that is not a state\n  x: f32[2]")
    fails(Graph((X,), (), ((W.node, X), (W.node, X))), "a state is updated twice\n  w: f32[2]")
    fails(Graph((INDEX,), (), ((W.node, INDEX),)), "a state of type f32[2] is updated with a value of type i64[2]\n  i: i64[2]")


def test_7_no_check_is_lost() -> None:
    check = node("check_index", INDEX, low=0, high=4, ignore=None, message="index {value}")
    before = Graph((INDEX,), (node("neg", check),))
    verify_graph(Graph((INDEX,), (check,)), before)
    fails(Graph((INDEX,), (node("neg", INDEX),)), "a check is lost\n  %0 = check_index i", before)


@pytest.mark.parametrize("path", sorted(ERRORS.glob("*.graph")), ids=lambda path: path.stem)
def test_golden_errors(path: Path) -> None:
    text, _, expected = path.read_text().partition("\n---\n")
    with pytest.raises(GraphcError) as caught:
        verify_graph(parse(text, verify=False))
    assert f"{type(caught.value).__name__}: {caught.value}".strip() == expected.strip()


ODD = st.recursive(
    st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            1,
            10**30,
            2.5,
            float("nan"),
            "ab,bc->ac",
            "",
            "float32",
            np.dtype(np.int32),
            np.ones(2),
            np.ones((), bool),
        ]
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
OPERANDS = (X, INDEX, free("b", (2,), "bool"), free("m", (2, 3)), free("s", ()))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_garbage_raises_only_graphc_errors(data: st.DataObject) -> None:
    """Any op over any operands with any attributes: a verdict, never another exception."""
    op = OPS[data.draw(st.sampled_from(sorted(OPS)))]
    sample = next(iter(op.samples(np.random.default_rng(0))), None)
    keys = sorted(sample.attrs) if sample else ["name", "dtype", "shape", "state", "value"]
    attrs = {key: data.draw(ODD) for key in keys if data.draw(st.integers(0, 9))}
    inputs = tuple(data.draw(st.lists(st.sampled_from(OPERANDS), max_size=3)))
    try:
        verify_graph(Graph(OPERANDS, (Node(op, inputs, attrs, X.type),)))
    except GraphcError as error:
        assert str(error)
