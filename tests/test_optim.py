"""Optimizers: 20 steps in the interpreter against plain NumPy, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import optim
from graphc.errors import InputError
from graphc.graph import Graph
from graphc.interp import run_graph
from graphc.tensor import State, Tensor

STEPS = 20


def parameter(array: Any, name: str = "w", dtype: Any = "float64") -> State:
    return graphc.state(name, np.asarray(array, dtype)).requires_grad_()


class Step:
    """An optimizer's updates as a step over given gradients, run by the interpreter."""

    def __init__(self, opt: optim.Optimizer, params: Sequence[State] | None = None):
        self.params = opt.parameters() if params is None else list(params)
        self.inputs = [graphc.input(f"g{i}", p.shape, p.dtype) for i, p in enumerate(self.params)]
        self.updates = opt.updates(zip(self.params, self.inputs, strict=True))
        pairs = tuple((state.node, value.node) for state, value in self.updates.items())
        self.graph = Graph(tuple(x.node for x in self.inputs), (), pairs)

    def __call__(self, *gradients: Any) -> None:
        given = [np.asarray(g, p.dtype) for g, p in zip(gradients, self.params, strict=True)]
        _, values = run_graph(self.graph, given)
        for node, value in values.items():
            node.attrs["state"].array[...] = value


# Each reference: one parameter's update in NumPy, as the papers write it; `m` keeps moments, t counts from 1.
Reference = Callable[[np.ndarray, np.ndarray, dict[str, Any], int], np.ndarray]


