"""Normalizations: compiled values against NumPy's in f64, running statistics, scale invariance, mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numeric import call, check_gradients

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)


def compiled(module: Any, x: np.ndarray, training: bool = False) -> np.ndarray:
    return graphc.compile(module, training=training)(x)


def standardized(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def randomized(module: nn.Module) -> Any:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
def test_formulas(dtype: str, tolerance: float) -> None:
    x = RNG.normal(1, 2, (3, 6, 5, 7)).astype(dtype)
    at = (6, 1, 1)

    rms = randomized(nn.RMSNorm((5, 7), eps=1e-3, dtype=dtype))
    expected = x / np.sqrt((x.astype("f8") ** 2).mean((2, 3), keepdims=True) + 1e-3) * rms.weight.array
    np.testing.assert_allclose(compiled(rms, x), expected, rtol=tolerance, atol=tolerance)

    group = randomized(nn.GroupNorm(3, 6, dtype=dtype))
    expected = standardized(x.astype("f8").reshape(3, 3, -1), (2,)).reshape(x.shape)
    expected = expected * group.weight.array.reshape(at) + group.bias.array.reshape(at)
    np.testing.assert_allclose(compiled(group, x), expected, rtol=tolerance, atol=tolerance)

    batch = randomized(nn.BatchNorm2d(6, dtype=dtype))
    expected = standardized(x.astype("f8"), (0, 2, 3)) * batch.weight.array.reshape(at) + batch.bias.array.reshape(at)
    np.testing.assert_allclose(compiled(batch, x, training=True), expected, rtol=tolerance, atol=tolerance)
    batch.running_mean.array[...], batch.running_var.array[...] = RNG.normal(size=6), RNG.uniform(0.5, 2, 6)
    mean, var = (state.array.astype("f8").reshape(at) for state in (batch.running_mean, batch.running_var))
    expected = (x - mean) / np.sqrt(var + 1e-5) * batch.weight.array.reshape(at) + batch.bias.array.reshape(at)
    np.testing.assert_allclose(compiled(batch, x), expected, rtol=tolerance, atol=tolerance)

    instance = randomized(nn.InstanceNorm2d(6, affine=True, dtype=dtype))
    expected = standardized(x.astype("f8"), (2, 3)) * instance.weight.array.reshape(at) + instance.bias.array.reshape(at)
    np.testing.assert_allclose(compiled(instance, x), expected, rtol=tolerance, atol=tolerance)


def test_gradients_of_first_and_second_order() -> None:
    x, w, b = RNG.normal(size=(3, 2, 2)), RNG.normal(size=2), RNG.normal(size=2)
    check_gradients(lambda x, w, b: F.batch_norm(x, None, None, w, b, True, eps=0.1), x, w, b)
    check_gradients(lambda x, w, b: F.batch_norm(x, np.zeros(2), np.ones(2), w, b), x, w, b, order=1)
    check_gradients(lambda x, w, b: F.group_norm(x, 1, w, b, eps=0.1), x, w, b)
    check_gradients(lambda x, w: F.rms_norm(x, (2,), w, eps=0.1), x, w)
    check_gradients(lambda x: F.instance_norm(x, eps=0.1), x)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_a_training_step_updates_running_statistics(momentum: float | None) -> None:
    norm = nn.BatchNorm1d(4, momentum=momentum, dtype="float64")
    x = graphc.input("x", (5, 4, 3), "float64")
    step = graphc.train_step((norm(x) ** 2).mean(), optim.SGD(norm.parameters(), lr=0.0))
    mean, var = np.zeros(4), np.ones(4)
    for n in range(1, 5):
        batch = RNG.normal(n, n, (5, 4, 3))
        step(x=batch)
        factor = 1 / n if momentum is None else momentum
        mean = (1 - factor) * mean + factor * batch.mean((0, 2))
        var = (1 - factor) * var + factor * batch.var((0, 2), ddof=1)
        np.testing.assert_allclose(norm.running_mean.array, mean, rtol=1e-12)
        np.testing.assert_allclose(norm.running_var.array, var, rtol=1e-12)
        assert norm.num_batches_tracked.array == n
    before = norm.state_dict()
    graphc.compile(norm, training=True)(batch)
    graphc.compile(norm)(batch)
    assert all(np.array_equal(before[key], value) for key, value in norm.state_dict().items())  # compile writes nothing
    norm.reset_running_stats()
    assert not norm.running_mean.array.any() and norm.running_var.array.all() and not norm.num_batches_tracked.array


@pytest.mark.parametrize("momentum", [0.3, None])
def test_two_calls_in_one_graph_chain_their_updates(momentum: float | None) -> None:
    norm = nn.BatchNorm1d(2, momentum=momentum, dtype="float64")
    real, fake = graphc.input("real", (6, 2), "float64"), graphc.input("fake", (6, 2), "float64")
    step = graphc.train_step(norm(real).mean() - norm(fake).mean(), optim.SGD(norm.parameters(), lr=0.1))
    a, b = RNG.normal(3, 1, (6, 2)), RNG.normal(-1, 2, (6, 2))
    step(real=a, fake=b)
    mean = np.zeros(2)
    for n, batch in enumerate((a, b), 1):
        factor = 1 / n if momentum is None else momentum
        mean = (1 - factor) * mean + factor * batch.mean(0)
    np.testing.assert_allclose(norm.running_mean.array, mean, rtol=1e-12)
    assert norm.num_batches_tracked.array == 2


def test_frozen_and_untracked_statistics() -> None:
    x = graphc.input("x", (6, 2))
    frozen = nn.BatchNorm1d(2).eval()
    graphc.train_step(frozen(x).sum(), optim.SGD(frozen.parameters(), lr=0.1))(x=RNG.normal(size=(6, 2)))
    assert not frozen.running_mean.array.any() and not frozen.num_batches_tracked.array
    free = nn.BatchNorm1d(2, affine=False, track_running_stats=False)
    assert not free.state_dict() and free.running_mean is None
    batch = RNG.normal(2, 3, (6, 2)).astype("f4")
    np.testing.assert_allclose(compiled(free, batch), standardized(batch.astype("f8"), (0,)), rtol=1e-5, atol=1e-6)


def test_scale_and_shift_before_a_norm_do_not_matter() -> None:
    """LN(MM_{aW, ab}) = LN(MM_{W, b}), and batch norm forgets a and b entirely."""
    layer, x = nn.Linear(4, 6, dtype="float64"), RNG.normal(size=(7, 4))
    layer_norm, batch_norm = (lambda x: F.layer_norm(layer(x), 6, eps=0.0)), nn.BatchNorm1d(6, eps=0.0, dtype="float64")
    group_norm = nn.GroupNorm(2, 6, eps=0.0, dtype="float64")
    through = [layer_norm, lambda x: batch_norm(layer(x)), lambda x: group_norm(layer(x))]
    before = [compiled(f, x, training=True) for f in through]
    layer.weight.array[...] *= 37.0
    layer.bias.array[...] *= 37.0
    for f, y in zip(through, before, strict=True):
        np.testing.assert_allclose(compiled(f, x, training=True), y, rtol=1e-12, atol=1e-12)
    layer.bias.array[...] += RNG.normal(size=6)
    np.testing.assert_allclose(compiled(through[1], x, training=True), before[1], rtol=1e-12, atol=1e-12)


def test_a_normalized_linear_maps_gradient_is_orthogonal_to_its_weights() -> None:
    """What a function that forgets the scale of W says of its gradient: W · dL/dW = 0."""
    layer, x = nn.Linear(4, 6, dtype="float64"), graphc.constant(RNG.normal(size=(7, 4)))
    loss = (F.batch_norm(layer(x), None, None, training=True, eps=0.0) ** 3).sum()
    weight, bias = graphc.compile(graphc.grad(loss, [layer.weight, layer.bias]))()
    np.testing.assert_allclose((weight * layer.weight.array).sum(1), 0, atol=1e-10)
    np.testing.assert_allclose(bias, 0, atol=1e-10)
    assert np.abs(weight).max() > 0.1


def test_mistakes_name_the_argument() -> None:
    x = graphc.input("x", (2, 6, 5))
    for make, message in (
        (lambda: nn.GroupNorm(4, 6), "GroupNorm: num_channels=6 must be divisible by num_groups=4"),
        (lambda: nn.GroupNorm(0, 6), "GroupNorm: num_groups must be an integer, at least 1"),
        (lambda: nn.BatchNorm1d(6, eps=-1), "BatchNorm1d: eps must be at least 0"),
        (lambda: nn.BatchNorm1d(6, momentum="a"), "BatchNorm1d: momentum must be a number"),
        (lambda: nn.InstanceNorm1d(6, momentum=None), "InstanceNorm1d: momentum must be a number"),
        (lambda: F.group_norm(x, 2.0), "group_norm: num_groups must be a positive integer"),
        (lambda: F.batch_norm(x, None, None), "batch_norm: without training it needs running_mean"),
        (lambda: F.batch_norm(x, np.zeros(6), None), "batch_norm: running_mean and running_var come together"),
        (lambda: F.batch_norm(x, np.zeros(6), np.ones(6), training=True), "running statistics that training updates are states"),
        (lambda: F.instance_norm(x, use_input_stats=False), "use_input_stats=False needs running_mean"),
    ):
        with pytest.raises(graphc.InputError, match=message):
            make()
    for make, message in (
        (lambda: nn.BatchNorm2d(6)(x), r"BatchNorm2d: expected an input \(N, C, H, W\)"),
        (lambda: nn.BatchNorm1d(5)(x), "BatchNorm1d: expected 5 channels"),
        (lambda: nn.BatchNorm1d(6)(graphc.input("y", (1, 6))), "expected more than 1 value per channel when training"),
        (lambda: F.instance_norm(graphc.input("y", (3, 6, 1))), "expected more than 1 value per channel and example"),
        (lambda: F.group_norm(x, 4), "6 channels do not divide into num_groups=4"),
        (lambda: nn.GroupNorm(1, 3)(x), "weight must have shape"),
        (lambda: F.batch_norm(x, np.zeros(5), np.ones(5)), "running_mean must have shape"),
        (lambda: F.rms_norm(x, 6), "rms_norm: expected an input that ends in axes of sizes"),
        (lambda: nn.RMSNorm(()), "RMSNorm: normalized_shape must name at least one axis"),
    ):
        with pytest.raises(graphc.ShapeError, match=message):
            make()


def test_states_and_options_show() -> None:
    assert list(nn.BatchNorm2d(3).state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert nn.BatchNorm2d(3).num_batches_tracked.dtype == np.int64
    assert list(nn.BatchNorm1d(3, bias=False).state_dict())[:2] == ["weight", "running_mean"]
    assert "momentum=0.1" in repr(nn.BatchNorm1d(3)) and repr(nn.GroupNorm(1, 2)).startswith("GroupNorm(1, 2, eps=1e-05")
    model = nn.Sequential(nn.BatchNorm1d(3))
    assert [buffer.name for buffer in model.buffers()] == ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
    np.testing.assert_allclose(call(nn.BatchNorm1d(3).eval(), np.ones((1, 3), "f4")), np.ones((1, 3)), rtol=1e-5)
