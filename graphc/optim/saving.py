"""An optimizer as named arrays, and back.

    steps                 how often it was applied (schedules)
    cohort, ages          for each parameter which counter it has (-1: none yet), and the counters
    groups.0.lr           hyper-parameters, float64
    params.3.exp_avg      moments; parameters are numbered through the groups

Loading checks everything before it writes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.arrays import as_array
from graphc.errors import InputError
from graphc.tensor import State
from graphc.types import int64

if TYPE_CHECKING:
    from graphc.optim.base import Optimizer


def optimizer_arrays(opt: Optimizer) -> dict[str, np.ndarray]:
    params = opt.all_parameters()
    counters: dict[State, int] = {}  # numbered in order of their first parameters
    for p in params:
        if p in opt.ages:
            counters.setdefault(opt.ages[p], len(counters))
    arrays = {
        "steps": opt.steps.array.copy(),
        "cohort": np.array([counters[opt.ages[p]] if p in opt.ages else -1 for p in params], int64),
        "ages": np.array([int(counter.array) for counter in counters], int64),
    }
    for i, group in enumerate(opt.param_groups):
        arrays.update({f"groups.{i}.{name}": state.array.copy() for name, state in group.states.items()})
    for i, p in enumerate(params):
        arrays.update({f"params.{i}.{slot}": state.array.copy() for slot, state in opt.moments.get(p, {}).items()})
    return arrays


def prepare_load(opt: Optimizer, arrays: Mapping[str, Any]) -> Callable[[], None]:
    """Check everything; the function returned then writes it, and cannot fail."""
    if not isinstance(arrays, Mapping):
        raise InputError(f"load_state_dict: expected a dict of arrays by name, got {type(arrays).__name__}")
    rest = dict(arrays)
    writes: list[tuple[State, np.ndarray]] = []

    def take(key: str, shape: tuple[int, ...] | None, dtype: np.dtype) -> np.ndarray:
        if key not in rest:
            raise InputError(f"load_state_dict: missing key {key!r}")
        array = as_array(rest.pop(key), None, f"load_state_dict: {key}")
        if (shape is not None and array.shape != shape) or array.dtype.kind != dtype.kind:
            expected = f"{dtype.name}{list(shape or [])}"
            raise InputError(f"load_state_dict: {key}: expected {expected}, got {array.dtype.name}{list(array.shape)}")
        return array.astype(dtype)

    params = opt.all_parameters()
    writes.append((opt.steps, take("steps", (), int64)))
    for i, group in enumerate(opt.param_groups):
        for name, state in group.states.items():
            value = take(f"groups.{i}.{name}", state.shape, state.dtype)
            group.check(name, value.tolist())
            writes.append((state, value))
    counters = _counters(opt, params, take("cohort", (len(params),), int64), take("ages", None, int64), writes)
    moments: dict[State, dict[str, State]] = {}
    group_of = {p: group for group in opt.param_groups for p in group.params}
    for i, p in enumerate(params):
        slots = list(opt.slots(group_of[p]))
        given = [slot for slot in slots if f"params.{i}.{slot}" in rest]
        if not given and p not in opt.moments:
            continue
        held = opt.moments.get(p)
        if held is None:
            held = moments[p] = opt.new_moments(group_of[p], p)
        # a parameter without moments had not been trained when the state was saved
        initial = opt.slots(group_of[p])
        for slot in slots:
            value = take(f"params.{i}.{slot}", p.shape, p.dtype) if given else np.full(p.shape, initial[slot], p.dtype)
            writes.append((held[slot], value))
    if rest:
        raise InputError(f"load_state_dict: unexpected key {next(iter(rest))!r}; was the optimizer made with the same options?")

    def commit() -> None:
        for state, value in writes:
            state.array[...] = value
        opt.moments.update(moments)
        opt.ages.update(counters)

    return commit


def _counters(
    opt: Optimizer, params: list[State], cohort: np.ndarray, ages: np.ndarray, writes: list[tuple[State, np.ndarray]]
) -> dict[State, State]:
    """Counters for parameters that have none yet. Those in use are written, if one value fits all that share one."""
    if ages.ndim != 1 or (cohort < -1).any() or (cohort >= len(ages)).any() or (ages < 0).any():
        raise InputError("load_state_dict: cohort and ages do not belong together")
    wanted = {p: int(ages[c]) if c >= 0 else 0 for p, c in zip(params, cohort.tolist(), strict=True)}
    for counter in dict.fromkeys(opt.ages.values()):
        values = {wanted[p] for p, held in opt.ages.items() if held is counter}
        if len(values) > 1:
            raise InputError(
                "load_state_dict: parameters that a step already trains together were saved after different numbers of updates, "
                f"{sorted(values)}; load before the step is built"
            )
        writes.append((counter, np.asarray(values.pop(), int64)))
    fresh: dict[int, State] = {}
    made: dict[State, State] = {}
    for p, c in zip(params, cohort.tolist(), strict=True):
        if c >= 0 and p not in opt.ages:
            if c not in fresh:
                fresh[c] = opt.new_age(int(ages[c]))
            made[p] = fresh[c]
    return made
