"""Differentiation: grad, vjp, jvp, stop_gradient, custom_vjp, higher orders, and the size theorem.

That each op's backward function is right is tested over the whole registry in `test_ops.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import DTypeError, InputError, ShapeError
from graphc.cost import total_flops
from graphc.graph import Graph, topological
from graphc.interp import run_graph
from graphc.options import Options
from graphc.passes.pipeline import GRAPH_PASSES, run_passes
from graphc.tensor import Tensor

RNG = np.random.default_rng(0)


def f64(name: str, *shape: int) -> Tensor:
    return graphc.input(name, shape, "float64")


def run(outputs: Tensor | list[Tensor], **arrays: Any) -> Any:
    """Values of tensors, by the interpreter."""
    many = [outputs] if isinstance(outputs, Tensor) else outputs
    nodes = [node for node in topological(t.node for t in many) if node.op.name == "input"]
    given = {node.attrs["name"]: np.asarray(arrays[node.attrs["name"]], node.type.dtype) for node in nodes}
    values, _ = run_graph(Graph(tuple(nodes), tuple(t.node for t in many)), given)
    return values[0] if isinstance(outputs, Tensor) else list(values)


# --- gradients by hand ---


def test_linear_regression() -> None:
    x, w, y = f64("x", 5, 3), f64("w", 1, 3), f64("y", 5, 1)
    residual = x @ w.T - y
    arrays = {"x": RNG.standard_normal((5, 3)), "w": RNG.standard_normal((1, 3)), "y": RNG.standard_normal((5, 1))}
    gradient = run(graphc.grad(0.5 * (residual * residual).mean(), w), **arrays)
    by_hand = (arrays["x"] @ arrays["w"].T - arrays["y"]).T @ arrays["x"] / 5
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-12)


def test_softmax_regression() -> None:
    """The gradient with respect to the logits is softmax(z) - e_y."""
    z, y = f64("z", 4), f64("y", 4)
    value = RNG.standard_normal(4)
    gradient = run(graphc.grad(graphc.logsumexp(z) - (z * y).sum(), z), z=value, y=[0, 0, 1, 0])
    np.testing.assert_allclose(gradient, np.exp(value) / np.exp(value).sum() - [0, 0, 1, 0], rtol=1e-12)


@pytest.mark.parametrize("z", [-1e4, -40.0, 0.0, 40.0, 1e4])
def test_stable_logistic_loss(z: float) -> None:
    """softplus(z) - y z from logits, written without overflow: its derivative is sigmoid(z) - y everywhere."""
    x = f64("x")
    softplus = graphc.maximum(x, 0) + graphc.log1p(graphc.exp(-abs(x)))
    value, gradient = run([softplus - x, graphc.grad(softplus - x, x)], x=z)
    sigmoid = 1 / (1 + np.exp(-z)) if z > -700 else 0.0
    assert value == pytest.approx(max(z, 0) + np.log1p(np.exp(-abs(z))) - z, abs=1e-12)
    if z != 0:  # at 0 max and |x| have kinks, whose halves cancel to the right value only by luck
        assert gradient == pytest.approx(sigmoid - 1, abs=1e-12)


# --- structure ---


def test_the_result_is_structured_as_the_question() -> None:
    x, y = f64("x", 3), f64("y", 3)
    loss = (x * y).sum()
    assert isinstance(graphc.grad(loss, x), Tensor)
    assert isinstance(graphc.grad(loss, [x]), list)
    gx, gy = run(graphc.grad(loss, (x, y)), x=[1, 2, 3], y=[4, 5, 6])
    assert gx.tolist() == [4, 5, 6] and gy.tolist() == [1, 2, 3]
    assert graphc.grad(loss, []) == []


def test_gradients_of_several_uses_add_up() -> None:
    x = f64("x")
    assert run(graphc.grad(x * x + 3 * x + x, x), x=2.0) == 8
    assert run(graphc.grad(x, x), x=2.0) == 1
    assert run(graphc.grad(x, [x, x]), x=2.0) == [1, 1]


def test_unreached_inputs_get_zeros() -> None:
    x, y = f64("x", 2), graphc.input("y", (3,))
    gradient = graphc.grad(x.sum(), y)
    assert str(gradient.type) == "f32[3]"
    assert run(gradient).tolist() == [0, 0, 0]


def test_with_respect_to_a_computed_tensor_and_a_state() -> None:
    x, w = f64("x", 2), graphc.state("w", np.array([3.0, 4.0]))
    h = x * w
    gh, gw, gx = run(graphc.grad((h * h).sum(), [h, w, x]), x=[1.0, 2.0])
    assert gh.tolist() == [6, 16] and gw.tolist() == [6, 32] and gx.tolist() == [18, 64]


def test_integers_and_comparisons_carry_no_gradient() -> None:
    x = f64("x", 3)
    assert run(graphc.grad((x * (x > 0)).sum(), x), x=[-1, 2, 3]).tolist() == [0, 1, 1]
    assert run(graphc.grad(x.astype("int32").astype("float64").sum(), x), x=[1.5, 2, 3]).tolist() == [0, 0, 0]


def test_gradients_through_casts_keep_the_dtype() -> None:
    x = graphc.input("x", (3,))
    gradient = graphc.grad((x.astype("float64") ** 2).sum(), x)
    assert gradient.dtype == np.float32
    assert run(gradient, x=[1, 2, 3]).tolist() == [2, 4, 6]


def test_origins_name_the_forward_node() -> None:
    x = f64("x", 3)
    y = graphc.tanh(x)
    gradient = graphc.grad(y.sum(), x)
    assert [(origin.op, origin.node) for origin in gradient.node.origins] == [("tanh", y.node)]
    assert gradient.node.loc == y.node.loc


def test_kinks_follow_pytorch() -> None:
    x = f64("x", 3)
    at = {"x": [-1.0, 0.0, 2.0]}
    assert run(graphc.grad(graphc.maximum(x, 0).sum(), x), **at).tolist() == [0, 0.5, 1]
    assert run(graphc.grad(abs(x).sum(), x), **at).tolist() == [-1, 0, 1]
    assert run(graphc.grad(x.max(), x), x=[2.0, 1.0, 2.0]).tolist() == [0.5, 0, 0.5]
    assert run(graphc.grad(graphc.prod(x), x), x=[2.0, 0.0, 3.0]).tolist() == [0, 6, 0]
    assert run(graphc.grad((x**0.0).sum() + (x**3.5).sum(), x), x=[0.0, 0.0, 1.0]).tolist() == [0, 0, 3.5]


# --- vjp and jvp ---


def test_vjp_of_several_outputs() -> None:
    x = f64("x", 2)
    assert run(graphc.vjp([x * x, x.sum()], x, [np.array([1.0, 10.0]), 5.0]), x=[3.0, 4.0]).tolist() == [11, 85]
    assert run(graphc.vjp(x * x, x), x=[3.0, 4.0]).tolist() == [6, 8]


def test_jvp() -> None:
    x, y = f64("x", 2), f64("y", 2)
    out = [x * y, x.sum()]
    xy, total = run(graphc.jvp(out, [x, y], [[1.0, 0.0], [0.0, 1.0]]), x=[3.0, 4.0], y=[5.0, 6.0])
    assert xy.tolist() == [5, 4] and total == 1
    assert isinstance(graphc.jvp(x * x, x, graphc.ones_like(x)), Tensor)
    assert run(graphc.jvp(x, y, np.ones(2)), x=[1, 2], y=[1, 2]).tolist() == [0, 0]


def test_jvp_and_vjp_are_adjoint() -> None:
    x = f64("x", 4, 3)
    y = graphc.tanh(x @ x.T) / (1 + graphc.exp(x[:, :1]))
    u, v, at = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 4)), RNG.standard_normal((4, 3))
    forward, backward = run([graphc.jvp(y, x, u), graphc.vjp(y, x, v)], x=at)
    np.testing.assert_allclose((forward * v).sum(), (backward * u).sum(), rtol=1e-12)


# --- stop_gradient and custom_vjp ---


def test_stop_gradient() -> None:
    x = f64("x")
    assert run([x * graphc.stop_gradient(x), graphc.grad(x * graphc.stop_gradient(x), x)], x=3.0) == [9, 3]


def test_custom_vjp() -> None:
    clipped = graphc.custom_vjp(lambda x: x * 1.0, lambda v, x: graphc.clip(v, -1.0, 1.0))
    x = f64("x", 2)
    assert run(graphc.grad((clipped(x) * [0.5, 7.0]).sum(), x), x=[1.0, 1.0]).tolist() == [0.5, 1]


def test_custom_vjp_of_two_inputs_to_second_order() -> None:
    product = graphc.custom_vjp(lambda x, y: x * y, lambda v, x, y: (v * y, v * x))
    x, y = f64("x"), f64("y")
    z = product(x, y) * product(x, x)  # x**3 y
    gx, gy = graphc.grad(z, [x, y])
    assert run([gx, gy, graphc.grad(gx, x), graphc.grad(gx, y)], x=2.0, y=3.0) == [36, 8, 36, 12]
    none = graphc.custom_vjp(lambda x, y: x * y, lambda v, x, y: (v, None))
    assert run(graphc.grad(none(x, y), [x, y]), x=2.0, y=3.0) == [1, 0]


def test_the_gradient_of_a_standard_deviation_of_0_is_0() -> None:
    x = f64("x", 2, 3)
    value, gradient = run([x.std(axis=1), graphc.grad(x.std(axis=1).sum(), x)], x=[[1, 1, 1], [1, 2, 3]])
    assert np.allclose(value, [0, np.sqrt(2 / 3)]) and (gradient[0] == 0).all() and gradient[1][2] > 0
    assert np.isnan(run(f64("e", 0).std(), e=np.zeros(0)))


def test_custom_vjp_takes_numbers_and_arrays_for_gradients() -> None:
    x = f64("x", 3)
    for given in (np.array([1.0, 2.0, 3.0]), [np.array([1, 2, 3])]):
        h = graphc.custom_vjp(lambda x: x * x, lambda v, x, given=given: given)
        assert run(graphc.grad(h(x).sum(), x)).tolist() == [1, 2, 3]
    with pytest.raises(ShapeError, match="custom_vjp: backward returned f64"):
        graphc.grad(graphc.custom_vjp(lambda x: x, lambda v, x: 3.0)(x).sum(), x)
    with pytest.raises(DTypeError, match="expected numbers, got str"):
        graphc.grad(graphc.custom_vjp(lambda x: x, lambda v, x: "a")(x).sum(), x)
    for f, backward in ((3, lambda v, x: v), (lambda x: x, None), (x, lambda v, x: v)):
        with pytest.raises(InputError, match="is a function of tensors, not"):
            graphc.custom_vjp(f, backward)


def test_custom_vjp_says_what_is_wrong() -> None:
    x = f64("x", 2)
    with pytest.raises(InputError, match="backward returned 2 gradients for 1 inputs"):
        graphc.grad(graphc.custom_vjp(lambda x: x, lambda v, x: (v, v))(x).sum(), x)
    with pytest.raises(ShapeError, match=r"backward returned f64\[\] for an input of type f64\[2\]"):
        graphc.grad(graphc.custom_vjp(lambda x: x, lambda v, x: v.sum())(x).sum(), x)
    with pytest.raises(InputError, match="must return a tensor, got int"):
        graphc.custom_vjp(lambda x: 1, lambda v, x: v)(x)


# --- higher orders ---


def test_derivatives_of_any_order() -> None:
    x = f64("x")
    derivative = graphc.exp(2 * x) + x**5
    for _ in range(4):
        derivative = graphc.grad(derivative, x)
    assert run(derivative, x=0.5) == pytest.approx(16 * np.exp(1) + 120 * 0.5, rel=1e-12)


def test_hessian_vector_product() -> None:
    """Of a logistic regression, against XᵀDX v by hand; forward over reverse agrees with reverse over reverse."""
    x, w, v = RNG.standard_normal((7, 3)), f64("w", 3), RNG.standard_normal(3)
    z = x @ w
    gradient = graphc.grad(graphc.log1p(graphc.exp(z)).sum(), w)
    reverse, forward = graphc.grad((gradient * v).sum(), w), graphc.jvp(gradient, w, v)
    at = RNG.standard_normal(3)
    s = 1 / (1 + np.exp(-x @ at))
    by_hand = x.T @ (s * (1 - s) * (x @ v))
    for product in run([reverse, forward], w=at):
        np.testing.assert_allclose(product, by_hand, rtol=1e-12)


# --- errors ---


def test_errors() -> None:
    x, i = f64("x", 3), graphc.input("i", (), "int64")
    with pytest.raises(ShapeError, match=r"the loss must be a scalar, got f64\[3\]"):
        graphc.grad(x, x)
    with pytest.raises(DTypeError, match="only float tensors have gradients, got i64"):
        graphc.grad(i, x)
    with pytest.raises(DTypeError, match=r"\Agrad: only float tensors have gradients, got i64"):
        graphc.grad(x.sum(), i)
    with pytest.raises(InputError, match="the loss is a scalar tensor, not list"):
        graphc.grad([x.sum()], x)
    with pytest.raises(InputError, match="expected a tensor or a list of tensors, got str"):
        graphc.grad(x.sum(), "x")
    with pytest.raises(InputError, match="expected tensors, got float"):
        graphc.grad(x.sum(), [1.0])
    with pytest.raises(InputError, match="1 cotangents or tangents for 2 tensors"):
        graphc.vjp([x, x], x, [x])
    with pytest.raises(ShapeError, match="has the shape of its tensor"):
        graphc.jvp(x, x, np.ones(4))


# --- size ---


def dense(depth: int, width: int, batch: int) -> tuple[Tensor, list[Tensor]]:
    h = graphc.input("x", (batch, width))
    weights: list[Tensor] = []
    for k in range(depth):
        w, b = graphc.input(f"w{k}", (width, width)), graphc.input(f"b{k}", (width,))
        weights += [w, b]
        h = graphc.tanh(h @ w.T + b)
    return (h * h).mean(), weights


def chain(function: Callable[[Tensor], Tensor]) -> Callable[[int], tuple[Tensor, list[Tensor]]]:
    def model(depth: int) -> tuple[Tensor, list[Tensor]]:
        x = graphc.input("x", (64, 32))
        y = x
        for _ in range(depth):
            y = function(y)
        return y.sum(), [x]

    return model


def attention(x: Tensor) -> Tensor:
    scores = x @ x.T / 8.0
    weights = graphc.exp(scores - graphc.logsumexp(scores, axis=1, keepdims=True))
    return x + weights @ x


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred * graphc.rsqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5)


def convolutions(stride: int) -> Callable[[int], tuple[Tensor, list[Tensor]]]:
    def model(depth: int) -> tuple[Tensor, list[Tensor]]:
        x = graphc.input("x", (2, 8, stride ** (depth // 4) * 8))
        weights = [graphc.input(f"w{i}", (8, 8, 5)) for i in range(depth)]
        y = x
        for i, w in enumerate(weights):
            y = graphc.tanh(F.conv1d(y, w, stride=stride if i % 4 == 0 else 1, padding=2))
        return y.sum(), [x, *weights]

    return model


MODELS: dict[str, Callable[[int], tuple[Tensor, list[Tensor]]]] = {
    "dense": lambda depth: dense(depth, 48, 32),
    "attention": chain(attention),
    "layer norm": chain(layer_norm),
    "activations": chain(lambda x: graphc.sigmoid(x) * graphc.maximum(x, 0.1 * x)),
    "rolling": chain(lambda x: graphc.tanh(graphc.concat([x[1:], x[:1]]))),
    "convolutions": convolutions(1),
    "strided convolutions": convolutions(2),
    "gather": chain(lambda x: x + graphc.take(x, np.arange(64)[::-1].copy(), axis=0)),
}


@pytest.mark.parametrize("name", MODELS)
def test_size_theorem(name: str) -> None:
    """The gradient's graph has O(N) nodes and, once simplified, about four times the forward's operations at most."""
    sizes, ratios = [], []
    for depth in (4, 8, 16):
        loss, wrt = MODELS[name](depth)
        inputs = tuple(node for node in topological([loss.node]) if node.op.name == "input")
        forward, both = (
            run_passes(Graph(inputs, outputs), Options(), passes=GRAPH_PASSES)[-1].ir
            for outputs in ((loss.node,), (loss.node, *(g.node for g in graphc.grad(loss, wrt))))
        )
        assert isinstance(forward, Graph) and isinstance(both, Graph)
        sizes.append(len(both.nodes) / len(forward.nodes))
        ratios.append(total_flops(both) / total_flops(forward))
    assert max(ratios) <= 5  # the forward's own operations and four times as many
    assert max(sizes) <= 6
    assert sizes[2] <= 1.1 * sizes[1]  # linear in the depth


def test_a_chain_of_100_000_nodes() -> None:
    start = time.perf_counter()
    x = f64("x")
    y = x
    for _ in range(100_000):
        y = graphc.sin(y)
    gradient = graphc.grad(y, x)
    graph = Graph((x.node,), (y.node, gradient.node))
    assert len(graph.nodes) > 300_000
    (value, slope), _ = run_graph(graph, [np.array(1.0)])
    assert 0 < value < 0.01 and 0 < slope < 1e-3
    assert time.perf_counter() - start < 60
