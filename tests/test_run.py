"""`step.run`: the same bits as a loop over `step`, its order of rows, its reports."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 3)).astype(np.float32)
Y = RNG.integers(0, 4, 50).astype(np.int32)


def classifier() -> tuple[nn.Linear, graphc.TrainStep]:
    graphc.manual_seed(0)
    model = nn.Linear(3, 4)

    def loss(x, y):
        z = model(x)
        return F.cross_entropy(z, y), {"size": z.sum() * 0 + x.shape[0], "scores": z}

    return model, graphc.train_step(loss, optim.Adam(model.parameters(), lr=0.05))


def order(seed: int, epoch: int) -> np.ndarray:
    """As the module docstring of graphc/running.py has it."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(50)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_run_equals_a_loop_bit_for_bit(shuffle: bool, drop_last: bool):
    model, step = classifier()
    logs = step.run({"x": X, "y": Y}, epochs=3, batch_size=16, shuffle=shuffle, seed=5, drop_last=drop_last, progress=False)
    other, by_hand = classifier()
    means = []
    for epoch in range(3):
        rows = order(5, epoch) if shuffle else np.arange(50)
        losses = []
        for start in range(0, 48 if drop_last else 50, 16):
            batch = rows[start : start + 16]
            losses += [float(by_hand(x=X[batch], y=Y[batch])[0])] * len(batch)
        means.append(np.mean(losses))
    assert np.array_equal(model.weight.numpy(), other.weight.numpy()) and np.array_equal(model.bias.numpy(), other.bias.numpy())
    assert list(logs) == ["loss", "size"]  # and every scalar output, as means over the rows
    assert np.allclose(logs["loss"], means, rtol=1e-6)
    assert logs["size"][0] == (16 if drop_last else (48 * 16 + 2 * 2) / 50)


def test_epochs_go_on_counting_from_run_to_run():
    once, together = classifier()
    together.run({"x": X, "y": Y}, epochs=4, batch_size=20, shuffle=True, progress=False)
    twice, step = classifier()
    seen: list[int] = []
    for epochs in (1, 3):
        step.run(
            {"x": X, "y": Y}, epochs=epochs, batch_size=20, shuffle=True, progress=False, on_epoch=lambda e, _: seen.append(e)
        )
    assert seen == [1, 2, 3, 4] and step.epochs_done == 4
    assert np.array_equal(once.weight.numpy(), twice.weight.numpy())


def test_the_default_seed_is_that_of_manual_seed():
    weights = []
    for seed, given in ((7, None), (0, 7), (0, None)):
        model, step = classifier()
        graphc.manual_seed(seed)
        step.run({"x": X, "y": Y}, batch_size=20, shuffle=True, seed=given, progress=False)
        weights.append(model.weight.numpy().copy())
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize("verdict", [True, np.True_])
def test_on_epoch_returning_true_stops(verdict):
    _, step = classifier()
    logs = step.run({"x": X, "y": Y}, epochs=9, progress=False, on_epoch=lambda epoch, logs: verdict if epoch == 3 else None)
    assert len(logs["loss"]) == 3 and step.epochs_done == 3


def test_a_step_of_fixed_size_takes_its_batches_from_its_inputs():
    model = nn.Linear(3, 4)
    x, y = graphc.input("x", (10, 3)), graphc.input("y", (10,), "int32")
    step = graphc.train_step(F.cross_entropy(model(x), y), optim.SGD(model.parameters(), lr=0.1))
    assert len(step.run({"x": X, "y": Y}, epochs=2, progress=False)["loss"]) == 2
    before = model.weight.numpy().copy()
    with pytest.raises(graphc.InputError, match="45 rows do not divide into batches of 10; use drop_last=True, or"):
        step.run({"x": X[:45], "y": Y[:45]}, progress=False)
    with pytest.raises(graphc.InputError, match="batch_size 5 for a step declared for 10 rows"):
        step.run({"x": X, "y": Y}, batch_size=5, progress=False)
    assert np.array_equal(model.weight.numpy(), before)
    step.run({"x": X[:45], "y": Y[:45]}, drop_last=True, progress=False)


def test_lists_and_other_types_are_taken():
    _, step = classifier()
    first = step.run({"x": X.tolist(), "y": Y.tolist()}, progress=False)
    _, step = classifier()
    assert step.run({"x": X, "y": Y.astype(np.int64)}, progress=False) == first


def test_progress_is_a_bar_with_tqdm_and_lines_without(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    _, step = classifier()
    step.run({"x": X, "y": Y}, epochs=2, batch_size=10, on_epoch=lambda epoch, logs: print(f"seen {epoch}"))
    shown = capsys.readouterr()
    assert "10/10" in shown.err and "loss=" in shown.err and shown.out == "seen 1\nseen 2\n"
    real = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name.partition(".")[0] == "tqdm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    step.run({"x": X, "y": Y}, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines] == ["epoch 3: loss", "epoch 4: loss"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (None, {}, "data is a dict of arrays"),
        ({}, {}, "data is a dict of arrays"),
        ({"x": X, "y": Y[:9]}, {}, "arrays differ in rows: x 50, y 9"),
        ({"x": X, "y": 3}, {}, "y has no rows"),
        ({"x": X[:0], "y": Y[:0]}, {}, "have no rows"),
        ({"x": X}, {}, "missing a required argument: 'y'"),
        ({"x": X, "y": Y, "z": Y}, {}, "unexpected keyword argument 'z'"),
        ({"x": X, "y": Y}, {"epochs": -1}, "epochs is an integer of at least 0, not -1"),
        ({"x": X, "y": Y}, {"epochs": 1.5}, "epochs is an integer"),
        ({"x": X, "y": Y}, {"batch_size": 0}, "batch_size is an integer of at least 1, not 0"),
        ({"x": X, "y": Y}, {"batch_size": 51, "drop_last": True}, "no batch of 51 in 50 rows"),
        ({"x": X, "y": Y}, {"seed": -1}, "seed is a non-negative integer"),
        ({"x": X, "y": Y}, {"on_epoch": 3}, "on_epoch is a function"),
        ({"x": X, "y": Y}, {"shuffle": "no"}, "shuffle is True or False"),
    ],
)
def test_bad_arguments(data, options, message):
    model, step = classifier()
    before = model.weight.numpy().copy()
    with pytest.raises(graphc.InputError, match=message):
        step.run(data, progress=False, **options)
    assert np.array_equal(model.weight.numpy(), before) and step.epochs_done == 0


def test_an_error_inside_leaves_the_step_usable():
    model, step = classifier()
    labels = Y.copy()
    labels[30] = 4
    with pytest.raises(graphc.InputError, match="index 4 is out of range"):
        step.run({"x": X, "y": labels}, batch_size=10, progress=False)
    step.run({"x": X, "y": Y}, batch_size=10, progress=False)
    assert np.isfinite(model.weight.numpy()).all()
