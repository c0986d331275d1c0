"""In which type a traced function computes.

NumPy makes float64 arrays where nobody asked for them. So where a traced function reads floating states (parameters, buffers) and
all of them are float32, its float64 arguments count as float32 ones: a model computes in the type in which it was made, and
float64 arrays are cast at the call, as those of a step with fixed sizes are. A function that reads no floating state, or a
float64 one, computes in float64.

    graphc.compile(nn.Linear(3, 2))(np.ones((4, 3)))              float32
    graphc.compile(lambda x: x * 2)(np.ones((4, 3)))              float64

What a function reads is known once it is traced, with arguments of one type or the other; so there is a guess to begin with.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from graphc.graph import topological
from graphc.nn.module import Module
from graphc.optim import Optimizer
from graphc.tensor import State, Tensor
from graphc.types import TensorType, float32, float64, is_float


def narrowed(types: Mapping[str, TensorType]) -> dict[str, TensorType]:
    """The types with float32 in place of float64."""
    return {name: TensorType(float32 if one.dtype == float64 else one.dtype, one.shape) for name, one in types.items()}


def computes_in_float32(result: Any) -> bool:
    """Whether what a traced function returned reads floating states, all of them float32."""
    nodes = topological(tensor.node for tensor in _tensors(result))
    return _all_float32([node.attrs["state"] for node in nodes if node.op.name == "state"])


def seems_float32(source: Any, opt: Any) -> bool:
    """A guess at what `computes_in_float32` will say: by the optimizer's parameters, the module, or the modules and states that a
    function names. A wrong one costs a second trace."""
    if isinstance(opt, Optimizer):
        return _all_float32(opt.all_parameters())
    named = [getattr(source, "__self__", source)]
    if inspect.isfunction(source):
        with contextlib.suppress(ValueError):  # a variable that is not bound yet
            variables = inspect.getclosurevars(source)
            named = [*variables.nonlocals.values(), *variables.globals.values()]
    states = [one for one in named if isinstance(one, State)]
    states += [state for one in named if isinstance(one, Module) for state in one.parameters()]
    return _all_float32(states)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those in nested containers; what else stands there will be refused later, with a better message."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for one in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _tensors(one)


def _all_float32(states: list[State]) -> bool:
    return {state.dtype for state in states if is_float(state.dtype)} == {float32}
