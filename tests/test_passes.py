"""The pipeline's runner, its options and ordering constraints, and what holds of the graph passes beyond their golden files."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest

import graphc
from graphc.errors import InputError, VerifyError
from graphc.graph import Graph, Node, topological
from graphc.interp import run_graph
from graphc.nn.functional import max_pool2d, relu
from graphc.op import OPS
from graphc.options import Options
from graphc.passes import pipeline
from graphc.passes.cse import value_key
from graphc.passes.pipeline import GRAPH_PASSES, OPTIONAL, ORDER, PIPELINE, Stage, run_passes
from graphc.passes.simplify import simplify
from graphc.program import Program, Space
from graphc.tensor import Tensor


def graph_of(*outputs: Tensor) -> Graph:
    nodes = topological(y.node for y in outputs)
    return Graph(tuple(node for node in nodes if node.op.name == "input"), tuple(y.node for y in outputs))


X = graphc.input("x", (4, 3))
GRAPH = graph_of(graphc.tanh(X) * 1.0 @ X.T)


# --- the runner ---


def test_stages_are_recorded_and_dumped_in_order() -> None:
    dumped: list[Stage] = []
    stages = run_passes(GRAPH, Options(), dump=dumped.append, verify=True)
    assert [stage.name for stage in stages] == ["input", *(name for name, _ in PIPELINE)]
    assert tuple(dumped) == stages
    assert stages[0].ir is GRAPH and isinstance(stages[-1].ir, Program)
    assert all(stage.seconds >= 0 and str(stage) == str(stage.ir) for stage in stages)


def test_passes_can_be_left_out() -> None:
    stages = run_passes(GRAPH, Options(passes_off=OPTIONAL), verify=True)
    assert [stage.name for stage in stages] == ["input", *(name for name, _ in PIPELINE if name not in OPTIONAL)]
    for name in ("fuse", "memory", "simplfy"):
        with pytest.raises(InputError, match=f"Options: {name} cannot be left out; these passes can: cse, dce, fold"):
            run_passes(GRAPH, Options(passes_off=[name]))  # type: ignore[arg-type]


def broken(graph: Graph, options: Options) -> Graph:
    wrong = replace(graph.outputs[0], type=X.type)
    return Graph(graph.inputs, (wrong,))


def test_a_broken_pass_is_named() -> None:
    with pytest.raises(VerifyError, match="the type rule gives") as caught:
        run_passes(GRAPH, Options(), verify=True, passes=(*GRAPH_PASSES, ("broken", broken)))
    assert caught.value.__notes__ == ["after pass 'broken'"]
    run_passes(GRAPH, Options(), verify=False, passes=(("broken", broken),))


def test_an_error_inside_a_pass_names_it() -> None:
    def fails(graph: Graph, options: Options) -> Graph:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_passes(GRAPH, Options(), passes=(("fails", fails),))
    assert caught.value.__notes__ == ["in pass 'fails'"]


def test_the_given_graph_is_verified_too() -> None:
    with pytest.raises(VerifyError) as caught:
        run_passes(broken(GRAPH, Options()), Options(), verify=True)
    assert caught.value.__notes__ == ["in the graph before any pass"]


def test_outputs_keep_their_types() -> None:
    with pytest.raises(VerifyError, match="the types of inputs or outputs changed"):
        run_passes(GRAPH, Options(), verify=True, passes=(("drop", lambda graph, options: Graph(graph.inputs, ())),))


def test_ordering_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name for name, _ in PIPELINE}
    assert all(before in names and after in names and reason for before, after, reason in ORDER)
    monkeypatch.setattr(pipeline, "PIPELINE", tuple(reversed(PIPELINE)))
    with pytest.raises(ImportError, match="must come before"):
        pipeline._check_order()


def test_options_are_keys() -> None:
    assert Options() == Options(verify=True) and hash(Options()) == hash(Options(verify=True))
    assert len({Options(), Options(reassociate=True), Options(passes_off=["cse"]), Options(passes_off="cse")}) == 3  # type: ignore[arg-type]
    for wrong in ({"reassociate": 1}, {"passes_off": [1]}, {"verify": "yes"}):
        with pytest.raises(InputError, match="Options: "):
            Options(**wrong)


def test_verification_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_VERIFY", "1")
    assert Options().verify
    monkeypatch.delenv("GRAPHC_VERIFY")
    assert not Options().verify


# --- graph passes ---


def test_a_graph_that_needs_nothing_comes_back_itself() -> None:
    graph = graph_of(graphc.tanh(X))
    assert all(stage.ir is graph for stage in run_passes(graph, Options(reassociate=True), passes=GRAPH_PASSES))


def test_no_check_is_lost() -> None:
    """A bad index below a value that does not matter still fails the call, after any pass."""
    i = graphc.input("i", (2,), "int64")
    row = graphc.take(X, i, axis=0)
    unread = graphc.where(graphc.constant(np.array([[False]])), row, graphc.zeros((2, 3)))
    once = graphc.where(graphc.take(X, i, axis=0) > 0, 1.0, 1.0)
    graph = graph_of(unread, once)
    for stage in run_passes(graph, Options(), verify=True, passes=GRAPH_PASSES):
        assert isinstance(stage.ir, Graph)
        arrays = {"x": np.ones((4, 3), np.float32), "i": np.array([0, 4])}
        with pytest.raises(InputError, match="index 4 is out of range"):
            run_graph(stage.ir, [arrays[node.attrs["name"]] for node in stage.ir.inputs])


def test_rules_that_undo_each_other_end() -> None:
    there = replace(OPS["sin"], rewrites=(lambda node: replace(node, op=back),))
    back = replace(OPS["cos"], rewrites=(lambda node: replace(node, op=there),))
    simplify(Graph((X.node,), (Node(there, (X.node,), {}, X.type),)), Options())


def test_origins_survive_all_passes() -> None:
    loss = (graphc.tanh(X @ X.T) * 2.0).mean()
    graph = run_passes(graph_of(loss, graphc.grad(loss, X)), Options(), passes=GRAPH_PASSES)[-1].ir
    assert isinstance(graph, Graph)
    nodes = set(graph.nodes)
    named = [origin for node in graph.nodes for origin in node.origins if origin.node is not None]
    assert named and all(origin.node in nodes for origin in named)  # and no older graph is kept alive
    assert "B[tanh, %" in str(graph) and "B[contract, %" in str(graph)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ("a", ("a",)),
        (np.float32(1), np.float64(1)),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(2), -np.zeros(2)),
    ],
)
def test_attributes_that_differ(left: object, right: object) -> None:
    assert value_key(left) != value_key(right) and value_key(left) == value_key(left)
    assert value_key(float("nan")) == value_key(float("nan"))


def test_passes_are_linear() -> None:
    """Four times the nodes take about four times the calls of functions, Python's and C's: a measure that does not depend on the
    machine."""

    def calls(depth: int) -> int:
        x = graphc.input("x", (8,))
        y = x
        for _ in range(depth):
            y = graphc.tanh(y * x + 0.5)
        loss = (y * y).sum()
        graph = graph_of(loss, graphc.grad(loss, x))
        count = 0

        def counting(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(counting)
        try:
            run_passes(graph, Options(reassociate=True), passes=GRAPH_PASSES)
        finally:
            sys.setprofile(None)
        return count

    assert calls(400) < 4.4 * calls(100)


@pytest.mark.parametrize(("step", "stored"), [(2, False), (1, True)], ids=["side by side", "overlapping"])
def test_what_windows_read_is_computed_again_unless_they_overlap(step: int, stored: bool) -> None:
    """The input of a pool, behind a normalization: needed once for each element, or several times."""
    x = graphc.input("x", (4, 8, 16, 16))
    y = max_pool2d(relu(x - x.mean((0, 2, 3), keepdims=True)), 2, step)
    program = graphc.compile(y).program
    assert ((4, 8, 16, 16) in [buffer.type.shape for buffer in program.buffers if buffer.space is Space.ARENA]) is stored


def test_costly_functions_do_not_pile_up_in_one_kernel() -> None:
    """A long chain of powers is cut, into kernels that are mostly the same one."""
    y = graphc.input("x", (64,))
    for _ in range(60):
        y = y**2.5
    body = graphc.compile(y).program.body
    assert len(body) == 3 and len({launch.kernel for launch in body}) == 2


def test_scalars_are_computed_again_by_kernels_of_any_size() -> None:
    rate = graphc.state("rate", np.float64(0.5)).astype("float32")
    program = graphc.compile([graphc.input("x", (10,)) * rate, graphc.input("y", (3,)) * rate]).program
    assert len(program.body) == 2 and not any(buffer.space is Space.ARENA for buffer in program.buffers)
