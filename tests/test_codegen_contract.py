"""Contraction kernels, compiled one at a time and compared with einsum in double precision, at every feature level of x86-64.

Every kernel runs on operands that end at a page which must not be touched, with scratch full of NaN, once in one piece and once with its
units split unevenly, which must give the same bits.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import re
from collections.abc import Sequence

import numpy as np
import pytest

import graphc.ops  # noqa: F401 - registers the ops
from graphc.codegen import llvm
from graphc.codegen.blocking import block
from graphc.codegen.contract import emit_contraction
from graphc.codegen.contract_plan import plan_job
from graphc.codegen.orientation import oriented
from graphc.codegen.microkernel import most_rows, tile_function
from graphc.codegen.registers import lanes_of
from graphc.codegen.target import host_target, level_target
from graphc.index import Index, Range, unflatten
from graphc.op import OPS
from graphc.program import Apply, Buffer, Const, Contraction, Instr, Launch, Load, Slot, Space, Store
from graphc.program_interp import run_launch
from graphc.runtime import jit
from graphc.types import TensorType, bool_, float32, float64, int32, int64, is_float, row_major_strides

LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
RUNNABLE = LEVELS[: LEVELS.index(host_target().cpu) + 1] if host_target().cpu in LEVELS else [host_target().cpu]
BEST = RUNNABLE[-1]
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
    """Compile all cases into one module for each level, run them, and compare every slot with the interpreter, or with `wants`."""
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


def contraction(spec: str, sizes: dict[str, int], dtype: np.dtype = float32, epilogue: Sequence[Instr] | None = None) -> Contraction:
    """x in slot 0, w in slot 1, the result stored to slot 2, all row-major; `epilogue` replaces the store."""
    x, w, out, groups = labels_of(spec)
    axis = {label: Index.axis(number, sizes[label]) for number, label in enumerate("".join(groups))}

    def offset(labels: str) -> Index:
        strides = row_major_strides([sizes[c] for c in labels])
        return sum((axis[c] * stride for c, stride in zip(labels, strides, strict=True)), Index())

    slots = tuple(Slot(dtype, math.prod(sizes[c] for c in labels)) for labels in (x, w, out))
    body = (Store(2, offset(out), 0, dtype),) if epilogue is None else tuple(epilogue)
    extents = [tuple(sizes[c] for c in group) for group in groups]
    return Contraction(*extents, Load(0, offset(x), dtype), Load(1, offset(w), dtype), body, slots, dtype)


def draw(rng: np.random.Generator, size: int, dtype: np.dtype) -> np.ndarray:
    if is_float(dtype):
        return rng.standard_normal(size).astype(dtype)
    return rng.integers(0, 2, size).astype(bool) if dtype == bool_ else rng.integers(-50, 50, size).astype(dtype)


def einsum_case(spec: str, sizes: dict[str, int], dtype: np.dtype = float32) -> tuple[Case, list[np.ndarray]]:
    """A contraction with operands, and what its slots must hold afterwards."""
    rng = np.random.default_rng(sum(sizes.values()))
    kernel = contraction(spec, sizes, dtype)
    x, w, out, _ = labels_of(spec)
    left, right = (draw(rng, slot.size, dtype) for slot in kernel.slots[:2])
    wide = float64 if is_float(dtype) else int64
    shaped = [array.reshape([sizes[c] for c in labels]).astype(wide) for array, labels in ((left, x), (right, w))]
    result = np.einsum(spec, *shaped)
    result = (result != 0) if dtype == bool_ else result.astype(dtype)
    return (kernel, [left, right, draw(rng, kernel.slots[2].size, dtype)]), [left, right, result]


def check_einsums(specs: Sequence[str], shapes: Sequence[dict[str, int]], dtype: np.dtype = float32, levels: Sequence[str] = (BEST,)) -> None:
    cases, wants = zip(*(einsum_case(spec, sizes, dtype) for spec in specs for sizes in shapes), strict=True)
    check(cases, levels, wants)


LAYOUTS = ["ik,kj->ij", "ik,jk->ij", "ki,kj->ij", "ki,jk->ij"]
ODD = [1, 3, 17, 33, 47, 100]


def shapes(*triples: tuple[int, int, int]) -> list[dict[str, int]]:
    return [dict(zip("ijk", triple, strict=True)) for triple in triples]


# --- plain products ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", LAYOUTS)
def test_odd_shapes(spec: str) -> None:
    check_einsums([spec], shapes(*itertools.product(ODD, ODD, [1, 17, 47])))


@pytest.mark.parametrize("level", RUNNABLE)
@pytest.mark.parametrize("dtype", [float32, float64, int32, int64, bool_], ids=str)
def test_levels_and_types(level: str, dtype: np.dtype) -> None:
    check_einsums(LAYOUTS, shapes((1, 1, 1), (5, 7, 9), (33, 47, 17), (16, 64, 32)), dtype, [level])


def test_long_depth_goes_in_blocks() -> None:
    check_einsums(LAYOUTS, shapes((30, 40, 2500), (3, 5, 5000)))


def test_depth_in_parts() -> None:
    """Few rows and columns, much depth: parts are summed apart. Odd ends, an epilogue, batches."""

    def body(b: Index, i: Index, j: Index) -> list[Instr]:
        return [Load(2, b * 420 + i * 35 + j, float32), apply("add", 0, 1), Store(2, b * 420 + i * 35 + j, 2, float32)]

    cases = [epilogue_case(12, 35, 4001, body, [(float32, 2 * 420)], layout, batch) for layout in LAYOUTS for batch in (0, 2)]
    for level in RUNNABLE:
        assert all(block(oriented(kernel, level_target(level)), level_target(level)).k_parts > 1 for kernel, _ in cases)
    check(cases[:1], RUNNABLE)
    check(cases)
    check_einsums(LAYOUTS, shapes((33, 40, 4000)))


def test_several_units() -> None:
    check_einsums(LAYOUTS, shapes((150, 200, 120)), levels=RUNNABLE)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_operands_that_lie_badly_are_packed(dtype: np.dtype) -> None:
    """Steps of k a page apart, and many of them."""
    sizes = dict(i=140, j=270, k=1000)
    for level in RUNNABLE:
        target = level_target(level)
        flat = oriented(contraction("ki,kj->ij", sizes, dtype), target)
        job = plan_job(target, flat, block(flat, target))
        assert (job.a_source, job.b_source) == ("packed", "packed")
    check_einsums(["ki,kj->ij", "ik,kj->ij"], [sizes], dtype, RUNNABLE)


@pytest.mark.parametrize("empty", "ijkb")
def test_empty_axes(empty: str) -> None:
    check_einsums(["bik,bjk->bij"], [{**dict(i=5, j=20, k=3, b=2), empty: 0}])


def test_batches_and_groups() -> None:
    sizes = dict(b=3, h=2, i=5, j=20, k=7, d=16, c=2)
    specs = ["bik,bjk->bij", "bik,bkj->bij", "bki,bkj->bij", "bhik,bhjk->bhij", "bik,jk->bij", "bik,bij->kj", "bkhi,bjhi->bhkj"]
    specs += ["bhij,bjhd->bihd", "bijc,kcij->bk", "ibk,khd->bihd", "bik,hdk->bhid", "k,kj->j", "ik,k->i", "k,k->", "i,j->ij", "bi,bi->b"]
    check_einsums(specs, [sizes])


def test_nan_and_infinity_propagate() -> None:
    cases = []
    for spec, sizes in itertools.product(LAYOUTS, shapes((33, 37, 19), (4, 100, 5))):
        (kernel, arrays), _ = einsum_case(spec, sizes)
        arrays[0][::97], arrays[1][::89], arrays[0][5::101] = np.nan, np.inf, -np.inf
        cases.append((kernel, arrays))
    check(cases)


# --- operands with maps of their own -------------------------------------------------------------------------------------------


def mapped(m: int, n: int, k: int, lhs: Load, rhs: Load, sizes: Sequence[int], store: Index | None = None, dtype: np.dtype = float32) -> Case:
    """Axes 0 m, 1 n, 2 k."""
    store = Index.axis(0, m) * n + Index.axis(1, n) if store is None else store
    slots = tuple(Slot(dtype, size) for size in sizes)
    kernel = Contraction((), (m,), (n,), (k,), lhs, rhs, (Store(2, store, 0, dtype),), slots, dtype)
    rng = np.random.default_rng(m + n + k)
    return kernel, [draw(rng, size, dtype) for size in sizes]


def test_strides_and_offsets() -> None:
    m, n, k = 20, 37, 21
    i, j, l = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    check([
        mapped(m, n, k, Load(0, i * 45 + l * 2 + 3, float32), Load(1, j * 64 + l * 3 + 1, float32), (1000, 2500, m * n)),
        mapped(m, n, k, Load(0, i * -21 + l + 399, float32), Load(1, j * -1 + l * 40 + 36, float32), (420, 840, m * n)),
        mapped(m, n, k, Load(0, l, float32), Load(1, j, float32), (k, n, m * n)),
        mapped(m, n, k, Load(0, i, float32), Load(1, l, float32), (m, k, m * n)),
        mapped(m, n, k, Load(0, i * k + l, float32), Load(1, j * k + l, float32), (m * k, n * k, 2 * m * n), i * 2 + j * (2 * m) + 1),
    ])  # fmt: skip


def test_predicates_fill() -> None:
    """A padded, shifted right operand and a triangular left one, whose memory ends where the predicate does."""
    m, n, k = 20, 37, 33
    i, j, l = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    cases = []
    for along_k in (True, False):
        inner = j * 30 + (l - 2) if along_k else (l - 2) * 37 + j
        padded = Load(1, inner, float32, (Range(l, 2, 32),), 0.5)
        triangle = Load(0, i * 33 + l, float32, (Range(l - i, -32, 5),), 0.0)
        cases.append(mapped(m, n, k, triangle, padded, (m * k, 37 * 30, m * n)))
    check(cases, RUNNABLE)


def convolution(batch: int, channels: int, size: int, outputs: int, kernel: int, pad: int) -> Case:
    """images (batch, channels, size, size) with weights (outputs, channels, kernel, kernel), as a contraction over windows."""
    after = size + 2 * pad - kernel + 1
    image, y, x, o, c, dy, dx = (Index.axis(a, e) for a, e in enumerate((batch, after, after, outputs, channels, kernel, kernel)))
    row, column = y + dy - pad, x + dx - pad
    window = Load(0, ((image * channels + c) * size + row) * size + column, float32, (Range(row, 0, size), Range(column, 0, size)))
    weight = Load(1, ((o * channels + c) * kernel + dy) * kernel + dx, float32)
    store = Store(2, ((image * outputs + o) * after + y) * after + x, 0, float32)
    sizes = (batch * channels * size * size, outputs * channels * kernel * kernel, batch * outputs * after * after)
    groups = ((), (batch, after, after), (outputs,), (channels, kernel, kernel))
    rng = np.random.default_rng(0)
    return Contraction(*groups, window, weight, (store,), tuple(Slot(float32, s) for s in sizes), float32), [draw(rng, s, float32) for s in sizes]


def test_windows() -> None:
    check([convolution(2, 3, 9, 5, 3, 1), convolution(1, 2, 16, 4, 3, 1), convolution(3, 1, 8, 20, 5, 2), convolution(2, 3, 7, 5, 1, 0)], RUNNABLE)


def test_windows_as_the_right_operand() -> None:
    kernel, arrays = convolution(2, 3, 8, 5, 3, 1)
    order = unflatten_groups(kernel)
    check([(order, arrays)])


def unflatten_groups(kernel: Contraction) -> Contraction:
    """The same contraction with its operands exchanged."""
    axes = len(kernel.m), len(kernel.n)
    extents = kernel.m + kernel.n
    moved = {a: Index.axis(axes[1] + a, extents[a]) for a in range(axes[0])}
    moved |= {axes[0] + a: Index.axis(a, extents[axes[0] + a]) for a in range(axes[1])}

    def load(one: Load) -> Load:
        where = tuple(Range(r.index.substitute(moved), r.low, r.high) for r in one.where)
        return Load(one.slot, one.offset.substitute(moved), one.dtype, where, one.fill)

    store = kernel.epilogue[0]
    assert isinstance(store, Store)
    epilogue = (Store(store.slot, store.offset.substitute(moved), 0, store.dtype),)
    return Contraction((), kernel.n, kernel.m, kernel.k, load(kernel.rhs), load(kernel.lhs), epilogue, kernel.slots, kernel.dtype)


def test_reshaped_operands() -> None:
    """Quotients and remainders that no stride expresses: k counts through a transposed view."""
    m, n, k = 18, 24, 35
    i, j, l = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    outer, inner = unflatten(l, (7, 5))
    left = Load(0, i * k + inner * 7 + outer, float32)
    first, second = unflatten(j, (4, 6))
    right = Load(1, (second * 4 + first) * k + l, float32)
    check([mapped(m, n, k, left, right, (m * k, n * k, m * n))], RUNNABLE)


# --- epilogues -----------------------------------------------------------------------------------------------------------------


def apply(name: str, *args: int, dtype: np.dtype = float32) -> Apply:
    return Apply(OPS[name], args, dtype)


def epilogue_case(m: int, n: int, k: int, make, extra: Sequence[tuple[np.dtype, int]], layout: str = "ik,jk->ij", batch: int = 0) -> Case:
    """`make(b, i, j)` gives the epilogue over the axes of batch, m and n; `extra` are the slots after the two operands."""
    spec = "b" + layout.replace(",", ",b").replace("->", "->b") if batch else layout
    extents = ([batch] if batch else []) + [m, n]
    axes = [Index.axis(axis, extent) for axis, extent in enumerate(extents)]
    kernel = contraction(spec, dict(b=batch, i=m, j=n, k=k), float32, make(*([Index()] * (3 - len(axes)) + axes)))
    slots = kernel.slots[:2] + tuple(Slot(dtype, size) for dtype, size in extra)
    rng = np.random.default_rng(m * n + k)
    return Contraction(kernel.batch, kernel.m, kernel.n, kernel.k, kernel.lhs, kernel.rhs, kernel.epilogue, slots, float32), [
        draw(rng, slot.size, slot.dtype) for slot in slots
    ]


SHAPES = [(1, 1, 3), (5, 1, 4), (1, 6, 4), (17, 33, 8), (30, 64, 16), (47, 100, 3), (16, 40, 0)]


@pytest.mark.parametrize("level", RUNNABLE)
def test_bias_relu_and_mask(level: str) -> None:
    """max(sum + bias[n], 0) to one slot, whether it is positive to another."""

    def make(n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            at = i * n + j
            return [
                Load(2, j, float32), apply("add", 0, 1), Const(0.0, float32), apply("maximum", 2, 3), Store(3, at, 4, float32),
                apply("lt", 3, 2, dtype=bool_), Store(4, at, 6, bool_),
            ]  # fmt: skip

        return body

    check([epilogue_case(m, n, k, make(n), [(float32, n), (float32, m * n), (bool_, m * n)]) for m, n, k in SHAPES], [level])


def test_update_in_place() -> None:
    """p -= rate * sum, into the state itself."""

    def make(n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            at = i * n + j
            return [
                Load(2, at, float32), Load(3, Index(), float32), apply("mul", 2, 0), apply("sub", 1, 3), Store(2, at, 4, float32),
            ]  # fmt: skip

        return body

    for layout in LAYOUTS:
        check([epilogue_case(m, n, k, make(n), [(float32, m * n), (float32, 1)], layout) for m, n, k in SHAPES])


def test_epilogue_over_batch_rows_and_transposed_stores() -> None:
    """Loads along each axis alone and under a predicate; stores transposed, and with heads moved outwards."""

    def make(m: int, n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            head, inner = unflatten(j, (n // 16, 16)) if n % 16 == 0 else (Index(), j)
            return [
                Load(2, b * m + i, float32), apply("mul", 0, 1),
                Load(3, j, float32, (Range(j - i, 0, n),), 1.5), apply("add", 2, 3),
                Store(4, (b * n + j) * m + i, 2, float32),
                Store(5, ((b * (n // 16) + head) * m + i) * 16 + inner if n % 16 == 0 else (b * m + i) * n + j, 4, float32),
            ]  # fmt: skip

        return body

    cases = []
    for m, n, k in SHAPES:
        extra = [(float32, 3 * m), (float32, n), (float32, 3 * m * n), (float32, 3 * m * n)]
        cases.append(epilogue_case(m, n, k, make(m, n), extra, batch=3))
    check(cases, RUNNABLE)


def test_epilogue_after_the_last_of_several_k_blocks() -> None:
    def body(b: Index, i: Index, j: Index) -> list[Instr]:
        return [Load(2, i * 70 + j, float32), apply("add", 0, 1), Store(2, i * 70 + j, 2, float32)]

    check([epilogue_case(30, 70, 3000, body, [(float32, 2100)], layout) for layout in LAYOUTS])


# --- the code itself -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_no_spills_in_the_inner_loop(level: str, dtype: np.dtype) -> None:
    """No tile that blocking can choose touches the stack between the loop's label and its branch, and each has all its multiply-adds there."""
    target = level_target(level)
    for vectors in range(1, 5):
        module = llvm.new_module(target)
        rows = most_rows(target, vectors)
        tile_function(module, target, dtype, rows, vectors)
        module.functions[0].linkage = ""
        loops = inner_loops(llvm.emit_assembly(str(module), target))
        assert len(loops) == 1
        assert sum("vfmadd" in line for line in loops[0]) == rows * vectors
        assert not [line for line in loops[0] if "%rsp" in line], f"{rows}x{vectors}"


