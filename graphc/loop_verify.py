"""What holds of every Loop by itself, and when parts of buffers share memory. Part of `program_verify`, whose docstring lists
the rules."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.errors import VerifyError
from graphc.program import Arena, Buffer, Loop, Part, Space

Parts = Mapping[Buffer, Part]


def verify_loop(loop: Loop) -> None:
    """Raises VerifyError where a part leaves its whole, or memory is written that another trip or part still reads."""
    known = {part.buffer: part for part in loop.parts}
    if loop.trips < 1 or not loop.body:
        raise _fail(loop, "it has no trips or no body")
    for part in loop.parts:
        _verify_part(loop, part)
    written = dict.fromkeys(buffer for item in loop.body for buffer in item.writes)
    for buffer in written:
        if buffer.space is not Space.ARENA and buffer not in known:
            raise _fail(loop, f"{buffer} is written by a loop, but not through a part")
    writer: dict[Buffer, Part] = {}
    for part in loop.parts:
        if part.buffer in written and writer.setdefault(part.whole, part) is not part:
            raise _fail(loop, f"two parts of {part.whole} are written")
        if part.buffer in written and part.whole.space not in (Space.ARENA, Space.OUTPUT, Space.PART):
            raise _fail(loop, f"{part.whole} is written by a loop")
    for part in loop.parts:
        other = writer.get(part.whole, part)
        if other is not part and not _alternate(part, other):
            raise _fail(loop, f"{part.buffer} is read from {part.whole} while another part of it is written")


def _verify_part(loop: Loop, part: Part) -> None:
    size = part.buffer.type.size
    if part.buffer.space is not Space.PART or part.buffer.type.dtype != part.whole.type.dtype:
        raise _fail(loop, f"{part.buffer} cannot be a part of {part.whole}")
    offsets = [part.offset(trip) for trip in {0, 1 % loop.trips, loop.trips - 1}]
    if min(offsets) < 0 or max(offsets) + size > part.whole.type.size:
        raise _fail(loop, f"{part.buffer} leaves {part.whole}")
    if abs(part.step) < size and loop.trips > 1:
        raise _fail(loop, f"{part.buffer} overlaps itself from trip to trip")


def _fail(loop: Loop, message: str) -> VerifyError:
    return VerifyError(f"loop {loop.label}: {message}")


def _alternate(a: Part, b: Part) -> bool:
    """Whether two parts are always the two different places of a carry."""
    alike = (a.step, a.start, a.period) == (b.step, b.start, b.period)
    return alike and a.period == 2 and (a.phase + b.phase) % 2 == 1


def share(a: Buffer, b: Buffer, arena: Arena | None, parts: Parts) -> bool:
    """Whether two buffers have memory in common, in some trip."""
    if a is not b and a in parts and b in parts and parts[a].whole is parts[b].whole:
        return not _alternate(parts[a], parts[b])
    while a is not b and a in parts:
        a = parts[a].whole
    while a is not b and b in parts:
        b = parts[b].whole
    if a is b:
        return a.type.size > 0
    if arena is None or a.space is not Space.ARENA or b.space is not Space.ARENA:
        return False
    if a not in arena.offsets or b not in arena.offsets:
        return False  # reported with the arena
    first, second = arena.offsets[a], arena.offsets[b]
    return first < second + b.type.nbytes and second < first + a.type.nbytes
