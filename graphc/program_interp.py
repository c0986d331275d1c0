"""The oracle of Program: every kernel evaluated with NumPy over its whole iteration space.

    outputs, states = run_program(program, {"x": x})

All loads of a launch happen before its stores, so a kernel that updates a buffer in place sees only old values; the verifier
admits only kernels for which native code, element by element, does the same. With `program.arena`, arena buffers lie at their
planned offsets in one block of memory. Whatever has not been written is garbage (NaN), so that a faulty order or plan shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import InputError, VerifyError
from graphc.interp import Arrays, bind_inputs, check_value
from graphc.kernel import Apply, Check, Const, Contraction, Coordinate, Instr, Load, Reduce, Scatter, Store, Sweep
from graphc.program import Buffer, FailedCheck, Launch, Loop, Program, Space
from graphc.space import Points, evaluate, grid, holds

GARBAGE = 0xFF  # as bytes of a float, NaN

Memory = dict[Buffer, np.ndarray]  # flat
Values = dict[int, np.ndarray]


def run_program(
    program: Program, inputs: Arrays = (), states: Mapping[Buffer, np.ndarray] | None = None
) -> tuple[tuple[np.ndarray, ...], dict[Buffer, np.ndarray]]:
    """Outputs in order, and the value of every state buffer after the call. `inputs` are arrays by name or in order; `states`
    stands in for the states' own arrays, which are never written. Raises InputError where a check fails."""
    memory = _allocate(program)
    declared = [(buffer.source if isinstance(buffer.source, str) else buffer.name, buffer.type) for buffer in program.inputs]
    for buffer, array in zip(program.inputs, bind_inputs(declared, inputs), strict=True):
        memory[buffer][:] = array.reshape(-1)
    for buffer in program.states:
        array = states[buffer] if states is not None and buffer in states else buffer.source.array
        memory[buffer][:] = check_value(np.asarray(array), buffer.type, f"state {buffer.name}").reshape(-1)
    for buffer in program.consts:
        memory[buffer][:] = check_value(np.asarray(buffer.source), buffer.type, f"constant {buffer.name}").reshape(-1)
    with np.errstate(all="ignore"):
        _run(program.body, memory, program.checks)
    outputs = tuple(memory[buffer].reshape(buffer.type.shape).copy() for buffer in program.outputs)
    return outputs, {buffer: memory[buffer].reshape(buffer.type.shape).copy() for buffer in program.states}


def _run(body: tuple[Launch | Loop, ...], memory: Memory, checks: tuple[FailedCheck, ...]) -> None:
    for item in body:
        if isinstance(item, Launch):
            run_launch(item, memory, checks)
            continue
        _run(item.first, memory, checks)
        for trip in range(item.trips):
            for part in item.parts:
                start, size, whole = part.offset(trip), part.buffer.type.size, memory[part.whole]
                if start < 0 or start + size > whole.size:
                    raise VerifyError(f"{item.label}: {part.buffer} lies outside {part.whole} in trip {trip}")
                memory[part.buffer] = whole[start : start + size]
            _run(item.body, memory, checks)


def _allocate(program: Program) -> Memory:
    arena = program.arena
    block = np.full(arena.size if arena else 0, GARBAGE, np.uint8)
    memory: Memory = {}
    for buffer in program.buffers:
        size = buffer.type.nbytes
        if buffer.space is Space.ARENA and arena is not None:
            start = arena.offsets[buffer]
            if start < 0 or start + size > arena.size:
                raise VerifyError(f"{buffer} lies outside the arena of {arena.size} bytes")
            raw = block[start : start + size]
        else:
            raw = np.full(size, GARBAGE, np.uint8)
        memory[buffer] = raw.view(buffer.type.dtype)
    return memory


def run_launch(launch: Launch, memory: Memory, checks: tuple[FailedCheck, ...]) -> None:
    """One kernel, from memory to memory."""
    kernel = launch.kernel
    slots = [memory[buffer] for buffer in launch.args]
    if isinstance(kernel, Scatter):
        _scatter(launch, kernel, slots)
        return
    run = _Evaluation(launch, slots, checks)
    if isinstance(kernel, Sweep):
        run.sweep(kernel)
    else:
        run.contraction(kernel)
    for slot, offset, value in run.stores:
        slots[slot][offset] = value


