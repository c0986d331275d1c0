"""Initial values, drawn in place into a parameter's array, by the names and formulas of `torch.nn.init`.

Draws come from `generator` (a NumPy Generator) or from the default one that `graphc.manual_seed` starts; the same seed and
the same order of calls give the same values. They are drawn in f64 and rounded, so that f32 and f64 models start alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from graphc.errors import DTypeError, InputError, ShapeError
from graphc.nn.functional.common import number, one_of
from graphc.seeding import default_generator
from graphc.tensor import State
from graphc.types import is_float

Generator = Optional["np.random.Generator"]


def _array(function: str, tensor: Any) -> np.ndarray:
    array = tensor.array if isinstance(tensor, State) else tensor
    if not isinstance(array, np.ndarray):
        raise InputError(f"{function}: expected a parameter or an array, not {type(tensor).__name__}")
    if not is_float(array.dtype):
        raise DTypeError(f"{function}: expected a float array, got {array.dtype}")
    return array


def _generator(function: str, generator: Generator) -> np.random.Generator:
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise InputError(f"{function}: generator must be a numpy.random.Generator, not {type(generator).__name__}")
    return default_generator() if generator is None else generator


def fans(shape: Sequence[int], function: str = "fans") -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, *kernel): how many products enter each output, and how many each input
    takes part in."""
    if len(shape) < 2:
        raise ShapeError(f"{function}: fan in and fan out need a weight of at least two axes, got shape {tuple(shape)}")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that keeps a layer's output variance, for the nonlinearity that follows it."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    gains |= dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0)
    one_of("calculate_gain", "nonlinearity", nonlinearity, (*gains, "leaky_relu"))
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else number("calculate_gain", "param", param)
        return math.sqrt(2 / (1 + slope**2))
    return gains[nonlinearity]


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Any:
    """U(a, b)."""
    array = _array("uniform_", tensor)
    a, b = number("uniform_", "a", a), number("uniform_", "b", b)
    if not a <= b:
        raise InputError(f"uniform_: a must not exceed b, got {a} and {b}")
    array[...] = _generator("uniform_", generator).uniform(a, b, array.shape)
    return tensor


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Generator = None) -> Any:
    """N(mean, std²)."""
    array = _array("normal_", tensor)
    mean = number("normal_", "mean", mean)
    number("normal_", "std", std, low=0.0)
    array[...] = _generator("normal_", generator).normal(mean, std, array.shape)
    return tensor


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Generator = None
) -> Any:
    """N(mean, std²) limited to [a, b]; values outside are drawn again."""
    array = _array("trunc_normal_", tensor)
    rng = _generator("trunc_normal_", generator)
    number("trunc_normal_", "std", std, above=0.0)
    mean, a, b = (number("trunc_normal_", name, value) for name, value in (("mean", mean), ("a", a), ("b", b)))
    if not a < b or not (mean - 6 * std < b and a < mean + 6 * std):
        raise InputError(f"trunc_normal_: [a, b] = [{a}, {b}] must be an interval within six deviations of the mean")
    values = rng.normal(mean, std, array.size)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = rng.normal(mean, std, int(outside.sum()))
    array[...] = values.reshape(array.shape)
    return tensor


def constant_(tensor: Any, val: float) -> Any:
    """Every element `val`."""
    _array("constant_", tensor)[...] = number("constant_", "val", val)
    return tensor


def ones_(tensor: Any) -> Any:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Any) -> Any:
    """The identity matrix."""
    array = _array("eye_", tensor)
    if array.ndim != 2:
        raise ShapeError(f"eye_: expected a matrix, got shape {array.shape}")
    array[...] = np.eye(*array.shape)
    return tensor


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Generator = None) -> Any:
    """U(-a, a), a = gain √(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = fans(_array("xavier_uniform_", tensor).shape, "xavier_uniform_")
    bound = number("xavier_uniform_", "gain", gain, low=0.0) * math.sqrt(6 / max(fan_in + fan_out, 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Generator = None) -> Any:
    """N(0, gain² · 2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = fans(_array("xavier_normal_", tensor).shape, "xavier_normal_")
    return normal_(
        tensor, 0.0, number("xavier_normal_", "gain", gain, low=0.0) * math.sqrt(2 / max(fan_in + fan_out, 1)), generator
    )


def _kaiming_deviation(function: str, tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    fan = fans(_array(function, tensor).shape, function)[one_of(function, "mode", mode, ("fan_in", "fan_out")) == "fan_out"]
    return calculate_gain(nonlinearity, number(function, "a", a)) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator = None
) -> Any:
    """U(-b, b), b = gain √(3 / fan) (He et al., 2015); `a` is the leaky ReLU's slope."""
    bound = math.sqrt(3) * _kaiming_deviation("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator = None
) -> Any:
    """N(0, gain² / fan) (He et al., 2015); `a` is the leaky ReLU's slope."""
    return normal_(tensor, 0.0, _kaiming_deviation("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Generator = None) -> Any:
    """gain times a matrix with orthonormal rows or columns, whichever are fewer; axes after the first are flattened (Saxe
    et al., 2013)."""
    array = _array("orthogonal_", tensor)
    if array.ndim < 2:
        raise ShapeError(f"orthogonal_: expected at least two axes, got shape {array.shape}")
    gain = number("orthogonal_", "gain", gain)
    rng = _generator("orthogonal_", generator)
    if not array.size:
        return tensor
    rows, columns = array.shape[0], array.size // array.shape[0]
    q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))  # makes the distribution uniform (Haar)
    array[...] = gain * (q.T if rows < columns else q).reshape(array.shape)
    return tensor
