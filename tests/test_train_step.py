"""`train_step`: what one step does, its options, what optimizers share, saving. `run` has tests/test_run.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3)).astype(np.float32)
Y = (X @ [[1.0], [-2.0], [0.5]] + 0.1).astype(np.float32)


def linear() -> nn.Linear:
    graphc.manual_seed(0)
    return nn.Linear(3, 1)


def squared(model: nn.Module):
    return lambda x, y: F.mse_loss(model(x), y)


def values(model: nn.Module) -> list[np.ndarray]:
    return list(model.state_dict().values())


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def gradients(model: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean squared error over X and Y, by hand."""
    residual = 2 * (X @ model.weight.numpy().T + model.bias.numpy() - Y) / len(X)
    return residual.T @ X, residual.sum(0)


# --- one step ---


def test_a_step_returns_the_loss_before_the_update():
    model = linear()
    weight, bias = values(model)
    by_hand = gradients(model)
    x, y = graphc.input("x", X.shape), graphc.input("y", Y.shape)
    loss = F.mse_loss(model(x), y)
    value = graphc.compile(loss)(x=X, y=Y)
    step = graphc.train_step(loss, optim.SGD(model.parameters(), lr=0.1))
    assert step(x=X, y=Y) == value
    assert np.allclose(model.weight.numpy(), weight - 0.1 * by_hand[0], atol=1e-6)
    assert np.allclose(model.bias.numpy(), bias - 0.1 * by_hand[1], atol=1e-6)
    assert step(x=X, y=Y) < value


def test_it_is_compile_with_the_updates():
    one, two = linear(), linear()
    x, y = graphc.input("x", X.shape), graphc.input("y", Y.shape)
    step = graphc.train_step(F.mse_loss(one(x), y), optim.Adam(one.parameters(), lr=0.1))
    loss = F.mse_loss(two(x), y)
    opt = optim.Adam(two.parameters(), lr=0.1)
    parameters = opt.parameters()
    by_hand = graphc.compile(loss, updates=opt.updates(graphc.grad(loss, parameters)))
    for _ in range(3):
        assert step(x=X, y=Y) == by_hand(x=X, y=Y)
    assert same(values(one), values(two))


@pytest.mark.parametrize("outputs", [{"mean": "m"}, ["m"], ("m", ["m"]), "m"])
def test_outputs_come_beside_the_loss_and_from_before_the_update(outputs):
    def fill(shape, value):
        if isinstance(shape, dict):
            return {key: fill(item, value) for key, item in shape.items()}
        return type(shape)(fill(item, value) for item in shape) if isinstance(shape, (list, tuple)) else value

    fixed, traced = linear(), linear()
    x, y = graphc.input("x", X.shape), graphc.input("y", Y.shape)
    before = graphc.compile(fixed)(X).mean()
    steps = [
        graphc.train_step(F.mse_loss(fixed(x), y), optim.SGD(fixed.parameters()), outputs=fill(outputs, fixed(x).mean())),
        graphc.train_step(
            lambda x, y: (F.mse_loss(traced(x), y), fill(outputs, traced(x).mean())), optim.SGD(traced.parameters())
        ),
    ]
    (loss, found), (other, again) = (step(x=X, y=Y) for step in steps)
    assert loss == other and loss.shape == ()
    assert found == again == fill(outputs, pytest.approx(before, abs=1e-6))


def test_functions_are_trained_at_several_sizes():
    model, opt = linear(), None
    opt = optim.Adam(model.parameters(), lr=0.1)
    step = graphc.train_step(squared(model), opt)
    first = step(X, Y)
    for _ in range(100):
        step(x=X[:7], y=Y[:7])
        step(X[7:], Y[7:])
    assert step(X, Y) < 1e-3 * first
    assert int(next(iter(opt.ages.values())).numpy()) == 202  # moments and ages are the optimizer's, not a size's


