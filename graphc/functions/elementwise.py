"""Elementwise functions."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.functions.convert import as_tensor, broadcasted, matched, promoted
from graphc.op import rule
from graphc.ops import arithmetic, compare
from graphc.ops import math as mathematics
from graphc.tensor import Tensor
from graphc.types import bool_, is_float


def add(x: Any, y: Any) -> Tensor:
    """x + y."""
    return arithmetic.add(*matched("add", x, y))


def subtract(x: Any, y: Any) -> Tensor:
    """x - y."""
    return arithmetic.sub(*matched("subtract", x, y))


def multiply(x: Any, y: Any) -> Tensor:
    """x * y."""
    return arithmetic.mul(*matched("multiply", x, y))


def divide(x: Any, y: Any) -> Tensor:
    """x / y, in floating point also for integers."""
    return arithmetic.div(*matched("divide", x, y, floating=True))


def floor_divide(x: Any, y: Any) -> Tensor:
    """floor(x / y); integers: x // 0 is 0."""
    return arithmetic.floordiv(*matched("floor_divide", x, y))


def remainder(x: Any, y: Any) -> Tensor:
    """x - y * floor(x / y), of the sign of y; integers: x % 0 is 0."""
    return arithmetic.mod(*matched("remainder", x, y))


def power(x: Any, y: Any) -> Tensor:
    """x ** y. Small constant exponents become products and roots: x ** 2 is x * x, as NumPy does it."""
    exponents = (builtins.int, builtins.float) if isinstance(x, Tensor) and is_float(x.dtype) else builtins.int
    if isinstance(x, Tensor) and x.dtype != bool_ and isinstance(y, exponents) and not isinstance(y, bool):
        if y == 1:
            return x
        if y == 2:
            return x * x
        if y == 3:
            return x * x * x
        if is_float(x.dtype) and y == 0.5:
            return sqrt(x)
        if is_float(x.dtype) and y == -1:
            return 1 / x
    return arithmetic.power(*matched("power", x, y))


def maximum(x: Any, y: Any) -> Tensor:
    """The greater of x and y; NaN if either is NaN."""
    return arithmetic.maximum(*matched("maximum", x, y))


def minimum(x: Any, y: Any) -> Tensor:
    """The lesser of x and y; NaN if either is NaN."""
    return arithmetic.minimum(*matched("minimum", x, y))


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be None. The derivative is 1 at the limits, as in PyTorch."""
    x = as_tensor(x)
    if min is not None:
        x = _limited(x, min, less)
    return x if max is None else _limited(x, max, greater)


def _limited(x: Tensor, limit: Any, beyond: Callable[[Any, Any], Tensor]) -> Tensor:
    a_number = isinstance(limit, (builtins.int, builtins.float)) and limit == limit
    x, limit = matched("clip", x, limit)
    outside = beyond(x, limit)
    return where(outside if a_number else outside | isnan(limit), limit, x)


def negative(x: Any) -> Tensor:
    """-x."""
    return arithmetic.neg(as_tensor(x))


def abs(x: Any) -> Tensor:
    """|x|."""
    return arithmetic.abs_(as_tensor(x))


def sign(x: Any) -> Tensor:
    """-1, 0 or 1; NaN stays NaN."""
    return arithmetic.sign(as_tensor(x))


def _floating(name: str, x: Any) -> Tensor:
    return promoted(name, x, floating=True)[0]


def exp(x: Any) -> Tensor:
    """e ** x."""
    return mathematics.exp(_floating("exp", x))


def expm1(x: Any) -> Tensor:
    """exp(x) - 1, accurate near 0."""
    return mathematics.expm1(_floating("expm1", x))


def log(x: Any) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below."""
    return mathematics.log(_floating("log", x))


def log1p(x: Any) -> Tensor:
    """log(1 + x), accurate near 0."""
    return mathematics.log1p(_floating("log1p", x))


def log2(x: Any) -> Tensor:
    """Logarithm to base 2."""
    return log(x) * (1 / math.log(2))


def log10(x: Any) -> Tensor:
    """Logarithm to base 10."""
    return log(x) * (1 / math.log(10))


