"""Division with remainder and integer powers, lane by lane, exactly NumPy's results.

Integers: x // 0 == x % 0 == 0 and the least integer // -1 wraps. Floats: the remainder of two floats is itself a float, and is
found exactly by long division (one subtraction of y * 2^k for each bit of the quotient), as C's fmod does. Those loops run
until the slowest lane is done; a lane that is done does not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphc.codegen.values import Value, literal_value, llvm_type
from graphc.types import float64, int32, is_float

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder


def floordiv(b: LaneBuilder, x: Value, y: Value) -> Value:
    return _divmod_float(b, x, y)[0] if is_float(x.dtype) else _divmod_integer(b, x, y)[0]


def mod(b: LaneBuilder, x: Value, y: Value) -> Value:
    return _divmod_float(b, x, y)[1] if is_float(x.dtype) else _divmod_integer(b, x, y)[1]


def _divmod_integer(b: LaneBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    zero, one, minus = (b.const(value, x.dtype) for value in (0, 1, -1))
    least = b.const(np.iinfo(x.dtype).min, x.dtype)
    if y.is_literal:
        divisor = int(literal_value(y))
        if divisor in (0, 1, -1):
            return (zero if divisor == 0 else x if divisor == 1 else b.neg(x)), zero
        by_zero, quotient = None, b.binary("sdiv", x, y)  # LLVM multiplies by the reciprocal
    else:
        by_zero = b.eq(y, zero)
        wraps = b.logical_and(b.eq(x, least), b.eq(y, minus))
        safe = b.where(b.logical_or(by_zero, wraps), one, y)
        # Two i32 divide exactly enough in f64, and vector units divide floats only.
        quotient = (
            b.convert("fptosi", b.div(b.to_float(x, float64), b.to_float(safe, float64)), int32)
            if x.dtype == int32
            else b.binary("sdiv", x, safe)
        )
        y = safe
    rest = b.sub(x, b.mul(quotient, y))
    # Division truncated; where the remainder's sign is not y's, the floor is one less.
    below = b.logical_and(b.ne(rest, zero), b.lt(b.logical_xor(rest, y), zero))
    quotient, rest = b.where(below, b.sub(quotient, one), quotient), b.where(below, b.add(rest, y), rest)
    if by_zero is not None:
        quotient, rest = b.where(by_zero, zero, quotient), b.where(by_zero, zero, rest)
    return quotient, rest


def _divmod_float(b: LaneBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """NumPy's: the exact remainder, with the sign of y, and the quotient that goes with it; x // 0 is x / 0, x % 0 is NaN."""
    zero, half, one = (b.const(value, x.dtype) for value in (0, 0.5, 1))
    ratio = b.div(x, y)
    rest = _fmod(b, x, y)
    quotient = b.div(b.sub(x, rest), y)
    exact = b.eq(rest, zero)
    crossed = b.logical_and(b.ne(rest, zero), b.logical_xor(b.lt(y, zero), b.lt(rest, zero)))
    quotient = b.where(crossed, b.sub(quotient, one), quotient)
    down = b.floor(quotient)
    down = b.where(b.gt(b.sub(quotient, down), half), b.add(down, one), down)
    down = b.where(b.eq(quotient, zero), b.copysign(zero, ratio), down)
    rest = b.where(exact, b.copysign(zero, y), b.where(crossed, b.add(rest, y), rest))
    by_zero = b.eq(y, zero)
    return b.where(by_zero, ratio, down), b.where(by_zero, b.const(np.nan, x.dtype), rest)


def _fmod(b: LaneBuilder, x: Value, y: Value) -> Value:
    """C's fmod: exact, with the sign of x."""
    lanes = max(x.lanes, y.lanes)
    zero, two, half = (b.const(value, x.dtype) for value in (0, 2, 0.5))
    infinity = b.const(np.inf, x.dtype)
    size, by = b.splat(b.abs(x), lanes), b.splat(b.abs(y), lanes)
    regular = b.logical_and(b.lt(size, infinity), b.gt(by, zero))  # false for NaN in either
    start = b.where(regular, size, zero)
    with _do_while(b, [by]) as (carried, again):
        twice = b.mul(carried[0], two)
        fits = b.logical_and(b.le(twice, start), b.gt(by, zero))
        again([b.where(fits, twice, carried[0])], fits)
    top = carried[0]
    with _do_while(b, [start, top]) as (carried, again):
        rest, step = carried
        rest = b.where(b.ge(rest, step), b.sub(rest, step), rest)
        more = b.gt(step, by)
        again([rest, b.where(more, b.mul(step, half), step)], more)
    rest = carried[0]
    regular = b.logical_and(regular, b.eq(by, by))
    return b.where(regular, b.copysign(rest, x), b.const(np.nan, x.dtype))


def integer_power(b: LaneBuilder, x: Value, y: Value) -> Value:
    """x ** y by squaring, wrapping; for y < 0 the integer part of the rational result: 1, -1 or 0."""
    lanes = max(x.lanes, y.lanes)
    zero, one, minus = (b.const(value, x.dtype) for value in (0, 1, -1))
    x, y = b.splat(x, lanes), b.splat(y, lanes)
    negative = b.lt(y, zero)
    odd = b.ne(b.logical_and(y, one), zero)
    with _do_while(b, [b.splat(one, lanes), x, b.where(negative, zero, y)]) as (carried, again):
        total, square, bits = carried
        total = b.where(b.ne(b.logical_and(bits, one), zero), b.mul(total, square), total)
        bits = b.shift_right(bits, 1)
        again([total, b.mul(square, square), bits], b.ne(bits, zero))
    unit = b.where(b.eq(x, one), one, b.where(b.eq(x, minus), b.where(odd, minus, one), zero))
    return b.where(negative, unit, carried[0])


@contextlib.contextmanager
def _do_while(b: LaneBuilder, initial: Sequence[Value]) -> Iterator[tuple[list[Value], Callable[[list[Value], Value], None]]]:
    """Repeat the body, once at least, until `again(next values, condition)` has a condition that holds in no lane. After the
    loop the list holds the last values."""
    fn = b.fn
    before, body, after = fn.block, fn.label("repeat"), fn.label("done")
    fn.jump(body)
    fn.start(body)
    at = len(fn.lines)
    carried = [Value(fn.fresh("c"), value.dtype, value.lanes) for value in initial]
    first = list(carried)

    def again(following: list[Value], condition: Value) -> None:
        more = b.any(condition)
        last = fn.block
        fn.branch(more, body, after)
        phis = []
        for phi, start, new in zip(first, initial, following, strict=True):
            type_ = llvm_type(phi.dtype, phi.lanes)
            phis.append(f"  {phi.name} = phi {type_} [ {start.name}, %{before} ], [ {new.name}, %{last} ]")
        fn.lines[at:at] = phis
        fn.start(after)
        carried[:] = following

    yield carried, again
