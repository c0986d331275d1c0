"""Mistakes at the boundary: each raises a GraphcError that names what is wrong, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.arange(4, dtype=np.int32)


def fixed() -> tuple[nn.Linear, graphc.TrainStep]:
    model = nn.Linear(3, 4)
    x, y = graphc.input("x", (4, 3)), graphc.input("y", (4,), "int32")
    return model, graphc.train_step(F.cross_entropy(model(x), y), optim.Adam(model.parameters()))


def traced() -> tuple[nn.Linear, graphc.TrainStep]:
    model = nn.Linear(3, 4)
    step = graphc.train_step(lambda x, y: F.cross_entropy(model(x), y), optim.Adam(model.parameters()))
    step(X, Y)
    return model, step


MODEL, STEP = fixed()
TRACED_MODEL, TRACED = traced()
EVERYTHING = [state.array for step in (STEP, TRACED) for state in step.states()]

BAD_CALLS = [
    # values by name, the error, its message
    ({"x": X}, graphc.InputError, r"missing y: i32\[4\]\n  expected .*x: f32\[4,3\]"),
    ({}, graphc.InputError, r"missing (x: f32\[4,3\]|, |y: i32\[4\]){3}"),
    ({"x": X, "y": Y, "z": 1}, graphc.InputError, "unknown 'z'"),
    ({"x": X, "Y": Y}, graphc.InputError, "missing y: .*; unknown 'Y'"),
    ({"x": X[:3], "y": Y}, graphc.ShapeError, r"input x: expected f32\[4,3\], got shape \(3, 3\)"),
    ({"x": X[0], "y": Y}, graphc.ShapeError, r"input x: .* got shape \(3,\)"),  # nothing broadcasts
    ({"x": X.T, "y": Y}, graphc.ShapeError, r"input x: .* got shape \(3, 4\)"),
    ({"x": 3.0, "y": Y}, graphc.ShapeError, r"input x: .* got shape \(\)"),
    ({"x": X, "y": Y.astype(float)}, graphc.DTypeError, "input y: expected i32.*got float64"),
    ({"x": X, "y": [0.0, 1.0, 2.0, 3.0]}, graphc.DTypeError, "input y: expected i32.*got float64"),
    ({"x": X, "y": np.array([0, 1, 2, 2**31])}, graphc.InputError, "input y: .*the value 2147483648, out of range for int32"),
    ({"x": X, "y": np.array([0, 1, 2, 2**63], np.uint64)}, graphc.InputError, "input y: .*out of range for int32"),
    ({"x": X + 0j, "y": Y}, graphc.DTypeError, "input x: .*complex64"),
    ({"x": "pixels", "y": Y}, graphc.DTypeError, "input x: .*got str 'pixels'"),
    ({"x": np.full((4, 3), "a"), "y": Y}, graphc.DTypeError, "input x: .*<U1"),
    ({"x": X.astype(object), "y": Y}, graphc.DTypeError, "input x: .*object"),
    ({"x": None, "y": Y}, graphc.DTypeError, "input x: .*None"),
    ({"x": {}, "y": Y}, graphc.DTypeError, "input x: .*dict"),
    ({"x": X.astype("M8[s]"), "y": Y}, graphc.DTypeError, "input x: .*datetime64"),
    ({"x": [[1, 2, 3], [4]], "y": Y}, graphc.InputError, "input x: .*inhomogeneous"),
    ({"x": [[2**70] * 3] * 4, "y": Y}, graphc.GraphcError, "input x: .*64 bits|input x: .*out of range"),
    ({"x": graphc.input("x", (4, 3)), "y": Y}, graphc.GraphcError, "input x: .*Tensor"),
    ({"x": X, "y": np.array([0, 1, 2, 4])}, graphc.InputError, "cross_entropy: index 4 is out of range, expected 0 <= index < 4"),
    ({"x": X, "y": np.array([0, 1, -1, 3])}, graphc.InputError, "cross_entropy: index -1 is out of range"),
]
# a traced function is traced for what comes, and meets mistakes where they show
BAD_TRACED = [
    ({"x": X}, graphc.InputError, "missing a required argument: 'y'"),
    ({"x": X, "y": Y, "z": 1}, graphc.InputError, "unexpected keyword argument 'z'"),
    ({"x": X[:3], "y": Y}, graphc.ShapeError, r"cross_entropy: the target of scores \(3, 4\) must have shape \(3,\), got \(4,\)"),
    ({"x": X.T, "y": Y[:3]}, graphc.ShapeError, "linear: the input has 4 features, the weight expects 3"),
    ({"x": X, "y": Y.astype(float)}, graphc.GraphcError, "cross_entropy: "),
    ({"x": "pixels", "y": Y}, graphc.DTypeError, "input x: .*got str 'pixels'"),
    ({"x": None, "y": Y}, graphc.DTypeError, "input x: .*None"),
    ({"x": X.astype(object), "y": Y}, graphc.DTypeError, "input x: .*object"),
    ({"x": X, "y": [[1], [2, 3]]}, graphc.InputError, "input y: .*inhomogeneous"),
    ({"x": graphc.input("x", (4, 3)), "y": Y}, graphc.DTypeError, "input x: .*Tensor"),
    ({"x": X, "y": np.array([0, 1, 2, 4])}, graphc.InputError, "index 4 is out of range"),
]


def unchanged(call, error, message):
    before = [array.copy() for array in EVERYTHING]
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, graphc.GraphcError)
    assert all(np.array_equal(a, b) for a, b in zip(before, EVERYTHING, strict=True))


@pytest.mark.parametrize(("values", "error", "message"), BAD_CALLS)
def test_bad_inputs_of_a_fixed_step(values, error, message):
    unchanged(lambda: STEP(**values), error, message)


@pytest.mark.parametrize(("values", "error", "message"), BAD_TRACED)
def test_bad_inputs_of_a_traced_step(values, error, message):
    unchanged(lambda: TRACED(**values), error, message)


def test_errors_are_of_pythons_kinds_too():
    assert issubclass(graphc.ShapeError, ValueError) and issubclass(graphc.InputError, ValueError)
    assert issubclass(graphc.DTypeError, TypeError) and issubclass(graphc.ParseError, graphc.GraphcError)


def test_errors_of_declaration_say_where():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(3, 4)

        def forward(self, x):
            return self.fc1(x)

    with pytest.raises(graphc.ShapeError) as caught:
        Net()(graphc.input("x", (2, 5)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "linear: the input has 5 features, the weight expects 3"
    assert "x: f32[2,5]" in lines[1] and "f32[4,3]" in lines[1]
    assert "test_call_errors.py:" in lines[2] and "(module fc1)" in lines[2]
    with pytest.raises(graphc.ShapeError, match=r"matmul: inner dimensions differ, 784 != 768\n.*f32\[32,784\].*f32\[768,10\]"):
        graphc.input("x", (32, 784)) @ graphc.input("w", (768, 10))


A = graphc.input("a", (4, 3))
W = graphc.state("w", X)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: graphc.compile(A)(X), graphc.InputError, r"inputs are given by name \(a: f32\[4,3\]\)"),
        (lambda: graphc.compile(A, inputs=[A])(X, X), graphc.InputError, "expected 1 inputs"),
        (lambda: graphc.compile(A, inputs=[A])(X, a=X), graphc.InputError, "input a is given twice"),
        (lambda: graphc.compile(A, inputs=[]), graphc.InputError, "also depend on a"),
        (lambda: graphc.compile(A, inputs=[A, A]), graphc.InputError, "given twice"),
        (lambda: graphc.compile(A, inputs=A), graphc.InputError, "expected a list"),
        (lambda: graphc.compile(A, inputs=["a"]), graphc.InputError, "expected tensors made by graphc.input, got 'a'"),
        (lambda: graphc.compile(A + 1, inputs=[A + 1]), graphc.InputError, "expected tensors made by graphc.input"),
        (lambda: graphc.compile(lambda x: x, inputs=[A]), graphc.InputError, "a function's inputs are its arguments"),
        (lambda: graphc.compile([A, graphc.input("a", (2,))]), graphc.InputError, "two inputs are named 'a'.*declared at"),
        (lambda: graphc.compile(graphc.input("out", (2,))), graphc.InputError, "cannot be named 'out'"),
        (lambda: graphc.compile(3), graphc.InputError, "expected a tensor, or a list.*got int"),
        (lambda: graphc.compile(None), graphc.InputError, "got NoneType"),
        (lambda: graphc.compile(lambda x: None)(X), graphc.InputError, "got NoneType"),
        (lambda: graphc.compile(A, updates={A: A}), graphc.InputError, "expected a state"),
        (lambda: graphc.compile(A, updates={W: W.astype("f8")}), graphc.DTypeError, r"its new value f64\[4,3\]"),
        (lambda: graphc.compile(A, updates={W: W[0]}), graphc.ShapeError, r"state w is f32\[4,3\], its new value f32\[3\]"),
        (lambda: graphc.compile(A, updates=[W]), graphc.InputError, "expected a dict"),
        (lambda: graphc.compile(A, updates={W: lambda a: W + a}), graphc.InputError, "w is a function; with tensors .* a tensor"),
        (lambda: graphc.compile(lambda x: x, updates={A: A}), graphc.InputError, "expected a state"),
        (
            lambda: graphc.compile(lambda x: x, updates={W: A + W})(X),
            graphc.InputError,
            "depends on the input a, .* a function of",
        ),
        (lambda: graphc.compile(lambda x: x, updates={W: lambda x: x[0]})(X), graphc.ShapeError, r"its new value f32\[3\]"),
        (lambda: graphc.compile(A, threads=0), graphc.InputError, "threads is a positive integer"),
        (lambda: graphc.compile(A, seed=-1), graphc.InputError, "seed is a non-negative integer"),
        (lambda: graphc.compile(A, options={}), graphc.InputError, "options is a graphc.Options"),
        (lambda: graphc.compile(A)(a=X, out=np.empty((3, 4), np.float32)), graphc.ShapeError, r"out\[0\]: expected .*f32\[4,3\]"),
        (lambda: graphc.compile(A)(a=X, out=np.empty((4, 3))), graphc.DTypeError, "out.*float64"),
        (lambda: graphc.compile(A)(a=X, out=[np.empty_like(X)]), graphc.InputError, "out: its structure"),
        (lambda: graphc.compile(A)(a=X, out=np.empty((3, 4), np.float32).T), graphc.InputError, "out.*C-contiguous"),
    ],
)
def test_bad_arguments_of_compile(call, error, message):
    unchanged(call, error, message)


LOSS = F.mse_loss(MODEL(A), np.zeros((4, 4)))
OPT = optim.SGD(MODEL.parameters())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: graphc.train_step(MODEL(A), OPT), graphc.ShapeError, r"the loss must be a scalar, got f32\[4,4\]"),
        (lambda: graphc.train_step(A.astype("int32").sum(), OPT), graphc.DTypeError, "the loss must be a float, got i64"),
        (lambda: graphc.train_step(None, OPT), graphc.InputError, "loss is a scalar tensor or a function"),
        (lambda: graphc.train_step(lambda x: 3.0, OPT)(X), graphc.InputError, "must return a scalar tensor.*not float"),
        (lambda: graphc.train_step(lambda x: (LOSS, A, A), OPT)(X), graphc.InputError, r"or \(loss, outputs\), not tuple"),
        (lambda: graphc.train_step(LOSS, None), graphc.InputError, "opt is an optimizer of graphc.optim, not NoneType"),
        (lambda: graphc.train_step(LOSS, MODEL.parameters()), graphc.InputError, "opt is an optimizer"),
        (lambda: graphc.train_step(A.sum(), OPT), graphc.InputError, "depends on none of the optimizer's parameters"),
        (lambda: graphc.train_step(W.sum(), optim.SGD([W])), graphc.InputError, r"requires a gradient; requires_grad_\(\)"),
        (lambda: graphc.train_step(LOSS, OPT, accumulate=0), graphc.InputError, "accumulate is a positive integer"),
        (lambda: graphc.train_step(LOSS, OPT, transform=1.0), graphc.InputError, "transform is a function"),
        (lambda: graphc.train_step(LOSS, OPT, transform=lambda g: g[:1]), graphc.InputError, "must return a list of 2"),
        (lambda: graphc.train_step(LOSS, OPT, transform=lambda g: [g[1], g[0]]), graphc.InputError, "as the gradient of weight"),
        (lambda: graphc.train_step(lambda x: LOSS, OPT, outputs=A), graphc.InputError, "outputs: a loss function returns"),
        (lambda: optim.SGD([]), graphc.InputError, "params is empty"),
        (lambda: optim.SGD(MODEL.parameters(), lr=-1.0), graphc.InputError, "lr must not be negative"),
        (lambda: optim.SGD([MODEL.weight, MODEL.weight]), graphc.InputError, "parameter weight .* is given twice"),
        (lambda: optim.SGD(MODEL), graphc.InputError, "params must be an iterable"),
        (lambda: setattr(OPT, "lr", "fast"), graphc.InputError, "lr must be a number"),
        (lambda: graphc.grad(A, A), graphc.ShapeError, "grad: the loss must be a scalar"),
        (lambda: graphc.grad(A.astype("int32").sum(), A), graphc.DTypeError, "only float tensors have gradients"),
    ],
)
def test_bad_arguments_of_train_step(call, error, message):
    unchanged(call, error, message)


def test_a_failed_check_names_the_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(5, 3)

        def forward(self, at):
            return self.words(at).sum()

    with pytest.raises(graphc.InputError, match=r"index 5 is out of range.*\n  declared at \S*py:\d+ \(module words\)\Z"):
        graphc.compile(Net())([1, 5])


def test_a_failed_check_stores_nothing_even_in_later_kernels():
    table, count = graphc.state("table", np.ones((5, 2))), graphc.state("count", 0)
    i = graphc.input("i", (3,), "int32")
    picked = F.embedding(i, table) if hasattr(F, "embedding") else None
    loss = F.cross_entropy(graphc.input("z", (3, 5)), i)
    f = graphc.compile(loss if picked is None else [loss, picked], updates={count: count + 1, table: table * 2})
    z = np.zeros((3, 5), np.float32)
    for labels in ([0, 5, 1], [-7, 0, 0]):
        with pytest.raises(graphc.InputError, match="out of range"):
            f(z=z, i=labels)
    assert count.numpy() == 0 and (table.numpy() == 1).all()
    f(z=z, i=[0, 4, 1])
    assert count.numpy() == 1 and (table.numpy() == 2).all()


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3) | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2) | st.tuples(inner, inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["x", "y", "z", "", "é"]), garbage, max_size=3))
def test_garbage_at_the_call_boundary_raises_a_graphc_error(values):
    unchanged(lambda: STEP(**values), graphc.GraphcError, None)


@given(garbage)
def test_garbage_to_a_traced_function_works_or_raises_a_graphc_error(value):
    try:
        graphc.compile(lambda x: x * 1).build(value)
    except graphc.GraphcError:
        pass
