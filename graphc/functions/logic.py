"""Truth and bits: `logical_*` ask whether elements are zero, `bitwise_*`, which the operators & | ^ ~ call, look at every bit of
integers. For bools they are the same."""

from __future__ import annotations

from typing import Any

from graphc.functions.convert import as_tensor, broadcasted, matched
from graphc.functions.elementwise import not_equal
from graphc.ops import compare
from graphc.tensor import Tensor
from graphc.types import bool_


def truth(x: Any) -> Tensor:
    """Whether each element is not zero; NaN counts as true."""
    x = as_tensor(x)
    return x if x.dtype == bool_ else not_equal(x, 0)


def logical_and(x: Any, y: Any) -> Tensor:
    """Whether x and y are both not zero."""
    return compare.and_(*broadcasted("logical_and", truth(x), truth(y)))


def logical_or(x: Any, y: Any) -> Tensor:
    """Whether x or y is not zero."""
    return compare.or_(*broadcasted("logical_or", truth(x), truth(y)))


def logical_xor(x: Any, y: Any) -> Tensor:
    """Whether one of x and y is not zero, and the other is."""
    return compare.xor(*broadcasted("logical_xor", truth(x), truth(y)))


def logical_not(x: Any) -> Tensor:
    """Whether x is zero."""
    return compare.not_(truth(x))


def bitwise_and(x: Any, y: Any) -> Tensor:
    """x & y, of bools or integers."""
    return compare.and_(*matched("bitwise_and", x, y))


def bitwise_or(x: Any, y: Any) -> Tensor:
    """x | y, of bools or integers."""
    return compare.or_(*matched("bitwise_or", x, y))


def bitwise_xor(x: Any, y: Any) -> Tensor:
    """x ^ y, of bools or integers."""
    return compare.xor(*matched("bitwise_xor", x, y))


def bitwise_invert(x: Any) -> Tensor:
    """~x, of bools or integers."""
    return compare.not_(as_tensor(x))
