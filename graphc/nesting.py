"""Walking a program through its loops: every launch, every loop, and how long buffers live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphc.program import Buffer, Launch, Loop, Program, Space


def launches(body: Iterable[Launch | Loop]) -> Iterator[Launch]:
    """Every launch, those inside loops once."""
    for item in body:
        if isinstance(item, Loop):
            yield from item.first
            yield from launches(item.body)
        else:
            yield item


def loops(body: Iterable[Launch | Loop]) -> Iterator[Loop]:
    """Every loop, outer ones first."""
    for item in body:
        if isinstance(item, Loop):
            yield item
            yield from loops(item.body)


def buffers(program: Program) -> tuple[Buffer, ...]:
    """The external buffers of a program, then the arena's in order of first use, those that loops use last."""
    seen = dict.fromkeys(program.inputs + program.states + program.consts + program.outputs)
    for launch in launches(program.body):
        seen.update(dict.fromkeys(buffer for buffer in launch.args if buffer.space is not Space.PART))
    for loop in loops(program.body):
        seen.update(dict.fromkeys(part.whole for part in loop.parts if part.whole.space is not Space.PART))
    return tuple(seen)


@dataclass(slots=True)
class Lifetime:
    """Positions at which a buffer is first and last in use, inclusive."""

    buffer: Buffer
    first: int
    last: int


def lifetimes(body: Iterable[Launch | Loop]) -> tuple[list[Lifetime], list[tuple[int, Launch]], int]:
    """The lifetimes of arena buffers in order of birth, the launches with their positions, and the number of positions.

    A loop takes a position before its launches and one after them, and what it shares with the outside or carries along lives
    from one to the other; what a trip makes for itself lives within the trip.
    """
    found: dict[Buffer, Lifetime] = {}
    placed: list[tuple[int, Launch]] = []
    count = 0

    def touch(buffers: Iterable[Buffer], at: int) -> None:
        for buffer in buffers:
            if buffer.space is Space.ARENA:
                found.setdefault(buffer, Lifetime(buffer, at, at)).last = at

    def walk(items: Iterable[Launch | Loop]) -> None:
        nonlocal count
        for item in items:
            touch(item.args, count)
            if isinstance(item, Launch):
                placed.append((count, item))
            else:
                count += 1
                walk(item.first)
                walk(item.body)
                touch(item.args, count)
            count += 1

    walk(body)
    return list(found.values()), placed, count
