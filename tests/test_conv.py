"""Convolutions and pools: native code against the interpreter, hand-made expectations, memory, kernels and mistakes. `oracle/`
has the grid against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.graph import Graph
from graphc.interp import run_graph
from graphc.kernel import Contraction
from graphc.program import Space
from graphc.tensor import Tensor


def drawn(*shapes: tuple[int, ...], dtype: str = "f8") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def native_agrees(f: Callable[..., Tensor], *arrays: np.ndarray, tolerance: float | None = None) -> list[np.ndarray]:
    """Output and gradients of `f` in native code agree with the graph as it was declared, under the interpreter."""
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    y = f(*xs)
    outputs = [y, *graphc.vjp([y], xs, [np.random.default_rng(1).uniform(0.5, 1.5, y.shape)])]
    graph = Graph(tuple(x.node for x in xs), tuple(t.node for t in outputs))
    expected, _ = run_graph(graph, list(arrays))
    found = graphc.compile(outputs, inputs=xs, options=graphc.Options(verify=True))(*arrays)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        limit = (1e-10 if b.dtype == np.float64 else 2e-5) if tolerance is None else tolerance
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit * max(np.abs(b).max(), 1))
    return found


CONVOLUTIONS = [
    ((2, 3, 9), (4, 3, 3), {"padding": 1}),
    ((2, 3, 37), (5, 3, 5), {"padding": "same"}),
    ((3, 5, 64), (16, 5, 5), {"padding": 2}),
    ((2, 3, 18), (5, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 3, 19), (5, 3, 4), {"stride": 3, "dilation": 2, "padding": 4}),
    ((2, 6, 12), (6, 1, 3), {"groups": 6, "padding": 1}),
    ((2, 6, 12), (4, 3, 3), {"groups": 2}),
    ((2, 3, 6, 7), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 16, 16), (20, 3, 3, 3), {"padding": 1}),
    ((2, 3, 9, 11), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2)}),
    ((2, 4, 8, 8), (6, 4, 2, 2), {"stride": 2}),
    ((2, 4, 7, 7), (4, 1, 3, 3), {"groups": 4, "stride": 2}),
]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("shape", "weight", "options"), CONVOLUTIONS, ids=str)
def test_convolutions_in_native_code(
    shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], dtype: str
) -> None:
    conv = F.conv1d if len(weight) == 3 else F.conv2d
    native_agrees(lambda x, w, b: conv(x, w, b, **options), *drawn(shape, weight, weight[:1], dtype=dtype))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((2, 3, 5), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((2, 6, 5), (6, 2, 3), {"stride": 2, "groups": 3}),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 3, 4, 5), (3, 4, 2, 2), {"stride": 2}),
    ],
    ids=str,
)
def test_transposed_convolutions_in_native_code(
    shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], dtype: str
) -> None:
    conv = F.conv_transpose1d if len(weight) == 3 else F.conv_transpose2d
    native_agrees(lambda x, w: conv(x, w, **options), *drawn(shape, weight, dtype=dtype))


@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((8, 40, 24, 24), (36, 40, 3, 3), {}),
        ((8, 40, 28, 28), (36, 40, 3, 3), {"padding": 1}),
        ((6, 40, 33, 31), (36, 40, 5, 5), {"padding": 2, "stride": 2}),
        ((16, 64, 16, 16), (48, 64, 3, 3), {"padding": 1}),
        ((32, 48, 200), (40, 48, 7), {"padding": 3}),
    ],
    ids=str,
)
def test_large_convolutions_in_native_code(shape: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any]) -> None:
    """Several blocks of every axis, panels that begin inside of rows, depths cut into parts."""
    conv = F.conv1d if len(weight) == 3 else F.conv2d
    native_agrees(lambda x, w: graphc.tanh(conv(x, w, **options) * 0.05), *drawn(shape, weight, dtype="f4"), tolerance=1e-4)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_pools_in_native_code(dtype: str) -> None:
    line, image = drawn((2, 3, 37), (2, 3, 13, 18), dtype=dtype)
    for options in ({}, {"stride": 2, "padding": 1}, {"stride": 1}, {"ceil_mode": True, "stride": 3}):
        for pool in (F.max_pool1d, F.avg_pool1d):
            native_agrees(lambda x, pool=pool, options=options: pool(x, 3, **options), line)
        for pool in (F.max_pool2d, F.avg_pool2d):
            native_agrees(lambda x, pool=pool, options=options: pool(x, 2, **options), image)
    native_agrees(lambda x: F.adaptive_avg_pool2d(x, (4, 5)), image)
    native_agrees(lambda x: F.adaptive_avg_pool2d(x, 1), image)
    native_agrees(lambda x: F.adaptive_max_pool1d(x, 5), line)


# --- what they compute ---


def test_one_channel_is_a_banded_matrix() -> None:
    """y = Q z with Q[i, i + f] = w[f]."""
    z, w = drawn((11,), (4,))
    q = np.zeros((8, 11))
    for i in range(8):
        q[i, i : i + 4] = w
    found = native_agrees(lambda x, w: F.conv1d(x, w), z.reshape(1, 1, 11), w.reshape(1, 1, 4))[0]
    np.testing.assert_allclose(found.reshape(8), q @ z, rtol=1e-12)
    # and the gradient with respect to z is Qᵀ v, a transposed convolution
    (v,) = drawn((8,))
    back = graphc.compile(lambda v, w: F.conv_transpose1d(v, w))(v.reshape(1, 1, 8), w.reshape(1, 1, 4))
    np.testing.assert_allclose(back.reshape(11), q.T @ v, rtol=1e-12)


def test_sizes_follow_the_formula() -> None:
    for h in (7, 8, 32):
        for f in (1, 2, 3, 5):
            for s in (1, 2, 3):
                for p in (0, 1, 2):
                    y = F.conv1d(graphc.input("x", (2, 3, h)), graphc.input("w", (4, 3, f)), stride=s, padding=p)
                    assert y.shape == (2, 4, (h - f + 2 * p) // s + 1)
    layer = nn.Conv2d(3, 8, 5)
    assert sum(p.size for p in layer.parameters()) == 8 * 5 * 5 * 3 + 8


def test_the_first_of_equal_maxima_gets_the_gradient() -> None:
    x = np.array([[[1.0, 3.0, 3.0, 0.0, 0.0, 0.0]]])
    _, gradient = native_agrees(lambda x: F.max_pool1d(x, 3, 3), x)
    assert np.flatnonzero(gradient).tolist() == [1, 3]
    _, gradient = native_agrees(lambda x: F.max_pool1d(x, 2, 1), x)
    assert (gradient.ravel() > 0).tolist() == [False, True, True, True, True, False]


def test_second_derivatives() -> None:
    x = graphc.input("x", (1, 2, 7), "float64")
    w = graphc.input("w", (3, 2, 3), "float64")
    loss = graphc.sum(F.conv1d(x, w, stride=2, padding=1) ** 3)
    gradient = graphc.grad(loss, x)
    hessian_rows = graphc.grad(graphc.sum(gradient * gradient), w)
    run = graphc.compile([gradient, hessian_rows], inputs=[x, w])
    a, b = drawn((1, 2, 7), (3, 2, 3))
    _, found = run(a, b)
    direction = drawn((3, 2, 3), (3, 2, 3))[1]
    up, down = (np.sum(run(a, b + sign * 1e-5 * direction)[0] ** 2) for sign in (1, -1))
    assert np.sum(found * direction) == pytest.approx((up - down) / 2e-5, rel=1e-6)


# --- how ---


def _step(model: nn.Module, shape: tuple[int, ...], classes: int) -> Any:
    x = graphc.input("x", shape)
    y = graphc.input("y", shape[:1], "int32")
    return graphc.train_step(F.cross_entropy(model(x), y), optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_are_never_stored(stride: int) -> None:
    """Forward and backward of 3 x 3 convolutions need no buffer of columns, which would be nine times the activations."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    step = _step(model, (4, 3, 32, 32), 10)
    activations = 4 * 16 * 32 * 32 * 4
    step.build()
    largest = max(buffer.type.nbytes for buffer in step.program.buffers if buffer.space is Space.ARENA)
    assert largest <= activations * 34**2 / 32**2
    assert step.memory.arena_bytes < 5 * activations