def test_transform_maps_the_list_of_gradients():
    model = linear()
    before, by_hand = values(model), gradients(model)
    seen = []

    def halve(grads):
        seen.extend(grads)
        return (grad / 2 for grad in grads)

    graphc.train_step(squared(model), optim.SGD(model.parameters(), lr=0.1), transform=halve)(X, Y)
    assert [grad.shape for grad in seen] == [(1, 3), (1,)]
    assert np.allclose(model.weight.numpy(), before[0] - 0.05 * by_hand[0], atol=1e-6)


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipping(limit):
    norm = np.sqrt(sum((g**2).sum() for g in gradients(linear())))
    model = linear()
    before = values(model)
    graphc.train_step(squared(model), optim.SGD(model.parameters(), lr=1.0), transform=optim.clip_grad_norm(limit))(X, Y)
    moved = np.sqrt(sum(((p - q) ** 2).sum() for p, q in zip(before, values(model), strict=True)))
    assert moved == pytest.approx(min(limit, norm), rel=1e-4)
    model = linear()
    graphc.train_step(squared(model), optim.SGD(model.parameters(), lr=1.0), transform=optim.clip_grad_value(limit))(X, Y)
    assert max(np.abs(p - q).max() for p, q in zip(before, values(model), strict=True)) <= limit * 1.001


@pytest.mark.parametrize("traced", [False, True])
def test_accumulation_equals_one_large_batch(traced):
    small, large = linear(), linear()
    x, y = graphc.input("x", (5, 3)), graphc.input("y", (5, 1))
    loss = squared(small) if traced else squared(small)(x, y)
    accumulated = graphc.train_step(loss, optim.SGD(small.parameters(), lr=0.1, momentum=0.9), accumulate=4)
    whole = graphc.train_step(squared(large), optim.SGD(large.parameters(), lr=0.1, momentum=0.9))
    for _ in range(3):
        before = values(small)
        for start in range(0, 20, 5):
            assert same(values(small), before)
            accumulated(x=X[start : start + 5], y=Y[start : start + 5])
        whole(X, Y)
        assert all(np.allclose(p, q, atol=1e-6) for p, q in zip(values(small), values(large), strict=True))


def test_frozen_parameters_stay_and_are_honoured_when_a_step_is_built():
    model = linear()
    opt = optim.Adam(model.parameters(), lr=0.1)
    model.weight.requires_grad_(False)
    frozen = graphc.train_step(squared(model), opt).build(X, Y)
    model.weight.requires_grad_(True)
    before = values(model)
    frozen(X, Y)
    assert np.array_equal(model.weight.numpy(), before[0]) and not np.array_equal(model.bias.numpy(), before[1])
    graphc.train_step(squared(model), opt)(X, Y)
    assert not np.array_equal(model.weight.numpy(), before[0])


def test_a_parameter_that_the_loss_does_not_reach_is_left_alone_with_a_warning():
    model, other = linear(), nn.Linear(2, 2)
    before = values(other)
    with pytest.warns(UserWarning, match="does not depend on weight, bias; the step leaves them alone") as caught:
        opt = optim.AdamW([*model.parameters(), *other.parameters()], weight_decay=0.5)
        step = graphc.train_step(squared(model), opt).build(X, Y)
    assert caught[0].filename.endswith("test_train_step.py")
    step(X, Y)
    assert same(values(other), before)


def _loop_of(p):
    """A loop that reads `p` as a constant."""
    return graphc.scan(lambda carry, _: (carry * 0.5 + graphc.stop_gradient(p), None), graphc.zeros(2), graphc.zeros(3))[0]


UNREACHED = {
    "stop_gradient": graphc.stop_gradient,
    "a comparison": lambda p: (p > 0).astype("float32"),
    "integers": lambda p: p.astype("int32").astype("float32"),
    "a position": lambda p: graphc.argmax(p).astype("float32"),
    "custom_vjp": lambda p: graphc.custom_vjp(lambda x: x * 2, lambda v, x: None)(p),
    "stop_gradient of a level function": lambda p: graphc.floor(graphc.stop_gradient(p)),
    "a level function of stop_gradient": lambda p: graphc.stop_gradient(graphc.floor(p)) * 2,
    "a loop": _loop_of,
    "a carry of a loop": lambda p: graphc.scan(lambda c, x: (graphc.stop_gradient(c) + x, None), p, graphc.ones((3, 2)))[0],
}


@pytest.mark.parametrize("read", UNREACHED.values(), ids=UNREACHED)
def test_a_parameter_that_no_gradient_reaches_is_left_alone(read):
    w, p = nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(2, np.float32))
    w.name, p.name = "w", "p"
    loss = (w * 2 + read(p)).sum()
    assert (graphc.compile(graphc.grad(loss, p))() == 0).all()
    with pytest.warns(UserWarning, match="does not depend on p; the step leaves it alone"):
        step = graphc.train_step(loss, optim.AdamW([w, p], lr=0.1, weight_decay=0.5)).build()
    step()
    assert (p.numpy() == 1).all() and (w.numpy() < 0.9).all()
    with pytest.raises(graphc.InputError, match="depends on none of the optimizer's parameters"):
        graphc.train_step(read(p).sum(), optim.AdamW([p]))


