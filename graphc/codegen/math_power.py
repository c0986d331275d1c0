"""x^y for floats, as e^(y log|x|) with the sign and the special cases of C's pow.

The exponent can be as large as 2^10, so the logarithm needs that many bits more than the result. f32 computes in f64, where
neither overflow nor denormals are met, and the last conversion rounds once. f64 carries the logarithm as a pair (high, low).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.codegen.math_common import FORMAT, at_least, at_most, constants, fast_two_sum, polynomial, remainder, two_product
from graphc.codegen.math_exp import EXP, reduce, scales
from graphc.codegen.math_log import decompose
from graphc.codegen.values import TWIN, Value, literal_value
from graphc.types import float32, float64

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder

INF = float("inf")
# log2(1 + f) / f on sqrt(1/2) <= 1 + f <= sqrt(2). Relative error: 2^-35.8.
LOG2 = (
    1.4426950408687076,
    -0.7213475208688077,
    0.4808983613946953,
    -0.3606736748261659,
    0.28853729352312574,
    -0.24045316554711935,
    0.20617535779078777,
    -0.18030060277149287,
    0.15876982740845064,
    -0.14315645846739689,
    0.14474829025996458,
    -0.14283925005770276,
    0.07737057145027601,
)
# 2^r on |r| <= 0.501. Relative error: 2^-29.
EXP2 = (
    1.0000000005626064,
    0.6931472060407833,
    0.2402264684566169,
    0.05550328119696744,
    0.009618491800258607,
    0.00134001966163627,
    0.00015345587382722026,
)
# (log((1 + s) / (1 - s)) / s - 2 - 2/3 s^2) / s^4 in s^2, on |s| <= 0.1716. Error relative to the logarithm: 2^-66.3.
LOG_TAIL = (
    0.4000000000000226,
    0.28571428570096563,
    0.2222222252048084,
    0.18181784316578692,
    0.15386759734494537,
    0.13256760137734963,
    0.13196877829907916,
)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def _power_f32(b: LaneBuilder, size: Value, y: Value) -> Value:
    """size^y for size >= 0, in f64; NaN where y log2(size) is NaN."""
    x, y = b.cast(size, float64), b.cast(y, float64)
    layout, c = FORMAT[x.dtype], constants(b, x)
    m, _, k = decompose(b, x)
    f = b.sub(m, c(1))
    log2 = b.fma(f, polynomial(b, f, LOG2), b.sub(k, c(2.0**layout.mantissa + layout.bias)))
    log2 = b.where(b.lt(x, c(INF)), log2, x)
    log2 = b.where(b.eq(x, c(0)), c(-INF), log2)
    power = at_most(b, at_least(b, b.mul(y, log2), -200.0), 200.0)
    shifter = c(layout.shifter + layout.bias)
    shifted = b.add(power, shifter)
    r = b.sub(power, b.sub(shifted, shifter))
    scale = b.bitcast_float(b.shift_left(b.bitcast_int(shifted), layout.mantissa))
    return b.cast(b.mul(polynomial(b, r, EXP2), scale), float32)


def _log_pair(b: LaneBuilder, x: Value) -> tuple[Value, Value]:
    """log(x) for 0 < x < inf as a pair, relative error about 2^-65: log's series in s, whose first two terms are pairs."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    raise_by = layout.mantissa + 2
    denormal = b.lt(x, c(layout.least_normal))
    m, _, k = decompose(b, b.where(denormal, b.mul(x, c(2.0**raise_by)), x))
    shift = 2.0**layout.mantissa + layout.bias
    k = b.sub(k, b.where(denormal, c(shift + raise_by), c(shift)))
    # s = f / (2 + f) and what it lacks.
    f = b.sub(m, c(1))
    divisor, divisor_low = fast_two_sum(b, c(2), f)
    inverse = b.div(c(1), divisor)
    s = b.mul(f, inverse)
    rest = b.fma(b.neg(s), divisor_low, remainder(b, f, s, divisor))
    s_low = b.mul(rest, inverse)
    # z = s^2, cube = s^3.
    z, z_low = two_product(b, s, s)
    z_low = b.fma(b.add(s, s), s_low, z_low)
    cube, cube_low = two_product(b, s, z)
    cube_low = b.add(cube_low, b.fma(s, z_low, b.mul(s_low, z)))
    # cube (2/3 + z (...)): only the part in parentheses is a plain f64.
    q, q_low = fast_two_sum(b, c(TWO_THIRDS[0]), b.mul(z, polynomial(b, z, LOG_TAIL)))
    q_low = b.add(q_low, c(TWO_THIRDS[1]))
    tail, tail_low = two_product(b, cube, q)
    tail_low = b.add(tail_low, b.fma(cube, q_low, b.mul(cube_low, q)))
    high, low1 = fast_two_sum(b, b.mul(k, c(layout.ln2_high)), b.add(s, s))
    high, low2 = fast_two_sum(b, high, tail)
    low = b.add(b.add(low1, low2), b.add(b.fma(k, c(layout.ln2_low), b.add(s_low, s_low)), tail_low))
    return fast_two_sum(b, high, low)


