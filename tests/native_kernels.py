"""Kernels compiled one at a time, for tests: a builder of Sweeps, and a comparison of native code with the interpreter.

Every kernel runs at the feature levels asked for, whole and with its units split unevenly, which must give the same bits, on
memory between closed pages and guard bytes.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401 - registers the ops
from graphc.codegen import llvm
from graphc.codegen.object import emit_kernel
from graphc.codegen.target import level_target, runnable_levels
from graphc.index import Index, axes_of, flatten
from graphc.kernel import Apply, Const, Kernel, Load, Reduce, Slot, Stage, Store, Sweep
from graphc.op import OPS
from graphc.program import Buffer, FailedCheck, Launch, Space
from graphc.program_interp import run_launch
from graphc.runtime import jit
from graphc.types import TensorType, bool_, float32, int64, is_float, row_major_strides

RUNNABLE = runnable_levels()
GUARD = 64
LIBC = ctypes.CDLL(None)
POISON = 0xFF  # NaN, -1, or an impossible bool


class Native:
    """One kernel as native code."""

    def __init__(self, kernel: Kernel, level: str):
        target = level_target(level)
        module = llvm.new_module(target)
        self.kernel = kernel
        self.code = emit_kernel(module, target, kernel, 0)
        self.text = str(module)
        self.target = target
        self.library = jit.load(llvm.emit_object(self.text, target), [phase.function for phase in self.code.phases])

    def __call__(self, arrays: list[np.ndarray], pieces: int = 1) -> tuple[int, int]:
        """Runs in place, the units cut in `pieces`. Returns the error record."""
        errors = np.zeros(2, np.int64)
        shared, scratch = (poisoned(size) for size in (self.code.shared_scratch, self.code.worker_scratch))
        pointers = [array.ctypes.data for array in arrays] + [shared.ctypes.data, errors.ctypes.data]
        args = (ctypes.c_void_p * len(pointers))(*pointers)
        for phase in self.code.phases:
            call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
                self.library.address(phase.function)
            )
            cuts = sorted({phase.units * piece // pieces for piece in range(pieces + 1)})
            for begin, end in itertools.pairwise(cuts):
                call(ctypes.addressof(args), begin, end, scratch.ctypes.data)
        for block, size in ((shared, self.code.shared_scratch), (scratch, self.code.worker_scratch)):
            assert (block[size:] == POISON).all(), "scratch is overrun"
        return int(errors[0]), int(errors[1])


def poisoned(size: int) -> np.ndarray:
    """Scratch of that many bytes, 64-byte aligned, and guard bytes behind it."""
    block = np.full(size + GUARD + 64, POISON, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size + GUARD]


@dataclass
class Guarded:
    """A copy of an array in pages of its own, at their end or their beginning: an access beyond faults on the page there, which
    is closed, and a store on the other side is seen in the guard bytes."""

    array: np.ndarray
    block: np.ndarray
    start: int

    @classmethod
    def copy(cls, array: np.ndarray, at_end: bool) -> Guarded:
        size = -(-max(array.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = np.frombuffer(mmap.mmap(-1, size + 2 * mmap.PAGESIZE), np.uint8)
        for page in (0, mmap.PAGESIZE + size):
            if LIBC.mprotect(ctypes.c_void_p(pages.ctypes.data + page), ctypes.c_size_t(mmap.PAGESIZE), 0):
                raise OSError("mprotect failed")
        block = pages[mmap.PAGESIZE : mmap.PAGESIZE + size]
        block[:] = 0xA5
        start = size - array.nbytes if at_end else 0
        inside = block[start : start + array.nbytes].view(array.dtype)
        inside[:] = array.reshape(-1)
        return cls(inside, block, start)

    @property
    def intact(self) -> bool:
        return bool((self.block[: self.start] == 0xA5).all() and (self.block[self.start + self.array.nbytes :] == 0xA5).all())


def expected(kernel: Kernel, arrays: list[np.ndarray]) -> list[np.ndarray]:
    buffers = tuple(Buffer(f"b{i}", TensorType(array.dtype, (array.size,)), Space.ARENA) for i, array in enumerate(arrays))
    memory = {buffer: array.reshape(-1).copy() for buffer, array in zip(buffers, arrays, strict=True)}
    with np.errstate(all="ignore"):
        run_launch(Launch(kernel, buffers, "kernel under test"), memory, (FailedCheck("value {value}"),) * 9)
    return [memory[buffer] for buffer in buffers]


def compare(got: np.ndarray, want: np.ndarray, rtol: float, note: str) -> None:
    if is_float(want.dtype):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol, err_msg=note)
    else:
        np.testing.assert_array_equal(got, want, err_msg=note)


def check_kernel(kernel: Kernel, arrays: list[np.ndarray], levels: list[str] | None = None, rtol: float | None = None) -> None:
    want = expected(kernel, arrays)
    for level in levels or RUNNABLE:
        native = Native(kernel, level)
        runs = []
        for pieces in (1, 3):
            held = [Guarded.copy(array, at_end=pieces == 1) for array in arrays]
            assert native([one.array for one in held], pieces) == (0, 0)
            for i, one in enumerate(held):
                tolerance = rtol or (2e-5 if one.array.dtype == float32 else 1e-12)
                compare(one.array, want[i], tolerance, f"slot {i} at {level}")
                assert one.intact, f"slot {i} at {level} is overrun"
            runs.append([one.array.tobytes() for one in held])
        assert runs[0] == runs[1], f"{level}: bits depend on how units are split"


# --- building kernels ----------------------------------------------------------------------------------------------------------


@dataclass
class Builder:
    """A Sweep in the making: every method appends an instruction and returns its number."""

    outer: tuple[int, ...]
    inner: tuple[int, ...] = ()
    vector: str = "outer"
    stages: list[tuple[bool, list[Any]]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    count: int = 0
    dtypes: list[np.dtype] = field(default_factory=list)

    @property
    def axes(self) -> tuple[Index, ...]:
        return axes_of(self.outer + self.inner)

    @property
    def point(self) -> Index:
        """The flat position, row-major."""
        return flatten(self.axes, row_major_strides(self.outer + self.inner))

    @property
    def row(self) -> Index:
        return flatten(self.axes[: len(self.outer)], row_major_strides(self.outer))

    @property
    def size(self) -> int:
        return int(np.prod(self.outer + self.inner, dtype=np.int64))

    def slot(self, dtype: np.dtype, size: int) -> int:
        self.slots.append(Slot(dtype, size))
        return len(self.slots) - 1

    def stage(self, inner: bool = False) -> Builder:
        self.stages.append((inner, []))
        return self

    def add(self, instr: Any) -> int:
        self.stages[-1][1].append(instr)
        self.dtypes.append(instr.dtype)
        self.count += 1
        return self.count - 1

    def load(self, slot: int, offset: Index, **more: Any) -> int:
        return self.add(Load(slot, offset, self.slots[slot].dtype, **more))

    def store(self, slot: int, offset: Index, value: int) -> int:
        return self.add(Store(slot, offset, value, self.slots[slot].dtype))

    def const(self, value: Any, dtype: np.dtype) -> int:
        return self.add(Const(value, dtype))

    def op(self, name: str, *args: int, **attrs: Any) -> int:
        ops = OPS[name]
        dtype = ops.infer(tuple(TensorType(self.dtypes[arg], ()) for arg in args), attrs).dtype
        return self.add(Apply(ops, args, dtype, tuple(attrs.items())))

    def reduce(self, reducer: str, arg: int) -> int:
        return self.add(Reduce(reducer, arg, int64 if reducer.startswith("arg") else self.dtypes[arg]))

    def kernel(self) -> Sweep:
        stages = tuple(Stage(inner, tuple(body)) for inner, body in self.stages)
        return Sweep(self.outer, self.inner, stages, tuple(self.slots), self.vector)


def data(rng: np.random.Generator, dtype: np.dtype, size: int) -> np.ndarray:
    if is_float(dtype):
        return rng.normal(size=size).astype(dtype)
    return rng.integers(0, 2, size).astype(dtype) if dtype == bool_ else rng.integers(-50, 50, size).astype(dtype)


def chain(size: int, dtype: np.dtype = float32) -> Sweep:
    """max(x * y + z, 0) * 0.5 - x"""
    b = Builder((size,)).stage()
    slots = [b.slot(dtype, size) for _ in range(4)]
    x, y, z = (b.load(slot, b.point) for slot in slots[:3])
    zero, half = b.const(0, dtype), b.const(0.5 if is_float(dtype) else 3, dtype)
    b.store(slots[3], b.point, b.op("sub", b.op("mul", b.op("maximum", b.op("add", b.op("mul", x, y), z), zero), half), x))
    return b.kernel()


def softmax(rows: int, columns: int, dtype: np.dtype = float32, vector: str = "inner") -> Sweep:
    b = Builder((rows,), (columns,), vector)
    source, result = b.slot(dtype, b.size), b.slot(dtype, b.size)
    b.stage(True)
    top = b.reduce("max", b.load(source, b.point))
    b.stage(True)
    total = b.reduce("sum", b.op("exp", b.op("sub", b.load(source, b.point), top)))
    b.stage()
    scale = b.op("div", b.const(1, dtype), total)
    b.stage(True)
    b.store(result, b.point, b.op("mul", b.op("exp", b.op("sub", b.load(source, b.point), top)), scale))
    return b.kernel()


def reduction(reducer: str, outer: tuple[int, ...], inner: tuple[int, ...], dtype: np.dtype, vector: str, columns: bool) -> Sweep:
    """Over the last axes of row-major memory, or over its first ones (`columns`)."""
    b = Builder(outer, inner, vector)
    result = int64 if reducer.startswith("arg") else dtype
    source, target = b.slot(dtype, b.size), b.slot(result, int(np.prod(outer, dtype=np.int64)))
    offset = b.point
    if columns:
        offset = flatten(b.axes[len(outer) :] + b.axes[: len(outer)], row_major_strides(inner + outer))
    b.stage(True)
    total = b.reduce(reducer, b.load(source, offset))
    b.stage()
    b.store(target, b.row, total)
    return b.kernel()


def arrays_for(kernel: Sweep, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [data(rng, slot.dtype, slot.size) for slot in kernel.slots]
