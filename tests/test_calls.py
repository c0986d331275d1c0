"""A call that native code has taken before is taken again without a look at names and types in Python; whatever does not fit
still gets the treatment, or the error, of a first call."""

from __future__ import annotations

import gc
import sys
import threading
from typing import NamedTuple

import numpy as np
import pytest

import graphc
from graphc import calling, nn, optim
from graphc.runtime import pointer

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = X[::-1].copy()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each call from here on, whether it took the short way."""
    seen: list[bool] = []
    answer = calling.Form.answer
    call = graphc.Executable.__call__

    def answering(self, *args):
        found = answer(self, *args)
        seen[-1] = found is not calling.MISSED
        return found

    def calling_(self, *args, **kwargs):
        seen.append(False)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(calling.Form, "answer", answering)
    monkeypatch.setattr(graphc.Executable, "__call__", calling_)
    return seen


def difference() -> graphc.Executable:
    x, y = graphc.input("x", (4, 3)), graphc.input("y", (4, 3))
    return graphc.compile(x * 2.0 - y, inputs=[x, y])


def test_every_form_of_a_call_learns_its_own_order(taken):
    f = difference()
    expected = X * 2 - Y
    for _ in range(2):
        for call in (lambda: f(X, Y), lambda: f(x=X, y=Y), lambda: f(y=Y, x=X), lambda: f(X, y=Y)):
            assert np.array_equal(call(), expected)
    assert taken == [False] * 4 + [True] * 4


def test_forms_of_functions(taken):
    def function(x, y=None, *more, scale):
        return x * scale if y is None else x * scale - y

    f = graphc.compile(function)
    two = np.float32(2)
    for _ in range(2):
        assert np.array_equal(f(X, Y, scale=two), X * 2 - Y)
        assert np.array_equal(f(scale=two, y=Y, x=X), X * 2 - Y)
        assert np.array_equal(f(X, scale=two), X * 2)
        assert np.array_equal(f(scale=two, x=X), X * 2)
    # a number is no array, which native code leaves to Python
    assert taken == [False] * 8
    scale = np.full((), 2, np.float32)
    for _ in range(2):
        assert np.array_equal(f(X, Y, scale=scale), X * 2 - Y)
        assert np.array_equal(f(scale=scale, y=Y, x=X), X * 2 - Y)
        assert np.array_equal(f(X, scale=scale), X * 2)
    assert all(taken[8:])
    with pytest.raises(graphc.InputError, match="too many positional|missing a required"):
        f(X, Y, scale)


def test_a_function_called_with_other_sizes_and_types(taken):
    f = graphc.compile(lambda x, y: x * 2 - y)
    for _ in range(2):
        for rows in (4, 3):
            assert np.array_equal(f(X[:rows], Y[:rows]), X[:rows] * 2 - Y[:rows])
    assert f(X.astype(np.float64), Y.astype(np.float64)).dtype == np.float64
    assert f(X.astype(np.int32), Y.astype(np.int32)).dtype == np.int32
    assert f(X, Y).dtype == np.float32
    assert f(X, Y).dtype == np.float32 and taken[-1]


class Sub(np.ndarray):
    pass


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array: np.ndarray) -> np.ndarray:
    into = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    into[...] = array
    return into


@pytest.mark.parametrize(
    ("change", "short"),
    [
        (read_only, True),
        (lambda a: np.concatenate([a, a])[4:], True),
        (lambda a: np.asfortranarray(a), False),
        (lambda a: np.concatenate([a, a], 1)[:, 3:], False),
        (lambda a: np.repeat(a, 2, 0)[::2], False),
        (lambda a: a[::-1].copy()[::-1], False),
        (lambda a: a.view(Sub), False),
        (lambda a: a.astype(">f4"), False),
        (lambda a: a.astype(np.float64), False),
        (lambda a: a.astype(np.float16), False),
        (lambda a: a.astype(np.int8), False),
        (lambda a: a.tolist(), False),
        (misaligned, False),
    ],
)
def test_values_that_fit_and_values_that_must_be_converted(taken, change, short):
    f = difference()
    f(X, Y)
    assert np.array_equal(f(change(X), Y), X * 2 - Y) and np.array_equal(f(X, change(Y)), X * 2 - Y)
    assert taken == [False, short, short]
    f(X, Y)
    assert taken[-1]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (X[:3], graphc.ShapeError, r"input x: expected f32\[4,3\], got shape \(3, 3\)"),
        (X.reshape(12), graphc.ShapeError, r"got shape \(12,\)"),
        (X.reshape(4, 3, 1), graphc.ShapeError, r"got shape \(4, 3, 1\)"),
        (X.T, graphc.ShapeError, r"got shape \(3, 4\)"),
        (X + 0j, graphc.DTypeError, "complex64"),
        (X.astype(object), graphc.DTypeError, "object"),
        (None, graphc.DTypeError, "NoneType"),
        (np.float32(1), graphc.ShapeError, r"got shape \(\)"),
    ],
)
def test_values_that_are_refused(bad, error, message):
    f = difference()
    out = np.zeros((4, 3), np.float32)
    f(X, Y)
    for options in ({}, {"out": out}):
        with pytest.raises(error, match=message):
            f(bad, Y, **options)
        with pytest.raises(error, match=message):
            f(x=bad, y=Y, **options)
    assert not out.any()


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((3, 4), np.float32), graphc.ShapeError, r"out\[0\]: expected .* got shape \(3, 4\)"),
        (np.zeros((4, 3)), graphc.DTypeError, "float64"),
        (np.zeros((4, 3), ">f4"), graphc.DTypeError, "float32"),
        (np.zeros((3, 4), np.float32).T, graphc.InputError, "C-contiguous"),
        (read_only(X), graphc.InputError, "writable"),
        (misaligned(X), graphc.InputError, "got one that is not"),
        (X.tolist(), graphc.InputError, "its structure"),
        ([np.zeros((4, 3), np.float32)], graphc.InputError, "its structure"),
        (3, graphc.InputError, "got int"),
    ],
)
def test_outs_that_are_refused(bad, error, message):
    f = difference()
    f(X, Y, out=np.empty_like(X))
    with pytest.raises(error, match=message):
        f(X, Y, out=bad)


def test_out_may_share_memory_with_inputs(taken):
    f = difference()
    wide = np.zeros((6, 3), np.float32)
    f(X, Y, out=wide[:4])
    for first, second in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 1)):
        wide[:] = 7
        wide[first : first + 4] = X
        expected = X * 2 - Y
        assert f(wide[first : first + 4], Y, out=wide[second : second + 4]).base is wide
        assert np.array_equal(wide[second : second + 4], expected) and not taken[-1]
    apart = np.zeros((8, 3), np.float32)
    apart[:4] = X
    f(apart[:4], Y, out=apart[4:])
    assert np.array_equal(apart[4:], X * 2 - Y) and taken[-1]


@pytest.mark.parametrize("inputs", [0, 1])
def test_outs_that_share_memory_are_refused(inputs):
    x = graphc.input("x", (4, 3)) if inputs else graphc.state("x", X)
    values = {"x": X} if inputs else {}
    f = graphc.compile({"a": x + 1.0, "b": x - 1.0})
    wide = np.zeros((6, 3), np.float32)
    for _ in range(2):
        found = f(**values, out={"b": wide[:4], "a": np.empty_like(X)})
        assert np.array_equal(wide[:4], X - 1) and np.array_equal(found["a"], X + 1)
        with pytest.raises(graphc.InputError, match=r"out\[1\]: shares memory"):
            f(**values, out={"b": wide[:4], "a": wide[2:]})


def test_states_as_inputs_and_as_outs(taken):
    a, b = graphc.state("a", X.copy()), graphc.state("b", Y.copy())
    x = graphc.input("x", (4, 3))
    f = graphc.compile(a + b, inputs=[x], updates={a: a + x[::-1] + 0 * b})
    f(X)
    before = a.array.copy()
    f(a.array)  # written by the call: read from a copy
    assert not taken[-1] and np.array_equal(a.array, before + before[::-1])
    f(b.array)  # only read
    assert taken[-1]
    expected = a.array + b.array
    assert f(X, out=b.array) is b.array and not taken[-1]
    assert np.array_equal(b.array, expected)
    kept = a.array.copy()
    with pytest.raises(graphc.InputError, match=r"out\[0\]: shares memory with a state that the call updates"):
        f(X, out=a.array)
    assert np.array_equal(a.array, kept)


class Pair(NamedTuple):
    total: graphc.Tensor
    rest: list


def test_structures_come_back(taken):
    x = graphc.input("x", (4, 3))
    f = graphc.compile(Pair(x.sum(), [{"a": x}, (x + 1,)]), inputs=[x])
    for _ in range(2):
        found = f(X)
        assert type(found) is Pair and found.total == X.sum() and np.array_equal(found.rest[1][0], X + 1)
        assert found.rest[0]["a"] is not X
    assert taken == [False, True]
    nested = graphc.compile({"deep": {"a": x}, "empty": (), "one": [x + 1.0]}, inputs=[x])
    for found in (nested(X), nested(X)):
        assert list(found) == ["deep", "empty", "one"] and np.array_equal(found["deep"]["a"], X)
        assert found["empty"] == () and np.array_equal(found["one"][0], X + 1)
    assert graphc.compile([])() == [] and graphc.compile((x,))(x=X)[0].tolist() == X.tolist()


def test_fresh_outputs_are_fresh():
    f = difference()
    first, second = f(X, Y), f(X, Y)
    third = f(X, Y)
    assert second is not third and not np.shares_memory(second, third) and np.array_equal(first, third)


def test_empty_arrays():
    x = graphc.input("x", (0, 3))
    f = graphc.compile([x * 2, x.sum()], inputs=[x])
    empty = np.zeros((0, 3), np.float32)
    for _ in range(3):
        found = f(empty)
        assert found[0].shape == (0, 3) and found[1] == 0
    assert f(empty, out=[np.empty((0, 3), np.float32), np.empty((), np.float32)])[1] == 0


def test_a_failed_check_on_the_short_way_changes_nothing(taken):
    i, count = graphc.input("i", (3,), "int32"), graphc.state("count", 0)
    f = graphc.compile(nn.functional.cross_entropy(graphc.input("z", (3, 5)), i), updates={count: count + 1})
    z, good, bad = np.zeros((3, 5), np.float32), np.array([0, 1, 2], np.int32), np.array([0, 9, 2], np.int32)
    f(z=z, i=good)
    with pytest.raises(graphc.InputError, match="index 9 is out of range"):
        f(z=z, i=bad)
    assert count.array == 1
    f(z=z, i=good)
    assert count.array == 2 and taken[-1]


def test_without_a_known_layout_of_arrays_python_does_it_all(monkeypatch, taken):
    monkeypatch.setattr(pointer, "DIRECT", False)
    f = difference()
    for _ in range(3):
        assert np.array_equal(f(X, Y), X * 2 - Y)
        assert np.array_equal(f(X, Y, out=np.empty_like(X)), X * 2 - Y)
    assert not any(taken)


def test_the_layout_of_arrays_is_known_here():
    assert pointer.DIRECT


def test_steps_of_several_threads_take_turns_on_the_short_way():
    weight = nn.Parameter(np.zeros(1000, np.float32))
    step = graphc.train_step(lambda x: (weight * x).sum(), optim.SGD([weight], lr=1.0))
    read = graphc.compile(lambda: [weight.min(), weight.max()])
    one = np.ones(1000, np.float32)

    def work() -> None:
        for _ in range(200):
            step(x=one)
            least, most = read()
            assert least == most

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (weight.numpy() == -800).all()


def test_references_are_counted():
    """The built-in function returns what it was given, or None, or False: nothing may stay behind, nothing go too early."""
    f = difference()
    i = graphc.input("i", (3,), "int32")
    g = graphc.compile(nn.functional.cross_entropy(graphc.input("z", (3, 5)), i))
    z, bad = np.zeros((3, 5), np.float32), np.array([0, 9, 2], np.int32)
    out = np.empty_like(X)

    def calls() -> None:
        f(X, Y)
        f(X, Y, out=out)
        f(X.T.copy().T, Y)
        g(z=z, i=np.zeros(3, np.int32))
        with pytest.raises(graphc.InputError):
            g(z=z, i=bad)

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(one) for one in (X, Y, out, z, bad, np.ndarray, None, False)]

    calls()
    before = counts()
    for _ in range(200):
        calls()
    assert all(abs(one - other) < 50 for one, other in zip(counts(), before, strict=True))


def test_large_outputs_begin_with_a_cache_line():
    x = graphc.input("x", (200, 301))
    f = graphc.compile([x + 1, x.sum(0)], inputs=[x], threads=1)
    for _ in range(3):
        large, small = f(np.ones((200, 301), np.float32))
        assert large.ctypes.data % 64 == 0 and large.flags.carray and np.array_equal(large, np.full((200, 301), 2.0))
        assert np.array_equal(small, np.full(301, 200.0))


def test_states_begin_with_a_cache_line():
    for value in (np.ones((3, 5)).T, np.zeros((0, 2)), np.array(7), np.arange(6)[::-1], np.ones((2, 3), ">f8"), [True, False]):
        state = graphc.state("s", value)
        assert state.array.size == 0 or state.array.ctypes.data % 64 == 0
        assert state.array.flags.carray and state.array.dtype.isnative
        assert state.shape == np.shape(value) and np.array_equal(state.array, value)
    linear = nn.Linear(5, 3)
    assert linear.weight.numpy().ctypes.data % 64 == 0 and not np.shares_memory(linear.weight.array, linear.bias.array)