def _power_f64(b: LaneBuilder, x: Value, y: Value) -> Value:
    """x^y for x >= 0; NaN where y log(x) is NaN."""
    layout, c = FORMAT[x.dtype], constants(b, x)
    log, log_low = _log_pair(b, x)
    power, power_low = two_product(b, y, log)
    power_low = b.fma(y, log_low, power_low)
    inside = b.logical_and(b.lt(c(0), x), b.lt(x, c(INF)))
    power = b.where(inside, power, b.mul(y, b.where(b.eq(x, c(0)), c(-INF), x)))
    power_low = b.where(b.lt(b.abs(power), c(1000)), power_low, c(0))
    power = at_most(b, at_least(b, power, -746.0), 710.0)
    bits, n, partial, r = reduce(b, power, 2 * layout.bias)
    lost = b.fma(n, c(-layout.ln2_low), b.sub(partial, r))
    r, more = fast_two_sum(b, r, power_low)
    z = b.add(r, b.fma(b.mul(r, r), polynomial(b, r, EXP[x.dtype]), b.add(lost, more)))
    first, second = scales(b, bits, layout.mantissa)
    return b.mul(b.fma(z, first, first), second)


def _power_of_literal(b: LaneBuilder, x: Value, y: float) -> Value | None:
    """x^y for the few constants y for which one or two roundings do, as they must for 2 ULP."""
    c = constants(b, x)
    if y == -1:
        return b.div(c(1), x)
    if y == 0.5:
        # pow makes (-0)^0.5 = +0, as does adding 0, and (-inf)^0.5 = +inf.
        return b.where(b.eq(x, c(-INF)), c(INF), b.sqrt(b.add(x, c(0))))
    if y in (1, 2, 3):
        square = x if y == 1 else b.mul(x, x)
        return square if y < 3 else b.mul(square, x)
    return None


def power(b: LaneBuilder, x: Value, y: Value) -> Value:
    """x^y as C's pow: x^0 = 1^y = 1 even for NaN; NaN for finite x < 0 and finite non-integral y; (-0)^y keeps the sign for
    odd y."""
    if y.is_literal:
        special = _power_of_literal(b, x, literal_value(y))
        if special is not None:
            return special
    c = constants(b, x)
    integer = TWIN[x.dtype]
    size = b.abs(x)
    # Larger y make the same infinities and zeros, and an infinite y would meet log(1) = 0.
    limit = 2.0**40 if x.dtype == float32 else 2.0**65
    bounded = at_most(b, at_least(b, y, -limit), limit)
    magnitude = (_power_f32 if x.dtype == float32 else _power_f64)(b, size, bounded)

    half = b.mul(y, c(0.5))
    integral = b.eq(b.floor(y), y)
    odd = b.logical_and(integral, b.ne(b.floor(half), half))
    sign = b.logical_and(b.bitcast_int(x), b.const(FORMAT[x.dtype].sign, integer))
    sign = b.where(odd, sign, b.const(0, integer))
    result = b.bitcast_float(b.logical_xor(b.bitcast_int(magnitude), sign))
    undefined = b.logical_and(b.logical_and(b.lt(x, c(0)), b.lt(c(-INF), x)), b.logical_not(integral))
    result = b.where(undefined, c(float("nan")), result)
    return b.where(b.logical_or(b.eq(x, c(1)), b.eq(y, c(0))), c(1), result)
