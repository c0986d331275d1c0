"""What holds of every Program, between all passes. `verify_program` checks, beside `verify_kernel` of every kernel:

1. a launch binds one buffer to each slot, of the slot's element type and size; external buffers are listed by the program
2. inputs and constants are never written; a constant's array has the buffer's type
3. memory that a launch both reads and writes is safe in place: each point loads the element it stores, before it does;
   two written slots never share memory
4. arena buffers and outputs are written completely before they are read, outputs by the end
5. a state is written by one launch at most, after every other launch that reads it
6. every check runs in an earlier launch than the first store to state, so that a failed call changes nothing
7. checks name an entry of `checks`
8. a loop writes outer buffers through parts alone, one part each, and no state; parts lie inside their wholes in every trip;
a carry
   has two places, of which a trip reads one and writes the other
9. arena buffers lie inside the arena, aligned; buffers whose lifetimes meet do not overlap, except in place (3)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.errors import VerifyError
from graphc.kernel import Check, Contraction, Kernel, Scatter, Store, instructions, read_slots, written_slots
from graphc.kernel_verify import in_place, verify_kernel
from graphc.loop_verify import Parts, share, verify_loop
from graphc.nesting import Lifetime, launches, lifetimes, loops
from graphc.program import Arena, Buffer, Launch, Loop, Program, Space

_WRITABLE = (Space.STATE, Space.OUTPUT, Space.ARENA, Space.PART)


def verify_program(program: Program) -> None:
    """Raises VerifyError, naming the launch at fault, where an invariant of the list above is broken."""
    _verify_buffers(program)
    seen: set[Kernel] = set()
    parts = {part.buffer: part for loop in loops(program.body) for part in loop.parts}
    for number, launch in enumerate(launches(program.body)):
        try:
            if launch.kernel not in seen:  # equal kernels are many
                verify_kernel(launch.kernel)
                seen.add(launch.kernel)
            _verify_launch(program, launch, parts)
        except VerifyError as error:
            raise _at(number, launch, str(error)) from None
    for loop in loops(program.body):
        verify_loop(loop)
    _verify_order(program)
    _verify_states(program)
    if program.arena is not None:
        _verify_arena(program, program.arena)


def _at(number: int, launch: Launch | Loop, message: str) -> VerifyError:
    return VerifyError(f"launch {number}{f' ({launch.label})' if launch.label else ''}: {message}")


def _verify_buffers(program: Program) -> None:
    groups = (
        (Space.INPUT, program.inputs),
        (Space.STATE, program.states),
        (Space.CONST, program.consts),
        (Space.OUTPUT, program.outputs),
    )
    listed: set[Buffer] = set()
    for space, buffers in groups:
        for buffer in buffers:
            if buffer.space is not space:
                raise VerifyError(f"{buffer} is listed as {space.value}")
            if buffer in listed:
                raise VerifyError(f"{buffer} is listed twice")
            listed.add(buffer)
    for buffer in program.consts:
        array = np.asarray(buffer.source)
        if array.dtype != buffer.type.dtype or array.shape != buffer.type.shape:
            raise VerifyError(f"{buffer} is given {array.dtype.name}{list(array.shape)}")
    for buffer in program.buffers:
        if buffer.space is not Space.ARENA and buffer not in listed:
            raise VerifyError(f"{buffer} is used but not listed by the program")
    parts = {part.buffer for loop in loops(program.body) for part in loop.parts}
    for launch in launches(program.body):
        for buffer in launch.args:
            if buffer.space is Space.PART and buffer not in parts:
                raise VerifyError(f"{buffer} is a part of no buffer")


def _verify_launch(program: Program, launch: Launch, parts: Parts) -> None:
    kernel = launch.kernel
    if len(launch.args) != len(kernel.slots):
        raise VerifyError(f"{len(launch.args)} buffers are bound to {len(kernel.slots)} slots")
    for number, (buffer, slot) in enumerate(zip(launch.args, kernel.slots, strict=True)):
        if buffer.type.dtype != slot.dtype or buffer.type.size != slot.size:
            raise VerifyError(f"s{number} is {slot.size} elements of {slot.dtype.name}, bound to {buffer}")
    for buffer in launch.writes:
        if buffer.space not in _WRITABLE:
            raise VerifyError(f"{buffer} is written")
    for instr in instructions(kernel):
        if isinstance(instr, Check) and not 1 <= instr.code <= len(program.checks):
            raise VerifyError(f"check {instr.code} is not among the program's {len(program.checks)}")
    _verify_aliases(launch, program.arena, parts)


def _verify_aliases(launch: Launch, arena: Arena | None, parts: Parts) -> None:
    kernel = launch.kernel
    writes = sorted(written_slots(kernel))
    for written in writes:
        target = launch.args[written]
        for other in writes:
            if other > written and share(target, launch.args[other], arena, parts):
                raise VerifyError(f"{target} and {launch.args[other]} share memory, and both are written")
        for read in read_slots(kernel):
            source = launch.args[read]
            harmless = _same_place(source, target, arena) and in_place(kernel, read, written)
            if not harmless and share(source, target, arena, parts):
                raise VerifyError(f"{target} is written over {source}, which other points may still read")


def _same_place(a: Buffer, b: Buffer, arena: Arena | None) -> bool:
    """Whether equal element offsets are equal addresses."""
    return a is b or (
        arena is not None
        and a in arena.offsets
        and b in arena.offsets
        and arena.offsets[a] == arena.offsets[b]
        and a.type.dtype.itemsize == b.type.dtype.itemsize
    )


def _verify_order(program: Program) -> None:
    written: dict[Buffer, int] = {}  # elements
    _verify_body_order(program.body, written)
    for buffer in program.outputs:
        if written.get(buffer, 0) < buffer.type.size:
            raise VerifyError(f"{buffer}: only {written.get(buffer, 0)} of {buffer.type.size} elements are written")


def _verify_body_order(body: Sequence[Launch | Loop], written: dict[Buffer, int]) -> None:
    for number, item in enumerate(body):
        if isinstance(item, Loop):
            _verify_loop_order(item, written)
            continue
        for buffer in item.reads:
            if buffer.space in (Space.ARENA, Space.OUTPUT, Space.PART) and written.get(buffer, 0) < buffer.type.size:
                raise _at(number, item, f"{buffer} is read before all of it is written")
        for slot, count in _stored(item.kernel).items():
            buffer = item.args[slot]
            written[buffer] = written.get(buffer, 0) + count


def _verify_loop_order(loop: Loop, written: dict[Buffer, int]) -> None:
    """What a trip reads is written before the loop, earlier in the trip, or, of a carry, in the trip before."""
    _verify_body_order(loop.first, written)
    outputs = {part.buffer for part in loop.parts} & {buffer for item in loop.body for buffer in item.writes}
    inside = dict(written)
    for part in loop.parts:
        if part.buffer not in outputs:
            there = written.get(part.whole, 0)
            done = part.whole.space in (Space.INPUT, Space.STATE, Space.CONST) or there >= part.whole.type.size
            begun = part.period == 2 and there >= part.buffer.type.size
            inside[part.buffer] = part.buffer.type.size if done or begun else 0
    _verify_body_order(loop.body, inside)
    for part in loop.parts:
        if part.buffer in outputs:
            count = inside.get(part.buffer, 0) * (1 if part.period else loop.trips)
            written[part.whole] = written.get(part.whole, 0) + count


def _stored(kernel: Kernel) -> dict[int, int]:
    """How many elements a kernel stores to each slot; its stores are disjoint."""
    if isinstance(kernel, Scatter):
        return {2: kernel.slots[2].size}
    counts: dict[int, int] = {}
    if isinstance(kernel, Contraction):
        spaces = [(kernel.epilogue, kernel.batch + kernel.m + kernel.n)]
    else:
        spaces = [(stage.body, kernel.outer + (kernel.inner if stage.inner else ())) for stage in kernel.stages]
    for body, extents in spaces:
        for instr in body:
            if isinstance(instr, Store):
                counts[instr.slot] = counts.get(instr.slot, 0) + math.prod(extents)
    return counts


def _verify_states(program: Program) -> None:
    writer: dict[Buffer, int] = {}
    last_check = max((number for number, launch in enumerate(program.body) if launch.checks), default=-1)
    for number, launch in enumerate(program.body):
        for buffer in launch.args:
            if buffer in writer and writer[buffer] != number:
                raise _at(number, launch, f"{buffer} is used after it was updated by launch {writer[buffer]}")
        for buffer in launch.writes:
            if buffer.space is Space.STATE:
                writer[buffer] = number
                if number <= last_check:
                    raise _at(number, launch, f"{buffer} is updated before the checks of launch {last_check} have passed")


def _verify_arena(program: Program, arena: Arena) -> None:
    buffers = [buffer for buffer in program.buffers if buffer.space is Space.ARENA]
    for buffer in buffers:
        if buffer not in arena.offsets:
            raise VerifyError(f"{buffer} has no place in the arena")
        offset = arena.offsets[buffer]
        if offset < 0 or offset % arena.alignment or offset + buffer.type.nbytes > arena.size:
            raise VerifyError(f"{buffer} at {offset} does not fit an arena of {arena.size} bytes aligned to {arena.alignment}")
    live: list[Lifetime] = []
    for span in sorted(lifetimes(program.body)[0], key=lambda span: span.first):
        # A buffer that dies here is only read here; `_verify_aliases` has judged it.
        live = [other for other in live if other.last > span.first]
        for other in live:
            if share(span.buffer, other.buffer, arena, {}):
                message = f"{span.buffer} overlaps {other.buffer}, which launch {other.last} still uses"
                raise VerifyError(f"launch {span.first}: {message}")
        live.append(span)
