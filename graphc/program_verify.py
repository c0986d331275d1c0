"""What holds of every Program, between all passes. `verify_program` checks, beside `verify_kernel` of every kernel:

1. a launch binds one buffer to each slot, of the slot's element type and size; external buffers are listed by the program
2. inputs and constants are never written; a constant's array has the buffer's type
3. memory that a launch both reads and writes is safe in place: each point loads the element it stores, before it does;
   two written slots never share memory
4. arena buffers and outputs are written completely before they are read, outputs by the end
5. a state is written by one launch at most, after every other launch that reads it
6. every check runs in an earlier launch than the first store to state, so that a failed call changes nothing
7. checks name an entry of `checks`
8. arena buffers lie inside the arena, aligned; buffers whose lifetimes meet do not overlap, except in place (3)
"""

from __future__ import annotations

import math

import numpy as np

from graphc.errors import VerifyError
from graphc.kernel_verify import in_place, verify_kernel
from graphc.program import (
    Arena,
    Buffer,
    Check,
    Contraction,
    Kernel,
    Launch,
    Program,
    Scatter,
    Space,
    Store,
    instructions,
    read_slots,
    written_slots,
)

_WRITABLE = (Space.STATE, Space.OUTPUT, Space.ARENA)


def verify_program(program: Program) -> None:
    """Raises VerifyError, naming the launch at fault, where an invariant of the list above is broken."""
    _verify_buffers(program)
    seen: set[Kernel] = set()
    for number, launch in enumerate(program.body):
        try:
            if launch.kernel not in seen:  # equal kernels are many
                verify_kernel(launch.kernel)
                seen.add(launch.kernel)
            _verify_launch(program, launch)
        except VerifyError as error:
            raise _at(number, launch, str(error)) from None
    _verify_order(program)
    _verify_states(program)
    if program.arena is not None:
        _verify_arena(program, program.arena)


def _at(number: int, launch: Launch, message: str) -> VerifyError:
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


def _verify_launch(program: Program, launch: Launch) -> None:
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
    _verify_aliases(launch, program.arena)


def _verify_aliases(launch: Launch, arena: Arena | None) -> None:
    kernel = launch.kernel
    writes = sorted(written_slots(kernel))
    for written in writes:
        target = launch.args[written]
        for other in writes:
            if other > written and _share(target, launch.args[other], arena):
                raise VerifyError(f"{target} and {launch.args[other]} share memory, and both are written")
        for read in read_slots(kernel):
            source = launch.args[read]
            if _share(source, target, arena) and not (_same_place(source, target, arena) and in_place(kernel, read, written)):
                raise VerifyError(f"{target} is written over {source}, which other points may still read")


def _share(a: Buffer, b: Buffer, arena: Arena | None) -> bool:
    """Whether two buffers have memory in common."""
    if a is b:
        return a.type.size > 0
    if arena is None or a.space is not Space.ARENA or b.space is not Space.ARENA:
        return False
    if a not in arena.offsets or b not in arena.offsets:
        return False  # reported with the arena
    first, second = arena.offsets[a], arena.offsets[b]
    return first < second + b.type.nbytes and second < first + a.type.nbytes


def _same_place(a: Buffer, b: Buffer, arena: Arena | None) -> bool:
    """Whether equal element offsets are equal addresses."""
    return a is b or (
        arena is not None and arena.offsets[a] == arena.offsets[b] and a.type.dtype.itemsize == b.type.dtype.itemsize
    )


def _verify_order(program: Program) -> None:
    written: dict[Buffer, int] = {}  # elements
    for number, launch in enumerate(program.body):
        for buffer in launch.reads:
            if buffer.space in (Space.ARENA, Space.OUTPUT) and written.get(buffer, 0) < buffer.type.size:
                raise _at(number, launch, f"{buffer} is read before all of it is written")
        for slot, count in _stored(launch.kernel).items():
            buffer = launch.args[slot]
            written[buffer] = written.get(buffer, 0) + count
    for buffer in program.outputs:
        if written.get(buffer, 0) < buffer.type.size:
            raise VerifyError(f"{buffer}: only {written.get(buffer, 0)} of {buffer.type.size} elements are written")


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
    last_use = {buffer: number for number, launch in enumerate(program.body) for buffer in launch.args}
    live: list[Buffer] = []
    for number, launch in enumerate(program.body):
        born = [buffer for buffer in dict.fromkeys(launch.args) if buffer.space is Space.ARENA and buffer not in live]
        for buffer in born:
            for other in live:
                # A buffer that dies here is only read here; `_verify_aliases` has judged it.
                if last_use[other] > number and _share(buffer, other, arena):
                    raise _at(number, launch, f"{buffer} overlaps {other}, which launch {last_use[other]} still uses")
            live.append(buffer)
        live = [buffer for buffer in live if last_use[buffer] > number]
