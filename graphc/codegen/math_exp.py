"""exp, expm1, sigmoid and tanh.

    x = n log(2) + r with integer n, |r| <= log(2) / 2;   e^r = 1 + r + r^2 q(r);   e^x = 2^n e^r

n is found by adding a shifter (see `Format`), r in two steps with a log(2) of two parts (Cody and Waite 1980), q is a minimax
polynomial. 2^n is made of exponent bits; where n may leave the range of exponents, it is applied as two factors, so that the only
rounding into the denormals is that of the last product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from graphc.codegen.math_common import FORMAT, at_least, at_most, constants, fast_two_sum, polynomial
from graphc.codegen.values import Value
from graphc.types import float32, float64

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder

LOG2_E = 1.4426950408889634

# (e^r - 1 - r) / r^2 on |r| <= 0.348. Error of 1 + r + r^2 q relative to e^r: f32 2^-28.2, f64 2^-57.8.
EXP: dict[np.dtype, tuple[float, ...]] = {
    float32: (0.49999994, 0.16666518, 0.041668415, 0.008368993, 0.0013814028),
    float64: (
        0.5000000000000011,
        0.16666666666666402,
        0.041666666666525916,
        0.008333333333499554,
        0.0013888888944905851,
        0.0001984126949864517,
        2.4801491637205107e-05,
        2.7557590607162215e-06,
        2.7630813177945895e-07,
        2.4999637814725306e-08,
    ),
}
# The same function, fitted for the error of r + r^2 q relative to e^r - 1: f32 2^-26.1, f64 2^-55.6.
EXPM1: dict[np.dtype, tuple[float, ...]] = {
    float32: (0.5, 0.1666654, 0.041666277, 0.008366845, 0.0013946911),
    float64: (
        0.5000000000000006,
        0.16666666666666688,
        0.04166666666657067,
        0.008333333333314015,
        0.0013888888933408818,
        0.00019841269904453832,
        2.4801503143078808e-05,
        2.75572265544255e-06,
        2.762686705630894e-07,
        2.5114950046803375e-08,
    ),
}
# (tanh(x) / x - 1) / x^2 in x^2, for x <= TANH_BORDER. Error relative to tanh: 2^-24.7.
TANH_F32 = (-0.33332947, 0.13320725, -0.05267183, 0.01643761)
TANH_BORDER = 0.55  # tanh(0.55) > 1/2: beyond it 1 - 2 / (e^2x + 1) does not cancel
# Beyond these e^x rounds to 0 and to infinity, and below the third e^x - 1 rounds to -1.
UNDERFLOW = {float32: -104.0, float64: -746.0}
OVERFLOW = {float32: 89.0, float64: 710.0}
MINUS_ONE = {float32: -18.0, float64: -38.0}


class Reduced(NamedTuple):
    bits: Value  # an integer whose low bits hold n + offset
    n: Value
    partial: Value  # x - n ln2_high, exact
    r: Value  # partial - n ln2_low, rounded


def reduce(b: LaneBuilder, x: Value, offset: int) -> Reduced:
    layout, c = FORMAT[x.dtype], constants(b, x)
    shifter = c(layout.shifter + offset)
    shifted = b.fma(x, c(LOG2_E), shifter)
    n = b.sub(shifted, shifter)
    partial = b.fma(n, c(-layout.ln2_high), x)
    return Reduced(b.bitcast_int(shifted), n, partial, b.fma(n, c(-layout.ln2_low), partial))


def scales(b: LaneBuilder, bits: Value, mantissa: int) -> tuple[Value, Value]:
    """2^n as two factors, from bits that hold n + 2 * bias; each factor gets half of the sum."""
    half = b.shift_right(bits, 1)
    rest = b.sub(bits, half)
    return b.bitcast_float(b.shift_left(half, mantissa)), b.bitcast_float(b.shift_left(rest, mantissa))


def exp_between(b: LaneBuilder, x: Value) -> Value:
    """e^x for x from UNDERFLOW to OVERFLOW, and NaN."""
    layout = FORMAT[x.dtype]
    reduced = reduce(b, x, 2 * layout.bias)
    r = reduced.r
    z = b.fma(b.mul(r, r), polynomial(b, r, EXP[x.dtype]), r)
    first, second = scales(b, reduced.bits, layout.mantissa)
    return b.mul(b.fma(z, first, first), second)


def exp(b: LaneBuilder, x: Value) -> Value:
    """e^x."""
    return exp_between(b, at_most(b, at_least(b, x, UNDERFLOW[x.dtype]), OVERFLOW[x.dtype]))


def expm1_between(b: LaneBuilder, x: Value) -> Value:
    """(e^x - 1) for x from MINUS_ONE to OVERFLOW, not denormal, and NaN."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    # Half of 2^n: then n = bias + 1, just short of overflow, needs no second factor.
    bits, n, partial, r = reduce(b, x, layout.bias - 1)
    half = b.bitcast_float(b.shift_left(bits, layout.mantissa))
    # What r lost to rounding would count twice where n = 1 and r < 0: 2 e^r - 1.
    lost = b.fma(n, c(-layout.ln2_low), b.sub(partial, r))
    z = b.add(r, b.fma(b.mul(r, r), polynomial(b, r, EXPM1[x.dtype]), lost))
    return b.mul(b.fma(half, z, b.sub(half, c(0.5))), c(2))


