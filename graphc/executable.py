"""What `compile` and `train_step` return: a callable that compiles itself, at once or once per signature of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import numpy as np

from graphc.calling import MISSED, Form, by_name, learn
from graphc.compiler import MemoryReport, Native, check_options, check_seed, check_threads, states_of
from graphc.errors import GraphcError, InputError
from graphc.graph import Graph
from graphc.op import label_of
from graphc.options import Options
from graphc.precision import computes_in_float32, narrowed, seems_float32
from graphc.program import Program
from graphc.random import bind_randomness
from graphc.seeding import initial_seed
from graphc.structure import flatten
from graphc.tensor import State, Tensor
from graphc.tracing import Arguments, Declared, Types, beside, checked_updates, make_graph, one_at_a_time, updates_by_state
from graphc.types import TensorType


@dataclass(frozen=True, slots=True)
class _Traced:
    declared: Declared
    native: Native
    float32: bool  # reads floating states, all of them float32


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
        self._forms: dict[Any, Form] = {}  # what answered the last call of each
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
        self._traced: dict[Any, _Traced] = {}  # by the types for which it was traced, and the arguments that were None
        self._by_signature: dict[Any, _Traced] = {}  # by those of a call's arrays: float64 ones may count as float32
        self._in_float32: bool | None = None  # whether they last did
        self._randomness: tuple[State, State] | None = None  # seed and counter
        self._met: list[State] = []  # the states of a trace that was made to know them, and its arguments
        self._introduced: Types = {}
        self._pending: Any = None  # a `saving.Pending`: loaded values of states that no trace has met yet
        if callable(source) and not isinstance(source, Tensor):
            self._function = source
            self._arguments = Arguments(source)
        else:
            with one_at_a_time():
                self._declared = self._drawing(declare(source, inputs))

    def _drawing(self, declared: Declared) -> Declared:
        """With this executable's own seed and counter behind random tensors."""
        if self._randomness is None:
            seed = initial_seed() if self.seed is None else self.seed
            self._randomness = State(seed, "random.seed", "int64"), State(0, "random.counter", "int64")
        return replace(declared, graph=bind_randomness(declared.graph, *self._randomness))

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "a compiled step holds machine code and cannot be copied or pickled; copy the model and the optimizer together and "
            "compile again, or use graphc.save and graphc.load for its values"
        )

    # --- calling ---

    def __call__(self, /, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        form = self._forms.get((len(args), *kwargs) if kwargs else len(args))
        if form is not None:
            result = form.answer((*args, *kwargs.values()) if kwargs else args, out)
            if result is not MISSED:
                return result
        if self._function is not None:
            arrays, found = self._of_arguments(args, kwargs, form)
            declared, native, names, bound = found.declared, found.native, tuple(arrays), found.native.bind(arrays)
        else:
            native = self._native or self._compile()
            assert self._declared is not None
            declared, names = self._declared, native.signature.names
            bound = native.bind({**kwargs, **by_name(args, kwargs, native, self._positional)} if args else kwargs)
        result = self._finish(declared, native, bound, out)
        learn(self._forms, args, kwargs, names, declared, native)
        return result

    def _of_arguments(self, args: Any, kwargs: Any, form: Form | None = None) -> tuple[dict[str, np.ndarray], _Traced]:
        """A call's arrays by name, and what is compiled for their signature."""
        assert self._arguments is not None
        empty = self._arguments.empty(args, kwargs)
        if form is not None and not empty:
            arrays = form.arrays((*args, *kwargs.values()))
        else:
            arrays = self._arguments.arrays(args, kwargs)
        key = (*((name, array.shape, array.dtype.num) for name, array in arrays.items()), *empty)
        found = self._by_signature.get(key)
        if found is None:
            types = {name: TensorType(array.dtype, array.shape) for name, array in arrays.items()}
            with one_at_a_time():
                found = self._by_signature.get(key) or self._trace(types, args, kwargs)
                self._by_signature[key] = found
        return arrays, found

    def _trace(self, types: Types, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Traced:
        """What is compiled for arguments of these types, in which float64 stands for float32 where all states are of that."""
        narrow = narrowed(types)
        empty = self._arguments.empty(args, kwargs) if self._arguments is not None else ()
        if narrow == types:
            known = self._traced.get((*types.items(), *empty))
            return known or self._compile_traced((*types.items(), *empty), *self._call_function(types, args, kwargs))
        known = self._traced.get((*narrow.items(), *empty))
        guess = known.float32 if known else self._in_float32
        if guess is None:
            guess = seems_float32(self._function, getattr(self, "opt", None))
        refused: GraphcError | None = None
        for tried in (narrow, types) if guess else (types, narrow):
            key = (*tried.items(), *empty)
            known = self._traced.get(key)
            try:
                result, inputs = (None, []) if known else self._call_function(tried, args, kwargs)
            except GraphcError as error:  # it may be right with the other types
                refused = refused or error
                continue
            verdict = known.float32 if known else computes_in_float32(result)
            if verdict == (tried is narrow):
                self._in_float32 = verdict
                return known or self._compile_traced(key, result, inputs)
        raise refused or InputError("the function reads other states for float32 arguments than for float64 ones")

    def _call_function(self, types: Types, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, list[Tensor]]:
        assert self._function is not None and self._arguments is not None
        return self._arguments.call(self._function, types, args, kwargs, self._training)

    def _compile_traced(self, key: Any, result: Any, inputs: Sequence[Tensor]) -> _Traced:
        declared = self._drawing(self._declare(result, inputs))
        self._apply_pending(declared)
        native = Native(declared.graph, self.options, self._threads, declared.earlier)
        if self._native is None:  # not the latest: in training, that is the odd last batch
            self._declared, self._native = declared, native
        made = self._traced[key] = _Traced(declared, native, computes_in_float32(result))
        return made

    def _finish(self, declared: Declared, native: Native, arrays: list[np.ndarray], out: Any) -> Any:
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
            if not args and not kwargs and self._traced:
                return self
            _, found = self._of_arguments(args, kwargs)
            self._declared, self._native = found.declared, found.native
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
        graphs = [one.declared.graph for one in self._traced.values()] or ([self._declared.graph] if self._declared else [])
        return list(dict.fromkeys([*self._met, *(state for graph in graphs for state in states_of(graph))]))

    def introduce(self, types: Types) -> None:
        """Trace the function for arguments of these types, given by name, without compiling it, so that its states are known."""
        with one_at_a_time():
            result, inputs = self._call_function(types, (), dict.fromkeys(types))
            self._met = states_of(self._drawing(self._declare(result, inputs)).graph)
        self._introduced = types

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
        Where a function reads floating states, all float32, its float64 arrays count as float32 ones (`graphc.precision`).
    updates: {state: tensor}: new values that the states take when a call ends. Beside a function, a value that depends on its
        arguments is a function of them, too: `compile(f, updates={total: lambda x: total + x.sum()})`.
    threads: at most so many (default: one per processor that the process may use). The result does not depend on it.
    """
    if inputs is not None and callable(outputs):
        raise InputError("inputs: a function's inputs are its arguments")
    pairs = updates_by_state(updates)
    traced = callable(outputs) and not isinstance(outputs, Tensor)
    checked = {} if traced else checked_updates(pairs)

    def declare(result: Any, given: Sequence[Tensor] | None) -> Declared:
        leaves, structure = flatten(result, "compile")
        return Declared(make_graph(leaves, checked, given, "main"), structure)

    def declare_both(result: tuple[Any, Mapping[State, Any]], given: Sequence[Tensor] | None) -> Declared:
        leaves, structure = flatten(result[0], "compile")
        return Declared(make_graph(leaves, checked_updates(result[1], given), given, "main"), structure)

    if inputs is not None and not isinstance(inputs, (list, tuple)):
        raise InputError(f"inputs: expected a list of tensors, got {inputs!r}")
    if not isinstance(training, (bool, np.bool_)):
        raise InputError(f"training is True or False, not {training!r}")
    given = None if inputs is None else list(inputs)
    if traced and pairs:
        return Executable(beside(outputs, pairs), declare_both, False, training, threads, seed, options)
    return Executable(outputs, declare, given is not None, training, threads, seed, options, given)
