"""What the math functions share: the layout of a float, polynomials, and error-free sums and products.

An error-free operation returns a pair (high, low): the rounded result and its exact error, so high + low is the exact result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphc.codegen.values import Value
from graphc.types import float32, float64

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder


@dataclass(frozen=True, slots=True)
class Format:
    """The bits of an IEEE float: sign, exponent + `bias`, `mantissa` bits of fraction."""

    mantissa: int
    bias: int
    least_normal: float
    # Adding 1.5 * 2^mantissa rounds to an integer, which then lies in the low bits of the sum. Unlike a conversion to integer,
    # this costs one instruction for f64 too (x86-64 has the conversion from AVX-512 only), and is defined for every x.
    shifter: float
    # log(2) = ln2_high + ln2_low; ln2_high is short enough that its product with any exponent is exact.
    ln2_high: float
    ln2_low: float

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit, as an integer of the float's width."""
        return -(1 << (31 if self.mantissa == 23 else 63))


FORMAT: dict[np.dtype, Format] = {
    float32: Format(23, 127, 2.0**-126, 1.5 * 2.0**23, 0.693359375, -2.12194440054690583e-4),
    float64: Format(52, 1023, 2.0**-1022, 1.5 * 2.0**52, 6.93147180369123816490e-01, 1.90821492927058770002e-10),
}


def constants(b: LaneBuilder, x: Value) -> Callable[[float], Value]:
    """Makes constants of x's dtype."""
    return lambda value: b.const(value, x.dtype)


def polynomial(b: LaneBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """c0 + c1 x + c2 x^2 + ..., by Horner's rule; a long one as even(x^2) + x odd(x^2), half as long a chain of dependencies."""
    if len(coefficients) < 8:
        return _horner(b, x, coefficients)
    square = b.mul(x, x)
    return b.fma(_horner(b, square, coefficients[1::2]), x, _horner(b, square, coefficients[::2]))


def _horner(b: LaneBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    *rest, last = coefficients
    result = b.const(last, x.dtype)
    for coefficient in reversed(rest):
        result = b.fma(result, x, b.const(coefficient, x.dtype))
    return result


def at_least(b: LaneBuilder, x: Value, low: float) -> Value:
    """max(x, low) for a constant `low`; NaN stays."""
    bound = b.const(low, x.dtype)
    return b.where(b.lt(x, bound), bound, x)


def at_most(b: LaneBuilder, x: Value, high: float) -> Value:
    """min(x, high) for a constant `high`; NaN stays."""
    bound = b.const(high, x.dtype)
    return b.where(b.lt(bound, x), bound, x)


def fast_two_sum(b: LaneBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y, error-free where |x| >= |y| or x is 0 (Dekker 1971)."""
    high = b.add(x, y)
    return high, b.sub(y, b.sub(high, x))


def two_sum(b: LaneBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y, error-free (Knuth)."""
    high = b.add(x, y)
    part = b.sub(high, x)
    return high, b.add(b.sub(x, b.sub(high, part)), b.sub(y, part))


def split(b: LaneBuilder, x: Value) -> tuple[Value, Value]:
    """x in two halves of at most half the mantissa each, so that products of halves are exact; |x| far from overflow
    (Veltkamp)."""
    scaled = b.mul(x, b.const(2.0 ** ((FORMAT[x.dtype].mantissa + 2) // 2) + 1, x.dtype))
    high = b.sub(scaled, b.sub(scaled, x))
    return high, b.sub(x, high)


def two_product(b: LaneBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """x * y, error-free away from overflow and underflow: one FMA, or Dekker's seventeen operations without one."""
    high = b.mul(x, y)
    if b.target.has_fma:
        return high, b.fma(x, y, b.neg(high))
    (xh, xl), (yh, yl) = split(b, x), split(b, y)
    low = b.sub(b.mul(xh, yh), high)
    low = b.add(b.add(low, b.mul(xh, yl)), b.mul(xl, yh))
    return high, b.add(low, b.mul(xl, yl))


def remainder(b: LaneBuilder, z: Value, x: Value, y: Value) -> Value:
    """z - x * y, exact where z is x * y but for a rounding or two."""
    if b.target.has_fma:
        return b.fma(b.neg(x), y, z)
    product, low = two_product(b, x, y)
    return b.sub(b.sub(z, product), low)
