"""What all optimizers share: parameters in groups, moments, step counts, and the loop that makes a step's updates.

    opt.updates([dw, db]) -> {adam.w.exp_avg: %12, adam.w.exp_avg_sq: %15, w: %20, ..., adam.age: %31}

An optimizer adds to this: which hyper-parameters it has, which moments a parameter needs, the scalars that all parameters of a
group share (computed once per step, in float64), and the rule for one parameter, arranged so that one sweep writes all of its
state.

A parameter's age is the number of updates it has had (PyTorch's per-parameter `step`). Parameters that were first trained
together share one counter, their cohort's, so that a model has one set of bias corrections; parameters that are thawed later
start a cohort of their own, at 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

import graphc.functions as fn
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import floats_are
from graphc.graph import building
from graphc.habits import OPTIMIZER, no_attribute
from graphc.optim.group import Hyper, ParamGroup
from graphc.optim.saving import optimizer_arrays, prepare_load
from graphc.tensor import State, Tensor
from graphc.types import float64, int64, is_float

Scalars = Mapping[str, Tensor]
Gradients = Mapping[State, Tensor] | Iterable[tuple[State, Tensor]] | Iterable[Tensor]


def no_choice(optimizer: str, **flags: Any) -> None:
    """PyTorch's choices among its own implementations: there is one here, so that they can only be off."""
    for name, value in flags.items():
        if value is not None and value is not False:
            raise InputError(f"{optimizer}: {name}={value!r} is not supported: an update is nodes of a graph, which is compiled")


