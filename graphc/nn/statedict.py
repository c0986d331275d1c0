"""State dicts: a module's parameters and persistent buffers as plain arrays by path, and their atomic loading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphc.arrays import as_array, numeric_array
from graphc.errors import DTypeError, GraphcError, InputError, ShapeError
from graphc.nn.functional.common import refuse
from graphc.nn.parameter import given
from graphc.tensor import State

if TYPE_CHECKING:
    from graphc.nn.module import Module


class IncompatibleKeys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


def entries(module: Module) -> Iterator[tuple[str, State]]:
    """Every saved state by path, in PyTorch's order: a module's parameters, its buffers, then its children. A shared state stands
    under each of its paths."""
    for path, each in module.named_modules(remove_duplicate=False):
        saved = {name: buffer for name, buffer in each._buffers.items() if name not in each._transient}
        for name, state in (*each._parameters.items(), *saved.items()):
            if state is not None:
                yield (f"{path}.{name}" if path else name), state


def saved(module: Module, destination: Any, prefix: str, keep_vars: bool) -> dict[str, np.ndarray]:
    """Copies of all entries, their paths after `prefix`."""
    refuse("state_dict", "destination", destination, "update a dict with what is returned", default=None)
    refuse("state_dict", "keep_vars", keep_vars, "the values are copies; Parameter.numpy() is a live view")
    return {prefix + name: state.array.copy() for name, state in entries(module)}


def load(module: Module, values: Any, strict: bool, assign: bool = False) -> IncompatibleKeys:
    refuse("load_state_dict", "assign", assign, "values are written into the states, which keep their type")
    if not isinstance(values, Mapping):
        raise InputError(f"load_state_dict: expected a dict of arrays by name, got {type(values).__name__}")
    expected = dict(entries(module))
    missing = [name for name in expected if name not in values]
    unexpected = [name for name in values if name not in expected]
    problems: list[GraphcError] = []
    if strict and missing:
        problems.append(InputError("missing keys: " + ", ".join(missing)))
    if strict and unexpected:
        problems.append(InputError("unexpected keys: " + ", ".join(map(str, unexpected))))
    new: list[tuple[State, np.ndarray]] = []
    for name, state in expected.items():
        if name in values:
            try:
                new.append((state, _fitting(name, values[name], state)))
            except (ShapeError, DTypeError, InputError) as error:
                problems.append(error)
    if problems:
        # the most specific of the kinds of mistake, so that a wrong shape is a ShapeError whatever else is wrong
        kind = next(kind for kind in (ShapeError, DTypeError, InputError) if any(type(problem) is kind for problem in problems))
        raise kind(f"load_state_dict: {type(module).__name__} is unchanged:" + "".join(f"\n  {problem}" for problem in problems))
    for state, array in new:
        state.array[...] = array
    return IncompatibleKeys(missing, unexpected)


def _fitting(name: str, value: Any, state: State) -> np.ndarray:
    """A copy of the value in the state's type: a view could alias another of the arrays that are about to be written."""
    array = numeric_array(given(value, name), name)
    if array.shape != state.shape:
        raise ShapeError(f"{name}: expected shape {state.shape}, got {array.shape}")
    if not np.can_cast(array.dtype, state.dtype, "same_kind"):
        raise DTypeError(f"{name}: expected {state.dtype.name}, got {array.dtype.name}")
    return np.array(as_array(array, state.dtype, name))
