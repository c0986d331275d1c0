"""Order launches for a low peak of live arena memory: the buffers of one branch die before those of the other are born.

    t0 = ..; t2 = ..; t1 = f(t0); t3 = g(t2)     ->     t0 = ..; t1 = f(t0); t2 = ..; t3 = g(t2)

Where neither order is lower, it stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.nesting import lifetimes
from graphc.options import Options
from graphc.passes.dependencies import predecessors, successors
from graphc.passes.memory import ALIGNMENT, live_peak, rounded
from graphc.program import Buffer, Launch, Loop, Program, Space


def schedule(program: Program, options: Options) -> Program:
    """The better of two valid orders: the one given, and a greedy one that always runs what frees most and allocates least."""
    greedy = _greedy(program.body)
    if _peak(greedy) < _peak(program.body):
        return replace(program, body=greedy)
    return program


def _peak(body: tuple[Launch | Loop, ...]) -> int:
    spans, _, count = lifetimes(body)
    return live_peak(spans, count)


def _greedy(body: tuple[Launch | Loop, ...]) -> tuple[Launch | Loop, ...]:
    before = predecessors(body)
    after = successors(before)
    waiting = [len(earlier) for earlier in before]
    readers: dict[Buffer, int] = {}
    for launch in body:
        for buffer in launch.reads:
            readers[buffer] = readers.get(buffer, 0) + 1
    ready = {i for i, count in enumerate(waiting) if count == 0}
    order: list[Launch | Loop] = []

    def growth(i: int) -> tuple[int, int]:
        launch = body[i]
        born = sum(rounded(buffer.type.nbytes, ALIGNMENT) for buffer in launch.writes if buffer.space is Space.ARENA)
        dying = sum(rounded(b.type.nbytes, ALIGNMENT) for b in launch.reads if b.space is Space.ARENA and readers[b] == 1)
        return born - dying, i

    while ready:
        chosen = min(ready, key=growth)
        ready.discard(chosen)
        order.append(body[chosen])
        for buffer in body[chosen].reads:
            readers[buffer] -= 1
        for i in after[chosen]:
            waiting[i] -= 1
            if waiting[i] == 0:
                ready.add(i)
    return tuple(order)
