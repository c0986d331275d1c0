"""log and log1p.

    x = 2^k m with integer k, and m around 1;   f = m - 1;   log x = k log(2) + log(1 + f)

f32: log(1 + f) = f + f^2 q(f). f64: with s = f / (2 + f), log(1 + f) = log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2), arranged as
f - (f^2 / 2 - s (f^2 / 2 + s^2 q)), so that the division's error counts only in a small term (as fdlibm's e_log.c does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.math_common import FORMAT, constants, polynomial
from graphc.codegen.values import Value
from graphc.types import float32

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder

# (log(1 + f) - f) / f^2 on |f| <= 1/3. Error relative to log(1 + f): 2^-25.1.
LOG_F32 = (-0.4999994, 0.33333105, -0.250076, 0.2001606, -0.16419357, 0.13920917, -0.1537271, 0.14374143)
# (log((1 + s) / (1 - s)) - 2 s) / s^3 in s^2, on |s| <= 0.1716. Error relative to the logarithm: 2^-59.5.
LOG_F64 = (
    0.6666666666666734,
    0.3999999999941435,
    0.28571428742470156,
    0.22222198563898166,
    0.18183564846361616,
    0.1531403635869265,
    0.14796099996844575,
)
# The bits of the least m: 2/3 keeps |f| least for the polynomial in f, sqrt(1/2) keeps |s| least.
LEAST_M = {23: 0x3F2AAAAB, 52: 0x3FE6A09E667F3BCD}


def decompose(b: LaneBuilder, x: Value) -> tuple[Value, Value, Value]:
    """A positive normal x as (m, e, k + shift): e is the integer k << mantissa; the sum is a float and shift `K_SHIFT`."""
    layout = FORMAT[x.dtype]
    bits = b.bitcast_int(x)
    integer = bits.dtype
    raised = b.add(bits, b.const(layout.one - LEAST_M[layout.mantissa], integer))  # exponent: k + bias
    e = b.sub(b.logical_and(raised, b.const(-1 << layout.mantissa, integer)), b.const(layout.one, integer))
    m = b.bitcast_float(b.sub(bits, e))
    # k + bias in the low bits of 2^mantissa: the float 2^mantissa + k + bias.
    two_power = b.const((layout.mantissa + layout.bias) << layout.mantissa, integer)
    k = b.bitcast_float(b.logical_or(b.shift_right(raised, layout.mantissa), two_power))
    return m, e, k


def log_of_parts(b: LaneBuilder, f: Value, k: Value, low: Value | None = None) -> Value:
    """k log(2) + log(1 + f) + low, for a float k and a small correction `low`."""
    layout, c = FORMAT[f.dtype], constants(b, f)
    small = b.mul(k, c(layout.ln2_low)) if low is None else b.fma(k, c(layout.ln2_low), low)
    square = b.mul(f, f)
    if f.dtype == float32:
        return b.fma(k, c(layout.ln2_high), b.add(f, b.fma(square, polynomial(b, f, LOG_F32), small)))
    s = b.div(f, b.add(f, c(2)))
    z = b.mul(s, s)
    half = b.mul(square, c(0.5))
    inner = b.fma(s, b.fma(z, polynomial(b, z, LOG_F64), half), small)
    return b.fma(k, c(layout.ln2_high), b.sub(f, b.sub(half, inner)))


def with_limits(b: LaneBuilder, x: Value, zero: float, result: Value) -> Value:
    """`result` where zero < x < inf; else the logarithm's limits there: -inf at `zero`, NaN below, inf at inf, NaN of NaN."""
    c = constants(b, x)
    result = b.where(b.lt(x, c(float("inf"))), result, c(float("inf")))
    outside = b.where(b.eq(x, c(zero)), c(float("-inf")), c(float("nan")))
    return b.where(b.lt(c(zero), x), result, outside)


def log(b: LaneBuilder, x: Value) -> Value:
    """The natural logarithm; -inf at 0, NaN below."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    raise_by = layout.mantissa + 2  # makes every denormal normal
    denormal = b.lt(x, c(layout.least_normal))
    m, _, k = decompose(b, b.where(denormal, b.mul(x, c(2.0**raise_by)), x))
    shift = 2.0**layout.mantissa + layout.bias
    k = b.sub(k, b.where(denormal, c(shift + raise_by), c(shift)))
    return with_limits(b, x, 0.0, log_of_parts(b, b.sub(m, c(1)), k))


def log1p(b: LaneBuilder, x: Value) -> Value:
    """log(1 + x), accurate near 0: 1 + x = u + lost exactly, u = 2^k m, and the logarithm is that of 2^k (m + lost / 2^k)."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    u = b.add(x, c(1))
    part = b.sub(u, c(1))
    lost = b.add(b.sub(x, part), b.sub(c(1), b.sub(u, part)))
    m, e, k = decompose(b, u)
    # 2^(1-k), not 2^-k, which would be denormal for the largest x; there it is 0, and so is what was lost.
    scale = b.bitcast_float(b.sub(b.const(layout.one + (1 << layout.mantissa), e.dtype), e))
    scaled = b.mul(lost, scale)
    near = b.sub(m, c(1))
    f = b.fma(scaled, c(0.5), near)
    low = b.fma(scaled, c(0.5), b.sub(near, f))
    result = log_of_parts(b, f, b.sub(k, c(2.0**layout.mantissa + layout.bias)), low)
    tiny = b.lt(b.abs(x), c(2.0 ** (-layout.mantissa - 3)))
    return b.where(tiny, x, with_limits(b, x, -1.0, result))
