"""Programs at the edge: nothing to do, very long, very wide, very many elements; and calls that fail half way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from agreement import Reference
from test_random_graphs import check, seeded_case

import graphc
from graphc import functions as fn
from graphc.executable import Executable
from graphc.options import Options
from graphc.passes.pipeline import OPTIONAL
from graphc.tensor import Tensor

RNG = np.random.default_rng(0)


def agree(outputs: Sequence[Tensor], arrays: Mapping[str, np.ndarray], updates: Any = None, **options: Any) -> Executable:
    native = graphc.compile(list(outputs), updates=updates, **options)
    reference = Reference(native.graph, arrays)
    reference.check_outputs(native(**arrays))
    reference.check_updates({state.node: state.array for state in updates or {}})
    return native


def vector(n: int = 32) -> tuple[Tensor, dict[str, np.ndarray]]:
    return graphc.input("x", (n,)), {"x": np.linspace(-1, 1, n, dtype=np.float32)}


# --- nothing to do ---


def test_no_outputs() -> None:
    x, arrays = vector()
    assert graphc.compile([])() == [] and graphc.compile({})() == {}
    assert graphc.compile([], inputs=[x])(**arrays) == []


def test_constants_only() -> None:
    rows = graphc.constant([[1.0, 2.0], [3.0, np.nan]])
    agree([rows, rows.T, graphc.constant(3), fn.full((2, 3), 1.5), fn.arange(4), fn.full((0, 2), True), rows, rows.sum()], {})


def test_inputs_and_states_as_outputs() -> None:
    x, arrays = vector()
    s = graphc.state("s", RNG.standard_normal((3, 5)))
    agree([x, x, s, s.T, s[::-1], x.reshape((4, 8))], arrays, {s: s * 2})


def test_updates_only() -> None:
    s, t = graphc.state("s", RNG.standard_normal((4, 4))), graphc.state("t", RNG.standard_normal((4, 4)))
    agree([], {}, {s: t, t: s})
    agree([], {}, {s: s.T, t: t})
    agree([], {}, {s: t.T, t: s.T + t})
    agree([], {}, {s: fn.concat([s[1:], s[:1]]), t: fn.pad(s[1:, 1:], ((0, 1), (1, 0)))})
    agree([s, t], {}, {s: graphc.constant(np.eye(4)), t: s @ t})


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 5)])
def test_empty_axes(shape: tuple[int, ...]) -> None:
    x = graphc.input("x", shape)
    w = graphc.state("w", np.ones(shape, np.float32))
    y = fn.tanh(x * w)
    grown = fn.concat([y, fn.ones((1, *shape[1:]))], axis=0)
    loss = y.sum() + (y * y).sum(axis=-1).sum() + fn.prod(y)
    (v,) = graphc.grad(loss, [w])
    agree([loss, y, y.T, grown, y.reshape((5, 0)), grown.sum(axis=0)], {"x": np.ones(shape, np.float32)}, {w: w - v})


# --- long and wide ---


def test_a_chain_of_100_000_nodes() -> None:
    started = time.process_time()
    x, arrays = vector()
    y = x
    for i in range(100_000):
        y = fn.tanh(y) if i % 2 else -y
    native = graphc.compile(y, threads=1)
    found = native(**arrays)
    assert time.process_time() - started < 60
    Reference(native.graph, arrays).check_outputs([found])


def test_the_gradient_of_a_chain_of_5000_nodes() -> None:
    s = graphc.state("s", np.linspace(-1, 1, 32))
    y: Tensor = s
    for _ in range(5000):
        y = fn.sin(y)
    agree([y.sum()], {}, {s: s - 0.1 * graphc.grad(y.sum(), s)})


def towers() -> dict[str, Callable[[Tensor], Tensor]]:
    """Steps that a chain repeats. Each reads its operand twice or more: what reads through views, or computes again instead of
    storing, must not do so without end."""
    return {
        "diamonds": lambda y: fn.tanh(y) + fn.sin(y) * 0.1,
        "transposed": lambda y: fn.tanh(y) + y.T * 0.5,
        "flipped": lambda y: y + fn.flip(y, axis=0) * 0.5,
        "shifted": lambda y: fn.roll(y, 1, 0) * 0.5 + fn.pad(y[1:], ((0, 1), (0, 0))),
        "views": lambda y: fn.concat([y[3:], y[:3].T.reshape((3, 8))]),
        "centred": lambda y: y - y.mean(axis=0, keepdims=True),
        "softmax": lambda y: fn.exp(y - fn.logsumexp(y, axis=1, keepdims=True)) + y * 0.5,
        "products": lambda y: fn.tanh(y @ y.T),
        "casts": lambda y: y + y.astype("int32").astype("float32") * 0.25,
        "gathers": lambda y: fn.take(y, [7, 6, 5, 4, 3, 2, 1, 0], axis=0) * 0.5 + y * 0.4,
    }


@pytest.mark.parametrize("options", [Options(), Options(passes_off=OPTIONAL, fusion=False)], ids=["all-passes", "no-passes"])
@pytest.mark.parametrize("name", towers())
def test_towers(name: str, options: Options) -> None:
    x = graphc.input("x", (8, 8))
    y = x
    for _ in range(40):
        y = towers()[name](y)
    native = agree([y, y.sum()], {"x": RNG.standard_normal((8, 8)).astype(np.float32)}, options=options)
    started = time.perf_counter()
    for _ in range(10):
        native(x=np.ones((8, 8), np.float32))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("deep", [False, True])
def test_60_pieces(deep: bool) -> None:
    xs = [graphc.input(f"x{i}", (3, 1 + i % 5)) for i in range(60)]
    arrays = {f"x{i}": RNG.standard_normal((3, 1 + i % 5)).astype(np.float32) for i in range(60)}
    pieces = [x if i % 2 else fn.tanh(x) for i, x in enumerate(xs)]
    y = pieces[0]
    if deep:
        for piece in pieces[1:30]:
            y = fn.concat([y, piece], axis=1)
    else:
        y = fn.concat(pieces, axis=1)
    used = {name: arrays[name] for name in (f"x{i}" for i in range(30 if deep else 60))}
    agree([y, fn.exp(y) * 2, y.sum(axis=1), *fn.split(y, [5, 11], axis=1)], used)


def test_thousands_of_nodes_of_all_kinds() -> None:
    drawn = (seeded_case(seed, 600) for seed in itertools.count())
    check(next(case for case in drawn if len(case.graph.nodes) > 2000), Options())


# --- many elements ---


def test_reductions_of_a_million_elements() -> None:
    x = graphc.input("x", (1000, 1001))
    array = RNG.standard_normal((1000, 1001)).astype(np.float32)
    whole = [x.sum(), x.max(), x.argmin(), fn.logsumexp(x), (x * x).mean(), fn.any(x > 4), fn.prod(fn.tanh(x) * 0.001 + 1)]
    axes = [f(axis=axis) for f in (x.sum, x.max, x.argmax, x.T.sum, x.T.argmin) for axis in (0, 1)]
    agree([*whole, *axes, x - x.mean(axis=0)], {"x": array})


def test_sums_of_a_million_equal_terms() -> None:
    """Where every rounding errs to one side."""
    x = graphc.input("x", (1_000_000,))
    native = graphc.compile(x.sum())
    assert native(x=np.full(1_000_000, 0.1, np.float32)) == pytest.approx(1e5, rel=1e-3)


def test_a_million_positions() -> None:
    x, i = graphc.input("x", (300_000,)), graphc.input("i", (1_000_000,), "int64")
    arrays = {"x": RNG.standard_normal(300_000).astype(np.float32), "i": RNG.integers(0, 300_000, 1_000_000)}
    taken = fn.take(x, i)
    added = [fn.scatter_add(i, taken, 300_000), fn.scatter_add(i % 100, taken * 2, 100)]
    agree([taken, *added, graphc.grad((taken**2).sum(), x)], arrays)


def test_rows_of_a_table() -> None:
    table, i = graphc.state("table", RNG.standard_normal((5000, 64)).astype(np.float32)), graphc.input("i", (70, 100), "int32")
    rows = fn.take(table, i, axis=0)
    arrays = {"i": RNG.integers(-5000, 5000, (70, 100)).astype(np.int32)}
    agree([rows.sum(axis=1)], arrays, {table: table - 0.1 * graphc.grad((rows * rows).sum(), table)})


# --- calls that fail ---


@pytest.mark.parametrize("options", [Options(), Options(passes_off=OPTIONAL, fusion=False)], ids=["all-passes", "no-passes"])
def test_a_failed_check_changes_nothing(options: Options) -> None:
    s, calls, mean = graphc.state("s", np.arange(5.0)), graphc.state("calls", 0), graphc.state("mean", np.zeros(()))
    i, x = graphc.input("i", (3,), "int64"), graphc.input("x", (), "float64")
    taken = fn.take(s, i)
    # one update is known before the check, one depends on it, one is far from it
    updates = {s: s + fn.scatter_add(i, taken, 5), calls: calls + 1, mean: 0.5 * mean + x}
    step = graphc.compile([taken, mean], updates=updates, options=options)
    step(i=[0, 1, -1], x=1.0)
    before = [state.array.copy() for state in updates]
    for bad in ([0, 1, 5], [0, -6, 1], [2**62, 0, 0], [-(2**63), 0, 0]):
        with pytest.raises(graphc.InputError, match="out of range"):
            step(i=bad, x=7.0)
        assert all(state.array.tobytes() == array.tobytes() for state, array in zip(updates, before, strict=True))
    step(i=[4, 4, 4], x=1.0)
    assert calls.array == 2 and mean.array == 1.5 and s.array[4] == 4 * before[0][4]


@pytest.mark.parametrize("options", [Options(), Options(passes_off=OPTIONAL, fusion=False)], ids=["all-passes", "no-passes"])
def test_checks_below_idle_parts_of_loops(options: Options) -> None:
    """What a loop does with a value may turn out not to matter; that the value could not be had does."""
    x, i = graphc.constant([1.0, 2.0, 3.0]), graphc.input("i", (4,), "int64")
    taken = fn.take(x, i)
    count = graphc.constant(0.0)
    unread_stack, _ = graphc.scan(lambda c, v: (c + 1, v * 2), count, taken)
    unread_carry, _ = graphc.scan(lambda c, _: ({"n": c["n"] + 1, "v": c["v"]}, None), {"n": count, "v": taken}, length=3)
    unread_inside, _ = graphc.scan(lambda c, j: (c + 1, fn.take(x, j)), count, i)
    for y in (unread_stack, unread_carry["n"], unread_inside):
        native = graphc.compile(y, options=options)
        assert native(i=[0, 1, 2, -1]) == (3 if y is unread_carry["n"] else 4)
        with pytest.raises(graphc.InputError, match="index 7 is out of range"):
            native(i=[0, 1, 7, 2])
