"""The driver: Graph -> passes -> Program -> object code -> a native callable. Only it and the command line see all rooms.

native = Native(graph, Options(), threads=None)
native.stages            ("input", "fold", ..., "memory", "program", "llvm", "asm")
native.compiled_from     "cache" or "compiler"
outputs = native(arrays)
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import InputError
from graphc.fingerprint import NoKey, program_key, support_key
from graphc.graph import Graph
from graphc.nn.parameter import Parameter
from graphc.options import Options
from graphc.program import Program
from graphc.tensor import State

if TYPE_CHECKING:
    from graphc.cache import Store
    from graphc.codegen.object import CompiledObject
    from graphc.codegen.target import Target
    from graphc.runtime.driving import Driver

EMITTED = ("program", "llvm", "asm")


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes of the arena, the least that its buffers could need (rounded to its alignment, too), and of the parameters."""

    arena_bytes: int
    lower_bound_bytes: int
    parameter_bytes: int

    @property
    def ratio(self) -> float:
        """Arena over lower bound; 1 where there is no arena."""
        return self.arena_bytes / self.lower_bound_bytes if self.lower_bound_bytes else 1.0


class Native:
    """One graph, compiled once. `earlier` are stages from before the graph was complete (the loss before differentiation)."""

    def __init__(self, graph: Graph, options: Options, threads: int | None, earlier: Mapping[str, Graph]):
        from graphc.codegen.target import host_target
        from graphc.passes.pipeline import run_passes
        from graphc.runtime.binding import Signature
        from graphc.runtime.executable import Executable

        self.graph = graph
        self.target = host_target()
        with _no_collection():
            passed = run_passes(graph, options)
        self.seconds = {stage.name: stage.seconds for stage in passed}
        self._graphs: dict[str, Graph | Program] = {**earlier}
        # where there are earlier stages, the complete graph is what differentiation made of them
        self._graphs.update((("autodiff" if earlier and stage.name == "input" else stage.name), stage.ir) for stage in passed)
        program = passed[-1].ir
        if not isinstance(program, Program):
            raise TypeError("the last pass makes a Program")
        self.program = program
        with _no_collection():
            self._object, self.compiled_from, self.cache_note = compiled_object(program, self.target)
        self.signature = Signature([buffer.name for buffer in program.inputs], [buffer.type for buffer in program.inputs])
        target = self.target
        self.executable = Executable(
            self._object.manifest,
            self._object.object,
            states=[buffer.source.array for buffer in program.states],
            consts=[np.ascontiguousarray(buffer.source) for buffer in program.consts],
            threads=threads,
            support=lambda: support_object(target),
        )
        self.bind = self.signature.bind
        self.run = self.executable

    def driver(self, data: Mapping[str, np.ndarray], rows: int, size: int, scalars: Sequence[int]) -> Driver | None:
        """What runs this step over batches of `size` rows of these arrays; None where it was not compiled for them."""
        from graphc.runtime.driving import Driver

        if any(type_.shape[:1] != (size,) for type_ in self.signature.types):
            return None
        arrays = self.signature.rows_of(data, rows)
        return None if not arrays else Driver(self.executable, arrays, size, scalars)

    @property
    def stages(self) -> tuple[str, ...]:
        return (*self._graphs, *EMITTED)

    def dump(self, stage: str) -> str:
        """The text of a stage."""
        if stage == "program":
            return str(self.program)
        if stage == "llvm":
            return self._object.llvm
        if stage == "asm":
            return self._object.assembly()
        if not isinstance(stage, str) or stage not in self._graphs:
            raise InputError(f"no stage {stage!r}; there are {', '.join(self.stages)}")
        return str(self._graphs[stage])

    @property
    def object_bytes(self) -> int:
        return len(self._object.object)

    @cached_property
    def memory(self) -> MemoryReport:
        arena = self.program.arena
        sources = [(buffer.source, buffer.type.nbytes) for buffer in self.program.states]
        parameters = sum(size for state, size in sources if state.requires_grad or isinstance(state, Parameter))
        return MemoryReport(arena.size if arena else 0, arena.lower_bound if arena else 0, parameters)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Compilation makes many objects and hardly any circles of them, which Python's collector would look for again and again: a
    third of the time of all passes on a graph of 100,000 nodes."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def compiled_object(program: Program, target: Target) -> tuple[CompiledObject, str, str]:
    """A program's object; whether it came from the "cache" or the "compiler"; and why the cache was not used, if it was not."""
    from graphc import cache
    from graphc.codegen.object import CompiledObject, compile_program, describe

    store, key = _place(cache.open_store(), lambda: program_key(program, target))
    entry = store.load(key)
    described = describe(program)
    if entry is not None:
        return CompiledObject(entry.object, {**described, **entry.manifest}, entry.packed), "cache", ""
    made = compile_program(program, target)
    emitted = {name: value for name, value in made.manifest.items() if name not in described}
    store.save(key, cache.Entry(emitted, made.packed, made.object))
    return made, "compiler", store.off


def support_object(target: Target) -> bytes:
    """The object that all steps share: the thread pool, and what leads from Python to a step's entry."""
    from graphc import cache

    store, key = _place(cache.open_store(), lambda: support_key(target))
    entry = store.load(key)
    if entry is None:
        from graphc.codegen import support

        entry = cache.Entry({}, b"", support.support_object(target))
        store.save(key, entry)
    return entry.object


def _place(store: Store, key: Callable[[], str]) -> tuple[Store, str]:
    """The store and the key in it; a store that is off where there is no key."""
    try:
        return store, "" if store.path is None else key()
    except NoKey as error:
        return replace(store, path=None, off=str(error)), ""


def states_of(graph: Graph) -> list[State]:
    """The states that a graph reads or writes, in order of first appearance."""
    return [node.attrs["state"] for node in graph.states]


def check_threads(threads: Any) -> int | None:
    """A number of threads, or None for one per processor that this process may use."""
    if threads is None:
        return None
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise InputError(f"threads is a positive integer or None, not {threads!r}")
    return int(threads)


def check_seed(seed: Any) -> int | None:
    """A seed for the random bits of a step, or None for the one in force when it is built."""
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed is a non-negative integer or None, not {seed!r}")
    return int(seed)


def check_options(options: Any) -> Options:
    if options is None:
        return Options()
    if not isinstance(options, Options):
        raise InputError(f"options is a graphc.Options, not {type(options).__name__}")
    return options