def inner_loops(assembly: str) -> list[list[str]]:
    """The lines of each innermost loop: from a label to a branch back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line[:-1]: at for at, line in enumerate(lines) if re.fullmatch(r"\.?L\w+:", line)}
    spans = []
    for at, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\.?L\w+)", line)
        if jump and labels.get(jump[1], at) < at:
            spans.append((labels[jump[1]], at))
    innermost = [a for a in spans if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [lines[first : last + 1] for first, last in innermost]


def test_blocks_cover_the_space() -> None:
    """Panels, tiles and blocks cover every row and column once, whatever the shape."""
    for level, (m, n, k) in itertools.product(LEVELS, itertools.product([1, 2, 13, 64, 500, 3000], repeat=3)):
        target = level_target(level)
        flat = oriented(contraction("ik,jk->ij", dict(i=m, j=n, k=k)), target)
        blocks, m, n = block(flat, target), flat.m, flat.n
        lanes = lanes_of(target, np.dtype(np.float32))
        columns = (blocks.panels - 1) * blocks.width
        assert columns < n <= columns + blocks.last_width < n + lanes
        assert blocks.m_block % blocks.rows == 0 and (blocks.k_block % lanes == 0 or blocks.k_blocks == 1) and (blocks.k_part % lanes == 0 or blocks.k_parts == 1)
        assert (blocks.m_blocks - 1) * blocks.m_block < m <= blocks.m_blocks * blocks.m_block
        assert (blocks.n_blocks - 1) * blocks.n_block < blocks.panels <= blocks.n_blocks * blocks.n_block
        assert (blocks.k_parts - 1) * blocks.k_part < k <= blocks.k_parts * blocks.k_part
        assert (blocks.k_blocks - 1) * blocks.k_block < blocks.k_part <= blocks.k_blocks * blocks.k_block
        assert blocks.rows <= most_rows(target, max(blocks.vectors, blocks.last_vectors))
