"""Threads: the same bits for any number of them, and calls from several Python threads at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from agreement import Reference
from test_random_graphs import Case, seeded_case, states_of

import graphc
import graphc.nn.functional as F
from graphc import functions as fn
from graphc import nn, optim
from graphc.executable import Executable
from graphc.runtime import locks, pool

THREADS = (1, 2, 5)


@pytest.fixture(autouse=True)
def many_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than this machine has processors for."""
    monkeypatch.setattr(pool, "available_processors", lambda: 8)


def results(case: Case, threads: int) -> tuple[Executable, list[np.ndarray], list[np.ndarray]]:
    """Outputs of two calls and the states after them; the states are put back."""
    before = {state: state.array.copy() for state in states_of(case)}
    native = graphc.compile(list(case.outputs), inputs=case.inputs, updates=case.updates, threads=threads)
    try:
        outputs = native(**case.arrays) + native(**case.arrays)
        return native, outputs, [state.array.copy() for state in case.updates]
    finally:
        for state, array in before.items():
            state.array[...] = array


@pytest.mark.parametrize("part", range(4))
def test_large_random_graphs(part: int) -> None:
    for seed in range(part, 24, 4):
        case = seeded_case(seed, 14, large=True)
        native, outputs, states = results(case, THREADS[0])
        Reference(native.graph, case.arrays).check_outputs(outputs[: len(case.outputs)])
        for threads in THREADS[1:]:
            _, others, other_states = results(case, threads)
            for found, expected in zip(others + other_states, outputs + states, strict=True):
                assert found.tobytes() == expected.tobytes(), f"seed {seed} with {threads} threads"


def classifier(threads: int) -> tuple[graphc.training.TrainStep, nn.Module]:
    graphc.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 300), nn.LayerNorm(300), nn.GELU(), nn.Linear(300, 10))
    x, y = graphc.input("x", (512, 100)), graphc.input("y", (512,), "int32")
    opt = optim.Adam(model.parameters(), lr=1e-3)
    return graphc.train_step(F.cross_entropy(model(x), y), opt, threads=threads), model


def test_a_training_step() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((512, 100)).astype(np.float32), rng.integers(0, 10, 512).astype(np.int32)
    bits = set()
    for threads in THREADS:
        step, model = classifier(threads)
        losses = [float(step(x=x, y=y)) for _ in range(5)]
        assert losses[-1] < losses[0]
        bits.add((*losses, *(p.numpy().tobytes() for p in model.parameters())))
    assert len(bits) == 1


def test_large_reductions() -> None:
    x = graphc.input("x", (1_000_003,))
    m = graphc.reshape(x[:1_000_000], (1000, 1000))
    few = graphc.reshape(m, (2, 31250, 16))
    everything = [x.sum(), x.max(), x.min(), x.argmax(), fn.logsumexp(x), (x * x).sum(), x.mean()]
    everything += [m.sum(), (m - 1.0).max(), fn.logsumexp(m)]
    parts = [f(axis=axis) for f in (m.sum, m.max, m.argmin) for axis in (0, 1)]
    parts += [f(axis=axes) for f in (few.sum, few.min) for axes in (0, 1, (0, 1), (1, 2))]
    values = {"x": np.random.default_rng(0).standard_normal(1_000_003).astype(np.float32)}
    bits = set()
    for threads in THREADS:
        native = graphc.compile([*everything, *parts], inputs=[x], threads=threads)
        found = native(**values)
        Reference(native.graph, values).check_outputs(found)
        bits.add(b"".join(array.tobytes() for array in found))
    assert len(bits) == 1


def together(count: int, work: Callable[[int], None]) -> None:
    """`work(i)` on so many Python threads at once; raises what they raise."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(i: int) -> None:
        try:
            start.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


def test_calls_at_once_do_not_disturb_each_other() -> None:
    x = graphc.input("x", (300, 200))
    y = F.softmax(fn.tanh(x @ x.T), 1).sum(axis=0)
    native = graphc.compile(y, threads=4)
    inputs = [np.random.default_rng(i).standard_normal((300, 200)).astype(np.float32) for i in range(6)]
    alone = [native(x=array) for array in inputs]

    def work(i: int) -> None:
        for _ in range(30):
            assert native(x=inputs[i]).tobytes() == alone[i].tobytes()

    together(len(inputs), work)


def test_the_first_call_may_come_from_several_threads() -> None:
    native = graphc.compile(lambda x: fn.sin(x) @ x.T, threads=2)
    inputs = [np.random.default_rng(i).standard_normal((20 + i % 2, 30)).astype(np.float32) for i in range(6)]
    found: dict[int, np.ndarray] = {}
    together(6, lambda i: found.update({i: native(inputs[i])}))
    for i, array in enumerate(inputs):
        np.testing.assert_allclose(found[i], np.sin(array) @ array.T, rtol=1e-4, atol=1e-4)


def test_readers_side_by_side_and_writers_alone() -> None:
    """The lock itself: no reader while a writer writes, no writer missed, no one left waiting."""
    lock, busy, most = locks.StateLock(), [], []

    def work(i: int) -> None:
        for turn in range(400):
            with locks.holding([lock], writes=(i + turn) % 3 == 0):
                if (i + turn) % 3 == 0:
                    assert not busy
                busy.append(i)
                most.append(len(busy))
                time.sleep(0)
                busy.remove(i)

    together(6, work)
    assert not lock.readers and not lock.turn.locked() and max(most) > 1


def test_steps_at_once_take_turns() -> None:
    total, calls = graphc.state("total", np.zeros(50_000, np.float64)), graphc.state("calls", 0)
    x = graphc.input("x", (), "float64")
    step = graphc.compile(total.sum(), inputs=[x], updates={total: total + x, calls: calls + 1}, threads=2)
    reader = graphc.compile([total.max() - total.min(), calls], threads=2)

    def work(i: int) -> None:
        for _ in range(50):
            step(1.0)
            spread, _ = reader()
            assert spread == 0  # never between two halves of a step

    together(4, work)
    assert calls.array == 200 and (total.array == 200).all()


def test_steps_that_are_traced_by_several_threads_share_their_moments():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(3):
            model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
            opt = optim.Adam(model.parameters())
            steps = [graphc.train_step(lambda x, model=model: (model(x) ** 2).mean(), opt) for _ in range(2)]
            start = threading.Barrier(4)

            def call(i, steps=steps, start=start):
                start.wait()
                steps[i % 2](np.ones((2 + i, 3), np.float32))

            threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            held = {state for moments in opt.moments.values() for state in moments.values()} | set(opt.ages.values())
            assert held <= {state for step in steps for state in step.states()}
            assert sum("exp_avg" in state.name for state in {state for step in steps for state in step.states()}) == 8
            assert [int(age.numpy()) for age in set(opt.ages.values())] == [4]
    finally:
        sys.setswitchinterval(interval)
