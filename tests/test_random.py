"""Randomness: Philox's published vectors, moments of the distributions, and what bits depend on."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc
import graphc.random as random
from graphc import nn, optim
from graphc.ops.random import philox4x32

N = 200_000

# Random123 1.14, tests/kat_vectors: philox 4x32, 10 rounds
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert tuple(int(word) for word in philox4x32(counter, key)) == words


def test_the_first_element_of_seed_zero_is_the_published_word():
    with random.fresh_streams():
        drawn = random.bits((4,), "int64")
    stream = next(node for node in graphc.compile(drawn).graph.nodes if node.op.name == "philox").attrs["stream"]
    w0, w1, _, _ = philox4x32((0, stream, 0, 0), (5, 0))
    assert int(graphc.compile(drawn, seed=5)()[0]) & (2**64 - 1) == int(w0) | int(w1) << 32


def test_moments():
    outputs = {
        "uniform": random.uniform((N,)),
        "wide": random.uniform((N,), -2, 6),
        "double": random.uniform((N,), dtype="float64"),
        "normal": random.normal((N,)),
        "shifted": random.normal((N,), 3.0, 0.5),
        "coin": random.bernoulli(0.3, (N,)),
        "category": random.categorical(np.log(np.array([0.1, 0.2, 0.7], np.float32)), shape=(N,)),
    }
    drawn = graphc.compile(outputs, seed=1)()
    tight = 5 / np.sqrt(N)
    assert abs(drawn["uniform"].mean() - 0.5) < tight and abs(drawn["uniform"].var() - 1 / 12) < tight
    assert 0 <= drawn["uniform"].min() and drawn["uniform"].max() < 1
    assert graphc.compile(random.uniform((2**20,), 2**20, 2**20 + 1))().max() < 2**20 + 1  # although few numbers lie between
    assert -2 <= drawn["wide"].min() < -1.99 and 5.99 < drawn["wide"].max() <= 6
    assert drawn["double"].dtype == np.float64 and len(np.unique(drawn["double"])) == N
    normal = drawn["normal"].astype(np.float64)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((normal**power).mean() - moment) < 40 / np.sqrt(N)
    assert abs(drawn["shifted"].mean() - 3) < tight and abs(drawn["shifted"].std() - 0.5) < tight
    assert drawn["coin"].dtype == np.bool_ and abs(drawn["coin"].mean() - 0.3) < tight
    assert np.abs(np.bincount(drawn["category"], minlength=3) / N - [0.1, 0.2, 0.7]).max() < tight


def test_bits_are_a_function_of_seed_stream_and_counter():
    def draw():
        return [random.normal((4099,)), random.normal((4099,))]

    one, two = (graphc.compile(draw, seed=3, threads=threads) for threads in (1, 2))
    first, again = one(), two()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])  # another stream
    second = one()
    assert not np.array_equal(first, second)  # another count
    np.testing.assert_array_equal(second, two())
    assert not np.array_equal(first, graphc.compile(draw, seed=4)())


def test_a_graph_declared_twice_draws_the_same():
    def declare():
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.5))
        for p in model.parameters():
            p.assign(np.ones(p.shape))
        x = graphc.input("x", (3, 4))
        loss = (model(x) * random.normal((3, 4))).sum()
        return graphc.train_step(loss, optim.SGD(model.parameters(), lr=0.1), outputs=random.uniform((5,)), seed=3)

    first, second = declare(), declare()
    for _ in range(3):
        (loss, drawn), (again, redrawn) = (step(x=np.ones((3, 4))) for step in (first, second))
        assert loss == again and np.array_equal(drawn, redrawn)


def test_the_backward_graph_of_random_tensors_names_forward_nodes():
    w = nn.Parameter(np.ones(3))
    step = graphc.train_step((graphc.exp(w) * random.normal((3,), dtype="float64")).sum(), optim.SGD([w], lr=0.1))
    text = step.dump("autodiff")
    assert re.search(r"B\[exp, %\d+\]\(v\)", text) and re.search(r"B\[mul, %\d+\]\(v\)", text) and "B[mul](v)" not in text


def test_a_failed_call_does_not_advance_the_counter():
    x = graphc.input("x", (3,), "int64")
    step = graphc.compile([random.uniform((5,)), graphc.take(graphc.arange(4), x)])
    good, bad = np.array([0, 1, 2]), np.array([0, 1, 9])
    step(x=good)
    with pytest.raises(graphc.InputError):
        step(x=bad)
    other = graphc.compile([random.uniform((5,)), graphc.take(graphc.arange(4), x)])
    assert [int(state.array) for state in step.states() if state.name == "random.counter"] == [1]
    assert other is not step


def test_the_counter_is_saved_with_the_step(tmp_path):
    drawn = random.uniform((7,))
    step, other = graphc.compile(drawn, seed=9), graphc.compile(drawn, seed=2)
    step()
    graphc.save(tmp_path / "step", step)
    expected = step()
    graphc.load(tmp_path / "step", other)
    np.testing.assert_array_equal(other(), expected)


def test_a_mask_is_drawn_again_in_the_backward_graph():
    """Nothing of the size of the data is kept between forward and backward but what has to be."""
    x = graphc.input("x", (64, 513))
    weight = graphc.nn.Parameter(np.ones((513, 513), np.float32))
    kept = graphc.where(random.bernoulli(0.5, (64, 513)), x @ weight * 2, 0)
    step = graphc.train_step((kept @ np.ones((513, 3), np.float32)).sum(), optim.SGD([weight], lr=0.0))
    before = step(x=np.ones((64, 513), np.float32))
    assert float(before) > 0
    assert not re.search(r"arena t\d+: bool", step.dump("program"))
    # the gradient uses the mask of the forward pass: d/dw of sum(mask * 2 * x w) 1 counts the mask's columns
    x2 = graphc.input("x", (64, 513))
    mask = random.bernoulli(0.5, (64, 513))
    value = graphc.where(mask, x2 @ weight, 0)
    check = graphc.compile([mask, graphc.grad(value.sum(), weight)], seed=0)
    drawn, gradient = check(x=np.ones((64, 513), np.float32))
    np.testing.assert_allclose(gradient, np.broadcast_to(drawn.sum(0), (513, 513)))


def drawing_loop(reverse=False):
    """What is drawn in each of five trips, in a loop in each of them, and outside."""
    same = random.uniform((3,))

    def inner(carry, _):
        return carry, random.uniform((2,))

    def outer(carry, x):
        return carry + x, (random.uniform((3,)), graphc.scan(inner, 0.0, length=4)[1], same)

    return graphc.scan(outer, 0.0, graphc.ones(5), reverse=reverse)[1]


@pytest.mark.parametrize("options", [None, graphc.Options(passes_off=("merge", "hoist", "simplify", "cse"), fusion=False)])
def test_every_trip_of_a_loop_draws_afresh(options):
    step = graphc.compile(drawing_loop(), seed=3, options=options)
    first, second = step(), step()
    single, nested, same = first
    assert len(np.unique(single)) == 15 and len(np.unique(nested)) == 40 and len(np.unique(same)) == 3
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[1], second[1])
    for threads in (1, 2, 3):  # declared again, too: what else was declared does not matter
        again = graphc.compile(drawing_loop(reverse=threads == 2), seed=3, threads=threads)()
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_backward_loop_draws_what_the_forward_loop_drew():
    drop, w = nn.Dropout(0.5), nn.Parameter(np.ones(64))
    total, _ = graphc.scan(lambda c, _: (c + drop(w), drop.p * w), graphc.zeros(64, "float64"), length=6)
    summed, gradient = graphc.compile([total, graphc.grad(total.sum(), w)], seed=1)()
    assert np.array_equal(summed, gradient) and len(np.unique(summed)) > 3  # masks add up, and differ from trip to trip


def test_bad_arguments():
    with pytest.raises(graphc.InputError, match="probability"):
        random.bernoulli(1.5, (3,))
    with pytest.raises(graphc.DTypeError, match="float"):
        random.normal((3,), dtype="int32")
    with pytest.raises(graphc.DTypeError):
        random.categorical(graphc.arange(4))
    with pytest.raises(graphc.ShapeError):
        random.categorical(graphc.zeros((3, 0)))
    with pytest.raises(graphc.InputError, match="seed"):
        graphc.compile(random.normal((3,)), seed=-1)
