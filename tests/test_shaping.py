"""Functions on tensors against NumPy's of the same name: products, shapes, indexing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from against_numpy import RNG, agree, check, normal, run

import graphc
from graphc import InputError, ShapeError

# --- products ---

MATMUL = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
          ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((0, 3), (3, 4)),
          ((2, 0), (0, 4)), ((1, 1), (1, 1))]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), MATMUL)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    check(graphc.matmul, np.matmul, normal(*left), normal(*right))
    check(graphc.matmul, np.matmul, *(RNG.integers(-9, 9, shape) for shape in (left, right)))


EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ji,jk->ki", (3, 2), (3, 4)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("i,i->", (3,), (3,)),
    ("i,j->ji", (2,), (3,)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("...ij,...jk->...ik", (5, 2, 3), (5, 3, 4)), ("...ij,jk", (5, 2, 3), (3, 4)), ("i...,i...->...", (3, 2), (3, 2)),
    ("...,...", (2, 3), (3,)),
    ("ij,ij->ij", (2, 3), (2, 3)), ("ij,j->i", (2, 3), (3,)), ("ij,kj->", (2, 3), (4, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("i,j,k->kij", (2,), (3,), (4,)), ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("ij, jk -> ik", (2, 3), (3, 4)), ("ab,b,b->a", (2, 3), (3,), (3,)), ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 0), (0, 4)),
    ("ij,jk->ik", (2, 1), (3, 4)), (",i->i", (), (3,)), ("ijk,jil->kl", (2, 3, 4), (3, 2, 5)), ("aA,Ab->ab", (2, 3), (3, 2)),
    ("i->i", (3,)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUM, ids=lambda case: case[0])
def test_einsum(case: tuple[Any, ...]) -> None:
    spec, *shapes = case
    check(lambda *xs: graphc.einsum(spec, *xs), lambda *xs: np.einsum(spec, *xs), *(normal(*shape) for shape in shapes))


@pytest.mark.parametrize(
    ("spec", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3)], "names 2 operands, 1 given"),
        ("ij->ik", [(2, 3)], "repeats a label or names one that no operand has"),
        ("ij->ii", [(2, 3)], "repeats a label"), ("ijk->i", [(2, 3)], "'ijk' names 3 axes"),
        ("ij,jk->ik", [(2, 3), (4, 5)], "sizes of axis 'j' differ, 3 != 4"),
        ("i.j->ij", [(2, 3)], "is not of the form"), ("i1->i", [(2, 3)], "is not of the form"),
        ("ij->i->j", [(2, 3)], "is not of the form"),
    ],
)  # fmt: skip
def test_einsum_errors(spec: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        graphc.einsum(spec, *(graphc.zeros(shape) for shape in shapes))


def test_other_products() -> None:
    check(lambda x, y: graphc.tensordot(x, y), lambda x, y: np.tensordot(x, y), normal(2, 3, 4), normal(3, 4, 5))
    check(lambda x, y: graphc.tensordot(x, y, 1), lambda x, y: np.tensordot(x, y, 1), normal(2, 3), normal(3, 5))
    check(lambda x, y: graphc.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0), normal(2), normal(3))
    pairs = ([0, -1], [1, 0])
    check(lambda x, y: graphc.tensordot(x, y, pairs), lambda x, y: np.tensordot(x, y, pairs), normal(2, 3, 4), normal(4, 2))
    for left, right in (((3,), (3,)), ((2, 3), (3, 4)), ((), (3,)), ((2, 3), (5, 3, 4)), ((2, 3), (3,))):
        check(graphc.dot, np.dot, normal(*left), normal(*right))
    check(graphc.vecdot, lambda x, y: (x * y).sum(-1), normal(4, 3), normal(3))
    check(graphc.outer, np.outer, normal(2, 2), normal(3))


# --- shapes ---

# `m` is graphc or NumPy
SHAPING = [
    ("m.reshape(x, (4, -1))", (2, 6)), ("m.reshape(x, -1)", (2, 6)), ("x.reshape(3, 4)", (2, 6)), ("x.reshape((0, 7))", (3, 0)),
    ("m.expand_dims(x, (0, -1))", (2, 3)), ("m.squeeze(x)", (1, 3, 1)), ("m.squeeze(x, 0)", (1, 3, 1)),
    ("m.squeeze(x, (0, -1))", (1, 3, 1)), ("x.T", (2, 3, 4)), ("x.transpose(1, 2, 0)", (2, 3, 4)),
    ("x.transpose((-1, 0, 1))", (2, 3, 4)), ("x.transpose()", (2, 3)), ("m.permute_dims(x, (1, 0))", (2, 3)),
    ("m.matrix_transpose(x)", (2, 3, 4)), ("x.swapaxes(0, -1)", (2, 3, 4)), ("m.moveaxis(x, 0, -1)", (2, 3, 4)),
    ("m.moveaxis(x, (0, 1), (2, 0))", (2, 3, 4)), ("m.broadcast_to(x, (5, 2, 3))", (2, 1)), ("m.flip(x)", (2, 3)),
    ("m.flip(x, 1)", (2, 3)), ("m.transpose(x, (1, 2, 0))", (2, 3, 4)), ("m.concatenate([x, x], axis=1)", (2, 3)),
    ("m.eye(3) + x", ()), ("m.eye(2, 4, 1) + x", ()), ("m.eye(4, 2, -1) + x", ()), ("m.linspace(-1, 2, 7) + x", ()),
    ("m.flip(x, (0, -1))", (2, 3)), ("m.roll(x, 2, 0)", (5, 2)), ("m.roll(x, -7, 1)", (2, 3)), ("m.roll(x, 0, 0)", (3,)),
    ("m.roll(x, 3)", (4, 5)), ("m.roll(x, (1, 2), (0, 1))", (4, 5)), ("m.roll(x, 1, (0, -1))", (4, 5)),
    ("m.roll(x, (1, 2), 1)", (4, 5)),
    ("m.roll(x, 1, 0)", (0,)), ("m.concat([x, x * 2])", (2, 3)), ("m.concat([x, x[:, :0], x], axis=-1)", (3, 3)),
    ("m.concat([x, x], axis=None)", (2, 3)), ("m.stack([x, x])", (2, 3)), ("m.stack([x, x], axis=-1)", (2, 3)),
    ("m.stack([x, x], axis=1)", (2, 3)), ("m.split(x, 3)", (6, 2)), ("m.split(x, [2, 3], axis=1)", (2, 6)),
    ("m.split(x, [-2, 9])", (5,)), ("m.split(x, [4, 2])", (5,)), ("m.unstack(x)", (3, 2)), ("m.unstack(x, axis=-1)", (3, 2)),
    ("m.tile(x, 3)", (2,)), ("m.tile(x, (2, 3))", (2,)), ("m.tile(x, (2,))", (2, 3)), ("m.tile(x, (0, 2))", (2, 3)),
    ("m.repeat(x, 3)", (2, 2)),
    ("m.repeat(x, 2, axis=-1)", (2, 3)), ("m.repeat(x, 0, axis=0)", (2, 3)), ("m.tril(x)", (3, 4)), ("m.tril(x, 1)", (4, 3)),
    ("m.triu(x)", (2, 3, 4)), ("m.triu(x, -1)", (4, 3)), ("m.pad(x, 1)", (2, 3)), ("m.pad(x, (1, 2))", (2, 3)),
    ("m.pad(x, ((0, 1), (2, 0)))", (2, 3)), ("m.zeros_like(x)", (2, 3)), ("m.ones_like(x)", (2, 0)),
    ("m.full_like(x, 3)", (2,)), ("x.flatten()", (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "shape"), SHAPING, ids=[call for call, _ in SHAPING])
def test_shaping(call: str, shape: tuple[int, ...]) -> None:
    check(lambda x: eval(call, {"m": graphc, "x": x}), lambda x: eval(call, {"m": np, "x": x}), normal(*shape))


def test_making() -> None:
    for arguments in ((5,), (2, 5), (5, 2), (0, 10, 3), (10, 0, -4), (0,), (3, 3), (0.0, 1.0, 0.25), (1, 2, 0.3), (5, -1.0, -2)):
        check(lambda: graphc.arange(*arguments), lambda: np.arange(*arguments))  # noqa: B023 - called at once
    check(lambda: graphc.arange(3, dtype="int32"), lambda: np.arange(3))
    check(lambda: graphc.full((2, 3), 1.5), lambda: np.full((2, 3), 1.5))
    check(lambda: graphc.zeros(3, "int32"), lambda: np.zeros(3))
    check(lambda: graphc.ones(()), lambda: np.ones(()))
    check(lambda x: graphc.pad(x, 1, value=-2.5), lambda x: np.pad(x, 1, constant_values=-2.5), normal(2, 3))
    check(lambda x: graphc.full((2, 2), x), lambda x: np.full((2, 2), x), normal())


# --- indexing ---

KEYS: list[Any] = [
    0, -1, np.s_[:], np.s_[1:3], np.s_[:-1], np.s_[::2], np.s_[::-1], np.s_[3:0:-2], np.s_[5:1], np.s_[-100:100],
    np.s_[..., 0], np.s_[0, ...], np.s_[..., None],
    np.s_[[0, 1], [2, -1]], np.s_[[0, 1], :, [2, -1]], np.s_[:, [[0], [2]], [1, 0, 4]], np.s_[[0, 3], [1, 2], [0, 4]],
    np.s_[[0, 1], None, [2, -1]], np.s_[[0, 1], ..., [2, -1]], np.s_[1, [0, 1], [2, -1]], np.s_[[0, 1], 2, ::-1], [],
    np.array([True, False, True, True]), np.s_[:, np.array([False] * 3)], np.arange(12).reshape(4, 3) % 5 > 1,
    np.s_[[0, 2], np.array([True, False, True])], np.s_[..., np.arange(15).reshape(3, 5) % 2 == 0],
    None, (), ..., (0, 1), (0, 1, -1), np.s_[1:, ::-1, 0], np.s_[:, None, 1:2], np.s_[None, ..., None, ::3],
    np.s_[0, ..., ::-2], np.int64(2), np.array(1),
    [0, 2, 2], np.array([[1, -1], [0, 3]]), np.s_[:, [2, 0]], np.s_[..., np.array([1, 1])], np.s_[1:, np.array([0]), ::2],
    np.s_[0, [1, 2]], np.s_[[1, 2], 0],
    np.s_[0, :, [1, 2, 0]], np.s_[:, 1, [4, 0]], np.s_[[0, 1], :, 2], np.s_[0, None, [1, 2]], np.s_[:, 0, ..., [1, 2]],
    np.s_[None, [0, 1], 2], np.array([], np.int64), np.s_[::-1, [0, 1]], np.s_[3:3, 0],
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=map(repr, range(len(KEYS))))
def test_indexing(key: Any) -> None:
    check(lambda x: x[key], lambda x: x[key], normal(4, 3, 5))


def test_indexing_by_a_tensor() -> None:
    x, i = normal(4, 3, 5), np.array([[2, -1], [0, 1]])
    check(lambda x, i: x[i], lambda x, i: x[i], x, i)
    check(lambda x, i: x[:, i], lambda x, i: x[:, i], x, i.clip(-2, 2))
    check(lambda x, i: x[0, :, i], lambda x, i: x[0, :, i], x, i)
    check(lambda x, i: x[i, :, i[0]], lambda x, i: x[i, :, i[0]], x, i)
    check(lambda x, i: x[i, 1, i.T], lambda x, i: x[i, 1, i.T], x, i.astype(np.int32))
    gradient = run(lambda x, i: graphc.grad((x[i, :, i] ** 2).sum(), x), x, i)
    expected = np.zeros_like(x)
    np.add.at(expected, np.s_[i, :, i], 2 * x[i, :, i])
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    check(lambda x, i: graphc.take(x, i, axis=1), lambda x, i: np.take(x, i, axis=1), x, i.clip(-2, 2))
    check(lambda x, i: graphc.take(x, i), lambda x, i: np.take(x, i), x, i.astype(np.int32))
    check(lambda x, i: graphc.take(x, i, axis=0), lambda x, i: np.take(x, i, axis=0), x, np.int64(-2))


def test_iteration_and_length() -> None:
    x = graphc.zeros((3, 2))
    assert len(x) == 3 and [row.shape for row in x] == [(2,)] * 3
    with pytest.raises(ShapeError, match="no length"):
        len(graphc.zeros(()))


ALONG = [((4, 5), (4, 2), 1), ((4, 5), (1, 5), 0), ((4, 5), (4, 1), -1), ((2, 3, 4), (2, 3, 7), 2), ((5,), (3,), 0)]


@pytest.mark.parametrize(("shape", "index_shape", "axis"), ALONG)
def test_take_along_axis(shape: tuple[int, ...], index_shape: tuple[int, ...], axis: int) -> None:
    index = RNG.integers(-shape[axis], shape[axis], index_shape)
    check(lambda x, i: graphc.take_along_axis(x, i, axis), lambda x, i: np.take_along_axis(x, i, axis), normal(*shape), index)


def test_scatter_add_and_one_hot() -> None:
    index, updates = np.array([2, 0, 2, -1]), normal(4, 3)
    expected = np.zeros((5, 3), np.float32)
    np.add.at(expected, index, updates)
    agree(run(lambda i, u: graphc.scatter_add(i, u, 5), index, updates), expected)
    agree(run(lambda i: graphc.one_hot(i, 3), np.array([[0, 2], [1, 7]])), [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])


def test_an_index_out_of_range() -> None:
    x = graphc.zeros((4, 3))
    with pytest.raises(ShapeError, match="index 4 is out of range for axis 0 of size 4"):
        x[4]
    with pytest.raises(ShapeError, match="index -5 is out of range for an axis of size 4"):
        x[np.array([0, -5])]
    for function in (
        lambda x, i: x[i],
        lambda x, i: graphc.take(x, i, axis=0),
        lambda x, i: graphc.take_along_axis(x, graphc.expand_dims(i, 1), 0),
        lambda x, i: graphc.scatter_add(i, x[:2], 4),
    ):
        for bad in (4, -5):
            with pytest.raises(InputError, match=f"index {bad} is out of range, expected -4 <= index < 4"):
                run(function, normal(4, 3), np.array([0, bad]))
