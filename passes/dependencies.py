"""What must run before what. A launch follows the writer of everything that it reads; the writer of a state follows all other
readers of it (they see the value before the step) and every check (a failed call changes nothing)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from graphc.program import Launch, Loop, Space


def predecessors(body: Sequence[Launch | Loop]) -> list[set[int]]:
    """For each launch the positions of those that must run before it. The order of `body` does not matter."""
    writer_of = {buffer: i for i, launch in enumerate(body) for buffer in launch.writes}
    before: list[set[int]] = [set() for _ in body]
    state_writers = sorted({i for buffer, i in writer_of.items() if buffer.space is Space.STATE})
    for i, launch in enumerate(body):
        for buffer in launch.reads:
            writer = writer_of.get(buffer)
            if writer is None or writer == i:
                continue
            if buffer.space is Space.STATE:
                before[writer].add(i)
            else:
                before[i].add(writer)
        if launch.checks:
            for writer in state_writers:
                before[writer].add(i)
    return before


def successors(before: Sequence[set[int]]) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in before]
    for i, earlier in enumerate(before):
        for j in earlier:
            after[j].append(i)
    return after


def in_order(body: Sequence[Launch | Loop]) -> tuple[Launch | Loop, ...]:
    """The launches in the first valid order: whatever is ready and stood first goes first."""
    before = predecessors(body)
    after = successors(before)
    waiting = [len(earlier) for earlier in before]
    ready = [i for i, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order: list[Launch | Loop] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(body[i])
        for j in after[i]:
            waiting[j] -= 1
            if waiting[j] == 0:
                heapq.heappush(ready, j)
    if len(order) != len(body):
        raise AssertionError("the launches depend on each other in a circle")
    return tuple(order)
