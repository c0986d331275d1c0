"""Native code is not for long at a time: `step.run` lets signals and other threads in every 20 ms."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.runtime import driving
from graphc.training import TrainStep


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """As at a terminal; a shell's background processes ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def slow_step(milliseconds: float) -> tuple[TrainStep, dict[str, np.ndarray], nn.Parameter]:
    """A step that takes about so long and makes the weight less by 1, and data for 20 seconds."""
    weight = nn.Parameter(np.zeros((), np.float64))
    x = graphc.input("x", (1, 1))

    def build(trips: int) -> TrainStep:
        last, _ = graphc.scan(lambda c, _: (graphc.sin(c), None), x.sum(), np.zeros((trips, 1), np.float32))
        step = graphc.train_step(weight * 1.0 + last.astype("float64") * 0.0, optim.SGD([weight], lr=1.0))
        step(x=data["x"][:1])
        return step

    data = {"x": np.ones((int(20_000 / milliseconds), 1), np.float32)}
    step = build(10_000)
    start = time.perf_counter()
    step(x=data["x"][:1])
    seconds = time.perf_counter() - start
    return build(max(int(milliseconds * 10 / seconds), 1)), data, weight


def run_interrupted(step: TrainStep, data: dict[str, np.ndarray], weight: nn.Parameter, meanwhile: Callable[[], None]) -> None:
    """Run until another thread, which begins `meanwhile` once a step of the run is done, has ended it and interrupts."""
    before = float(weight.numpy())

    def other() -> None:
        while float(weight.numpy()) == before:
            time.sleep(0.01)
        meanwhile()
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        step.run(data, progress=False)
    thread.join()


@pytest.mark.parametrize("milliseconds", [0.05, 5.0])
def test_an_interrupt_is_served_soon(milliseconds):
    step, data, weight = slow_step(milliseconds)
    weight.numpy()[...] = 0
    run_interrupted(step, data, weight, lambda: time.sleep(0.1))
    done = -float(weight.numpy())
    assert 0 < done < len(data["x"]) and done == int(done)  # whole steps, and not all of them
    step(x=data["x"][:1])  # no lock is held
    assert -float(weight.numpy()) == done + 1


def test_other_threads_get_to_read_the_states_meanwhile():
    step, data, weight = slow_step(0.05)
    read = graphc.compile(lambda: weight * 1.0)
    seen: list[float] = []

    def watch() -> None:
        for _ in range(5):
            seen.append(float(read()))
            time.sleep(0.05)

    run_interrupted(step, data, weight, watch)
    assert len(set(seen)) == 5 and seen == sorted(seen, reverse=True)


def test_a_stretch_ends_with_the_step_that_uses_up_its_time(monkeypatch):
    step, data, _ = slow_step(0.05)
    stretches: list[int] = []
    run = driving.Driver.run

    def counted(self, first, stop):
        following, values = run(self, first, stop)
        stretches.append(following - first)
        return following, values

    monkeypatch.setattr(driving.Driver, "run", counted)
    monkeypatch.setattr(driving, "BUDGET_NS", 0)
    step.run({"x": data["x"][:50]}, progress=False)
    assert stretches == [1] * len(stretches) and len(stretches) >= 49
