"""The public API, `compile` and what it returns: structures, arguments, modes, updates, element types.

`train_step` has tests/test_train_step.py, dumps and reports tests/test_inspection.py, bad calls tests/test_call_errors.py.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 3)).astype(np.float32)
B = RNG.standard_normal((3, 2)).astype(np.float32)


class Doubler(nn.Module):
    """Twice its input in training, its input otherwise."""

    def forward(self, x):
        return x * (2.0 if self.training else 1.0)


# --- what may be compiled, and what a call returns ---


def test_a_tensor_returns_a_fresh_array():
    x = graphc.input("x", (4, 3))
    f = graphc.compile(x @ B)
    first, second = f(x=A), f(x=A)
    assert isinstance(first, np.ndarray) and first is not second and first.dtype == np.float32
    assert np.allclose(first, A @ B, rtol=1e-6) and np.array_equal(first, second)
    first[:] = 0
    assert np.array_equal(f(x=A), second)


def test_an_input_or_a_state_as_output_is_a_copy():
    x, w = graphc.input("x", (4, 3)), graphc.state("w", B)
    y, v = graphc.compile([x, w])(x=A)
    assert np.array_equal(y, A) and not np.shares_memory(y, A)
    assert np.array_equal(v, B) and not np.shares_memory(v, w.numpy())


@pytest.mark.parametrize("traced", [False, True])
def test_the_call_returns_the_structure_given(traced):
    def build(x):
        return {"a": x + 1, "b": [x.sum(), (x, x * 2)], "none": []}

    f = graphc.compile(build) if traced else graphc.compile(build(graphc.input("x", (4, 3))))
    found = f(x=A)
    assert list(found) == ["a", "b", "none"] and found["none"] == []
    assert isinstance(found["b"], list) and isinstance(found["b"][1], tuple)
    assert np.array_equal(found["a"], A + 1) and np.array_equal(found["b"][1][1], A * 2)
    assert found["b"][0].shape == () and isinstance(found["b"][0], np.ndarray)


def test_functions_are_traced_once_for_each_signature():
    calls = []

    def f(a, b):
        calls.append((a.shape, b.dtype))
        return a * b

    g = graphc.compile(f)
    assert np.array_equal(g(A, A), A * A) and np.array_equal(g(a=A, b=A), A * A) and np.array_equal(g(A, b=A), A * A)
    assert len(calls) == 1
    assert np.array_equal(g(A[:2], A[:2]), A[:2] * A[:2])
    assert g(A, np.int32(2)).dtype == np.float32
    assert len(calls) == 3


def test_parameters_of_functions():
    assert np.array_equal(graphc.compile(lambda *a: a[0] + a[1])(A, A), A + A)
    assert np.array_equal(graphc.compile(lambda **a: a["p"] - a["q"])(q=A, p=2 * A), A)
    assert np.array_equal(graphc.compile(lambda a, *b, c=1, **d: a + b[0] + c + d["e"])(A, A, e=A), A + A + 1 + A)
    assert graphc.compile(lambda a, mode="sum": a.sum() if mode == "sum" else a)(A).shape == ()  # defaults are not inputs


def test_none_is_no_input_and_reaches_the_function():
    f = graphc.compile(lambda x, mask=2.0, *, bias=None: (x if mask is None else x * mask) if bias is None else x + bias)
    for _ in range(2):
        assert np.array_equal(f(A), 2 * A) and np.array_equal(f(A, None), A) and np.array_equal(f(A, mask=None), A)
        assert np.array_equal(f(A, 3.0), 3 * A) and np.array_equal(f(A, A, bias=None), A * A)
        assert np.array_equal(f(A, None, bias=A), 2 * A) and np.array_equal(f(x=A, mask=None, bias=A), 2 * A)
        assert np.array_equal(f(A.astype("f8"), None), A)
    for wrong in (lambda: f(None), lambda: f(x=None, mask=A), lambda: graphc.compile(lambda *a: a[0])(None)):
        with pytest.raises(graphc.DTypeError, match="input (x|a0): expected numbers, got NoneType"):
            wrong()
    attend = graphc.compile(nn.MultiheadAttention(4, 2))
    x = np.ones((3, 1, 4), np.float32)
    assert np.array_equal(attend(x, x, x)[0], attend(x, x, x, None)[0])


def test_modules_take_any_number_of_rows():
    model = nn.Linear(3, 2)
    predict = graphc.compile(model)
    for rows in (4, 1, 0):
        assert np.allclose(predict(A[:rows]), A[:rows] @ model.weight.numpy().T + model.bias.numpy(), atol=1e-6)
    assert predict(A[:0]).shape == (0, 2)
    assert np.array_equal(graphc.compile(model.forward)(A), predict(A))
    model.weight.numpy()[:] = 0  # a live view: no compilation between
    assert np.array_equal(predict(A), np.broadcast_to(model.bias.numpy(), (4, 2)))


def test_positional_calls_follow_inputs():
    x, y = graphc.input("x", (4, 3)), graphc.input("y", (3, 2))
    assert np.allclose(graphc.compile(x @ y, inputs=[y, x])(B, A), A @ B, rtol=1e-6)
    assert np.allclose(graphc.compile(x @ y, inputs=[y, x])(B, x=A), A @ B, rtol=1e-6)
    assert np.array_equal(graphc.compile(x, inputs=[x, y])(A, B), A)  # an input that nothing reads may be declared


def test_inputs_are_those_reachable_before_optimization():
    x, y = graphc.input("x", (3,)), graphc.input("y", (3,))
    f = graphc.compile(x + graphc.where(False, y, 0))
    assert [node.attrs["name"] for node in f.graph.inputs] == ["x", "y"]
    assert np.array_equal(f(x=[1, 2, 3], y=[0, 0, 0]), [1, 2, 3])


def test_out_is_filled():
    x = graphc.input("x", (4, 3))
    f = graphc.compile({"a": x + 1, "b": [x * 2]})
    out = {"a": np.empty_like(A), "b": [np.empty_like(A)]}
    assert f(x=A, out=out) is out
    assert np.array_equal(out["a"], A + 1) and np.array_equal(out["b"][0], A * 2)
    own = A.copy()
    assert graphc.compile(lambda x: x[::-1])(own, out=own) is own  # even over the input itself
    assert np.array_equal(own, A[::-1])


def test_named_tuples_and_the_order_of_out():
    class Pair(NamedTuple):
        low: Any
        high: Any

    x = graphc.input("x", (2,))
    f = graphc.compile({"pair": Pair(x - 1, x + 1), "x": x})
    result = f(x=[1, 2])
    assert isinstance(result["pair"], Pair) and result["pair"].high.tolist() == [2, 3]
    out = {"x": np.zeros(2, np.float32), "pair": Pair(np.zeros(2, np.float32), np.zeros(2, np.float32))}
    assert f(x=[1, 2], out=out) is out and out["x"].tolist() == [1, 2] and out["pair"].low.tolist() == [0, 1]
    with pytest.raises(graphc.InputError, match="structure"):
        f(x=[1, 2], out={"x": out["x"]})


def test_updates_are_all_that_a_call_writes():
    w, other = graphc.state("w", [1.0, 2.0]), graphc.state("other", [5.0, 5.0])
    x = graphc.input("x", (2,))
    f = graphc.compile(w + other, updates={w: w + x, other: w})
    assert np.array_equal(f(x=[10, 10]), [6, 7])  # reads see the values before the call
    assert np.array_equal(w.numpy(), [11, 12]) and np.array_equal(other.numpy(), [1, 2])
    graphc.compile([w * 2, other * 2])()
    assert np.array_equal(w.numpy(), [11, 12])
    assert np.array_equal(f(x=w.numpy()), [12, 14])  # an input that is the state itself
    assert np.array_equal(w.numpy(), [22, 24]) and np.array_equal(other.numpy(), [11, 12])
    graphc.compile([], updates={w: 0 * w})()
    assert np.array_equal(w.numpy(), [0, 0])


def test_updates_beside_a_function():
    """A value that depends on the arguments is a function of them; others are tensors."""
    total, calls = graphc.state("total", np.zeros(3, np.float32)), graphc.state("calls", 0)
    f = graphc.compile(lambda x, y=None: total + x, updates={total: lambda x, y=None: total + x.sum(0), calls: calls + 1})
    assert np.array_equal(f(A), A) and np.array_equal(f(x=A[:2]), A.sum(0) + A[:2])  # outputs are from before the update
    assert np.array_equal(total.numpy(), A.sum(0) + A[:2].sum(0)) and calls.numpy() == 2
    held = graphc.state("held", np.zeros(2))
    layer = nn.Linear(3, 2, dtype="float64")
    g = graphc.compile(layer, updates={held: lambda x: layer(x)[0]})
    assert np.array_equal(g(A)[0], held.numpy())


def test_states_of_one_name_are_two_states():
    a, b = graphc.state("w", [1.0]), graphc.state("w", [2.0])
    assert graphc.compile([a, b, a + b])() == [1.0, 2.0, 3.0]


# --- mode ---


def test_mode():
    module = Doubler()
    three = np.float32(3)
    assert graphc.compile(module)(three) == 3
    assert graphc.compile(module, training=True)(three) == 6
    w = nn.Parameter(1.0)
    assert graphc.train_step(lambda x: module(x) * w, optim.SGD([w]))(x=three) == 6
    x = graphc.input("x", ())
    assert graphc.compile(module(x))(x=3) == 6
    with nn.evaluating():
        evaluated = module(x)
    assert graphc.compile(evaluated)(x=3) == 3
    module.eval()
    assert graphc.compile(module, training=True)(three) == 3
    assert graphc.compile(module(x))(x=3) == 3


# --- element types ---


def test_declared_defaults():
    assert graphc.input("x", (2,)).dtype == np.float32
    assert graphc.input("x", (2,), "int32").dtype == np.int32
    assert [graphc.constant(v).dtype for v in (1, 1.5, True)] == [np.int64, np.float32, np.bool_]
    assert graphc.constant([1, 2], dtype="float64").dtype == np.float64
    assert graphc.state("s", np.zeros(2, np.float64)).dtype == np.float64


def test_operands_adopt_the_tensors_type_within_its_kind():
    f32, i32 = graphc.input("f", (2,)), graphc.input("i", (2,), "int32")
    for tensor, other, expected in [
        (f32, 2, "float32"),
        (f32, 2.5, "float32"),
        (f32, np.ones(2), "float32"),
        (f32, np.float64(2), "float32"),
        (f32, np.ones(2, np.int64), "float32"),
        (i32, 2, "int32"),
        (i32, np.ones(2, np.int64), "int32"),
        (i32, 2.5, "float32"),
        (i32, f32, "float32"),
        (i32, graphc.input("d", (2,), "float64"), "float64"),
        (i32, graphc.input("j", (2,), "int64"), "int64"),
        (f32, graphc.input("d", (2,), "float64"), "float64"),
    ]:
        assert (tensor + other).dtype == (other + tensor).dtype == expected, (tensor, other)
    assert i32.sum().dtype == np.int64 and f32.sum().dtype == np.float32
    assert (i32 / 2).dtype == np.float32 and (f32 > 0).dtype == np.bool_


def test_integer_and_cast_rules_hold_in_native_code():
    i = graphc.input("i", (4,), "int32")
    big = 2**31 - 1
    found = graphc.compile([i + 1, i // 0, i % 0, i // 2, i % 3])(i=[big, -7, 0, 5])
    assert found[0].tolist() == [-(2**31), -6, 1, 6]
    assert found[1].tolist() == found[2].tolist() == [0, 0, 0, 0]
    assert found[3].tolist() == [big // 2, -4, 0, 2] and found[4].tolist() == [big % 3, 2, 0, 2]
    x = graphc.input("x", (5,))
    cast = graphc.compile(x.astype("int32"))(x=[1e20, -1e20, np.nan, 2.9, -2.9])
    assert cast.tolist() == [big, -(2**31), 0, 2, -2]


def test_nan_and_infinity_propagate():
    x = graphc.input("x", (3,))
    values = [1.0, np.nan, np.inf]
    top, low, total, relu, both = graphc.compile([x.max(), x.min(), x.sum(), F.relu(x), graphc.maximum(x, 0)])(x=values)
    assert np.isnan([top, low, total]).all()
    assert np.array_equal(relu, [1, np.nan, np.inf], equal_nan=True) and np.array_equal(both, relu, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (1, 1)])
def test_empty_and_single_axes(shape):
    x = graphc.input("x", shape)
    value = np.ones(shape, np.float32)
    for tensor, expected in [
        (x * 2, value * 2),
        (x.sum(axis=0), value.sum(0)),
        (x.T, value.T),
        (x.reshape(-1), value.reshape(-1)),
    ]:
        assert np.array_equal(graphc.compile(tensor)(x=value), expected)
    assert np.array_equal(graphc.compile(graphc.grad((x * x).sum(), x))(x=value), value * 2)


def test_a_call_casts_as_numpys_same_kind():
    f = graphc.compile(graphc.input("x", (2,)) * 1)
    for value in (
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2]),
        np.array([1, 2], np.float16),
        np.array([1.0, 2.0]),
    ):
        assert np.array_equal(f(x=value), [1, 2])
    g = graphc.compile(graphc.input("i", (2,), "int32") * 1)
    for value in ([1, 2], np.array([1, 2], np.int64), np.array([1, 2], np.uint8), np.array([1, 2], np.uint64)):
        assert np.array_equal(g(i=value), [1, 2])


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a[::2], lambda a: a[:, ::-1], lambda a: a.astype(">f4")])
def test_any_layout_and_byte_order_is_taken(change):
    value = change(A)
    assert np.array_equal(graphc.compile(lambda x: x * 2)(value), np.asarray(value, np.float32) * 2)


def test_alignment_is_not_asked_for():
    raw = np.zeros(4 * 9 + 1, np.uint8)
    odd = raw[1:].view(np.float32)
    odd[:] = np.arange(9)
    assert np.array_equal(graphc.compile(lambda x: x * 2)(odd), np.arange(9) * 2)
    shifted = np.zeros(65, np.float32)[1:]  # aligned to 4 bytes only
    shifted[:] = np.arange(64)
    assert np.array_equal(graphc.compile(lambda x: x * 2)(shifted), np.arange(64) * 2)


# --- what a tensor is not ---


def test_a_compiled_step_is_neither_copied_nor_pickled():
    step = graphc.compile(graphc.input("x", 3) * 2).build()
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(graphc.InputError, match="holds machine code and cannot be copied or pickled"):
            way(step)


def test_a_tensor_has_no_value():
    x = graphc.input("x", (2,))
    for convert in (bool, float, int, np.asarray, np.array):
        with pytest.raises(graphc.GraphcError, match="has no value") as caught:
            convert(x.sum())
        assert isinstance(caught.value, TypeError)  # as Python says it of any object that is no number
    assert x.__array_ufunc__ is None
    assert (x == None, x != None) == (False, True)  # noqa: E711 - as in PyTorch
    assert isinstance(A[0, :2] * x, graphc.Tensor)
    with pytest.raises(TypeError):
        np.exp(x)
