"""Loops: `graphc.scan` against the unrolled loop, in every interpreter and natively; what differentiation and passes make of
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import fingerprint, nn, optim
from graphc.codegen.target import host_target
from graphc.errors import DTypeError, GraphcError, InputError, ShapeError, VerifyError
from graphc.graph import Graph, Node
from graphc.interp import run_graph
from graphc.nesting import launches, loops
from graphc.op import OPS, build
from graphc.options import Options
from graphc.program import Program
from graphc.program_interp import run_program
from graphc.program_verify import verify_program
from graphc.scanning import scan
from graphc.tensor import Tensor
from graphc.tracing import make_graph
from graphc.types import TensorType, TupleType
from graphc.verify import verify_graph

Arrays = Mapping[str, np.ndarray]
TOLERANCE = {np.dtype("f4"): 2e-5, np.dtype("f8"): 1e-11}


def unrolled(
    f: Callable[..., Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """The same loop as so many copies of its body; xs and ys are single tensors or None."""
    count = length if xs is None else xs.shape[0]
    assert count is not None
    ys: list[Any] = [None] * count
    carry = init
    for trip in range(count):
        step = count - 1 - trip if reverse else trip
        carry, ys[step] = f(carry, None if xs is None else xs[step])
    return carry, None if ys[0] is None else graphc.stack(ys)


def evaluate(outputs: Sequence[Tensor], arrays: Arrays, tolerance: float = 2e-5) -> list[np.ndarray]:
    """What the outputs are, by the interpreter; and the same from the text, the program's interpreter and native code."""
    graph = make_graph(list(outputs), {}, None, "main")
    verify_graph(graph)
    text = str(graph)
    again = graphc.parse(text)
    assert str(again) == text
    verify_graph(again)
    given = {node.attrs["name"]: arrays[node.attrs["name"]] for node in graph.inputs}
    expected = run_graph(graph, given)[0]
    native = graphc.compile(list(outputs), options=Options(verify=True))
    results = [native(**given), native(**given), run_program(native.program, given)[0]]
    plain = graphc.compile(
        list(outputs),
        options=Options(verify=True, passes_off=frozenset({"merge", "fold", "simplify", "hoist", "cse", "dce"}), fusion=False),
    )
    results.append(plain(**given))
    for found in results:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return list(expected)


class Cell:
    """A step with all that a loop can meet: two carries, weights, a bias, broadcasting, reductions, slices, an elementwise
    weight."""

    def __init__(self, length: int, dtype: str):
        rng = np.random.default_rng(3)
        self.arrays = {
            name: rng.standard_normal(shape).astype(dtype)
            for name, shape in (("h", (2, 4)), ("c", (2, 4)), ("x", (length, 2, 3)))
        }
        self.h, self.c, self.x = (graphc.input(name, array.shape, dtype) for name, array in self.arrays.items())
        shapes = {"w": (8, 3), "u": (8, 4), "b": (8,), "d": (4,)}
        self.weights = [graphc.state(name, rng.standard_normal(shape).astype(dtype)) for name, shape in shapes.items()]

    def step(self, carry: tuple[Tensor, Tensor], x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        w, u, b, d = self.weights
        h, c = carry
        i, g = graphc.split(x @ w.T + h @ u.T + b, 2, -1)
        c = c * graphc.sigmoid(i) * d + graphc.tanh(g) * x.sum()
        h = graphc.tanh(c)
        return (h, c), h * h

    def results(self, loop: Callable[..., Any], reverse: bool, order: int) -> list[Tensor]:
        (h, c), ys = loop(self.step, (self.h, self.c), self.x, reverse=reverse)
        loss = (ys * ys).sum() + (h * c).sum()
        wrt = [self.h, self.c, self.x, *self.weights]
        gradients = graphc.grad(loss, wrt)
        if order == 2:
            total = graphc.constant(0.0, self.x.dtype)
            for gradient in gradients:
                total = total + (gradient * gradient).sum() * 0.1
            gradients = graphc.grad(total, wrt)
        return [loss, h, c, ys, *gradients]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_and_gradients_are_those_of_the_unrolled_loop(dtype: str, length: int, reverse: bool, order: int) -> None:
    cell = Cell(length, dtype)
    loop = evaluate(cell.results(scan, reverse, order), cell.arrays, 2e-3 if dtype == "f4" else 1e-9)
    straight = run_graph(make_graph(cell.results(unrolled, reverse, order), {}, None, "main"), cell.arrays)[0]
    for a, b in zip(loop, straight, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3 if dtype == "f4" else 1e-9, atol=2e-3 if dtype == "f4" else 1e-9)


def test_jvp_through_a_loop() -> None:
    cell = Cell(3, "f8")
    tangents = [np.ones((2, 4)), np.full((2, 4), 0.5)]

    def derivative(loop: Callable[..., Any]) -> Tensor:
        (h, _), _ = loop(cell.step, (cell.h, cell.c), cell.x)
        return graphc.jvp([h], [cell.h, cell.c], [graphc.constant(t) for t in tangents])[0]

    found, expected = evaluate([derivative(scan)], cell.arrays, 1e-9), evaluate([derivative(unrolled)], cell.arrays, 1e-9)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)


