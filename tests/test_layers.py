"""Layers, normalization and reshaping modules: values, gradients of first and second order, mistakes."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from numeric import call, check_gradients

import graphc
import graphc.nn.functional as F
from graphc import nn


def test_flatten_and_unflatten() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for dims in ((1, -1), (0, -1), (0, 1), (1, 1)):
        start, end = dims[0], dims[1] % 3
        expected = x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])
        assert np.array_equal(call(nn.Flatten(*dims), x), expected)
    assert call(nn.Flatten(0), np.float32(2)).shape == (1,) and call(nn.Flatten(), np.zeros((0, 3, 2))).shape == (0, 6)
    for sizes in ((2, 2), (-1, 2), (4, -1), [1, 4]):
        assert np.array_equal(call(nn.Unflatten(2, sizes), x), x.reshape(2, 3, *sizes))
    with pytest.raises(graphc.ShapeError, match="does not unflatten"):
        call(nn.Unflatten(2, (3, 2)), x)
    with pytest.raises(graphc.ShapeError, match="start_dim 2 comes after end_dim 0"):
        call(nn.Flatten(2, 0), x)
    identity = nn.Identity(54, unused=True)
    assert identity(x) is x


def test_linear_and_its_mistakes() -> None:
    layer = nn.Linear(3, 2, dtype="float64")
    for shape in ((3,), (4, 3), (2, 5, 3), (0, 3)):
        x = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_allclose(call(layer, x), x @ layer.weight.array.T + layer.bias.array)
    assert nn.Linear(3, 2, bias=False).bias is None and nn.Linear(3, 2).weight.dtype == np.float32
    model = nn.Sequential(OrderedDict(fc1=nn.Linear(784, 10)))
    with pytest.raises(graphc.ShapeError) as caught:
        model(graphc.input("x", (32, 768)))
    text = str(caught.value)
    assert "linear: the input has 768 features, the weight expects 784" in text
    assert "x: f32[32,768]   fc1.weight: f32[10,784]" in text and "test_layers.py" in text and "(module fc1)" in text
    for arguments in ((-1, 2), (2.0, 2), (2, True)):
        with pytest.raises(graphc.InputError, match="Linear: .*features must be an integer, at least 0"):
            nn.Linear(*arguments)
    with pytest.raises(graphc.DTypeError, match="Linear: dtype must be float32 or float64"):
        nn.Linear(2, 2, dtype="int32")


def test_bilinear() -> None:
    layer = nn.Bilinear(3, 4, 2, dtype="float64")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    np.testing.assert_allclose(call(layer, a, b), np.einsum("ni,oij,nj->no", a, layer.weight.array, b) + layer.bias.array)
    check_gradients(layer, a, b, order=1)
    with pytest.raises(graphc.ShapeError, match=r"bilinear: expected inputs \(..., in1\)"):
        call(layer, a, b[:4])


def test_layer_norm() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (2, 3, 5))
    layer = nn.LayerNorm((3, 5), 1e-3, dtype="float64")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    np.testing.assert_allclose(call(layer, x), (x - mean) / np.sqrt(variance + 1e-3) * layer.weight.array + layer.bias.array)
    check_gradients(layer, x[:1])
    check_gradients(lambda x, w, b: F.layer_norm(x, 5, w, b), x[0, :2], rng.normal(size=5), rng.normal(size=5))
    assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"] and not list(
        nn.LayerNorm(4, elementwise_affine=False).parameters()
    )
    one = nn.LayerNorm(1)
    assert np.array_equal(call(one, np.array([[3.0], [5.0]], "f4")), [[0], [0]])
    with pytest.raises(graphc.ShapeError, match=r"layer_norm: expected an input that ends in axes of sizes \(3, 5\)"):
        call(layer, x[..., :4])


def test_layer_norm_forgets_the_scale_of_a_linear_map() -> None:
    layer = nn.Linear(4, 6, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 4))
    before = call(lambda x: F.layer_norm(layer(x), 6, eps=1e-12), x)
    for parameter in layer.parameters():
        parameter.array[...] *= 37.0
    np.testing.assert_allclose(call(lambda x: F.layer_norm(layer(x), 6, eps=1e-12), x), before, rtol=1e-9)


def test_stated_derivatives_survive_the_text_of_a_graph() -> None:
    x = graphc.input("x", (2, 3))
    y = F.layer_norm(F.softplus(x), 3)
    graph = graphc.graph.Graph((x.node,), (y.node,))
    again = graphc.parse(str(graph))
    assert str(again) == str(graph)
    g = graphc.grad(graphc.Tensor(again.outputs[0])[0, 0], graphc.Tensor(again.inputs[0]))
    assert g.shape == (2, 3)


@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
def test_normalize(p: float) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    x[1] = 0
    norm = np.linalg.norm(x, p, axis=1, keepdims=True)
    np.testing.assert_allclose(call(lambda x: F.normalize(x, p), x), x / np.maximum(norm, 1e-12))
    check_gradients(lambda x: F.normalize(x, p), x[::2], order=2 if p in (2, 3) else 1)
    assert np.isnan(call(lambda x: F.normalize(x, p), np.array([[np.nan, 1.0]]))).all()
    with pytest.raises(graphc.InputError, match="normalize: p must be at least 1, got 0.5"):
        F.normalize(graphc.input("x", (2, 2)), 0.5)
