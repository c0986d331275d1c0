"""Schedules that users write: functions of the step that compute in float64 wherever they are evaluated."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim

SCHEDULES: list[Callable[[Any], Any]] = [
    lambda step: 0.1 * 0.999999**step,
    lambda step: 1.0 - 1e-9 * step,
    lambda step: (step - 99_999_999.0) / 3,
    lambda step: (step + 1) ** -0.5,
    lambda step: (step % 7) / 7,
    lambda step: 0.1,
    optim.scaled(0.1, lambda step: 0.999999**step),
]


def rate(schedule: Callable[[Any], Any], count: int) -> float:
    """The learning rate at a step, as what it does to a float64 parameter."""
    p = nn.Parameter(np.zeros(1))
    opt = optim.SGD([p], lr=schedule)
    opt.steps.assign(count)
    graphc.train_step(-p.sum(), opt)()
    assert opt.steps.numpy() == count + 1
    return float(p.numpy()[0])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("count", [3, 100_000_000])
def test_they_compute_in_float64(schedule: Callable[[Any], Any], count: int) -> None:
    expected = 0.1 * 0.999999**count if schedule is SCHEDULES[-1] else schedule(count)
    assert rate(schedule, count) == pytest.approx(expected, rel=1e-13)


def test_choices_too() -> None:
    assert rate(lambda step: graphc.where(step > 10, 0.1, 0.01), 3) == 0.01


def test_elsewhere_the_default_stays() -> None:
    opt = optim.SGD([nn.Parameter(np.zeros(1))], lr=lambda step: 0.5 * step)
    graphc.train_step(opt.all_parameters()[0].sum(), opt)
    assert (opt.steps * 0.5).dtype == np.float32 and graphc.where(opt.steps > 0, 0.1, 0.2).dtype == np.float32


@pytest.mark.parametrize(
    "schedule",
    [
        optim.cosine(0.1, 9, 2),
        optim.constant(0.1),
        optim.linear_warmup(optim.step_decay(0.1, 3), 5),
        optim.sequential([optim.multi_step(0.1, [2, 3]), optim.exponential(0.1, 0.9), 0.3], [4, 6]),
    ],
)
def test_an_optimizer_with_a_schedule_can_be_pickled(schedule: Callable[[Any], Any]) -> None:
    opt = pickle.loads(pickle.dumps(optim.Adam([nn.Parameter(np.zeros(1))], lr=schedule)))
    again = opt.param_groups[0]["lr"]
    assert [rate(again, count) for count in (0, 3, 7)] == [rate(schedule, count) for count in (0, 3, 7)]
