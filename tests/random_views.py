"""Moves of `random_graphs` that move elements: views and windows."""

from __future__ import annotations

import math
from typing import Any

from random_graphs import Growth

from graphc import functions as fn
from graphc.op import OPS
from graphc.tensor import Tensor


def reshape(g: Growth) -> Tensor:
    x = g.any()
    if not x.size or g.choices.chance(20):
        return x.reshape((-1,)) if x.size else x.reshape((*x.shape[::-1], 1))
    factors = [p for n in x.shape for p in _primes(n)]
    factors = [factors[i] for i in g.choices.order(len(factors))] if g.choices.chance(40) else factors
    shape: list[int] = []
    for factor in factors:
        if shape and g.choices.chance(50):
            shape[-1] *= factor
        else:
            shape.append(factor)
    if g.choices.chance(15):
        shape.insert(g.choices.below(len(shape) + 1), 1)
    return x.reshape(tuple(shape))


def _primes(n: int) -> list[int]:
    found, p = [], 2
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def transpose(g: Growth) -> Tensor:
    x = g.any("fib", 2)
    return x.T if g.choices.below(3) == 0 else x.transpose(tuple(reversed(g.choices.order(x.ndim))))


def broadcast(g: Growth) -> Tensor | None:
    x = g.any()
    shape = tuple(g.choices.pick((3, 1, 2, 0)) if size == 1 and g.choices.chance(70) else size for size in x.shape)
    if g.choices.chance(50):
        shape = (g.choices.pick((2, 1, 3)), *shape)
    return fn.broadcast_to(x, shape) if math.prod(shape) <= g.limit else None


def cut(g: Growth) -> Tensor:
    x = g.any("fib", 1)
    keys: list[Any] = []
    for size in x.shape:
        start = g.choices.below(size + 1) if g.choices.chance(50) else 0
        stop = size - (g.choices.below(size - start + 1) if g.choices.chance(40) else 0)
        keys.append(slice(start, stop, g.choices.pick((1, 1, 2, 3, -1)) if g.choices.chance(50) else 1))
        if keys[-1].step == -1:
            keys[-1] = slice(None, None, -1)
        if size and g.choices.chance(10):
            keys[-1] = g.choices.below(size)
    return x[tuple(keys)]


def flip(g: Growth) -> Tensor:
    x = g.any("fib", 1)
    return fn.flip(x, axis=g.axes(x))


def pad(g: Growth) -> Tensor:
    x = g.any("fib", 1)
    low, high = ([g.choices.below(3) for _ in x.shape] for _ in range(2))
    interior = [g.choices.below(3) if g.choices.chance(20) else 0 for _ in x.shape]
    value = {"b": g.choices.pick((False, True)), "i": g.choices.pick((0, 7)), "f": g.choices.pick((0.0, 1.5, -0.0))}[x.dtype.kind]
    return OPS["pad"](x, low=tuple(low), high=tuple(high), interior=tuple(interior), value=value)


def concat(g: Growth) -> Tensor:
    x = g.any("fib", 1)
    axis = g.choices.below(x.ndim)
    parts = [x]
    for _ in range(1 + g.choices.below(3)):
        found = [t for t in g.pool if t.dtype == x.dtype and _without(t.shape, axis) == _without(x.shape, axis)]
        size = g.choices.pick((1, 2, 0, 5))
        new = not found or g.choices.chance(30)
        parts.append(g.leaf((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype.name) if new else g.choices.pick(found))
    return fn.concat([parts[i] for i in g.choices.order(len(parts))], axis=axis)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape with the size of one axis left open."""
    return tuple(-1 if i == axis else size for i, size in enumerate(shape))


def shift(g: Growth) -> Tensor | None:
    """Pieces of one tensor in another order."""
    x = g.any("fib", 1, nonempty=True)
    how = g.choices.below(4)
    if how == 0:
        return fn.roll(x, 1 + g.choices.below(3), g.choices.below(x.ndim))
    if how == 1 and x.ndim >= 2 and x.dtype.kind != "b":
        return g.choices.pick((fn.tril, fn.triu))(x, g.choices.pick((0, 1, -1)))
    if how == 2 and 2 * x.size <= g.limit:
        return fn.repeat(x, 2, axis=g.choices.below(x.ndim))
    return fn.stack([x, x], axis=g.choices.below(x.ndim + 1)) if 2 * x.size <= g.limit else None


# --- windows ---


def _windows(g: Growth, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Windows along one or two axes of x."""
    axes = tuple(g.choices.order(x.ndim)[: 1 + g.choices.below(min(2, x.ndim))])
    found: dict[str, tuple[int, ...]] = {"axes": axes, "count": (), "size": (), "step": (), "dilation": (), "low": ()}
    for axis in axes:
        size, step = g.choices.pick((3, 1, 2)), g.choices.pick((1, 2, 3))
        dilation, low = 1 + g.choices.below(2), g.choices.below(3)
        count = max(0, (x.shape[axis] + 2 * low - (size - 1) * dilation - 1) // step + 1)
        for name, value in (("count", count), ("size", size), ("step", step), ("dilation", dilation), ("low", low)):
            found[name] += (value,)
    return found


def window(g: Growth) -> Tensor | None:
    """Windows of a tensor; a convolution; or windows laid over each other, apart or added up."""
    x = g.any("fi", 1)
    attrs = _windows(g, x)
    if x.ndim > 5 or math.prod(x.shape) * math.prod(attrs["size"]) > g.limit:
        return None
    y = OPS["window"](x, value=0, **attrs)
    if g.choices.below(2) and x.dtype.kind == "f" and y.size <= g.limit:
        summed = "xy"[: len(attrs["size"])]
        kept = "abcde"[: x.ndim]
        w = g.leaf((*attrs["size"], 3), x.dtype.name)
        return OPS["contract"](y, w, spec=f"{kept}{summed},{summed}o->{kept}o")
    if g.choices.below(2):
        count = tuple(x.shape[axis] for axis in attrs["axes"])
        same = {name: attrs[name] for name in ("axes", "step", "dilation", "low")}
        value = {} if g.choices.below(2) else {"value": 0}
        return OPS["skew" if value else "fold"](fn.sin(y) if y.dtype.kind == "f" else y, count=count, **same, **value)
    return y