def test_structures_integers_and_carries_that_change_places() -> None:
    a, b, n = graphc.input("a", (3,)), graphc.input("b", (3,)), graphc.input("n", (), "int32")

    def step(carry: dict[str, Any], x: None) -> tuple[Any, Any]:
        assert x is None
        (p, q), count = carry["pair"], carry["count"]
        return {"pair": [q, p + q], "count": count + 1}, (count * 2, [p])

    last, (counts, (ps,)) = scan(step, {"pair": [a, b], "count": n}, length=4)
    arrays = {"a": np.arange(3, dtype="f4"), "b": np.ones(3, "f4"), "n": np.int32(5)}
    p, q, count, seen = evaluate([*last["pair"], last["count"], counts], arrays)
    fibonacci = [arrays["a"], arrays["b"]]
    while len(fibonacci) < 6:
        fibonacci.append(fibonacci[-2] + fibonacci[-1])
    assert (
        np.array_equal(p, fibonacci[4]) and np.array_equal(q, fibonacci[5]) and count == 9 and seen.tolist() == [10, 12, 14, 16]
    )
    (stacked,) = evaluate([ps], arrays)
    assert np.array_equal(stacked, np.stack(fibonacci[:4]))


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_in_loops(reverse: bool) -> None:
    """An inner loop over a slice of the outer sequence, with gradients through both."""
    x, h, w = (
        graphc.input("x", (3, 4, 2), "f8"),
        graphc.input("h", (2,), "f8"),
        graphc.state("w", np.array([[0.5, 0.2], [0.1, -0.3]])),
    )

    def results(loop: Callable[..., Any]) -> list[Tensor]:
        def outer(h: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
            def inner(c: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
                c = graphc.tanh(c @ w + one * h)
                return c, c * one

            last, ys = loop(inner, h * 0.5, xs, reverse=reverse)
            return last + ys.sum(axis=0), ys

        last, ys = loop(outer, h, x, reverse=not reverse)
        loss = (ys * ys).sum() + last.sum()
        return [last, ys, *graphc.grad(loss, [x, h, w])]

    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((3, 4, 2)), "h": rng.standard_normal(2)}
    found = evaluate(results(scan), arrays, 1e-10)
    expected = run_graph(make_graph(results(unrolled), {}, None, "main"), arrays)[0]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def test_no_trips() -> None:
    h, x = graphc.input("h", (2,)), graphc.input("x", (0, 2))
    last, ys = scan(lambda h, x: (h + x, h * 2), h, x)
    assert last is h and ys.shape == (0, 2)
    assert np.array_equal(graphc.compile(ys)(), np.zeros((0, 2), "f4"))


def test_gathers_checks_and_scatters_in_a_loop() -> None:
    table, index = graphc.state("table", np.arange(12, dtype="f4").reshape(4, 3)), graphc.input("i", (5, 2), "int64")

    def step(h: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
        found = nn.functional.embedding(one, table)
        return h + found.sum(axis=0), found * h

    last, ys = scan(step, graphc.zeros(3), index)
    gradient = graphc.grad((ys * ys).sum() + last.sum(), table)
    arrays = {"i": np.random.default_rng(0).integers(0, 4, (5, 2))}
    found = evaluate([last, ys, gradient], arrays)
    straight = unrolled(step, graphc.zeros(3), index)
    expected = evaluate([*straight, graphc.grad((straight[1] ** 2).sum() + straight[0].sum(), table)], arrays)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    f = graphc.compile([last, ys])
    with pytest.raises(InputError, match="7"):
        f(i=np.array([[0, 1]] * 4 + [[7, 0]]))


def test_a_failed_check_in_a_loop_changes_no_state() -> None:
    count = graphc.state("count", np.zeros(()))
    table, start = graphc.state("table", np.eye(3)), graphc.input("start", (), "int64")

    def step(at: Tensor, _: None) -> tuple[Tensor, Tensor]:  # the index depends on the carry
        return at + 1, nn.functional.embedding(at, table)

    _, rows = scan(step, start, length=3)
    f = graphc.compile(rows, updates={count: count + 1})
    assert np.array_equal(f(start=0), np.eye(3)) and count.array == 1
    with pytest.raises(InputError):
        f(start=1)
    assert count.array == 1


def test_rewrites_keep_the_checks_of_a_loop() -> None:
    """The loop's result does not matter, its check does."""
    table, start = graphc.constant(np.eye(3, dtype="f4")), graphc.input("start", (), "int64")
    last, _ = scan(lambda at, _: (at + 1, nn.functional.embedding(at, table)), start, length=3)
    kept = graphc.where(graphc.constant(True), graphc.ones(()), last.astype("f4"))
    f = graphc.compile(kept, options=Options(verify=True))
    assert f(start=0) == 1
    with pytest.raises(InputError):
        f(start=2)


def test_what_updates_its_own_state_cannot_stand_in_a_loop() -> None:
    norm = nn.BatchNorm1d(2)
    x = graphc.input("x", (3, 4, 2))
    with pytest.raises(InputError, match="a module that updates its own state .* cannot stand inside the loop"):
        scan(lambda c, one: (c, norm(one)), graphc.zeros(()), x)
    with nn.evaluating():
        scan(lambda c, one: (c, norm(one)), graphc.zeros(()), x)


def test_train_step_through_a_loop_and_updates_of_what_it_reads() -> None:
    def losses(loop: Callable[..., Any]) -> list[float]:
        cell = Cell(4, "f8")
        cell.weights = [nn.Parameter(weight.array) for weight in cell.weights]
        (h, _), ys = loop(cell.step, (cell.h, cell.c), cell.x)
        step = graphc.train_step((ys * ys).mean() + h.sum(), optim.SGD(cell.weights, lr=0.1), options=Options(verify=True))
        return [float(step(**cell.arrays)) for _ in range(5)]

    np.testing.assert_allclose(losses(scan), losses(unrolled), rtol=1e-10)


# --- sizes ---


def lstm_step(length: int) -> graphc.TrainStep:
    rnn = nn.LSTM(6, 8)
    x = graphc.input("x", (length, 4, 6))
    output, _ = rnn(x)
    return graphc.train_step((output * output).mean(), optim.Adam(rnn.parameters())).build()


def test_code_does_not_grow_with_the_length() -> None:
    """A loop's code stays what it is; the contractions outside it are blocked by size, so that a step's differs a little."""
    short, middle, long = (lstm_step(length) for length in (16, 256, 4096))
    sizes = [step._native.object_bytes for step in (short, middle, long)]
    assert max(sizes) <= 1.15 * min(sizes)

    def forward(length: int) -> int:
        u, x = graphc.state("u", np.ones((8, 8), "f4")), graphc.input("x", (length, 4, 8))
        last, hs = scan(lambda h, x: (graphc.tanh(h @ u + x), h), graphc.zeros((4, 8)), x)
        return graphc.compile([last, hs]).build()._native.object_bytes

    assert abs(forward(16) - forward(4096)) <= 0.01 * forward(16)
    assert [len(list(launches(loop.body))) for loop in loops(short.program.body)] == [
        len(list(launches(loop.body))) for loop in loops(long.program.body)
    ]
    assert len(short.graph.nodes) == len(long.graph.nodes)


def test_contractions_with_the_input_and_for_weights_leave_the_loop() -> None:
    program = lstm_step(16).program
    inside = [launch for loop in loops(program.body) for launch in loop.body]
    assert sum("contract" in launch.label for launch in inside) == 2  # the recurrent product, forward and backward
    assert sum("contract" in launch.label for launch in launches(program.body)) == 5
    assert not any(loop.writes for loop in loops(program.body) if any(b.name.startswith("weight") for b in loop.writes))


def test_more_threads_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 64, 32)).astype("f4")
    results = []
    for threads in (1, 3):
        graphc.manual_seed(0)
        rnn = nn.GRU(32, 96)
        step = graphc.train_step(lambda x, rnn=rnn: (rnn(x)[0] ** 2).mean(), optim.SGD(rnn.parameters(), lr=0.1), threads=threads)
        losses = [step(x) for _ in range(3)]
        results.append([*losses, *(p.array.copy() for p in rnn.parameters())])
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