class Optimizer(ABC):
    """Base of all optimizers; `param_groups` holds the hyper-parameters, one mapping per group."""

    __slots__ = ("__weakref__", "_defaults", "ages", "moments", "param_groups", "steps")

    hypers: ClassVar[tuple[Hyper, ...]]  # in the order of the constructor's arguments

    def __init__(self, params: Any, **defaults: Any):
        self._defaults = defaults
        self.param_groups: list[ParamGroup] = []
        self.moments: dict[State, dict[str, State]] = {}  # made when a parameter is first trained
        self.ages: dict[State, State] = {}
        self.steps = State(0, name=f"{self._label}.step", dtype=int64)  # counts only for schedules
        if isinstance(params, Tensor):
            raise InputError(f"params must be an iterable of parameters or of groups, got {type(params).__name__}")
        given = _listed(params)
        if not given:
            raise InputError(
                "params is empty: an optimizer needs at least one parameter (those of modules in a plain list are not found; "
                "nn.ModuleList holds modules)"
            )
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)
        if not any(group.params for group in self.param_groups):
            raise InputError("params is empty: an optimizer needs at least one parameter")

    # --- what an optimizer states ---

    def check(self, group: ParamGroup) -> None:  # noqa: B027 - most optimizers have nothing to add
        """Raise InputError where hyper-parameters of a group do not go together."""

    def ageing(self, group: ParamGroup) -> bool:
        """Whether the group's rule depends on the age of its parameters."""
        return False

    @abstractmethod
    def slots(self, group: ParamGroup) -> dict[str, float]:
        """The moments of each parameter in the group, with their initial values."""

    @abstractmethod
    def scalars(self, group: ParamGroup, lr: Tensor, age: Tensor | None) -> Scalars:
        """What the rule reads beside the parameter: float64 scalars from the hyper-parameters and the age before this update."""

    @abstractmethod
    def rule(self, group: ParamGroup, s: Scalars, p: Tensor, g: Tensor, m: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values of the moments, by slot, and of the parameter, under "param". Everything is of the parameter's dtype."""

    # --- parameters and groups ---

    @property
    def _label(self) -> str:
        return type(self).__name__.lower()

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add `{"params": ..., **hyper-parameters}`; what it leaves out is as in the constructor's arguments."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise InputError(f'params: a group is a dict with the key "params", got {group!r}')
        known = [hyper.name for hyper in self.hypers]
        for key in group:
            if key != "params" and key not in known:
                raise InputError(f"params: unknown option {key!r} in a group; {type(self).__name__} has {', '.join(known)}")
        params = _listed(group["params"])
        seen = {p for g in self.param_groups for p in g.params}
        for p in params:
            if not isinstance(p, State):
                raise InputError(f"params: expected parameters, got {p!r}")
            if not is_float(p.dtype):
                raise InputError(f"params: {p.name} is {p.type}; only float parameters can be trained")
            if p in seen:
                raise InputError(f"params: parameter {p.name} ({p.type}) is given twice")
            seen.add(p)
        index = len(self.param_groups)
        prefix = f"{self._label}.group{index}" if index else self._label
        made = ParamGroup(params, self.hypers, {**self._defaults, **group}, prefix)
        self.check(made)
        self.param_groups.append(made)

    def all_parameters(self) -> list[State]:
        """Every parameter, in order of the groups."""
        return [p for group in self.param_groups for p in group.params]

    def parameters(self) -> list[State]:
        """The parameters that a step built now would train: those that require a gradient."""
        return [p for p in self.all_parameters() if p.requires_grad]

    if not TYPE_CHECKING:  # else any attribute would be one

        def __getattr__(self, name: str) -> NoReturn:
            raise no_attribute(self, name, OPTIMIZER)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.param_groups))})"

    # --- the step ---

    def updates(self, gradients: Gradients) -> dict[State, Tensor]:
        """New values of parameters, their moments, and the counters, for the gradients of `opt.parameters()` in their order, or
        for those of some parameters as a dict or as pairs."""
        given = self._checked(gradients)
        result: dict[State, Tensor] = {}
        with building(scope=self._label):
            for group in self.param_groups:
                trained = [p for p in group.params if p in given]
                if trained:
                    self._update_group(group, trained, given, result)
            if any(group.scheduled("lr") for group in self.param_groups):
                result[self.steps] = self.steps + 1
        return result

    def _update_group(
        self, group: ParamGroup, trained: Sequence[State], given: Mapping[State, Tensor], result: dict[State, Tensor]
    ) -> None:
        lr = self._learning_rate(group)
        scalars: dict[State | None, Scalars] = {}  # by cohort
        cast: dict[tuple[State | None, np.dtype], Scalars] = {}
        if self.ageing(group):
            self._start_cohort(trained)
        for p in trained:
            cohort = self.ages[p] if self.ageing(group) else None
            if cohort not in scalars:
                scalars[cohort] = self.scalars(group, lr, None if cohort is None else cohort.astype(float64))
                if cohort is not None:
                    result[cohort] = cohort + 1
            if (cohort, p.dtype) not in cast:
                cast[cohort, p.dtype] = {name: fn.astype(value, p.dtype) for name, value in scalars[cohort].items()}
            moments = self._moments(group, p)
            new = self.rule(group, cast[cohort, p.dtype], p, given[p], moments)
            result.update({moments[slot]: value for slot, value in new.items() if slot != "param"})
            result[p] = new["param"]

    def _checked(self, gradients: Gradients) -> dict[State, Tensor]:
        given = self._by_parameter(gradients)
        mine = set(self.all_parameters())
        for p, g in given.items():
            if p not in mine:
                raise InputError(f"gradients: {p!r} is not a parameter of this optimizer")
            if not isinstance(g, Tensor) or g.shape != p.shape or g.dtype != p.dtype:
                got = g.type if isinstance(g, Tensor) else type(g).__name__
                raise ShapeError(f"gradients: {p.name} is {p.type}, its gradient is {got}")
        return given

    def _by_parameter(self, gradients: Gradients) -> dict[State, Tensor]:
        if isinstance(gradients, Mapping):
            return dict(gradients)
        items = _listed(gradients, "gradients must be a list of tensors, a dict by parameter or pairs")
        if all(isinstance(item, tuple) and len(item) == 2 for item in items):
            return dict(items)
        params = self.parameters()
        if len(items) != len(params):
            rule = "one for each parameter that requires a gradient"
            raise InputError(f"gradients: expected {len(params)}, {rule}, got {len(items)}")
        return dict(zip(params, items, strict=True))

    def _learning_rate(self, group: ParamGroup) -> Tensor:
        schedule = group.scheduled("lr")
        if schedule is None:
            return group.tensor("lr")
        with floats_are(float64):  # 0.999 ** step would lose most of its digits in f32
            value = schedule(self.steps)
        value = fn.as_tensor(value, None if isinstance(value, Tensor) else float64)
        if value.shape != () or value.dtype.kind == "b":
            raise ShapeError(f"lr: a schedule returns a scalar, got {value.type}")
        return fn.astype(value, float64)

    def _start_cohort(self, trained: Sequence[State]) -> None:
        new = [p for p in trained if p not in self.ages]
        if new:
            self.ages.update(dict.fromkeys(new, self.new_age()))

    def new_age(self, value: int = 0) -> State:
        """A counter for a new cohort."""
        return State(value, name=f"{self._label}.age", dtype=int64)

    def _moments(self, group: ParamGroup, p: State) -> dict[str, State]:
        if p not in self.moments:
            self.moments[p] = self.new_moments(group, p)
        return self.moments[p]

    def new_moments(self, group: ParamGroup, p: State) -> dict[str, State]:
        """Fresh moments of a parameter, of its shape and dtype."""
        prefix = f"{self._label}.{p.name}"
        return {
            slot: State(np.full(p.shape, value, p.dtype), name=f"{prefix}.{slot}") for slot, value in self.slots(group).items()
        }

    # --- saving ---

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of everything that the optimizer holds: hyper-parameters, moments, counters."""
        return optimizer_arrays(self)

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned for an optimizer made with the same options: all, or nothing and an InputError."""
        self.prepare_load(arrays)()

    def prepare_load(self, arrays: Mapping[str, Any]) -> Callable[[], None]:
        """The checks of `load_state_dict`; calling what this returns does the rest. For loading several things, all or none."""
        return prepare_load(self, arrays)


def _listed(many: Any, expected: str = "params must be an iterable of parameters or of groups") -> list[Any]:
    """Parameters, groups or gradients as a list; one tensor as a list of it."""
    if isinstance(many, Tensor):
        return [many]
    if not isinstance(many, Iterable) or isinstance(many, (Mapping, str, np.ndarray)):
        raise InputError(f"{expected}, got {type(many).__name__}")
    return list(many)


class HyperProperty:
    """`opt.lr`: the hyper-parameter of all groups. Reading raises where groups differ, writing sets them all."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, opt: Optimizer, owner: type | None = None) -> Any:
        if opt is None:
            return self
        values = [group[self.name] for group in opt.param_groups]
        if any(value != values[0] for value in values[1:]):
            raise InputError(f"{self.name} differs between groups, {values}; read opt.param_groups[i][{self.name!r}]")
        return values[0]

    def __set__(self, opt: Optimizer, value: Any) -> None:
        before = [group[self.name] for group in opt.param_groups]
        try:
            for group in opt.param_groups:
                group[self.name] = value
        except InputError:
            for group, old in zip(opt.param_groups, before, strict=True):
                group[self.name] = old
            raise
