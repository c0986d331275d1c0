"""Hyper-parameters: scalar state, so that writing one takes effect in steps that are compiled already.

    group["lr"]         -> 0.001
    group["lr"] = 1e-4     the next call of every step uses it

A number is held as a float64 scalar state: it reads back as it was written, and `1 - beta` and `beta ** t` lose nothing to
rounding (PyTorch computes them in Python's floats); the step casts what a sweep needs to the parameter's type, once.
What decides which nodes the graph has cannot change later: flags, a schedule in place of a number, and terms that 0 leaves out
(`momentum=0` makes no momentum). Writing those raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import InputError
from graphc.tensor import State, Tensor
from graphc.types import float64


@dataclass(frozen=True)
class Hyper:
    """One hyper-parameter of an optimizer: what values it takes and how it enters the graph."""

    name: str
    high: float = math.inf  # values are in [0, high)
    count: int = 0  # a tuple of so many numbers; 0: one number
    optional: bool = False  # 0 at construction leaves its terms out of the graph
    schedule: bool = False  # may be a function of the step
    flag: bool = False  # True or False, fixed at construction
    fixed: bool = False  # read once, at construction

    def check(self, value: Any) -> Any:
        """`value` as a bool, float, tuple of floats or schedule; InputError where it is none or out of range."""
        if self.flag:
            if not isinstance(value, (bool, np.bool_)):
                raise InputError(f"{self.name} must be True or False, got {value!r}")
            return bool(value)
        if self.schedule and callable(value) and not isinstance(value, Tensor):
            return value
        if not self.count:
            return self._number(value, self.name)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != self.count:
            raise InputError(f"{self.name} must be {self.count} numbers, got {value!r}")
        return tuple(self._number(item, f"{self.name}[{i}]") for i, item in enumerate(value))

    def _number(self, value: Any, name: str) -> float:
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            expected = "a number or a function of the step" if self.schedule else "a number"
            raise InputError(f"{name} must be {expected}, got {value!r}")
        if not math.isfinite(value):
            raise InputError(f"{name} must be finite, got {value!r}")
        if not 0 <= value < self.high:
            limit = "not be negative" if self.high == math.inf else f"be at least 0 and below {self.high:g}"
            raise InputError(f"{name} must {limit}, got {value!r}")
        return float(value)


class ParamGroup(Mapping[str, Any]):
    """Parameters that share hyper-parameters: a mapping from their names, and "params", to values; numbers can be written."""

    __slots__ = ("_constants", "_hypers", "_states", "params")

    def __init__(self, params: Sequence[State], hypers: Sequence[Hyper], values: Mapping[str, Any], prefix: str):
        self.params = tuple(params)
        self._hypers = {hyper.name: hyper for hyper in hypers}
        self._constants: dict[str, Any] = {}
        self._states: dict[str, State] = {}
        for hyper in hypers:
            value = hyper.check(values[hyper.name])
            if hyper.flag or hyper.fixed or callable(value) or (hyper.optional and value == 0):
                self._constants[hyper.name] = value
            else:
                self._states[hyper.name] = State(value, name=f"{prefix}.{hyper.name}", dtype=float64)

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return list(self.params)
        if name in self._constants:
            return self._constants[name]
        if name not in self._states:
            raise KeyError(name)
        return _plain(self._states[name])

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._hypers:
            raise InputError(f"{name!r} is not a hyper-parameter that can be written; those are: {', '.join(self._hypers)}")
        checked = self._hypers[name].check(value)
        if name in self._states:
            if callable(checked):
                raise InputError(f"{name} was made as a number and cannot become a schedule; make a new optimizer")
            self._states[name].assign(np.asarray(checked, float64))
        elif checked is not self._constants[name] and (callable(checked) or checked != self._constants[name]):
            raise InputError(
                f"{name} was {self._constants[name]!r} when the optimizer was made, which decided the shape of its graph, "
                f"so it cannot become {value!r}; make a new optimizer with {name}={value!r}"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._hypers))

    def __len__(self) -> int:
        return 1 + len(self._hypers)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={self[name]!r}" for name in self._hypers)
        return f"ParamGroup({len(self.params)} parameters, {settings})"

    def check(self, name: str, value: Any) -> None:
        """Raise InputError where a hyper-parameter cannot have this value."""
        self._hypers[name].check(value)

    def has(self, name: str) -> bool:
        """Whether a flag is set, or an optional term is in the graph."""
        return name in self._states or bool(self._constants[name])

    def scheduled(self, name: str) -> Callable[[Tensor], Any] | None:
        """The schedule that stands in place of a number."""
        value = self._constants.get(name)
        return value if callable(value) else None

    def tensor(self, name: str) -> Tensor:
        """A number's value before the step, float64."""
        return self._states[name]

    @property
    def states(self) -> dict[str, State]:
        """The writable hyper-parameters."""
        return dict(self._states)


def _plain(state: State) -> Any:
    return tuple(state.array.tolist()) if state.shape else float(state.array)