# --- errors ---


def refuses(kind: type[GraphcError], message: str, f: Callable[..., Any], *args: Any, **options: Any) -> None:
    with pytest.raises(kind, match=message):
        scan(f, *args, **options)


def test_errors() -> None:
    h, x = graphc.input("h", (2,)), graphc.input("x", (3, 2))
    refuses(
        ShapeError,
        r"scan: carry 0 changes its shape: init is f32\[2\], f returns f32\[3\]",
        lambda h, x: (graphc.zeros(3), None),
        h,
        x,
    )
    refuses(
        DTypeError,
        r"carry 0 changes its element type: init is f32\[2\], f returns f64\[2\]",
        lambda h, x: (h.astype("f8"), None),
        h,
        x,
    )
    refuses(ShapeError, r"lengths differ: xs f32\[3,2\], f32\[4\]", lambda h, x: (h, None), h, (x, graphc.zeros(4)))
    refuses(ShapeError, "lengths differ: .*, length 5", lambda h, x: (h, None), h, x, length=5)
    refuses(ShapeError, "one of them is a scalar", lambda h, x: (h, None), h, graphc.zeros(()))
    refuses(InputError, "needs xs or a length", lambda h, x: (h, None), h)
    refuses(InputError, "length is a number of trips, not -1", lambda h, x: (h, None), h, length=-1)
    refuses(InputError, r"f must return \(carry, y\), a tuple of two, got Tensor", lambda h, x: h, h, x)
    refuses(InputError, "a carry with the structure of init", lambda h, x: ((h, h), None), h, x)
    refuses(InputError, "scan: y: expected a tensor, .*, got str", lambda h, x: (h, "y"), h, x)
    refuses(InputError, "reverse is true or false, not 1", lambda h, x: (h, x), h, x, reverse=1)


