"""Training algorithms against loops in NumPy: sampling, accumulation, clipping, schedules, stopping, folds, ensembles, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import Tensor, nn, optim

RNG = np.random.default_rng(0)
N, D = 24, 3
X = RNG.standard_normal((N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.standard_normal(N)


def squares(model: nn.Linear) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: ((model(x)[:, 0] - y) ** 2).mean()


def slope(w: np.ndarray, rows: Any) -> np.ndarray:
    return 2 * (X[rows] @ w - Y[rows]) @ X[rows] / len(X[rows])


def line(optimizer: Callable[..., Any] = optim.SGD, **options: Any) -> tuple[nn.Linear, Any, np.ndarray]:
    """A linear model without bias, its optimizer, and its first weights."""
    model = nn.Linear(D, 1, bias=False, dtype="float64")
    return model, optimizer(model.parameters(), **options), model.weight.numpy()[0].copy()


def test_one_example_at_a_time() -> None:
    model, opt, w = line(lr=0.05)
    step = graphc.train_step(squares(model), opt)
    for i in np.random.default_rng(1).integers(N, size=40):
        value = step(X[i : i + 1], Y[i : i + 1])
        np.testing.assert_allclose(value, (X[i] @ w - Y[i]) ** 2, rtol=1e-10, atol=1e-15)
        w -= 0.05 * slope(w, [i])
    np.testing.assert_allclose(model.weight.numpy()[0], w, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 24])
def test_mini_batches_are_drawn_without_replacement(batch: int) -> None:
    """Each example's gradient counts it: after each epoch, all have been seen equally often."""
    counts = nn.Parameter(np.zeros(N))
    step = graphc.train_step(lambda e: -(counts * e).sum(), optim.SGD([counts], lr=1.0))
    for epoch in range(1, 4):
        step.run({"e": np.eye(N)}, batch_size=batch, shuffle=True, seed=3, progress=False)
        np.testing.assert_array_equal(counts.numpy(), np.full(N, float(epoch)))


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulation_is_one_large_batch_also_under_clipping_and_a_schedule(parts: int) -> None:
    model, opt, w = line(lr=optim.step_decay(0.3, 2, 0.5))
    step = graphc.train_step(squares(model), opt, accumulate=parts, transform=optim.clip_grad_norm(0.7))
    for update in range(5):
        for rows in np.split(np.arange(N), parts):
            np.testing.assert_allclose(model.weight.numpy()[0], w, rtol=1e-10)
            step(X[rows], Y[rows])
        g = slope(w, slice(None))
        w = w - 0.3 * 0.5 ** (update // 2) * g * min(1, 0.7 / (np.linalg.norm(g) + 1e-6))
        np.testing.assert_allclose(model.weight.numpy()[0], w, rtol=1e-10)


def test_clipping_by_value() -> None:
    model, opt, w = line(lr=0.1)
    graphc.train_step(squares(model), opt, transform=optim.clip_grad_value(0.4))(X, Y)
    np.testing.assert_allclose(model.weight.numpy()[0], w - 0.1 * np.clip(slope(w, slice(None)), -0.4, 0.4), rtol=1e-12)


SCHEDULES: dict[str, tuple[Any, Callable[[int], float]]] = {
    "step": (optim.step_decay(0.1, 3, 0.5), lambda t: 0.1 * 0.5 ** (t // 3)),
    "cosine": (optim.cosine(0.1, 8), lambda t: 0.05 * (1 + np.cos(np.pi * min(t, 8) / 8))),
    "warm-up": (optim.linear_warmup(0.1, 4, 0.25), lambda t: 0.1 * min(1, 0.25 + 0.75 * t / 4)),
    "warm-up, then cosine": (
        optim.cosine(0.1, 10, warmup_steps=4),
        lambda t: 0.1 * t / 4 if t < 4 else 0.05 * (1 + np.cos(np.pi * min(t - 4, 6) / 6)),
    ),
    "a user's": (lambda t: graphc.where(t % 2 == 0, 0.1, 0.3) / (t + 1.0), lambda t: (0.3 if t % 2 else 0.1) / (t + 1)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_inside_the_native_step(name: str) -> None:
    rate, by_hand = SCHEDULES[name]
    model, opt, w = line(lr=rate)
    step = graphc.train_step(squares(model), opt)
    for t in range(12):
        step(X, Y)
        w = w - by_hand(t) * slope(w, slice(None))
        np.testing.assert_allclose(model.weight.numpy()[0], w, rtol=1e-12)


def test_early_stopping_restores_the_best() -> None:
    model = nn.Sequential(nn.Linear(D, 64), nn.Tanh(), nn.Linear(64, 1))
    x, y = X.astype("f4"), Y.astype("f4")
    validate = graphc.compile(lambda x, y: ((model(x)[:, 0] - y) ** 2).mean())
    step = graphc.train_step(lambda x, y: ((model(x)[:, 0] - y) ** 2).mean(), optim.Adam(model.parameters(), lr=0.05))
    best: dict[str, Any] = {"loss": np.inf, "epoch": 0}
    losses: list[float] = []

    def patience(epoch: int, logs: dict[str, float]) -> bool:
        losses.append(float(validate(x[:8], y[:8])))
        if losses[-1] < best["loss"]:
            best.update(loss=losses[-1], epoch=epoch, state=model.state_dict())
        return epoch - best["epoch"] >= 4

    data = {"x": x[8:], "y": y[8:]}
    history = step.run(data, epochs=500, batch_size=4, shuffle=True, seed=0, on_epoch=patience, progress=False)
    assert len(history["loss"]) == len(losses) < 500
    assert min(losses) == losses[-5] == best["loss"]
    model.load_state_dict(best["state"])
    assert float(validate(x[:8], y[:8])) == best["loss"]


def test_folds_start_afresh_and_members_of_an_ensemble_vote() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    x = (np.eye(3)[labels] + 0.6 * rng.standard_normal((90, 3))).astype("f4")
    members: list[nn.Module] = []
    scores = []
    for train, test in selection.KFold(3, shuffle=True, random_state=0).split(x):
        model = nn.Linear(3, 3)
        step = graphc.train_step(lambda x, y, model=model: F.cross_entropy(model(x), y), optim.Adam(model.parameters(), lr=0.1))
        step.run({"x": x[train], "y": labels[train]}, epochs=20, batch_size=20, shuffle=True, progress=False)
        scores.append(metrics.accuracy_score(labels[test], graphc.compile(model)(x[test]).argmax(1)))
        members.append(model)
    assert np.mean(scores) > 0.6

    def together(x: Tensor) -> dict[str, Tensor]:
        logits = graphc.stack([model(x) for model in members])
        votes = graphc.one_hot(graphc.argmax(logits, axis=2), 3).sum(axis=0)
        return {"mean": logits.mean(axis=0), "vote": votes, "softmax": F.softmax(logits, dim=2).mean(axis=0)}

    found = graphc.compile(together)(x)
    logits = np.stack([x @ m.weight.numpy().T + m.bias.numpy() for m in members])
    e = np.exp(logits - logits.max(2, keepdims=True))
    np.testing.assert_allclose(found["mean"], logits.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["softmax"], (e / e.sum(2, keepdims=True)).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["vote"], np.eye(3)[logits.argmax(2)].sum(0))

    def measures(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        said = graphc.argmax(together(x)["softmax"], axis=1)
        table = graphc.one_hot(y, 3).T @ graphc.one_hot(said, 3)
        hits = graphc.sum(table * np.eye(3), axis=0)
        f1 = 2 * hits / (table.sum(axis=0) + table.sum(axis=1))
        return {"accuracy": (said == y).mean(), "table": table, "f1": f1.mean()}

    ours = graphc.compile(measures)(x, labels)
    said = found["softmax"].argmax(1)
    np.testing.assert_allclose(ours["accuracy"], metrics.accuracy_score(labels, said), rtol=1e-6)
    np.testing.assert_array_equal(ours["table"], metrics.confusion_matrix(labels, said))
    np.testing.assert_allclose(ours["f1"], metrics.f1_score(labels, said, average="macro"), rtol=1e-6)


def test_a_file_from_the_middle_of_training_gives_the_same_bits(tmp_path: Path) -> None:
    """Two networks with an optimizer each, that both steps read; the file is written in the middle of an accumulation."""
    x, y = X.astype("f4"), Y.astype("f4")

    def build() -> tuple[dict[str, Any], nn.ModuleList]:
        first = nn.Sequential(nn.Linear(D, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        second = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 1))
        a = graphc.train_step(
            lambda x, y: ((first(x)[:, 0] + second(x)[:, 0] - y) ** 2).mean(),
            optim.AdamW(first.parameters(), lr=optim.cosine(0.02, 40)),
            accumulate=3,
        )
        b = graphc.train_step(
            lambda x, y: graphc.abs(first(x)[:, 0] + second(x)[:, 0] - y).mean(),
            optim.SGD(second.parameters(), lr=0.1, momentum=0.9),
        )
        return {"a": a, "b": b}, nn.ModuleList([first, second])

    def go_on(steps: dict[str, Any], calls: int) -> list[float]:
        losses = [float(steps[name](x[:12], y[:12])) for _ in range(calls) for name in "ab"]
        run = steps["a"].run({"x": x, "y": y}, epochs=2, batch_size=12, shuffle=True, seed=1, progress=False)
        return losses + run["loss"]

    def loaded(name: str) -> tuple[dict[str, Any], nn.ModuleList]:
        steps, model = build()
        graphc.load(tmp_path / name, steps)
        return steps, model

    steps, model = build()
    go_on(steps, 4)
    graphc.save(tmp_path / "middle", steps)
    expected = go_on(steps, 5)
    others, other = loaded("middle")
    assert go_on(others, 5) == expected
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    # the file of steps that were loaded, of which one has trained on and one was never called
    steps, _ = loaded("middle")
    for _ in range(4):
        steps["a"](x[:12], y[:12])
    graphc.save(tmp_path / "later", steps)
    others, _ = loaded("later")
    assert go_on(others, 2) == go_on(steps, 2)


@pytest.mark.parametrize("changed", [False, True])
def test_running_statistics_are_there_before_the_loaded_step_is_called(tmp_path: Path, changed: bool) -> None:
    """The step is traced for the arguments of the saved one; where that is not possible, they wait for the first call."""

    def build(wide: bool = False) -> tuple[nn.Module, Any]:
        model = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

        def loss(x: Tensor, y: Tensor) -> Tensor:
            if wide and x.shape[0] != 2:
                raise graphc.InputError("two rows, please")
            return ((model(x)[:, 0] - y) ** 2).mean()

        return model, graphc.train_step(loss, optim.Adam(model.parameters(), lr=0.05))

    x, y = X.astype("f4"), Y.astype("f4")
    model, step = build()
    for _ in range(20):
        step(x, y)
    graphc.save(tmp_path / "run", step)
    other, again = build()
    graphc.load(tmp_path / "run", again)
    graphc.save(tmp_path / "run", again)  # by a step that was not called
    other, again = build(changed)
    graphc.load(tmp_path / "run", again)
    if changed:
        step(x[:2], y[:2]), again(x[:2], y[:2])
    np.testing.assert_array_equal(graphc.compile(other)(x), graphc.compile(model)(x))
    assert (changed or again._traced == {}) and float(again(x[:2], y[:2])) == float(step(x[:2], y[:2]))