def test_bias_and_activation_are_part_of_the_contraction() -> None:
    model = nn.Sequential(nn.Conv1d(8, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 3, padding=1), nn.ReLU())
    run = graphc.compile(model(graphc.input("x", (4, 8, 64))))
    run.build()
    kernels = [launch.kernel for launch in run.program.body]
    assert sum(isinstance(kernel, Contraction) for kernel in kernels) == 2
    assert len(kernels) <= 4  # and two padded inputs at most


def test_a_fold_of_a_contraction_has_one_contraction_for_each_phase_of_the_stride() -> None:
    for stride, phases in ((1, 1), (2, 2), (3, 3), (5, 1)):
        v, w = graphc.input("v", (2, 4, 6)), graphc.input("w", (4, 3, 5))
        run = graphc.compile(F.conv_transpose1d(v, w, stride=stride))
        run.build()
        assert sum(isinstance(launch.kernel, Contraction) for launch in run.program.body) == phases, stride


def test_training_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 1, 8, 8)).astype("f4")
    y = (x[:, 0, :4].sum((1, 2)) > x[:, 0, 4:].sum((1, 2))).astype("i4")
    graphc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 2))
    step = _step(model, x.shape, 2)
    losses = [float(step(x=x, y=y)) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


# --- mistakes ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: F.conv1d(x, w, stride=0), "conv1d: stride must be an integer, at least 1"),
        (lambda x, w: F.conv1d(x, w, padding=-1), "conv1d: padding must be"),
        (lambda x, w: F.conv1d(x, w, padding="full"), "padding must be 'valid', 'same' or integers"),
        (lambda x, w: F.conv1d(x, w, padding="same", stride=2), "padding='same' needs stride 1"),
        (lambda x, w: F.conv1d(x, w, dilation=(1, 2)), "dilation must be an integer"),
        (lambda x, w: F.conv1d(x, w, groups=2), "groups 2 must divide the 3 channels"),
        (lambda x, w: F.conv1d(x, w, dilation=9), "does not fit spatial axis 0 of size 8"),
        (lambda x, w: F.conv1d(x[:, :2], w), "the input has 2 channels"),
        (lambda x, w: F.conv1d(x, w, np.zeros(3, "f4")), "the bias must have shape"),
        (lambda x, w: F.conv2d(x, w), "expected a 4D weight"),
        (lambda x, w: F.conv_transpose1d(x, w), "the input has 3 channels, a weight of shape"),
        (lambda x, w: F.conv_transpose1d(x, x, output_padding=1), "output_padding must be smaller than stride or dilation"),
        (lambda x, w: F.max_pool1d(x, 3, padding=2), "padding must be at most half of the kernel size"),
        (lambda x, w: F.max_pool1d(x, 3, return_indices=True), "max_pool1d: return_indices=True is not supported"),
        (lambda x, w: F.max_pool1d(x, 12), "does not fit"),
        (lambda x, w: F.avg_pool1d(x, (2, 2)), "kernel_size must be an integer"),
        (lambda x, w: F.avg_pool2d(x, 2, divisor_override=0), "divisor_override must be"),
        (lambda x, w: F.adaptive_avg_pool1d(x, 0), "output_size must be an integer, at least 1"),
        (lambda x, w: nn.Conv1d(3, 4, 3, padding_mode="reflect"), "Conv1d: padding_mode='reflect' is not supported"),
        (lambda x, w: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: in_channels must be divisible by groups"),
        (lambda x, w: nn.ConvTranspose1d(3, 4, 3, padding="same"), "padding must be integers"),
        (lambda x, w: nn.MaxPool2d(2, return_indices=True), "MaxPool2d: return_indices=True is not supported"),
        (lambda x, w: nn.Conv1d(3, 4, 0), "Conv1d: kernel_size must be"),
    ],
)
def test_mistakes_name_the_argument(call: Callable[[Tensor, Tensor], Any], message: str) -> None:
    with pytest.raises(graphc.GraphcError) as caught:
        call(graphc.input("x", (2, 3, 8)), graphc.input("w", (4, 3, 3)))
    assert message in str(caught.value)


def test_modules_print_their_options() -> None:
    assert "3, 4, kernel_size=(3,), stride=(1,), padding=same" in repr(nn.Conv1d(3, 4, 3, padding="same"))
    plain = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    assert "3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False" in repr(plain)
    assert "kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False" in repr(nn.MaxPool2d(2))
