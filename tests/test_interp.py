"""The oracle of Graph: values, state, checks, and what it does not keep alive."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import graphc.ops  # noqa: F401 - fills the registry
from graphc.errors import InputError, VerifyError
from graphc.graph import Graph, Node, building
from graphc.interp import run_graph
from graphc.op import OPS, build
from graphc.tensor import State, input


def node(op: str, *inputs: Node, **attrs: object) -> Node:
    with building(loc=""):
        return build(OPS[op], inputs, attrs)


X = input("x", (3,)).node
Y = input("y", (3,)).node
ONE = np.array([1, 2, 3], np.float32)


def test_inputs_by_name_or_in_order() -> None:
    graph = Graph((X, Y), (node("sub", X, Y), X))
    for inputs in ({"y": ONE, "x": 3 * ONE}, (3 * ONE, ONE)):
        outputs, updates = run_graph(graph, inputs)
        assert [output.tolist() for output in outputs] == [[2, 4, 6], [3, 6, 9]] and updates == {}
        assert all(output.dtype == np.float32 for output in outputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": ONE}, "missing input 'y'"),
        ({"x": ONE, "y": ONE, "z": ONE}, "unknown input 'z'"),
        ({"x": ONE, "y": ONE.astype(np.float64)}, r"input 'y': expected f32\[3\], got float64\[3\]"),
        ((ONE,), "2 inputs are declared"),
    ],
)
def test_bad_inputs(inputs: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_graph(Graph((X, Y), (X,)), inputs)  # type: ignore[arg-type]


def test_updates_see_the_state_before_the_call_and_write_nothing() -> None:
    a, b = State(ONE, name="a"), State(2 * ONE, name="b")
    graph = Graph((), (a.node,), ((a.node, b.node), (b.node, a.node)))
    outputs, updates = run_graph(graph)
    assert outputs[0].tolist() == [1, 2, 3]
    assert updates[a.node].tolist() == [2, 4, 6] and updates[b.node].tolist() == [1, 2, 3]
    assert a.array.tolist() == [1, 2, 3] and not np.shares_memory(outputs[0], a.array)
    assert run_graph(graph, (), {a.node: 7 * ONE})[1][b.node].tolist() == [7, 14, 21]


def test_a_failing_check_raises() -> None:
    index = input("i", (2,), "int64").node
    check = node("check_index", index, low=0, high=3, ignore=-100, message="index {value} is out of range for 3 rows")
    graph = Graph((index,), (check,))
    run_graph(graph, (np.array([2, -100]),))
    with pytest.raises(InputError, match="index 3 is out of range for 3 rows"):
        run_graph(graph, (np.array([0, 3]),))


def test_an_undeclared_input_is_reported() -> None:
    with pytest.raises(VerifyError, match="'x'"):
        run_graph(Graph((), (X,)))


def test_dead_values_are_dropped() -> None:
    x = input("x", (1000, 1000)).node
    total = x
    for _ in range(60):
        total = node("neg", total)
    tracemalloc.start()
    run_graph(Graph((x,), (total,)), (np.ones((1000, 1000), np.float32),))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * x.type.nbytes