# --- the verifiers ---

H, X = Tensor(build(OPS["input"], (), {"name": "h", "dtype": np.dtype("f4"), "shape": (2,)})).node, graphc.input("x", (3, 2)).node


def a_graph() -> Graph:
    last, ys = scan(lambda h, x: (graphc.tanh(h * x), h), Tensor(H), Tensor(X))
    return Graph((H, X), (last.node, ys.node))


def test_verifier_of_graphs() -> None:
    graph = a_graph()
    verify_graph(graph)
    loop = next(node for node in graph.nodes if node.op.name == "scan")
    body = loop.attrs["body"]
    state = graphc.state("w", np.zeros(2, "f4")).node
    constant = graphc.constant(np.arange(2, dtype="f4")).node

    def refused(message: str, **attrs: Any) -> None:
        bad = replace(loop, attrs={**loop.attrs, **attrs})
        with pytest.raises(VerifyError, match=message):
            verify_graph(Graph((H, X), (build_get(bad),)))

    def build_get(node: Node) -> Node:
        return Node(OPS["get"], (node,), {"index": 0}, TensorType(np.dtype("f4"), (2,)))

    def summed(node: Node) -> Node:
        return build(OPS["add"], (body.outputs[0], node), {})

    refused("length at least 1", length=0)
    refused("operand 1 is f32.3,2., the body's x0 needs", length=2)
    refused("the body has 2 inputs for 2 operands|operand", sequences=0)
    refused("reads or updates a state", body=replace(body, outputs=(summed(state), *body.outputs[1:]), _cache={}))
    refused("a constant of several elements", body=replace(body, outputs=(summed(constant), *body.outputs[1:]), _cache={}))
    refused(
        "in the body of a loop: input 'x' is read", body=replace(body, outputs=(summed(_slice(X)), *body.outputs[1:]), _cache={})
    )
    with pytest.raises(VerifyError, match="reads a node of several results|type rule"):
        verify_graph(Graph((H, X), (Node(OPS["neg"], (loop,), {}, H.type),)))
    with pytest.raises(VerifyError, match="an output has several results"):
        verify_graph(Graph((H, X), (loop,)))
    assert str(TupleType((H.type,))) == "(f32[2],)"


