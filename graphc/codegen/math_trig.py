"""sin and cos, by Cody and Waite's reduction to |r| <= pi / 4 and one polynomial for each.

    |x| = n pi/2 + r + low;   sin r = r + r^3 p(r^2),   cos r = 1 - r^2 / 2 + r^4 q(r^2);   n mod 4 tells which, and its sign

pi/2 is a sum of parts with n times each part exact, until what is left is below the last bit of the smallest r that a float
comes to. With FMA a part may be a whole float, since x - n part is rounded only once and there fits. Without it, f32 reduces
in f64.
Accurate to |x| <= 2^20; beyond `LIMIT` (2^22 for f32, 2^30 for f64, where n leaves the parts' range), x counts as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphc.codegen.math_common import FORMAT, constants, polynomial, two_sum
from graphc.codegen.values import TWIN, Value
from graphc.types import float32, float64

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder

TWO_OVER_PI = 0.6366197723675814

# (sin r - r) / r^3 in r^2, on |r| <= 0.81 for f32 (n may be off where n is large), 0.786 for f64. Errors: 2^-27.7, 2^-58.
SIN: dict[np.dtype, tuple[float, ...]] = {
    float32: (-0.16666652, 0.008332034, -0.00019497731),
    float64: (
        -0.16666666666666632,
        0.008333333333322413,
        -0.00019841269829807865,
        2.7557313691941534e-06,
        -2.5050758119152935e-08,
        1.5896795873775974e-10,
    ),
}
# (cos r - 1 + r^2 / 2) / r^4 in r^2, on the same intervals. Errors: 2^-32.6, 2^-64.
COS: dict[np.dtype, tuple[float, ...]] = {
    float32: (0.04166664, -0.0013887116, 2.4410498e-05),
    float64: (
        0.041666666666666595,
        -0.001388888888887304,
        2.4801587288841367e-05,
        -2.7557314176233885e-07,
        2.087570041558388e-09,
        -1.1358513938598842e-11,
    ),
}
LIMIT = {float32: 2.0**22, float64: 2.0**30}
HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)  # three times 24 bits
HALF_PI_F64 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)  # three times 53 bits
HALF_PI_33 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)  # 33, 33, 33, 53 bits
HALF_PI_REST = 6.077100506506192e-11  # pi/2 less its first 33 bits, to 53 bits


def reduce(b: LaneBuilder, x: Value) -> tuple[Value, Value, Value]:
    """A non-negative x to (n, r, low); the low bits of the integer n are the quadrant."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    shifter = c(layout.shifter)
    shifted = b.fma(x, c(TWO_OVER_PI), shifter)
    n = b.sub(shifted, shifter)
    bits = b.bitcast_int(shifted)
    if b.target.has_fma:
        first, second, third = HALF_PI_F32 if x.dtype == float32 else HALF_PI_F64
        r = b.fma(n, c(-second), b.fma(n, c(-first), x))
        return bits, r, b.mul(n, c(-third))
    if x.dtype == float32:
        wide, n = b.cast(x, float64), b.cast(n, float64)
        w = constants(b, wide)
        r = b.sub(b.sub(wide, b.mul(n, w(HALF_PI_33[0]))), b.mul(n, w(HALF_PI_REST)))
        high = b.cast(r, float32)
        return bits, high, b.cast(b.sub(r, b.cast(high, float64)), float32)
    first, second, third, fourth = HALF_PI_33
    r, lost = two_sum(b, b.sub(x, b.mul(n, c(first))), b.mul(n, c(-second)))
    part = b.mul(n, c(third))
    high = b.sub(r, part)
    lost = b.add(lost, b.sub(b.sub(r, high), part))
    return bits, high, b.sub(lost, b.mul(n, c(fourth)))


def _sine(b: LaneBuilder, x: Value, quarter_turns: int) -> Value:
    c = constants(b, x)
    integer = TWIN[x.dtype]
    size = b.abs(x)
    size = b.where(b.le(size, c(LIMIT[x.dtype])), size, b.mul(size, c(0)))  # 0 inf = NaN
    n, r, low = reduce(b, size)
    z = b.mul(r, r)
    sine = b.add(r, b.fma(b.mul(z, r), polynomial(b, z, SIN[x.dtype]), low))
    cosine = b.fma(b.mul(z, z), polynomial(b, z, COS[x.dtype]), b.fma(z, c(-0.5), c(1)))
    if quarter_turns:
        n = b.add(n, b.const(quarter_turns, integer))
    odd = b.ne(b.logical_and(n, b.const(1, integer)), b.const(0, integer))
    result = b.where(odd, cosine, sine)
    sign = b.shift_left(n, x.dtype.itemsize * 8 - 2)  # bit 1 of n to the sign bit
    if not quarter_turns:
        sign = b.logical_xor(sign, b.bitcast_int(x))
    sign = b.logical_and(sign, b.const(FORMAT[x.dtype].sign, integer))
    return b.bitcast_float(b.logical_xor(b.bitcast_int(result), sign))


def sin(b: LaneBuilder, x: Value) -> Value:
    """The sine; NaN at infinities."""
    return _sine(b, x, 0)


def cos(b: LaneBuilder, x: Value) -> Value:
    """The cosine, sin(|x| + pi/2); NaN at infinities."""
    return _sine(b, x, 1)
