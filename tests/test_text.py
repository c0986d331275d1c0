"""Graph text: print, parse, print is byte-identical, and no text makes the parser fail with anything but ParseError."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import graphc
from graphc.errors import ParseError
from graphc.graph import Graph, Node, Origin, building
from graphc.interp import run_graph
from graphc.op import OPS, build
from graphc.parse import parse
from graphc.tensor import State, input
from graphc.text import print_graph
from graphc.types import TensorType
from graphc.verify import verify_graph

FLOAT = np.dtype(np.float32)


def node(op: str, *inputs: Node, **attrs: object) -> Node:
    with building(loc=""):
        return build(OPS[op], inputs, attrs)


def const(value: object, dtype: type = np.float32) -> Node:
    return node("const", value=np.array(value, dtype))


def state(name: str, shape: tuple[int, ...] = (2,)) -> Node:
    with building(loc=""):
        return State(np.zeros(shape, np.float32), name=name).node


def free(name: str, shape: tuple[int, ...] = (2,)) -> Node:
    with building(loc=""):
        return input(name, shape).node


def round_trip(graph: Graph) -> Graph:
    text = print_graph(graph)
    again = parse(text, verify=False)  # some are not valid graphs
    assert print_graph(again) == text
    return again


def test_format() -> None:
    x, w = free("x", (4, 3)), state("fc1.weight", (5, 3))
    with building(loc="examples/a.py:14", scope="fc1"):
        product = build(OPS["contract"], (x, w), {"spec": "ab,cb->ac"})
        activated = build(OPS["tanh"], (product,), {})
    with building(loc="examples/a.py:14", scope="fc1", origins=(Origin("tanh", activated), Origin("exp", None))):
        derived = build(OPS["mul"], (activated, activated), {})
    graph = Graph((x,), (activated, derived), ((w, node("neg", w)),), "train")
    assert print_graph(graph) == (
        "graphc-text 1\n"
        "graph train(x: f32[4,3]) state(fc1.weight: f32[5,3]) {\n"
        '  %0 = contract x fc1.weight {spec="ab,cb->ac"}  : f32[4,5]      @ examples/a.py:14 fc1\n'
        "  %1 = tanh %0                                   : f32[4,5]      @ examples/a.py:14 fc1\n"
        "  %2 = mul %1 %1                                 : f32[4,5]      @ examples/a.py:14 fc1  B[tanh, %1](v) B[exp](v)\n"
        "  %3 = neg fc1.weight                            : f32[5,3]\n"
        "  return %1, %2    update fc1.weight <- %3\n"
        "}\n"
    )
    round_trip(graph)
    assert "@" not in print_graph(graph, provenance=False)
    parse(print_graph(graph, provenance=False))


def test_sources_carry_their_provenance() -> None:
    with building(loc="a b.py:3", scope="fc1"):
        x, w = input("x", (2,)).node, State(np.ones(2, np.float32), name="w").node
    again = round_trip(Graph((x,), (node("add", x, w),)))
    assert [(n.loc, n.scope) for n in again.nodes[:2]] == [("a b.py:3", "fc1")] * 2
    assert again.nodes[1].attrs["state"].array.tolist() == [0, 0]


def test_names_are_made_unique_in_order_of_first_appearance() -> None:
    x, y = free("w"), free("return")
    states = [state("w"), state("w"), state("w_1"), state("naïve `name`\n")]
    total = x
    for one in (y, *states):
        total = node("add", total, one)
    again = round_trip(Graph((x, y), (total,)))
    assert [n.attrs["state"].name for n in again.states] == ["w_1", "w_2", "w_1_1", "naïve `name`\n"]
    assert [n.attrs["name"] for n in again.inputs] == ["w", "return"]
    numbered = free("%0")  # is not the node of that number
    again = round_trip(Graph((numbered,), (node("add", numbered, numbered),)))
    assert [n.attrs["name"] for n in again.inputs] == ["%0"]


VALUES = [
    0,
    -1,
    10**40,
    True,
    False,
    None,
    0.1,
    -0.0,
    1e300,
    5e-324,
    float("inf"),
    float("-inf"),
    "",
    'quote " \\ \n \u2028 \ud800',
    (),
    (1,),
    ((1, 2.0), ("a", (None,))),
    np.dtype(np.float64),
    np.dtype(np.bool_),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_attribute_values(value: object) -> None:
    graph = Graph((), (Node(OPS["neg"], (const(1.0),), {"a": value, "odd key": value}, TensorType(FLOAT, ())),))
    attrs = round_trip(graph).outputs[0].attrs
    assert repr(attrs["a"]) == repr(attrs["odd key"]) == repr(value)


ARRAYS = [
    np.float32(0.1),
    np.array(5e-324),
    np.array([0.1, 1e-45, 3.4e38, 16777217.0], np.float32),
    np.array([[1, -2], [3, 2**31 - 1]], np.int32),
    np.array([-(2**63)], np.int64),
    np.array([[True], [False]]),
    np.array([np.nan, np.inf, -np.inf, -0.0]),
    np.zeros(0, np.float32),
    np.zeros((2, 0, 3)),
    np.array([0x7FC00001, 0xFFC00000], np.uint32).view(np.float32),
    np.arange(64.0),
    np.arange(65.0),
    np.arange(130, dtype=np.int32).reshape(2, 65),
    np.arange(100).reshape(10, 10) % 3 == 0,
    np.asfortranarray(np.arange(120.0).reshape(8, 15)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_constants_are_exact(array: np.ndarray) -> None:
    value = round_trip(Graph((), (node("const", value=array),))).outputs[0].attrs["value"]
    assert value.dtype == array.dtype and value.shape == array.shape and value.tobytes() == array.tobytes()


@given(st.floats(width=32), st.floats())
def test_every_float_is_exact(single: float, double: float) -> None:
    graph = round_trip(Graph((), (const([single]), const(double, np.float64))))
    assert graph.outputs[0].attrs["value"].tobytes() == np.array([single], np.float32).tobytes()
    assert graph.outputs[1].attrs["value"].tobytes() == np.float64(double).tobytes()


def test_samples_of_every_op_round_trip() -> None:
    """Every op, with the attributes that its samples use, means the same after a round trip."""
    rng = np.random.default_rng(0)
    for op in list(OPS.values()):
        for i, sample in zip(range(3), op.samples(rng), strict=False):
            inputs = tuple(node("input", name=f"x{i}", dtype=a.dtype, shape=a.shape) for i, a in enumerate(sample.arrays))
            with building(loc=""):
                graph = Graph(inputs, (build(op, inputs, sample.attrs),))
            if any(callable(value) for value in sample.attrs.values()):
                with pytest.raises(ParseError, match="Python function"):
                    parse(print_graph(graph))
                continue
            again = round_trip(graph)
            (expected,), _ = run_graph(graph, sample.arrays)
            (got,), _ = run_graph(again, sample.arrays)
            assert expected.tobytes() == got.tobytes(), (op, i)


def test_a_training_graph_round_trips_with_its_origins() -> None:
    x, w = graphc.input("x", (5, 4)), State(np.ones((3, 4), np.float32), name="w")
    loss = graphc.sum(graphc.tanh(x @ w.T) ** 2)
    (gradient,) = graphc.grad(loss, [w])
    graph = Graph((x.node,), (loss.node,), ((w.node, (w - 0.1 * gradient).node),), "train")
    verify_graph(graph)
    again = round_trip(graph)
    verify_graph(again)
    assert "B[tanh, %" in str(graph) and "test_text.py:" in str(graph)
    provenance = [
        [(n.op.name, n.loc, n.scope, [(o.op, o.node and o.node.op.name) for o in n.origins]) for n in g.nodes]
        for g in (graph, again)
    ]
    assert provenance[0] == provenance[1]


def test_a_long_chain_takes_linear_time() -> None:
    x = total = free("x")
    for _ in range(20_000):
        total = node("mul", total, x)
    start = time.perf_counter()
    round_trip(Graph((x,), (total,)))
    assert time.perf_counter() - start < 10


# --- bad text ---

HEAD = "graphc-text 1\ngraph g(x: f32[2]) state(w: f32[2]) {\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: expected the version line"),
        ("graphc-text 2\n", "line 1, column 1: expected the version line"),
        ("graphc-text 1 x\n", "line 1, column 15: expected a line end after the version line"),
        ("graphc-text 1\ngraph g(x: f33[2]) {", "line 2, column 12: expected a type"),
        ("graphc-text 1\ngraph g(x: f32[-1]) {", "line 2, column 12: a shape has no negative sizes"),
        ("graphc-text 1\ngraph g(x: f32[" + "9" * 5000 + "]) {", "line 2, column 16: this integer is too long"),
        ("graphc-text 1\ngraph g(x: f32[" + "9" * 50 + "]) {", "line 2, column 12: a tensor of shape"),
        ("graphc-text 1\ngraph g(x: f32[" + "1," * 99 + "1]) {", "line 2, column 12: a tensor has at most 32 axes"),
        ("graphc-text 1\ngraph g(x: f32[2], x: f32[2]) {", "line 2, column 20: `x` is declared twice"),
        (HEAD + "  %0 = frobnicate x : f32[2]\n", "line 3, column 8: no such op: `frobnicate`"),
        (HEAD + "  %0 = tanhh x : f32[2]\n", "line 3, column 8: no such op: `tanhh`; did you mean `tanh`?"),
        (HEAD + "  %0 = tanh y : f32[2]\n", "line 3, column 13: `y` is not defined above"),
        (HEAD + "  %0 = tanh %0 : f32[2]\n", "line 3, column 13: `%0` is not defined above"),
        (HEAD + "  %0 = tanh x\n", "line 3, column 14: expected an operand, `{` or `:`"),
        (HEAD + "  %0 = tanh x : f32[2]\n  %0 = tanh x : f32[2]\n", "line 4, column 3: `%0` is defined twice"),
        (HEAD + "  %0 = tanh x {a=1, a=2} : f32[2]\n", "line 3, column 21: attribute `a` is given twice"),
        (HEAD + "  %0 = tanh x {a=" + "(" * 10_000, "nested too deeply"),
        (HEAD + "  %0 = tanh x {a=f32" + "[" * 10_000, "an array has at most 32 axes"),
        (HEAD + "  %0 = tanh x {a=f32" + "[f32" * 10_000, "expected an element of type float32"),
        (HEAD + "  %0 = tanh x {a=i32[1, 2147483648]} : f32[2]\n", "line 3, column 18: a value is out of range for int32"),
        (HEAD + "  %0 = tanh x {a=f64(" + "9" * 400 + ")} : f32[2]\n", "a value is out of range for float64"),
        (HEAD + "  %0 = tanh x {a=i32[1.0]} : f32[2]\n", "line 3, column 22: expected an element of type int32"),
        (HEAD + "  %0 = tanh x {a=f32[[1], [1, 2]]} : f32[2]\n", "the rows of this array differ in length"),
        (HEAD + '  %0 = tanh x {a="\\q"} : f32[2]\n', "a malformed escape"),
        (HEAD + '  %0 = tanh x {a="', "this string does not end on its line"),
        (HEAD + "  %0 = tanh x {a=blob c0} : f32[2]\n", "line 3, column 18: there is no blob `c0`"),
        (HEAD + "  %0 = tanh x {a=<f>} : f32[2]\n", "line 3, column 18: `<f>` is a Python function"),
        (HEAD + "  return x    update x <- x\n}\n", "line 3, column 22: only a state can be updated"),
        (HEAD + "  return x y\n}\n", "line 3, column 12: expected a line end after `return`"),
        (HEAD + "  return x\n}\nmore", "line 5, column 1: expected the end of the text"),
        (HEAD + "  return x\n", "line 4, column 1: expected `}`"),
        (HEAD, "line 3, column 1: the graph ends without `return`"),
        (HEAD + '  return x\n}\nblob c0 = f32[2] "AAAA"', "line 5, column 6: f32[2] has 8 bytes, 3 are given"),
        (HEAD + '  return x\n}\nblob c0 = f32[2] "!"', "line 5, column 6: this is not base64"),
        (HEAD + '  return x\n}\nblob c0 = bool[3] "AAAC"', "line 5, column 6: a bool is a byte 0 or 1"),
        (
            "graphc-text 1\ngraph g() state(w: f64[100000000000000]) {\n  return w\n}",
            "state `w`: f64[100000000000000] is too large",
        ),
    ],
    ids=range(36),
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert message in str(caught.value)


GOOD = print_graph(
    parse(
        HEAD
        + '  w @ "a b.py:1" fc1\n  %0 = add x w {a=(1, -2.5e3, inf, none, true), b=f32[[1.0], [2]]'
        + ', c="s", d=blob c0, e=i64} : f32[2]'
        + " @ a.py:1 s  B[add, w](v) B[mul](v)\n"
        + '  return %0, w    update w <- %0\n}\nblob c0 = f32[0,2] ""\n'
    )
)
PIECES = [
    "graphc-text 1\n",
    "graph",
    " ",
    "\n",
    "g",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "%0",
    "%1",
    "=",
    ":",
    ",",
    "@",
    "B[",
    "](v)",
    "<-",
    "<",
    ">",
    '"',
    "`",
    "\\",
    "#",
    "f32",
    "f32[2]",
    "-",
    "1",
    "9" * 20,
    "1e999",
    "nan",
    "state",
    "return",
    "update",
    "blob c0",
    "x",
    "w",
    "add",
    "const",
    "value",
    "\x00",
    "é",
    "\ud800",
    "\r",
]


def survives(text: str) -> None:
    try:
        graph = parse(text, verify=False)
        parse(text)
    except ParseError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert 1 <= error.column <= len(text) + 1
        return
    round_trip(graph)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_random_text_raises_only_parse_errors(text: str) -> None:
    survives(text)
    survives(HEAD + text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("  %0 = const {value=f32[1e999, nan]} : f32[2]\n  return %0\n}")
def test_random_tokens_raise_only_parse_errors(text: str) -> None:
    survives(text)
    survives(HEAD + text)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(["", *PIECES]))
def test_mutated_text_raises_only_parse_errors(at: int, length: int, put: str) -> None:
    survives(GOOD[:at] + put + GOOD[at + length :])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("  %0 = add x y : f32[2]", "line 3, column 8: add: shapes differ, (2,) and (3,)\n  operands: f32[2]   f32[3]"),
        ("  %0 = exp x : f32[3]", "line 3, column 8: exp: the type rule gives f32[2], the node has f32[3]\n  operands: f32[2]"),
        ("\n  %0 = exp x x : f32[2]", "line 4, column 8: exp: takes 1 operands, got 2"),
        ("  %0 = sum x : f32[]", "line 3, column 8: sum: the type rule fails, KeyError: 'axes'"),
        ("  %0 = exp i : i32[2]", "line 3, column 8: exp: needs float operands"),
        ("  %0 = exp x : f32[2]\n  %1 = exp %0 : f64[2]\n  %2 = exp x : f32[2]", "line 4, column 8: exp: the type rule gives"),
        ('  %0 = const {value="a"} : f32[1]', "line 3, column 8: const: "),
        ("  return x    update w <- y", "line 2, column 1: a state of type f32[2] is updated with a value of type f32[3]"),
        ("  return x    update w <- w, w <- w", "a state is updated twice"),
    ],
)
def test_graphs_that_break_a_rule(body: str, message: str) -> None:
    head = "graphc-text 1\ngraph g(x: f32[2], y: f32[3], i: i32[2]) state(w: f32[2]) {\n"
    text = head + body + ("" if "return" in body else "\n  return x") + "\n}\n"
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(parse(text, verify=False))


def test_a_parse_error_can_be_pickled() -> None:
    error = ParseError("expected a name", 3, 7)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.line, again.column) == (ParseError, str(error), 3, 7)


def test_not_text() -> None:
    with pytest.raises(ParseError):
        parse(b"graphc-text 1")  # type: ignore[arg-type]