@pytest.mark.parametrize("level", [graphc.floor, graphc.sign, graphc.round, graphc.ceil, lambda p: graphc.floor(p * 3) * 2])
def test_a_gradient_of_zeros_is_one(level, recwarn):
    """As in PyTorch, where floor's gradient is zeros and not None: weight decay takes part."""
    p = nn.Parameter(np.full(2, 1.25, np.float32))
    graphc.train_step(level(p).sum(), optim.SGD([p], lr=0.1, weight_decay=0.5))()
    assert not recwarn and np.allclose(p.numpy(), 1.25 - 0.1 * 0.5 * 1.25)


# --- optimizers ---


def test_hyper_parameters_take_effect_without_compiling():
    model = linear()
    opt = optim.SGD(model.parameters(), lr=0.1)
    step = graphc.train_step(squared(model), opt).build(X, Y)
    step(X, Y)
    for write in (lambda: setattr(opt, "lr", 0.0), lambda: opt.param_groups[0].__setitem__("lr", 0)):
        opt.lr = 0.1
        step(X, Y)
        write()
        before = values(model)
        step(X, Y)
        assert same(values(model), before)
    assert opt.lr == 0 == opt.param_groups[0]["lr"] and len(step._traced) == 1


def test_groups_have_hyper_parameters_of_their_own():
    model = linear()
    opt = optim.SGD([{"params": model.weight, "lr": 0.0}, {"params": [model.bias]}], lr=0.1)
    before = values(model)
    graphc.train_step(squared(model), opt)(X, Y)
    assert np.array_equal(model.weight.numpy(), before[0]) and not np.array_equal(model.bias.numpy(), before[1])
    opt.param_groups[0]["lr"] = 0.1
    with pytest.raises(graphc.InputError, match="differ"):
        opt.param_groups[1]["lr"] = 0.2
        opt.lr  # noqa: B018
    opt.lr = 0.3
    assert [group["lr"] for group in opt.param_groups] == [0.3, 0.3]


def test_schedules_are_evaluated_inside_the_step():
    model = linear()
    opt = optim.SGD(model.parameters(), lr=lambda step: 0.1 / (1.0 + step))
    step = graphc.train_step(squared(model), opt)
    for count in range(3):
        before, by_hand = values(model), gradients(model)
        step(X, Y)
        assert np.allclose(model.weight.numpy(), before[0] - 0.1 / (1 + count) * by_hand[0], atol=1e-6)


def test_steps_share_the_moments_of_their_optimizer():
    pair, single = linear(), linear()
    shared = optim.Adam(pair.parameters(), lr=0.1)
    one, two = graphc.train_step(squared(pair), shared), graphc.train_step(squared(pair), shared)
    alone = graphc.train_step(squared(single), optim.Adam(single.parameters(), lr=0.1))
    for step in (one, two, two, one):
        assert step(X, Y) == alone(X, Y)
    assert same(values(pair), values(single))


def test_two_losses_with_two_optimizers_alternate_on_shared_parameters():
    first, second = nn.Linear(3, 4), nn.Linear(4, 1)
    model = nn.Sequential(first, second)
    step_a = graphc.train_step(squared(model), optim.SGD(first.parameters(), lr=0.01))
    step_b = graphc.train_step(squared(model), optim.SGD(second.parameters(), lr=0.01))
    before = values(second)
    start = step_a(X, Y)
    assert same(values(second), before)
    for _ in range(50):
        step_b(X, Y), step_a(X, Y)
    assert step_a(X, Y) < start


def test_any_number_of_threads_gives_the_same_bits():
    found = []
    x = RNG.standard_normal((256, 64)).astype(np.float32)
    labels = RNG.integers(0, 10, 256)
    for threads in (1, 2, 3):
        graphc.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 10))
        loss = lambda x, y, model=model: F.cross_entropy(model(x), y)  # noqa: E731
        step = graphc.train_step(lambda x, y, loss=loss: loss(x, y), optim.Adam(model.parameters()), threads=threads)
        for _ in range(4):
            step(x, labels)
        found.append(values(model))
    assert same(found[0], found[1]) and same(found[0], found[2])


