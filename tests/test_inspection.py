"""Looking inside what `compile` and `train_step` return, and running it from several threads."""

from __future__ import annotations

import threading

import networkx
import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 3)).astype(np.float32)
B = RNG.standard_normal((3, 2)).astype(np.float32)


def test_stages_and_dumps():
    x = graphc.input("x", (4, 3))
    model = nn.Linear(3, 2)
    step = graphc.train_step(F.mse_loss(model(x), graphc.input("y", (4, 2))), optim.SGD(model.parameters()))
    assert step.stages[:2] == ("input", "autodiff") and step.stages[-3:] == ("program", "llvm", "asm")
    assert {"fold", "simplify", "cse", "dce", "fuse", "schedule", "memory"} < set(step.stages)
    for stage in step.stages:
        assert step.dump(stage) == step.dump(stage) != ""
    assert "update" not in step.dump("input") and "update" in step.dump("autodiff")
    assert str(step.graph) == step.dump("autodiff") and str(step.program) == step.dump("program") == step.dump("memory")
    assert graphc.compile(x + 1).stages[0] == "input" and "autodiff" not in graphc.compile(x + 1).stages
    with pytest.raises(graphc.InputError, match="no stage 'nope'; there are input, autodiff"):
        step.dump("nope")


def test_the_graph_has_text_that_parses_back_and_a_networkx_view():
    f = graphc.compile(graphc.exp(graphc.input("x", (4, 3)) @ B))
    assert str(graphc.parse(str(f.graph))) == str(f.graph)
    view = f.graph.to_networkx()
    assert isinstance(view, networkx.MultiDiGraph) and len(view) == len(f.graph.nodes)


def test_memory_report():
    x = graphc.input("x", (32, 64))
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    step = graphc.train_step(model(x).sum(), optim.Adam(model.parameters()))
    memory = step.memory
    assert memory.parameter_bytes == 4 * (64 * 32 + 32 + 32 * 10 + 10)
    assert memory.arena_bytes >= memory.lower_bound_bytes >= 32 * 32 * 4
    model[0].requires_grad_(False)  # frozen parameters are parameters
    frozen = graphc.train_step(model(x).sum(), optim.Adam(model.parameters()))
    assert frozen.memory.parameter_bytes == memory.parameter_bytes


def test_build_compiles_now():
    x = graphc.input("x", (4, 3))
    f = graphc.compile(x * 2)
    assert f.build() is f and np.array_equal(f(x=A), A * 2)
    calls = []
    g = graphc.compile(lambda x: (calls.append(x.shape), x * 2)[1])
    assert g.build(A) is g and calls == [(4, 3)]
    g(A), g(A[:2])
    assert calls == [(4, 3), (2, 3)]
    assert "f32[4,3]" in str(g.graph)  # the first trace is shown, not the odd last batch
    g.build(A[:2])
    assert "f32[2,3]" in str(g.graph) and calls == [(4, 3), (2, 3)]
    with pytest.raises(graphc.InputError, match="before its first call"):
        graphc.compile(lambda x: x).graph  # noqa: B018
    with pytest.raises(graphc.InputError, match="no example arguments"):
        f.build(A)


def test_reprs():
    x = graphc.input("x", (4, 3))
    assert repr(graphc.compile(x)) == "<Executable(x: f32[4,3])>"
    assert repr(graphc.compile(nn.ReLU())) == "<Executable of ReLU, compiled for 0 signatures>"


# --- threads ---


def test_executables_without_updates_run_concurrently():
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    predict = graphc.compile(model)
    expected = graphc.compile(model)(A)
    wrong = []

    def work():
        wrong.extend(1 for _ in range(100) if not np.array_equal(predict(A), expected))

    workers = [threading.Thread(target=work) for _ in range(4)]  # the first calls compile at the same time, too
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_step_with_updates_excludes_others():
    n = 50_000
    w = graphc.state("w", np.zeros(n, np.float32))
    add = graphc.compile(w[0], updates={w: w + 1})
    read = graphc.compile([w[0], w[n - 1]])
    torn = []

    def work():
        for _ in range(50):
            add()
            first, last = read()
            torn.extend([1] if first != last else [])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not torn and np.array_equal(w.numpy(), np.full(n, 200))


def test_options_change_no_meaning():
    x = graphc.input("x", (4, 3))
    f = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))(x)
    expected = graphc.compile(f)(x=A)
    for options in (
        graphc.Options(fusion=False),
        graphc.Options(passes_off={"cse", "fold"}),
        graphc.Options(reassociate=True, verify=True),
    ):
        assert np.allclose(graphc.compile(f, options=options)(x=A), expected, atol=1e-6)
