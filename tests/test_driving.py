"""`step.run` in native code: bit for bit a loop of calls, whatever the step, the data and the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.runtime import driving, pool
from graphc.training import TrainStep

ROWS = 53
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, 6)).astype(np.float32)
Y = RNG.integers(0, 4, ROWS).astype(np.int32)


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps native code ran in each stretch."""
    monkeypatch.setattr(pool, "available_processors", lambda: 2)
    monkeypatch.setattr(driving, "BUDGET_NS", 10**12)  # however busy the machine is
    seen: list[int] = []
    run = driving.Driver.run

    def watched(self, first, stop):
        following, values = run(self, first, stop)
        seen.append(following - first)
        return following, values

    monkeypatch.setattr(driving.Driver, "run", watched)
    return seen


def plain(model, x, y):
    return F.cross_entropy(model(x), y)


def with_outputs(model, x, y):
    z = model(x)
    return F.cross_entropy(z, y), {"scores": z, "right": (z.argmax(1) == y).sum(), 2: z.mean(), "deep": {"a": z.sum()}}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 4))


def make(loss=plain, fixed: int | None = None, threads: int = 1, **options) -> TrainStep:
    graphc.manual_seed(3)
    model = network()
    opt = optim.Adam(model.parameters(), lr=lambda step: 0.05 / (1.0 + 0.1 * step))
    if fixed is None:
        return graphc.train_step(lambda x, y: loss(model, x, y), opt, threads=threads, **options)
    x, y = graphc.input("x", (fixed, 6)), graphc.input("y", (fixed,), "int32")
    result = loss(model, x, y)
    outputs = None
    if isinstance(result, tuple):
        result, outputs = result
    return graphc.train_step(result, opt, outputs=outputs, threads=threads, **options)


def bits(step: TrainStep) -> list[bytes]:
    return [state.array.tobytes() for state in step.states()]


def by_hand(step: TrainStep, data: dict[str, np.ndarray], epochs: int, size: int, shuffle: bool, drop_last: bool) -> list[float]:
    means = []
    for epoch in range(epochs):
        order = np.random.Generator(np.random.PCG64([5, epoch])).permutation(ROWS) if shuffle else np.arange(ROWS)
        total, seen = 0.0, 0
        for start in range(0, ROWS - size + 1 if drop_last else ROWS, size):
            rows = order[start : start + size]
            result = step(**{name: array[rows] for name, array in data.items()})
            total += float(result[0] if isinstance(result, tuple) else result) * len(rows)
            seen += len(rows)
        means.append(total / seen)
    return means


@pytest.mark.parametrize(
    ("loss", "shuffle", "drop_last", "threads", "options"),
    [
        (plain, False, False, 1, {}),
        (plain, True, False, 2, {}),
        (plain, True, True, 1, {"accumulate": 3}),
        (plain, False, False, 2, {"transform": optim.clip_grad_norm(0.1)}),
        (with_outputs, False, True, 2, {}),
        (with_outputs, True, False, 1, {}),
    ],
)
def test_a_run_is_a_loop_of_calls_bit_for_bit(stretches, loss, shuffle, drop_last, threads, options):
    data = {"x": X, "y": Y}
    step, other = make(loss, threads=threads, **options), make(loss, **options)
    logs = step.run(data, epochs=3, batch_size=8, shuffle=shuffle, seed=5, drop_last=drop_last, progress=False)
    assert logs["loss"] == by_hand(other, data, 3, 8, shuffle, drop_last)
    assert bits(step) == bits(other)
    assert stretches == [5, 6, 6]  # but for the first batch and the smaller last ones
    assert list(logs) == (["loss"] if loss is plain else ["loss", "right", "2"])


