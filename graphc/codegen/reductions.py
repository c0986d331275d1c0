"""Reducers over lanes: an accumulator's identity, its update by one value, and the tree that makes one lane of many.

    sum      add                       max, min      NaN propagates; bool: or, and
    prod     mul                       argmax ...    (best value, its position): the first extremum, or the first NaN

An accumulator is a tuple of values. The order of a reduction is its loops' order within each lane, then `fold` over the
accumulators and `across` over the lanes: halves are combined, then their halves. It depends on shapes and the target only.
"""

from __future__ import annotations

import numpy as np

from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.values import Value, llvm_type
from graphc.types import bool_, int32, is_bool, is_float

Accumulator = tuple[Value, ...]


def is_positional(reducer: str) -> bool:
    return reducer in ("argmax", "argmin")


def identity(b: LaneBuilder, reducer: str, dtype: np.dtype, position: np.dtype, empty: bool = False) -> Accumulator:
    """What a reduction starts from, in one lane; or its result, where there is nothing to reduce. Positions start at 0: the
    answer when no value beats the identity."""
    if reducer == "sum":
        # -0.0 + x is x for every float x, 0.0 + x is not.
        return (b.const(-0.0 if is_float(dtype) and not empty else 0, dtype),)
    if reducer == "prod":
        return (b.const(1, dtype),)
    largest = reducer in ("min", "argmin")  # the value that everything else beats
    if is_float(dtype):
        worst: float = np.inf if largest else -np.inf
    elif is_bool(dtype):
        worst = largest
    else:
        worst = np.iinfo(dtype).max if largest else np.iinfo(dtype).min
    value = b.const(worst, dtype)
    return (value, b.const(0, position)) if is_positional(reducer) else (value,)


def update(b: LaneBuilder, reducer: str, acc: Accumulator, x: Value, position: Value | None, mask: Value | None) -> Accumulator:
    """`acc` and one more value, in the lanes of `mask`."""
    if position is not None:
        better = _better(b, reducer, x, acc[0])
        if mask is not None:
            better = b.logical_and(better, mask)
        return b.where(better, x, acc[0]), b.where(better, position, acc[1])
    total = _combine(b, reducer, acc[0], x)
    return (total if mask is None else b.where(mask, total, acc[0]),)


def fold(b: LaneBuilder, reducer: str, accs: list[Accumulator]) -> Accumulator:
    """Several accumulators as one, in a tree."""
    while len(accs) > 1:
        half = (len(accs) + 1) // 2
        accs = [_merge(b, reducer, accs[i], accs[i + half]) if i + half < len(accs) else accs[i] for i in range(half)]
    return accs[0]


def across(b: LaneBuilder, reducer: str, acc: Accumulator) -> Accumulator:
    """The lanes of an accumulator as one lane."""
    if acc[0].lanes == 1:
        return acc
    if is_positional(reducer):
        return _first_best(b, reducer, *acc)
    (total,) = acc
    # One look for NaN in all lanes, in place of one at each level.
    invalid = b.any(b.is_nan(total)) if reducer in ("max", "min") and is_float(total.dtype) else None
    while total.lanes > 1:
        low, high = (_half(b, total, first, total.lanes // 2) for first in (0, total.lanes // 2))
        if invalid is None:
            total = _combine(b, reducer, low, high)
        else:
            total = b.where(b.gt(high, low) if reducer == "max" else b.lt(high, low), high, low)
    if invalid is not None:
        total = b.where(Value(invalid, bool_, 1), b.const(np.nan, total.dtype), total)
    return (total,)


def _first_best(b: LaneBuilder, reducer: str, value: Value, position: Value) -> Accumulator:
    """The best of the lanes, as an integer, then the least position among the lanes that have it: two short trees, where one of
    pairs is long."""
    reducer = reducer.removeprefix("arg")
    rank = _rank(b, reducer, value)
    best = across(b, reducer, (rank,))[0]
    last = b.const(np.iinfo(position.dtype).max, position.dtype)
    return best, across(b, "min", (b.where(b.eq(rank, b.splat(best, rank.lanes)), position, last),))[0]


def _rank(b: LaneBuilder, reducer: str, x: Value) -> Value:
    """Integers in the order of x, with the two zeros equal, and NaN at the end that `reducer` looks for."""
    if not is_float(x.dtype):
        return b.cast(x, int32) if is_bool(x.dtype) else x
    bits = b.bitcast_int(b.add(x, b.const(0, x.dtype)))  # -0.0 + 0.0 is 0.0
    info = np.iinfo(bits.dtype)
    sign = b.shift_right(bits, 8 * x.dtype.itemsize - 1, signed=True)
    bits = b.logical_xor(bits, b.logical_and(sign, b.const(info.max, bits.dtype)))
    return b.where(b.eq(x, x), bits, b.const(info.max if reducer == "max" else info.min, bits.dtype))


def _half(b: LaneBuilder, x: Value, first: int, lanes: int) -> Value:
    type_ = llvm_type(x.dtype, x.lanes)
    if lanes == 1:
        return Value(b.fn.op(f"extractelement {type_} {x.name}, i64 {first}"), x.dtype, 1)
    order = ", ".join(f"i32 {lane}" for lane in range(first, first + lanes))
    return Value(b.fn.op(f"shufflevector {type_} {x.name}, {type_} poison, <{lanes} x i32> <{order}>"), x.dtype, lanes)


def _combine(b: LaneBuilder, reducer: str, x: Value, y: Value) -> Value:
    if reducer == "sum":
        return b.add(x, y)
    if reducer == "prod":
        return b.mul(x, y)
    return b.maximum(x, y) if reducer == "max" else b.minimum(x, y)


def _better(b: LaneBuilder, reducer: str, x: Value, best: Value) -> Value:
    """Whether x replaces the best so far: it is strictly beyond it, or the first NaN."""
    if not is_float(x.dtype):
        return b.gt(x, best) if reducer == "argmax" else b.lt(x, best)
    beyond = b.binary("fcmp ugt" if reducer == "argmax" else "fcmp ult", x, best)._replace(dtype=bool_)  # or a NaN on either side
    return b.logical_and(beyond, b.eq(best, best))


def _merge(b: LaneBuilder, reducer: str, x: Accumulator, y: Accumulator) -> Accumulator:
    if not is_positional(reducer):
        return (_combine(b, reducer, x[0], y[0]),)
    # Of equal values, or of two NaN, the one that came first.
    same = b.eq(x[0], y[0])
    if is_float(x[0].dtype):
        same = b.logical_or(same, b.logical_and(b.is_nan(x[0]), b.is_nan(y[0])))
    earlier = b.logical_and(same, b.lt(y[1], x[1]))
    take = b.logical_or(earlier, _better(b, reducer, y[0], x[0]))
    return b.where(take, y[0], x[0]), b.where(take, y[1], x[1])
