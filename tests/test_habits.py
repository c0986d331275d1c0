"""What PyTorch's and NumPy's users write out of habit works, or says what stands for it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import graphc
from graphc import nn, optim

X = graphc.input("x", (2, 3))
OPT = optim.SGD(nn.Linear(3, 1).parameters())


def test_what_has_a_meaning_works():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    f = graphc.compile([X.view(3, 2), X.view((6,)), X.view(-1, 1), graphc.grad((X.detach() * X).sum(), X)])
    a, b, c, d = f(x=x)
    assert np.array_equal(a, x.reshape(3, 2)) and np.array_equal(b, x.ravel()) and c.shape == (6, 1) and np.array_equal(d, x)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backward", r"graphc\.grad\(loss, parameters\), or graphc\.train_step"),
        ("item", "a call returns NumPy arrays"),
        ("numpy", "a call returns NumPy arrays"),
        ("cuda", "runs on the CPU"),
        ("float", r"x\.astype\(dtype\)"),
        ("unsqueeze", r"graphc\.expand_dims"),
        ("add_", "do not change"),
        ("relu", r"graphc\.nn\.functional\.relu\(x, \.\.\.\) is a function"),
        ("logsumexp", r"graphc\.logsumexp\(x, \.\.\.\) is a function"),
        ("resape", r"did you mean reshape\?"),
        ("xyz", r"\ATensor has no attribute 'xyz'\Z"),
        ("__xyz__", r"no attribute '__xyz__'"),
    ],
)
def test_other_attributes_of_tensors_say_what_stands_for_them(name, message):
    with pytest.raises(AttributeError, match=message) as caught:
        getattr(X, name)
    assert isinstance(caught.value, graphc.GraphcError) or name == "__xyz__"
    assert not hasattr(X, name) and getattr(X, name, None) is None


def test_a_size_is_a_number():
    assert X.size == 6 and isinstance(X.size, int) and X.reshape(X.size).shape == (6,) and repr(X.size) == "6"
    for call in (lambda: X.size(), lambda: X.size(0)):
        with pytest.raises(TypeError, match=r"x\.shape is the shape"):
            call()


@pytest.mark.parametrize("name", ["step", "zero_grad", "state", "nothing"])
def test_optimizers_say_how_they_are_used(name):
    messages = {"step": "graphc.train_step", "zero_grad": "leave it out", "state": "state_dict"}
    with pytest.raises(graphc.NoAttributeError, match=messages.get(name, "SGD has no attribute 'nothing'")):
        getattr(OPT, name)
    assert not hasattr(OPT, name)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_optimizers_are_copied(way):
    assert way(OPT).lr == OPT.lr


def test_numpys_functions_name_ours():
    for call, message in (
        (lambda: np.sum(X), "np.sum: .* graphc.sum takes tensors"),
        (lambda: np.concatenate([X, X]), "graphc.concatenate takes tensors"),
        (lambda: np.where(X > 0, X, 0), "graphc.where takes tensors"),
        (lambda: np.linalg.norm(X), "np.norm"),
        (lambda: np.exp(X), "ufunc"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_tensors_are_not_written():
    with pytest.raises(graphc.NoValueError, match="do not change; use graphc.where"):
        X[0] = 1