def sgd(
    lr: float = 1e-3, momentum: float = 0, dampening: float = 0, wd: float = 0, nesterov: bool = False, sign: float = 1
) -> Reference:
    def update(p: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = sign * g + wd * p
        if momentum:
            m["v"] = g if t == 1 else momentum * m["v"] + (1 - dampening) * g
            g = g + momentum * m["v"] if nesterov else m["v"]
        return p - lr * g

    return update


def adam(
    lr: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, wd: float = 0, decoupled: bool = False,
    amsgrad: bool = False, sign: float = 1,
) -> Reference:  # fmt: skip
    def update(p: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = sign * g
        if decoupled:
            p = p * (1 - lr * wd)
        else:
            g = g + wd * p
        m["m"] = b1 * m.get("m", 0) + (1 - b1) * g
        m["v"] = b2 * m.get("v", 0) + (1 - b2) * g * g
        m["max"] = np.maximum(m.get("max", 0), m["v"])
        v = m["max"] if amsgrad else m["v"]
        return p - lr * (m["m"] / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return update


def rmsprop(
    lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, wd: float = 0, momentum: float = 0, centered: bool = False
) -> Reference:
    def update(p: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = g + wd * p
        m["v"] = alpha * m.get("v", 0) + (1 - alpha) * g * g
        m["a"] = alpha * m.get("a", 0) + (1 - alpha) * g
        step = g / (np.sqrt(m["v"] - m["a"] ** 2 if centered else m["v"]) + eps)
        m["b"] = momentum * m.get("b", 0) + step
        return p - lr * m["b"]

    return update


def adagrad(lr: float = 1e-2, decay: float = 0, wd: float = 0, initial: float = 0, eps: float = 1e-10) -> Reference:
    def update(p: np.ndarray, g: np.ndarray, m: dict[str, Any], t: int) -> np.ndarray:
        g = g + wd * p
        m["s"] = m.get("s", initial) + g * g
        return p - lr / (1 + (t - 1) * decay) * g / (np.sqrt(m["s"]) + eps)

    return update


CASES: dict[str, tuple[Callable[[Any], optim.Optimizer], Reference]] = {
    "sgd": (lambda p: optim.SGD(p), sgd()),
    "sgd lr": (lambda p: optim.SGD(p, 0.1), sgd(0.1)),
    "sgd momentum": (lambda p: optim.SGD(p, 0.1, 0.9), sgd(0.1, 0.9)),
    "sgd dampening": (lambda p: optim.SGD(p, 0.1, 0.9, 0.5), sgd(0.1, 0.9, 0.5)),
    "sgd nesterov": (lambda p: optim.SGD(p, 0.1, 0.9, weight_decay=0.01, nesterov=True), sgd(0.1, 0.9, wd=0.01, nesterov=True)),
    "sgd decay": (lambda p: optim.SGD(p, 0.1, weight_decay=0.1), sgd(0.1, wd=0.1)),
    "sgd maximize": (lambda p: optim.SGD(p, 0.1, weight_decay=0.1, maximize=True), sgd(0.1, wd=0.1, sign=-1)),
    "adam": (lambda p: optim.Adam(p), adam()),
    "adam options": (lambda p: optim.Adam(p, 0.1, (0.8, 0.95), 1e-3, 0.1), adam(0.1, 0.8, 0.95, 1e-3, 0.1)),
    "adam amsgrad": (lambda p: optim.Adam(p, 0.1, amsgrad=True, maximize=True), adam(0.1, amsgrad=True, sign=-1)),
    "adam decoupled": (lambda p: optim.Adam(p, weight_decay=0.3, decoupled_weight_decay=True), adam(wd=0.3, decoupled=True)),
    "adamw": (lambda p: optim.AdamW(p, 0.1), adam(0.1, wd=1e-2, decoupled=True)),
    "adamw without decay": (lambda p: optim.AdamW(p, 0.1, weight_decay=0), adam(0.1)),
    "rmsprop": (lambda p: optim.RMSprop(p), rmsprop()),
    "rmsprop options": (lambda p: optim.RMSprop(p, 0.1, 0.9, 1e-4, 0.1, 0.8), rmsprop(0.1, 0.9, 1e-4, 0.1, 0.8)),
    "rmsprop centered": (lambda p: optim.RMSprop(p, centered=True), rmsprop(centered=True)),
    "rmsprop centered momentum": (lambda p: optim.RMSprop(p, momentum=0.9, centered=True), rmsprop(momentum=0.9, centered=True)),
    "adagrad": (lambda p: optim.Adagrad(p), adagrad()),
    "adagrad options": (lambda p: optim.Adagrad(p, 0.1, 0.2, 0.1, 0.5, 1e-5), adagrad(0.1, 0.2, 0.1, 0.5, 1e-5)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps(case: str, dtype: str) -> None:
    make, update = CASES[case]
    rng = np.random.default_rng(7)
    shapes = ((3, 4), (5,), ())
    params = [parameter(rng.standard_normal(shape), f"p{i}", dtype) for i, shape in enumerate(shapes)]
    expected: list[Any] = [p.array.astype(np.float64) for p in params]
    moments: list[dict[str, Any]] = [{} for _ in params]
    step = Step(make(params))
    for t in range(1, STEPS + 1):
        gradients = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
        step(*gradients)
        expected = [update(p, g.astype(np.float64), m, t) for p, g, m in zip(expected, gradients, moments, strict=True)]
    tolerance = 1e-12 if dtype == "float64" else 3e-5 if "centered" in case else 3e-6
    for p, value in zip(params, expected, strict=True):
        assert p.array.dtype == dtype
        np.testing.assert_allclose(p.array, value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_native_steps(case: str) -> None:
    """The same in native code: the gradient of sum(p g) is g."""
    make, update = CASES[case]
    rng = np.random.default_rng(8)
    shapes = ((3, 11), (5,), ())
    params = [parameter(rng.standard_normal(shape), f"p{i}", "float32") for i, shape in enumerate(shapes)]
    expected: list[Any] = [p.array.astype(np.float64) for p in params]
    moments: list[dict[str, Any]] = [{} for _ in params]
    inputs = [graphc.input(f"g{i}", shape) for i, shape in enumerate(shapes)]
    loss = sum((p * x).sum() for p, x in zip(params, inputs, strict=True))
    step = graphc.train_step(loss, make(params))
    for t in range(1, STEPS + 1):
        gradients = [rng.standard_normal(shape).astype("f4") for shape in shapes]
        step(**{f"g{i}": g for i, g in enumerate(gradients)})
        expected = [update(p, g.astype(np.float64), m, t) for p, g, m in zip(expected, gradients, moments, strict=True)]
    tolerance = 3e-5 if "centered" in case else 3e-6
    for p, value in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.array, value, rtol=tolerance, atol=tolerance)


def test_a_native_schedule() -> None:
    w = parameter(0.0, "w", "float32")
    x = graphc.input("x", ())
    step = graphc.train_step(w * x, optim.SGD([w], lr=optim.cosine(0.2, 12, 4, 0.01)))
    for _ in range(15):
        step(x=-1.0)
    assert float(w.array) == pytest.approx(sum(cosine(t) for t in range(15)), rel=1e-5)


def test_moments_have_the_dtype_of_their_parameter_and_are_shared() -> None:
    w, b = parameter(np.ones(3), "w", "float32"), parameter(np.ones(2), "b", "float64")
    opt = optim.Adam([w, b])
    one, two = Step(opt), Step(opt)
    assert list(one.updates) == list(two.updates)
    assert {state.dtype for state in opt.moments[w].values()} == {np.dtype("f4")}
    assert {state.dtype for state in opt.moments[b].values()} == {np.dtype("f8")}
    one(np.ones(3), np.ones(2))
    two(np.ones(3), np.ones(2))
    assert int(opt.ages[w].array) == 2 and opt.ages[w] is opt.ages[b]


def test_a_group_overrides_the_defaults() -> None:
    a, b = parameter(1.0, "a"), parameter(1.0, "b")
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    Step(opt)(1.0, 1.0)
    assert (a.array, b.array) == (0.75, 0.5)
    with pytest.raises(InputError, match="lr differs between groups"):
        _ = opt.lr
    opt.lr = 1.0
    assert opt.lr == 1.0 and [group["lr"] for group in opt.param_groups] == [1.0, 1.0]


def test_hyper_parameters_can_be_written_while_a_step_exists() -> None:
    w = parameter(0.0)
    opt = optim.SGD([w], lr=1e-3, momentum=0.5)
    step = Step(opt)
    step(1.0)
    assert opt.lr == 1e-3 and w.array == -1e-3
    opt.lr = 1.0
    opt.param_groups[0]["momentum"] = 0.0
    step(2.0)
    assert w.array == pytest.approx(-2.001) and opt.momentum == 0
    assert dict(opt.param_groups[0])["params"] == [w]
    both = optim.Adam([w])
    both.betas = (0.5, 0.25)
    both.eps = 1e-3
    assert both.param_groups[0]["betas"] == (0.5, 0.25) and both.eps == 1e-3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_decay", -0.1, "weight_decay must not be negative"),
        ("amsgrad", True, "amsgrad was False"),
        ("lr", -1.0, "lr must not be negative"),
        ("lr", lambda step: 1.0, "cannot become a schedule"),
        ("lr", "fast", "a number or a function"),
        ("lr", math.nan, "finite"),
        ("betas", (0.9, 1.0), r"betas\[1\] must be at least 0 and below 1"),
        ("betas", 0.9, "betas must be 2 numbers"),
        ("learning_rate", 0.1, "not a hyper-parameter"),
        ("params", [], "not a hyper-parameter"),
    ],
)
def test_writes_that_would_be_ignored_or_wrong_raise(name: str, value: Any, message: str) -> None:
    opt = optim.Adam([parameter(1.0)])
    before = {key: item for key, item in opt.param_groups[0].items() if key != "params"}
    with pytest.raises(InputError, match=message):
        opt.param_groups[0][name] = value
    assert {key: item for key, item in opt.param_groups[0].items() if key != "params"} == before


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_weight_decay_can_be_written_where_it_was_0(make: Any) -> None:
    late, soon = parameter(1.0), parameter(1.0)
    opts = [make([late], lr=0.1, weight_decay=0), make([soon], lr=0.1, weight_decay=0.5)]
    steps = [Step(opt) for opt in opts]
    opts[0].weight_decay = 0.5
    for step in steps:
        step(2.0)
        step(-1.0)
    assert late.array == soon.array


def test_momentum_that_was_0_has_no_buffer() -> None:
    opt = optim.SGD([parameter(1.0)])
    with pytest.raises(InputError, match="momentum was 0.0 when the optimizer was made"):
        opt.momentum = 0.9


def test_unknown_attributes_and_options_raise() -> None:
    opt = optim.Adam([parameter(1.0)])
    with pytest.raises(AttributeError):
        opt.learning_rate = 1.0  # type: ignore[attr-defined]
    with pytest.raises(graphc.InputError, match="Adam: foreach=True is not supported"):
        optim.Adam([parameter(1.0)], foreach=True)
    opt.param_groups[0]["weight_decay"] = 0  # what it is already


def test_writing_all_groups_writes_all_or_none() -> None:
    a, b = parameter(1.0, "a"), parameter(1.0, "b")
    opt = optim.SGD([{"params": a}, {"params": b, "momentum": 0.0}], momentum=0.9)
    with pytest.raises(InputError, match="momentum was 0"):
        opt.momentum = 0.5
    assert opt.param_groups[0]["momentum"] == 0.9


W = parameter(1.0, "weight")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD([]), "params is empty"),
        (lambda: optim.SGD([{"params": []}]), "params is empty"),
        (lambda: optim.SGD([{"params": None}]), "params must be an iterable"),
        (lambda: optim.SGD(W), "params must be an iterable"),
        (lambda: optim.SGD(3), "params must be an iterable"),
        (lambda: optim.SGD([W, W]), "parameter weight .* is given twice"),
        (lambda: optim.SGD([{"params": [W]}, {"params": [W]}]), "given twice"),
        (lambda: optim.SGD([graphc.input("x", (2,))]), "expected parameters"),
        (lambda: optim.SGD([np.ones(2)]), "expected parameters"),
        (lambda: optim.SGD([parameter(1, "count", "int64")]), "count is i64.*only float parameters"),
        (lambda: optim.SGD([{"params": [W], "momentun": 0.9}]), "unknown option 'momentun'"),
        (lambda: optim.SGD([{"lr": 0.1}]), 'the key "params"'),
        (lambda: optim.SGD([W], lr=-0.1), "lr must not be negative"),
        (lambda: optim.SGD([W], lr=True), "lr must be a number"),
        (lambda: optim.SGD([W], momentum=-0.1), "momentum"),
        (lambda: optim.SGD([W], nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.SGD([W], momentum=0.9, dampening=0.1, nesterov=True), "nesterov needs"),
        (lambda: optim.SGD([W], nesterov=1), "nesterov must be True or False"),  # type: ignore[arg-type]
        (lambda: optim.Adam([W], betas=(1.0, 0.9)), r"betas\[0\]"),
        (lambda: optim.Adam([W], eps=-1), "eps"),
        (lambda: optim.AdamW([W], weight_decay=math.inf), "weight_decay must be finite"),
        (lambda: optim.RMSprop([W], alpha="x"), "alpha must be a number"),  # type: ignore[arg-type]
        (lambda: optim.Adagrad([W], lr_decay=-1), "lr_decay"),
    ],
)
def test_bad_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_gradients_are_checked() -> None:
    opt = optim.SGD([W])
    with pytest.raises(InputError, match="is not a parameter of this optimizer"):
        opt.updates({parameter(1.0, "v"): graphc.constant(1.0)})
    with pytest.raises(InputError, match="expected 1, one for each parameter that requires a gradient, got 2"):
        opt.updates([graphc.constant(1.0)] * 2)
    with pytest.raises(InputError, match="gradients must be a list of tensors, a dict by parameter or pairs, got int"):
        opt.updates(3)  # type: ignore[arg-type]
    with pytest.raises(graphc.ShapeError, match=r"weight is f64\[\], its gradient is f32\[\]"):
        opt.updates({W: graphc.constant(1.0)})


def test_a_frozen_parameter_is_left_out_and_thaws_at_age_zero() -> None:
    head, body = parameter(1.0, "head"), parameter(1.0, "body").requires_grad_(False)
    opt = optim.Adam([head, body], lr=0.1)
    assert opt.parameters() == [head] and opt.all_parameters() == [head, body]
    step = Step(opt)
    assert body not in step.updates and body not in opt.moments
    for _ in range(5):
        step(1.0)
    body.requires_grad_()
    Step(opt)(1.0, 1.0)
    # bias correction makes a first step of lr; without a count of its own body would go three times as far
    assert body.array == pytest.approx(0.9) and head.array == pytest.approx(1 - 0.6)
    assert int(opt.ages[head].array) == 6 and int(opt.ages[body].array) == 1


def test_only_reached_parameters_are_updated() -> None:
    a, b = parameter(1.0, "a"), parameter(1.0, "b")
    opt = optim.Adam([a, b])
    assert set(Step(opt, [b]).updates) == {b, *opt.moments[b].values(), opt.ages[b]} and a not in opt.moments


# --- schedules ---


def run_schedule(schedule: Any, steps: Sequence[int]) -> list[float]:
    values = []
    for step in steps:
        count = graphc.state("step", np.int64(step))
        value = schedule(count)
        (result,), _ = run_graph(Graph((), (graphc.as_tensor(value).node,)))
        values.append(float(result))
    return values


def cosine(step: int) -> float:
    if step < 4:
        return 0.2 * step / 4
    return 0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * min(step - 4, 8) / 8))