# --- saving ---


def trained(steps: int = 3):
    model = linear()
    opt = optim.Adam(model.parameters(), lr=0.1)
    step = graphc.train_step(squared(model), opt)
    for _ in range(steps):
        step(X, Y)
    return model, opt, step


def test_save_and_load_a_step_in_place(tmp_path: Path):
    _, opt, step = trained()
    step.epochs_done = 4
    graphc.save(tmp_path / "run.safetensors", step)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
    opt.lr = 0.5
    after = [step(X, Y) for _ in range(2)], opt.lr
    graphc.load(tmp_path / "run.safetensors", step)
    assert opt.lr == 0.1 and step.epochs_done == 4
    opt.lr = 0.5
    assert ([step(X, Y) for _ in range(2)], opt.lr) == after


@pytest.mark.parametrize("call_first", [False, True])
def test_a_new_process_goes_on_where_the_file_ends(tmp_path: Path, call_first: bool):
    model, _, step = trained()
    graphc.save(tmp_path / "run.safetensors", step)
    again, _, other = trained(int(call_first))
    graphc.load(tmp_path / "run.safetensors", other)
    assert same(values(again), values(model))
    for _ in range(3):
        assert step(X, Y) == other(X, Y)
    assert same(values(again), values(model))


def test_equal_names_and_hyper_parameters_of_a_step_that_was_not_called_yet(tmp_path: Path):
    """Names are made unique in the optimizer's order, which is known before the first trace."""

    def make():
        outer, inner = nn.Linear(3, 3), nn.Linear(3, 3)
        opt = optim.Adam([*outer.parameters(), *inner.parameters()], lr=0.1)
        return outer, inner, opt, graphc.train_step(lambda x: (outer(inner(x)) ** 2).mean(), opt)

    batch = np.ones((2, 3), np.float32)
    outer, inner, opt, step = make()
    step(batch)
    opt.lr = 0.25
    graphc.save(tmp_path / "run", step)
    outer2, inner2, opt2, step2 = make()
    graphc.load(tmp_path / "run", step2)
    assert same(values(outer2), values(outer)) and same(values(inner2), values(inner)) and opt2.lr == 0.25
    assert step2(batch) == step(batch) and same(values(inner2), values(inner))


def test_save_a_dict_of_steps_and_optimizers(tmp_path: Path):
    first, _, step = trained()
    second, other, _ = trained()
    second.weight.assign(second.weight.numpy() * 3)
    parts = {"a": step, "opt": other, "predict": graphc.compile(second).build(X)}
    graphc.save(tmp_path / "all.safetensors", parts)
    before = values(first), values(second)
    step(X, Y), second.weight.assign(second.weight.numpy() * 0), setattr(other, "lr", 7.0)
    graphc.load(tmp_path / "all.safetensors", parts)
    assert same(values(first), before[0]) and same(values(second), before[1]) and other.lr == 0.1
    nested = {"a": step, "a/b": other}  # a name may hold slashes
    graphc.save(tmp_path / "all.safetensors", nested)
    graphc.load(tmp_path / "all.safetensors", nested)


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    model, _, step = trained()
    graphc.save(path, step)
    wide = nn.Linear(4, 1)
    for opt in (optim.Adam(wide.parameters()), optim.SGD(wide.parameters(), momentum=0.9)):
        other = graphc.train_step(squared(wide), opt)
        other(np.ones((2, 4), np.float32), np.ones((2, 1), np.float32))
        before = values(wide)
        with pytest.raises((graphc.InputError, graphc.ShapeError), match="load: "):
            graphc.load(path, other)
        assert same(values(wide), before)
    # of several parts, none is loaded where one does not fit
    graphc.save(path, {"step": step, "opt": step.opt})
    before = values(model)
    model.weight.assign(model.weight.numpy() + 1)
    changed = values(model)
    with pytest.raises(graphc.InputError, match="load_state_dict"):
        graphc.load(path, {"step": step, "opt": optim.SGD(wide.parameters())})
    assert same(values(model), changed)
    graphc.load(path, {"step": step, "opt": step.opt})
    assert same(values(model), before)
    with pytest.raises(graphc.InputError, match="expected a step"):
        graphc.save(path, model)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(graphc.InputError, match="is not a safetensors file"):
        graphc.load(path, step)