def sqrt(x: Any) -> Tensor:
    """Square root; NaN below 0."""
    return mathematics.sqrt(_floating("sqrt", x))


def rsqrt(x: Any) -> Tensor:
    """1 / sqrt(x)."""
    return mathematics.rsqrt(_floating("rsqrt", x))


def square(x: Any) -> Tensor:
    """x * x."""
    x = as_tensor(x)
    return x * x


def reciprocal(x: Any) -> Tensor:
    """1 / x."""
    return divide(1, x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return mathematics.sigmoid(_floating("sigmoid", x))


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent."""
    return mathematics.tanh(_floating("tanh", x))


def erf(x: Any) -> Tensor:
    """The error function."""
    return mathematics.erf(_floating("erf", x))


def sin(x: Any) -> Tensor:
    """Sine of x radians; accurate to |x| <= 2**20."""
    return mathematics.sin(_floating("sin", x))


def cos(x: Any) -> Tensor:
    """Cosine of x radians; accurate to |x| <= 2**20."""
    return mathematics.cos(_floating("cos", x))


def tan(x: Any) -> Tensor:
    """sin(x) / cos(x)."""
    return sin(x) / cos(x)


def floor(x: Any) -> Tensor:
    """The greatest integer not above x; integers stay."""
    x = as_tensor(x)
    return mathematics.floor(x) if is_float(x.dtype) else x


def ceil(x: Any) -> Tensor:
    """The least integer not below x; integers stay."""
    x = as_tensor(x)
    return -mathematics.floor(-x) if is_float(x.dtype) else x


def trunc(x: Any) -> Tensor:
    """The nearest integer toward 0; integers stay."""
    x = as_tensor(x)
    return where(x < 0, ceil(x), floor(x)) if is_float(x.dtype) else x


def round(x: Any) -> Tensor:
    """The nearest integer, ties to even, as NumPy; integers stay."""
    x = as_tensor(x)
    if not is_float(x.dtype):
        return x
    below = floor(x)
    rest = x - below
    odd = remainder(below, 2) == 1
    # from 2**23 (f32) on every value is whole, and infinite values have no rest
    nearest = where((rest > 0.5) | ((rest == 0.5) & odd), below + 1, below)
    return where(abs(x) < (2.0**23 if x.dtype == np.float32 else 2.0**52), nearest, x)


def equal(x: Any, y: Any) -> Tensor:
    """x == y."""
    return compare.eq(*matched("equal", x, y))


def not_equal(x: Any, y: Any) -> Tensor:
    """x != y."""
    return compare.ne(*matched("not_equal", x, y))


def less(x: Any, y: Any) -> Tensor:
    """x < y."""
    return compare.lt(*matched("less", x, y))


def less_equal(x: Any, y: Any) -> Tensor:
    """x <= y."""
    return compare.le(*matched("less_equal", x, y))


def greater(x: Any, y: Any) -> Tensor:
    """x > y."""
    left, right = matched("greater", x, y)
    return compare.lt(right, left)


def greater_equal(x: Any, y: Any) -> Tensor:
    """x >= y."""
    left, right = matched("greater_equal", x, y)
    return compare.le(right, left)


def isnan(x: Any) -> Tensor:
    """Whether each element is NaN."""
    x = as_tensor(x)
    return compare.ne(x, x)


def isinf(x: Any) -> Tensor:
    """Whether each element is infinite."""
    return equal(abs(x), math.inf) if is_float(as_tensor(x).dtype) else not_equal(x, x)


def isfinite(x: Any) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    return less(abs(x), math.inf) if is_float(as_tensor(x).dtype) else equal(x, x)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds, else y."""
    condition = as_tensor(condition)
    left, right = promoted("where", x, y)
    with rule("where", condition, left, right):
        if condition.dtype != bool_:
            raise DTypeError(f"the condition must be bool, got {condition.type}")
    return compare.where(*broadcasted("where", condition, left, right))


def stop_gradient(x: Any) -> Tensor:
    """x, as a constant to differentiation."""
    return mathematics.stop_gradient(as_tensor(x))