SCHEDULES: dict[str, tuple[Any, Callable[[int], float]]] = {
    "constant": (optim.constant(0.3), lambda t: 0.3),
    "step": (optim.step_decay(0.3, 4), lambda t: 0.3 * 0.1 ** (t // 4)),
    "multi-step": (optim.multi_step(0.3, [7, 3], 0.5), lambda t: 0.3 * 0.5 ** ((t >= 3) + (t >= 7))),
    "exponential": (optim.exponential(0.3, 0.9), lambda t: 0.3 * 0.9**t),
    "linear": (optim.linear(0.3, 5, 1.0, 0.5), lambda t: 0.3 * (1 - 0.5 * min(t, 5) / 5)),
    "warm-up": (optim.linear_warmup(0.3, 5, 0.1), lambda t: 0.3 * (0.1 + 0.9 * min(t, 5) / 5)),
    "warm-up of step": (optim.linear_warmup(optim.step_decay(0.3, 6), 2), lambda t: 0.3 * 0.1 ** (t // 6) * min(t, 2) / 2),
    "cosine": (optim.cosine(0.2, 12, 4, 0.01), cosine),
    "cosine without warm-up": (optim.cosine(1.0, 10), lambda t: 0.5 * (1 + math.cos(math.pi * min(t, 10) / 10))),
    "scaled": (optim.scaled(0.3, lambda step: 1 / (1 + step.astype("float64"))), lambda t: 0.3 / (1 + t)),
    "sequential": (optim.sequential([0.1, optim.exponential(1.0, 0.5)], [3]), lambda t: 0.1 if t < 3 else 0.5 ** (t - 3)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    schedule, expected = SCHEDULES[name]
    steps = [*range(15), 10**7]
    np.testing.assert_allclose(run_schedule(schedule, steps), [expected(t) for t in steps], rtol=1e-13, atol=1e-300)


def test_a_schedule_counts_from_zero_inside_the_step() -> None:
    w = parameter(0.0)
    opt = optim.SGD([w], lr=lambda step: 1 + step)
    step = Step(opt)
    seen = []
    for _ in range(3):
        step(-1.0)
        seen.append(float(w.array))
    assert seen == [1, 3, 6] and int(opt.steps.array) == 3
    with pytest.raises(InputError, match="lr was"):
        opt.lr = 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.step_decay(0.1, 0), "step_size must be an integer of at least 1"),
        (lambda: optim.step_decay(-0.1, 2), "lr must be"),
        (lambda: optim.multi_step(0.1, [1.5]), "milestones"),  # type: ignore[list-item]
        (lambda: optim.exponential(0.1, -1), "gamma"),
        (lambda: optim.cosine(0.1, 5, 5), "total_steps must be an integer of at least 6"),
        (lambda: optim.sequential([0.1], [3]), "one milestone fewer"),
        (lambda: optim.scaled(0.1, 3), "factor must be a function"),  # type: ignore[arg-type]
    ],
)
def test_bad_schedules(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_schedule_must_return_a_scalar() -> None:
    opt = optim.SGD([W], lr=lambda step: graphc.constant([1.0]))
    with pytest.raises(graphc.ShapeError, match="a schedule returns a scalar"):
        opt.updates({W: graphc.constant(1.0, "float64")})


# --- clipping ---


def apply(transform: Callable[[Sequence[Tensor]], list[Tensor]], *gradients: Any) -> list[np.ndarray]:
    outputs = transform([graphc.constant(np.asarray(g)) for g in gradients])
    return list(run_graph(Graph((), tuple(t.node for t in outputs)))[0])


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_clip_grad_norm(p: float, scale: float) -> None:
    rng = np.random.default_rng(3)
    gradients = [scale * rng.standard_normal(shape) for shape in ((4, 5), (3,), (), (0, 2))]
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in gradients]), p)
    factor = min(1, 2.0 / (norm + 1e-6))
    for g, clipped in zip(gradients, apply(optim.clip_grad_norm(2.0, p), *gradients), strict=True):
        np.testing.assert_allclose(clipped, g * factor, rtol=1e-13)


def test_clip_keeps_dtypes_and_propagates_nan() -> None:
    one, two = apply(optim.clip_grad_norm(1.0), np.float32([3, 4]), np.float64([np.nan]))
    assert one.dtype == np.float32 and two.dtype == np.float64 and np.isnan(one).all() and np.isnan(two).all()
    (value,) = apply(optim.clip_grad_value(0.5), np.float32([-3, 0.25, np.nan, np.inf]))
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, np.float32([-0.5, 0.25, np.nan, 0.5]))
    assert optim.clip_grad_norm(1.0)([]) == []
    for bad in (0, -1.0, math.nan, math.inf, "1"):
        with pytest.raises(InputError, match="must be a number above 0"):
            optim.clip_grad_norm(bad)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="clip_value must be"):
            optim.clip_grad_value(bad)  # type: ignore[arg-type]