def _slice(node: Node) -> Node:
    return Tensor(node)[0].node


def test_verifier_of_programs() -> None:
    program: Program = graphc.compile([Tensor(node) for node in a_graph().outputs]).program
    verify_program(program)
    position, loop = next((i, item) for i, item in enumerate(program.body) if item in list(loops(program.body)))

    def refused(message: str, **changes: Any) -> None:
        body = (*program.body[:position], replace(loop, **changes), *program.body[position + 1 :])
        with pytest.raises(VerifyError, match=message):
            verify_program(replace(program, body=body))

    carried = [part for part in loop.parts if part.period]
    sequence = next(part for part in loop.parts if not part.period)
    refused("no trips", trips=0)
    refused("leaves", trips=4)
    refused("is a part of no buffer", parts=())
    refused("is read before all of it is written", first=())
    refused("which other points may still read", parts=tuple(replace(p, phase=0) if p in carried else p for p in loop.parts))
    refused("overlaps itself", parts=tuple(replace(p, step=1) if p is sequence else p for p in loop.parts))


def test_options_of_a_loop_reach_the_program_text() -> None:
    text = str(graphc.compile([Tensor(node) for node in a_graph().outputs]).program)
    assert "loop 3 trips" in text and "each trip t:" in text and "x[2*t]" in text and "% 2)]" in text


def test_networkx_view() -> None:
    view = a_graph().to_networkx()
    assert {data["op"] for _, data in view.nodes(data=True)} == {"input", "scan", "get"}


def test_the_number_of_trips_is_part_of_a_programs_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "sources", lambda: "as they are")

    def key(length: int, reverse: bool) -> str:
        last, _ = scan(
            lambda h, x: (graphc.tanh(h * x), None), graphc.input("h", (2,)), graphc.input("x", (8, 2))[:length], reverse=reverse
        )
        return fingerprint.program_key(graphc.compile(last).program, host_target())

    assert len({key(4, False), key(4, True), key(6, False), key(8, False)}) == 4
    assert key(4, False) == key(4, False)


def test_what_leaves_the_function_by_a_back_door():
    kept = []
    x = graphc.input("x", (5,))
    last, _ = graphc.scan(lambda c, x: (kept.append(c * x), (c + x, None))[1], 0.0, x)
    with pytest.raises(
        graphc.InputError, match=r"made inside the function of a scan \(f32\[\], at .*test_scan.py:\d+\) is used outside"
    ):
        graphc.compile(last + kept[0])
