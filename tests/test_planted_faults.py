"""The net holds: with a fault planted in a pass or in the memory planner, the random graphs fail, and soon.

Each fault stands in for its pass in the pipeline, once with the verifiers on and once without, when only wrong numbers can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from test_random_graphs import check, seeded_case

from graphc.errors import VerifyError
from graphc.graph import Graph, Node
from graphc.kernel import Load, Stage, Sweep
from graphc.op import OPS, Kind
from graphc.options import Options
from graphc.passes import pipeline
from graphc.passes.rebuild import move, rebuild
from graphc.program import Launch, Program, Space

GRAPHS = 40  # within so many graphs a fault must show

Fault = Callable[[Any], Any]


def rewriting(rule: Callable[[Node], Node]) -> Fault:
    def run(graph: Graph) -> Graph:
        new: dict[Node, Node] = {}
        for node in graph.nodes:
            new[node] = rule(move(node, new))
        return rebuild(graph, new)

    return run


def swapped_difference(node: Node) -> Node:
    """x - y -> y - x"""
    return replace(node, inputs=node.inputs[::-1]) if node.op is OPS["sub"] else node


def forgotten_flip(node: Node) -> Node:
    return node.inputs[0] if node.op is OPS["flip"] else node


def forgotten_sign(node: Node) -> Node:
    return node.inputs[0] if node.op is OPS["abs"] else node


def merged_whatever_attributes(graph: Graph) -> Graph:
    """Merges nodes of one op over the same operands, whatever their attributes."""
    seen: dict[Any, Node] = {}

    def merged(node: Node) -> Node:
        named = node.op.kind is Kind.SOURCE and node.op is not OPS["const"]
        return node if named else seen.setdefault((node.op, node.inputs, node.type), node)

    return rewriting(merged)(graph)


def lost_update(graph: Graph) -> Graph:
    return replace(graph, updates=graph.updates[1:], _cache={})


def overlap(program: Program) -> Program:
    """Places every buffer of the arena at its start."""
    assert program.arena is not None
    return replace(program, arena=replace(program.arena, offsets=dict.fromkeys(program.arena.offsets, 0)))


def late_birth(program: Program) -> Program:
    """Places the smallest buffer where another one lies that it shares a launch with."""
    assert program.arena is not None
    offsets = dict(program.arena.offsets)
    for launch in program.body:
        arena = [buffer for buffer in launch.args if buffer.space is Space.ARENA]
        if len(arena) > 1:
            first, second = sorted(arena, key=lambda buffer: buffer.type.nbytes)[-2:]
            offsets[first] = offsets[second]
            break
    return replace(program, arena=replace(program.arena, offsets=offsets))


def states_first(program: Program) -> Program:
    """Updates states before their other readers have run, wherever nothing else is in the way."""
    body: list[Launch] = []
    for launch in program.body:
        at = len(body)
        if any(buffer.space is Space.STATE for buffer in launch.writes):
            while at and not set(body[at - 1].writes) & set(launch.reads):
                at -= 1
        body.insert(at, launch)
    return replace(program, body=tuple(body))


def wrong_stride(program: Program) -> Program:
    """Loads of the first sweep that has two axes read as if the axes were one shorter."""
    body = list(program.body)
    for number, launch in enumerate(body):
        kernel = launch.kernel
        if isinstance(kernel, Sweep) and len(kernel.outer) == 2:
            stages = []
            for stage in kernel.stages:
                instrs = []
                for instr in stage.body:
                    if isinstance(instr, Load) and len(instr.offset.terms) == 2:
                        (first, stride), second = instr.offset.terms
                        instr = replace(instr, offset=replace(instr.offset, terms=((first, stride - 1), second)))
                    instrs.append(instr)
                stages.append(Stage(stage.inner, tuple(instrs)))
            body[number] = replace(launch, kernel=replace(kernel, stages=tuple(stages)))
            break
    return replace(program, body=tuple(body))


FAULTS: dict[str, tuple[str, Fault]] = {
    "difference": ("simplify", rewriting(swapped_difference)),
    "flip": ("simplify", rewriting(forgotten_flip)),
    "sign": ("fold", rewriting(forgotten_sign)),
    "attributes": ("cse", merged_whatever_attributes),
    "dce": ("dce", lost_update),
    "stride": ("fuse", wrong_stride),
    "schedule": ("schedule", states_first),
    "overlap": ("memory", overlap),
    "late-birth": ("memory", late_birth),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("verify", [True, False], ids=["verified", "by-values"])
def test_fault_is_caught(name: str, verify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    place, fault = FAULTS[name]

    def planted(run: Callable[[Any, Options], Any]) -> Callable[[Any, Options], Any]:
        return lambda ir, options: fault(run(ir, options))

    passes = tuple((one, planted(run) if one == place else run) for one, run in pipeline.PIPELINE)
    monkeypatch.setattr(pipeline, "PIPELINE", passes)
    options = Options(verify=verify)
    for seed in range(GRAPHS):
        try:
            check(seeded_case(seed, 16), options)
        except (AssertionError, VerifyError):
            return
    raise AssertionError(f"the fault in {place!r} was not caught by {GRAPHS} graphs")


def test_no_fault_no_failure() -> None:
    """The graphs above fail because of the faults."""
    for seed in range(GRAPHS // 2):
        check(seeded_case(seed, 16), Options(verify=True))