def expm1(b: LaneBuilder, x: Value) -> Value:
    """e^x - 1, accurate near 0."""
    between = expm1_between(b, at_most(b, at_least(b, x, MINUS_ONE[x.dtype]), OVERFLOW[x.dtype]))
    tiny = b.lt(b.abs(x), b.const(2.0 ** (-FORMAT[x.dtype].mantissa - 3), x.dtype))
    return b.where(tiny, x, between)


def sigmoid(b: LaneBuilder, x: Value) -> Value:
    """1 / (1 + e^-x), relatively accurate in both tails.

    With e^-x = 2^n (1 + z) and n = p + q, it is 2^-q / (2^p (1 + z) + 2^-q): nothing overflows, only the quotient is denormal.
    """
    layout = FORMAT[x.dtype]
    # Where e^x would round to 0; at the other end e^-x no longer counts beside 1.
    bounded = at_most(b, at_least(b, b.neg(x), MINUS_ONE[x.dtype]), -UNDERFLOW[x.dtype])
    bits, _, _, r = reduce(b, bounded, 2 * layout.bias)
    z = b.fma(b.mul(r, r), polynomial(b, r, EXP[x.dtype]), r)
    half = b.shift_right(bits, 1)
    power = b.bitcast_float(b.shift_left(half, layout.mantissa))
    # rest holds q + bias, and 2^-q has the exponent 2 bias - rest.
    rest = b.sub(bits, half)
    inverse = b.bitcast_float(b.shift_left(b.sub(b.const(2 * layout.bias, rest.dtype), rest), layout.mantissa))
    # The sum of the two powers is exact up to n = mantissa. Beyond, what it lost goes in with the small term, where it is
    # rounded less.
    total, lost = fast_two_sum(b, power, inverse)
    return b.div(inverse, b.add(total, b.fma(power, z, lost)))


def tanh(b: LaneBuilder, x: Value) -> Value:
    """(e^2x - 1) / (e^2x + 1)."""
    result = _tanh_f32(b, b.abs(x)) if x.dtype == float32 else _tanh_f64(b, b.abs(x))
    return b.copysign(result, x)


def _tanh_f32(b: LaneBuilder, x: Value) -> Value:
    """x + x^3 p(x^2) for small x, 1 - 2 / (e^2x + 1) for the rest: one rounding less where the result is just below 1."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    square = b.mul(x, x)
    near = b.fma(b.mul(square, x), polynomial(b, square, TANH_F32), x)
    bits, _, _, r = reduce(b, at_most(b, b.add(x, x), -MINUS_ONE[x.dtype] + 1), layout.bias)
    z = b.fma(b.mul(r, r), polynomial(b, r, EXP[x.dtype]), r)
    scale = b.bitcast_float(b.shift_left(bits, layout.mantissa))
    far = b.sub(c(1), b.div(c(2), b.add(scale, b.fma(scale, z, c(1)))))
    return b.where(b.lt(x, c(TANH_BORDER)), near, far)


def _tanh_f64(b: LaneBuilder, x: Value) -> Value:
    """-t / (2 + t) with t = e^-2x - 1."""
    c = constants(b, x)
    t = expm1_between(b, at_least(b, b.mul(x, c(-2)), MINUS_ONE[x.dtype]))
    return b.div(t, b.add(c(2), t))
