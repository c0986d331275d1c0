"""What the functions of `graphc.nn.functional` share: checks of options, which name the argument, and reductions of losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, GraphcError, InputError
from graphc.functions.convert import broadcasted, promoted
from graphc.op import rule
from graphc.ops import math as mathematics
from graphc.tensor import Tensor
from graphc.types import as_dtype, as_shape, is_float

REDUCTIONS = ("none", "mean", "sum")


def one_of(function: str, argument: str, value: Any, allowed: Sequence[Any]) -> Any:
    """`value`, which must be one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{function}: {argument} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value


def number(
    function: str, argument: str, value: Any, low: float | None = None, high: float | None = None, above: float | None = None
) -> float:
    """`value` as a float, which must be in [low, high] and greater than `above`."""
    if isinstance(value, (bool, str, Tensor)):
        raise InputError(f"{function}: {argument} must be a number, not {value!r}")
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{function}: {argument} must be a number, not {value!r}") from None
    wrong = (
        (low is not None and not result >= low)
        or (high is not None and not result <= high)
        or (above is not None and not result > above)
    )
    if wrong:
        bounds = [
            f"at least {low:g}" if low is not None else "",
            f"at most {high:g}" if high is not None else "",
            f"greater than {above:g}" if above is not None else "",
        ]
        raise InputError(f"{function}: {argument} must be {' and '.join(filter(None, bounds))}, got {value!r}")
    return result


def axis_sizes(function: str, argument: str, value: Any) -> tuple[int, ...]:
    """`value` as a shape."""
    try:
        return as_shape(value)
    except GraphcError as error:
        raise type(error)(f"{function}: {argument}: {error}") from None


def element_type(function: str, argument: str, value: Any) -> np.dtype:
    """`value` as an element type."""
    try:
        return as_dtype(value)
    except DTypeError as error:
        raise DTypeError(f"{function}: {argument}: {error}") from None


def refuse(function: str, argument: str, value: Any, why: str, default: Any = False) -> None:
    """An option that exists elsewhere and not here: only its default is accepted."""
    if value is not default:
        raise InputError(f"{function}: {argument}={value!r} is not supported: {why}")


def no_device(function: str, device: Any) -> None:
    """PyTorch's argument: tensors of a graph have no device, and only the name of what compiled code runs on is accepted."""
    if device is not None and str(device) != "cpu":
        raise InputError(f"{function}: device={device!r} is not supported: compiled code runs on the CPU")


def no_legacy(function: str, size_average: Any, reduce: Any) -> None:
    """PyTorch's deprecated arguments of losses."""
    refuse(function, "size_average", size_average, "say reduction='mean' or 'sum'", default=None)
    refuse(function, "reduce", reduce, "say reduction='mean', 'sum' or 'none'", default=None)


def pure(function: str, inplace: bool) -> None:
    refuse(function, "inplace", inplace, "tensors of a graph are values; the compiler reuses their memory by itself")


def floats(function: str, *values: Any) -> list[Tensor]:
    """Operands in their common float type; integers become the default float."""
    return promoted(function, *values, floating=True)


def only_floats(function: str, *values: Any) -> list[Tensor]:
    """As `floats`, but refuses where no operand is of a float type: logits are never integers."""
    tensors = promoted(function, *values)
    with rule(function, *tensors):
        if not is_float(tensors[0].dtype):
            raise DTypeError(f"expected a float tensor, got {tensors[0].type}")
    return tensors


def matched_floats(function: str, *values: Any) -> list[Tensor]:
    """Operands in their common float type and common shape."""
    return broadcasted(function, *floats(function, *values))


def reduced(function: str, loss: Tensor, reduction: str) -> Tensor:
    """The losses of all elements: as they are, their mean or their sum."""
    one_of(function, "reduction", reduction, REDUCTIONS)
    if reduction == "none":
        return loss
    return fn.mean(loss) if reduction == "mean" else fn.sum(loss)


def with_derivative(
    name: str, f: Callable[..., Tensor], backward: Callable[..., Sequence[Tensor | None]]
) -> Callable[..., Tensor]:
    """`f` with its backward function stated rather than derived: `backward(operands, v)` gives the gradients of all
    operands. It is known by `name`, so that the graph's text can be read back, and equal calls are one node to CSE."""
    mathematics.BACKWARDS[name] = backward

    def call(*operands: Tensor) -> Tensor:
        return mathematics.custom_vjp(f(*operands), *operands, backward=name)

    return call
