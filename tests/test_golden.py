"""Golden files of passes, `tests/graphs/*.graph`: a graph, a line `---`, and what the pass makes of it.

    # pass: cse
    # Equal nodes become one.
    graphc-text 1
    ...
    ---
    graphc-text 1
    ...

`# pass:` may name several passes, run in order; `# options:` sets fields of Options. `pytest tests/test_golden.py --bless`
rewrites the expectations. Both sides are then evaluated on random inputs, NaN, infinities and signed zeros among them: bit for
bit, unless a contraction is re-ordered or the file says `# close`, so a wrong blessing fails.
"""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.graph import Graph, Node
from graphc.interp import run_graph
from graphc.op import Kind
from graphc.options import Options
from graphc.parse import parse
from graphc.passes.pipeline import PIPELINE, run_passes
from graphc.program import Program
from graphc.program_interp import run_program
from graphc.types import TensorType

GRAPHS = Path(__file__).parent / "graphs"
FILES = sorted(GRAPHS.glob("*.graph"))
PASSES = dict(PIPELINE)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-40]


def header(text: str, key: str) -> str:
    found = re.search(rf"^# {key}: *(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def read_options(text: str) -> Options:
    settings = (item.split("=") for item in header(text, "options").split())
    return Options(**{name: ast.literal_eval(value) for name, value in settings})


def draw(rng: np.random.Generator, type_: TensorType, special: bool) -> np.ndarray:
    """Integers are valid indices of any axis of size 2."""
    if type_.dtype.kind != "f":
        return rng.integers(0, 2, type_.shape).astype(type_.dtype)
    values = rng.standard_normal(type_.shape)
    if special:
        values = np.where(rng.random(type_.shape) < 0.6, rng.choice(SPECIAL, type_.shape), values)
    return values.astype(type_.dtype)


def by_name(graph: Graph) -> dict[str, Node]:
    return {node.attrs["state"].name: node for node in graph.states}


def evaluate_graph(graph: Graph, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    nodes = by_name(graph)
    outputs, updates = run_graph(graph, inputs, {node: states[name] for name, node in nodes.items()})
    values = {name: updates.get(node, states[name]) for name, node in nodes.items()}
    return {**{str(i): output for i, output in enumerate(outputs)}, **{f"state {name}": value for name, value in values.items()}}


def evaluate_program(program: Program, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs, after = run_program(program, inputs, {buffer: states[buffer.source.name] for buffer in program.states})
    values = {f"state {buffer.source.name}": array for buffer, array in after.items()}
    return {**{str(i): output for i, output in enumerate(outputs)}, **values}


def assert_same_meaning(before: Graph, after: Graph | Program, exact: bool) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        special = exact and seed > 0
        inputs = {node.attrs["name"]: draw(rng, node.type, special) for node in before.inputs}
        states = {name: draw(rng, node.type, special) for name, node in by_name(before).items()}
        expected = evaluate_graph(before, inputs, states)
        found = evaluate_program(after, inputs, states) if isinstance(after, Program) else evaluate_graph(after, inputs, states)
        for name, value in found.items():  # a state that nothing reads or writes any more may be gone
            if exact:
                np.testing.assert_array_equal(value, expected[name])
                if value.dtype.kind == "f":
                    zero = value == 0
                    np.testing.assert_array_equal(np.signbit(value[zero]), np.signbit(expected[name][zero]))
            else:
                np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, bless: bool) -> None:
    text = path.read_text()
    source, _, expected = text.partition("---\n")
    names = header(source, "pass").split()
    options = read_options(source)
    graph = parse(source)
    result: Any = run_passes(graph, options, verify=True, passes=tuple((name, PASSES[name]) for name in names))[-1].ir
    found = str(result)
    if bless:
        path.write_text(f"{source.rstrip()}\n---\n{found}")
        expected = found
    if found != expected:
        diff = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="")
        message = f"{path.name}: {' '.join(names)} gives another result (--bless accepts it)\n"
        pytest.fail(message + "\n".join(diff), pytrace=False)
    exact = not re.search("^# close", source, re.MULTILINE) and not any(node.op.kind is Kind.CONTRACT for node in graph.nodes)
    assert_same_meaning(graph, result, exact)
    if isinstance(result, Graph):
        again = str(run_passes(result, options, passes=tuple((name, PASSES[name]) for name in names))[-1].ir)
        assert again == found, "a second run changes the graph again"


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_has_golden_files(name: str) -> None:
    assert sum(name in header(path.read_text(), "pass").split() for path in FILES) >= 3
