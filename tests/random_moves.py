"""The moves of `random_graphs`: each takes a graph in the making and returns one more tensor, or None where nothing fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from random_graphs import FLOATS, INTEGERS, Growth, broadcasts
from random_views import broadcast, concat, cut, flip, pad, reshape, shift, transpose, window

import graphc
import graphc.nn.functional as F
from graphc import functions as fn
from graphc.op import OPS
from graphc.tensor import Tensor

Move = Callable[[Growth], Tensor | None]


# --- elementwise ---


def unary(g: Growth) -> Tensor:
    x = g.any("f")
    smooth = (fn.tanh, fn.exp, fn.sigmoid, fn.sin, fn.cos, fn.erf, fn.square, fn.expm1)
    return g.choices.pick((*smooth, fn.abs, fn.negative, fn.sign, fn.floor))(x)


def guarded(g: Growth) -> Tensor:
    """Functions with a singularity, kept away from it (not always)."""
    x = g.any("f")
    f = g.choices.pick((fn.log, fn.sqrt, fn.rsqrt, fn.log1p, fn.reciprocal))
    return f(x if g.choices.chance(10) else fn.abs(x) + 0.5)


def integer_unary(g: Growth) -> Tensor:
    x = g.any("i")
    return g.choices.pick((fn.abs, fn.negative, fn.sign, fn.bitwise_invert))(x)


def binary(g: Growth) -> Tensor:
    x = g.any("fi")
    y = g.beside(x, "fi")
    f = g.choices.pick((fn.add, fn.multiply, fn.subtract, fn.maximum, fn.minimum, fn.divide))
    if f is fn.divide and g.choices.below(10):
        y = fn.abs(y) + 1
    return f(x, y) if g.choices.below(4) else f(y, x)


def powers(g: Growth) -> Tensor:
    x = g.any("f")
    if g.choices.chance(40):
        return fn.power(fn.abs(x) + 0.25, fn.clip(g.beside(x, "f"), -3, 3))
    return fn.power(x, g.choices.pick((2, 3, 0.5, -1, -2, 1, 0)))


def integer_binary(g: Growth) -> Tensor:
    x = g.any("i")
    y = g.beside(x, "i")
    f = g.choices.pick((fn.floor_divide, fn.remainder, fn.bitwise_and, fn.bitwise_or, fn.bitwise_xor, fn.power))
    return f(x, fn.clip(y, -1, 5)) if f is fn.power else f(x, y)


def float_division(g: Growth) -> Tensor:
    x = g.any("f")
    return g.choices.pick((fn.floor_divide, fn.remainder))(x, fn.abs(g.beside(x, "f")) + 0.75)


def compare(g: Growth) -> Tensor:
    x = g.any("fib")
    y = g.beside(x, "b" if x.dtype.kind == "b" else "fi")
    return g.choices.pick((fn.less, fn.equal, fn.greater_equal, fn.not_equal, fn.less_equal))(x, y)


def logic(g: Growth) -> Tensor:
    x = g.any("b")
    f = g.choices.pick((fn.logical_and, fn.logical_or, fn.logical_xor, None, fn.maximum))
    return fn.logical_not(x) if f is None else f(x, g.beside(x, "b"))


def where(g: Growth) -> Tensor | None:
    x = g.any("fi")
    condition, y = g.beside(x, "b"), g.beside(x, x.dtype.kind)
    return fn.where(condition, x, y) if broadcasts(condition.shape, y.shape, g.limit) else None


def cast(g: Growth) -> Tensor:
    return g.any().astype(g.choices.pick((*FLOATS, *INTEGERS, "bool")))


def marker(g: Growth) -> Tensor:
    x = g.any("fi")
    how = g.choices.below(3)
    if how == 0:
        return fn.stop_gradient(x)
    if how == 1:
        return OPS["copy"](x)
    return graphc.custom_vjp(lambda a: a * 2, lambda v, a: v * fn.cos(a) if a.dtype.kind == "f" else None)(x)


def carrier(g: Growth) -> Tensor:
    """A tensor that carries an update, which nothing takes up."""
    state = g.any("fi")
    return OPS["implies"](g.any("fi"), state, state, state)


# --- reductions ---


def reduction(g: Growth) -> Tensor:
    x = g.any("fi", nonempty=True)
    f = g.choices.pick((fn.sum, fn.mean, fn.max, fn.min, fn.prod, fn.logsumexp, fn.var))
    if f in (fn.logsumexp, fn.var, fn.mean) and x.dtype.kind != "f":
        f = fn.sum
    if f is fn.prod and x.dtype.kind == "f":
        x = fn.tanh(x) + 1
    return f(x, axis=g.axes(x), keepdims=g.choices.chance(40))


def empty_reduction(g: Growth) -> Tensor:
    x = g.any("fi")
    return g.choices.pick((fn.sum, fn.prod))(x if x.dtype.kind == "i" else fn.sin(x), axis=g.axes(x))


def truth(g: Growth) -> Tensor:
    x = g.any("bi")
    return g.choices.pick((fn.all, fn.any))(x, axis=g.axes(x), keepdims=g.choices.chance(30))


def position(g: Growth) -> Tensor | None:
    x = g.any("fib", nonempty=True)
    axis = None if g.choices.chance(20) or not x.ndim else g.choices.below(x.ndim)
    return g.choices.pick((fn.argmax, fn.argmin))(x, axis=axis, keepdims=g.choices.chance(30))


def normalization(g: Growth) -> Tensor:
    """The rows of networks."""
    x = g.any("f", 1, nonempty=True)
    axis = g.choices.below(x.ndim)
    how = g.choices.below(5)
    if how == 0:
        return F.softmax(x, axis)
    if how == 1:
        return F.log_softmax(x, axis)
    if how == 2:
        return F.layer_norm(x, x.shape[-1:])
    if how == 3:
        return x - x.mean(axis=axis, keepdims=True)
    return F.gelu(x) if g.choices.below(2) else F.silu(x)


# --- products and indexing ---


def contraction(g: Growth) -> Tensor | None:
    """Each axis of x is shared with the other operand and summed, shared and kept, or its own."""
    x = g.any("f" if g.choices.below(6) else "i")
    if x.ndim > 3:
        x = x.reshape((*x.shape[:2], -1)) if x.size else x.sum(axis=tuple(range(2, x.ndim)))
    if g.choices.chance(15) and x.ndim == 2:
        return x @ x.T if g.choices.below(2) else x.T @ x
    roles = [g.choices.below(3) for _ in x.shape]  # 0 summed, 1 own, 2 batch
    labels = "abc"[: x.ndim]
    w = [(label, size) for label, size, role in zip(labels, x.shape, roles, strict=True) if role != 1]
    w += [(label, g.choices.pick((3, 1, 8, 17, 0, 33))) for label in "xy"[: g.choices.pick((1, 0, 2) if len(w) < 3 else (0, 1))]]
    w = [w[i] for i in g.choices.order(len(w))]
    out = [label for label, role in zip(labels, roles, strict=True) if role] + [label for label, _ in w if label in "xy"]
    out = [out[i] for i in g.choices.order(len(out))]
    sizes = dict(zip(labels, x.shape, strict=True)) | dict(w)
    if math.prod(sizes[label] for label in out) > g.limit or math.prod(size for _, size in w) > g.limit:
        return None
    shape = tuple(size for _, size in w)
    found = [t for t in g.pool if t.shape == shape and t.dtype == x.dtype]
    other = g.choices.pick(found) if found and g.choices.chance(60) else g.leaf(shape, x.dtype.name)
    return OPS["contract"](x, other, spec=f"{labels},{''.join(label for label, _ in w)}->{''.join(out)}")


def dense(g: Growth) -> Tensor:
    """A layer of a network."""
    x = g.any("f", 1)
    n = g.choices.pick((5, 1, 8, 17, 33))
    w, b = (g.leaf(shape, x.dtype.name) for shape in ((n, x.shape[-1]), (n,)))
    y = F.linear(x if x.ndim == 2 else x.reshape((-1, x.shape[-1])) if x.size else x, w, b)
    return g.choices.pick((F.relu, fn.tanh, lambda y: y, F.gelu))(y)


def _index(g: Growth, size: int) -> Tensor:
    """Positions on an axis of `size`, in range."""
    found = [t for t in g.pool if t.dtype.kind == "i"]
    if found and g.choices.chance(40):
        return fn.remainder(g.choices.pick(found), size)
    shape = g.shape(g.choices.pick((1, 0, 2)))
    values = g.rng.integers(-size, size, shape).astype(g.choices.pick(INTEGERS))
    if g.choices.below(2):
        return graphc.constant(values)
    name = f"x{len(g.inputs)}"
    x = graphc.input(name, shape, values.dtype)
    g.inputs.append(x)
    g.arrays[name] = g.values[x.node] = np.asarray(values)
    return x


def take(g: Growth) -> Tensor | None:
    x = g.any("fib", 1, nonempty=True)
    axis = g.choices.below(x.ndim)
    index = _index(g, x.shape[axis])
    if index.size * x.size // x.shape[axis] > g.limit:
        return None
    return fn.take(x, index, axis=axis)


def scatter(g: Growth) -> Tensor | None:
    size = g.choices.pick((4, 1, 7, 40))
    index = _index(g, size)
    rest = g.choices.pick(((), (3,), (2, 17)))
    if index.size * math.prod(rest) > g.limit:
        return None
    axis = g.choices.below(len(rest) + 1)
    shape = (*rest[:axis], *index.shape, *rest[axis:])
    found = [t for t in g.pool if t.shape == shape and t.dtype.kind in "fi"]
    updates = g.choices.pick(found) if found else g.leaf(shape, g.choices.pick((*FLOATS, *INTEGERS)))
    if axis == updates.ndim:  # `index` is a scalar
        updates, index = updates.reshape((*updates.shape, 1)), index.reshape((1,))
    return fn.scatter_add(index, updates, size, axis=axis)


def counter(g: Growth) -> Tensor:
    return OPS["iota"](size=g.choices.pick((5, 1, 17, 0, 33)), dtype=np.dtype(g.choices.pick((*INTEGERS, *FLOATS))))


def bits(g: Growth) -> Tensor:
    """Random bits at positions, of a seed and a step in the pool."""
    index = g.any("i").astype("int64")
    seed, step = (fn.broadcast_to(g.leaf((), "int64"), index.shape) for _ in range(2))
    return OPS["philox"](index, seed, step, stream=g.choices.below(9), dtype=np.dtype(g.choices.pick(INTEGERS)))


def fresh(g: Growth) -> Tensor:
    return g.leaf(g.shape(), g.choices.pick((*FLOATS, *INTEGERS, "bool")))


# --- loops ---


def loop(g: Growth) -> Tensor | None:
    """A scan whose body grows by moves of its own."""
    c = g.choices
    xs = g.any("fi", 1)
    if not 0 < xs.shape[0] <= 20 or xs.size > g.limit:
        return None
    init = g.leaf(c.pick((xs.shape[1:], (), (3,))), c.pick(FLOATS))
    inside = [move for move, weight in MOVES for _ in range(weight) if move not in (loop, carrier)]

    def body(carry: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        g.values[carry.node], g.values[x.node] = g.value(init), g.value(xs)[0]
        inner = replace(g, pool=[*g.pool[-1:], x, carry], limit=200)  # shares inputs, states and values
        for _ in range(1 + c.below(4)):
            made = c.pick(inside)(inner)
            if made is not None and made.size <= inner.limit:
                inner.add(made)
        y = inner.pool[-1]
        news = [t for t in inner.pool if t.dtype.kind in "fi" and broadcasts(t.shape, carry.shape, g.limit)]
        new = c.pick(news[::-1])
        if np.broadcast_shapes(new.shape, carry.shape) != carry.shape:
            new = fn.mean(new.astype(carry.dtype)) if new.size else carry
        return fn.tanh(carry * 0.5 + new).astype(carry.dtype), y

    last, ys = graphc.scan(body, init, xs, reverse=c.chance(30))
    return ys if c.below(3) and ys.size <= g.limit else last


MOVES: tuple[tuple[Move, int], ...] = (
    (unary, 5), (binary, 10), (reduction, 5), (dense, 3), (contraction, 4), (normalization, 3), (where, 2), (compare, 1),
    (cast, 2), (guarded, 2), (powers, 1), (reshape, 3), (transpose, 3), (broadcast, 2), (cut, 3), (flip, 1), (pad, 2),
    (concat, 2), (shift, 2), (take, 3), (scatter, 2), (integer_unary, 1), (integer_binary, 2), (float_division, 1), (logic, 1),
    (marker, 1), (truth, 1), (position, 1), (empty_reduction, 1), (counter, 1), (bits, 1), (fresh, 1),
    (window, 2), (loop, 2), (carrier, 1),
)  # fmt: skip