# --- saving ---


def train(opt: optim.Optimizer, steps: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    step = Step(opt)
    for _ in range(steps):
        step(*(rng.standard_normal(p.shape) for p in step.params))


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_optimizer_goes_on_where_the_saved_one_stood(case: str) -> None:
    make, _ = CASES[case]
    params = [parameter(np.ones((2, 3)), "a"), parameter(np.ones(4), "b", "float32")]
    opt = make(params)
    train(opt, 5)
    copies = [parameter(p.array, p.name, p.dtype) for p in params]
    twin = make(copies)
    saved = opt.state_dict()
    twin.load_state_dict(saved)
    train(opt, 3, 1)
    train(twin, 3, 1)
    for p, copy in zip(params, copies, strict=True):
        np.testing.assert_array_equal(p.array, copy.array)
    assert_same(opt.state_dict(), twin.state_dict())


def assert_same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("groups.0.lr"), "missing key 'groups.0.lr'"),
        (lambda d: d.pop("params.0.exp_avg"), "missing key 'params.0.exp_avg'"),
        (lambda d: d.update({"params.1.exp_avg": np.ones(3)}), r"params.1.exp_avg: expected float32\[4\], got float64\[3\]"),
        (lambda d: d.update({"params.1.max_exp_avg_sq": np.ones(4)}), "unexpected key"),
        (lambda d: d.update({"groups.0.lr": np.float64(-1)}), "lr must not be negative"),
        (lambda d: d.update({"cohort": np.array([0, 9])}), "do not belong together"),
        (lambda d: d.update({"steps": "many"}), "steps"),
    ],
)
def test_a_bad_state_dict_changes_nothing(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    params = [parameter(np.ones((2, 3)), "a"), parameter(np.ones(4), "b", "float32")]
    opt = optim.Adam(params)
    train(opt, 2)
    arrays: dict[str, Any] = opt.state_dict()
    train(opt, 1)
    before = opt.state_dict()
    change(arrays)
    with pytest.raises(graphc.GraphcError, match=message):
        opt.load_state_dict(arrays)
    with pytest.raises(InputError, match="expected a dict of arrays by name, got NoneType"):
        opt.load_state_dict(None)  # type: ignore[arg-type]
    assert_same(before, opt.state_dict())


def test_counters_of_cohorts_are_restored() -> None:
    a, b = parameter(1.0, "a"), parameter(1.0, "b").requires_grad_(False)
    opt = optim.Adam([a, b])
    train(opt, 4)
    b.requires_grad_()
    train(opt, 2)
    arrays = opt.state_dict()
    assert arrays["cohort"].tolist() == [0, 1] and arrays["ages"].tolist() == [6, 2]
    fresh = optim.Adam([parameter(1.0, "a"), parameter(1.0, "b")])
    fresh.load_state_dict(arrays)
    assert [int(fresh.ages[p].array) for p in fresh.parameters()] == [6, 2]
    built = optim.Adam([parameter(1.0, "a"), parameter(1.0, "b")])
    Step(built)
    with pytest.raises(InputError, match="load before the step is built"):
        built.load_state_dict(arrays)