@pytest.mark.parametrize("threads", [1, 2])
def test_phases_that_are_split(stretches, threads):
    """Kernels large enough to be shared among threads."""
    graphc.manual_seed(0)
    x = np.random.default_rng(1).standard_normal((600, 64)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    found = []
    for way in range(2):
        graphc.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 2))
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        step = graphc.train_step(lambda x, y, m=model: F.cross_entropy(m(x), y), opt, threads=threads if way else 1)
        if way:
            step.run({"x": x, "y": y}, epochs=2, batch_size=150, progress=False)
        else:
            for i in (0, 1, 2, 3) * 2:
                step(x=x[150 * i : 150 * i + 150], y=y[150 * i : 150 * i + 150])
        found.append(bits(step))
    assert found[0] == found[1] and stretches == [3, 4]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x.astype(np.float64) * 1.1, y.astype(np.int64)),
        lambda x, y: (x.astype(np.float16), y.astype(np.int8)),
        lambda x, y: (np.asfortranarray(x), np.repeat(y, 2)[::2]),
        lambda x, y: (np.concatenate([x, x], 1)[:, 3:9], y[::-1]),
        lambda x, y: ((x > 0), y.astype(np.uint64)),
        lambda x, y: (x.astype(">f4"), y.astype(">i4")),
    ],
)
def test_data_that_must_be_converted(stretches, change, shuffle):
    x, y = change(X[:48], Y[:48])
    for fixed in (None, 8):
        if fixed is None and x.dtype == bool:
            continue
        step, other = make(fixed=fixed), make(fixed=fixed)
        step.run({"x": x, "y": y}, epochs=2, batch_size=8, shuffle=shuffle, seed=5, progress=False)
        for epoch in range(2):
            order = np.random.Generator(np.random.PCG64([5, epoch])).permutation(48) if shuffle else np.arange(48)
            for start in range(0, 48, 8):
                other(x=x[order[start : start + 8]], y=y[order[start : start + 8]])
        assert bits(step) == bits(other)
    assert set(stretches) == {5, 6}


def test_a_label_that_no_call_takes_fails_where_a_call_would(stretches):
    labels = Y.astype(np.int64)
    labels[30] = 2**40
    step, other = make(fixed=8), make(fixed=8)
    with pytest.raises(graphc.InputError, match="the value 1099511627776, out of range for int32"):
        step.run({"x": X[:48], "y": labels[:48]}, progress=False)
    for start in (0, 8, 16):
        other(x=X[start : start + 8], y=Y[start : start + 8])
    assert bits(step) == bits(other) and stretches == [] and step.epochs_done == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [3, 30, 52])
def test_a_failing_check_leaves_what_the_loop_would(bad, threads):
    """In the first batch, in native code, and in the smaller last batch."""
    labels = Y.copy()
    labels[bad] = 9
    step, other = make(threads=threads), make()
    messages = []
    for run in (
        lambda: step.run({"x": X, "y": labels}, batch_size=8, progress=False),
        lambda: by_hand(other, {"x": X, "y": labels}, 1, 8, False, False),
    ):
        with pytest.raises(graphc.InputError, match="index 9 is out of range") as caught:
            run()
        messages.append(str(caught.value).partition("\n")[0])
    assert messages[0] == messages[1] and bits(step) == bits(other) and step.epochs_done == 0
    step.run({"x": X, "y": Y}, batch_size=8, progress=False)  # still usable
    by_hand(other, {"x": X, "y": Y}, 1, 8, False, False)
    assert bits(step) == bits(other)


def test_on_epoch_may_change_everything(stretches):
    """Data, hyper-parameters, and the step itself, called at another size."""
    data, same = ({"x": X.astype(np.float64), "y": Y.copy()} for _ in range(2))
    step, other = make(), make()

    def change(step: TrainStep, data: dict[str, np.ndarray]) -> None:
        data["x"] *= 0.5
        data["y"][:] = data["y"][::-1].copy()
        step.opt.param_groups[0]["betas"] = (0.5, 0.9)
        step(x=data["x"][:3], y=data["y"][:3])

    step.run(data, epochs=3, batch_size=8, progress=False, on_epoch=lambda epoch, logs: change(step, data))
    for _ in range(3):
        by_hand(other, same, 1, 8, False, False)
        change(other, same)
    assert bits(step) == bits(other) and stretches == [5, 5, 5]


def test_data_that_lies_in_a_state_which_the_step_writes(stretches):
    found = []
    for native in (True, False):
        weight = nn.Parameter(np.arange(12, dtype=np.float32).reshape(4, 3) / 7)
        step = graphc.train_step(lambda x, w=weight: ((w * 1.5 - 1.0) ** 2).sum() + x.sum(), optim.SGD([weight], lr=0.1))
        losses = []
        if native:
            logs = step.run({"x": weight.numpy()}, epochs=3, batch_size=1, progress=False)
            losses = logs["loss"]
        else:
            for _ in range(3):
                total = 0.0
                for row in range(4):
                    total += float(step(x=weight.numpy()[row : row + 1]))
                losses.append(total / 4)
        found.append((losses, weight.numpy().tobytes()))
    assert found[0] == found[1] and sum(stretches) == 11


def test_random_bits_and_the_counter_go_on_as_with_calls():
    step, other = make(), make()
    step.run({"x": X, "y": Y}, batch_size=8, shuffle=True, seed=5, progress=False)
    by_hand(other, {"x": X, "y": Y}, 1, 8, True, False)
    assert float(step(x=X, y=Y)) == float(other(x=X, y=Y))
