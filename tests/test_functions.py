"""Functions on tensors against NumPy's of the same name: arithmetic, dtypes, reductions, errors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from against_numpy import RNG, agree, check, normal, run

import graphc
import graphc.nn.functional as F
from graphc import DTypeError, GraphcError, InputError, ShapeError

SPECIAL = np.array([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, 1.0, -3.0, 7.25, np.inf, -np.inf, np.nan])

# --- elementwise ---

UNARY = """abs negative sign exp expm1 log log1p log2 log10 sqrt square sin cos tan tanh floor ceil trunc round isnan isinf
isfinite""".split()


@pytest.mark.parametrize("name", [*UNARY, "reciprocal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary(name: str, dtype: type) -> None:
    x = np.concatenate([SPECIAL, RNG.uniform(-5, 5, 40)]).astype(dtype)
    found = run(getattr(graphc, name), x)
    assert found.dtype == (np.bool_ if name.startswith("is") else dtype)
    check(getattr(graphc, name), getattr(np, name), x)


@pytest.mark.parametrize("name", "abs negative sign floor ceil trunc round square isnan isinf isfinite".split())
def test_unary_of_integers(name: str) -> None:
    x = np.array([-3, 0, 5], np.int32)
    assert run(getattr(graphc, name), x).dtype == (np.bool_ if name.startswith("is") else np.int32)
    check(getattr(graphc, name), getattr(np, name), x)


def test_functions_numpy_lacks() -> None:
    x = np.concatenate([SPECIAL, RNG.uniform(-5, 5, 40)])
    check(graphc.rsqrt, lambda x: 1 / np.sqrt(x), x)
    check(graphc.sigmoid, lambda x: 1 / (1 + np.exp(-x)), x)
    check(graphc.erf, lambda x: np.array([math.erf(value) for value in x]), x)


ARITHMETIC = "add subtract multiply divide floor_divide remainder maximum minimum".split()
COMPARISONS = "equal not_equal less less_equal greater greater_equal".split()


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISONS])
def test_binary(name: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    check(getattr(graphc, name), getattr(np, name), x, y)
    check(getattr(graphc, name), getattr(np, name), x.astype(np.float32), y.astype(np.float32))


SHAPES = [
    ((), ()),
    ((3,), ()),
    ((3,), (1,)),
    ((2, 3), (3,)),
    ((2, 1), (3,)),
    ((4, 1, 5), (3, 1)),
    ((0, 3), (1, 3)),
    ((0,), (1,)),
    ((1, 1), (7, 1, 1)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_broadcasting(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    for a, b in ((left, right), (right, left)):
        check(graphc.subtract, np.subtract, normal(*a), normal(*b))
        arrays = normal(*a), normal(*b), normal(*a)
        check(lambda c, x, y: graphc.where(c > 0, x, y), lambda c, x, y: np.where(c > 0, x, y), *arrays)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integer_arithmetic(dtype: type) -> None:
    info = np.iinfo(dtype)
    values = np.array([0, 1, -1, 2, -7, 13, info.max, info.min], dtype)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    for name in ("add", "subtract", "multiply", "maximum", "minimum"):
        check(getattr(graphc, name), getattr(np, name), x, y)
    nonzero = y != 0
    for name in ("floor_divide", "remainder"):
        found = run(getattr(graphc, name), x, y)
        with np.errstate(all="ignore"):
            agree(found[nonzero], getattr(np, name)(x[nonzero], y[nonzero]))
        assert not found[~nonzero].any()
    for name in ("and", "or", "xor"):
        for kind in ("bitwise", "logical"):
            check(getattr(graphc, f"{kind}_{name}"), getattr(np, f"{kind}_{name}"), x, y)
        check(getattr(graphc, f"logical_{name}"), getattr(np, f"logical_{name}"), x, y.astype(np.float32))
    check(lambda x, y: x & y | ~x ^ y, lambda x, y: x & y | ~x ^ y, x, y)
    check(graphc.bitwise_invert, np.invert, x)
    check(graphc.logical_not, np.logical_not, x)
    powers = run(graphc.power, np.array([2, 3, -2, 1, -1, 5, 0], dtype), np.array([10, 0, 3, -4, -3, -1, 0], dtype))
    assert powers.tolist() == [1024, 1, -8, 1, -1, 0, 1]


def test_truth() -> None:
    x, y = (a.ravel() for a in np.meshgrid([True, False], [True, False]))
    for name, ours in (("and", lambda x, y: x & y), ("or", lambda x, y: x | y), ("xor", lambda x, y: x ^ y)):
        check(ours, getattr(np, f"logical_{name}"), x, y)
    check(lambda x: ~x, np.logical_not, x)
    for name in ("add", "multiply", "maximum", "minimum", "equal", "less"):
        check(getattr(graphc, name), getattr(np, name), x, y)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -2, 2.5, 7])
def test_power(exponent: float) -> None:
    x = np.array([0.0, 0.5, 1, 2, -1, -2, np.inf, np.nan], np.float32)
    check(lambda x: x**exponent, lambda x: x**exponent, x)
    check(lambda x: exponent**x, lambda x: np.float32(exponent) ** x, x)


def test_operators() -> None:
    x, y = normal(3, 4), normal(3, 4)
    for ours in (
        lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x // y, lambda x, y: x % y,
        lambda x, y: abs(x) ** y, lambda x, y: x @ y.T, lambda x, y: -x, lambda x, y: +x, lambda x, y: abs(x), lambda x, y: x < y,
        lambda x, y: x <= y, lambda x, y: x > y, lambda x, y: x >= y, lambda x, y: x == y, lambda x, y: x != y,
        lambda x, y: 1 + x,
        lambda x, y: 1 - x, lambda x, y: 2 * x, lambda x, y: 1 / x, lambda x, y: 7 // x, lambda x, y: 7 % x, lambda x, y: 2**x,
        lambda x, y: np.ones((2, 3), np.float32) @ x,
    ):  # fmt: skip
        check(ours, ours, x, y)
    check(lambda x: y - x, lambda x: y - x, x)  # an array on the left


def test_clip() -> None:
    x = np.array([-2, -0.5, 0, 3, np.nan], np.float32)
    check(lambda x: graphc.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), x)
    check(lambda x: x.clip(max=1), lambda x: np.minimum(x, 1), x)
    check(lambda x: graphc.clip(x, x * 0.5, None), lambda x: np.maximum(x, x * np.float32(0.5)), x)
    check(lambda x: graphc.clip(x, np.nan, 1), lambda x: np.clip(x, np.nan, 1), x)
    check(lambda x, low: graphc.clip(x, low), lambda x, low: np.maximum(x, low), x, x[::-1].copy())


def test_the_derivative_of_clip_is_1_at_the_limits() -> None:
    gradient = run(lambda x: graphc.grad(graphc.clip(x, 0, 1).sum(), x), np.array([-1, 0, 0.5, 1, 2.0]))
    assert gradient.tolist() == [0, 1, 1, 1, 0]


# --- dtypes ---

TENSORS = {"b": np.bool_, "i4": np.int32, "i8": np.int64, "f4": np.float32, "f8": np.float64}


@pytest.mark.parametrize(
    ("tensor", "other", "expected"),
    [
        # a Python scalar or an array adopts the tensor's dtype within its kind, and raises the kind to its default
        ("f4", 1.5, "f4"), ("f8", 1, "f8"), ("i4", 1, "i4"), ("i8", True, "i8"), ("b", True, "b"), ("b", 1, "i8"),
        ("b", 1.5, "f4"), ("i4", 1.5, "f4"),
        ("i8", 1.5, "f4"), ("f4", np.ones(2), "f4"), ("f4", np.float64(1), "f4"), ("i4", np.ones(2, np.int64), "i4"),
        ("i4", np.ones(2), "f4"),
        ("f4", np.ones(2, np.int64), "f4"), ("i8", [1, 2], "i8"), ("f4", [True, False], "f4"),
        ("b", np.ones(2, np.int32), "i8"),
        ("f8", np.ones(2, np.float32), "f8"),
    ],
)  # fmt: skip
def test_promotion_beside_a_tensor(tensor: str, other: Any, expected: str) -> None:
    x = graphc.input("x", (2,), TENSORS[tensor])
    for result in (x + other, other + x, graphc.maximum(other, x), graphc.where(graphc.input("c", (2,), "bool"), x, other)):
        assert result.dtype == np.dtype(TENSORS[expected]), result


@pytest.mark.parametrize("left", TENSORS)
@pytest.mark.parametrize("right", TENSORS)
def test_promotion_of_two_tensors(left: str, right: str) -> None:
    """Float over integer over bool, then the wider."""
    x, y = (graphc.input(name, (2,), TENSORS[dtype]) for name, dtype in (("x", left), ("y", right)))
    expected = max(left, right, key=lambda name: ("bif".index(name[0]), name))
    assert (x + y).dtype == np.dtype(TENSORS[expected])
    assert (x == y).dtype == np.bool_
    floating = expected if expected[0] == "f" else "f4"
    assert (x / y).dtype == np.dtype(TENSORS[floating])


def test_a_shape_may_be_an_array() -> None:
    assert graphc.input("x", np.array([2, 3])).shape == graphc.zeros(np.array([2, 3])).shape == (2, 3)
    with pytest.raises(ShapeError, match="a tuple of integers"):
        graphc.zeros(np.array([2.0]))


def test_numbers_beside_a_float64_tensor_keep_their_digits() -> None:
    x = graphc.input("x", (2,), "float64")
    for value in (graphc.stack([x, [0.1, 0.1]])[1], F.linear(x, [[0.1, 0.0]], [0.0]), graphc.vjp(x * 1, x, [[0.1, 0.1]])):
        assert (graphc.compile(value + 0 * x.sum())(x=[1.0, 1.0]) == 0.1).all()


def test_result_dtypes() -> None:
    i, b, f = (graphc.input(name, (2,), name) for name in ("int32", "bool", "float64"))
    reduced = (i.sum(), b.sum(), f.sum(), i.prod(), i.mean(), b.mean(), f.mean(), i.max(), b.max(), f.argmax())
    assert [t.dtype.name for t in reduced] == [
        "int64", "int64", "float64", "int64", "float32", "float32", "float64", "int32", "bool", "int64",
    ]  # fmt: skip
    others = (graphc.exp(i), graphc.sqrt(b), graphc.exp(f), graphc.arange(3), graphc.arange(3.0), graphc.zeros(2))
    assert [t.dtype.name for t in others] == [
        "float32", "float32", "float64", "int64", "float32", "float32",
    ]  # fmt: skip
    assert [(i**y).dtype.name for y in (2, 2.0, 1.0, 0.5)] == ["int32", "float32", "float32", "float32"]
    assert [(b**y).dtype.name for y in (1, 2, 2.0)] == ["int64", "int64", "float32"]
    values = (1, 1.5, True, [1.0], np.ones(1), np.ones(1, np.int8), np.ones(1, np.float16))
    assert [graphc.constant(value).dtype.name for value in values] == [
        "int64", "float32", "bool", "float32", "float64", "int32", "float32",
    ]  # fmt: skip


def test_a_scalar_out_of_the_range_of_its_integer_type() -> None:
    x = graphc.input("x", (2,), "int32")
    with pytest.raises(InputError, match="out of range for int32"):
        x + 2**40
    with pytest.raises(InputError, match="out of range for int64"):
        graphc.constant(2**70)


def test_a_whole_number_beside_floats_may_be_of_any_size() -> None:
    x = graphc.input("x", (2,))
    assert graphc.compile([x + 2**63, x - 2**70, 2**100 * (x + 1)])(x=[0, 0])[1].tolist() == [-(2.0**70)] * 2
    assert (x * -(2**64)).dtype == np.float32 and graphc.constant(2**70, "float64").dtype == np.float64
    for wrong in (lambda: x + 10**400, lambda: graphc.constant(10**400, "float64"), lambda: graphc.constant([2**70], "int64")):
        with pytest.raises(InputError, match="out of range for"):
            wrong()


def test_astype() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.75, -2.75, 2147483648.0])
    assert run(lambda x: x.astype("int32"), x).tolist() == [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 2, -2, 2**31 - 1]
    assert run(lambda x: x.astype(int), x).tolist() == [0, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63), 2, -2, 2**31]
    assert run(lambda x: x.astype(bool), np.array([0.0, np.nan, 2])).tolist() == [False, True, True]
    assert run(lambda x: x.astype("i32"), np.array([2**32 + 5])).tolist() == [5]
    saturated = graphc.constant([np.nan, 1e30, -np.inf], "int32")
    assert run(lambda x: x * 0 + saturated, np.array([1])).tolist() == [0, 2**31 - 1, -(2**31)]
    with pytest.raises(DTypeError, match="no such element type"):
        graphc.zeros(2).astype("float16")


# --- reductions ---

REDUCED = [
    ((), None),
    ((7,), None),
    ((3, 5), 0),
    ((3, 5), -1),
    ((3, 5), (0, 1)),
    ((2, 3, 4), (0, -1)),
    ((2, 3, 4), 1),
    ((1, 4), 0),
    ((3, 1), 1),
    ((2, 3), ()),
]


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "var", "std", "all", "any"])
@pytest.mark.parametrize(("shape", "axis"), REDUCED)
def test_reductions(name: str, shape: tuple[int, ...], axis: Any) -> None:
    x = normal(*shape) > 0 if name in ("all", "any") else normal(*shape)
    ours, theirs = getattr(graphc, name), getattr(np, name)
    check(lambda x: ours(x, axis=axis), lambda x: theirs(x, axis=axis), x)
    check(lambda x: ours(x, axis=axis, keepdims=True), lambda x: theirs(x, axis=axis, keepdims=True), x)
    check(lambda x: getattr(x, name)(axis), lambda x: theirs(x, axis), x)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize(("shape", "axis"), [case for case in REDUCED if not isinstance(case[1], tuple)])
def test_positions(name: str, shape: tuple[int, ...], axis: Any) -> None:
    x = RNG.integers(-1, 2, shape).astype(np.float32)
    ours, theirs = getattr(graphc, name), getattr(np, name)
    check(lambda x: ours(x, axis=axis), lambda x: theirs(x, axis=axis), x)
    check(lambda x: ours(x, axis=axis, keepdims=True), lambda x: theirs(x, axis=axis, keepdims=True), x)
    check(lambda x: getattr(x, name)(axis), lambda x: theirs(x, axis), x)


def test_reductions_of_nothing() -> None:
    x = np.zeros((0, 3), np.float32)
    for name in ("sum", "prod", "all", "any"):
        check(lambda x: getattr(graphc, name)(x, axis=0), lambda x: getattr(np, name)(x, axis=0), x)  # noqa: B023 - called at once
    assert np.isnan(run(lambda x: x.mean(axis=0), x)).all()
    for name in ("max", "argmin", "logsumexp"):
        with pytest.raises(ShapeError, match="an empty axis has no extremum"):
            getattr(graphc, name)(graphc.zeros((0, 3)), axis=0)
    check(lambda x: x.max(axis=1), lambda x: x.max(axis=1), x)


def test_reductions_of_nan_and_infinity() -> None:
    x = np.array([[1, np.nan, 3], [np.inf, 2, np.inf], [-np.inf, -np.inf, -np.inf], [-np.inf, 0, 5]], np.float32)
    for name in ("sum", "max", "min", "prod", "argmax", "argmin"):
        check(lambda x: getattr(graphc, name)(x, axis=1), lambda x: getattr(np, name)(x, axis=1), x)  # noqa: B023 - called at once
    assert run(lambda x: graphc.logsumexp(x, axis=1), x)[1:3].tolist() == [np.inf, -np.inf]


def test_logsumexp() -> None:
    x = np.array([[1e4, 1e4 - 1], [-1e4, -1e4]])
    expected = np.array([1e4 + math.log1p(math.exp(-1)), -1e4 + math.log(2)])
    agree(run(lambda x: graphc.logsumexp(x, 1), x), expected, rtol=1e-12)
    agree(run(lambda x: graphc.logsumexp(x, 1, keepdims=True), x), expected[:, None], rtol=1e-12)


def test_variance_takes_a_correction() -> None:
    x = normal(5, 3)
    check(lambda x: x.var(0, correction=1), lambda x: x.var(0, ddof=1), x)
    check(lambda x: x.std(correction=1), lambda x: x.std(ddof=1), x)


# --- errors, at declaration ---

X, Y, N = graphc.input("x", (32, 784)), graphc.input("w", (768, 10)), graphc.input("n", (3,), "int32")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda: X @ Y, ShapeError, "matmul: inner dimensions differ, 784 != 768"),
        (lambda: X @ graphc.zeros(()), ShapeError, "matmul: operands need at least one axis"),
        (lambda: graphc.zeros((2, 3, 4)) @ graphc.zeros((3, 4, 5)), ShapeError, "shapes do not broadcast: (2,), (3,)"),
        (lambda: X + Y, ShapeError, "add: shapes do not broadcast: (32, 784), (768, 10)"),
        (lambda: X + "1", DTypeError, "expected numbers"), (lambda: X + None, DTypeError, "expected numbers"),
        (lambda: X + 1j, DTypeError, "expected numbers, got complex128"),
        (lambda: X.sum(axis=2), ShapeError, "sum: axis 2 is out of range for a tensor of rank 2"),
        (lambda: X.sum(axis=(0, -2)), ShapeError, "names an axis twice"),
        (lambda: X.sum(axis=1.0), ShapeError, "axis must be an integer"),
        (lambda: X.reshape(3, -1), ShapeError, "cannot reshape f32[32,784]"),
        (lambda: X.reshape(-1, -1), ShapeError, "only one size can be -1"),
        (lambda: X.reshape(5), ShapeError, "cannot reshape"),
        (lambda: X.transpose(0, 0), ShapeError, "is not a permutation"), (lambda: X.squeeze(0), ShapeError, "is not of size 1"),
        (lambda: graphc.broadcast_to(X, (32, 785)), ShapeError, "broadcast"),
        (lambda: graphc.concat([X, Y]), ShapeError, "concat: shapes must agree outside axis 0"),
        (lambda: graphc.concat([]), InputError, "non-empty list"),
        (lambda: graphc.split(X, 5), ShapeError, "does not split into 5 equal parts"),
        (lambda: graphc.pad(X, -1), ShapeError, "must not be negative"),
        (lambda: graphc.pad(X, (1, 2, 3)), ShapeError, "does not fit"),
        (lambda: graphc.where(X, 1, 0), DTypeError, "where: the condition must be bool"),
        (lambda: X[X], DTypeError, "an index must be integer, got float32"),
        (lambda: X[X > 0], DTypeError, "a shape that depends on values"),
        (lambda: X[0, 0, 0], ShapeError, "3 indices for a tensor of rank 2"),
        (lambda: X[..., ...], ShapeError, "only one ..."), (lambda: X["a"], DTypeError, "not str"),
        (lambda: X[::0], ShapeError, "slice step cannot be zero"),
        (lambda: X[[0, 1], [0, 1, 2]], ShapeError, "getitem: shapes do not broadcast: (2,), (3,)"),
        (lambda: X[[0, 32], [0, 1]], ShapeError, "index 32 is out of range for an axis of size 32"),
        (lambda: X[np.ones(31, bool)], ShapeError, "a boolean index of shape (31,) for axes of sizes (32,)"),
        (lambda: graphc.take(X, X), DTypeError, "an index must be integer"),
        (lambda: N & 1.5, DTypeError, "needs bool or integer operands"),
        (lambda: graphc.arange(0, 5, 0), InputError, "the step must not be 0"),
        (lambda: graphc.arange("5"), InputError, "arange: expected finite numbers, got '5'"),
        (lambda: X.reshape(2.0), ShapeError, "a shape is an integer or a tuple of integers, not 2.0"),
        (lambda: X[[[0], [1, 2]]], InputError, "an index: not an array of numbers"),
        (lambda: X.sum(keepdims=np.ones(2)), InputError, "keepdims is True or False"),
        (lambda: X.var(correction="1"), InputError, "var: correction is a number"),
        (lambda: X.std(correction=2**70), InputError, "std: correction is a number"),
        (lambda: X.std(axis=2), ShapeError, "std: axis 2 is out of range"), (lambda: X.var(5), ShapeError, "var: axis 5"),
        (lambda: X.mean(axis="a"), ShapeError, "mean: axis must be"),
        (lambda: X.all(2), ShapeError, "all: axis 2 is out of range"),
        (lambda: N.any(2), ShapeError, "any: axis 2 is out of range"),
        (lambda: graphc.logsumexp(X, 2), ShapeError, "logsumexp: axis 2 is out of range"),
        (lambda: graphc.tile(X, -1), ShapeError, "tile: a shape has no negative sizes"),
        (lambda: graphc.broadcast_to(X, "a"), ShapeError, "broadcast_to: a shape is a tuple"),
        (lambda: graphc.as_tensor(X, np.ones(1)), DTypeError, "no such element type"),
        (lambda: X.astype("ij,jk->ik"), DTypeError, "no such element type: 'ij,jk->ik'"),
        (lambda: graphc.linspace(0, 10**400), InputError, "linspace: expected numbers"),
        (lambda: graphc.random.uniform(3, None), DTypeError, "expected numbers, got NoneType"),
        (lambda: graphc.split(X, "2"), ShapeError, "sections is an integer or a tuple"),
        (lambda: graphc.roll(X, (1, 2, 3), (0, 1)), ShapeError, "do not pair up"),
        (lambda: graphc.repeat(X, -1), ShapeError, "repetitions is an integer, at least 0"),
        (lambda: graphc.pad(X, 2**60), ShapeError, "too large to address"),
        (lambda: graphc.zeros((1,) * 65), ShapeError, "a tensor has at most 64 axes, not 65"),
        (lambda: graphc.zeros((1,) * 64)[None], ShapeError, "at most 64 axes"),
        (lambda: graphc.pad(X, 1.5), ShapeError, "pad_width holds integers"),
        (lambda: graphc.pad(X, 1, [1, 2]), ShapeError, "value is one number"),
        (lambda: graphc.tril(X, 0.5), ShapeError, "k is an integer"),
        (lambda: graphc.tensordot(X, Y, 3), ShapeError, "no 3 axes to sum over"),
        (lambda: graphc.tensordot(X, Y, ([0, 0], [0, 1])), ShapeError, "name an axis twice"),
        (lambda: graphc.einsum(X, Y), InputError, "the first argument is a string"),
        (lambda: graphc.scatter_add(N, N, 2.0), InputError, "size is an integer"),
        (lambda: graphc.one_hot(N, -1), InputError, "size is an integer"),
        (lambda: graphc.scan(3, X), InputError, "f is a function"),
        (lambda: graphc.input("", (2,)), InputError, "a name is a non-empty string"),
        (lambda: graphc.input("x", (2, -1)), ShapeError, "no negative sizes"),
        (lambda: graphc.input("x", (2.0,)), ShapeError, "tuple of integers"),
        (lambda: graphc.input("x", (2,), "complex64"), DTypeError, "no such element type"),
        (lambda: graphc.input("x", (2**30, 2**30)), ShapeError, "too large to address"),
        (lambda: bool(X), GraphcError, "a tensor has no value"),
        (lambda: float(X), GraphcError, "a tensor has no value"), (lambda: np.asarray(X), GraphcError, "a tensor has no value"),
        (lambda: int(N), GraphcError, "a tensor has no value"), (lambda: [0, 1][N], GraphcError, "a tensor has no value"),
    ],
)  # fmt: skip
def test_errors(function: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        function()
    assert message in str(caught.value)


def test_rolling_nothing() -> None:
    assert graphc.roll(X, [], []) is X and graphc.linspace(0, 2**70, 3).shape == (3,)


def test_what_is_shaped_as_an_array() -> None:
    assert graphc.zeros_like(np.ones((2, 3))).dtype == np.float64 and graphc.ones_like([1, 2]).shape == (2,)


def test_errors_name_an_operation_once() -> None:
    with pytest.raises(DTypeError, match=r"\Aadd: operand: expected numbers, got NoneType None"):
        graphc.input("x", (2,)) + None


def test_errors_name_operands_and_the_place() -> None:
    with pytest.raises(ShapeError) as caught:
        X @ Y
    assert re.fullmatch(
        r"matmul: inner dimensions differ, 784 != 768\n"
        r"  matmul x w     x: f32\[32,784\]   w: f32\[768,10\]\n"
        r"  declared at \S*test_functions.py:\d+",
        str(caught.value),
    )
