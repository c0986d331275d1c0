"""The order of all passes, and the runner that alone verifies, times, records and dumps them.

    stages = run_passes(graph, Options(), dump=lambda stage: print(stage.name, stage.ir))
    program = stages[-1].ir

Adding a pass: write `passes/<name>.py` with one function, whose docstring shows the IR before and after, put it in the tuple
below, say in ORDER what it must follow or precede and why, and add golden files to `tests/graphs/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from graphc.errors import InputError, VerifyError
from graphc.graph import Graph
from graphc.options import Options
from graphc.passes.bodies import map_bodies
from graphc.passes.cse import cse
from graphc.passes.dce import dce
from graphc.passes.fold import fold
from graphc.passes.fuse import fuse
from graphc.passes.hoist import hoist
from graphc.passes.memory import memory
from graphc.passes.merge import merge
from graphc.passes.reassociate import reassociate
from graphc.passes.schedule import schedule
from graphc.passes.simplify import simplify
from graphc.passes.split import split
from graphc.program import Program
from graphc.program_verify import verify_program
from graphc.verify import verify_graph

IR = Graph | Program
Pass = tuple[str, Callable[[Any, Options], Any]]

GRAPH_PASSES: tuple[Pass, ...] = (
    ("merge", merge),
    ("fold", fold),
    ("simplify", simplify),
    ("hoist", hoist),
    ("reassociate", reassociate),
    ("cse", cse),
    ("dce", dce),
    ("split", split),
)

PROGRAM_PASSES: tuple[Pass, ...] = (
    ("fuse", fuse),
    ("schedule", schedule),
    ("memory", memory),
)

PIPELINE: tuple[Pass, ...] = GRAPH_PASSES + PROGRAM_PASSES

# (before, after, reason): checked below, never used to sort.
ORDER: tuple[tuple[str, str, str], ...] = (
    ("merge", "fold", "no other pass need look at a loop twice"),
    ("simplify", "hoist", "views between a sequence and its contraction are gone"),
    ("hoist", "cse", "what leaves a loop may be there already"),
    ("hoist", "dce", "sequences that a loop no longer reads go"),
    ("fold", "simplify", "rules that look for constants see computed ones"),
    ("simplify", "reassociate", "a transpose between two contractions would hide a chain"),
    ("simplify", "cse", "equal contractions are spelled equally only under canonical labels"),
    ("reassociate", "cse", "re-ordered chains may share products"),
    ("simplify", "dce", "an update may turn out to write its state's own value"),
    ("cse", "fuse", "equal values are stored once"),
    ("cse", "split", "equal reductions are split once"),
    ("split", "fuse", "each step is a kernel of its own"),
    ("dce", "fuse", "fuse turns the graph into kernels"),
    ("fuse", "schedule", "there are no launches before"),
    ("schedule", "memory", "lifetimes are those of the final order"),
)

# Passes that `Options(passes_off=...)` may leave out; the others translate, and nothing runs without them.
OPTIONAL: frozenset[str] = frozenset(name for name, _ in GRAPH_PASSES) | {"schedule"}


def _check_order() -> None:
    position = {name: i for i, (name, _) in enumerate(PIPELINE)}
    if len(position) != len(PIPELINE):
        raise ImportError("two passes of one name")
    for before, after, reason in ORDER:
        if position[before] > position[after]:
            raise ImportError(f"pass {before!r} must come before {after!r}: {reason}")


_check_order()


@dataclass(frozen=True, slots=True)
class Stage:
    """The IR after a pass, and how long the pass took. The first stage is the graph as it came, named "input"."""

    name: str
    ir: IR
    seconds: float = 0.0

    def __str__(self) -> str:
        return str(self.ir)


def run_passes(
    graph: Graph,
    options: Options,
    dump: Callable[[Stage], None] | None = None,
    verify: bool | None = None,
    passes: tuple[Pass, ...] | None = None,
) -> tuple[Stage, ...]:
    """All stages, the last one holding the result. `dump` is called with each as it is reached; `verify` overrides
    `options.verify`; `passes` stands in for PIPELINE."""
    unknown = options.passes_off - OPTIONAL
    if unknown:
        names = ", ".join(sorted(OPTIONAL))
        raise InputError(f"Options: {', '.join(sorted(unknown))} cannot be left out; these passes can: {names}")
    checked = options.verify if verify is None else verify
    stages = [Stage("input", graph)]
    if checked:
        with _note("in the graph before any pass"):
            _verify(graph, None)
    if dump is not None:
        dump(stages[0])
    for name, run in PIPELINE if passes is None else passes:
        if name in options.passes_off:
            continue
        before = stages[-1].ir
        start = time.perf_counter()
        with _note(f"in pass {name!r}"):
            after = _run(run, before, options)
        stages.append(Stage(name, after, time.perf_counter() - start))
        if checked and after is not before:
            with _note(f"after pass {name!r}"):
                _verify(after, before)
        if dump is not None:
            dump(stages[-1])
    return tuple(stages)


def _run(run: Callable[[Any, Options], Any], ir: IR, options: Options) -> IR:
    """A pass on a program, or on a graph and the bodies of its loops."""
    if isinstance(ir, Graph) and run not in (merge, fuse):
        ir = map_bodies(ir, lambda body: run(body, options))
    return run(ir, options)


def _verify(ir: IR, before: IR | None) -> None:
    if isinstance(ir, Program):
        verify_program(ir)
        return
    graph = before if isinstance(before, Graph) else None
    verify_graph(ir, graph)
    if graph is not None:
        for was, now in ((graph.inputs, ir.inputs), (graph.outputs, ir.outputs)):
            if [node.type for node in was] != [node.type for node in now]:
                raise VerifyError("the types of inputs or outputs changed")


class _note:
    """Adds a note to any exception that passes through."""

    def __init__(self, text: str):
        self.text = text

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.text)