class _Evaluation:
    """The values of one launch; stores are collected, to be done at the end."""

    def __init__(self, launch: Launch, slots: list[np.ndarray], checks: tuple[FailedCheck, ...]):
        self.launch = launch
        self.slots = slots
        self.checks = checks
        self.values: Values = {}
        self.stores: list[tuple[int, np.ndarray, np.ndarray]] = []

    def sweep(self, kernel: Sweep) -> None:
        extents = kernel.outer + kernel.inner
        rows = kernel.outer + (1,) * len(kernel.inner)
        position = 0
        for stage in kernel.stages:
            points, shape = (grid(extents), extents) if stage.inner else (grid(rows), rows)
            for instr in stage.body:
                if isinstance(instr, Reduce):
                    self.values[position] = _reduce(instr, np.broadcast_to(self.values[instr.arg], shape), len(kernel.outer))
                else:
                    self.step(instr, position, points, shape)
                position += 1

    def contraction(self, kernel: Contraction) -> None:
        groups = (kernel.batch, kernel.m, kernel.n, kernel.k)
        batch, m, n, k = (int(np.prod(group, dtype=np.int64)) for group in groups)
        points = grid(kernel.batch + kernel.m + kernel.n + kernel.k)
        ones = [(1,) * len(group) for group in groups]
        lhs = self.operand(kernel.lhs, points, kernel.batch + kernel.m + ones[2] + kernel.k).reshape(batch, m, k)
        rhs = self.operand(kernel.rhs, points, kernel.batch + ones[1] + kernel.n + kernel.k).reshape(batch, n, k)
        total = np.matmul(lhs.astype(kernel.dtype), rhs.astype(kernel.dtype).swapaxes(1, 2))
        shape = kernel.batch + kernel.m + kernel.n
        self.values[0] = total.reshape(shape)
        for position, instr in enumerate(kernel.epilogue, 1):
            self.step(instr, position, grid(shape), shape)

    def operand(self, instr: Load, points: Points, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, instr.dtype) if 0 in shape else np.broadcast_to(self.load(instr, points), shape)

    def step(self, instr: Instr, position: int, points: Points, shape: tuple[int, ...]) -> None:
        if 0 in shape:  # no points: nothing is loaded, checked or stored
            self.values[position] = np.zeros(shape, instr.dtype)
        elif isinstance(instr, Store):
            offset = np.broadcast_to(evaluate(instr.offset, points), shape)
            self.in_bounds(offset, instr.slot, "stores")
            self.stores.append((instr.slot, offset, np.broadcast_to(self.values[instr.value], shape)))
        else:
            self.values[position] = self.value(instr, points)

    def value(self, instr: Instr, points: Points) -> np.ndarray:
        if isinstance(instr, Load):
            return self.load(instr, points)
        if isinstance(instr, Const):
            return np.full((1,) * len(points), instr.value, instr.dtype)
        if isinstance(instr, Coordinate):
            return evaluate(instr.index, points)
        if isinstance(instr, Apply):
            args = [self.values[arg] for arg in instr.args]
            return np.asarray(instr.op.ref(dict(instr.attrs), *args), instr.dtype)
        if isinstance(instr, Check):
            return self.check(instr)
        raise VerifyError(f"{self.launch.label}: {type(instr).__name__} cannot stand here")

    def load(self, instr: Load, points: Points) -> np.ndarray:
        offset = evaluate(instr.offset, points)
        for value, stride in instr.gather:
            offset = offset + self.values[value].astype(np.int64) * stride
        valid = holds(instr.where, points)
        offset, valid = np.broadcast_arrays(offset, valid)
        self.in_bounds(offset[valid], instr.slot, "loads")
        memory = self.slots[instr.slot]
        if not memory.size:
            return np.full(offset.shape, instr.fill, instr.dtype)
        return np.where(valid, memory[np.where(valid, offset, 0)], np.asarray(instr.fill, instr.dtype))

    def check(self, instr: Check) -> np.ndarray:
        value = self.values[instr.value]
        bad = (value < instr.low) | (value >= instr.high)
        if instr.ignore is not None:
            bad &= value != instr.ignore
        if bad.any():
            raise InputError(self.checks[instr.code - 1].message.format(value=int(value[bad][0])))
        return value

    def in_bounds(self, offset: np.ndarray, slot: int, verb: str) -> None:
        size = self.slots[slot].size
        if offset.size and (offset.min() < 0 or offset.max() >= size):
            what = f"{self.launch.label} {verb} at {int(offset.min())} to {int(offset.max())}"
            raise VerifyError(f"{what} of {self.launch.args[slot]}, which has {size} elements")


_REDUCERS: dict[str, Any] = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
_POSITIONS = {"argmax": np.argmax, "argmin": np.argmin}


def _reduce(instr: Reduce, array: np.ndarray, outer: int) -> np.ndarray:
    """Over all axes from `outer` on, which stay with size 1."""
    rows = array.shape[:outer] + (1,) * (array.ndim - outer)
    if instr.reducer in _POSITIONS:
        flat = array.reshape(array.shape[:outer] + (-1,)) if array.size else np.zeros((*array.shape[:outer], 1))
        return _POSITIONS[instr.reducer](flat, axis=-1).reshape(rows).astype(instr.dtype)
    axes = tuple(range(outer, array.ndim))
    return np.asarray(_REDUCERS[instr.reducer].reduce(array, axis=axes, dtype=instr.dtype, keepdims=True)).reshape(rows)


def _scatter(launch: Launch, kernel: Scatter, slots: list[np.ndarray]) -> None:
    index = slots[0].astype(np.int64)
    if index.size and (index.min() < 0 or index.max() >= kernel.size):
        raise VerifyError(f"{launch.label} adds at {int(index.min())} to {int(index.max())} of {kernel.size} rows")
    update = slots[1].reshape(kernel.outer, kernel.count, kernel.inner)
    result = np.zeros((kernel.size, kernel.outer, kernel.inner), update.dtype)
    np.add.at(result, index, update.swapaxes(0, 1))
    slots[2][:] = result.swapaxes(0, 1).reshape(-1)
