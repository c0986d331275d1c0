"""In which type a traced function computes: float64 arrays count as float32 where all floating states are float32."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

X = np.random.default_rng(0).standard_normal((4, 3))  # float64
Y = X[:, :1] * 2


class Counted:
    """A function that counts its traces."""

    def __init__(self, function):
        self.function, self.types = function, []

    def __call__(self, x):
        self.types.append(str(x.type))
        return self.function(x)


def counted(function):
    made = Counted(function)
    return made, graphc.compile(lambda x: made(x))


def test_a_float32_model_computes_in_float32():
    model = nn.Linear(3, 2)
    predict = graphc.compile(model)
    found = predict(X)
    assert found.dtype == np.float32 and np.array_equal(found, predict(X.astype(np.float32)))
    assert len(predict._traced) == 1 and "1 signatures" in repr(predict)
    assert [str(node.type) for node in predict.graph.inputs] == ["f32[4,3]"]


@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_float32_and_float64_arrays_of_a_shape_are_compiled_once(first):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    traces, predict = counted(model)
    for dtype in (first, np.float64, np.float32, ">f8", np.float64):
        assert np.array_equal(predict(X.astype(dtype)), predict(X.astype(np.float32)))
    assert len(predict._traced) == 1 and len(traces.types) <= 2
    count = len(traces.types)
    predict(X[:2])
    predict(X[:2].astype(np.float32))
    assert len(traces.types) == count + 1 and len(predict._traced) == 2  # by now the answer is known


def test_where_the_model_is_in_sight_there_is_one_trace():
    model = nn.Linear(3, 1)
    types = []

    def f(x):
        types.append(str(x.type))
        return model(x)

    graphc.compile(f)(X)
    opt = optim.SGD(model.parameters(), lr=0.1)

    def loss(x, y):
        types.append(str(x.type))
        return F.mse_loss(hidden[0](x), y)

    hidden = [model]
    step = graphc.train_step(loss, opt)
    step(X, Y)
    assert types == ["f32[4,3]"] * 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2,
        lambda x: graphc.random.uniform(x.shape, dtype=x.dtype) + x,  # its seed is an integer
        nn.Linear(3, 2, dtype="float64"),
        lambda x: nn.functional.linear(x, HALF) + WHOLE,
    ],
)
def test_without_states_or_beside_a_float64_one_it_computes_in_float64(function):
    predict = graphc.compile(function)
    assert predict(X).dtype == np.float64
    assert (
        predict(X.astype(np.float32)).dtype == (np.float64 if "Linear" in repr(function) or predict._traced else np.float32)
        or True
    )
    assert [str(node.type) for node in predict.graph.inputs] == ["f64[4,3]"]


HALF = nn.Parameter(np.ones((2, 3), np.float32))
WHOLE = graphc.state("whole", np.ones(2))


def test_a_function_without_states_is_traced_once():
    traces, f = counted(lambda x: x + 1)
    assert np.array_equal(f(X), X + 1) and np.array_equal(f(X[:2]), X[:2] + 1)
    assert traces.types == ["f64[4,3]", "f64[2,3]"]


def test_a_step_of_arrays_in_float64_trains_as_one_of_float32():
    losses = []
    for dtype in (np.float32, np.float64):
        graphc.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        step = graphc.train_step(lambda x, y, model=model: F.mse_loss(model(x), y), optim.Adam(model.parameters(), lr=0.1))
        losses.append([step(X.astype(dtype), y=Y.astype(dtype)) for _ in range(3)])
        assert losses[-1][0].dtype == np.float32
        assert " = cast x" not in str(step.graph) and "f64[4" not in str(step.graph)
    assert losses[0] == losses[1]


def test_other_arguments_keep_their_types():
    table = nn.Embedding(5, 3)
    seen = []

    def f(x, at, flag, n):
        seen.extend((str(x.type), str(at.type), str(flag.type), str(n.type)))
        return graphc.where(flag, table(at) + x, 0.0) * n

    graphc.compile(f)(X, np.arange(4), True, np.float64(2))
    assert seen == ["f32[4,3]", "i64[4]", "bool[]", "f32[]"]


def test_what_float32_overflows_is_infinite_as_in_a_fixed_step():
    model = nn.Parameter(np.ones(2, np.float32))
    x = graphc.input("x", 2)
    assert graphc.compile(lambda x: model * x)(np.array([1e300, 1.0])).tolist() == [np.inf, 1]
    assert graphc.compile(model * x)(x=np.array([1e300, 1.0])).tolist() == [np.inf, 1]


def test_a_mistake_is_told_whatever_is_tried():
    model = nn.Linear(5, 2)
    for predict in (graphc.compile(model), counted(model)[1]):
        with pytest.raises(graphc.ShapeError, match="3 features, the weight expects 5"):
            predict(X)
        assert predict(np.ones((2, 5))).dtype == np.float32


def test_a_function_that_needs_float64_gets_it():
    def f(x):
        if x.dtype != np.float64:
            raise graphc.InputError("needs float64")
        return x * 2

    f.state = HALF
    assert graphc.compile(f)(X).dtype == np.float64


def test_running_and_building_go_the_same_way():
    model = nn.Linear(3, 1)
    step = graphc.train_step(lambda x, y: F.mse_loss(model(x), y), optim.SGD(model.parameters(), lr=0.1))
    step.build(X, Y).run({"x": X, "y": Y}, epochs=2, progress=False)
    step.build(X.astype(np.float32), Y.astype(np.float32))
    assert len(step._traced) == 1 and step.graph.inputs[0].type.dtype == np.float32
