"""Random training graphs, compiled with all passes and with none, against the interpreter: outputs, gradients, states.

Each graph also runs as a Program in NumPy, which tells a fault of the passes from one of code generation, with the IR verified
after every pass. `make test` runs a few hundred, always the same; `make test-all` thousands of new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from agreement import Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import Case, Choices, ops_of, random_case

import graphc
from graphc.op import OPS
from graphc.options import Options
from graphc.passes.pipeline import OPTIONAL
from graphc.program_interp import run_program
from graphc.tensor import State

VARIANTS = {"all passes": Options(verify=True), "no passes": Options(verify=True, passes_off=OPTIONAL, fusion=False)}
ROUNDS = 8  # parts of the drawn graphs, so that test processes share them
CALLS = 2


@st.composite
def cases(draw: st.DrawFn, moves: int) -> Case:
    return random_case(Choices(lambda n: draw(st.integers(0, n - 1))), moves)


def seeded_case(seed: int, moves: int, large: bool = False) -> Case:
    rng = np.random.default_rng(seed)
    return random_case(Choices(lambda n: int(rng.integers(n))), moves, large)


def states_of(case: Case) -> list[State]:
    return [node.attrs["state"] for node in case.graph.states]


def check(case: Case, options: Options) -> None:
    """Two calls, so that the second one sees what the first did to states and to the arena. Leaves the states as they were."""
    before = {state: state.array.copy() for state in states_of(case)}
    try:
        native = graphc.compile(list(case.outputs), inputs=case.inputs, updates=case.updates, options=options, threads=1)
        for call in range(CALLS):
            reference = Reference(native.graph, case.arrays)
            if call == 0:
                outputs, states = run_program(native.program, case.arrays)
                reference.check_outputs(outputs)
                arrays = {state.node: state.array for state in case.updates}
                arrays.update((buffer.source.node, array) for buffer, array in states.items())
                reference.check_updates(arrays)
            reference.check_outputs(native(**case.arrays))
            reference.check_updates({state.node: state.array for state in case.updates})
            for state, array in before.items():
                kept = state.array.tobytes() == array.tobytes()
                assert kept or state in case.updates, f"{state.name} is not updated, but changed"
    finally:
        for state, array in before.items():
            state.array[...] = array


def check_all(case: Case) -> None:
    for name, options in VARIANTS.items():
        try:
            check(case, options)
        except Exception as error:
            error.add_note(f"with {name}, of\n{case.graph}")
            raise


@given(case=cases(moves=8))
@settings(max_examples=settings().max_examples // 4)
def test_small_graphs(case: Case) -> None:
    """Drawn by hypothesis, which shrinks a graph that fails."""
    check_all(case)


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def seeds(part: int, count: int) -> Iterator[int]:
    """Of all seeds those of one part; others every time in the thorough profile."""
    start = int(np.random.SeedSequence().entropy % 2**32) if THOROUGH else 0
    yield from range(start + part, start + (count * 10 if THOROUGH else count), ROUNDS)


@pytest.mark.parametrize("part", range(ROUNDS))
def test_medium_graphs(part: int) -> None:
    for seed in seeds(part, 320):
        try:
            check_all(seeded_case(seed, 16))
        except Exception as error:
            error.add_note(f"seeded_case({seed}, 16)")
            raise


@pytest.mark.parametrize("part", range(ROUNDS))
def test_large_graphs(part: int) -> None:
    for seed in seeds(part, 48):
        try:
            check_all(seeded_case(seed, 60))
        except Exception as error:
            error.add_note(f"seeded_case({seed}, 60)")
            raise


def test_every_op_is_drawn() -> None:
    found: set[str] = set()
    for seed in range(400):
        found |= ops_of(seeded_case(seed, 16).graph)
    assert found == set(OPS)
