"""Losses of class scores. Classes are axis 1 of (N, C, d1, ...), axis 0 of a single (C,).

A score is picked by comparing the target with the class numbers, where(c == target, z, 0) summed over c, rather than by a gather:
the comparison fuses into the sweep that reads the scores anyway, and its backward function is the same comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.functions.indexing import checked_index
from graphc.nn.functional.activations import log_softmax, shifted_logits, softmax
from graphc.nn.functional.common import REDUCTIONS, no_legacy, number, one_of, only_floats, with_derivative
from graphc.op import rule
from graphc.tensor import Tensor
from graphc.types import is_float, is_integer


def _class_axis(name: str, x: Tensor) -> int:
    with rule(name, x):
        if x.ndim == 0:
            raise ShapeError("expected scores (C,) or (N, C, d1, ...), got a scalar")
        axis = 0 if x.ndim == 1 else 1
        if not x.shape[axis]:
            raise ShapeError(f"expected at least one class, got {x.type}")
    return axis


def _class_weights(name: str, weight: Any, x: Tensor, axis: int) -> Tensor:
    w = fn.as_tensor(weight, x.dtype)
    with rule(name, x, w):
        if w.shape != (x.shape[axis],):
            raise ShapeError(f"weight must have one element for each of {x.shape[axis]} classes, got {w.type}")
    return fn.reshape(w, tuple(-1 if i == axis else 1 for i in range(x.ndim)))


def _indices(name: str, x: Tensor, target: Tensor, axis: int, ignore_index: Any) -> tuple[Tensor, Tensor]:
    """Which class is the target, shaped as the scores, and which targets count. Labels out of range fail the call."""
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise InputError(f"{name}: ignore_index must be an integer, not {ignore_index!r}")
    with rule(name, x, target):
        if not is_integer(target.dtype):
            raise DTypeError(f"the target must be class indices (integers), got {target.type}")
        if target.shape != x.shape[:axis] + x.shape[axis + 1 :]:
            raise ShapeError(
                f"the target of scores {x.shape} must have shape {x.shape[:axis] + x.shape[axis + 1 :]}, got {target.shape}"
            )
    classes = x.shape[axis]
    target = checked_index(target, 0, classes, name, ignore=ignore_index)
    numbers = fn.arange(classes, dtype=target.dtype)
    chosen = fn.expand_dims(target, axis) == fn.reshape(numbers, tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    return chosen, target != ignore_index


def _pick(chosen: Tensor, x: Tensor, axis: int) -> Tensor:
    """The element of the target class."""
    return fn.sum(fn.where(chosen, x, 0), axis=axis)


def _target_weights(chosen: Tensor, counted: Tensor, weights: Tensor | None, x: Tensor, axis: int) -> Tensor:
    """How much each target counts: the weight of its class, 1 without weights, 0 where it is ignored."""
    if weights is None:
        return fn.astype(counted, x.dtype)
    return fn.where(counted, _pick(chosen, fn.broadcast_to(weights, x.shape), axis), 0)


def _weighted(losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    """Reduced losses, their mean over the total weight."""
    if reduction == "none":
        return losses
    return fn.sum(losses) / fn.sum(weights) if reduction == "mean" else fn.sum(losses)


def _axis_of_scores(z: Tensor) -> int:
    return min(z.ndim - 1, 1)


def _of_class(z: Tensor, chosen: Tensor) -> Tensor:
    """log Σ exp z - z_y."""
    axis = _axis_of_scores(z)
    shifted, log_total = shifted_logits(z, axis)
    # the peak cancels here, not in log-sum-exp minus score, where large logits would leave no digits
    return fn.squeeze(log_total, axis) - _pick(chosen, shifted, axis)


def _of_class_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
    z, chosen = operands
    axis = _axis_of_scores(z)
    return [fn.expand_dims(v, axis) * (softmax(z, axis) - fn.astype(chosen, z.dtype)), None]


def _of_probabilities(z: Tensor, t: Tensor) -> Tensor:
    axis = _axis_of_scores(z)
    return -fn.sum(log_softmax(z, axis) * t, axis=axis)


def _of_probabilities_backward(operands: Sequence[Tensor], v: Tensor) -> list[Tensor]:
    z, t = operands
    axis = _axis_of_scores(z)
    v = fn.expand_dims(v, axis)
    return [v * (softmax(z, axis) * fn.sum(t, axis=axis, keepdims=True) - t), -(v * log_softmax(z, axis))]


# of each target, with the gradients (softmax(z) - e_y) v and (softmax(z) Σ t - t) v
_loss_of_class = with_derivative("cross_entropy", _of_class, _of_class_backward)
_loss_of_probabilities = with_derivative("cross_entropy_of_probabilities", _of_probabilities, _of_probabilities_backward)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """log Σ exp z - z_y of logits z, from class indices y (int32 or int64) or from class probabilities shaped as the logits.

    `weight` scales each class; targets equal to `ignore_index` count neither in the sum nor in the mean, which divides by the
    weights of the targets (for probabilities: by their number). `label_smoothing` mixes the target with the uniform distribution.
    """
    no_legacy("cross_entropy", size_average, reduce)
    name = "cross_entropy"
    one_of(name, "reduction", reduction, REDUCTIONS)
    smoothing = number(name, "label_smoothing", label_smoothing, low=0.0, high=1.0)
    (x,) = only_floats(name, input)
    axis = _class_axis(name, x)
    t = fn.as_tensor(target)
    weights = None if weight is None else _class_weights(name, weight, x, axis)
    if is_float(t.dtype):
        return _from_probabilities(x, t, weights, ignore_index, reduction, smoothing)
    chosen, counted = _indices(name, x, t, axis, ignore_index)
    losses = _loss_of_class(x, chosen)
    weight_of_target = _target_weights(chosen, counted, weights, x, axis)
    losses = fn.where(counted, losses if weights is None else losses * weight_of_target, 0)
    if smoothing:
        every = fn.ones_like(x) if weights is None else fn.broadcast_to(weights, x.shape)
        uniform = fn.where(counted, _loss_of_probabilities(x, every), 0)
        losses = losses * (1 - smoothing) + uniform * (smoothing / x.shape[axis])
    return _weighted(losses, weight_of_target, reduction)


def _from_probabilities(
    x: Tensor, t: Tensor, weights: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    with rule("cross_entropy", x, t):
        if t.shape != x.shape:
            raise ShapeError(f"a float target holds class probabilities, shaped as the logits {x.shape}; got {t.shape}")
        if ignore_index >= 0:  # no class has a negative number
            raise InputError("ignore_index applies to class indices, not to class probabilities")
    t = fn.astype(t, x.dtype)
    if smoothing:
        t = t * (1 - smoothing) + smoothing / x.shape[_axis_of_scores(x)]
    losses = _loss_of_probabilities(x, t if weights is None else t * weights)
    if reduction == "none":
        return losses
    return fn.mean(losses) if reduction == "mean" else fn.sum(losses)


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log p_y from log probabilities and class indices y; weights, ignored targets and the mean as in `cross_entropy`."""
    no_legacy("nll_loss", size_average, reduce)
    name = "nll_loss"
    one_of(name, "reduction", reduction, REDUCTIONS)
    (x,) = only_floats(name, input)
    axis = _class_axis(name, x)
    chosen, counted = _indices(name, x, fn.as_tensor(target), axis, ignore_index)
    weights = None if weight is None else _class_weights(name, weight, x, axis)
    weight_of_target = _target_weights(chosen, counted, weights, x, axis)
    losses = -_pick(chosen, x, axis)
    losses = fn.where(counted, losses if weights is None else losses * weight_of_target, 0)
    return _weighted(losses, weight_of_target, reduction)
