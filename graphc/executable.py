"""What `compile` and `train_step` return: a callable that compiles itself, at once or once per signature of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

import graphc.functions as fn
from graphc.compiler import MemoryReport, Native, check_options, check_seed, check_threads, states_of
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import Graph
from graphc.op import label_of
from graphc.options import Options
from graphc.program import Program
from graphc.random import bind_randomness
from graphc.seeding import initial_seed
from graphc.structure import flatten
from graphc.tensor import State, Tensor
from graphc.tracing import Arguments, Declared, make_graph


class Executable:
    """Base of both: holds one `Native` for fixed sizes, or one for each signature of a traced function.

    `declare(result, inputs)` turns traced results into a Declared.
    """

    def __init__(
        self,
        source: Any,
        declare: Callable[[Any, Sequence[Tensor] | None], Declared],
        positional: bool,
        training: bool,
        threads: Any,
        seed: Any,
        options: Any,
        inputs: Sequence[Tensor] | None = None,
    ):
        self._declare = declare
        self._positional = positional
        self._training = training
        self._threads = check_threads(threads)
        self.seed = check_seed(seed)
        self.options: Options = check_options(options)
        self._function: Callable[..., Any] | None = None
        self._arguments: Arguments | None = None
        self._declared: Declared | None = None
        self._native: Native | None = None
        self._traced: dict[Any, tuple[Declared, Native]] = {}
        self._randomness: tuple[State, State] | None = None  # seed and counter
        self._pending: dict[str, np.ndarray] = {}  # loaded values of states that no trace has met yet
        if callable(source) and not isinstance(source, Tensor):
            self._function = source
            self._arguments = Arguments(source)
        else:
            self._declared = self._drawing(declare(source, inputs))

    def _drawing(self, declared: Declared) -> Declared:
        """With this executable's own seed and counter behind random tensors."""
        if self._randomness is None:
            seed = initial_seed() if self.seed is None else self.seed
            self._randomness = State(seed, "random.seed", "int64"), State(0, "random.counter", "int64")
        return replace(declared, graph=bind_randomness(declared.graph, *self._randomness))

    # --- calling ---

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if self._function is not None:
            return self._call_traced(args, kwargs, out)
        native = self._native or self._compile()
        if args:
            if not self._positional:
                raise InputError(
                    f"inputs are given by name ({native.signature}); positional ones need compile(..., inputs=[...])"
                )
            if len(args) > len(native.signature.names):
                raise InputError(f"expected {len(native.signature.names)} inputs ({native.signature}), got {len(args)}")
            for name, value in zip(native.signature.names, args, strict=False):
                if name in kwargs:
                    raise InputError(f"input {name} is given twice")
                kwargs[name] = value
        return self._finish(self._declared, native, native.bind(kwargs), out)

    def _call_traced(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        arguments = self._arguments
        assert arguments is not None
        arrays = arguments.arrays(args, kwargs)
        key = tuple((name, array.shape, array.dtype.num) for name, array in arrays.items())
        found = self._traced.get(key) or self._trace(key, arrays, args, kwargs)
        declared, native = found
        return self._finish(declared, native, native.bind(arrays), out)

    def _trace(
        self, key: Any, arrays: Mapping[str, np.ndarray], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Declared, Native]:
        assert self._function is not None and self._arguments is not None
        result, inputs = self._arguments.call(self._function, arrays, args, kwargs, self._training)
        declared = self._drawing(self._declare(result, inputs))
        self._apply_pending(declared)
        native = Native(declared.graph, self.options, self._threads, declared.earlier)
        if self._native is None:  # not the latest: in training, that is the odd last batch
            self._declared, self._native = declared, native
        self._traced[key] = declared, native
        return declared, native

    def _finish(self, declared: Declared | None, native: Native, arrays: list[np.ndarray], out: Any) -> Any:
        assert declared is not None
        if out is None:
            return declared.structure.unflatten(native.run(arrays))
        if declared.structure.kind is None and type(out) is np.ndarray:
            native.run(arrays, (out,))
            return out
        native.run(arrays, declared.structure.leaves_of(out, "out"))
        return out

    def _compile(self) -> Native:
        assert self._declared is not None
        self._apply_pending(self._declared)
        self._native = Native(self._declared.graph, self.options, self._threads, self._declared.earlier)
        return self._native

    def build(self, /, *args: Any, **kwargs: Any) -> Self:
        """Compile now rather than at the first call. A traced function needs example arguments, whose values do not matter; it is
        their signature that `dump`, `memory` and the like speak of from then on."""
        if self._function is None:
            if args or kwargs:
                raise InputError("build: sizes are fixed by the inputs; it takes no example arguments")
            if self._native is None:
                self._compile()
        else:
            assert self._arguments is not None
            if not args and not kwargs and self._traced:
                return self
            arrays = self._arguments.arrays(args, kwargs)
            key = tuple((name, array.shape, array.dtype.num) for name, array in arrays.items())
            self._declared, self._native = self._traced.get(key) or self._trace(key, arrays, args, kwargs)
        return self

    # --- looking inside ---

    def __repr__(self) -> str:
        if self._arguments is not None:
            return f"<{type(self).__name__} of {self._arguments.name}, compiled for {len(self._traced)} signatures>"
        return f"<{type(self).__name__}({', '.join(f'{label_of(node)}: {node.type}' for node in self.graph.inputs)})>"

    def _shown(self) -> Native:
        if self._native is not None:
            return self._native
        if self._function is not None:
            raise InputError(
                "a traced function has no graph before its first call; call it, or build() it with example arguments"
            )
        return self._compile()

    @property
    def graph(self) -> Graph:
        """The graph before optimization; of a traced function, that of the first trace or the latest `build`."""
        return self._declared.graph if self._declared is not None else self._shown().graph

    @property
    def program(self) -> Program:
        """The kernels and buffers that run."""
        return self._shown().program

    @property
    def stages(self) -> tuple[str, ...]:
        """Names for `dump`, in order of compilation."""
        return self._shown().stages

    def dump(self, stage: str) -> str:
        """The text of a stage: a graph, the program, LLVM IR or assembly."""
        return self._shown().dump(stage)

    @property
    def memory(self) -> MemoryReport:
        return self._shown().memory

    @property
    def seconds(self) -> dict[str, float]:
        """How long each pass took."""
        return dict(self._shown().seconds)

    @property
    def compiled_from(self) -> str:
        """Where the machine code came from: the "compiler", or the "cache" on disk."""
        return self._shown().compiled_from

    @property
    def cache_note(self) -> str:
        """Why the cache on disk was not used; empty if it was."""
        return self._shown().cache_note

    # --- state ---

    def states(self) -> list[State]:
        """The states that the traces so far read or write, each once."""
        graphs = [declared.graph for declared, _ in self._traced.values()] or ([self._declared.graph] if self._declared else [])
        return list(dict.fromkeys(state for graph in graphs for state in states_of(graph)))

    def _apply_pending(self, declared: Declared) -> None:
        if self._pending:
            from graphc.saving import apply_pending

            apply_pending(self, states_of(declared.graph))


def compile(
    outputs: Any,
    *,
    inputs: Sequence[Tensor] | None = None,
    updates: Mapping[State, Any] | None = None,
    training: bool = False,
    threads: int | None = None,
    seed: int | None = None,
    options: Options | None = None,
) -> Executable:
    """Compile tensors, or a function or module, to a native callable that returns fresh NumPy arrays.

    outputs: a Tensor, or a list, tuple or dict of them: sizes are fixed by their inputs, which a call names (`f(x=...)`), or
        passes in order where `inputs=[...]` is given. Or a function or Module: traced and compiled for each signature (sizes and
        types) of its arguments, in evaluation mode unless `training`. The call returns the same structure; `out=` fills arrays.
    updates: {state: tensor}: new values that the states take when a call ends.
    threads: at most so many (default: one per processor that the process may use). The result does not depend on it.
    """
    if inputs is not None and callable(outputs):
        raise InputError("inputs: a function's inputs are its arguments")
    if updates and callable(outputs) and not isinstance(outputs, Tensor):
        raise InputError("updates: needs tensors as outputs; a function's updates would belong to one signature only")
    checked = _checked_updates(updates or {})

    def declare(result: Any, given: Sequence[Tensor] | None) -> Declared:
        leaves, structure = flatten(result, "compile")
        return Declared(make_graph(leaves, checked, given, "main"), structure)

    if inputs is not None and not isinstance(inputs, (list, tuple)):
        raise InputError(f"inputs: expected a list of tensors, got {inputs!r}")
    if not isinstance(training, (bool, np.bool_)):
        raise InputError(f"training is True or False, not {training!r}")
    given = None if inputs is None else list(inputs)
    return Executable(outputs, declare, given is not None, training, threads, seed, options, given)


def _checked_updates(updates: Mapping[State, Any]) -> dict[State, Tensor]:
    if not isinstance(updates, Mapping):
        raise InputError(f"updates: expected a dict of states and tensors, got {type(updates).__name__}")
    checked = {}
    for state, value in updates.items():
        if not isinstance(state, State):
            raise InputError(f"updates: expected a state, got {state!r}")
        tensor = value if isinstance(value, Tensor) else fn.as_tensor(value, state.dtype)
        if tensor.type != state.type:
            kind = ShapeError if tensor.shape != state.shape else DTypeError
            raise kind(f"updates: state {state.name} is {state.type}, its new value {tensor.type}")
        checked[state] = tensor
    return checked
