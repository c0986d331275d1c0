"""Learning-rate schedules: functions of the step, evaluated inside the native step.

    lr = optim.cosine(1e-3, total_steps=10_000, warmup_steps=500)
    opt = optim.Adam(model.parameters(), lr=lr)

The step is an int64 scalar tensor: the number of updates that the optimizer has made, so 0 at the first. Any function from it to
a scalar is a schedule, and computes in float64: in it, Python's floats beside the step become that. Where a schedule takes a
learning rate, it takes a number or another schedule, so they compose: `linear_warmup(step_decay(0.1, 30), 5)`. Those here are
module-level functions with their first arguments given, so that an optimizer that has one can be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import graphc.functions as fn
from graphc.errors import InputError
from graphc.tensor import Tensor
from graphc.types import float64

Schedule = Callable[[Tensor], Any]
Rate = float | Schedule


def _value(lr: Rate, step: Tensor) -> Tensor:
    return fn.astype(fn.as_tensor(lr(step)), float64) if callable(lr) else fn.as_tensor(lr, float64)


def _check_rate(lr: Any, name: str = "lr") -> None:
    if callable(lr) and not isinstance(lr, Tensor):
        return
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not 0 <= lr < math.inf:
        raise InputError(f"{name} must be a number not below 0 or a schedule, got {lr!r}")


def _check_count(value: Any, name: str, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be an integer of at least {least}, got {value!r}")


def _check_factor(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InputError(f"{name} must be a number not below 0, got {value!r}")


def scaled(lr: Rate, factor: Schedule) -> Schedule:
    """lr factor(step), for any function of the step (PyTorch's LambdaLR)."""
    _check_rate(lr)
    if not callable(factor):
        raise InputError(f"factor must be a function of the step, got {factor!r}")
    return partial(_scaled, lr, factor)


def _scaled(lr: Rate, factor: Schedule, step: Tensor) -> Tensor:
    return _value(lr, step) * _value(factor, step)


def constant(lr: float) -> Schedule:
    """lr at every step; unlike a number it cannot be written later."""
    _check_rate(lr)
    return partial(_value, lr)


def step_decay(lr: Rate, step_size: int, gamma: float = 0.1) -> Schedule:
    """lr gamma^floor(step / step_size)."""
    _check_count(step_size, "step_size")
    _check_factor(gamma, "gamma")
    return scaled(lr, partial(_stepped, gamma, step_size))


def _stepped(gamma: float, step_size: int, step: Tensor) -> Tensor:
    return fn.power(_f64(gamma), _f64(step // step_size))


def multi_step(lr: Rate, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """lr gamma^(number of milestones reached)."""
    if not isinstance(milestones, (list, tuple)):
        raise InputError(f"milestones must be a list of integers, got {milestones!r}")
    for mark in milestones:
        _check_count(mark, "milestones", 0)
    _check_factor(gamma, "gamma")
    return scaled(lr, partial(_past, sorted(milestones), gamma))


def _past(marks: Sequence[int], gamma: float, step: Tensor) -> Tensor:
    value = _f64(1.0)
    for count, mark in enumerate(marks, 1):
        value = fn.where(step >= mark, _f64(gamma**count), value)
    return value


def exponential(lr: Rate, gamma: float) -> Schedule:
    """lr gamma^step."""
    _check_factor(gamma, "gamma")
    return scaled(lr, partial(_stepped, gamma, 1))


def linear(lr: Rate, total_steps: int, start_factor: float = 1.0, end_factor: float = 0.0) -> Schedule:
    """lr times a factor that goes from start_factor to end_factor on a line over total_steps, and stays."""
    _check_count(total_steps, "total_steps")
    _check_factor(start_factor, "start_factor")
    _check_factor(end_factor, "end_factor")
    return scaled(lr, partial(_on_a_line, start_factor, end_factor, total_steps))


def _on_a_line(start: float, end: float, total: int, step: Tensor) -> Tensor:
    return start + (end - start) * _progress(step, total)


def linear_warmup(lr: Rate, warmup_steps: int, start_factor: float = 0.0) -> Schedule:
    """lr times a factor that rises from start_factor at step 0 to 1 at step warmup_steps, and stays."""
    _check_count(warmup_steps, "warmup_steps")
    return linear(lr, warmup_steps, start_factor, 1.0)


def cosine(lr: float, total_steps: int, warmup_steps: int = 0, final_lr: float = 0.0) -> Schedule:
    """From 0 to lr on a line over warmup_steps, then from lr to final_lr along half a cosine until total_steps, and stays."""
    for value, name in ((lr, "lr"), (final_lr, "final_lr")):
        _check_factor(value, name)
    _check_count(warmup_steps, "warmup_steps", 0)
    _check_count(total_steps, "total_steps", warmup_steps + 1)
    return partial(_cosine, lr, total_steps, warmup_steps, final_lr)


def _cosine(lr: float, total: int, warmup: int, final: float, step: Tensor) -> Tensor:
    value = final + (lr - final) * 0.5 * (1 + fn.cos(math.pi * _progress(step - warmup, total - warmup)))
    return fn.where(step < warmup, lr * _progress(step, warmup), value) if warmup else value


def sequential(schedules: Sequence[Rate], milestones: Sequence[int]) -> Schedule:
    """The first schedule before the first milestone, the second from there on, ...; each counts from its own beginning."""
    if not isinstance(schedules, (list, tuple)) or not isinstance(milestones, (list, tuple)):
        raise InputError("sequential: schedules and milestones are lists")
    for rate in schedules:
        _check_rate(rate, "schedules")
    for mark in milestones:
        _check_count(mark, "milestones", 0)
    if not schedules or len(milestones) != len(schedules) - 1 or list(milestones) != sorted(set(milestones)):
        raise InputError("sequential: needs one milestone fewer than schedules, in ascending order")
    return partial(_sequential, tuple(schedules), tuple(milestones))


def _sequential(schedules: Sequence[Rate], milestones: Sequence[int], step: Tensor) -> Tensor:
    value = _value(schedules[0], step)
    for mark, rate in zip(milestones, schedules[1:], strict=True):
        # a schedule that has not begun is evaluated at its step 0, where it is defined
        value = fn.where(step >= mark, _value(rate, fn.maximum(step - mark, 0)), value)
    return value


def _f64(value: Any) -> Tensor:
    return fn.as_tensor(value, float64)


def _progress(step: Tensor, total: int) -> Tensor:
    """step / total, limited to [0, 1]."""
    return _f64(fn.clip(step, 0, total)) / total
