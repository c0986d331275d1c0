"""Operators on tensors: each is the function of that meaning in `graphc.functions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import graphc  # its functions, once it is whole: they are made of tensors, and tensors of this

if TYPE_CHECKING:
    from graphc.tensor import Tensor

Operand = Any  # Tensor, Python scalar, NumPy array, or nested list


class Operators:
    """What `Tensor` inherits."""

    __slots__ = ()

    __hash__ = object.__hash__  # by identity, so that tensors are dictionary keys although == builds a node

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None else graphc.functions.equal(self, other)  # x == None is False, x != None is True

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None else graphc.functions.not_equal(self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return graphc.functions.less(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return graphc.functions.less_equal(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return graphc.functions.greater(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return graphc.functions.greater_equal(self, other)

    def __add__(self, other: Operand) -> Tensor:
        return graphc.functions.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return graphc.functions.add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return graphc.functions.subtract(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return graphc.functions.subtract(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return graphc.functions.multiply(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return graphc.functions.multiply(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return graphc.functions.divide(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return graphc.functions.divide(other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return graphc.functions.floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return graphc.functions.floor_divide(other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return graphc.functions.remainder(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return graphc.functions.remainder(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return graphc.functions.power(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return graphc.functions.power(other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return graphc.functions.matmul(self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return graphc.functions.matmul(other, self)

    def __neg__(self) -> Tensor:
        return graphc.functions.negative(self)

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]

    def __abs__(self) -> Tensor:
        return graphc.functions.abs(self)

    def __and__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_and(self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_and(other, self)

    def __or__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_or(self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_or(other, self)

    def __xor__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_xor(self, other)

    def __rxor__(self, other: Operand) -> Tensor:
        return graphc.functions.bitwise_xor(other, self)

    def __invert__(self) -> Tensor:
        return graphc.functions.bitwise_invert(self)

    def __getitem__(self, key: Any) -> Tensor:
        return graphc.functions.getitem(self, key)  # type: ignore[arg-type]
