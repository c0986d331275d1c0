"""From what users hand over to a `Declared`: the graph to compile, and how to take a call's values in and give results back.

Tensors give one Declared with sizes fixed by their inputs. A function or module is traced: called once with input tensors of
the sizes and types of the arrays at hand, once for each such signature.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.arrays import as_array
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import Graph, Node, topological
from graphc.nn.mode import tracing
from graphc.op import label_of
from graphc.random import fresh_streams
from graphc.scanning import is_placeholder
from graphc.structure import Structure
from graphc.tensor import State, Tensor, input
from graphc.types import TensorType

_lock = threading.RLock()


def one_at_a_time() -> threading.RLock:  # type: ignore[valid-type]
    """Held while a graph is declared: an optimizer makes the moments that a graph needs where it has none yet, and two threads
    that declare at a time must not each make their own."""
    return _lock


def _after_fork() -> None:
    """A lock that another thread of the parent held would stay held for ever in the child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class Declared:
    """A graph ready to compile; its outputs, in order, are the leaves of `structure`."""

    graph: Graph
    structure: Structure
    earlier: Mapping[str, Graph] = field(default_factory=dict)


def find_inputs(roots: Sequence[Node], declared: Sequence[Tensor] | None) -> tuple[Node, ...]:
    """The inputs that `roots` depend on, in order of first use; or those of `declared`, which must cover them."""
    reached = [node for node in topological(roots) if node.op.name == "input"]
    for node in reached:
        if is_placeholder(node):
            raise InputError(
                f"a tensor made inside the function of a scan ({node.type}, at {node.loc}) is used outside; "
                "return it as the carry or as y"
            )
    if declared is not None:
        for tensor in declared:
            if not isinstance(tensor, Tensor) or tensor.node.op.name != "input":
                raise InputError(f"inputs: expected tensors made by graphc.input, got {tensor!r}")
        given = [tensor.node for tensor in declared]
        if len(set(given)) < len(given):
            raise InputError("inputs: a tensor is given twice")
        missing = [label_of(node) for node in reached if node not in given]
        if missing:
            raise InputError(f"inputs: the outputs also depend on {', '.join(map(str, missing))}")
        reached = given
    names: dict[str, Node] = {}
    if any(node.attrs["name"] == "out" for node in reached):
        raise InputError("an input cannot be named 'out': in a call, out= takes the arrays to fill")
    for node in reached:
        other = names.setdefault(node.attrs["name"], node)
        if other is not node:
            raise InputError(
                f"two inputs are named {node.attrs['name']!r}: "
                f"{other.type} declared at {other.loc} and {node.type} declared at {node.loc}"
            )
    return tuple(names.values())


def make_graph(outputs: Sequence[Tensor], updates: Mapping[State, Tensor], inputs: Sequence[Tensor] | None, name: str) -> Graph:
    pairs = tuple((state.node, value.node) for state, value in updates.items())
    roots = [tensor.node for tensor in outputs] + [node for pair in pairs for node in pair]
    return Graph(find_inputs(roots, inputs), tuple(tensor.node for tensor in outputs), pairs, name)


Types = Mapping[str, TensorType]  # of a traced function's arguments, by name


class Arguments:
    """The parameters of a function: which array of a call is which input."""

    def __init__(self, function: Callable[..., Any]):
        target = getattr(function, "forward", function)
        self.name = getattr(function, "__name__", type(function).__name__)
        try:
            self.signature: inspect.Signature | None = inspect.signature(target)
        except (TypeError, ValueError):
            self.signature = None

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a call by input name."""
        if self.signature is None:
            return {**{f"arg{i}": value for i, value in enumerate(args)}, **kwargs}
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            named = f"; given by name: {', '.join(kwargs)}" if kwargs else ""
            raise InputError(f"{self.name}({', '.join(self.signature.parameters)}): {error}{named}") from None
        values: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                values.update((f"{name}{i}", item) for i, item in enumerate(value))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                values.update(value)
            else:
                values[name] = value
        return values

    def empty(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of arguments that may be left out and are None: no inputs, but the function sees them as they are."""
        if self.signature is None or not any(value is None for value in (*args, *kwargs.values())):
            return ()
        given = [name for name, value in self.bind(args, kwargs).items() if value is None and name in self.signature.parameters]
        return tuple(name for name in given if self.signature.parameters[name].default is not inspect.Parameter.empty)

    def arrays(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The same as arrays of graphc's types, without those of `empty`; lists and Python numbers take the default types."""
        bound, empty = self.bind(args, kwargs), self.empty(args, kwargs)
        return {name: as_array(value, None, f"input {name}") for name, value in bound.items() if name not in empty}

    def call(
        self,
        function: Callable[..., Any],
        types: Types,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        training: bool,
    ) -> tuple[Any, list[Tensor]]:
        """Trace: the function's result on input tensors of these types, and those tensors."""
        inputs = {name: input(name, one.shape, one.dtype) for name, one in types.items()}
        given = {name: inputs.get(name) for name in self.bind(args, kwargs)}  # None where that was given
        positional = list(given.values())[: len(args)]
        with tracing(training), fresh_streams():
            return function(*positional, **{name: given[name] for name in kwargs}), list(inputs.values())


def updates_by_state(updates: Any) -> dict[State, Any]:
    """What users gave as `updates`: new values by state."""
    if updates is None:
        return {}
    if not isinstance(updates, Mapping):
        raise InputError(f"updates: expected a dict of states and tensors, got {type(updates).__name__}")
    for state in updates:
        if not isinstance(state, State):
            raise InputError(f"updates: expected a state, got {state!r}")
    return dict(updates)


def beside(function: Callable[..., Any], updates: Mapping[State, Any]) -> Callable[..., Any]:
    """A function of the same arguments that returns (result, updates), those new values that are functions called on the same
    arguments."""

    def both(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        called = {state: value(*args, **kwargs) if _is_function(value) else value for state, value in updates.items()}
        return result, called

    both.__name__ = getattr(function, "__name__", type(function).__name__)
    with contextlib.suppress(TypeError, ValueError):
        both.__signature__ = inspect.signature(getattr(function, "forward", function))  # type: ignore[attr-defined]
    return both


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Tensor)


def checked_updates(updates: Mapping[State, Any], inputs: Sequence[Tensor] | None = None) -> dict[State, Tensor]:
    """New values as tensors of their states' types; `inputs` are those of a traced function, and no others are read."""
    checked = {}
    for state, value in updates.items():
        if _is_function(value):
            raise InputError(f"updates: the new value of {state.name} is a function; with tensors as outputs it is a tensor")
        tensor = value if isinstance(value, Tensor) else fn.as_tensor(value, state.dtype)
        if tensor.type != state.type:
            kind = ShapeError if tensor.shape != state.shape else DTypeError
            raise kind(f"updates: state {state.name} is {state.type}, its new value {tensor.type}")
        if inputs is not None:
            known = [one.node for one in inputs]
            strange = [node for node in topological([tensor.node]) if node.op.name == "input" and node not in known]
            if strange:
                raise InputError(
                    f"updates: the new value of {state.name} depends on the input {label_of(strange[0])}, no argument of the "
                    "function that is compiled; give a function of the same arguments: {state: lambda x: state + x.sum()}"
                )
        checked[state] = tensor
    return checked
