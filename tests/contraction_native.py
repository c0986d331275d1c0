"""Contraction kernels for tests: built from einsum specs, compiled, and compared with the interpreter or with einsum in float64.

Every kernel runs on operands that end at a page which must not be touched, with scratch full of NaN, once in one piece and once
with its units split unevenly, which must give the same bits.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import re
from collections.abc import Sequence

import numpy as np

import graphc.ops  # noqa: F401 - registers the ops
from graphc.codegen import llvm
from graphc.codegen.contract import emit_contraction
from graphc.codegen.target import level_target, runnable_levels
from graphc.index import Index
from graphc.kernel import Contraction, Instr, Load, Slot, Store
from graphc.program import Buffer, Launch, Space
from graphc.program_interp import run_launch
from graphc.runtime import jit
from graphc.types import TensorType, bool_, float32, float64, int64, is_float, row_major_strides

RUNNABLE = runnable_levels()
BEST = RUNNABLE[-1]
LAYOUTS = ["ik,kj->ij", "ik,jk->ij", "ki,kj->ij", "ki,jk->ij"]
PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None)


# --- running -------------------------------------------------------------------------------------------------------------------


class Guarded:
    """Memory that ends at a page without access: reading or writing one byte too far ends the process."""

    def __init__(self, nbytes: int):
        pages = -(-nbytes // PAGE) + 1
        self._map = mmap.mmap(-1, (pages + 1) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        assert _libc.mprotect(ctypes.c_void_p(start + pages * PAGE), PAGE, 0) == 0
        self.address = start + pages * PAGE - nbytes
        self.bytes = np.frombuffer(self._map, np.uint8, nbytes, pages * PAGE - nbytes)


_arena: list[Guarded] = []


def guarded(array: np.ndarray, position: int) -> np.ndarray:
    """A copy of `array` that ends where its memory does. The memory is used again by the next call with this position."""
    while len(_arena) <= position:
        _arena.append(Guarded(1 << 23))
    block = _arena[position].bytes
    inside = block[block.size - array.nbytes :].view(array.dtype)
    inside[:] = array.reshape(-1)
    return inside


class Native:
    def __init__(self, kernels: Sequence[Contraction], level: str):
        target = level_target(level)
        module = llvm.new_module(target)
        self.codes = [emit_contraction(module, target, kernel, f"kernel{i}") for i, kernel in enumerate(kernels)]
        functions = [phase.function for code in self.codes for phase in code.phases]
        self.library = jit.load(llvm.emit_object(str(module), target), functions)

    def __call__(self, number: int, arrays: Sequence[np.ndarray], pieces: int = 1) -> None:
        """Runs in place, the units cut in `pieces`."""
        code = self.codes[number]
        shared, scratch = (np.full(size + 64, 0xFF, np.uint8) for size in (code.shared_scratch, code.worker_scratch))
        pointers = [array.ctypes.data for array in arrays] + [-(-shared.ctypes.data // 64) * 64, 0]
        args = (ctypes.c_void_p * len(pointers))(*pointers)
        for phase in code.phases:
            address = self.library.address(phase.function)
            call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
            cuts = sorted({phase.units * piece // pieces for piece in range(pieces + 1)})
            for begin, end in reversed(list(itertools.pairwise(cuts))):
                scratch[:] = 0xFF
                call(ctypes.addressof(args), begin, end, -(-scratch.ctypes.data // 64) * 64)


def interpreted(kernel: Contraction, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    buffers = tuple(Buffer(f"b{i}", TensorType(array.dtype, (array.size,)), Space.ARENA) for i, array in enumerate(arrays))
    memory = {buffer: array.reshape(-1).copy() for buffer, array in zip(buffers, arrays, strict=True)}
    with np.errstate(all="ignore"):
        run_launch(Launch(kernel, buffers, "kernel under test"), memory, ())
    return [memory[buffer] for buffer in buffers]


Case = tuple[Contraction, list[np.ndarray]]


def check(cases: Sequence[Case], levels: Sequence[str] = (BEST,), wants: Sequence[list[np.ndarray]] = ()) -> None:
    """Compile all cases into one module for each level, run them, and compare every slot with the interpreter, or with
    `wants`."""
    wants = wants or [interpreted(kernel, arrays) for kernel, arrays in cases]
    for level in levels:
        native = Native([kernel for kernel, _ in cases], level)
        for number, ((kernel, arrays), want) in enumerate(zip(cases, wants, strict=True)):
            note = f"{level} {kernel.batch} {kernel.m} {kernel.n} {kernel.k} {kernel.dtype}"
            runs = []
            for pieces in (1, 3):
                inside = [guarded(array, position) for position, array in enumerate(arrays)]
                native(number, inside, pieces)
                for one, expected in zip(inside, want, strict=True):
                    compare(one, expected.reshape(-1), math.prod(kernel.k), note)
                runs.append([one.tobytes() for one in inside])
            assert runs[0] == runs[1], f"{note}: bits depend on how units are split"


def compare(got: np.ndarray, want: np.ndarray, depth: int, note: str) -> None:
    if is_float(got.dtype):
        tolerance = (2e-6 if got.dtype == float32 else 1e-14) * max(1.0, depth**0.5) * 2
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=note)
    else:
        np.testing.assert_array_equal(got, want, err_msg=note)


# --- building ------------------------------------------------------------------------------------------------------------------


def labels_of(spec: str) -> tuple[str, str, str, tuple[str, str, str, str]]:
    """x, w, out, and the groups (batch, m, n, k) of an einsum."""
    x, w, out = re.split(",|->", spec)
    k = "".join(c for c in x if c not in out)
    batch = "".join(c for c in out if c in x and c in w)
    return x, w, out, (batch, "".join(c for c in out if c in x and c not in w), "".join(c for c in out if c not in x), k)


def contraction(
    spec: str, sizes: dict[str, int], dtype: np.dtype = float32, epilogue: Sequence[Instr] | None = None
) -> Contraction:
    """x in slot 0, w in slot 1, the result stored to slot 2, all row-major; `epilogue` replaces the store."""
    x, w, out, groups = labels_of(spec)
    axis = {label: Index.axis(number, sizes[label]) for number, label in enumerate("".join(groups))}

    def offset(labels: str) -> Index:
        strides = row_major_strides([sizes[c] for c in labels])
        return sum((axis[c] * stride for c, stride in zip(labels, strides, strict=True)), Index())

    slots = tuple(Slot(dtype, math.prod(sizes[c] for c in labels)) for labels in (x, w, out))
    body = (Store(2, offset(out), 0, dtype),) if epilogue is None else tuple(epilogue)
    batch, m, n, k = (tuple(sizes[c] for c in group) for group in groups)
    return Contraction(batch, m, n, k, Load(0, offset(x), dtype), Load(1, offset(w), dtype), body, slots, dtype)


def draw(rng: np.random.Generator, size: int, dtype: np.dtype) -> np.ndarray:
    if is_float(dtype):
        return rng.standard_normal(size).astype(dtype)
    return rng.integers(0, 2, size).astype(bool) if dtype == bool_ else rng.integers(-50, 50, size).astype(dtype)


def einsum_case(spec: str, sizes: dict[str, int], dtype: np.dtype = float32) -> tuple[Case, list[np.ndarray]]:
    """A contraction with operands, and what its slots must hold afterwards."""
    rng = np.random.default_rng(sum(sizes.values()))
    kernel = contraction(spec, sizes, dtype)
    x, w, _, _ = labels_of(spec)
    left, right = (draw(rng, slot.size, dtype) for slot in kernel.slots[:2])
    wide = float64 if is_float(dtype) else int64
    shaped = [array.reshape([sizes[c] for c in labels]).astype(wide) for array, labels in ((left, x), (right, w))]
    result = np.einsum(spec, *shaped)
    result = (result != 0) if dtype == bool_ else result.astype(dtype)
    return (kernel, [left, right, draw(rng, kernel.slots[2].size, dtype)]), [left, right, result]


def check_einsums(
    specs: Sequence[str], shapes: Sequence[dict[str, int]], dtype: np.dtype = float32, levels: Sequence[str] = (BEST,)
) -> None:
    cases, wants = zip(*(einsum_case(spec, sizes, dtype) for spec in specs for sizes in shapes), strict=True)
    check(cases, levels, wants)


def shapes(*triples: tuple[int, int, int]) -> list[dict[str, int]]:
    return [dict(zip("ijk", triple, strict=True)) for triple in triples]
